import { describe, expect, it } from "vitest";
import type { WalState } from "../../../src/persistence/wal/writer.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { openTestWal, outcomeOf, publishEntry, settleEntry, turn } from "./fixture.js";

const full = expect.objectContaining({ code: "ERR_STORE_FULL" }) as Error;

describe("a full disk", () => {
  async function fill(reserveBytes: number) {
    const disk = new FaultyFileSystem();
    const states: WalState[] = [];
    const wal = await openTestWal(disk, { reserveBytes, onStateChange: (state) => states.push(state) });
    await wal.writer.commit(wal.writer.append(publishEntry(1)), "group");
    disk.capacityBytes = disk.usedBytes + 50;
    return { ...wal, disk, states };
  }

  it("refuses messages and keeps settles of the same group, and says so to each", async () => {
    const { writer, disk, states, clock } = await fill(2000);
    const appended = [publishEntry(2), settleEntry(1), publishEntry(3), publishEntry(4), settleEntry(2)].map((entry) =>
      outcomeOf(writer.commit(writer.append(entry), "group")),
    );
    expect(await Promise.all(appended)).toEqual(["ERR_STORE_FULL", "ok", "ERR_STORE_FULL", "ERR_STORE_FULL", "ok"]);
    expect(states).toEqual(["full"]);
    expect(writer.stats().droppedRecords).toBe(3);
    // A late question gets the same answers.
    expect(await outcomeOf(writer.commit(2, "group"))).toBe("ERR_STORE_FULL");
    expect(await outcomeOf(writer.commit(3, "os"))).toBe("ok");
    expect(() => writer.append(publishEntry(9))).toThrow(full);
    await writer.commit(writer.append(settleEntry(9)), "group");
    expect(disk.paths.some((path) => path.endsWith("reserve"))).toBe(false);

    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(again.records.map(({ lsn }) => lsn)).toEqual([1, 3, 6, 7]);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [], cutBytes: 0, lastLsn: 7 });
    await writer.close();
    expect(clock.pending).toBe(0);
  });

  it("that a synced write hears of after it has taken everything refuses the message, and leaves nothing of it", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk, { reserveBytes: 2000 });
    await writer.commit(writer.append(publishEntry(1)), "group");
    disk.failWith = "ENOSPC";
    disk.failAt = disk.ioCount + 1;
    expect(await outcomeOf(writer.commit(writer.append(publishEntry(2)), "group"))).toBe("ERR_STORE_FULL");
    expect(disk.failedKind).toBe("datasync");
    await writer.commit(writer.append(settleEntry(1)), "group");
    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(again.records.map(({ lsn }) => lsn)).toEqual([1, 3]);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [], cutBytes: 0 });
    await writer.close();
  });

  it("that a synced write hears of leaves nothing of it at the end of a segment that is not the last", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk, { reserveBytes: 2000 });
    await writer.commit(writer.append(publishEntry(1)), "group");
    disk.failWith = "ENOSPC";
    disk.failAt = disk.ioCount + 1;
    const data = Buffer.alloc(1000, 1);
    expect(await outcomeOf(writer.commit(writer.append(publishEntry(2, { data })), "group"))).toBe("ERR_STORE_FULL");
    expect(disk.failedKind).toBe("datasync");
    await writer.commit(writer.append(settleEntry(1)), "group");
    await writer.rotate();
    await writer.commit(writer.append(settleEntry(2)), "group");
    const again = await openTestWal(disk.crash({ keep: "none" }), { recovery: "truncate-tail" });
    expect(again.records.map(({ lsn }) => lsn)).toEqual([1, 3, 4]);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [], cutBytes: 0 });
    await writer.close();
  });

  it("that a sync hears of, for what was written before, is a failure like any other", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk, { reserveBytes: 2000 });
    await writer.commit(writer.append(publishEntry(1)), "os");
    disk.failWith = "ENOSPC";
    disk.failAt = disk.ioCount;
    expect(await outcomeOf(writer.commit(1, "group"))).toBe("ERR_STORE_FAILED");
    expect(writer.state).toBe("failed");
    await writer.close();
  });

  it("is over as soon as there is room for the reserve, without anybody asking", async () => {
    const { writer, disk, states, clock } = await fill(2000);
    expect(await outcomeOf(writer.commit(writer.append(publishEntry(2)), "group"))).toBe("ERR_STORE_FULL");
    for (let round = 0; round < 3; round++) {
      clock.advance(1000);
      for (let wait = 0; wait < 5; wait++) await turn();
      expect(writer.state).toBe("full");
      expect(clock.pending).toBe(1);
    }
    disk.capacityBytes += 10_000;
    clock.advance(1000);
    for (let wait = 0; wait < 5; wait++) await turn();
    expect(writer.state).toBe("open");
    expect(clock.pending).toBe(0);
    expect(disk.paths.some((path) => path.endsWith("reserve"))).toBe(true);
    const lsn = writer.append(publishEntry(3));
    await writer.commit(lsn, "group");
    expect(states).toEqual(["full", "open"]);
    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(again.records.map((record) => record.lsn)).toEqual([1, lsn]);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [] });
  });

  it("is over when a checkpoint removed segments", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk, { reserveBytes: 1000, segmentBytes: 1000 });
    for (let seq = 0; seq < 60; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
    disk.capacityBytes = disk.usedBytes + 10;
    expect(await outcomeOf(writer.commit(writer.append(publishEntry(60)), "group"))).toBe("ERR_STORE_FULL");
    expect(writer.state).toBe("full");
    await writer.removeThrough(50);
    expect(writer.state).toBe("open");
    await writer.commit(writer.append(publishEntry(61)), "group");
  });

  it("refuses settles too once the reserve is used up, leaves no gap, and goes on after", async () => {
    const { writer, disk, clock } = await fill(300);
    const outcomes: string[] = [];
    for (let seq = 0; seq < 30; seq++) {
      outcomes.push(await outcomeOf(writer.commit(writer.append(settleEntry(seq)), "group")));
    }
    const stored = outcomes.indexOf("ERR_STORE_FULL");
    expect(stored).toBeGreaterThan(2);
    expect(new Set(outcomes.slice(stored))).toEqual(new Set(["ERR_STORE_FULL"]));
    disk.capacityBytes = Infinity;
    const acked = writer.append(settleEntry(99));
    await writer.commit(acked, "group");
    clock.advance(1000);
    for (let wait = 0; wait < 5; wait++) await turn();
    const published = writer.append(publishEntry(100));
    await writer.commit(published, "group");
    const again = await openTestWal(disk.crash({ keep: "none" }));
    const expected = Array.from({ length: stored + 1 }, (_, index) => index + 1);
    expect(again.records.map(({ lsn }) => lsn)).toEqual([...expected, acked, published]);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [], lastLsn: published });
  });

  it("in the middle of a rotation keeps the old segment", async () => {
    const disk = new FaultyFileSystem();
    const { writer, segments } = await openTestWal(disk, { reserveBytes: 500, segmentBytes: 700 });
    while (segments.length === 1 && (segments[0]?.bytes ?? 0) < 600) {
      await writer.commit(writer.append(publishEntry(1)), "group");
    }
    disk.capacityBytes = disk.usedBytes + 40;
    const [refused, kept] = [writer.append(publishEntry(2)), writer.append(settleEntry(2))];
    expect(await outcomeOf(writer.commit(refused, "group"))).toBe("ERR_STORE_FULL");
    expect(await outcomeOf(writer.commit(kept, "group"))).toBe("ok");
    expect(segments).toHaveLength(1);
    expect(disk.paths.filter((path) => path.includes("tmp"))).toEqual([]);
    disk.capacityBytes = Infinity;
    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(again.records.at(-1)?.lsn).toBe(kept);
    expect(again.report).toMatchObject({ quarantined: [], warnings: [] });
  });

  it("fails a flush whose records it refused, also when no one else waited", async () => {
    const { writer } = await fill(1000);
    await writer.commit(writer.append(publishEntry(2)), "memory");
    expect(await outcomeOf(writer.flush())).toBe("ERR_STORE_FULL");
    for (let wait = 0; wait < 5; wait++) await turn();
    writer.append(settleEntry(1));
    expect(await outcomeOf(writer.flush())).toBe("ok");
  });

  it("from the start opens the log for settles, when there is room for the first segment", async () => {
    const disk = new FaultyFileSystem({ capacityBytes: 400 });
    const { writer, clock } = await openTestWal(disk, { reserveBytes: 1000 });
    expect(writer.state).toBe("full");
    await writer.commit(writer.append(settleEntry(1)), "group");
    expect(() => writer.append(publishEntry(1))).toThrow(full);
    disk.capacityBytes = Infinity;
    clock.advance(1000);
    for (let wait = 0; wait < 5; wait++) await turn();
    await writer.commit(writer.append(publishEntry(1)), "group");
    await writer.close();
  });

  it("with no room for the first segment is ERR_STORE_FULL", async () => {
    expect(await outcomeOf(openTestWal(new FaultyFileSystem({ capacityBytes: 10 })))).toBe("ERR_STORE_FULL");
  });

  it("while closing refuses what does not fit, and closes", async () => {
    const { writer, disk } = await fill(500);
    writer.append(publishEntry(2, { data: Buffer.alloc(2000) }));
    writer.append(settleEntry(1));
    expect(await outcomeOf(writer.close())).toBe("ERR_STORE_FULL");
    expect(writer.state).toBe("closed");
    expect(disk.openFiles).toBe(0);
    disk.capacityBytes = Infinity;
    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(again.records.map(({ lsn }) => lsn)).toEqual([1, 3]);
  });
});
