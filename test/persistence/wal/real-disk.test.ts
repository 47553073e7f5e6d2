import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { crc32, portableCrc32 } from "../../../src/platform/checksum.js";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { nameOfSegment } from "../../../src/persistence/wal/segment.js";
import { openTestWal, outcomeOf, publishEntry, settleEntry } from "./fixture.js";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "wal tést "));
});
afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

describe("the log on a real disk", () => {
  it("keeps records over a reopening, a rotation, a torn tail and a removal", async () => {
    const directory = join(folder, "store", "wal");
    const options = { directory, segmentBytes: 100_000, reserveBytes: 10_000 };
    const first = await openTestWal(nodeFileSystem, options);
    const data = Buffer.alloc(256, 7);
    const promises = [];
    for (let seq = 1; seq <= 2000; seq++) {
      promises.push(first.writer.commit(first.writer.append(publishEntry(seq, { data })), "group"));
      if (seq % 100 === 0) await first.writer.flush();
    }
    await Promise.all(promises);
    expect(first.segments.length).toBeGreaterThan(3);
    await first.writer.close();

    const last = join(directory, nameOfSegment(first.segments.length));
    fs.appendFileSync(last, Buffer.alloc(300, 1));
    const second = await openTestWal(nodeFileSystem, options);
    expect(second.records.map(({ lsn }) => lsn)).toEqual(Array.from({ length: 2000 }, (_, index) => index + 1));
    expect(second.report).toMatchObject({ cutBytes: 300, quarantined: [] });
    await second.writer.commit(second.writer.append(settleEntry(1)), "always");
    const removed = await second.writer.removeThrough(1000);
    expect(removed).toBeGreaterThan(0);
    const read = [];
    for await (const batch of second.reader.read()) read.push(...batch.map(({ lsn }) => lsn));
    expect(read.at(-1)).toBe(2001);
    await second.writer.close();

    const third = await openTestWal(nodeFileSystem, { ...options, checkpointLsn: 1000 });
    expect(third.records.map(({ lsn }) => lsn)).toEqual(Array.from({ length: 1001 }, (_, index) => index + 1001));
    expect(third.report).toMatchObject({ cutBytes: 0, quarantined: [], warnings: [] });
    await third.writer.close();
  });

  it("says so when the directory cannot be made", async () => {
    fs.writeFileSync(join(folder, "file"), "");
    expect(await outcomeOf(openTestWal(nodeFileSystem, { directory: join(folder, "file", "wal") }))).toMatch(
      /ENOTDIR|ERR_STORE_FAILED/,
    );
  });
});

describe("the file system of the machine", () => {
  it("gives the codes that callers branch on", async () => {
    expect(await outcomeOf(nodeFileSystem.openForRead(join(folder, "none")))).toBe("ENOENT");
    expect(await outcomeOf(nodeFileSystem.openForAppend(join(folder, "none")))).toBe("ENOENT");
    expect(await outcomeOf(nodeFileSystem.list(join(folder, "none")))).toBe("ENOENT");
    expect(await nodeFileSystem.stat(join(folder, "none"))).toBeUndefined();
    await nodeFileSystem.remove(join(folder, "none"));
    const file = await nodeFileSystem.create(join(folder, "b"));
    expect(await outcomeOf(nodeFileSystem.create(join(folder, "b")))).toBe("EEXIST");
    await file.write(Buffer.from("0123456789"), 2, 8);
    await file.truncate(3);
    await file.write(Buffer.from("xy"), 0, 2);
    await file.datasync();
    expect(file.size).toBe(5);
    await file.close();
    await nodeFileSystem.rename(join(folder, "b"), join(folder, "a"));
    await nodeFileSystem.syncDirectory(folder);
    expect(await nodeFileSystem.list(folder)).toEqual(["a"]);
    expect(fs.readFileSync(join(folder, "a"), "utf8")).toBe("234xy");
    expect(await nodeFileSystem.freeBytes(folder)).toBeGreaterThan(0);
  });

  it("locks a folder once, names the holder, and takes over from the dead", async () => {
    const path = join(folder, "lock");
    const first = await nodeFileSystem.lock(path);
    expect(first.acquired).toBe(true);
    expect(await nodeFileSystem.lock(path)).toMatchObject({ acquired: false, holder: { pid: process.pid } });
    if (first.acquired) {
      await first.release();
      await first.release();
    }
    expect(fs.readdirSync(folder)).toEqual([]);

    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    const host = "elsewhere";
    for (const dead of [
      JSON.stringify({ pid, host, started: "" }),
      JSON.stringify({ pid: process.pid, host, started: "1 1" }),
      "",
      "{",
    ]) {
      fs.writeFileSync(path, dead);
      const taken = await nodeFileSystem.lock(path);
      expect(taken.acquired).toBe(true);
      if (taken.acquired) await taken.release();
    }
    // A process that is alive: the one that runs this one.
    fs.writeFileSync(path, JSON.stringify({ pid: process.ppid, host, started: "" }));
    expect(await nodeFileSystem.lock(path)).toEqual({ acquired: false, holder: { pid: process.ppid, host } });
    expect(fs.readdirSync(folder)).toEqual(["lock"]);
  });
});

describe("CRC-32", () => {
  it("is that of zlib, whole and in parts, by either way", () => {
    expect(crc32(Buffer.from("123456789"), 0, 9)).toBe(0xcbf43926);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(), fc.nat(), (bytes, a, b) => {
        const start = a % (bytes.length + 1);
        const end = start + (b % (bytes.length - start + 1));
        const whole = portableCrc32(bytes, start, end);
        expect(crc32(bytes, start, end)).toBe(whole);
        const middle = start + Math.floor((end - start) / 2);
        expect(crc32(bytes, middle, end, crc32(bytes, start, middle))).toBe(whole);
      }),
    );
  });
});
