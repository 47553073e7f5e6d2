import { describe, expect, it } from "vitest";
import { createTestBroker } from "../../src/testing/index.js";
import type { TestBroker } from "../../src/testing/index.js";

/** What waits for time, as `in 500 ms: what`. */
function pending(t: TestBroker): string[] {
  return t.clock.pending().map(({ inMs, what }) => `in ${inMs} ms: ${what}`);
}

describe("clock.pending() tells in words", () => {
  it("a transaction's timeout, by its own or the broker's setting, until it is over", async () => {
    await using t = createTestBroker({ transactions: { timeout: 9_000 } });
    const mine = t.broker.beginTransaction({ id: "mine", timeout: 500 });
    const rolledBack = t.broker.beginTransaction({ id: "rolled-back" });
    t.broker.beginTransaction({ id: "disposed" });
    await using disposed = t.broker.beginTransaction({ id: "left" });
    await rolledBack.rollback();
    await disposed[Symbol.asyncDispose]();
    const inside = t.broker.transaction(() => pending(t));
    expect(await inside).toHaveLength(3);
    expect(pending(t)).toEqual([
      "in 500 ms: the transaction mine is rolled back (ERR_TRANSACTION_TIMEOUT)",
      "in 9000 ms: the transaction disposed is rolled back (ERR_TRANSACTION_TIMEOUT)",
    ]);
    await t.clock.runNext();
    await expect(mine.commit()).rejects.toMatchObject({ code: "ERR_TRANSACTION_TIMEOUT" });
    expect(pending(t)).toEqual(["in 8500 ms: the transaction disposed is rolled back (ERR_TRANSACTION_TIMEOUT)"]);
  });

  it("a rate limit, at exactly the time at which the next message comes", async () => {
    await using t = createTestBroker();
    const seen: number[] = [];
    t.broker.subscribe("x", () => void seen.push(t.clock.monotonic()), {
      name: "slow",
      rateLimit: { perSecond: 4, burst: 2 },
    });
    await t.clock.advance(100);
    for (const data of [1, 2, 3, 4, 5]) await t.broker.publish("x", data);
    await t.clock.settle();
    await t.clock.advance(50);
    const told: number[] = [];
    while (seen.length < 5) {
      const [next, ...others] = t.clock.pending();
      expect(next?.what).toBe("the rate limit of slow lets the next message through");
      expect(others).toEqual([]);
      told.push(t.clock.monotonic() + (next?.inMs ?? 0));
      await t.clock.runNext();
    }
    expect(told).toEqual(seen.slice(2));
    expect(told).toEqual([350, 600, 850]);
    expect(pending(t)).toEqual([]);
  });

  it("a rate limit of the members of a group; not one that is paused, or does not hold anything back", async () => {
    await using t = createTestBroker();
    const options = { group: "g", rateLimit: { perSecond: 1 } };
    const members = [
      t.broker.subscribe("x", () => undefined, options),
      t.broker.subscribe("x", () => undefined, options),
    ];
    for (const data of [1, 2]) await t.broker.publish("x", data);
    await t.clock.settle();
    expect(pending(t)).toEqual([]);
    await t.broker.publish("x", 3);
    expect(pending(t)).toEqual(["in 1000 ms: the rate limit of g lets the next message through"]);
    for (const member of members) member.pause();
    expect(pending(t)).toEqual([]);
  });

  it("the ttl of a subscription, and the heartbeat that renews it", async () => {
    await using t = createTestBroker();
    const brief = t.broker.subscribe("x", { name: "brief", ttl: 1_000 });
    const beating = t.broker.subscribe("x", { name: "beating", ttl: 1_000, heartbeat: 300 });
    await t.clock.advance(400);
    brief.heartbeat();
    await t.clock.advance(100);
    expect(pending(t)).toEqual([
      "in 100 ms: the heartbeat of beating renews its ttl",
      "in 900 ms: the subscription brief ends: its ttl is over",
    ]);
    await beating.unsubscribe();
    await t.clock.advance(900);
    expect(brief.state).toBe("closed");
    expect(pending(t)).toEqual([]);
  });

  it("expiry, of what is queued and of what is in a backoff that takes longer", async () => {
    await using t = createTestBroker({ ack: { backoff: () => 5_000 } });
    const sub = t.broker.subscribe("x", { name: "reader", ack: "manual" });
    await t.broker.publish("x", 1, { ttl: 700 });
    await t.broker.publish("x", 2, { ttl: 800 });
    const [first] = await sub.fetch(1);
    expect(pending(t)).toEqual([
      "in 800 ms: the message on x expires where it still waits",
      "in 30000 ms: the ack timeout of x in reader",
    ]);
    await first?.nack();
    expect(pending(t)).toEqual([
      "in 700 ms: the message on x expires where it still waits",
      "in 800 ms: the message on x expires where it still waits",
      "in 5000 ms: delivery 2 of x to reader",
    ]);
    await t.clock.advance(800);
    expect(pending(t)).toEqual([]);
    t.expect("expired", "x", { times: 2 });
  });

  it("a redrive and a replay at a rate", async () => {
    await using t = createTestBroker({ ack: { maxDeliveries: 1 }, deadLetter: {}, persistence: { topics: ["x"] } });
    t.broker.subscribe("x", (message) => message.reject("no"), { group: "g" });
    for (const data of [1, 2]) await t.broker.publish("x", data);
    await t.idle();
    const redriven = t.broker.deadLetters.redrive({}, { rate: 10 });
    const replayed = t.broker.replayMessages("x", { rate: 20 });
    await t.clock.settle();
    expect(pending(t).slice(0, 2)).toEqual([
      "in 50 ms: replayMessages on x goes on, at 20 a second",
      "in 100 ms: deadLetters.redrive goes on, at 10 a second",
    ]);
    await t.clock.advance(100);
    expect([await redriven, await replayed]).toEqual([2, 2]);
    expect(pending(t).join()).not.toContain("goes on");
  });

  it("what a store does by itself", async () => {
    await using t = createTestBroker({ persistence: { checkpointInterval: 7_000 } });
    await t.broker.publish("x", 1);
    const what = "the store does work of its own: it syncs, makes a checkpoint, or looks for room";
    expect(pending(t)).toEqual([`in 7000 ms: ${what}`]);
    await t.clock.advance(7_000);
    expect(pending(t)).toEqual([]);
  });

  it("the deadline of a close that waits", async () => {
    const t = createTestBroker({ ack: {} });
    const sub = t.broker.subscribe("x", { name: "reader", ack: "manual" });
    await t.broker.publish("x", 1);
    await sub.fetch(1);
    const closed = t.broker.close({ timeout: 3_000 });
    expect(pending(t)[0]).toBe("in 3000 ms: close ends with what is left by then");
    await t.clock.advance(3_000);
    expect((await closed).unacked).toHaveLength(1);
    expect(pending(t).join()).not.toContain("close ends");
  });
});

it("strict mode does not fail for the broker's own deadlines", async () => {
  const t = createTestBroker({ persistence: "memory", strict: { subscriptions: false, unfinished: false } });
  t.broker.subscribe("x", { ttl: 60_000 });
  await t.broker.publish("x", 1, { ttl: 1_000 });
  expect(t.clock.pending().length).toBeGreaterThan(1);
  expect(t.leftovers()).toEqual([]);
  await t[Symbol.asyncDispose]();
});
