import { describe, expect, it } from "vitest";
import { crc32 } from "../../../src/platform/checksum.js";
import { ByteWriter } from "../../../src/persistence/wal/byte-writer.js";
import { beginRecord, endRecord, recordFlag } from "../../../src/persistence/wal/record.js";
import { encodeSegmentHeader, nameOfSegment, segmentHeaderBytes } from "../../../src/persistence/wal/segment.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { directory, openTestWal, outcomeOf, publishEntry, settleEntry } from "./fixture.js";

const segmentPath = (id: number): string => `${directory}/${nameOfSegment(id)}`;

/** A log of `count` messages, each synced by itself, in segments of about `segmentBytes`. */
async function logOf(count: number, segmentBytes = 64 * 2 ** 20) {
  const disk = new FaultyFileSystem();
  const { writer, segments } = await openTestWal(disk, { segmentBytes });
  for (let seq = 1; seq <= count; seq++) await writer.commit(writer.append(publishEntry(seq)), "group");
  await writer.close();
  return { disk: disk.crash({ keep: "none" }), segments };
}

/** Where in a segment the message `seq` stands. */
function placeOf(disk: FaultyFileSystem, path: string, seq: number): number {
  const at = disk.content(path).indexOf(`{"seq":${seq}}`);
  if (at < 0) throw new Error(`no message ${seq}`);
  return at;
}

const lsnsOf = (records: readonly { readonly lsn: number }[]): number[] => records.map(({ lsn }) => lsn);
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe("recovery", () => {
  it("of a directory that does not exist gives an empty log", async () => {
    const { records, report } = await openTestWal(new FaultyFileSystem());
    expect(records).toEqual([]);
    expect(report).toMatchObject({ segments: 1, records: 0, lastLsn: 0 });
  });

  it("of a cut at every byte keeps what is whole, takes new records, and keeps those too", async () => {
    const { disk } = await logOf(5);
    const path = segmentPath(1);
    const bytes = disk.content(path);
    let lastCount = 0;
    for (let length = segmentHeaderBytes; length <= bytes.length; length++) {
      const cut = new FaultyFileSystem();
      cut.put(path, bytes.subarray(0, length));
      const first = await openTestWal(cut);
      const count = first.records.length;
      expect(lsnsOf(first.records)).toEqual(range(1, count));
      expect(count).toBeGreaterThanOrEqual(lastCount);
      lastCount = count;
      expect(first.report.quarantined).toEqual([]);
      const lsn = first.writer.append(publishEntry(99));
      await first.writer.commit(lsn, "group");
      const second = await openTestWal(cut.crash({ keep: "none" }));
      expect(lsnsOf(second.records)).toEqual(range(1, count + 1));
      expect(second.report).toMatchObject({ cutBytes: 0, quarantined: [], warnings: [] });
    }
    expect(lastCount).toBe(5);
  });

  it("of a cut inside the header sets the rest aside and starts anew", async () => {
    const { disk } = await logOf(2);
    const path = segmentPath(1);
    for (let length = 0; length < segmentHeaderBytes; length++) {
      const cut = new FaultyFileSystem();
      cut.put(path, disk.content(path).subarray(0, length));
      const { records, writer, report } = await openTestWal(cut);
      expect(records).toEqual([]);
      expect(report.quarantined).toMatchObject(length === 0 ? [] : [{ reason: "header", bytes: length }]);
      await writer.commit(writer.append(publishEntry(1)), "group");
      expect((await openTestWal(cut.crash({ keep: "none" }))).records).toHaveLength(1);
    }
  });

  it("of any flipped bit never gives a wrong record, and never is silent", async () => {
    const { disk } = await logOf(4);
    const path = segmentPath(1);
    const original = (await openTestWal(disk.copy())).records;
    const size = disk.content(path).length;
    for (let offset = 0; offset < size; offset++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = disk.copy();
        damaged.flipBit(path, offset, bit);
        const { records, report, writer } = await openTestWal(damaged);
        const expected = original.filter(({ lsn }) => records.some((record) => record.lsn === lsn));
        expect(records).toEqual(expected);
        const lost = original.length - records.length;
        expect(lost).toBeLessThanOrEqual(1);
        const said = report.quarantined.length + report.warnings.length + (report.cut === undefined ? 0 : 1);
        expect(said).toBeGreaterThan(0);
        if (lost > 0 && report.cut === undefined) {
          const [gone] = report.quarantined;
          expect(gone?.toLsn).toBe(gone?.fromLsn);
          expect(records.some(({ lsn }) => lsn === gone?.fromLsn)).toBe(false);
          expect(gone?.wasSynced).toBe(true);
        }
        expect(writer.append(publishEntry(9))).toBeGreaterThan(records.at(-1)?.lsn ?? 0);
      }
    }
  }, 60_000);

  it("takes zeros at the end for a write that was cut short", async () => {
    const { disk } = await logOf(3);
    const path = segmentPath(1);
    disk.put(path, Buffer.concat([disk.content(path), Buffer.alloc(10_000)]));
    const { records, report } = await openTestWal(disk, { chunkBytes: 1000 });
    expect(records).toHaveLength(3);
    expect(report).toMatchObject({ cut: { reason: "torn", bytes: 10_000 }, cutBytes: 10_000, quarantined: [] });
    expect(disk.paths.some((name) => name.includes("quarantine"))).toBe(false);
  });

  it("keeps a copy of an end whose bytes are there and wrong", async () => {
    const { disk } = await logOf(3);
    const path = segmentPath(1);
    disk.flipBit(path, placeOf(disk, path, 3), 0);
    const { records, report } = await openTestWal(disk);
    expect(records).toHaveLength(2);
    expect(report.cut?.reason).toBe("checksum");
    expect(disk.paths.filter((name) => name.includes("quarantine"))).toHaveLength(1);
  });

  describe("of damage in the middle", () => {
    async function damagedLog() {
      const { disk } = await logOf(20, 1000);
      const path = segmentPath(2);
      const message = (await openTestWal(disk.copy())).records.find(({ entry }) => {
        return entry.type === "publish" && disk.content(path).includes(`{"seq":${entry.seq}}`) && entry.seq > 10;
      });
      const lsn = message?.lsn ?? 0;
      disk.flipBit(path, placeOf(disk, path, lsn), 3);
      return { disk, path, lsn };
    }

    it("sets it aside, says which numbers are lost, and goes on", async () => {
      const { disk, path, lsn } = await damagedLog();
      const { records, report, writer } = await openTestWal(disk);
      expect(lsnsOf(records)).toEqual(range(1, 20).filter((one) => one !== lsn));
      expect(report.quarantined).toMatchObject([
        { file: nameOfSegment(2), reason: "checksum", fromLsn: lsn, toLsn: lsn, wasSynced: true, isNew: true },
      ]);
      const [gone] = report.quarantined;
      const copy = disk.content(`${directory}/${gone?.copy}`);
      expect(copy).toEqual(disk.content(path).subarray(gone?.offset, (gone?.offset ?? 0) + (gone?.bytes ?? 0)));
      await writer.close();
      // It is still in the log, so it is said again, and copied once.
      const again = await openTestWal(disk);
      expect(again.report.quarantined).toMatchObject([{ fromLsn: lsn, isNew: false, copy: gone?.copy }]);
      expect(lsnsOf(again.records)).toEqual(lsnsOf(records));
    });

    it("ends the log there under truncate-tail, and sets the rest aside", async () => {
      const { disk, lsn } = await damagedLog();
      const first = await openTestWal(disk, { recovery: "truncate-tail" });
      expect(lsnsOf(first.records)).toEqual(range(1, lsn - 1));
      expect(first.report.quarantined).toMatchObject([{ fromLsn: lsn, toLsn: 20, wasSynced: true }]);
      expect(first.report.cutBytes).toBeGreaterThan(0);
      expect(first.writer.append(publishEntry(100))).toBe(lsn);
      await first.writer.close();
      const again = await openTestWal(disk.crash({ keep: "none" }));
      expect(lsnsOf(again.records)).toEqual(range(1, lsn));
      expect(again.report).toMatchObject({ quarantined: [], warnings: [] });
    });

    it("refuses under fail, and changes nothing", async () => {
      const { disk, path, lsn } = await damagedLog();
      const before = disk.paths.map((name) => [name, disk.content(name)]);
      const opening = openTestWal(disk, { recovery: "fail" });
      await expect(opening).rejects.toMatchObject({
        code: "ERR_STORE_CORRUPT",
        facts: { file: nameOfSegment(2), fromLsn: lsn },
      });
      expect(disk.paths.map((name) => [name, disk.content(name)])).toEqual(before);
      expect(disk.openFiles).toBe(0);
      expect(path).toBe(segmentPath(2));
    });

    it("does not miss what a checkpoint has, under any policy", async () => {
      for (const recovery of ["quarantine", "truncate-tail", "fail"] as const) {
        const { disk, lsn } = await damagedLog();
        const { records, report } = await openTestWal(disk, { recovery, checkpointLsn: lsn });
        expect(lsnsOf(records)).toEqual(range(lsn + 1, 20));
        expect(report.quarantined).toEqual([]);
        expect(report.warnings.join()).toMatch(/from before the last checkpoint, and not needed/);
      }
    });

    it("keeps within the quarantine's limits, and says what it did not keep", async () => {
      const { disk } = await damagedLog();
      const { report } = await openTestWal(disk, { quarantine: { maxBytes: 10, maxFiles: 5 } });
      expect(report.quarantined).toMatchObject([{ copy: undefined }]);
      expect(report.warnings.join()).toMatch(/was not kept/);
    });
  });

  it("under fail opens after a power cut that left the last, unsynced group in pieces", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    await writer.commit(writer.append(publishEntry(1)), "group");
    for (let seq = 2; seq <= 5; seq++) writer.append(publishEntry(seq));
    await writer.commit(5, "os");
    const after = disk.crash({ keep: "all" });
    after.flipBit(segmentPath(1), placeOf(after, segmentPath(1), 3), 1);
    const kept = await openTestWal(after.copy());
    expect(lsnsOf(kept.records)).toEqual([1, 2, 4, 5]);
    expect(kept.report.quarantined).toMatchObject([{ fromLsn: 3, toLsn: 3, wasSynced: false }]);
    const { records, report } = await openTestWal(after, { recovery: "fail" });
    expect(lsnsOf(records)).toEqual([1, 2]);
    expect(report).toMatchObject({ quarantined: [{ fromLsn: 3, toLsn: 5, wasSynced: false }] });
    expect(report.cutBytes).toBeGreaterThan(0);
  });

  it("of a missing segment says what is lost", async () => {
    const { disk, segments } = await logOf(30, 1000);
    const [, second, third] = segments;
    disk.lose(segmentPath(2));
    const lost = {
      file: nameOfSegment(3),
      reason: "missing",
      bytes: 0,
      fromLsn: second?.firstLsn,
      toLsn: second?.lastLsn,
    };
    const { records, report } = await openTestWal(disk.copy());
    expect(records).toHaveLength(30 - ((second?.lastLsn ?? 0) - (second?.firstLsn ?? 0) + 1));
    expect(report.quarantined).toMatchObject([lost]);
    expect(await outcomeOf(openTestWal(disk.copy(), { recovery: "fail" }))).toBe("ERR_STORE_CORRUPT");
    const tail = await openTestWal(disk, { recovery: "truncate-tail" });
    expect(lsnsOf(tail.records)).toEqual(range(1, (second?.firstLsn ?? 0) - 1));
    expect(tail.writer.append(publishEntry(1))).toBe(second?.firstLsn);
    await tail.writer.flush();
    expect((await openTestWal(disk.crash({ keep: "none" }))).report).toMatchObject({ quarantined: [], warnings: [] });
    expect(third?.id).toBe(3);
  });

  it("of a segment in the middle that lost its end says once what is lost", async () => {
    const { disk, segments } = await logOf(30, 1000);
    const [, second] = segments;
    disk.put(segmentPath(2), disk.content(segmentPath(2)).subarray(0, 700));
    const { records, report } = await openTestWal(disk);
    const last = records.filter(({ lsn }) => lsn <= (second?.lastLsn ?? 0)).at(-1)?.lsn ?? 0;
    expect(lsnsOf(records)).toEqual([...range(1, last), ...range((second?.lastLsn ?? 0) + 1, 30)]);
    expect(report.quarantined).toMatchObject([
      { file: nameOfSegment(2), reason: "torn", fromLsn: last + 1, toLsn: second?.lastLsn, wasSynced: true },
    ]);
  });

  it("does not give a record twice whose bytes are there twice", async () => {
    const { disk } = await logOf(3);
    const path = segmentPath(1);
    const bytes = disk.content(path);
    disk.put(path, Buffer.concat([bytes, bytes.subarray(segmentHeaderBytes)]));
    const { records, report } = await openTestWal(disk);
    expect(lsnsOf(records)).toEqual([1, 2, 3]);
    expect(report.cut).toMatchObject({ reason: "checksum", offset: bytes.length });
  });

  it("puts on the disk what it hands out, also when the segment cannot go on", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    for (let seq = 1; seq <= 5; seq++) await writer.commit(writer.append(publishEntry(seq)), "os");
    disk.flipBit(segmentPath(1), placeOf(disk, segmentPath(1), 3), 1);
    const first = await openTestWal(disk);
    expect(lsnsOf(first.records)).toEqual([1, 2, 4, 5]);
    await first.writer.commit(first.writer.append(publishEntry(6)), "group");
    const again = await openTestWal(disk.crash({ keep: "none" }));
    expect(lsnsOf(again.records)).toEqual([1, 2, 4, 5, 6]);
  });

  it("of a missing first segment says so when the checkpoint does not cover it", async () => {
    const { disk, segments } = await logOf(30, 1000);
    disk.lose(segmentPath(1));
    const last = segments[0]?.lastLsn ?? 0;
    expect((await openTestWal(disk.copy(), { checkpointLsn: last })).report).toMatchObject({
      quarantined: [],
      warnings: [],
    });
    expect((await openTestWal(disk.copy(), { checkpointLsn: 2 })).report.quarantined).toMatchObject([
      { reason: "missing", fromLsn: 3, toLsn: last },
    ]);
  });

  it("does not use numbers again that a checkpoint has and the log lost", async () => {
    const { disk } = await logOf(5);
    const first = await openTestWal(disk, { checkpointLsn: 100 });
    expect(first.records).toEqual([]);
    expect(first.writer.append(publishEntry(6))).toBe(101);
    await first.writer.flush();
    const again = await openTestWal(disk.crash({ keep: "none" }), { checkpointLsn: 100 });
    expect(lsnsOf(again.records)).toEqual([101]);
    expect(again.report.quarantined).toEqual([]);
  });

  it("of a segment whose header is lost reads its records", async () => {
    const { disk, segments } = await logOf(30, 1000);
    for (let offset = 0; offset < segmentHeaderBytes; offset += 7) disk.flipBit(segmentPath(2), offset, 1);
    const { records, report, writer } = await openTestWal(disk);
    expect(lsnsOf(records)).toEqual(range(1, 30));
    expect(report.quarantined).toMatchObject([{ reason: "header", offset: 0, file: nameOfSegment(2) }]);
    expect(report.quarantined[0]?.toLsn).toBeLessThan(report.quarantined[0]?.fromLsn ?? 0);
    expect(segments.length).toBeGreaterThan(2);
    await writer.removeThrough(30);
  });

  it("refuses a newer version with a clear text, under every policy, and changes nothing", async () => {
    const { disk } = await logOf(2);
    const header = encodeSegmentHeader(
      { id: 2, firstLsn: 3, createdAt: 0, salt: 1, keyId: 0, keyCheck: new Uint8Array(12) },
      crc32,
    );
    for (const at of [0, 64]) {
      header.writeUInt16LE(2, at + 8);
      header.writeUInt32LE(crc32(header, at, at + 60), at + 60);
    }
    disk.put(segmentPath(2), header);
    for (const recovery of ["quarantine", "truncate-tail", "fail"] as const) {
      const opening = openTestWal(disk, { recovery });
      await expect(opening).rejects.toThrow(/format version 2.*reads up to 1/);
      await expect(openTestWal(disk, { recovery })).rejects.toMatchObject({ code: "ERR_STORE_FAILED" });
    }
  });

  it("refuses an encrypted log as such", async () => {
    const disk = new FaultyFileSystem();
    const header = encodeSegmentHeader(
      { id: 1, firstLsn: 1, createdAt: 0, salt: 1, keyId: 0, keyCheck: new Uint8Array(12) },
      crc32,
    );
    for (const at of [0, 64]) {
      header.writeUInt32LE(7, at + 44);
      header.writeUInt32LE(crc32(header, at, at + 60), at + 60);
    }
    disk.put(segmentPath(1), header);
    expect(await outcomeOf(openTestWal(disk))).toBe("ERR_WRONG_KEY");
  });

  it("passes over records of a newer version that allow it, and says so", async () => {
    const disk = new FaultyFileSystem();
    const out = new ByteWriter();
    const salt = 5;
    const write = (type: number, flags: number, lsn: number): void => {
      const start = beginRecord(out);
      out.string("something new");
      endRecord(out, start, type, flags, lsn, salt, crc32);
    };
    write(20, recordFlag.mayIgnore, 1);
    write(21, recordFlag.mayIgnore, 2);
    const header = encodeSegmentHeader(
      { id: 1, firstLsn: 1, createdAt: 0, salt, keyId: 0, keyCheck: new Uint8Array(12) },
      crc32,
    );
    disk.put(segmentPath(1), Buffer.concat([header, out.bytes.subarray(0, out.length)]));
    const { records, report, writer } = await openTestWal(disk.copy());
    expect(records).toEqual([]);
    expect(report.warnings.join()).toMatch(/passed over 2 records/);
    expect(writer.append(publishEntry(1))).toBe(3);
    write(22, 0, 3);
    disk.put(segmentPath(1), Buffer.concat([header, out.bytes.subarray(0, out.length)]));
    await expect(openTestWal(disk)).rejects.toThrow(/newer version/);
  });

  it("does not take bytes inside a payload for records", async () => {
    const inner = await logOf(3);
    const payload = inner.disk.content(segmentPath(1));
    const disk = new FaultyFileSystem();
    const random = (): number => 0.9;
    const { writer } = await openTestWal(disk, { random });
    for (let seq = 1; seq <= 3; seq++) {
      await writer.commit(writer.append(publishEntry(seq, { data: payload })), "group");
    }
    const after = disk.crash({ keep: "none" });
    // The second record's head is damaged, so that what follows has to be searched through.
    const path = segmentPath(1);
    const starts = [
      ...after
        .content(path)
        .toString("latin1")
        .matchAll(/message-2/g),
    ].map(({ index }) => index);
    const head = Math.max(...starts.filter((at) => at < after.content(path).indexOf("message-3", starts[0]))) - 40;
    for (let offset = head; offset < head + 12; offset++) after.flipBit(path, offset, 4);
    const { records, report } = await openTestWal(after);
    for (const { entry } of records) expect(entry).toMatchObject({ data: new Uint8Array(payload) });
    expect(report.quarantined.length).toBeGreaterThan(0);
  });

  it("searches a segment of hostile bytes in bounded time", async () => {
    // Each 16 bytes look like the head of a record that reaches to the end of the file.
    const size = 2 ** 20;
    const hostile = Buffer.alloc(size);
    for (let at = 0; at + 16 <= size; at += 16) {
      hostile.writeUInt32LE(size - at - 16, at + 4);
      hostile[at + 8] = 1;
      hostile[at + 10] = 5;
    }
    const { disk } = await logOf(2);
    disk.put(segmentPath(1), Buffer.concat([disk.content(segmentPath(1)), hostile]));
    const { records, report } = await openTestWal(disk);
    expect(records).toHaveLength(2);
    expect(report.cutBytes).toBe(size);
  });

  it("removes what an unfinished rotation left", async () => {
    const { disk } = await logOf(2);
    disk.put(`${segmentPath(2)}.tmp`, Buffer.from("half"));
    await openTestWal(disk);
    expect(disk.paths).toEqual([segmentPath(1)]);
  });

  it("gives the same records whatever the size of the chunks it reads", async () => {
    const { disk } = await logOf(50, 3000);
    const expected = (await openTestWal(disk.copy())).records;
    for (const chunkBytes of [16, 17, 64, 100, 1000]) {
      expect((await openTestWal(disk.copy(), { chunkBytes })).records).toEqual(expected);
    }
  });
});

describe("the last segment", () => {
  it("is not written anew when the log was closed in order", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    await writer.commit(writer.append(publishEntry(1)), "os");
    await writer.close();
    expect(disk.paths).toEqual([segmentPath(1), `${directory}/closed`]);
    const writes = disk.counts.get("write");
    const again = await openTestWal(disk);
    expect(again.report.renewedBytes).toBe(0);
    expect(disk.counts.get("write")).toBe(writes);
    expect(disk.paths).toEqual([segmentPath(1)]);
  });

  it("is written anew after a crash, before anything is read from it", async () => {
    const disk = new FaultyFileSystem();
    const first = await openTestWal(disk);
    await first.writer.commit(first.writer.append(publishEntry(1)), "os");
    let leftBehind: number | undefined;
    const again = await openTestWal(disk, {
      onRecords: async () => {
        leftBehind ??= (await openTestWal(disk.crash({ keep: "none" }))).records.length;
      },
    });
    expect(leftBehind).toBe(1);
    expect(again.report.renewedBytes).toBe(first.segments[0]?.bytes);
  });

  it.each(["another", "longer", "half a"])("is written anew where the note of closing is of %s one", async (which) => {
    const { disk } = await logOf(2);
    const { writer } = await openTestWal(disk);
    await writer.close();
    const note = disk.content(`${directory}/closed`).toString();
    const wrong = { another: note.replace("1.wal", "2.wal"), longer: `${note}1`, "half a": note.slice(0, -1) }[which];
    disk.put(`${directory}/closed`, Buffer.from(wrong ?? ""));
    expect((await openTestWal(disk)).report.renewedBytes).toBeGreaterThan(0);
  });

  it("is not noted as closed after a failed sync", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    const lsn = writer.append(publishEntry(1));
    disk.failAt = disk.ioCount + 1;
    expect(await outcomeOf(writer.commit(lsn, "group"))).toBe("ERR_STORE_FAILED");
    expect(disk.failedKind).toBe("datasync");
    await writer.close();
    expect(disk.paths).toEqual([segmentPath(1)]);
  });

  it("that has no room for its copy is read as it is, with a warning, and the log goes on in another", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    await writer.commit(writer.append(publishEntry(1, { data: Buffer.alloc(5000, 1) })), "group");
    disk.capacityBytes = disk.usedBytes + 500;
    const again = await openTestWal(disk);
    expect(again.records).toHaveLength(1);
    expect(again.report).toMatchObject({ renewedBytes: 0, segments: 2 });
    expect(again.report.warnings.join()).toMatch(/could not be written anew, since the disk is full/);
    await again.writer.commit(again.writer.append(settleEntry(1)), "group");
    const crashed = await openTestWal(disk.crash({ keep: "none" }));
    expect(crashed.records).toHaveLength(2);
    expect(crashed.report).toMatchObject({ quarantined: [], cutBytes: 0 });
  });

  it("that has no room even for an empty one behind it is ERR_STORE_FULL, and is opened once there is room", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    await writer.commit(writer.append(publishEntry(1, { data: Buffer.alloc(5000, 1) })), "group");
    disk.capacityBytes = disk.usedBytes + 100;
    expect(await outcomeOf(openTestWal(disk))).toBe("ERR_STORE_FULL");
    expect(disk.paths).toEqual([segmentPath(1)]);
    disk.capacityBytes = Infinity;
    expect((await openTestWal(disk)).records).toHaveLength(1);
  });

  it("takes the reserve's room for its copy", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk, { reserveBytes: 6000 });
    await writer.commit(writer.append(publishEntry(1, { data: Buffer.alloc(5000, 1) })), "group");
    disk.capacityBytes = disk.usedBytes + 500;
    const again = await openTestWal(disk, { reserveBytes: 6000 });
    expect(again.records).toHaveLength(1);
    expect(again.writer.state).toBe("open");
  });

  it("stays as it is where the disk cannot read it, with a warning", async () => {
    const disk = new FaultyFileSystem();
    const { writer } = await openTestWal(disk);
    await writer.commit(writer.append(publishEntry(1)), "group");
    const openForRead = disk.openForRead.bind(disk);
    disk.openForRead = async (path) => {
      const file = await openForRead(path);
      const read: typeof file.read = (bytes, start, end, position) =>
        position + end - start > 128 ? Promise.reject(new Error("bad block")) : file.read(bytes, start, end, position);
      return { ...file, read };
    };
    const { report } = await openTestWal(disk, { recovery: "quarantine" });
    expect(report.warnings[0]).toContain("could not be written anew");
    expect(report.renewedBytes).toBe(0);
    expect(disk.paths).not.toContain(`${segmentPath(1)}.tmp`);
  });
});
