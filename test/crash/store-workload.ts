import { expect } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOperation } from "../../src/persistence/operations.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { ack, durable, message, publish, range } from "../persistence/store/fixture.js";
import { FaultyFileSystem, randomFrom } from "../support/faulty-file-system.js";
import type { FaultyFileSystemOptions } from "../support/faulty-file-system.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";

/** What a run of the workload knows at its end: what was asked, and what of it was acknowledged as being on the disk. */
export interface StoreRun {
  readonly disk: FaultyFileSystem;
  readonly database: MemoryDatabase;
  /** Each batch, in order; true once it was acknowledged. */
  readonly batches: { readonly operations: readonly StoreOperation[]; isAcknowledged: boolean }[];
}

export function memoryOptions(disk: FaultyFileSystem, database: MemoryDatabase): StoreOptions {
  return {
    path: "/store",
    blockBytes: 300,
    walBytes: 1e9,
    reserveBytes: 200,
    retention: { policy: "interest" },
    dedup: { window: 1e13 },
    clock: new ManualClock(1_700_000_000_000),
    random: randomFrom(7),
    machine: { fileSystem: disk, openDatabase: database.open },
  };
}

/** Everything the store does, twice, with checkpoints between; stops at the first failure as a process that dies does. */
export async function runStoreWorkload(
  options: FaultyFileSystemOptions,
  databaseFailure: Partial<Pick<MemoryDatabase, "failAt" | "failsAfterwards">> = {},
): Promise<StoreRun> {
  const disk = new FaultyFileSystem(options);
  const database = Object.assign(new MemoryDatabase(), databaseFailure);
  const run: StoreRun = { disk, database, batches: [] };
  try {
    for (const base of [0, 100]) {
      const store = await StoreEngine.open(memoryOptions(disk, database));
      try {
        await session(store, run, base);
      } finally {
        await store.close().catch(() => undefined);
      }
    }
  } catch {
    // What was acknowledged until then is what counts.
  }
  return run;
}

async function session(store: StoreEngine, run: StoreRun, base: number): Promise<void> {
  const send = async (...operations: StoreOperation[]): Promise<void> => {
    const batch = { operations, isAcknowledged: false };
    run.batches.push(batch);
    await store.append(operations, "group");
    batch.isAcknowledged = true;
  };
  if (base === 0) await send(durable("a", ["t.*"]), durable("b", [">"]));
  for (const n of range(base + 1, base + 6)) await send(publish(n, { topic: n % 2 === 0 ? "t.x" : "u" }));
  await send(ack("b", base + 1));
  await send(ack("b", base + 2), publish(base + 7, { topic: "t.y" }), publish(base + 8, { dedupId: `d${base}` }));
  await store.checkpoint();
  await send(ack("a", base + 2), ack("a", base + 4));
  await send({ type: "settle", durable: "b", seq: base + 3, outcome: "attempt", deliveryCount: 2, retryAt: 5 });
  await send(publish(base + 9, { deliverAt: 77 }), publish(base + 10, { topic: "t.z", retain: true }));
  await Promise.all([
    send(publish(base + 11, { topic: "t.x" })),
    send(ack("b", base + 5)),
    send(publish(base + 12, { topic: "u" })),
  ]);
  await store.checkpoint();
  await send({ type: "delayed-removed", seq: base + 9 }, publish(base + 13));
  if (base > 0) await send({ type: "dedup-cleared" });
  await send({
    type: "durable",
    change: "changed",
    name: "b",
    patterns: ["t.>", "u", "orders.>"],
    position: base + 14,
  });
  if (base > 0) await send({ type: "durable", change: "deleted", name: "a", patterns: [], position: 0 });
  await send(
    { type: "dead-letter-added", id: `x${base}`, message: message(base + 3), facts: { reason: "rejected" } },
    { type: "dead-letter-added", id: `y${base}`, message: message(base + 4), facts: null },
  );
  await send({ type: "dedup", dedupId: `only${base}`, seq: base + 1, id: "first", at: 1_700_000_000_000 });
  await send({ type: "retained-cleared", topic: "t.z" });
  await store.compact();
  await send({ type: "dead-letter-removed", id: `x${base}` });
  await send(publish(base + 14, { topic: "t.x" }));
}

/** What the store should hold after some of the batches, as a model of a few lines has it. */
function modelOf(batches: readonly (readonly StoreOperation[])[]): Record<string, unknown> {
  const messages: { seq: number; topic: string }[] = [];
  const durables = new Map<string, { position: number; settled: Set<number> }>();
  const delayed = new Set<number>();
  const dedup: string[] = [];
  const attempts: number[] = [];
  const letters = new Set<string>();
  const retained = new Map<string, number>();
  for (const operation of batches.flat()) {
    if (operation.type === "publish") {
      const { seq, topic, deliverAt, dedupId, retain } = operation.message;
      if (retain === true) retained.set(topic, seq);
      if (deliverAt !== undefined) delayed.add(seq);
      else messages.push({ seq, topic });
      if (dedupId !== undefined) dedup.push(dedupId);
    } else if (operation.type === "settle") {
      if (operation.outcome === "attempt") attempts.push(operation.seq);
      else durables.get(operation.durable)?.settled.add(operation.seq);
    } else if (operation.type === "durable") {
      const { change, name, position } = operation;
      if (change === "deleted") durables.delete(name);
      if (change === "created") durables.set(name, { position, settled: new Set() });
    } else if (operation.type === "delayed-removed") delayed.delete(operation.seq);
    else if (operation.type === "dead-letter-added") letters.add(operation.id);
    else if (operation.type === "dead-letter-removed") letters.delete(operation.id);
    else if (operation.type === "retained-cleared") retained.delete(operation.topic);
    else if (operation.type === "dedup-cleared") dedup.length = 0;
    else dedup.push(operation.dedupId);
  }
  const pending = (name: string, topics: (topic: string) => boolean): number[] | string => {
    const one = durables.get(name);
    if (one === undefined) return "none";
    return messages.filter(({ seq, topic }) => topics(topic) && !one.settled.has(seq)).map(({ seq }) => seq);
  };
  return {
    a: pending("a", (topic) => topic.startsWith("t.")),
    b: pending("b", () => true),
    delayed: [...delayed],
    dedup,
    attempts,
    letters: [...letters],
    retained: [...retained],
  };
}

/** What a store holds, to be compared. */
export async function foundIn(store: StoreEngine): Promise<Record<string, unknown>> {
  const pending = async (name: string): Promise<number[] | string> => {
    if (!store.recovered.durables.some((one) => one.name === name)) return "none";
    const seqs: number[] = [];
    for (let afterSeq = 0; ;) {
      const page = await store.pending(name, afterSeq, 5);
      for (const { message: one } of page.messages) {
        expect(one.id).toBe(`message-${one.seq}`);
        expect(one.data).toEqual({ seq: one.seq });
        seqs.push(one.seq);
      }
      if (!page.hasMore) return seqs;
      afterSeq = page.throughSeq;
    }
  };
  const b = store.recovered.durables.find(({ name }) => name === "b");
  return {
    a: await pending("a"),
    b: await pending("b"),
    delayed: store.recovered.delayed.map(({ seq }) => seq),
    dedup: store.recovered.dedup.map(({ dedupId }) => dedupId),
    attempts: [...(b?.attempts.keys() ?? [])],
    letters: store.recovered.deadLetters.map(({ id }) => id),
    retained: store.recovered.retained.map(({ topic, seq }) => [topic, seq]),
  };
}

/**
 * The log keeps an order, so what is there must be all that was acknowledged, and of the rest a part from the front, each
 * batch whole. Gives what was found, as text.
 */
export async function expectAcknowledged(run: StoreRun, store: StoreEngine, hint: string): Promise<string> {
  const { batches } = run;
  const acknowledged = batches.findLastIndex(({ isAcknowledged }) => isAcknowledged) + 1;
  const candidates: string[] = [];
  for (let count = acknowledged; count <= batches.length; count++) {
    candidates.push(JSON.stringify(modelOf(batches.slice(0, count).map(({ operations }) => operations))));
  }
  const found = JSON.stringify(await foundIn(store));
  expect(candidates, `${hint}: found ${found}`).toContain(found);
  return found;
}

/** Opens what a crash left, and compares it with what was acknowledged; the same again, after a checkpoint and another opening. */
export async function checkStore(
  run: StoreRun,
  disk: FaultyFileSystem,
  database: MemoryDatabase,
  hint: string,
): Promise<void> {
  let store = await StoreEngine.open(memoryOptions(disk, database));
  const found = await expectAcknowledged(run, store, hint);
  expect(
    store.recoveryReport.log.quarantined.filter(({ wasSynced }) => wasSynced),
    hint,
  ).toEqual([]);
  expect(store.recoveryReport.discrepancies, hint).toEqual([]);
  await store.checkpoint();
  expect(JSON.stringify(await foundIn(store)), `${hint}, after a checkpoint`).toBe(found);
  await store.close();
  expect(disk.openFiles, hint).toBe(0);
  store = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database));
  expect(JSON.stringify(await foundIn(store)), `${hint}, opened again`).toBe(found);
  expect(store.recoveryReport, hint).toMatchObject({ damaged: [], discrepancies: [] });
  await store.close();
}
