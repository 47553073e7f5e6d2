import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createTestBroker, VirtualClock } from "../../src/testing/index.js";

describe("the virtual clock", () => {
  it("stands still until it is moved, and runs what comes due at its own time", async () => {
    const clock = new VirtualClock({ now: 1_000 });
    const ran: number[] = [];
    for (const delay of [300, 100, 200]) clock.schedule(delay, () => ran.push(clock.now()));
    await clock.advance(250);
    expect(ran).toEqual([1_100, 1_200]);
    expect(clock.now()).toBe(1_250);
    expect(clock.monotonic()).toBe(250);
  });

  it("reads durations as people write them, and refuses what is none", async () => {
    const clock = new VirtualClock({ now: 0 });
    await clock.advance("1h 30m");
    expect(clock.now()).toBe(5_400_000);
    await clock.advance("1.5s");
    expect(clock.now()).toBe(5_401_500);
    for (const wrong of ["soon", "", -1, NaN, Infinity, "5 minutes"]) {
      expect(() => clock.advance(wrong)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    }
  });

  it("follows promises to their end between two timers", async () => {
    const clock = new VirtualClock();
    const order: string[] = [];
    clock.schedule(10, () => {
      void (async () => {
        for (let step = 0; step < 50; step += 1) await Promise.resolve();
        order.push("first, and what it led to");
      })();
    });
    clock.schedule(11, () => order.push("second"));
    await clock.advance(20);
    expect(order).toEqual(["first, and what it led to", "second"]);
  });

  it("adds up moves that are asked for at once", async () => {
    const clock = new VirtualClock({ now: 0 });
    await Promise.all([clock.advance(10), clock.advance(5)]);
    expect(clock.now()).toBe(15);
  });

  it("runs timers in the order of their times, equal ones as they were scheduled, cancelled ones not at all", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ delay: fc.nat(50), isCancelled: fc.boolean() }), { maxLength: 200 }),
        async (timers) => {
          const clock = new VirtualClock();
          const ran: number[] = [];
          const cancels = timers.map(({ delay }, index) => clock.schedule(delay, () => ran.push(index)));
          for (const [index, { isCancelled }] of timers.entries()) if (isCancelled) cancels[index]?.();
          await clock.advance(50);
          const expected = timers
            .map((timer, index) => ({ ...timer, index }))
            .filter(({ isCancelled }) => !isCancelled)
            .sort((a, b) => a.delay - b.delay || a.index - b.index)
            .map(({ index }) => index);
          expect(ran).toEqual(expected);
          expect(clock.pending()).toEqual([]);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("moves the broker through retries, expiry, delays, transactions and rate limits", async () => {
    const t = createTestBroker({ ack: { timeout: 1_000, backoff: () => 500 }, transactions: { timeout: 2_000 } });
    await using broker = t.broker;
    const seen: [string, number][] = [];
    const since = t.clock.now();
    broker.subscribe("retry", (msg) => {
      seen.push(["retry", t.clock.now() - since]);
      if (msg.deliveryCount < 3) throw new Error("not yet");
    });
    broker.subscribe("limited", () => void seen.push(["limited", t.clock.now() - since]), {
      rateLimit: { perSecond: 2 },
    });
    broker.subscribe("later", () => void seen.push(["later", t.clock.now() - since]));
    const expiring = broker.subscribe("expires");
    await broker.publish("retry", 1);
    await broker.publish("limited", 1);
    await broker.publish("limited", 2);
    await broker.publish("later", 1, { delay: 60 * 86_400_000 });
    await broker.publish("expires", 1, { ttl: 100 });
    const tx = broker.beginTransaction();
    await t.clock.advance("10s");
    expect(seen).toEqual([
      ["retry", 0],
      ["limited", 0],
      ["retry", 500],
      ["limited", 500],
      ["retry", 1_000],
    ]);
    await expect(tx.commit()).rejects.toMatchObject({ code: "ERR_TRANSACTION_TIMEOUT" });
    expect(expiring.stats().expired).toBe(1);
    await t.clock.advance("60d");
    expect(seen.at(-1)).toEqual(["later", 60 * 86_400_000]);
  });

  it("tells what waits for time, and goes to the next thing that happens", async () => {
    const t = createTestBroker({ now: 0, ack: { backoff: () => 200 } });
    await using broker = t.broker;
    broker.subscribe("fails", () => Promise.reject(new Error("boom")), { name: "worker" });
    await broker.publish("fails", 1);
    await broker.publish("later", 1, { delay: 5_000 });
    t.clock.schedule(1_000, () => undefined);
    await t.clock.settle();
    expect(t.clock.pending()).toEqual([
      { at: 200, inMs: 200, what: 'delivery 2 of fails to worker (after "boom")' },
      { at: 1_000, inMs: 1_000, what: "a timer of the application, scheduled on this clock" },
      { at: 5_000, inMs: 5_000, what: "the scheduled message on later is delivered" },
    ]);
    expect(await t.clock.runNext()).toBe(200);
    expect(t.history().filter(({ kind }) => kind === "delivered")).toHaveLength(2);
  });

  it("goes to the next thing that happens within a period, and no further", async () => {
    const clock = new VirtualClock({ now: 0 });
    const ran: number[] = [];
    for (const delay of [100, 300]) clock.schedule(delay, () => ran.push(clock.now()));
    expect(await clock.runNext(250)).toBe(100);
    expect(await clock.runNext(150)).toBeUndefined();
    expect([clock.now(), ran]).toEqual([250, [100]]);
    expect(await clock.runNext("50ms")).toBe(300);
    expect(await clock.runNext()).toBeUndefined();
    expect(clock.now()).toBe(300);
    expect(() => clock.runNext("soon")).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });

  it("jumps the wall clock: dates move, delays do not", async () => {
    const t = createTestBroker({ now: 0 });
    await using broker = t.broker;
    const seen: unknown[] = [];
    broker.subscribe("due", (msg) => void seen.push(msg.data));
    await broker.publish("due", "at a date", { deliverAt: 60_000 });
    await broker.publish("due", "after a delay", { delay: 60_000 });
    t.clock.jump(59_000);
    await t.clock.advance(60_000);
    expect(seen).toHaveLength(2);
    expect(t.clock.now()).toBe(119_000);
  });

  it("does not hang on a handler that feeds itself", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    let count = 0;
    broker.subscribe("loop", async () => {
      count += 1;
      if (count < 5_000) await broker.publish("loop", count);
    });
    await broker.publish("loop", 0);
    await t.clock.advance(1);
    expect(count).toBe(5_000);
  });

  it("is refused where the clock is not the kit's to move", async () => {
    for (const clock of ["real", "timers"] as const) {
      const t = createTestBroker({ clock });
      await expect(t.clock.advance(1)).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
      await expect(t.clock.runNext()).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
      await t.broker.close({ drain: false });
    }
  });
});
