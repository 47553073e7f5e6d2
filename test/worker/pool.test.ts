import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import type { BrokerOptions, Message } from "inproc-broker";
import { fixedBackoff, InProcBroker } from "inproc-broker";
import type { WorkerPool, WorkerPoolOptions } from "inproc-broker/worker";
import { exposeBroker, workerPool } from "inproc-broker/worker";
import { Collector, deferred, failure } from "./fixture.js";

const module = (name: string): URL => new URL(`./modules/${name}`, import.meta.url);
/** A thread runs what is built. */
const bootstrap = new URL("../../dist/worker/pool-entry.js", import.meta.url);

interface Work {
  readonly n: number;
  readonly threadId: number;
  readonly slot: number;
  readonly deliveryCount: number;
}

interface Rig {
  readonly broker: InProcBroker;
  readonly pool: WorkerPool;
  readonly started: Collector<Message<Work>>;
  readonly done: Collector<Message<Work>>;
}

function openPool(options: WorkerPoolOptions = {}, handler = "handler.mjs", given: BrokerOptions = {}): Rig {
  const broker = new InProcBroker({ ack: { backoff: fixedBackoff(1) }, deadLetter: {}, ...given });
  const started = new Collector<Message<Work>>();
  const done = new Collector<Message<Work>>();
  broker.subscribe("started", (message) => started.add(message as Message<Work>), { ack: "none" });
  broker.subscribe("done", (message) => done.add(message as Message<Work>), { ack: "none" });
  const pool = workerPool(broker, "work", handler.startsWith("file:") ? new URL(handler) : module(handler), {
    size: 2,
    bootstrap,
    restart: fixedBackoff(1),
    ...options,
  });
  onTestFinished(async () => {
    await pool.close({ drain: false });
    await broker.close({ drain: false });
  });
  return { broker, pool, started, done };
}

describe("a worker pool", () => {
  it("refuses what is no option of its, or none of that kind, before anything starts", async () => {
    // An object for `restart` ended the program once a worker had died, and a misspelt option was none.
    const broker = await InProcBroker.open();
    const open = (options: object, file: unknown = module("handler.mjs")) => {
      return () => workerPool(broker, "jobs", file as URL, options);
    };
    for (const options of [
      { restart: { initial: 10 } },
      { restart: 100 },
      { sise: 2 },
      { key: "id" },
      { idleTimeout: 0 },
    ]) {
      const [option] = Object.keys(options);
      expect(open(options)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION", facts: { option } }));
    }
    for (const file of [5, null, ""]) expect(open({}, file)).toThrow(/must be a URL or a path/);
    for (const target of [undefined, null, 5]) {
      expect(() => exposeBroker(broker, target as never)).toThrow(/is given a Worker, a MessagePort/);
    }
    expect(broker.subscriptions()).toEqual([]);
    await broker.close();
  });

  it("keeps a key with one worker, in order, and acknowledges what is done", async () => {
    const { broker, pool, done } = openPool({ workerData: "given" });
    await pool.ready();
    for (let n = 0; n < 60; n += 1) await broker.publish("work", { n }, { key: `k${n % 6}` });
    const all = (await done.until(60)).map(({ data }) => data);
    await broker.idle();
    for (let key = 0; key < 6; key += 1) {
      const mine = all.filter(({ n }) => n % 6 === key);
      expect(new Set(mine.map(({ slot }) => slot)).size).toBe(1);
      expect(mine.map(({ n }) => n)).toEqual(mine.map(({ n }) => n).sort((a, b) => a - b));
    }
    expect(new Set(all.map(({ threadId }) => threadId)).size).toBe(2);
    expect(pool.stats()).toMatchObject({ size: 2, queued: 0, inFlight: 0, done: 60, failed: 0, crashes: 0 });
  });

  it("gives what has no key to whoever is free, and holds the rest back", async () => {
    const { broker, pool, started, done } = openPool();
    await pool.ready();
    const gate = deferred();
    broker.respond("gate", () => gate.promise, { ack: "none" });
    for (let n = 0; n < 20; n += 1) await broker.publish("work", { n, wait: "gate" });
    const first = (await started.until(2)).map(({ data }) => data.slot);
    expect(first.sort()).toEqual([0, 1]);
    // Two at work, and no more than a few on their way: the rest waits in the broker.
    expect(pool.stats().queued).toBeGreaterThanOrEqual(20 - 2 * 3);
    gate.resolve();
    await done.until(20);
    await broker.idle();
    expect(new Set(done.items.map(({ data }) => data.n)).size).toBe(20);
  });

  it("gives back what a handler throws on", async () => {
    const { broker, pool, started } = openPool({ maxDeliveries: 2 });
    await broker.publish("work", { n: 1, fail: true });
    await new Promise<void>((resolve) => broker.once("dead-letter", () => resolve()));
    expect(started.items.map(({ data }) => data.deliveryCount)).toEqual([1, 2]);
    expect((await broker.deadLetters.list()).items).toMatchObject([
      { reason: "max-deliveries", subscription: "pool work", error: "cannot" },
    ]);
    expect(pool.stats().crashes).toBe(0);
  });

  it("replaces a worker that dies, and dead-letters what kills workers, not what waited beside it", async () => {
    const { broker, pool, started, done } = openPool({ size: 1, maxDeliveries: 3, prefetch: 4 });
    const lost = new Collector<{ exitCode: number | undefined; slot: number }>();
    pool.on("worker-lost", lost.add);
    await pool.ready();
    const gate = deferred();
    broker.respond("gate", () => gate.promise, { ack: "none" });
    await broker.publish("work", { n: 0, wait: "gate" });
    await started.until(1);
    await broker.publish("work", { n: 1, exit: true });
    for (let n = 2; n < 8; n += 1) await broker.publish("work", { n });
    gate.resolve();
    await done.until(7);
    await broker.idle();
    const [letter] = (await broker.deadLetters.list()).items;
    expect(letter).toMatchObject({ reason: "max-deliveries", message: { data: { n: 1 } } });
    expect(letter?.history.map(({ outcome, reason }) => [outcome, reason])).toEqual(
      [1, 2, 3].map(() => ["nacked", "its worker died: exit code 3"]),
    );
    expect(lost.items.map(({ exitCode, slot }) => [exitCode, slot])).toEqual([1, 2, 3].map(() => [3, 0]));
    expect(pool.stats()).toMatchObject({ done: 7, failed: 3, crashes: 3 });
    const counts = started.items.filter(({ data }) => data.n !== 1).map(({ data }) => data.deliveryCount);
    expect(new Set(counts)).toEqual(new Set([1]));
  });

  it("keeps a key in order through the death of its worker", async () => {
    const { broker, pool, done } = openPool({ maxDeliveries: 2 });
    await pool.ready();
    for (let n = 0; n < 12; n += 1) await broker.publish("work", { n, exit: n === 3 }, { key: "k" });
    await done.until(11);
    await broker.idle();
    expect([...new Set(done.items.map(({ data }) => data.n))]).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it("ends and replaces a worker that hangs", async () => {
    const { broker, pool, done } = openPool({ size: 1, maxDeliveries: 1, ackTimeout: 150 });
    const lost = new Collector<unknown>();
    pool.on("worker-lost", lost.add);
    broker.on("worker-lost", lost.add);
    await pool.ready();
    const { threadId } = pool.stats().workers[0]!;
    await broker.publish("work", { n: 1, hang: true });
    await broker.publish("work", { n: 2 });
    expect((await done.until(1)).map(({ data }) => data.n)).toEqual([2]);
    await broker.idle();
    expect((await broker.deadLetters.list()).items).toMatchObject([
      { reason: "max-deliveries", message: { data: { n: 1 } } },
    ]);
    expect(pool.stats().crashes).toBe(1);
    const event = { worker: "thread", reason: "hang", threadId, pool: "pool work", slot: 0, subscriptions: 0 };
    expect(lost.items).toMatchObject([event, event]);
  });

  it("goes on beside a handler that never comes back", async () => {
    const { broker, pool, done } = openPool({ size: 1, maxDeliveries: 2, ackTimeout: 100, prefetch: 0 });
    await pool.ready();
    await broker.publish("work", { n: 1, never: true });
    for (const n of [2, 3, 4]) await broker.publish("work", { n });
    await done.until(3);
    await broker.idle();
    expect((await broker.deadLetters.list()).items.map(({ message }) => message.data)).toEqual([{ n: 1, never: true }]);
    expect(pool.stats()).toMatchObject({ done: 3, crashes: 0 });
  });

  it("holds threads to their limits", async () => {
    const { broker, pool } = openPool({ size: 1, maxDeliveries: 1, resourceLimits: { maxOldGenerationSizeMb: 24 } });
    const lost = new Collector<{ reason: string; error: unknown }>();
    pool.on("worker-lost", lost.add);
    await pool.ready();
    await broker.publish("work", { n: 1, memory: true });
    expect((await lost.until(1))[0]).toMatchObject({ reason: "error", error: { code: "ERR_WORKER_OUT_OF_MEMORY" } });
    await broker.idle();
    expect((await broker.deadLetters.list()).items).toHaveLength(1);
  });

  it("sends a worker away that has nothing to do, and brings one back for work", async () => {
    const { broker, pool, done } = openPool({ size: 1, idleTimeout: 20 });
    expect(pool.stats().workers[0]?.state).toBe("idle");
    await broker.publish("work", { n: 1 });
    await done.until(1);
    await broker.idle();
    await until(() => pool.stats().workers[0]?.state === "idle");
    await broker.publish("work", { n: 2 });
    await done.until(2);
    await broker.idle();
    expect(pool.stats()).toMatchObject({ crashes: 0, done: 2 });
    expect(pool.stats().workers[0]?.starts).toBe(2);
    expect(new Set(done.items.map(({ data }) => data.threadId)).size).toBe(2);
  });

  it("is resized without breaking the order of a key", async () => {
    const { broker, pool, done } = openPool({ size: 1 });
    const publishing = (async () => {
      for (let n = 0; n < 90; n += 1) {
        await broker.publish("work", { n }, { key: `k${n % 9}` });
        if (n === 29) void pool.resize(3);
        if (n === 59) void pool.resize(2);
      }
    })();
    await publishing;
    await done.until(90);
    await pool.resize(2);
    await broker.idle();
    for (let key = 0; key < 9; key += 1) {
      const mine = done.items.map(({ data }) => data.n).filter((n) => n % 9 === key);
      expect(mine).toEqual(mine.slice().sort((a, b) => a - b));
    }
    expect(pool.stats()).toMatchObject({ size: 2, done: 90, crashes: 0 });
  });

  it("drains when it is closed, and leaves nothing", async () => {
    const { broker, pool, done } = openPool();
    for (let n = 0; n < 30; n += 1) await broker.publish("work", { n }, { key: `k${n}` });
    await pool.close();
    expect(new Set(done.items.map(({ data }) => data.n)).size).toBe(30);
    expect([pool.state, pool.stats().inFlight]).toEqual(["closed", 0]);
    expect(pool.stats().workers.map(({ state, threadId }) => [state, threadId])).toEqual([
      ["closed", undefined],
      ["closed", undefined],
    ]);
    expect(broker.subscriptions().filter(({ group }) => group !== undefined)).toEqual([]);
  });

  it("ends with the broker", async () => {
    const { broker, pool } = openPool();
    await pool.ready();
    await broker.close({ drain: false });
    await pool.close();
    expect(pool.stats().workers.map(({ threadId }) => threadId)).toEqual([undefined, undefined]);
  });

  it("keeps its workers to what they may do", async () => {
    const { broker, pool } = openPool({ size: 1, maxDeliveries: 1, allow: { publish: ["done"] } });
    await pool.ready();
    await broker.publish("work", { n: 1 });
    await broker.idle();
    const [letter] = (await broker.deadLetters.list()).items;
    expect(letter?.error).toContain('may not publish to "started"');
  });

  it("refuses what makes no sense", () => {
    const broker = new InProcBroker();
    for (const options of [
      { size: 0 },
      { maxFailedStarts: 0 },
      { concurrency: 0.5 },
      { prefetch: -1 },
      { idleTimeout: 0 },
      { key: 5 },
    ]) {
      expect(() => workerPool(broker, "a", "/x.js", options as object)).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_OPTION", facts: { option: Object.keys(options)[0] } }),
      );
    }
    expect(broker.subscriptions()).toEqual([]);
  });
});

describe("a pool whose workers cannot start", () => {
  const folder = mkdtempSync(join(tmpdir(), "pool-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  /** A module that no checker looks at. */
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return pathToFileURL(join(folder, name)).href;
  };

  it.each([
    ["missing.mjs", "Cannot find module"],
    [write("syntax-error.mjs", "export default ("), "Unexpected"],
    ["throws.mjs", "no licence"],
  ])("says so each time and gives up after so many: %s", async (name, text) => {
    const { broker, pool } = openPool({ size: 2, maxFailedStarts: 3 }, name);
    const errors = new Collector<[error: Error, context: unknown]>();
    broker.on("error", (error, context) => errors.add([error as Error, context]));
    const failed = new Promise<Error>((resolve) => pool.once("failed", resolve));
    await broker.publish("work", { n: 1 }, { key: "k" });
    const error = await failed;
    expect(error).toMatchObject({ code: "ERR_REMOTE", facts: { times: 3 } });
    expect(error.message).toContain(text);
    expect(error.message).toContain("the pool has given up, and its messages wait");
    expect((error.cause as Error).message).toContain(text);
    expect([pool.state, pool.error]).toEqual(["failed", error]);
    expect(errors.items.map(([one]) => (one as unknown as { facts: { times: number } }).facts.times)).toEqual([
      1, 2, 3,
    ]);
    expect(errors.items[0]?.[0].message).toContain("it is tried again");
    expect(errors.items[0]?.[1]).toEqual({ during: "worker", subscription: "pool work" });
    // Nothing is lost, and nothing is counted: the message waits for a module that works.
    await broker.publish("work", { n: 2 }, { key: "k" });
    expect(pool.stats()).toMatchObject({ queued: 2, done: 0, failed: 0 });
    expect(await failure(pool.ready())).toMatchObject({ message: expect.stringContaining(text) });
    expect((await broker.deadLetters.list()).items).toEqual([]);
    await pool.close();
    expect(pool.state).toBe("closed");
  });

  it("goes on with what has waited, once ready() finds that it works", async () => {
    const late = pathToFileURL(join(folder, "late.mjs")).href;
    const { broker, pool, done } = openPool({ size: 2, maxFailedStarts: 1 }, late);
    broker.on("error", () => undefined);
    const failed = new Promise((resolve) => pool.once("failed", resolve));
    for (let n = 0; n < 20; n += 1) void broker.publish("work", { n }, { key: `k${n}` });
    await failed;
    // A thread that was starting then finds no module either.
    await until(() => pool.stats().workers.every(({ state }) => state === "failed"));
    write("late.mjs", "export default (msg, { broker }) => broker.publish('done', msg.data);");
    await pool.ready();
    expect([pool.state, pool.error]).toEqual(["open", undefined]);
    await done.until(20);
    await broker.idle();
    expect(pool.stats()).toMatchObject({ queued: 0, done: 20, failed: 0 });
  });

  it("does not give up while another worker works", async () => {
    const { broker, pool, done } = openPool({ size: 2, maxFailedStarts: 1 }, "second-fails.mjs");
    const errors = new Collector<unknown>();
    broker.on("error", errors.add);
    await broker.publish("work", { n: 0 });
    await done.until(1);
    void pool.ready().catch(() => undefined);
    await errors.until(3);
    expect(pool.state).toBe("open");
    await broker.publish("work", { n: 1 });
    await done.until(2);
  });
});

describe("a worker module", () => {
  for (const [name, expected] of [
    ["handler.cjs", { cjs: 1 }],
    ["handler-compiled.cjs", { compiled: 1 }],
  ] as const) {
    it(`may be CommonJS: ${name}`, async () => {
      const { broker, done } = openPool({ size: 1 }, name);
      await broker.publish("work", 1);
      expect((await done.until(1))[0]?.data).toEqual(expected);
      await broker.idle();
    });
  }

  it("may be a script of its own, as in a bundle", async () => {
    const { broker, done } = openPool({ size: 1, bootstrap: module("bundled.mjs") });
    await broker.publish("work", 1);
    expect((await done.until(1))[0]?.data).toEqual({ bundled: 1 });
    await broker.idle();
  });

  it("without a handler is told at the start", async () => {
    const { pool } = openPool({ size: 1, restart: fixedBackoff(60_000) }, "none.mjs");
    expect(await failure(pool.ready())).toMatchObject({ message: expect.stringContaining("has no handler") });
  });
});

/** Waits a turn of the event loop at a time. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
}
