import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../../src/persistence/engine.js";
import { keyKind } from "../../../src/persistence/store/keys.js";
import type { Change, KeyValueStore } from "../../../src/persistence/store/level-store.js";
import type { ReadFile } from "../../../src/platform/file-system.js";
import { memoryOptions } from "../../crash/store-workload.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { ManualClock } from "../../support/manual-clock.js";
import { MemoryDatabase } from "../../support/memory-database.js";
import { outcomeOf } from "../wal/fixture.js";
import { ack, durable, message, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

function entriesIn(database: MemoryDatabase, kind: number): number {
  return [...database.entries.keys()].filter((key) => key.charCodeAt(0) === kind).length;
}

function blocksIn(database: MemoryDatabase): number {
  return entriesIn(database, keyKind.block);
}

/** A disk on which something happens before a file is read. */
class WatchedFileSystem extends FaultyFileSystem {
  beforeRead: (() => Promise<void>) | undefined;

  override async openForRead(path: string): Promise<ReadFile> {
    const happens = this.beforeRead;
    this.beforeRead = undefined;
    await happens?.();
    return super.openForRead(path);
  }
}

describe("bad days", () => {
  it("a checkpoint that failed leaves nothing in the database that the next one takes for its own", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    let store = await StoreEngine.open(memoryOptions(disk, database));
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 30)) await store.append([publish(seq, { topic: `t.${seq % 3}` })]);
    // The blocks are written; what says that they are there is not.
    database.failAt = database.batches + 1;
    await expect(store.checkpoint()).rejects.toThrow();
    expect(database.hasFailed).toBe(true);
    expect(blocksIn(database)).toBeGreaterThan(0);
    for (const seq of range(1, 29)) await store.append([ack("d", seq)]);
    await store.checkpoint();
    expect(blocksIn(database)).toBe(1);
    await store.close();
    store = await StoreEngine.open(memoryOptions(disk, database));
    expect(store.recoveryReport).toMatchObject({ damaged: [], discrepancies: [], messagesInBlocks: 1 });
    await store.close();
  });

  it("a checkpoint takes dedup ids out of the database whose window is over", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    const clock = new ManualClock(1_700_000_000_000);
    const store = await StoreEngine.open({ ...memoryOptions(disk, database), clock, dedup: { window: 1_000 } });
    const stored = (): number => entriesIn(database, keyKind.dedup);
    await store.append([publish(1, { dedupId: "a", timestamp: clock.now() })]);
    await store.checkpoint();
    expect(stored()).toBe(1);
    await clock.advance(1_001);
    await store.append([publish(2, { dedupId: "b", timestamp: clock.now() })]);
    await store.checkpoint();
    expect(stored()).toBe(1);
    await clock.advance(1_001);
    await store.append([publish(3)]);
    await store.checkpoint();
    expect(stored()).toBe(0);
    await store.close();
  });

  it("a durable whose patterns change while a checkpoint looks at others keeps what it has settled, and its attempts", async () => {
    const options = memoryOptions(new FaultyFileSystem(), new MemoryDatabase());
    let elapsed = 0;
    // Each look at a durable takes longer than the event loop may be held.
    const machine = { ...(options.machine as object), elapsed: () => (elapsed += 5) };
    const store = await StoreEngine.open({ ...options, machine });
    await store.append([...range(1, 50).map((n) => durable(`other${n}`, ["b"])), durable("d", [">"])]);
    for (const seq of [1, 2, 9000]) await store.append([publish(seq, { topic: "a" })]);
    const attempt = { type: "settle", durable: "d", seq: 1, outcome: "attempt", deliveryCount: 3 } as const;
    await store.append([attempt, ack("d", 2)]);
    const checkpoint = store.checkpoint();
    await store.append([{ type: "durable", change: "changed", name: "d", patterns: ["a"], position: 9001 }]);
    await checkpoint;
    expect(await pendingSeqs(store, "d")).toEqual([1, 9000]);
    expect((await store.pending("d", 0, 1)).messages).toMatchObject([{ deliveryCount: 3 }]);
    await store.close();
  });

  it("a power cut in a checkpoint takes no message whose settle was not on the disk yet", async () => {
    const disk = new WatchedFileSystem();
    const database = new MemoryDatabase();
    const left: { disk: FaultyFileSystem; database: MemoryDatabase }[] = [];
    const openDatabase = async (): Promise<KeyValueStore> => {
      const opened = await database.open();
      const batch = async (changes: readonly Change[]): Promise<void> => {
        await opened.batch(changes);
        left.push({ disk: disk.crash({ keep: "none" }), database: database.copy() });
      };
      return { ...opened, batch };
    };
    const settings = { clock: new ManualClock(1_800_000_000_000), retention: { maxAge: 1_000 } };
    const machine = { fileSystem: disk, openDatabase };
    const store = await StoreEngine.open({ ...memoryOptions(disk, database), ...settings, machine });
    await store.append([durable("d", [">"]), publish(1)]);
    left.length = 0;
    // Only the durable keeps the message, and it settles it while the checkpoint reads.
    disk.beforeRead = () => store.append([ack("d", 1), publish(2)], "os");
    await store.checkpoint();
    expect(disk.beforeRead).toBe(undefined);
    expect(left.length).toBeGreaterThan(0);
    for (const found of left) {
      const again = await StoreEngine.open({ ...memoryOptions(found.disk, found.database), ...settings });
      expect([[1], [2]]).toContainEqual(await pendingSeqs(again, "d"));
      await again.close();
    }
    expect(await pendingSeqs(store, "d")).toEqual([2]);
    await store.close();
  });

  it("a full disk refuses messages and forgets none it took, takes acknowledgements, and ends by itself", async () => {
    const disk = new FaultyFileSystem({ capacityBytes: 30_000 });
    const database = new MemoryDatabase();
    const options = { ...memoryOptions(disk, database), reserveBytes: 2_000, walBytes: 16_000 };
    const store = await StoreEngine.open(options);
    await store.append([durable("d", [">"])]);
    const kept: number[] = [];
    let seq = 0;
    let code = "ok";
    while (code === "ok") {
      seq++;
      code = await outcomeOf(store.append([publish(seq, { data: "x".repeat(500) })]));
      if (code === "ok") kept.push(seq);
    }
    expect(code).toBe("ERR_STORE_FULL");
    expect(store.state).toBe("full");
    expect(kept.length).toBeGreaterThan(20);
    expect(await pendingSeqs(store, "d")).toEqual(kept);
    // A transaction that settles and publishes is refused as a whole.
    expect(await outcomeOf(store.append([ack("d", 1), publish(seq + 1)]))).toBe("ERR_STORE_FULL");
    expect(await pendingSeqs(store, "d")).toEqual(kept);
    for (const one of kept.slice(0, 10)) await store.append([ack("d", one)]);
    expect(await pendingSeqs(store, "d")).toEqual(kept.slice(10));
    await store.checkpoint();
    disk.capacityBytes = 200_000;
    await store.compact();
    expect(store.state).toBe("open");
    const next = store.lastSeq + 1;
    await store.append([publish(next)]);
    await store.close();
    const again = await StoreEngine.open(memoryOptions(disk, database));
    expect(await pendingSeqs(again, "d")).toEqual([...kept.slice(10), next]);
    await again.close();
  });

  it("compact does not fail for want of room that is there again by now, as the database has kept it", async () => {
    const database = new MemoryDatabase();
    const store = await StoreEngine.open(memoryOptions(new FaultyFileSystem(), database));
    await store.append([publish(1)]);
    database.keepsFailure = true;
    await store.compact();
    expect(database.keepsFailure).toBe(false);
    await store.close();
  });

  it("a full disk lets a store open that was killed: it reads and settles on what the reserve gives up", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    const clock = new ManualClock(1_700_000_000_000);
    const options = { clock, reserveBytes: 3_000 };
    const killed = await StoreEngine.open({ ...memoryOptions(disk, database), ...options });
    await killed.append([durable("d", [">"])]);
    for (const seq of range(1, 20)) await killed.append([publish(seq, { data: "x".repeat(500) })]);
    const left = disk.crash({ keep: "none" });
    left.capacityBytes = left.usedBytes;
    const store = await StoreEngine.open({ ...memoryOptions(left, database), ...options });
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 20));
    expect(await outcomeOf(store.append([publish(21, { data: "x".repeat(500) })]))).toBe("ERR_STORE_FULL");
    for (const seq of range(1, 19)) await store.append([ack("d", seq)]);
    expect(await pendingSeqs(store, "d")).toEqual([20]);
    left.capacityBytes = Infinity;
    await clock.advance(2_000);
    await store.stats();
    expect(await outcomeOf(store.append([publish(22)]))).toBe("ok");
    await store.close();
  });

  it("a full disk is full no longer a moment after what fills it was settled, though nobody makes room", async () => {
    // It took until the next checkpoint by the clock, which is half a minute.
    const disk = new FaultyFileSystem({ capacityBytes: 30_000 });
    const clock = new ManualClock(1_700_000_000_000);
    const store = await StoreEngine.open({ ...memoryOptions(disk, new MemoryDatabase()), clock, reserveBytes: 8_000 });
    await store.append([durable("d", [">"])]);
    let last = 0;
    while ((await outcomeOf(store.append([publish(last + 1, { data: "x".repeat(500) })]))) === "ok") last++;
    expect(store.state).toBe("full");
    for (const seq of range(1, last)) await store.append([ack("d", seq)]);
    for (let ms = 0; ms < 5000 && store.state === "full"; ms += 100) {
      await clock.advance(100);
      await store.stats();
    }
    expect(store.state).toBe("open");
    await store.append([publish(store.lastSeq + 1)]);
    await store.close();
  });

  it("a failed sync ends writing for good; what was not acknowledged is not seen, and reads go on", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    const states: string[] = [];
    const options = { ...memoryOptions(disk, database), onStateChange: (state: string) => states.push(state) };
    const store = await StoreEngine.open(options);
    await store.append([durable("d", [">"]), publish(1)]);
    disk.failAt = disk.ioCount + 1;
    expect(await outcomeOf(store.append([publish(2)]))).toBe("ERR_STORE_FAILED");
    expect(store.state).toBe("failed");
    expect(states).toEqual(["failed"]);
    expect(await outcomeOf(store.append([publish(3)]))).toBe("ERR_STORE_FAILED");
    expect(await pendingSeqs(store, "d")).toEqual([1]);
    await store.close().catch(() => undefined);
    const again = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database));
    expect(await pendingSeqs(again, "d")).toEqual([1]);
    await again.close();
  });

  it("a message is not seen before it has reached its level, nor what comes after it", async () => {
    const disk = new FaultyFileSystem();
    const store = await StoreEngine.open(memoryOptions(disk, new MemoryDatabase()));
    await store.append([durable("d", [">"])]);
    const release = disk.hold("datasync");
    const synced = store.append([publish(1)], "group");
    const written = store.append([publish(2)], "os");
    await written;
    expect(await pendingSeqs(store, "d")).toEqual([]);
    release();
    await synced;
    expect(await pendingSeqs(store, "d")).toEqual([1, 2]);
    await store.close();
  });

  it("a checkpoint that fails loses nothing, is told, and the next one succeeds", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    const problems: string[] = [];
    const options = {
      ...memoryOptions(disk, database),
      onProblem: ({ kind }: { kind: string }) => problems.push(kind),
    };
    const store = await StoreEngine.open(options);
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 30)) await store.append([publish(seq)]);
    database.failAt = database.batches;
    await expect(store.checkpoint()).rejects.toThrow("the batch failed");
    expect(problems).toEqual(["checkpoint-failed"]);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 30));
    await store.append([publish(31)]);
    await store.checkpoint();
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 31));
    expect((await store.stats()).messagesInBlocks).toBe(31);
    await store.close();
  });

  it("a store of a newer version is refused with both versions in the text, and left alone", async () => {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    await (await StoreEngine.open(memoryOptions(disk, database))).close();
    const { crc32 } = await import("../../../src/platform/checksum.js");
    const { encodeAbout } = await import("../../../src/persistence/about.js");
    database.entries.set("a", encodeAbout({ format: 2, lsn: 0, seq: 0, generation: 0 }, crc32));
    const before = new Map(database.entries);
    await expect(StoreEngine.open(memoryOptions(disk, database))).rejects.toThrow(/format version 2.*reads up to 1/);
    await expect(StoreEngine.open(memoryOptions(disk, database))).rejects.toMatchObject({ code: "ERR_STORE_FAILED" });
    expect(database.entries).toEqual(before);
  });

  it("a closed folder that was copied opens, and so does one without its log", async () => {
    const path = temporaryFolder();
    let store = await openStore(path);
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 10)) await store.append([publish(seq)]);
    await store.checkpoint();
    await store.append([ack("d", 3)]);
    await store.close();
    const copy = join(temporaryFolder(), "copy");
    fs.cpSync(path, copy, { recursive: true });
    store = await openStore(copy);
    expect(await pendingSeqs(store, "d")).toEqual([1, 2, ...range(4, 10)]);
    await store.close();
    fs.rmSync(join(copy, "wal"), { recursive: true });
    store = await openStore(copy);
    // The acknowledgement was in the log alone; the messages were not.
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 10));
    await store.append([publish(store.lastSeq + 1)]);
    await store.close();
    store = await openStore(copy);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 11));
  });

  it("one small record for each change, whatever the path, and each is there after a restart", async () => {
    const paths = {
      single: async (store: StoreEngine) => store.append([publish(1)], "group"),
      batch: async (store: StoreEngine) => store.append([publish(1), publish(2)], "always"),
      transaction: async (store: StoreEngine) => {
        await store.append([publish(1)], "os");
        await store.append([ack("d", 1), publish(2)], "group");
      },
      delayed: async (store: StoreEngine) => {
        await store.append([publish(1, { deliverAt: 5 })]);
        await store.append([{ type: "delayed-removed", seq: 1 }, publish(2)]);
      },
      redrive: async (store: StoreEngine) => {
        await store.append([{ type: "dead-letter-added", id: "x", message: message(1), facts: {} }]);
        await store.append([{ type: "dead-letter-removed", id: "x" }, publish(2)]);
      },
      retained: async (store: StoreEngine) => store.append([publish(1, { retain: true })]),
      interval: async (store: StoreEngine) => store.append([publish(1)], "interval"),
      memory: async (store: StoreEngine) => {
        await store.append([publish(1)], "memory");
        await store.flush();
      },
    };
    for (const [name, run] of Object.entries(paths)) {
      for (const restart of ["close", "checkpoint", "power"]) {
        const disk = new FaultyFileSystem();
        const database = new MemoryDatabase();
        const store = await StoreEngine.open(memoryOptions(disk, database));
        await store.append([durable("d", [">"])]);
        await run(store);
        if (restart === "power") await store.flush();
        if (restart === "checkpoint") await store.checkpoint();
        const before = [await pendingSeqs(store, "d"), await replayed(store)];
        expect(before[0]?.length, name).toBeGreaterThan(0);
        if (restart !== "power") await store.close();
        const left = restart === "power" ? disk.crash({ keep: "none" }) : disk;
        const again = await StoreEngine.open(memoryOptions(left, database));
        expect([await pendingSeqs(again, "d"), await replayed(again)], `${name}, ${restart}`).toEqual(before);
        expect(again.recovered.deadLetters, name).toEqual([]);
        expect(again.recovered.delayed, name).toEqual([]);
        await again.close();
      }
    }
  });

  it("a closed pool of names: topics that have no message left are forgotten", async () => {
    const store = await openStore(temporaryFolder(), { retention: { policy: "interest" } });
    for (let seq = 1; seq <= 5000; seq++) void store.append([publish(seq, { topic: `t.${seq}` })], "memory");
    await store.flush();
    expect((await store.stats()).topics).toBe(5000);
    await store.checkpoint();
    expect((await store.stats()).topics).toBe(0);
  });
});
