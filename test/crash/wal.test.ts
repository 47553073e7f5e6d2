import { describe, expect, it } from "vitest";
import { openTestWal } from "../persistence/wal/fixture.js";
import type { FaultyFileSystem } from "../support/faulty-file-system.js";
import { checkRecovery, runWorkload, smallLog } from "./wal-workload.js";

const crashes = [
  { keep: "none" },
  { keep: "all" },
  { keep: "random", seed: 1 },
  { keep: "random", seed: 2 },
  { keep: "random", seed: 3 },
] as const;

/** The disk works again; what it forgot when it failed stays forgotten. */
function mend(disk: FaultyFileSystem): void {
  disk.failAt = undefined;
  disk.staysBroken = false;
  disk.hasFailed = false;
  disk.openFiles = 0;
}

describe("the log, cut off at any point", () => {
  it("does its workload when nothing fails", async () => {
    const run = await runWorkload({});
    expect(run.disk.hasFailed).toBe(false);
    expect(run.acknowledged.size).toBeGreaterThan(30);
    for (const crash of crashes) await checkRecovery(run, run.disk.crash(crash), JSON.stringify(crash));
  });

  it.each([
    { name: "an IO fails", staysBroken: false, shortWrites: false },
    { name: "an IO and all after it fail", staysBroken: true, shortWrites: false },
    { name: "an IO fails, and writes are short", staysBroken: false, shortWrites: true },
  ])("keeps what it acknowledged when $name, for each of them", async ({ staysBroken, shortWrites }) => {
    for (let failAt = 0; ; failAt++) {
      const run = await runWorkload({ failAt, staysBroken, shortWrites, seed: failAt });
      if (!run.disk.hasFailed) {
        expect(failAt).toBeGreaterThan(80);
        return;
      }
      for (const crash of crashes) {
        await checkRecovery(run, run.disk.crash(crash), `IO ${failAt}, ${JSON.stringify(crash)}`);
      }
    }
  });

  it.each([false, true])(
    "keeps what it acknowledged when any IO fails, a sync too, and power goes after it was opened again (all IOs after it fail: %s)",
    async (staysBroken) => {
      let failedSyncs = 0;
      for (let failAt = 0; ; failAt++) {
        const { disk, ...run } = await runWorkload({ failAt, staysBroken, seed: failAt });
        if (!disk.hasFailed) break;
        if (disk.failedKind === "datasync") failedSyncs++;
        mend(disk);
        await checkRecovery({ ...run, disk }, disk, `IO ${failAt} fails`);
      }
      expect(failedSyncs).toBeGreaterThan(20);
    },
  );

  it("keeps what it acknowledged when a sync fails, then any IO of opening it again, and then power goes", async () => {
    let tries = 0;
    for (let failAt = 4; failAt < 90; failAt += 5) {
      for (let second = 0; ; second++) {
        const run = await runWorkload({ failAt, seed: failAt });
        const { disk } = run;
        if (disk.failedKind !== "datasync") break;
        mend(disk);
        disk.failAt = disk.ioCount + second;
        const wal = await openTestWal(disk, { ...smallLog, checkpointLsn: run.checkpointLsn }).catch(() => undefined);
        await wal?.writer.close().catch(() => undefined);
        if (!disk.hasFailed) break;
        tries++;
        mend(disk);
        await checkRecovery(run, disk, `sync ${failAt}, then IO ${second} of the recovery`);
      }
    }
    expect(tries).toBeGreaterThan(30);
  });

  it("keeps what it acknowledged when the recovery is cut off too", async () => {
    for (const failAt of [30, 47, 60, 75]) {
      const run = await runWorkload({ failAt, staysBroken: true, seed: failAt });
      for (let second = 0; ; second++) {
        const disk = run.disk.crash({ keep: "random", seed: failAt });
        disk.failAt = second;
        disk.staysBroken = true;
        await openTestWal(disk, { ...smallLog, checkpointLsn: run.checkpointLsn }).catch(() => undefined);
        if (!disk.hasFailed) break;
        const hint = `IO ${failAt}, then IO ${second} of the recovery`;
        await checkRecovery(run, disk.crash({ keep: "random", seed: second }), hint);
        await checkRecovery(run, disk.crash({ keep: "none" }), hint);
      }
    }
  });

  it("keeps what it acknowledged on a disk of any size", async () => {
    for (let capacityBytes = 0; ; capacityBytes += 97) {
      const run = await runWorkload({ capacityBytes });
      const disk = run.disk.crash({ keep: "none" });
      await checkRecovery(run, disk, `a disk of ${capacityBytes} bytes`);
      if (capacityBytes > 16_000) {
        expect(run.acknowledged.size).toBeGreaterThan(30);
        return;
      }
    }
  });
});
