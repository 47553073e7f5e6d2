import * as fs from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { StoreOptions, StoreProblem } from "../../../src/persistence/options.js";
import { checkLevel, TableCheck } from "../../../src/persistence/store/level-check.js";
import type { LevelFinding } from "../../../src/persistence/store/level-check.js";
import { cutTables } from "../../../src/persistence/store/level-cut.js";
import { logOf, recordsOf, tableName } from "../../../src/persistence/store/level-format.js";
import type { LiveTable } from "../../../src/persistence/store/level-format.js";
import { isOfMessages, LateLevel } from "../../../src/persistence/store/late-level.js";
import { LevelReader } from "../../../src/persistence/store/level-reader.js";
import { openLevelStore } from "../../../src/persistence/store/level-store.js";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { imprint } from "../../cli/fixture.js";
import { ManualClock } from "../../support/manual-clock.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const everything = { gte: Buffer.from([0]), lt: Buffer.from([255]) };

const look = (folder: string): Promise<LevelFinding> =>
  checkLevel(
    nodeFileSystem,
    folder,
    () => Promise.resolve(),
    () => [],
  );

async function readerOf(folder: string): Promise<LevelReader> {
  const { damage, tables, journals } = await look(folder);
  expect(damage).toBeUndefined();
  return new LevelReader(nodeFileSystem, folder, tables, journals);
}

/** What LevelDB itself says is in a copy of the database. */
async function contentOf(folder: string): Promise<[string, string][]> {
  const copy = join(temporaryFolder(), "copy");
  fs.cpSync(folder, copy, { recursive: true });
  const database = await openLevelStore(copy);
  const found: [string, string][] = [];
  for await (const entries of database.entries(everything)) {
    for (const [key, value] of entries) found.push([key.toString("hex"), value.toString("hex")]);
  }
  await database.close();
  return found;
}

const hexOf = (entries: readonly (readonly [Buffer, Buffer])[]): [string, string][] =>
  entries.map(([key, value]) => [key.toString("hex"), value.toString("hex")]);

interface Session {
  readonly changes: readonly { readonly key: Buffer; readonly size: number | null }[];
  readonly compacts: boolean;
}

/** A database with one key, in a table. */
async function oneTable(): Promise<{ folder: string; key: Buffer }> {
  const folder = temporaryFolder();
  const key = Buffer.from("key");
  const database = await openLevelStore(folder);
  await database.batch([{ key, value: Buffer.from("value") }]);
  await database.compact();
  await database.close();
  return { folder, key };
}

describe("reading LevelDB's files without it", () => {
  it("finds what LevelDB finds, of each key and each range", async () => {
    const key = fc.integer({ min: 0, max: 60 }).map((n) => Buffer.from(`key ${n}`));
    const change = fc.record({
      key,
      size: fc.option(fc.oneof(fc.integer({ min: 0, max: 9_000 }), fc.integer({ min: 0, max: 400_000 }))),
    });
    const session = fc.record({ changes: fc.array(change, { maxLength: 60 }), compacts: fc.boolean() });
    const run = async (sessions: readonly Session[], ends: [Buffer, Buffer]): Promise<void> => {
      const folder = temporaryFolder();
      let byte = 0;
      for (const { changes, compacts } of sessions) {
        const database = await openLevelStore(folder);
        for (const one of changes) {
          const value = one.size === null ? undefined : Buffer.alloc(one.size, byte++);
          await database.batch([{ key: one.key, value }]);
        }
        if (compacts) await database.compact();
        await database.close();
      }
      const reader = await readerOf(folder);
      const content = await contentOf(folder);
      expect(hexOf(await reader.entries(everything))).toEqual(content);
      const [gte, lt] = ends;
      const within = content.filter(([hex]) => hex >= gte.toString("hex") && hex < lt.toString("hex"));
      expect(hexOf(await reader.entries({ gte, lt }))).toEqual(within);
      const known = new Map(content);
      for (const n of range(0, 61)) {
        const one = Buffer.from(`key ${n}`);
        expect((await reader.get(one))?.toString("hex")).toBe(known.get(one.toString("hex")));
      }
    };
    const sessions = fc.array(session, { minLength: 1, maxLength: 4 });
    await fc.assert(fc.asyncProperty(sessions, fc.tuple(key, key), run), { numRuns: 15 });
  }, 120_000);

  it("writes records as it reads them, across the blocks of a file", () => {
    const record = fc.oneof(fc.nat(50), fc.integer({ min: 32_000, max: 33_000 }), fc.nat(100_000));
    fc.assert(
      fc.property(
        fc.array(
          record.map((size) => Buffer.alloc(size + 1, size)),
          { maxLength: 12 },
        ),
        (records) => {
          const found = recordsOf(logOf(records), false);
          expect(Array.isArray(found) && found.length).toBe(records.length);
          expect(records.every((one, at) => Buffer.isBuffer(found[at]) && one.equals(found[at]))).toBe(true);
        },
      ),
    );
  });

  it("takes no piece of a record for a whole one", () => {
    const block = 32 * 1024;
    const large = logOf([Buffer.alloc(80_000, 1)]);
    const small = logOf([Buffer.alloc(10, 2)]);
    for (const journal of [true, false]) {
      expect(recordsOf(Buffer.concat([large.subarray(0, 2 * block), small]), journal)).toBe(
        `a record that is not whole, at byte ${2 * block}`,
      );
      expect(recordsOf(large.subarray(block), journal)).toBe("a record that is not whole, at byte 0");
      // One that was being written when its process died.
      expect(recordsOf(large.subarray(0, 2 * block), journal)).toEqual([]);
    }
  });

  it("reads a file that could not be opened before", async () => {
    const { folder, key } = await oneTable();
    let isRefused = true;
    const fileSystem = {
      ...nodeFileSystem,
      openForRead: (path: string) =>
        isRefused ? Promise.reject(new Error("too many open files")) : nodeFileSystem.openForRead(path),
    };
    const { tables, journals } = await look(folder);
    const reader = new LevelReader(fileSystem, folder, tables, journals);
    await expect(reader.get(key)).rejects.toThrow("too many open files");
    isRefused = false;
    expect((await reader.get(key))?.toString()).toBe("value");
  });

  it("ends before LevelDB is opened, also what was asked for in the same turn as the write that opens it", async () => {
    const { folder, key } = await oneTable();
    let isOpening = false;
    let readMeanwhile = 0;
    const fileSystem = {
      ...nodeFileSystem,
      openForRead(path: string) {
        if (isOpening) readMeanwhile++;
        return nodeFileSystem.openForRead(path);
      },
    };
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    const late = new LateLevel({
      ...(await look(folder)),
      fileSystem,
      folder,
      putOff: [],
      check: new TableCheck(fileSystem, folder),
      breathe: turns,
      later: () => () => undefined,
      setAside: () => Promise.resolve(),
      open: async () => {
        isOpening = true;
        await turns();
        const level = await openLevelStore(folder);
        isOpening = false;
        return level;
      },
    });
    const reads = [late.get(key), late.getMany([key])];
    const writing = late.batch([{ key, value: Buffer.from("later") }]);
    reads.push(late.get(key));
    const found = (await Promise.all(reads)).flat().map(String);
    expect(found.slice(0, 2)).toEqual(["value", "value"]);
    await writing;
    expect(readMeanwhile).toBe(0);
    expect(String(await late.get(key))).toBe("later");
    await late.close();
  });

  it("takes tables out of a database, and LevelDB goes on with the others", async () => {
    const folder = temporaryFolder();
    const database = await openLevelStore(folder);
    for (const n of range(100, 199))
      await database.batch([{ key: Buffer.from(`k${n}`), value: Buffer.alloc(60_000, n) }]);
    await database.compact();
    await database.close();
    const before = await contentOf(folder);
    const { tables } = await look(folder);
    const [, gone] = [...tables].sort((a, b) => Buffer.compare(a.first, b.first)) as [LiveTable, LiveTable];
    await cutTables(nodeFileSystem, folder, [gone]);
    const isGone = (hex: string): boolean => hex >= gone.first.toString("hex") && hex <= gone.last.toString("hex");
    expect(before.filter(([hex]) => isGone(hex)).length).toBeGreaterThan(10);
    expect(await contentOf(folder)).toEqual(before.filter(([hex]) => !isGone(hex)));
    const again = await openLevelStore(folder);
    await again.batch([{ key: Buffer.from("k200"), value: Buffer.from("later") }]);
    await again.close();
    expect((await look(folder)).damage).toBeUndefined();
    expect(fs.existsSync(join(folder, tableName(gone.number)))).toBe(false);
  });
});

const options: Partial<StoreOptions> = {
  lateCheckBytes: 1,
  compression: "none",
  retention: { maxAge: 4_000_000_000_000 },
  blockBytes: 1,
  // Each time a block is read, it is read from the files.
  cacheBytes: 1,
  walBytes: 1e9,
};

/** Messages of 40,000 bytes, in several tables that hold nothing else. */
async function makeStore(path: string): Promise<void> {
  const store = await openStore(path, options);
  await store.append([durable("d", [">"])]);
  const data = "x".repeat(40_000);
  for (const seq of range(1, 149)) await store.append([publish(seq, { data })], "os");
  await store.append([ack("d", 1), ack("d", 70)]);
  await store.compact();
  // What LevelDB had moved down by itself is not rewritten, unless there is something new above it.
  await store.append([publish(150, { data })]);
  await store.compact();
  await store.append([publish(151)]);
  await store.checkpoint();
  await store.close();
}

const pending = range(2, 151).filter((seq) => seq !== 70);

/** Opens a store, and counts how often LevelDB is. */
async function openCounted(
  path: string,
  more: Partial<StoreOptions> = {},
): Promise<{ store: StoreEngine; opened: () => number; problems: StoreProblem[] }> {
  let count = 0;
  const problems: StoreProblem[] = [];
  const store = await openStore(path, {
    ...options,
    onProblem: (problem) => problems.push(problem),
    machine: (real) => ({
      ...real,
      openDatabase: (folder) => {
        count++;
        return real.openDatabase(folder);
      },
    }),
    ...more,
  });
  return { store, opened: () => count, problems };
}

/** Flips bits in the first key of a table of messages; returns the numbers of the messages that it has. */
async function damageTable(path: string): Promise<number[]> {
  const folder = join(path, "level");
  const { tables } = await look(folder);
  const table = tables.filter(isOfMessages).sort((a, b) => Buffer.compare(a.first, b.first))[0] as LiveTable;
  const file = join(folder, tableName(table.number));
  const bytes = fs.readFileSync(file);
  bytes[0] = 255;
  fs.writeFileSync(file, bytes);
  const seqOf = (key: Buffer): number => Number(key.readBigUInt64BE(key.length - 8));
  return range(seqOf(table.first), seqOf(table.last));
}

describe("a large store", () => {
  it("is read before LevelDB has it, which gets it at the first write", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    const { store, opened } = await openCounted(path, { clock: new ManualClock(1_700_000_000_000) });
    expect(store.recoveryReport).toMatchObject({
      database: "opened",
      messagesInBlocks: 151,
      damaged: [],
      discrepancies: [],
    });
    expect(await pendingSeqs(store, "d", 20)).toEqual(pending);
    expect(await replayed(store)).toEqual(range(1, 151));
    expect(opened()).toBe(0);
    await store.append([publish(152), ack("d", 2)]);
    const [, found] = await Promise.all([store.checkpoint(), replayed(store)]);
    expect(found).toEqual(range(1, 152));
    expect(opened()).toBe(1);
    expect(await replayed(store)).toEqual(range(1, 152));
    await store.close();
    const again = await openStore(path, { ...options, lateCheckBytes: 1e12 });
    expect(await pendingSeqs(again, "d", 20)).toEqual([...pending.slice(1), 152]);
  });

  it("is handed to LevelDB after a while, though nobody writes", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    const clock = new ManualClock(1_700_000_000_000);
    let hasOpened: () => void = () => undefined;
    const isOpened = new Promise<void>((resolve) => (hasOpened = resolve));
    const store = await openStore(path, {
      ...options,
      clock,
      machine: (real) => ({
        ...real,
        openDatabase: async (folder) => {
          const database = await real.openDatabase(folder);
          hasOpened();
          return database;
        },
      }),
    });
    void clock.advance(1000);
    await isOpened;
    expect(await replayed(store)).toEqual(range(1, 151));
  });

  it("leaves its database as it was when nothing was written", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    const before = imprint(join(path, "level"));
    const { store } = await openCounted(path, { clock: new ManualClock(1_700_000_000_000) });
    await replayed(store);
    await store.close();
    expect(imprint(join(path, "level"))).toEqual(before);
  });

  it("loses what a damaged table has, and nothing else; a copy of it is kept", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    const lost = await damageTable(path);
    expect(lost.length).toBeGreaterThan(10);
    const left = range(1, 151).filter((seq) => !lost.includes(seq));
    const { store, problems } = await openCounted(path);
    const before = await replayed(store);
    expect(before.filter((seq) => !lost.includes(seq))).toEqual(left);
    expect(problems.map(({ kind }) => kind)).toContain("block-damaged");
    await store.append([publish(152)]);
    await store.checkpoint();
    expect(problems.map(({ message }) => message).join("\n")).toMatch(/\.ldb is damaged .* is a copy of it/);
    expect(fs.readdirSync(join(path, "quarantine"))).toHaveLength(1);
    expect(await replayed(store)).toEqual([...left, 152]);
    await store.close();
    expect((await look(join(path, "level"))).damage).toBeUndefined();
    const { store: again } = await openCounted(path);
    expect(again.recoveryReport).toMatchObject({ database: "opened", damaged: [], discrepancies: [] });
    expect(await pendingSeqs(again, "d", 20)).toEqual([...pending.filter((seq) => !lost.includes(seq)), 152]);
  });

  it("is looked at in whole before, where damage is to be refused", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    await damageTable(path);
    await expect(openStore(path, { ...options, recovery: "fail" })).rejects.toMatchObject({
      code: "ERR_STORE_CORRUPT",
    });
  });

  it("moves aside at the next opening what LevelDB alone finds damaged", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    fs.writeFileSync(join(path, "level/damage"), "");
    const machine: StoreOptions["machine"] = (real) => ({
      ...real,
      openDatabase: (folder) => {
        if (!fs.existsSync(join(folder, "damage"))) return real.openDatabase(folder);
        return Promise.reject(
          Object.assign(new Error("Corruption: of a kind of its own"), { code: "LEVEL_CORRUPTION" }),
        );
      },
    });
    for (let opening = 0; opening < 2; opening++) {
      const { store } = await openCounted(path, { machine });
      if (opening === 1) {
        expect(store.recoveryReport).toMatchObject({ database: "broken" });
        expect(fs.existsSync(join(store.recoveryReport.movedTo ?? "", "damage"))).toBe(true);
        await store.checkpoint();
        expect(await replayed(store)).toEqual([151, 152]); // as far as the log reaches
      } else {
        await store.append([publish(152)]);
        await expect(store.checkpoint()).rejects.toThrow("of a kind of its own");
        expect(await replayed(store)).toEqual(range(1, 152));
      }
      await store.close();
    }
    expect(fs.readdirSync(path).toSorted()).toEqual(["level", "quarantine", "wal"]);
    const { store } = await openCounted(path, { machine });
    expect(store.recoveryReport).toMatchObject({ database: "opened", warnings: [] });
  });

  it("tries again where LevelDB does not open", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    let isRefused = true;
    const { store } = await openCounted(path, {
      machine: (real) => ({
        ...real,
        openDatabase: (folder) => (isRefused ? Promise.reject(new Error("no room for it")) : real.openDatabase(folder)),
      }),
    });
    await store.append([publish(152)]);
    await expect(store.checkpoint()).rejects.toThrow("no room for it");
    expect(await replayed(store)).toEqual(range(1, 152));
    isRefused = false;
    await store.checkpoint();
    expect(await replayed(store)).toEqual(range(1, 152));
  });
});
