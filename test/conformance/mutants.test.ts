import { describe, expect, it } from "vitest";
import type { CaseResult } from "../../src/conformance/index.js";
import { conformance, conformanceCases } from "../../src/conformance/index.js";
import { mutants } from "./mutants.js";
import { memorySupports, openInMemory } from "./memory.js";
import type { Mutant } from "./mutants.js";

/** Runs the suite, and says what became of each case. */
async function verdicts(make: Mutant["make"], only?: string): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  const runs: (() => Promise<void>)[] = [];
  conformance({
    test: (name, run) => {
      if (only === undefined || name === only) runs.push(run);
    },
    factory: (options) => openInMemory(options, make),
    supports: memorySupports,
    onResult: (result) => results.push(result),
  });
  for (const run of runs) await run().catch(() => undefined);
  return results.filter(({ outcome }) => outcome !== "skipped");
}

describe("a broker that breaks a promise fails the case that names it", () => {
  it.each(mutants)("$name", async ({ make, caughtBy }) => {
    expect(conformanceCases().map(({ name }) => name)).toContain(caughtBy);
    const [result] = await verdicts(make, caughtBy);
    expect(result).toMatchObject({ name: caughtBy, outcome: "failed" });
  });
});
