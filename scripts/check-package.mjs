// Checks the package as its users get it: packs it, lints the tarball (publint, attw), installs it in an empty folder,
// and from there runs the README's quick start as pasted, every example, each door from ESM and from CommonJS, and
// compiles against the declarations with the TypeScript before ours and the one after it. Expects dist to be built.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const typescriptVersions = ["5.9", "7.0"];
const exampleTimeoutMs = 60_000;
const installTimeoutMs = 300_000;

/** What a user must find in the tarball, and what has no business there. */
const mustContain = [
  /^package\.json$/,
  /^README\.md$/,
  /^LICENSE$/,
  /^CHANGELOG\.md$/,
  ...["cli", "conformance", "guarantees", "persistence", "testing", "workers"].map(
    (page) => new RegExp(`^docs/${page}\\.md$`),
  ),
  /^dist\/index\.js$/,
  /^dist\/index\.d\.ts$/,
  /^src\/index\.ts$/,
  /^examples\/.+\.js$/,
];
const mayContain =
  /^(?:package\.json|README\.md|LICENSE|CHANGELOG\.md|docs\/(?:(?:design|format)\/)?[^/]+\.md|dist\/.+\.(?:js|d\.ts)(?:\.map)?|src\/.+\.ts|examples\/.+)$/;

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
/** @type {string[]} as a user writes them: "inproc-broker", "inproc-broker/persistence" */
const doors = Object.keys(manifest.exports)
  .filter((key) => key !== "./package.json")
  .map((key) => `${manifest.name}${key.slice(1)}`);

const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_(?:package_|lifecycle_|config_local_prefix$)/i.test(name)),
);
const folder = mkdtempSync(join(tmpdir(), "inproc-broker-package-"));
const consumer = join(folder, "consumer");
let failed = 0;

try {
  const tarball = pack();
  check("publint", () => node(["node_modules/publint/src/cli.js", "run", tarball, "--strict"], root));
  check("attw", () =>
    node(
      [
        "node_modules/@arethetypeswrong/cli/dist/index.js",
        tarball,
        "--no-definitely-typed",
        // Node 20.19 can require() an ES module, so that the one build serves both.
        ...["--profile", "node16", "--ignore-rules", "cjs-resolves-to-esm"],
      ],
      root,
    ),
  );
  if (check("install in an empty folder", () => install(tarball))) {
    check("each door, ESM", esmDoors);
    check("each door, CommonJS", commonJsDoors);
    check("README quick start", quickStart);
    check("the command", command);
    for (const example of readdirSync(join(root, "examples")).filter((name) => name.endsWith(".js"))) {
      check(`examples/${example}`, () => runExample(example));
    }
    for (const version of typescriptVersions) {
      for (const resolution of ["nodenext", "bundler"]) {
        check(`declarations, TypeScript ${version}, ${resolution}`, () => typecheck(version, resolution));
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? "check:package ok" : `check:package: ${failed} failed`);
if (failed > 0) process.exitCode = 1;

/** @returns {string} the path of the tarball */
function pack() {
  const [{ filename, files }] = JSON.parse(
    npm(["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root),
  );
  /** @type {string[]} */
  const paths = files.map((/** @type {{ path: string }} */ { path }) => path);
  check("what the tarball holds", () => {
    const missing = mustContain.filter((pattern) => !paths.some((path) => pattern.test(path)));
    const strange = paths.filter((path) => !mayContain.test(path));
    if (missing.length > 0) throw new Error(`missing: ${missing.join(" ")}`);
    if (strange.length > 0) throw new Error(`not for users: ${strange.join(" ")}`);
  });
  return join(folder, filename);
}

/** @param {string} tarball */
function install(tarball) {
  mkdirSync(consumer);
  write("package.json", JSON.stringify({ name: "consumer", version: "1.0.0", private: true }));
  const types = `@types/node@${manifest.devDependencies["@types/node"]}`;
  npm(["install", "--prefer-offline", "--no-audit", "--no-fund", tarball, types], consumer);
}

function esmDoors() {
  write(
    "doors.mjs",
    `${doors.map((door, index) => `import * as door${index} from "${door}";`).join("\n")}
     for (const door of [${doors.map((_, index) => `door${index}`).join(", ")}]) {
       if (Object.keys(door).length === 0) throw new Error("a door without exports");
     }`,
  );
  node(["doors.mjs"], consumer);
}

function commonJsDoors() {
  write(
    "doors.cjs",
    `const { deepStrictEqual } = require("node:assert");
     (async () => {
       for (const door of ${JSON.stringify(doors)}) {
         const names = (module) => Object.keys(module).filter((name) => name !== "__esModule").sort();
         deepStrictEqual(names(require(door)), names(await import(door)));
       }
     })();`,
  );
  node(["doors.cjs"], consumer);
}

/**
 * The first code block under the README's "Quick start" heading, as pasted: JavaScript runs as it is, TypeScript is
 * compiled first. A block marked `text` that follows it under the same heading is what it must print.
 */
/** As npm has put it there: a link in node_modules/.bin. */
function command() {
  const bin = join(consumer, "node_modules", ".bin", manifest.name);
  const { status, stdout, stderr } = spawnSync(bin, ["--version"], {
    cwd: consumer,
    env,
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  if (status !== 0 || stdout.trim() !== manifest.version)
    throw new Error(`${manifest.name} --version: ${stdout}${stderr}`);
}

function quickStart() {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const section = /^#+[^\n]*quick start[^\n]*\n(.*?)(?=^#+ |(?![^]))/ims.exec(
    readme.replace(/^```.*?^```/gms, hideHashes),
  );
  if (section === null) throw new Error('README.md has no heading "Quick start"');
  const blocks = [...(section[1] ?? "").matchAll(/^```(\w+)[^\n]*\n(.*?)^```/gms)].map(
    ([, language = "", text = ""]) => ({
      language,
      text: text.replaceAll("\0", "#"),
    }),
  );
  const start = blocks.findIndex(({ language }) => /^(?:js|javascript|mjs|ts|typescript)$/.test(language));
  const code = blocks[start];
  if (code === undefined) throw new Error('README.md has no js or ts block under "Quick start"');
  const output = blocks.slice(start + 1).find(({ language }) => language === "text");

  if (/^ts|^typescript/.test(code.language)) {
    write("quick-start.mts", code.text);
    compile(["quick-start.mts"], "nodenext", manifest.devDependencies.typescript.replace(/^[~^]/, ""), true);
  } else {
    write("quick-start.mjs", code.text);
  }
  const printed = node(["quick-start.mjs"], consumer);
  if (output !== undefined && printed.trim() !== output.text.trim()) {
    throw new Error(`the quick start printed\n${printed}\nand README.md says\n${output.text}`);
  }
}

/** A comment in a code block is not a heading. @param {string} block */
function hideHashes(block) {
  return block.replaceAll("#", "\0");
}

/** @param {string} name */
function runExample(name) {
  const cwd = mkdtempSync(join(folder, "example-"));
  node([join(consumer, "node_modules", manifest.name, "examples", name)], cwd);
}

/**
 * @param {string} version
 * @param {string} resolution
 */
function typecheck(version, resolution) {
  const imports = doors.map((door, index) => `export * as door${index} from "${door}";`).join("\n");
  const requires = doors
    .map((door, index) => `import door${index} = require("${door}");\nexport { door${index} };`)
    .join("\n");
  write("doors.mts", imports);
  write("doors.cts", requires);
  compile(resolution === "nodenext" ? ["doors.mts", "doors.cts"] : ["doors.mts"], resolution, version, false);
}

/**
 * @param {string[]} files
 * @param {string} resolution
 * @param {string} version of TypeScript
 * @param {boolean} emit
 */
function compile(files, resolution, version, emit) {
  const compilerOptions = {
    target: "es2022",
    lib: ["es2022", "esnext.disposable"],
    module: resolution === "nodenext" ? "nodenext" : "esnext",
    moduleResolution: resolution,
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: !emit,
  };
  write("tsconfig.json", JSON.stringify({ compilerOptions, files }));
  const tsc = ["exec", "--yes", "--prefer-offline", `--package=typescript@${version}`, "--", "tsc", "-p", "."];
  npm(tsc, consumer);
}

/**
 * @param {string} name
 * @param {string} text
 */
function write(name, text) {
  writeFileSync(join(consumer, name), text);
}

/**
 * Runs one check, says how it went, and goes on.
 *
 * @param {string} name
 * @param {() => unknown} run
 */
function check(name, run) {
  try {
    run();
    console.log(`  ok      ${name}`);
    return true;
  } catch (error) {
    failed++;
    console.log(`  FAILED  ${name}\n${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

/**
 * @param {string[]} args
 * @param {string} cwd
 */
function npm(args, cwd) {
  const script = process.env.npm_execpath;
  return script === undefined
    ? spawn("npm", args, cwd, installTimeoutMs)
    : spawn(process.execPath, [script, ...args], cwd, installTimeoutMs);
}

/**
 * @param {string[]} args
 * @param {string} cwd
 */
function node(args, cwd) {
  return spawn(process.execPath, args, cwd, exampleTimeoutMs);
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {number} timeout in ms
 * @returns {string} what it printed
 */
function spawn(command, args, cwd, timeout) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, { cwd, env, timeout, encoding: "utf8" });
  if (status === 0) return stdout;
  throw new Error(
    [
      `${args.join(" ")}: ${error?.message ?? (signal === null ? `exit ${status}` : `ended by ${signal}`)}`,
      stdout,
      stderr,
    ]
      .filter((part) => part !== "")
      .join("\n"),
  );
}
