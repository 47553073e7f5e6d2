// What has expired is kept until somebody was told of it, where somebody asked to be.
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { StoreOptions } from "../../../src/persistence/options.js";
import { ManualClock } from "../../support/manual-clock.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const start = 1_700_000_000_000;

interface Sweeping {
  readonly store: StoreEngine;
  readonly clock: ManualClock;
  readonly path: string;
  /** What each sweep found, by durable and number. */
  readonly sweeps: string[][];
  /** Whether what was found is settled. */
  settles: boolean;
}

/** A store whose owner is told of what has expired for the durables "d" and "late", page by page, and settles it. */
async function sweeping(path = temporaryFolder(), options: Partial<StoreOptions> = {}): Promise<Sweeping> {
  const clock = new ManualClock(start);
  const onExpired = async (): Promise<void> => {
    const found: string[] = [];
    sweeps.push(found);
    for (const name of ["d", "late"]) {
      for (let afterSeq = 0, hasMore = true; hasMore;) {
        const page = await store.expired(name, { afterSeq, throughSeq: 1e9 });
        const seqs = page.messages.map(({ message }) => message.seq);
        found.push(...seqs.map((seq) => `${name} ${seq}`));
        if (world.settles && seqs.length > 0) await store.append(seqs.map((seq) => ack(name, seq)));
        ({ throughSeq: afterSeq, hasMore } = page);
      }
    }
  };
  const store = await openStore(path, { clock, onExpired, checkpointInterval: 1e12, ...options });
  const sweeps: string[][] = [];
  const world: Sweeping = { store, clock, path, sweeps, settles: true };
  return world;
}

const soon = { expiresAt: start + 100 };
const later = { expiresAt: start + 500 };

describe("what has expired in a backlog", () => {
  it("is kept until it was settled, and then removed by the pass that rewrites its block", async () => {
    const world = await sweeping();
    const { store, clock, sweeps } = world;
    await store.append([publish(1, soon)]);
    await store.append([durable("d", [">"], 2)]);
    await store.append([publish(2, soon), publish(3), publish(4, later)]);
    await store.checkpoint();
    await store.append([publish(5, soon)]);
    expect(sweeps).toEqual([]);
    clock.jump(200);
    world.settles = false;
    for (const run of [() => store.checkpoint(), () => store.compact()]) await run();
    expect(sweeps).toEqual([
      ["d 2", "d 5"],
      ["d 2", "d 5"],
    ]);
    expect(await pendingSeqs(store, "d")).toEqual([3, 4]);
    world.settles = true;
    await store.compact();
    expect(sweeps).toHaveLength(3);
    expect(await replayed(store)).toEqual([3, 4]);
    expect((await store.stats()).messagesInBlocks).toBe(2);
    await store.checkpoint();
    expect(sweeps).toHaveLength(3);
  });

  it("is told at the next checkpoint though it lies among others, and its block is not looked at again before the next expires", async () => {
    const { store, clock, sweeps } = await sweeping();
    await store.append([durable("d", [">"])]);
    await store.append([publish(1), publish(2, soon), publish(3), publish(4, later), publish(5)]);
    await store.checkpoint();
    clock.jump(200);
    for (const seq of [6, 7]) {
      await store.append([publish(seq)]);
      await store.checkpoint();
      expect(sweeps).toEqual([["d 2"]]);
    }
    clock.jump(400);
    await store.checkpoint();
    await store.checkpoint();
    expect(sweeps).toEqual([["d 2"], ["d 4"]]);
    expect(await pendingSeqs(store, "d")).toEqual([1, 3, 5, 6, 7]);
  });

  it("is told again after a restart only where it was not settled", async () => {
    const world = await sweeping();
    await world.store.append([durable("d", [">"])]);
    await world.store.append([publish(1), publish(2, soon), publish(3, later)]);
    await world.store.checkpoint();
    world.clock.jump(200);
    await world.store.checkpoint();
    expect(world.sweeps).toEqual([["d 2"]]);
    await world.store.close();
    const next = await sweeping(world.path);
    next.clock.jump(600);
    await next.store.checkpoint();
    await next.store.checkpoint();
    expect(next.sweeps).toEqual([["d 3"]]);
  });

  it("is told to a durable that was made when others had been told", async () => {
    const { store, clock, sweeps } = await sweeping(undefined, { retention: { policy: "limits" } });
    await store.append([durable("d", [">"])]);
    await store.append([publish(1), publish(2, soon), publish(3, later)]);
    await store.checkpoint();
    clock.jump(200);
    await store.checkpoint();
    await store.append([durable("late", [">"])]);
    await store.checkpoint();
    expect(sweeps).toEqual([["d 2"], ["late 2"]]);
  });

  /** Of each topic a block of three messages: one expires soon, the last topic's first; one later; one never. */
  async function blocksWithThree(store: StoreEngine, topics: number): Promise<void> {
    await store.append([durable("d", [">"])]);
    for (const n of range(1, topics)) {
      const [topic, seq] = [`t.${n}`, 3 * n];
      const first = publish(seq - 2, { topic, expiresAt: start + 400 - n });
      await store.append(
        [first, publish(seq - 1, { topic, expiresAt: start + 9_999 }), publish(seq, { topic })],
        "memory",
      );
    }
    await store.flush();
    await store.checkpoint();
  }

  it("is looked for in so many blocks at a time where others are left in them, those that wait longest first", async () => {
    const { store, clock, sweeps } = await sweeping();
    await blocksWithThree(store, 300);
    clock.jump(1_000);
    for (let n = 0; n < 3; n++) await store.checkpoint();
    const expired = range(1, 300).map((n) => `d ${3 * n - 2}`);
    expect(sweeps).toEqual([expired.slice(300 - 256), expired.slice(0, 300 - 256)]);
  });

  it("is told at once of all blocks by a thorough pass", async () => {
    const { store, clock, sweeps } = await sweeping();
    await blocksWithThree(store, 300);
    clock.jump(1_000);
    await store.compact();
    expect(sweeps).toEqual([range(1, 300).map((n) => `d ${3 * n - 2}`)]);
    expect((await store.stats()).messagesInBlocks).toBe(600);
  });
});
