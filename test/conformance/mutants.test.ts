import { describe, expect, it } from "vitest";
import type { CaseResult, ConformanceSetup } from "../../src/conformance/index.js";
import { conformance, conformanceCases } from "../../src/conformance/index.js";
import { memorySupports, openInMemory } from "./memory.js";
import { alsoCaught } from "./also-caught.js";
import type { Mutant } from "./mutants.js";
import { mutants } from "./mutants.js";
import { partMutants } from "./part-mutants.js";
import { openOnStore, storeSupports } from "./store.js";
import { storeMutants } from "./store-mutants.js";

/** Runs the case on what the factory opens, and says what became of it. */
async function verdicts(setup: Pick<ConformanceSetup, "factory" | "supports">, only: string): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  const runs: (() => Promise<void>)[] = [];
  conformance({
    test: (name, run) => {
      if (name === only) runs.push(run);
    },
    ...setup,
    onResult: (result) => results.push(result),
  });
  for (const run of runs) await run().catch(() => undefined);
  return results.filter(({ outcome }) => outcome !== "skipped");
}

const all = [...mutants, ...partMutants];

describe("a broker that breaks a promise fails the case that names it", () => {
  it.each(all)("$name", async ({ make, caughtBy }) => {
    expect(conformanceCases().map(({ name }) => name)).toContain(caughtBy);
    const factory: ConformanceSetup["factory"] = (options) => openInMemory(options, make);
    const [result] = await verdicts({ factory, supports: memorySupports }, caughtBy);
    expect(result).toMatchObject({ name: caughtBy, outcome: "failed" });
  });
});

describe("every case is failed by a broker that breaks a promise", () => {
  it.each(Object.entries(alsoCaught))("%s (%s)", async (name, mutant) => {
    const { make } = all.find((one) => one.name === mutant) as Mutant;
    const factory: ConformanceSetup["factory"] = (options) => openInMemory(options, make);
    const [result] = await verdicts({ factory, supports: memorySupports }, name);
    expect(result).toMatchObject({ name, outcome: "failed" });
  });

  it("none is left out", () => {
    const caught = [...[...all, ...storeMutants].map(({ caughtBy }) => caughtBy), ...Object.keys(alsoCaught)];
    expect([...new Set(caught)].sort()).toEqual(
      conformanceCases()
        .map(({ name }) => name)
        .sort(),
    );
  });
});

describe("a store that breaks a promise fails the case that names it", () => {
  it.each(storeMutants)("$name", async ({ bend, caughtBy }) => {
    const factory: ConformanceSetup["factory"] = (options) => openOnStore(options, undefined, undefined, bend);
    const [result] = await verdicts({ factory, supports: storeSupports }, caughtBy);
    expect(result).toMatchObject({ name: caughtBy, outcome: "failed" });
  });

  it("every case of durables, replay and crash has a store that fails it", () => {
    const wanted = conformanceCases()
      .filter(({ feature }) => ["durables", "replay", "crash"].includes(feature))
      .map(({ name }) => name);
    expect(storeMutants.map(({ caughtBy }) => caughtBy).sort()).toEqual(wanted.sort());
  });
});
