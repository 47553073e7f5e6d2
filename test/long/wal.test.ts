import { describe, expect, it } from "vitest";
import { openTestWal, publishEntry } from "../persistence/wal/fixture.js";
import { killLoop } from "../crash/wal-kill.js";
import { checkRecovery, runWorkload } from "../crash/wal-workload.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";

describe("the log, at length", () => {
  it("keeps what it acknowledged when any IO fails, over many power cuts", async () => {
    for (let failAt = 0; ; failAt++) {
      const run = await runWorkload({
        failAt,
        staysBroken: failAt % 2 === 0,
        shortWrites: failAt % 3 === 0,
        seed: failAt,
      });
      if (!run.disk.hasFailed) return;
      for (let seed = 0; seed < 100; seed++) {
        await checkRecovery(run, run.disk.crash({ keep: "random", seed }), `IO ${failAt}, seed ${seed}`);
      }
    }
  });

  it("keeps what it acknowledged on a disk of any size, to the byte", async () => {
    for (let capacityBytes = 0; capacityBytes < 16_000; capacityBytes += 3) {
      const run = await runWorkload({ capacityBytes });
      await checkRecovery(run, run.disk.crash({ keep: "none" }), `a disk of ${capacityBytes} bytes`);
    }
  });

  it("never gives a wrong record after any two flipped bits", async () => {
    const disk = new FaultyFileSystem();
    const { writer, segments } = await openTestWal(disk, { segmentBytes: 1000 });
    for (let seq = 1; seq <= 15; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
    await writer.close();
    const original = (await openTestWal(disk.copy())).records;
    const places = segments.flatMap(({ name, bytes }) =>
      Array.from({ length: bytes * 8 }, (_, bit) => ({ path: `/store/wal/${name}`, bit })),
    );
    for (let index = 0; index < places.length; index++) {
      const damaged = disk.copy();
      for (const at of [index, (index * 7919 + 13) % places.length]) {
        const { path, bit } = places[at] ?? { path: "", bit: 0 };
        damaged.flipBit(path, bit >> 3, bit & 7);
      }
      const { records, report } = await openTestWal(damaged);
      expect(records).toEqual(original.filter(({ lsn }) => records.some((record) => record.lsn === lsn)));
      const said = report.quarantined.length + report.warnings.length + (report.cut === undefined ? 0 : 1);
      expect(said).toBeGreaterThan(0);
    }
  });

  it("has all it acknowledged after its process was killed 100 times", async () => {
    await killLoop(100, 2);
  });
});
