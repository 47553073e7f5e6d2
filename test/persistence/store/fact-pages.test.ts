import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { StoreOptions } from "../../../src/persistence/options.js";
import { keyKind } from "../../../src/persistence/store/keys.js";
import type { KeyRange } from "../../../src/persistence/store/keys.js";
import type { KeyValueStore } from "../../../src/persistence/store/level-store.js";
import { ManualClock } from "../../support/manual-clock.js";
import { MemoryDatabase } from "../../support/memory-database.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const century = 100 * 365 * 24 * 3_600_000;
const keptForEver: StoreOptions["retention"] = { maxAge: century };

type Step =
  | { readonly do: "publish"; readonly count: number }
  | { readonly do: "ack"; readonly every: number }
  | { readonly do: "checkpoint" }
  | { readonly do: "compact" }
  | { readonly do: "reopen"; readonly knowsPages: boolean }
  | { readonly do: "fail"; readonly after: number; readonly afterwards: boolean };

/** What is read of a database, and whether its reader knows of pages. */
class Watched {
  readonly database: MemoryDatabase;
  factsRead = 0;
  #knowsPages: boolean;

  constructor(database: MemoryDatabase, knowsPages = true) {
    this.database = database;
    this.#knowsPages = knowsPages;
  }

  open = async (): Promise<KeyValueStore> => {
    const inner = await this.database.open();
    return {
      ...inner,
      entries: (given: KeyRange) => this.#entries(inner, given),
      batch: (changes) => inner.batch(this.#knowsPages ? changes : changes.filter(({ key }) => !isPage(key))),
    };
  };

  async *#entries(inner: KeyValueStore, given: KeyRange): ReturnType<KeyValueStore["entries"]> {
    for await (const entries of inner.entries(given)) {
      this.factsRead += entries.filter(([key]) => key[0] === keyKind.facts).length;
      yield this.#knowsPages ? entries : entries.filter(([key]) => !isPage(key));
    }
  }
}

const isPage = (key: Buffer): boolean => key[0] === keyKind.factPage;

const pagesOf = ({ entries }: MemoryDatabase): string[] =>
  [...entries.keys()].filter((key) => key.charCodeAt(0) === keyKind.factPage);

const blocksOf = ({ entries }: MemoryDatabase): number =>
  [...entries.keys()].filter((key) => key.charCodeAt(0) === keyKind.facts).length;

/** A store with a block for each message. */
function openOn(watched: Watched, path: string, options: Partial<StoreOptions> = {}): Promise<StoreEngine> {
  const machine = { openDatabase: watched.open };
  return openStore(path, { blockBytes: 1, compression: "none", retention: keptForEver, machine, ...options });
}

async function publishAll(store: StoreEngine, from: number, to: number): Promise<void> {
  for (const seq of range(from, to)) await store.append([publish(seq)], "os");
}

async function makeStore(path: string, database: MemoryDatabase, options: Partial<StoreOptions> = {}): Promise<void> {
  const store = await openOn(new Watched(database), path, options);
  await publishAll(store, 1, 600);
  await store.checkpoint();
  await publishAll(store, 601, 610);
  await store.checkpoint();
  await store.close();
}

const encryption = { keyProvider: () => ({ id: 1, key: Buffer.alloc(32, 7) }) };

describe("pages of facts", () => {
  it.each([
    { kind: "plain", options: {} },
    { kind: "encrypted", options: { encryption } },
  ])("are read in place of the facts of each block: $kind", async ({ options }) => {
    const path = temporaryFolder();
    const database = new MemoryDatabase();
    await makeStore(path, database, options);
    expect(blocksOf(database)).toBe(610);
    const watched = new Watched(database);
    const store = await openOn(watched, path, options);
    // Those of the last checkpoint are too few for a page.
    expect(watched.factsRead).toBe(10);
    expect(store.recoveryReport).toMatchObject({ messagesInBlocks: 610, damaged: [], discrepancies: [] });
    expect(await replayed(store)).toEqual(range(1, 610));
  });

  it("cost nothing but time when they are damaged, and are written anew", async () => {
    const path = temporaryFolder();
    const database = new MemoryDatabase();
    await makeStore(path, database);
    const before = new Map(database.entries);
    const [, second = ""] = pagesOf(database);
    const bytes = Buffer.from(database.entries.get(second) ?? "");
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4;
    database.entries.set(second, bytes);
    const store = await openOn(new Watched(database), path);
    expect(store.recoveryReport).toMatchObject({ messagesInBlocks: 610, damaged: [], discrepancies: [] });
    expect(await replayed(store)).toEqual(range(1, 610));
    await store.append([publish(611)], "os");
    await store.checkpoint();
    await store.close();
    expect(database.entries.get(second)).toEqual(before.get(second));
    const watched = new Watched(database);
    await openOn(watched, path);
    expect(watched.factsRead).toBeLessThan(64);
  });

  it("are not believed after a version that does not know them has changed the store", async () => {
    const path = temporaryFolder();
    const database = new MemoryDatabase();
    await makeStore(path, database);
    const settings = { retention: { maxMessages: 400 } };
    const old = await openOn(new Watched(database, false), path, settings);
    expect(await replayed(old)).toEqual(range(211, 610));
    await old.checkpoint();
    await old.close();
    expect(blocksOf(database)).toBe(400);
    const store = await openOn(new Watched(database), path, settings);
    expect(store.recoveryReport).toMatchObject({ messagesInBlocks: 400, damaged: [], discrepancies: [] });
    expect(await replayed(store)).toEqual(range(211, 610));
    await store.append([publish(611)], "os");
    await store.checkpoint();
    await store.close();
    const watched = new Watched(database);
    const again = await openOn(watched, path, settings);
    expect(watched.factsRead).toBeLessThan(64);
    expect(await replayed(again)).toEqual(range(212, 611));
  });

  it("go when one of their blocks does, and tell of the others the next time", async () => {
    const path = temporaryFolder();
    const database = new MemoryDatabase();
    const options = { retention: { policy: "interest" } } as const;
    const store = await openOn(new Watched(database), path, options);
    await store.append([durable("d", [">"])]);
    await publishAll(store, 1, 700);
    await store.checkpoint();
    expect(pagesOf(database)).toHaveLength(3);
    // One in the middle of each: too little is left out of pages to write them anew but where it adds up.
    for (const seq of [100, 300, 690]) await store.append([ack("d", seq)], "os");
    await store.checkpoint();
    await store.close();
    const watched = new Watched(database);
    const again = await openOn(watched, path, options);
    expect(watched.factsRead).toBeLessThan(64);
    const left = range(1, 700).filter((seq) => ![100, 300, 690].includes(seq));
    expect(await pendingSeqs(again, "d", 100)).toEqual(left);
  });

  it.each([
    { what: "", versions: fc.constant(true) },
    { what: ", also where a version that does not know them takes turns", versions: fc.boolean() },
  ])(
    "tell what the facts themselves do, whatever comes and goes, and whichever batch fails$what",
    async ({ what, versions }) => {
      const step: fc.Arbitrary<Step> = fc.oneof(
        {
          weight: 3,
          arbitrary: fc.record({ do: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 150 }) }),
        },
        { weight: 3, arbitrary: fc.record({ do: fc.constant("ack" as const), every: fc.integer({ min: 1, max: 9 }) }) },
        { weight: 3, arbitrary: fc.record({ do: fc.constant("checkpoint" as const) }) },
        { weight: 1, arbitrary: fc.record({ do: fc.constant("compact" as const) }) },
        { weight: 2, arbitrary: fc.record({ do: fc.constant("reopen" as const), knowsPages: versions }) },
        {
          weight: 1,
          arbitrary: fc.record({
            do: fc.constant("fail" as const),
            after: fc.integer({ min: 0, max: 4 }),
            afterwards: fc.boolean(),
          }),
        },
      );
      const run = async (steps: readonly Step[]): Promise<void> => {
        const path = temporaryFolder();
        const database = new MemoryDatabase();
        // Nothing comes by itself: a checkpoint that failed is not tried again before the steps say so.
        const clock = new ManualClock(1_700_000_000_000);
        const options = { clock, retention: { policy: "interest" }, blockBytes: 300, checkpointInterval: 1e9 } as const;
        let store = await openOn(new Watched(database), path, options);
        await store.append([durable("d", [">"])]);
        let lastSeq = 0;
        for (const one of steps) {
          if (one.do === "publish") {
            await publishAll(store, lastSeq + 1, lastSeq + one.count);
            lastSeq += one.count;
          } else if (one.do === "ack") {
            for (const [at, seq] of (await pendingSeqs(store, "d", 100)).entries()) {
              if (at % one.every === 0) await store.append([ack("d", seq)], "os");
            }
          } else if (one.do === "checkpoint") await store.checkpoint().catch(() => undefined);
          else if (one.do === "compact") await store.compact().catch(() => undefined);
          else if (one.do === "fail") {
            database.failAt = database.batches + one.after;
            database.failsAfterwards = one.afterwards;
          } else {
            const pending = await pendingSeqs(store, "d", 100);
            database.failAt = undefined;
            await store.close();
            const watched = new Watched(database, one.knowsPages);
            store = await openOn(watched, path, options);
            const hasUsedThem = pagesOf(database).length === 0 || watched.factsRead < blocksOf(database);
            if (what === "") expect(hasUsedThem).toBe(true);
            expect(store.recoveryReport).toMatchObject({ database: "opened", damaged: [], discrepancies: [] });
            expect(await pendingSeqs(store, "d", 100)).toEqual(pending);
          }
        }
        await store.close();
      };
      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), run), { numRuns: 25 });
    },
    120_000,
  );
});
