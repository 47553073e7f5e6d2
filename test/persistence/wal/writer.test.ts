import { afterEach, describe, expect, it } from "vitest";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { directory, fullEntries, openTestWal, outcomeOf, plain, publishEntry, settleEntry, turn } from "./fixture.js";
import type { OpenedWal } from "./fixture.js";

let open: OpenedWal[] = [];
async function openWal(...args: Parameters<typeof openTestWal>): Promise<OpenedWal> {
  const wal = await openTestWal(...args);
  open.push(wal);
  return wal;
}

afterEach(async () => {
  for (const wal of open) await wal.writer.close().catch(() => undefined);
  open = [];
});

describe("the log's writer", () => {
  it("numbers records from 1 and gives them back after a restart, in order", async () => {
    const disk = new FaultyFileSystem();
    const wal = await openWal(disk);
    const entries = fullEntries();
    const numbers = entries.map((entry) => wal.writer.append(entry));
    expect(numbers).toEqual([1, 2, 3, 4, 5, 6]);
    await wal.writer.close();
    expect(disk.openFiles).toBe(0);
    const again = await openWal(disk.crash({ keep: "none" }));
    expect(plain(again.records)).toEqual(plain(entries.map((entry, index) => ({ lsn: index + 1, entry }))));
    expect(again.report).toMatchObject({ records: 6, lastLsn: 6, cutBytes: 0, quarantined: [], warnings: [] });
    expect(again.writer.append(publishEntry(9))).toBe(7);
  });

  it("serves all who wait with one write and one sync", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk);
    await turn();
    const before = { writes: disk.counts.get("write"), syncs: disk.counts.get("datasync") };
    const promises = Array.from({ length: 1000 }, (_, seq) => writer.commit(writer.append(publishEntry(seq)), "group"));
    expect(new Set(promises).size).toBe(1);
    await Promise.all(promises);
    expect(disk.counts.get("write")).toBe((before.writes ?? 0) + 1);
    expect(disk.counts.get("datasync")).toBe((before.syncs ?? 0) + 1);
  });

  it("gathers what comes while a sync runs, and writes it after", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk);
    const release = disk.hold("datasync");
    const first = writer.commit(writer.append(publishEntry(1)), "group");
    await turn();
    await turn();
    const groupsBefore = writer.stats().groups;
    const rest = Array.from({ length: 50 }, (_, seq) => writer.commit(writer.append(publishEntry(seq)), "group"));
    await turn();
    expect(writer.syncedLsn).toBe(0);
    release();
    await Promise.all([first, ...rest]);
    expect(writer.stats().groups).toBe(groupsBefore + 1);
    expect(writer.syncedLsn).toBe(51);
  });

  describe("where gathering a group takes longer than the disk", () => {
    const data = Buffer.alloc(1000);

    /** Each record takes a millisecond of the turn, and the disk 20 for a group. */
    async function slowTurn(disk: FaultyFileSystem, records: number, wal: OpenedWal): Promise<Promise<void>[]> {
      const { writer, clock } = wal;
      const commits: Promise<void>[] = [];
      for (let seq = 0; seq < records; seq++) {
        commits.push(writer.commit(writer.append(publishEntry(seq, { data })), "group"));
        clock.advance(1);
      }
      const release = disk.hold("datasync");
      await turn();
      await turn();
      clock.advance(20);
      release();
      await turn();
      return commits;
    }

    it("begins it while the turn goes on, and the next before anybody is woken", async () => {
      const disk = new FaultyFileSystem();
      const wal = await openWal(disk);
      const { writer } = wal;
      await Promise.all(await slowTurn(disk, 100, wal));
      expect(writer.stats()).toMatchObject({ groups: 1, syncs: 1 });
      // Of a hundred milliseconds the second group waits for thirty and more, at a look every 32 KiB.
      const commits = Array.from({ length: 100 }, (_, seq) => {
        wal.clock.advance(1);
        return writer.commit(writer.append(publishEntry(seq, { data })), "group");
      });
      expect(writer.stats()).toMatchObject({ lastLsn: 200, bufferedBytes: expect.any(Number) as number, groups: 2 });
      expect(new Set(commits).size).toBe(2);
      const [first, second] = [...new Set(commits)];
      let groupsWhenWoken = 0;
      await first?.then(() => (groupsWhenWoken = writer.stats().groups));
      expect(groupsWhenWoken).toBe(3);
      await second;
      expect(writer.stats()).toMatchObject({ syncedLsn: 200, groups: 3, syncs: 3 });
      expect((await openWal(disk.crash({ keep: "none" }))).records.map(({ lsn }) => lsn)).toEqual(
        Array.from({ length: 200 }, (_, index) => index + 1),
      );
    });

    it("fails those of both groups when the sync of the first fails", async () => {
      const disk = new FaultyFileSystem();
      const wal = await openWal(disk);
      const { writer } = wal;
      await Promise.all(await slowTurn(disk, 100, wal));
      disk.failAt = disk.ioCount + 1;
      const commits = Array.from({ length: 100 }, (_, seq) => {
        wal.clock.advance(1);
        return outcomeOf(writer.commit(writer.append(publishEntry(seq, { data })), "group"));
      });
      expect(new Set(await Promise.all(commits))).toEqual(new Set(["ERR_STORE_FAILED"]));
      expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(100);
    });
  });

  it("lets a late sync demand join the group that is being written", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk);
    const release = disk.hold("write");
    const lsn = writer.append(publishEntry(1));
    const written = writer.commit(lsn, "os");
    await turn();
    const synced = writer.commit(lsn, "group");
    release();
    await Promise.all([written, synced]);
    expect(writer.stats()).toMatchObject({ groups: 1, syncs: 1 });
  });

  describe("durability", () => {
    it("memory resolves before anything is written, and is written even so", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk);
      const lsn = writer.append(publishEntry(1));
      await writer.commit(lsn, "memory");
      expect(writer.writtenLsn).toBe(0);
      await turn();
      await turn();
      expect(writer.writtenLsn).toBe(1);
    });

    it("os survives the death of the process, not a power cut", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk);
      await writer.commit(writer.append(publishEntry(1)), "os");
      expect(writer.stats().syncs).toBe(0);
      expect((await openWal(disk.crash({ keep: "all" }))).records).toHaveLength(1);
      expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(0);
    });

    it("what survived the death of a process survives a power cut after it was handed out", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk);
      await writer.commit(writer.append(publishEntry(1)), "os");
      // The process dies and the page cache stays: the same file system is opened again.
      expect((await openWal(disk)).records).toHaveLength(1);
      expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(1);
    });

    it("interval syncs within the interval, with nobody waiting", async () => {
      const disk = new FaultyFileSystem();
      const { writer, clock } = await openWal(disk, { intervalMs: 200 });
      await writer.commit(writer.append(publishEntry(1)), "interval");
      await writer.commit(writer.append(publishEntry(2)), "interval");
      expect(clock.pending).toBe(1);
      clock.advance(199);
      await turn();
      expect(writer.stats().syncs).toBe(0);
      clock.advance(1);
      await writer.commit(2, "group");
      expect(writer.stats().syncs).toBe(1);
      expect(writer.syncedLsn).toBe(2);
      expect(clock.pending).toBe(0);
    });

    it("group is there after any power cut", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk);
      await writer.commit(writer.append(publishEntry(1)), "group");
      expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(1);
    });

    it("always starts its sync at once, without the end of the turn", async () => {
      const disk = new FaultyFileSystem();
      const turns: (() => void)[] = [];
      const { writer } = await openWal(disk, { afterTurn: (run) => turns.push(run) });
      await writer.commit(writer.append(publishEntry(1)), "always");
      expect(writer.syncedLsn).toBe(1);
      // A group that is started by the turn it had scheduled before finds nothing to do.
      for (const run of turns) run();
      expect(writer.stats().groups).toBe(1);
    });
  });

  it("flush brings everything to the disk, whatever its level", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk);
    writer.append(publishEntry(1));
    writer.append(settleEntry(1));
    await writer.flush();
    expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(2);
    const { syncs } = writer.stats();
    await writer.flush();
    expect(writer.stats().syncs).toBe(syncs);
  });

  it("writes all of a group when the system takes it in pieces", async () => {
    const disk = new FaultyFileSystem({ shortWrites: true });
    const { writer } = await openWal(disk);
    for (let seq = 0; seq < 100; seq++) writer.append(publishEntry(seq));
    await writer.flush();
    expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(100);
  });

  it("refuses messages above its buffer, and says when there is room", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk, { bufferBytes: 1000 });
    expect(writer.ready()).toBeUndefined();
    for (let seq = 0; writer.ready() === undefined; seq++) writer.append(publishEntry(seq));
    expect(() => writer.append(publishEntry(99))).toThrow(expect.objectContaining({ code: "ERR_QUEUE_FULL" }) as Error);
    writer.append(settleEntry(1));
    const [ready, same] = [writer.ready(), writer.ready()];
    expect(ready).toBe(same);
    await ready;
    expect(writer.ready()).toBeUndefined();
    writer.append(publishEntry(100));
    await writer.flush();
    expect((await openWal(disk.crash({ keep: "none" }))).report.lastLsn).toBe(writer.lastLsn);
  });

  it("takes a record larger than the buffer and the segment", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk, { bufferBytes: 1000, segmentBytes: 2000 });
    const data = Buffer.alloc(100_000, 7);
    for (let seq = 0; seq < 3; seq++) await writer.commit(writer.append(publishEntry(seq, { data })), "group");
    const again = await openWal(disk.crash({ keep: "none" }), { chunkBytes: 512 });
    expect(again.records.map(({ entry }) => (entry.type === "publish" ? entry.data.length : 0))).toEqual([
      1e5, 1e5, 1e5,
    ]);
    expect(again.report.segments).toBe(3);
  });

  it("leaves no trace of a record that cannot be encoded", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openWal(disk);
    writer.append(publishEntry(1));
    expect(() => writer.append(publishEntry(-2))).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_MESSAGE" }) as Error,
    );
    expect(writer.append(publishEntry(3))).toBe(2);
    await writer.flush();
    const again = await openWal(disk.crash({ keep: "none" }));
    expect(again.records.map(({ lsn }) => lsn)).toEqual([1, 2]);
  });

  it("refuses everything once closed, and closes twice", async () => {
    const { writer } = await openWal(new FaultyFileSystem());
    await Promise.all([writer.close(), writer.close()]);
    expect(writer.state).toBe("closed");
    expect(() => writer.append(publishEntry(1))).toThrow(
      expect.objectContaining({ code: "ERR_BROKER_CLOSED" }) as Error,
    );
  });

  describe("after a failure", () => {
    it("of a write refuses everything, for good, and reads on", async () => {
      const disk = new FaultyFileSystem();
      const { writer, reader, clock } = await openWal(disk);
      await writer.commit(writer.append(publishEntry(1)), "interval");
      disk.failAt = disk.ioCount;
      const lost = writer.append(publishEntry(2));
      const promises = [writer.commit(lost, "os"), writer.commit(lost, "group"), writer.flush()];
      expect(await Promise.all(promises.map(outcomeOf))).toEqual(Array(3).fill("ERR_STORE_FAILED"));
      expect(writer.state).toBe("failed");
      expect(() => writer.append(settleEntry(1))).toThrow(
        expect.objectContaining({ code: "ERR_STORE_FAILED" }) as Error,
      );
      expect(await outcomeOf(writer.commit(lost, "os"))).toBe("ERR_STORE_FAILED");
      expect(await outcomeOf(writer.flush())).toBe("ERR_STORE_FAILED");
      expect(clock.pending).toBe(0);
      const read = [];
      for await (const batch of reader.read()) read.push(...batch);
      expect(read.map(({ lsn }) => lsn)).toEqual([1]);
      await writer.close();
      expect(disk.openFiles).toBe(0);
    });

    it("of a sync acknowledges nothing that the sync was for", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk);
      await writer.commit(writer.append(publishEntry(1)), "os");
      disk.failAt = disk.ioCount + 1;
      const lsn = writer.append(publishEntry(2));
      const [written, synced] = await Promise.all(
        [writer.commit(lsn, "os"), writer.commit(lsn, "group")].map(outcomeOf),
      );
      expect([written, synced]).toEqual(["ok", "ERR_STORE_FAILED"]);
      // A second sync would succeed without the data: the log must not try.
      const { syncs } = writer.stats();
      expect(await outcomeOf(writer.commit(1, "group"))).toBe("ERR_STORE_FAILED");
      expect(writer.stats().syncs).toBe(syncs);
      expect((await openWal(disk.crash({ keep: "none" }))).records).toEqual([]);
    });
  });

  describe("segments", () => {
    it("end at their size, and start with what comes next", async () => {
      const disk = new FaultyFileSystem();
      const { writer, segments } = await openWal(disk, { segmentBytes: 500 });
      for (let seq = 0; seq < 40; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
      expect(segments.length).toBeGreaterThan(5);
      for (const segment of segments) expect(segment.bytes).toBeLessThanOrEqual(500);
      const again = await openWal(disk.crash({ keep: "none" }), { segmentBytes: 500 });
      expect(again.records.map(({ lsn }) => lsn)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
      expect(again.report).toMatchObject({ quarantined: [], warnings: [], cutBytes: 0 });
    });

    it("go when a checkpoint covers them, oldest first, never the last", async () => {
      const disk = new FaultyFileSystem();
      const { writer, segments, reader } = await openWal(disk, { segmentBytes: 500 });
      for (let seq = 0; seq < 40; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
      const third = segments[2]?.lastLsn ?? 0;
      expect(await writer.removeThrough(third - 1)).toBe(2);
      expect(await writer.removeThrough(third)).toBe(1);
      expect(reader.firstLsn).toBe(third + 1);
      expect(await writer.removeThrough(1000)).toBeGreaterThan(0);
      expect(segments).toHaveLength(1);
      const again = await openWal(disk.crash({ keep: "none" }), { checkpointLsn: 39 });
      expect(again.records.map(({ lsn }) => lsn)).toEqual([40]);
      expect(again.report).toMatchObject({ quarantined: [], warnings: [] });
    });

    it("that were removed never leave a hole, whenever power goes", async () => {
      const disk = new FaultyFileSystem();
      const { writer } = await openWal(disk, { segmentBytes: 500 });
      for (let seq = 0; seq < 40; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
      const removing = writer.removeThrough(35);
      for (let step = 0; step < 20; step++) {
        for (let seed = 0; seed < 10; seed++) {
          const { report, records } = await openTestWal(disk.crash({ keep: "random", seed }));
          expect(report).toMatchObject({ quarantined: [], warnings: [] });
          expect(records.at(-1)?.lsn).toBe(40);
        }
      }
      await removing;
    });

    it("end on demand, synced", async () => {
      const disk = new FaultyFileSystem();
      const { writer, segments } = await openWal(disk);
      writer.append(publishEntry(1));
      await writer.rotate();
      await writer.rotate();
      expect(segments).toHaveLength(2);
      expect(writer.append(publishEntry(2))).toBe(2);
      await writer.flush();
      expect((await openWal(disk.crash({ keep: "none" }))).records).toHaveLength(2);
    });
  });

  describe("reading while writing", () => {
    it("gives any range, also from the middle of a large segment", async () => {
      const disk = new FaultyFileSystem();
      const { writer, reader, segments } = await openWal(disk, { segmentBytes: 4 * 2 ** 20 });
      const data = Buffer.alloc(2000);
      for (let seq = 1; seq <= 3000; seq++) {
        writer.append(publishEntry(seq, { data }));
        if (seq % 50 === 0) await writer.flush();
      }
      expect(segments.flatMap(({ places }) => places).length).toBeGreaterThan(10);
      for (const [from, through] of [
        [1, 3000],
        [1500, 1500],
        [2999, 3001],
        [3001, 4000],
        [700, 2300],
      ] as const) {
        const lsns = [];
        for await (const batch of reader.read(from, through)) for (const { lsn } of batch) lsns.push(lsn);
        const last = Math.min(through, 3000);
        expect(lsns).toEqual(Array.from({ length: Math.max(0, last - from + 1) }, (_, index) => from + index));
      }
      expect(disk.openFiles).toBe(1);
    });

    it("closes its file when the reader leaves early", async () => {
      const disk = new FaultyFileSystem();
      const { writer, reader } = await openWal(disk);
      for (let seq = 1; seq <= 10; seq++) writer.append(publishEntry(seq));
      await writer.flush();
      for await (const batch of reader.read()) {
        expect(batch).toHaveLength(10);
        break;
      }
      expect(disk.openFiles).toBe(1);
    });
  });

  it("notices that its file has lost its name within a second of use, and looks no more often, nor while idle", async () => {
    const disk = new FaultyFileSystem();
    const { writer, segments, clock } = await openWal(disk);
    let looks = 0;
    const stat = disk.stat.bind(disk);
    disk.stat = (path) => {
      looks++;
      return stat(path);
    };
    clock.advance(3_600_000);
    await turn();
    expect(looks).toBe(0);
    for (let n = 1; n <= 20; n++) {
      await writer.commit(writer.append(publishEntry(n)), "group");
      clock.advance(200);
    }
    expect(looks).toBe(4);
    disk.lose(`${directory}/${segments.at(-1)?.name ?? ""}`);
    const outcomes = new Set<string>();
    for (let n = 21; n <= 26; n++) {
      outcomes.add(
        await outcomeOf(Promise.resolve().then(() => writer.commit(writer.append(publishEntry(n)), "group"))),
      );
      clock.advance(200);
    }
    expect([...outcomes].at(-1)).toBe("ERR_STORE_FAILED");
    expect(writer.state).toBe("failed");
  });

  it("writes nothing under names that are not its own", async () => {
    const disk = new FaultyFileSystem();
    disk.put(`${directory}/notes.txt`, Buffer.from("mine"));
    const wal = await openWal(disk, { reserveBytes: 100 });
    await wal.writer.commit(wal.writer.append(publishEntry(1)), "group");
    expect(disk.paths).toEqual([`${directory}/0000000000000001.wal`, `${directory}/notes.txt`, `${directory}/reserve`]);
  });
});
