// Reading from the middle of a log: what is wanted, and little around it.
import { describe, expect, it } from "vitest";
import type { FileSystem } from "../../../src/platform/file-system.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { openTestWal, publishEntry, settleEntry } from "./fixture.js";
import type { OpenedWal } from "./fixture.js";

const count = 3_000;
const data = Buffer.alloc(200, 1);

/** A file system that counts the bytes read. */
function counting(fileSystem: FaultyFileSystem): { fileSystem: FileSystem; bytesRead: () => number } {
  let bytesRead = 0;
  const openForRead: FileSystem["openForRead"] = async (path) => {
    const file = await fileSystem.openForRead(path);
    return {
      size: file.size,
      close: () => file.close(),
      read: async (bytes, start, end, position) => {
        const read = await file.read(bytes, start, end, position);
        bytesRead += read;
        return read;
      },
    };
  };
  const view = new Proxy<FileSystem>(fileSystem, {
    get: (target, name) => {
      if (name === "openForRead") return openForRead;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { fileSystem: view, bytesRead: () => bytesRead };
}

async function lsnsOf(records: AsyncIterable<readonly { readonly lsn: number }[]>): Promise<number[]> {
  const lsns: number[] = [];
  for await (const page of records) lsns.push(...page.map(({ lsn }) => lsn));
  return lsns;
}

/** All records in one group. */
async function oneGroup(wal: OpenedWal): Promise<void> {
  for (let seq = 1; seq <= count; seq++) wal.writer.append(publishEntry(seq, { data }));
  await wal.writer.flush();
  expect(wal.writer.stats().groups).toBe(1);
}

const range = (from: number, to: number, step = 1): number[] =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);

describe("reading from the middle of a group", () => {
  it("gives exactly the records that are asked for, wherever they lie", async () => {
    const wal = await openTestWal(new FaultyFileSystem());
    await oneGroup(wal);
    for (const [from, to] of [
      [1, 1],
      [1, count],
      [137, 138],
      [count, count],
      [500, 2_500],
    ] as const) {
      expect(await lsnsOf(wal.reader.read(from, to))).toEqual(range(from, to));
    }
    for (const step of [1, 2, 97, 400, 1_499]) {
      const lsns = range(3, count, step);
      expect(await lsnsOf(wal.reader.readThese(lsns))).toEqual(lsns);
    }
    await wal.writer.close();
  });

  it("reads some 32 KiB for one record, and a stretch's bytes about once", async () => {
    const { fileSystem, bytesRead } = counting(new FaultyFileSystem());
    const wal = await openTestWal(fileSystem);
    await oneGroup(wal);
    expect(wal.writer.bytes).toBeGreaterThan(600_000);
    let before = bytesRead();
    await lsnsOf(wal.reader.readThese([2_000]));
    expect(bytesRead() - before).toBeLessThan(40_000);
    before = bytesRead();
    await lsnsOf(wal.reader.read(1_000, 1_999));
    expect(bytesRead() - before).toBeLessThan(1_000 * 300 + 2 * 33_000);
    await wal.writer.close();
  });

  it("knows its way after a full disk has taken the messages out of a group", async () => {
    const disk = new FaultyFileSystem({ capacityBytes: 400_000 });
    const wal = await openTestWal(disk, { reserveBytes: 100_000 });
    for (let seq = 1; seq <= count; seq++) {
      wal.writer.append(publishEntry(seq, { data }));
      if (seq % 3 === 0) wal.writer.append(settleEntry(seq));
    }
    while (wal.writer.writtenLsn < wal.writer.lastLsn) await new Promise((resolve) => setImmediate(resolve));
    expect(wal.writer.stats().droppedRecords).toBe(count);
    const settles = range(4, count + count / 3, 4);
    expect(await lsnsOf(wal.reader.read(1))).toEqual(settles);
    expect(await lsnsOf(wal.reader.readThese([settles[700] as number]))).toEqual([settles[700]]);
    await wal.writer.close();
  });
});
