"use strict";

/*
 * The layers of CONTRIBUTING.md, bottom to top. Type-only imports count.
 *
 * A file is in the layer that its folder under src/ names. errors.ts and index.ts are layers of one file.
 */

const pure = "collections|message|topic";
const mechanisms = "dispatch|delivery|transaction|persistence";
const composition = "observe|broker";
const doors = "worker|testing|conformance";
const command = "cli";

const errors = "^src/errors\\.ts$";
const index = "^src/index\\.ts$";
const storeDoor = "^src/persistence/index\\.ts$";
/** @param {string[]} names */
const folder = (...names) => `^src/(?:${names.join("|")})/`;
/** As `folder`, remembering which of them it was, for `$1` in the other half of the rule. @param {string[]} names */
const eachOf = (...names) => `^src/(${names.join("|")})/`;

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: "errors-imports-nothing",
      severity: "error",
      from: { path: errors },
      to: { path: "." },
    },
    {
      name: "pure-imports-pure",
      comment: "collections, message and topic know errors and each other.",
      severity: "error",
      from: { path: folder(pure) },
      to: { path: "^src/", pathNot: [errors, folder(pure)] },
    },
    {
      name: "platform-imports-machine",
      comment: "platform knows errors and node:*, no package and nothing else of ours.",
      severity: "error",
      from: { path: folder("platform") },
      to: { dependencyTypesNot: ["core"], pathNot: [errors, folder("platform")] },
    },
    {
      name: "mechanisms-apart",
      comment: "What one mechanism needs of another it declares as an interface; broker passes the object in.",
      severity: "error",
      from: { path: eachOf(mechanisms) },
      to: { path: "^src/", pathNot: [errors, folder(pure, "platform"), "^src/$1/"] },
    },
    {
      name: "observe-below-broker",
      severity: "error",
      from: { path: folder("observe") },
      to: { path: "^src/", pathNot: [errors, folder(pure, "platform", mechanisms, "observe")] },
    },
    {
      name: "broker-below-doors",
      severity: "error",
      from: { path: folder("broker") },
      to: { path: "^src/", pathNot: [errors, folder(pure, "platform", mechanisms, composition)] },
    },
    {
      name: "index-is-the-main-door",
      comment: "The other doors are theirs who import them.",
      severity: "error",
      from: { path: index },
      to: { path: folder(doors) },
    },
    {
      name: "doors-use-the-main-door",
      comment: "What worker or conformance cannot do through index.ts, a user's plugin could not do either.",
      severity: "error",
      from: { path: eachOf("worker|conformance") },
      to: { path: "^src/", pathNot: [index, "^src/$1/"] },
    },
    {
      name: "testing-uses-the-main-door",
      comment: "testing may also replace what platform declares, and use the store's door.",
      severity: "error",
      from: { path: folder("testing") },
      to: { path: "^src/", pathNot: [index, storeDoor, folder("platform", "testing")] },
    },
    {
      name: "testing-loads-the-store-late",
      comment:
        "A test without a store must not load a native module: types, and import() where a test asks for a store.",
      severity: "error",
      from: { path: folder("testing") },
      to: { path: storeDoor, dynamic: false, dependencyTypesNot: ["type-only"] },
    },
    {
      name: "persistence-behind-its-door",
      comment: "Only inproc-broker/persistence loads the store, and testing where it is asked to.",
      severity: "error",
      from: { path: "^src/", pathNot: folder("persistence", "testing", command) },
      to: { path: folder("persistence") },
    },
    {
      name: "command-on-the-store",
      comment: "The command looks after folders: it needs the store, and no broker.",
      severity: "error",
      from: { path: folder(command) },
      to: { path: "^src/", pathNot: [errors, folder("topic", "platform", "persistence", command)] },
    },
    {
      name: "nobody-needs-the-command",
      severity: "error",
      from: { path: "^src/", pathNot: folder(command) },
      to: { path: folder(command) },
    },
    {
      name: "main-door-without-the-store",
      comment: "A broker in memory must not load a native module.",
      severity: "error",
      from: { path: index },
      to: { path: ["node_modules/(?:classic-level|fflate)/", folder("persistence")], reachable: true },
    },
    {
      name: "known-layer-only",
      comment: "A new folder in src is a new layer: give it its line here and in CONTRIBUTING.md.",
      severity: "error",
      from: {
        path: "^src/",
        pathNot: [errors, index, folder(pure, "platform", mechanisms, composition, doors, command)],
      },
      to: {},
    },
    {
      name: "node-in-platform-and-worker",
      severity: "error",
      from: { path: "^src/", pathNot: folder("platform", "worker", command) },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "no-circle",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-orphan",
      severity: "error",
      from: { path: "^src/", orphan: true },
      to: {},
    },
    {
      name: "no-dev-dependency",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev"] },
    },
    {
      name: "declared-dependency",
      comment: "A package that comes with another one is not ours to import.",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown", "undetermined"] },
    },
    {
      name: "resolvable",
      severity: "error",
      from: { path: "^src/" },
      to: { couldNotResolve: true },
    },
    {
      name: "src-alone",
      comment: "Nothing outside src is published.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(?:test|bench|examples|scripts|dist)/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    detectJSDocImports: true,
    tsConfig: { fileName: "tsconfig.build.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
      mainFields: ["module", "main", "types"],
    },
  },
};
