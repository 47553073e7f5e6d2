import { expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { Machine, StoreOptions } from "../../../src/persistence/options.js";
import { BlockReader } from "../../../src/persistence/block-reader.js";
import type { BlockReaderOptions } from "../../../src/persistence/block-reader.js";
import type { Block } from "../../../src/persistence/store/block.js";
import { DamagedValue } from "../../../src/persistence/store/damaged-value.js";
import type { PendingPage } from "../../../src/persistence/operations.js";
import { keyKind } from "../../../src/persistence/store/keys.js";
import type { Change, KeyValueStore } from "../../../src/persistence/store/level-store.js";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { ManualClock } from "../../support/manual-clock.js";
import { MemoryDatabase } from "../../support/memory-database.js";
import { ack, durable, openStore, publish, range, replayed, temporaryFolder } from "./fixture.js";

/** What a store asked its database for, in keys; and a key that the database cannot read. */
class WatchedDatabase {
  readonly #database = new MemoryDatabase();
  trips: string[][] = [];
  damaged = "";

  open = async (): Promise<KeyValueStore> => {
    const store = await this.#database.open();
    const look = (keys: readonly Buffer[]): void => {
      const names = keys.map((key) => key.toString("latin1"));
      this.trips.push(names);
      if (names.includes(this.damaged)) throw new DamagedValue("a block of the database's own");
    };
    return {
      ...store,
      get: async (key) => {
        look([key]);
        return store.get(key);
      },
      getMany: async (keys) => {
        look(keys);
        return store.getMany(keys);
      },
    };
  };
}

/** A store with 1,000 messages of ten topics in blocks of about ten. */
async function filled(
  options: Partial<StoreOptions> = {},
): Promise<{ store: StoreEngine; database: WatchedDatabase; blocks: number }> {
  const database = new WatchedDatabase();
  const store = await openStore(temporaryFolder(), {
    blockBytes: 400,
    retention: { maxAge: 1e15 },
    ...options,
    machine: { openDatabase: database.open, ...(options.machine as Partial<Machine> | undefined) },
  });
  await store.append(range(1, 1000).map((seq) => publish(seq, { topic: `topic.${seq % 10}` })));
  await store.checkpoint();
  database.trips = [];
  const { blocks } = await store.stats();
  return { store, database, blocks };
}

/** Messages 1 to 100 in blocks, of which a durable has settled all but each tenth: a compaction rewrites them. */
async function leaveTenth(store: StoreEngine): Promise<void> {
  await store.append([durable("d", [">"])]);
  await store.append(range(1, 100).map((seq) => publish(seq)));
  await store.checkpoint();
  const isLeft = (seq: number): boolean => seq % 10 === 0;
  await store.append(
    range(1, 100)
      .filter((seq) => !isLeft(seq))
      .map((seq) => ack("d", seq)),
  );
}

it("blocks are read many at a time, each once, also for several readers at once", async () => {
  const { store, database, blocks } = await filled();
  expect(blocks).toBeGreaterThan(60);
  const found = await Promise.all([replayed(store, [">"]), replayed(store, [">"]), replayed(store, [">"])]);
  expect(found).toEqual([range(1, 1000), range(1, 1000), range(1, 1000)]);
  const keys = database.trips.flat();
  expect(new Set(keys).size).toBe(blocks);
  expect(keys).toHaveLength(blocks);
  expect(database.trips.length).toBeLessThanOrEqual(Math.ceil(blocks / 16));
});

it("a block that the database cannot read costs its own messages, not those that are read with it", async () => {
  const problems: string[] = [];
  const { store, database } = await filled({ cacheBytes: 1, onProblem: ({ kind }) => problems.push(kind) });
  await replayed(store, ["topic.3"]);
  database.damaged = database.trips.flat()[1] as string;
  const left = await replayed(store, [">"]);
  const lost = range(1, 1000).filter((seq) => !left.includes(seq));
  expect(lost.length).toBeGreaterThan(1);
  expect(lost.length).toBeLessThan(20);
  expect(lost.every((seq) => seq % 10 === 3)).toBe(true);
  expect(left).toEqual([...left].sort((a, b) => a - b));
  expect(problems).toEqual(["block-damaged"]);
});

it("history comes in parts of a megabyte or so, however many messages a page has", async () => {
  const store = await openStore(temporaryFolder(), { retention: { maxAge: 1e15 } });
  const data = "x".repeat(300_000);
  for (const seq of range(1, 40)) await store.append([publish(seq, { data })]);
  await store.checkpoint();
  const parts: number[] = [];
  for await (const { length } of store.replayPages([">"])) parts.push(length);
  expect(parts.reduce((sum, length) => sum + length, 0)).toBe(40);
  expect(Math.max(...parts)).toBe(4);
});

it("history that is in memory still lets the event loop turn", async () => {
  let ms = 0;
  let turns = 0;
  class RunningClock extends ManualClock {
    override monotonic(): number {
      return (ms += 1);
    }
  }
  const afterTurn = (run: () => void): void => {
    turns += 1;
    setImmediate(run);
  };
  const { store, database } = await filled({ clock: new RunningClock(1_700_000_000_000), machine: { afterTurn } });
  await replayed(store, [">"]);
  database.trips = [];
  turns = 0;
  await replayed(store, [">"]);
  expect(database.trips).toEqual([]);
  expect(turns).toBeGreaterThan(0);
});

it("a failure of the database reaches whoever waits, and nobody else, also where readers share a block", async () => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  try {
    const reader = new BlockReader({
      database: () => ({ getMany: () => Promise.reject(new Error("the database is closed")) }),
      sealer: { nameInKeys: (name: string) => Buffer.from(name) },
      cacheBytes: 1,
    } as unknown as BlockReaderOptions);
    const [a, b] = [1, 2].map((firstSeq) => ({ topic: { name: "a" }, firstSeq }) as unknown as Block) as [Block, Block];
    const outcomes = await Promise.allSettled([reader.openAll([a]), reader.openAll([a, b])]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
});

it("a replay shows what is kept of blocks that are rewritten meanwhile", async () => {
  const clock = new ManualClock(1_700_000_000_000);
  const problems: string[] = [];
  const store = await openStore(temporaryFolder(), {
    clock,
    blockBytes: 400,
    cacheBytes: 1,
    retention: { maxAge: 1e15 },
    onProblem: ({ message }) => problems.push(message),
  });
  const expiresAt = clock.now() + 10_000;
  await store.append(range(1, 1000).map((seq) => publish(seq, seq % 10 === 0 ? {} : { expiresAt })));
  await store.checkpoint();
  const seqs: number[] = [];
  for await (const page of store.replayPages([">"])) {
    if (seqs.length === 0) {
      void clock.advance(20_000);
      await store.compact();
    }
    seqs.push(...page.map(({ seq }) => seq));
  }
  expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
  const lasting = range(1, 1000).filter((seq) => seq % 10 === 0);
  expect(seqs.filter((seq) => seq % 10 === 0)).toEqual(lasting);
  expect(problems).toEqual([]);
});

it("a durable gets what it has not settled, of blocks that are rewritten while its page is read", async () => {
  const memory = new MemoryDatabase();
  let beforeLot = (): Promise<void> => Promise.resolve();
  const openDatabase = async (): Promise<KeyValueStore> => {
    const database = await memory.open();
    const getMany = async (keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> => {
      if (keys.length > 1) await beforeLot();
      return database.getMany(keys);
    };
    return { ...database, getMany };
  };
  const problems: string[] = [];
  const store = await openStore(temporaryFolder(), {
    blockBytes: 400,
    cacheBytes: 1,
    retention: { policy: "interest" },
    onProblem: ({ message }) => problems.push(message),
    machine: { openDatabase },
  });
  await store.append([durable("billing", [">"])]);
  await store.append(range(1, 1000).map((seq) => publish(seq)));
  await store.checkpoint();
  // The first lot is of blocks that stay as they are: it is read while the others are rewritten.
  const isLeft = (seq: number): boolean => seq <= 300 || seq % 10 === 0;
  await store.append(
    range(1, 1000)
      .filter((seq) => !isLeft(seq))
      .map((seq) => ack("billing", seq)),
  );
  beforeLot = () => {
    beforeLot = () => Promise.resolve();
    return store.compact();
  };
  const page = await store.pending("billing", 0, 1000);
  expect(page.messages.map(({ message: { seq } }) => seq)).toEqual(range(1, 1000).filter(isLeft));
  expect(problems).toEqual([]);
});

it("a durable gets what it has not settled, of blocks of which nobody knows yet whether they were rewritten", async () => {
  const memory = new MemoryDatabase();
  let refused: readonly Change[] | undefined;
  let reading: Promise<PendingPage> | undefined;
  // As LevelDB where the sync of its journal fails: the batch is there once the database is open again.
  const openDatabase = async (): Promise<KeyValueStore> => {
    const database = await memory.open();
    const isAgain = refused !== undefined;
    await database.batch(refused ?? []);
    return {
      ...database,
      async batch(changes) {
        const isRewriting = changes.some(({ key, value }) => key[0] === keyKind.block && value === undefined);
        if (!isRewriting || isAgain) return database.batch(changes);
        refused = changes;
        throw Object.assign(new Error("the sync failed"), { code: "LEVEL_IO_ERROR" });
      },
      async get(key) {
        if (isAgain && reading === undefined) {
          reading = store.pending("d", 0, 1000);
          for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
        }
        return database.get(key);
      },
    };
  };
  const problems: string[] = [];
  const store = await openStore(temporaryFolder(), {
    blockBytes: 400,
    cacheBytes: 1,
    retention: { policy: "interest" },
    onProblem: ({ kind }) => problems.push(kind),
    machine: { openDatabase },
  });
  await leaveTenth(store);
  await expect(store.compact()).rejects.toThrow("the sync failed");
  const page = await reading;
  expect(page?.messages.map(({ message: { seq } }) => seq)).toEqual(range(1, 10).map((seq) => seq * 10));
  expect(problems).toEqual(["checkpoint-failed"]);
});

it.each(["opened", "read"] as const)(
  "who reads a block while nobody knows whether it was rewritten is refused where the database cannot be %s again, until it can be",
  async (broken) => {
    const memory = new MemoryDatabase();
    let refused: readonly Change[] | undefined;
    let reading: Promise<PendingPage> | undefined;
    let isBroken = true;
    const read = async (): Promise<void> => {
      if (reading !== undefined) return;
      reading = store.pending("d", 0, 1000);
      reading.catch(() => undefined);
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    const refusal = (): Error => Object.assign(new Error("an input/output error"), { code: "LEVEL_IO_ERROR" });
    const openDatabase = async (): Promise<KeyValueStore> => {
      const isAgain = refused !== undefined;
      if (isAgain && isBroken && broken === "opened") {
        await read();
        throw refusal();
      }
      const database = await memory.open();
      return {
        ...database,
        async batch(changes) {
          const isRewriting = changes.some(({ key, value }) => key[0] === keyKind.block && value === undefined);
          await database.batch(changes);
          if (!isRewriting || isAgain) return;
          refused = changes;
          throw refusal();
        },
        async get(key) {
          if (isAgain && isBroken && key[0] === keyKind.facts) {
            await read();
            throw refusal();
          }
          return database.get(key);
        },
      };
    };
    const problems: string[] = [];
    const store = await openStore(temporaryFolder(), {
      blockBytes: 400,
      cacheBytes: 1,
      retention: { policy: "interest" },
      onProblem: ({ kind }) => problems.push(kind),
      machine: { openDatabase },
    });
    await leaveTenth(store);
    await expect(store.compact()).rejects.toThrow("an input/output error");
    await expect(reading).rejects.toThrow("an input/output error");
    isBroken = false;
    await store.checkpoint();
    const page = await store.pending("d", 0, 1000);
    expect(page.messages.map(({ message: { seq } }) => seq)).toEqual(range(1, 10).map((seq) => seq * 10));
    expect(problems).toEqual(["checkpoint-failed"]);
  },
);

it("a replay keeps its order when a checkpoint removes the log in front of what it reads", async () => {
  const clock = new ManualClock(1_700_000_000_000);
  const store = await openStore(temporaryFolder(), { clock, walBytes: 256 * 1024, retention: { maxAge: 1e15 } });
  const data = "x".repeat(20_000);
  for (const seq of range(1, 11)) await store.append([publish(seq, { data })]);
  const parts: number[][] = [];
  for await (const page of store.replayPages([">"])) {
    if (parts.length === 0) await store.checkpoint();
    parts.push(page.map(({ seq }) => seq));
  }
  expect(parts[0]).not.toContain(11);
  expect(parts.flat()).toEqual(range(1, 11));
});

it("a durable misses nothing when a checkpoint removes the log in front of the page that is read", async () => {
  let beforeSecond = (): Promise<unknown> => Promise.resolve();
  const fileSystem = {
    ...nodeFileSystem,
    async openForRead(path: string) {
      if (path.endsWith("0002.wal")) await beforeSecond();
      return nodeFileSystem.openForRead(path);
    },
  };
  const clock = new ManualClock(1_700_000_000_000);
  const store = await openStore(temporaryFolder(), { clock, walBytes: 256 * 1024, machine: { fileSystem } });
  const data = "x".repeat(20_000);
  await store.append([durable("billing", [">"])]);
  for (const seq of range(1, 11)) await store.append([publish(seq, { data })]);
  beforeSecond = () => {
    beforeSecond = () => Promise.resolve();
    return store.checkpoint();
  };
  const seqs: number[] = [];
  for (let afterSeq = 0, hasMore = true; hasMore;) {
    const page = await store.pending("billing", afterSeq, 1000, 4 * data.length);
    seqs.push(...page.messages.map(({ message: { seq } }) => seq));
    ({ throughSeq: afterSeq, hasMore } = page);
  }
  expect(seqs).toEqual(range(1, 11));
});
