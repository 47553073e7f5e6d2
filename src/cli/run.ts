import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BrokerError, errorText } from "../errors.js";
import type { StoreOptions } from "../persistence/options.js";
import type { Command, Context } from "./command.js";
import { backup } from "./commands/backup.js";
import { compact } from "./commands/compact.js";
import { exportCommand } from "./commands/export.js";
import { importCommand } from "./commands/import.js";
import { inspect } from "./commands/inspect.js";
import { ls } from "./commands/ls.js";
import { peek } from "./commands/peek.js";
import { restore } from "./commands/restore.js";
import { verify } from "./commands/verify.js";
import { exitCode, exitCodeOf, UsageError } from "./exit-code.js";
import { commandHelp, commonOptions, generalHelp } from "./help.js";
import { keyProviderOf } from "./keys.js";
import { nearest } from "./nearest.js";
import { ProgressLine } from "./progress.js";
import type { Terminal } from "./terminal.js";

export const commands: readonly Command[] = [
  inspect,
  ls,
  peek,
  verify,
  exportCommand,
  importCommand,
  compact,
  backup,
  restore,
];

/** Runs a command line, without the program's name. Resolves with the exit code; never rejects for what a user did. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const isJson = args.includes("--json");
  try {
    return await dispatch(args, terminal);
  } catch (error) {
    const code = exitCodeOf(error);
    if (isJson) {
      const facts = error instanceof BrokerError ? error.facts : {};
      const name = error instanceof BrokerError ? error.code : code === exitCode.usage ? "ERR_USAGE" : "ERR_FAILED";
      terminal.err(`${JSON.stringify({ error: { code: name, message: errorText(error), facts } })}\n`);
      return code;
    }
    terminal.err(`inproc-broker: ${errorText(error)}\n`);
    const hint = hintFor(error);
    if (hint !== undefined) terminal.err(`${hint}\n`);
    return code;
  }
}

async function dispatch(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name = "--help", ...rest] = args;
  if (name === "--version") {
    await terminal.out(`${version()}\n`);
    return exitCode.ok;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    const topic = commands.find((one) => one.name === rest[0]);
    await terminal.out(topic === undefined ? generalHelp(commands) : commandHelp(topic));
    // Nothing was asked for: that is help for a mistake.
    return args.length === 0 ? exitCode.usage : exitCode.ok;
  }
  const command = commands.find((one) => one.name === name);
  if (command === undefined) {
    const meant = nearest(
      name,
      commands.map((one) => one.name),
    );
    const suggestion = meant === undefined ? "" : ` Did you mean ${meant}?`;
    throw new UsageError(`There is no command ${JSON.stringify(name)}.${suggestion} inproc-broker --help lists them`);
  }
  if (rest.includes("--help") || rest.includes("-h")) {
    await terminal.out(commandHelp(command));
    return exitCode.ok;
  }
  const { positionals, values } = parse(command, rest);
  return execute(command, positionals, values, terminal);
}

type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

function parse(command: Command, args: readonly string[]): { positionals: readonly string[]; values: Values } {
  const specs = { ...command.options, ...commonOptions };
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { type, multiple = false }]) => [name, { type, multiple }]),
  );
  let parsed: { positionals: string[]; values: Values };
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    const [unknown] = /--[\w-]+/.exec(errorText(error)) ?? [];
    const isUnknown = error instanceof Error && "code" in error && error.code === "ERR_PARSE_ARGS_UNKNOWN_OPTION";
    if (!isUnknown || unknown === undefined) throw new UsageError(errorText(error));
    const meant = nearest(unknown.slice(2), Object.keys(specs));
    const suggestion = meant === undefined ? "" : ` Did you mean --${meant}?`;
    throw new UsageError(
      `${command.name} has no option ${unknown}.${suggestion} inproc-broker ${command.name} --help lists them`,
    );
  }
  const { positionals } = parsed;
  const operands = command.operands.split(" ");
  const missing = operands.filter((operand) => operand.startsWith("<"))[positionals.length];
  if (missing !== undefined)
    throw new UsageError(`${missing} is missing: inproc-broker ${command.name} ${command.operands}`);
  if (positionals.length > operands.length) {
    const extra = JSON.stringify(positionals[operands.length]);
    throw new UsageError(`${extra} is too much: inproc-broker ${command.name} ${command.operands}`);
  }
  return parsed;
}

async function execute(
  command: Command,
  positionals: readonly string[],
  values: Values,
  terminal: Terminal,
): Promise<number> {
  const isJson = values.json === true;
  const showsProgress = values.progress === true || terminal.isWatched;
  const progress = new ProgressLine(
    (text) => terminal.err(text),
    terminal.isWatched,
    () => terminal.clock.monotonic(),
  );
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  const texts = (name: string): readonly string[] => {
    const value = values[name];
    return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];
  };
  const context: Context = {
    positionals,
    text,
    texts,
    flag: (name) => values[name] === true,
    number(name, least) {
      const given = text(name);
      if (given === undefined) return undefined;
      const value = Number(given);
      if (/^\d+$/.test(given) && value >= least) return value;
      throw new UsageError(`--${name} must be a whole number from ${least}; got ${JSON.stringify(given)}`);
    },
    async store(path = positionals[0] ?? "") {
      const keyProvider = await keyProviderOf(texts("key"));
      const options: StoreOptions = { path };
      return keyProvider === undefined ? options : { ...options, encryption: { keyProvider } };
    },
    isJson,
    result(json, plain) {
      progress.end();
      return terminal.out(isJson ? `${JSON.stringify(json, undefined, 2)}\n` : plain);
    },
    out: (plain) => terminal.out(plain),
    note: (plain) => terminal.err(`${plain}\n`),
    input: terminal.input,
    onProgress: showsProgress ? (one) => progress.show(one) : undefined,
  };
  try {
    return await command.run(context);
  } finally {
    progress.end();
  }
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    readonly version: string;
  };
  return manifest.version;
}

/** What to do about an error, where its text speaks of options of a program. */
function hintFor(error: unknown): string | undefined {
  if (!(error instanceof BrokerError)) return undefined;
  if (error.code === "ERR_WRONG_KEY") return "Give the key with --key ID=FILE, or ID=HEX.";
  if (error.code === "ERR_STORE_CORRUPT")
    return 'See what is wrong with "inproc-broker verify"; --repair or --force go on without it.';
  return undefined;
}
