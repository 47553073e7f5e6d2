// @ts-check
// Runs the conformance suite on each implementation, from dist, and writes docs/conformance.md.
import { writeFileSync } from "node:fs";
import * as suite from "inproc-broker/conformance";
import { format, resolveConfig } from "prettier";
import { runEverywhere } from "./conformance-implementations.mjs";
import { conformancePage } from "./conformance-table.mjs";

const page = new URL("../docs/conformance.md", import.meta.url);
const runs = await runEverywhere(suite, { withDisk: true });
const options = await resolveConfig(page);
writeFileSync(page, await format(conformancePage(runs, suite.conformanceCases()), { ...options, parser: "markdown" }));
for (const { name, results } of runs) {
  for (const { name: test, outcome, reason } of results) {
    if (outcome === "failed") console.error(`${name}: ${test}: ${reason}`);
  }
}
process.exitCode = runs.some(({ results }) => results.some(({ outcome }) => outcome === "failed")) ? 1 : 0;
