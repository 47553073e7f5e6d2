import { MessageChannel } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import type { SubscribeOptions } from "inproc-broker";
import { fixedBackoff } from "inproc-broker";
import type { TestBroker, TestBrokerOptions } from "inproc-broker/testing";
import { createTestBroker } from "inproc-broker/testing";
import type { RemoteBroker, WorkerPool, WorkerPoolOptions } from "inproc-broker/worker";
import { connectBroker, exposeBroker, workerPool } from "inproc-broker/worker";
import { Collector, failure } from "./fixture.js";

/** A test broker, and a client whose time is the test's too. */
async function open(options: TestBrokerOptions = {}): Promise<{ t: TestBroker; client: RemoteBroker }> {
  const t = createTestBroker(options);
  const { port1, port2 } = new MessageChannel();
  const handle = exposeBroker(t.broker, port1, { clock: t.clock });
  const client = connectBroker(port2);
  onTestFinished(async () => {
    await client.close({ drain: false });
    await handle.close();
    await t.broker.close({ drain: false });
  });
  await client.ready();
  return { t, client };
}

/** Moves time on, a step at a time, with all that both sides say to each other in between. */
async function advance({ t, client }: { t: TestBroker; client: RemoteBroker }, ms: number, steps = 1): Promise<void> {
  for (let step = 0; step < steps; step += 1) {
    await heard(client);
    await t.clock.advance(ms / steps);
    await heard(client);
  }
}

/** What either side has said is heard by the other. */
async function heard(client: RemoteBroker): Promise<void> {
  for (let way = 0; way < 3; way += 1) await (client.state === "open" ? client.flush() : turn());
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a client whose time is the broker's", () => {
  it("waits in fetch until the test has moved time so far", async () => {
    const both = await open();
    const sub = both.client.subscribe("a");
    let isOver = false;
    const fetched = sub.fetch(2, { timeout: 3_600_000 }).finally(() => (isOver = true));
    await advance(both, 3_599_999);
    expect(isOver).toBe(false);
    await advance(both, 1);
    expect(await fetched).toEqual([]);
    expect(both.t.clock.pending()).toEqual([]);
  });

  it("has no deadline left of a fetch that was filled", async () => {
    const both = await open();
    const sub = both.client.subscribe("a");
    const fetched = sub.fetch(1, { timeout: 5_000 });
    await sub.ready;
    await both.client.publish("a", 1);
    expect((await fetched).map(({ data }) => data as unknown)).toEqual([1]);
    await heard(both.client);
    expect(both.t.clock.pending()).toEqual([]);
  });

  it("has what was asked before the broker had answered counted by the broker's clock, too", async () => {
    const t = createTestBroker();
    const { port1, port2 } = new MessageChannel();
    const client = connectBroker(port2);
    const fetched = client.subscribe("a").fetch(1, { timeout: 60_000 });
    const handle = exposeBroker(t.broker, port1, { clock: t.clock });
    await client.ready();
    await advance({ t, client }, 60_000);
    expect(await fetched).toEqual([]);
    await client.close();
    await handle.close();
    await t.broker.close();
  });

  it("gives up on a handler that hangs when close's time is over", async () => {
    const both = await open({ ack: { timeout: Infinity } });
    const began = new Collector<unknown>();
    both.client.subscribe("a", (msg) => {
      began.add(msg);
      return new Promise(() => undefined);
    });
    await both.client.publish("a", 1);
    await began.until(1);
    let isOver = false;
    const closed = both.client.close({ timeout: 60_000 }).finally(() => (isOver = true));
    await advance(both, 59_999);
    expect(isOver).toBe(false);
    await both.t.clock.advance(1);
    expect((await closed).unacked).toHaveLength(1);
  });

  it("loses what its handler holds to the ack timeout, and keeps what only waits in it", async () => {
    const both = await open({ ack: { timeout: 900, backoff: () => 1_000_000 } });
    const { t, client } = both;
    const options: SubscribeOptions = { name: "slow", concurrency: 1, maxInFlight: 4 };
    let hasHung = false;
    let release = (): void => undefined;
    client.subscribe(
      "a",
      () => {
        if (hasHung) return new Promise<void>((resolve) => (release = resolve));
        hasHung = true;
        return new Promise(() => undefined);
      },
      options,
    );
    for (const data of [1, 2, 3]) await client.publish("a", data);
    await advance(both, 900, 9);
    expect(t.history().filter(({ kind }) => kind === "nacked")).toMatchObject([{ data: 1, reason: "ack timeout" }]);
    // The second has its handler, and so its own time, from now; the third waits on.
    await advance(both, 800, 8);
    expect(t.history().filter(({ kind }) => kind === "nacked")).toHaveLength(1);
    release();
    await heard(client);
    expect(t.history().filter(({ kind }) => kind === "acked")).toMatchObject([{ data: 2 }]);
  });

  it("refuses a clock that is none", () => {
    const t = createTestBroker();
    const { port1 } = new MessageChannel();
    expect(() => exposeBroker(t.broker, port1, { clock: 5 as never })).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_OPTION", facts: { option: "clock" } }),
    );
    port1.close();
  });
});

describe("a pool whose time is the broker's", () => {
  const bootstrap = new URL("../../dist/worker/pool-entry.js", import.meta.url);

  function openPool(handler: string, options: WorkerPoolOptions): { t: TestBroker; pool: WorkerPool } {
    const t = createTestBroker({ ack: {} });
    const module = new URL(`./modules/${handler}`, import.meta.url);
    const pool = workerPool(t.broker, "work", module, { size: 1, bootstrap, clock: t.clock, ...options });
    onTestFinished(async () => {
      await pool.close({ drain: false });
      await t.broker.close({ drain: false });
    });
    return { t, pool };
  }

  it("replaces a worker when the test has moved time so far", async () => {
    const { t, pool } = openPool("none.mjs", { restart: fixedBackoff(3_600_000) });
    t.broker.on("error", () => undefined);
    await failure(pool.ready());
    expect(pool.stats().workers[0]).toMatchObject({ state: "waiting", starts: 1 });
    await t.clock.advance(3_599_999);
    expect(pool.stats().workers[0]).toMatchObject({ state: "waiting", starts: 1 });
    await t.clock.advance(1);
    expect(pool.stats().workers[0]).toMatchObject({ state: "starting", starts: 2 });
  });

  it("sends a worker away after an hour without work, which takes no time", async () => {
    const { t, pool } = openPool("handler.mjs", { idleTimeout: 3_600_000 });
    await pool.ready();
    await t.clock.advance(3_599_999);
    expect(pool.stats().workers[0]?.state).toBe("running");
    await t.clock.advance(1);
    expect(pool.stats().workers[0]?.state).toBe("idle");
  });
});
