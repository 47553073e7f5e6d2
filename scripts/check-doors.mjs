// The doors of the package are the index files of src, no more and no fewer: src/index.ts is ".", src/NAME/index.ts
// is "./NAME". Fails when the exports map of package.json says anything else.
import { deepStrictEqual } from "node:assert";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** @type {Record<string, unknown>} */
const expected = { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } };
for (const entry of readdirSync(join(root, "src"), { withFileTypes: true })) {
  if (!entry.isDirectory() || !existsSync(join(root, "src", entry.name, "index.ts"))) continue;
  expected[`./${entry.name}`] = {
    types: `./dist/${entry.name}/index.d.ts`,
    default: `./dist/${entry.name}/index.js`,
  };
}
expected["./package.json"] = "./package.json";

const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
deepStrictEqual(exports, expected, "package.json: `exports` does not match the index files of src");
console.log(`doors: ${Object.keys(expected).join(" ")}`);
