// Proves that lint and the layer check see what they are there to see: plants one violation of each kind in a small
// tree of its own, beside copies of the real configuration, and compares what is reported with what was planted, line
// by line. What is allowed is planted too, and must pass. The tree is removed again, and the sources are never touched.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const configuration = [
  "package.json",
  "tsconfig.json",
  "tsconfig.base.json",
  "tsconfig.build.json",
  "eslint.config.js",
  ".dependency-cruiser.cjs",
];

/**
 * What lint must say about each line of a file; a line without a rule must pass.
 *
 * @type {Record<string, [code: string, rule?: string][]>}
 */
const lintPlants = {
  "src/dispatch/planted-lint.ts": [
    ['import { readFileSync } from "node:fs";', "no-restricted-imports"],
    ['import type { Stats } from "fs";', "no-restricted-imports"],
    ['import { setTimeout as sleep } from "timers/promises";', "no-restricted-imports"],
    ["async function work(): Promise<void> {}"],
    ["export function planted(when: Date): unknown {"],
    ["  work();", "@typescript-eslint/no-floating-promises"],
    ["  [1].forEach(async () => work());", "@typescript-eslint/no-misused-promises"],
    ["  queueMicrotask(() => undefined);"],
    ["  const isDate = when instanceof Date;"],
    ["  const a = Date.now();", "no-restricted-syntax"],
    ["  const b = new Date(0);", "no-restricted-syntax"],
    ["  const c = globalThis.Date.now();", "no-restricted-syntax"],
    ["  const d = performance.now();", "no-restricted-globals"],
    ["  const e = Math.random();", "no-restricted-properties"],
    ["  const f = setTimeout(planted, 1);", "no-restricted-globals"],
    ["  const g = setInterval(planted, 1);", "no-restricted-globals"],
    ["  const h = setImmediate(planted);", "no-restricted-globals"],
    ["  const i = globalThis.setTimeout(planted, 1);", "no-restricted-globals"],
    ["  const j = process.hrtime();", "no-restricted-globals"],
    ["  const k = crypto.randomUUID();", "no-restricted-globals"],
    ["  const l = AbortSignal.timeout(1);", "no-restricted-properties"],
    ['  console.log("planted");', "no-restricted-globals"],
    ["  return [isDate, a, b, c, d, e, f, g, h, i, j, k, l, readFileSync, sleep];"],
    ["}"],
    ["export type PlantedStats = Stats;"],
  ],
  "src/platform/planted-lint.ts": [
    ['import { readFileSync } from "node:fs";'],
    ["export function allowed(run: () => void): unknown {"],
    ["  const timer = setTimeout(run, 1);"],
    ["  return [timer, Date.now(), performance.now(), Math.random(), process.pid, readFileSync];"],
    ["}"],
  ],
};

/**
 * Each file, its lines, and the rules that the layer check must name for it.
 *
 * @type {Record<string, { lines: string[], rules?: string[] }>}
 */
const layerPlants = {
  "src/index.ts": {
    lines: ['export * from "./broker/allowed.js";', 'export * from "./testing/index.js";'],
    rules: ["index-is-the-main-door"],
  },
  "src/errors.ts": {
    lines: ['export type { Leaf } from "./message/leaf.js";'],
    rules: ["errors-imports-nothing"],
  },
  "src/message/leaf.ts": { lines: ["export type Leaf = string;"] },
  "src/message/circle-a.ts": {
    lines: ['import type { B } from "./circle-b.js";', "export type A = B | 1;"],
    rules: ["no-circle"],
  },
  // A circle is reported once, for the first of its files.
  "src/message/circle-b.ts": {
    lines: ['import type { A } from "./circle-a.js";', "export type B = A | 2;"],
  },
  "src/collections/orphan.ts": { lines: ["export const orphan = 1;"], rules: ["no-orphan"] },
  "src/collections/undeclared.ts": {
    lines: ['import obliterator from "obliterator";', "export { obliterator };"],
    rules: ["declared-dependency"],
  },
  "src/topic/allowed.ts": {
    lines: ['export { LRUCache } from "lru-cache";', 'export type { Leaf } from "../message/leaf.js";'],
  },
  "src/topic/to-platform.ts": {
    lines: ['import type { Machine } from "../platform/allowed.js";', "export type M = Machine;"],
    rules: ["pure-imports-pure"],
  },
  "src/topic/to-node.ts": {
    lines: ['export type Stats = import("node:fs").Stats;'],
    rules: ["node-in-platform-and-worker"],
  },
  "src/platform/allowed.ts": {
    lines: ['export { readFileSync } from "node:fs";', "export type Machine = number;"],
  },
  "src/platform/to-message.ts": {
    lines: ['export type { Leaf } from "../message/leaf.js";'],
    rules: ["platform-imports-machine"],
  },
  "src/platform/to-package.ts": {
    lines: ['export { LRUCache } from "lru-cache";'],
    rules: ["platform-imports-machine"],
  },
  "src/dispatch/allowed.ts": {
    lines: ['export type { Machine } from "../platform/allowed.js";', 'export * from "../topic/allowed.js";'],
  },
  "src/dispatch/to-node.ts": {
    lines: ['export const load = () => import("node:fs");'],
    rules: ["node-in-platform-and-worker"],
  },
  "src/dispatch/to-development.ts": {
    lines: ['export { default } from "fast-check";'],
    rules: ["no-dev-dependency"],
  },
  "src/dispatch/to-nowhere.ts": { lines: ['export * from "./nowhere.js";'], rules: ["resolvable"] },
  "src/dispatch/to-test.ts": { lines: ['export * from "../../test/support.js";'], rules: ["src-alone"] },
  "src/delivery/to-dispatch.ts": {
    lines: ['import type { Machine } from "../dispatch/allowed.js";', "export type M = Machine;"],
    rules: ["mechanisms-apart"],
  },
  "src/transaction/to-delivery.ts": {
    lines: ['export type { M } from "../delivery/to-dispatch.js";'],
    rules: ["mechanisms-apart"],
  },
  "src/persistence/index.ts": {
    lines: ['export { ClassicLevel } from "classic-level";', 'export * from "fflate";'],
  },
  "src/observe/to-broker.ts": {
    lines: ['export * from "../broker/allowed.js";'],
    rules: ["observe-below-broker"],
  },
  "src/broker/allowed.ts": {
    lines: ['export type { Machine } from "../dispatch/allowed.js";', 'export * from "../observe/allowed.js";'],
  },
  "src/observe/allowed.ts": { lines: ['export type { Leaf } from "../message/leaf.js";'] },
  "src/broker/to-worker.ts": {
    lines: ['export * from "../worker/allowed.js";'],
    rules: ["broker-below-doors"],
  },
  "src/broker/to-persistence.ts": {
    lines: ['import type { ClassicLevel } from "../persistence/index.js";', "export type C = ClassicLevel;"],
    rules: ["persistence-behind-its-door"],
  },
  "src/cli/allowed.ts": {
    lines: ['export * from "node:util";', 'export type { ClassicLevel } from "../persistence/index.js";'],
  },
  "src/cli/to-broker.ts": {
    lines: ['export type { Machine } from "../broker/allowed.js";'],
    rules: ["command-on-the-store"],
  },
  "src/persistence/to-cli.ts": {
    lines: ['export * from "../cli/allowed.js";'],
    rules: ["mechanisms-apart", "nobody-needs-the-command"],
  },
  "src/worker/allowed.ts": {
    lines: ['export * from "node:worker_threads";', 'export type { Machine } from "../index.js";'],
  },
  "src/worker/to-dispatch.ts": {
    lines: ['export * from "../dispatch/allowed.js";'],
    rules: ["doors-use-the-main-door"],
  },
  "src/conformance/to-errors.ts": {
    lines: ['export * from "../errors.js";'],
    rules: ["doors-use-the-main-door"],
  },
  "src/testing/index.ts": { lines: ['export type { Machine } from "../platform/allowed.js";'] },
  "src/testing/with-store.ts": {
    lines: [
      'import type { ClassicLevel } from "../persistence/index.js";',
      'export const load = (): Promise<{ ClassicLevel: typeof ClassicLevel }> => import("../persistence/index.js");',
    ],
  },
  "src/testing/to-store.ts": {
    lines: ['export { ClassicLevel } from "../persistence/index.js";'],
    rules: ["testing-loads-the-store-late"],
  },
  "src/testing/to-delivery.ts": {
    lines: ['export * from "../delivery/to-dispatch.js";'],
    rules: ["testing-uses-the-main-door"],
  },
  "src/utils/anything.ts": {
    lines: ['export type { Leaf } from "../message/leaf.js";'],
    rules: ["known-layer-only"],
  },
  "test/support.ts": { lines: ["export const support = 1;"] },
};

/**
 * A second tree, where the one thing wrong is what the main door reaches, two steps away.
 *
 * @type {typeof layerPlants}
 */
const reachPlants = {
  "src/index.ts": { lines: ['export * from "./broker/step.js";'], rules: ["main-door-without-the-store"] },
  "src/broker/step.ts": { lines: ['export * from "../topic/step.js";'] },
  "src/topic/step.ts": { lines: ['export type { ClassicLevel } from "classic-level";'] },
};

const cache = join(root, ".cache");
mkdirSync(cache, { recursive: true });
const tree = mkdtempSync(join(cache, "prove-"));
/** @type {string[]} */
const problems = [];
let proved = 0;
try {
  proveLint();
  proveLayers("layers", layerPlants);
  proveLayers("reach", reachPlants);
} finally {
  rmSync(tree, { recursive: true, force: true });
}
for (const problem of problems) console.error(problem);
console.log(`prove-checks: ${proved} as planted, ${problems.length} not`);
if (problems.length > 0 || proved === 0) process.exitCode = 1;

function proveLint() {
  const cwd = plant(
    "lint",
    Object.fromEntries(
      Object.entries(lintPlants).map(([path, lines]) => [path, { lines: lines.map(([code]) => code) }]),
    ),
  );
  const report = run(cwd, "eslint", ["--no-warn-ignored", "--format", "json", ...Object.keys(lintPlants)]);
  for (const { filePath, messages } of report) {
    const path = relative(cwd, filePath).replaceAll("\\", "/");
    (lintPlants[path] ?? []).forEach(([code, rule], index) => {
      const found = messages
        .filter((/** @type {{ line: number }} */ { line }) => line === index + 1)
        .map((/** @type {{ ruleId: string | null, message: string }} */ m) => m.ruleId ?? m.message);
      compare(`lint: ${path}: ${code.trim()}`, rule === undefined ? [] : [rule], found);
    });
  }
  compare("lint: files looked at", [String(Object.keys(lintPlants).length)], [String(report.length)]);
}

/**
 * @param {string} name
 * @param {typeof layerPlants} plants
 */
function proveLayers(name, plants) {
  const cwd = plant(name, plants);
  const report = run(cwd, "depcruise", ["--config", ".dependency-cruiser.cjs", "--output-type", "json", "src"]);
  for (const [path, { rules = [] }] of Object.entries(plants)) {
    const found = report.summary.violations
      .filter((/** @type {{ from: string }} */ { from }) => from === path)
      .map((/** @type {{ rule: { name: string } }} */ { rule }) => rule.name);
    compare(`${name}: ${path}`, rules, found);
  }
}

/**
 * @param {string} name
 * @param {Record<string, { lines: string[] }>} files
 * @returns {string} where the tree is
 */
function plant(name, files) {
  const cwd = join(tree, name);
  mkdirSync(cwd);
  for (const file of configuration) copyFileSync(join(root, file), join(cwd, file));
  for (const [path, { lines }] of Object.entries(files)) {
    mkdirSync(dirname(join(cwd, path)), { recursive: true });
    writeFileSync(join(cwd, path), `${lines.join("\n")}\n`);
  }
  return cwd;
}

/**
 * @param {string} cwd
 * @param {"eslint" | "depcruise"} command
 * @param {string[]} args
 */
function run(cwd, command, args) {
  const bin = {
    eslint: "node_modules/eslint/bin/eslint.js",
    depcruise: "node_modules/dependency-cruiser/bin/dependency-cruise.mjs",
  }[command];
  const { stdout, stderr } = spawnSync(process.execPath, [join(root, bin), ...args], {
    cwd,
    encoding: "utf8",
    maxBuffer: 64 * 2 ** 20,
  });
  try {
    return JSON.parse(stdout);
  } catch {
    throw new Error(`${command} gave no report:\n${stdout}\n${stderr}`);
  }
}

/**
 * @param {string} what
 * @param {string[]} expected
 * @param {string[]} found
 */
function compare(what, expected, found) {
  const [wanted, got] = [expected, [...new Set(found)]].map((names) => names.toSorted().join(", ") || "nothing");
  if (wanted === got) proved++;
  else problems.push(`${what}\n  planted for ${wanted}, reported ${got}`);
}
