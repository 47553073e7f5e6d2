/**
 * Runs the benchmarks and prints a table for each group: `node bench/run.mjs [options]`.
 *
 *   --only <name>   only scenarios whose name contains this; may be repeated or comma-separated
 *   --quick         a tenth of the work and three rounds: does it run, not how fast is it
 *   --rounds <n>    rounds that are measured; 9 unless told
 *   --json          print the results as JSON instead of tables
 *   --save          also write bench/results/<node version>.json, to be kept in the repository
 *
 * Exits with 1 when a scenario failed (an error, a lost message), not when a target was missed: that depends on
 * who else is using the machine.
 */

import { execFileSync, fork } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatGroup } from "./table.mjs";

/** The order of the tables; a scenario that is not named here comes last. */
const ORDER = [
  "one-to-one-sync",
  "fan-out-10-sync",
  "one-to-one-in-flight-1000",
  "one-to-one-awaited",
  "wildcard-1000-hot",
  "wildcard-1000-cold",
  "at-least-once-one-to-one",
  "at-least-once-group-of-four",
  "priority-100k",
  "delayed-100k",
  "unacknowledged-100k",
  "subscriptions-100k",
  "heap-per-message",
  "latency",
  "event-loop-delay",
  "worker-one-way",
  "worker-group-of-two",
  "worker-request",
  "worker-transfer-64k",
  "worker-pool-scaling",
  "store-broker",
  "store-broker-history",
  "store-publish",
  "store-publish-one",
  "store-history",
  "store-gzip",
];
const SCENARIO_TIMEOUT_MS = 10 * 60_000;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const say = (text) => process.stderr.write(`${text}\n`);

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    json: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
  },
});
const rounds = Number(flags.rounds ?? (flags.quick ? 3 : 9));
if (!Number.isInteger(rounds) || rounds < 1) {
  throw new Error(`--rounds must be a positive whole number, not ${flags.rounds}`);
}
if (flags.save && flags.quick) throw new Error("--quick results are not worth saving");
if (!existsSync(here("../dist/index.js"))) {
  throw new Error("the library is not built: run `npm run build` first");
}
if (!existsSync(here("node_modules"))) {
  throw new Error("the peers are not installed: run `npm --prefix bench ci` first");
}

const names = scenarioNames(flags.only.flatMap((only) => only.split(",")));
const results = [];
for (const [i, name] of names.entries()) {
  say(`[${i + 1}/${names.length}] ${name}`);
  const result = await measure(name);
  if (result.error !== undefined) say(`  failed: ${result.error}`);
  results.push(result);
}

const report = { ...environment(), quick: flags.quick, rounds, scenarios: results };
const text = `${JSON.stringify(report, null, 2)}\n`;
mkdirSync(here("results"), { recursive: true });
writeFileSync(here("results/latest.json"), text);
if (flags.save) writeFileSync(here(`results/${process.version}.json`), text);
process.stdout.write(flags.json ? text : formatReport(report));
process.exitCode = results.some(({ error }) => error !== undefined) ? 1 : 0;

function scenarioNames(only) {
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  const all = readdirSync(here("scenario"))
    .filter((file) => file.endsWith(".mjs"))
    .map((file) => file.slice(0, -".mjs".length))
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const chosen = all.filter((name) => only.length === 0 || only.some((part) => name.includes(part)));
  if (chosen.length === 0) throw new Error(`no scenario is named ${only}; there are ${all}`);
  return chosen;
}

/** Runs a scenario in a process of its own. Its failure is a value: the other scenarios still run. */
function measure(name) {
  return new Promise((resolve) => {
    const options = JSON.stringify({ quick: flags.quick, rounds });
    const child = fork(here("child.mjs"), [`${name}.mjs`, options], {
      execArgv: [...process.execArgv, "--expose-gc"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    let result;
    let output = "";
    const keep = (chunk) => {
      output += chunk;
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += "\ntook longer than 10 minutes";
      child.kill("SIGKILL");
    }, SCENARIO_TIMEOUT_MS);
    child.on("message", (message) => {
      result = message;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve(result ?? { name, error: output.trim() || `exit code ${code}` });
    });
  });
}

function environment() {
  return {
    date: new Date().toISOString(),
    commit: commit(),
    node: process.version,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
  };
}

/** The commit that was measured, with `+` when files differ from it. */
function commit() {
  const git = (...args) =>
    execFileSync("git", args, { cwd: here("."), encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  try {
    const dirty = git("status", "--porcelain").trim() !== "";
    return git("rev-parse", "--short", "HEAD").trim() + (dirty ? "+" : "");
  } catch {
    return "unknown";
  }
}

function formatReport({ scenarios, ...about }) {
  const groups = new Map();
  for (const scenario of scenarios) {
    groups.set(scenario.group, [...(groups.get(scenario.group) ?? []), scenario]);
  }
  const tables = [...groups].map(([group, members]) =>
    group === undefined ? formatFailures(members) : formatGroup(group, members),
  );
  const header =
    `Node ${about.node}, ${about.cores} × ${about.cpu}, commit ${about.commit}, ${about.date}; ` +
    `median of ${about.rounds} rounds (min–max)${about.quick ? ", quick: too short to judge by" : ""}`;
  return `${[header, ...tables].join("\n\n")}\n`;
}

function formatFailures(failed) {
  return failed.map(({ name, error }) => `## ${name}: failed\n\n\`\`\`\n${error}\n\`\`\``).join("\n\n");
}
