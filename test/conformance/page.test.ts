import { readFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import { expect, it } from "vitest";
import { runEverywhere } from "../../scripts/conformance-implementations.mjs";
import { conformancePage } from "../../scripts/conformance-table.mjs";
import * as suite from "../../src/conformance/index.js";

it("docs/conformance.md is what a run of the suite says", async () => {
  // The columns on LevelDB are proved in level.test.ts and remote.test.ts.
  const page = new URL("../../docs/conformance.md", import.meta.url);
  const written = conformancePage(await runEverywhere(suite, { withDisk: false }), suite.conformanceCases());
  const options = (await resolveConfig(page)) ?? {};
  expect(readFileSync(page, "utf8")).toBe(await format(written, { ...options, parser: "markdown" }));
}, 120_000);
