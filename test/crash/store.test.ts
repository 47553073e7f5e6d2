import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { publish } from "../persistence/store/fixture.js";
import { checkStore, expectAcknowledged, foundIn, memoryOptions, runStoreWorkload } from "./store-workload.js";

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

  it("keeps what it acknowledged when a sync fails, it is opened again, and then power goes", async () => {
    let failedSyncs = 0;
    for (let failAt = 0; ; failAt++) {
      const run = await runStoreWorkload({ failAt, seed: failAt });
      const { disk, database } = run;
      if (!disk.hasFailed) break;
      if (disk.failedKind !== "datasync") continue;
      failedSyncs++;
      disk.failAt = undefined;
      const store = await StoreEngine.open(memoryOptions(disk, database));
      await expectAcknowledged(run, store, `sync ${failAt}`);
      await store.append([publish(1_000)], "group");
      const found = await foundIn(store);
      const again = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database.copy()));
      expect(await foundIn(again), `sync ${failAt}, then a power cut`).toEqual(found);
      await again.close();
      await store.close();
    }
    expect(failedSyncs).toBeGreaterThan(15);
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
