import { describe, expect, it } from "vitest";
import { checkStore, runStoreWorkload } from "./store-workload.js";

const crashes = [{ keep: "none" }, { keep: "all" }, { keep: "random", seed: 1 }, { keep: "random", seed: 2 }] as const;

describe("the store, cut off at any point", () => {
  it("does its workload when nothing fails", async () => {
    const run = await runStoreWorkload({});
    expect(run.disk.hasFailed).toBe(false);
    expect(run.batches.every(({ isAcknowledged }) => isAcknowledged)).toBe(true);
    for (const crash of crashes) {
      await checkStore(run, run.disk.crash(crash), run.database.copy(), JSON.stringify(crash));
    }
  });

  it("keeps what it acknowledged when power goes at any IO of the log", async () => {
    for (let failAt = 0; ; failAt++) {
      const run = await runStoreWorkload({ failAt, staysBroken: true, seed: failAt });
      if (!run.disk.hasFailed) {
        expect(failAt).toBeGreaterThan(80);
        return;
      }
      for (const crash of crashes) {
        const hint = `IO ${failAt}, ${JSON.stringify(crash)}`;
        await checkStore(run, run.disk.crash(crash), run.database.copy(), hint);
      }
    }
  }, 60_000);

  it.each([false, true])(
    "keeps what it acknowledged when any batch of the database fails (done first: %s)",
    async (failsAfterwards) => {
      for (let failAt = 0; ; failAt++) {
        const run = await runStoreWorkload({}, { failAt, failsAfterwards });
        if (!run.database.hasFailed) {
          expect(failAt).toBeGreaterThan(6);
          return;
        }
        for (const crash of crashes) {
          await checkStore(
            run,
            run.disk.crash(crash),
            run.database.copy(),
            `batch ${failAt}, ${JSON.stringify(crash)}`,
          );
        }
      }
    },
    60_000,
  );
});
