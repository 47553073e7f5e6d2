import { readFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import { expect, it } from "vitest";
import { conformancePage, runAll } from "../../scripts/conformance-table.mjs";
import { conformance, conformanceCases } from "../../src/conformance/index.js";
import { memorySupports, openInMemory } from "./memory.js";

it("docs/conformance.md is what a run of the suite says", async () => {
  const page = new URL("../../docs/conformance.md", import.meta.url);
  const results = await runAll(conformance, { factory: (options) => openInMemory(options), supports: memorySupports });
  const written = conformancePage([{ name: "InProcBroker, in memory", results }], conformanceCases());
  const options = (await resolveConfig(page)) ?? {};
  expect(readFileSync(page, "utf8")).toBe(await format(written, { ...options, parser: "markdown" }));
});
