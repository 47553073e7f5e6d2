import type { Command, OptionSpec } from "./command.js";

/** Options that every command has. */
export const commonOptions: Readonly<Record<string, OptionSpec>> = {
  json: { type: "boolean", help: "the result as JSON" },
  key: {
    type: "string",
    multiple: true,
    value: "ID=HEX|FILE",
    help: "a key of an encrypted store; the first one writes, all read. In a file it does not show in the list of processes",
  },
  progress: { type: "boolean", help: "progress on standard error also where nobody watches" },
  help: { type: "boolean", help: "this text" },
};

export function generalHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return `Looks after the folders in which inproc-broker stores messages.

Usage: inproc-broker <command> <store> [options]

${commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join("\n")}

  inproc-broker <command> --help  options and examples
  inproc-broker --version

A store is the folder given to levelPersistence({ path }). inspect, ls, peek, verify and export change nothing, and
work on a store that is closed, broken, or in use. The others need it closed.

Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 store in use, 4 wrong key, 5 failed, 6 disk full.
`;
}

export function commandHelp({ name, operands, details, options, examples }: Command): string {
  return `Usage: inproc-broker ${name} ${operands} [options]

${details}

${optionLines({ ...options, ...commonOptions })}

Examples:
${examples.map(([line, comment]) => `  ${line}\n      ${comment}`).join("\n")}
`;
}

function optionLines(options: Readonly<Record<string, OptionSpec>>): string {
  const entries = Object.entries(options).map(([name, { value, help }]): [string, string] => [
    value === undefined ? `--${name}` : `--${name} ${value}`,
    help,
  ]);
  const width = Math.max(...entries.map(([left]) => left.length));
  return entries.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`).join("\n");
}
