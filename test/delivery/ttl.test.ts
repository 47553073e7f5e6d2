import { describe, expect, it, vi } from "vitest";
import type { PublishOptions } from "inproc-broker";
import { fixedBackoff, InProcBroker } from "inproc-broker";
import {
  balanced,
  collectGarbage,
  fetchNow,
  manualBroker,
  rejectionCode,
  roundAck,
  takeOne,
  thrownCode,
} from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const day = 24 * 3_600_000;

describe("when a message expires", () => {
  it("is given by ttl, by expiresAt (number or Date), or by the broker's default; else never", async () => {
    const { broker, clock } = manualBroker({ ttl: { default: 500 } });
    const sub = broker.subscribe("t");
    const now = clock.now();
    const cases: [PublishOptions, number][] = [
      [{}, now + 500],
      [{ ttl: 700 }, now + 700],
      [{ ttl: 100 }, now + 100],
      [{ expiresAt: now + 900 }, now + 900],
      [{ expiresAt: new Date(now + 1_100) }, now + 1_100],
    ];
    for (const [options] of cases) await broker.publish("t", 1, options);
    broker.publishSync("t", 1);
    await broker.publishBatch([{ topic: "t", data: 1, ttl: 200 }]);
    expect((await fetchNow(sub)).map(({ expiresAt }) => expiresAt)).toEqual([
      ...cases.map(([, at]) => at),
      now + 500,
      now + 200,
    ]);
    const { broker: endless, clock: itsClock } = manualBroker();
    const never = endless.subscribe("t");
    await endless.publish("t", 1);
    await endless.publish("t", 2, { ttl: Infinity });
    await itsClock.advance(1_000 * day);
    expect((await fetchNow(never)).map(({ expiresAt }) => expiresAt)).toEqual([undefined, undefined]);
  });

  it("is never before its publish has ended: a ttl of a millisecond is taken, however the clock moves on meanwhile", async () => {
    const { clock } = manualBroker();
    let looks = 0;
    const restless = {
      now: () => clock.now() + (looks += 1),
      monotonic: () => clock.monotonic(),
      schedule: clock.schedule.bind(clock),
    };
    const broker = new InProcBroker({ clock: restless, deadLetter: { topic: "gone" }, transactions: {} });
    broker.subscribe("t");
    await broker.publish("t", 1, { ttl: 1 });
    broker.publishSync("t", 2, { ttl: 1 });
    await broker.publishBatch([{ topic: "t", data: 3, ttl: 1 }]);
    expect(await rejectionCode(broker.publish("t", 5, { expiresAt: restless.now() }))).toBe("ERR_MESSAGE_EXPIRED");
    expect(broker.metrics.snapshot()).toMatchObject({ published: 3 });
    await broker.close({ drain: false });
  });

  it("by default is counted from when a delayed message is due: a long delay does not mean never", async () => {
    const { broker, clock } = manualBroker({ ttl: { default: 1_000 } });
    const sub = broker.subscribe("t");
    const start = clock.now();
    await broker.publish("t", "delay", { delay: 60 * day });
    await broker.publish("t", "deliverAt", { deliverAt: start + 60 * day });
    await broker.publish("t", "ttl of its own", { delay: 60 * day, ttl: 1_000 });
    await clock.advance(60 * day);
    expect((await fetchNow(sub)).map(({ data, expiresAt }) => [data, expiresAt])).toEqual([
      ["delay", start + 60 * day + 1_000],
      ["deliverAt", start + 60 * day + 1_000],
    ]);
    expect(balanced(broker)).toMatchObject({ scheduledExpired: 1 });
  });

  it("is refused where it is no time, or given twice", async () => {
    const { broker } = manualBroker();
    for (const options of [
      { ttl: 0 },
      { ttl: -5 },
      { ttl: NaN },
      { ttl: "1s" as unknown as number },
      { expiresAt: NaN },
      { expiresAt: new Date("nonsense") },
      { expiresAt: "2040" as unknown as number },
      { ttl: 5, expiresAt: 5 },
    ]) {
      expect(await rejectionCode(broker.publish("t", 1, options)), JSON.stringify(options)).toBe("ERR_INVALID_OPTION");
      expect(thrownCode(() => broker.publishSync("t", 1, options))).toBe("ERR_INVALID_OPTION");
    }
    expect(thrownCode(() => new InProcBroker({ ttl: { default: 0 } }))).toBe("ERR_INVALID_OPTION");
  });

  it("in the past is ERR_MESSAGE_EXPIRED at publish, by every way in, and nothing has changed", async () => {
    const { broker, clock } = manualBroker({ transactions: {} });
    broker.subscribe("t");
    for (const expiresAt of [clock.now(), clock.now() - 1, new Date(0)]) {
      expect(await rejectionCode(broker.publish("t", 1, { expiresAt }))).toBe("ERR_MESSAGE_EXPIRED");
      expect(thrownCode(() => broker.publishSync("t", 1, { expiresAt }))).toBe("ERR_MESSAGE_EXPIRED");
      expect(
        await rejectionCode(
          broker.publishBatch([
            { topic: "t", data: 1 },
            { topic: "t", data: 1, expiresAt },
          ]),
        ),
      ).toBe("ERR_MESSAGE_EXPIRED");
    }
    expect(balanced(broker)).toMatchObject({ published: 0, queued: 0, memoryBytes: 0, refused: 9 });
  });
});

describe("a message that has expired", () => {
  it("leaves at its time: memory, count, counter and event", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t", { name: "s" });
    broker.subscribe("t", { name: "s2" });
    const events: unknown[] = [];
    broker.on("expire", ({ message, subscription }) => events.push([message.data, subscription]));
    await broker.publish("t", "12345", { ttl: 100 });
    await broker.publish("t", "123", { ttl: 200 });
    await broker.publish("t", "1");
    expect(broker.metrics.snapshot().memoryBytes).toBe(9);
    await clock.advance(99);
    expect(events).toEqual([]);
    await clock.advance(1);
    expect(events).toEqual([
      ["12345", "s"],
      ["12345", "s2"],
    ]);
    expect(balanced(broker)).toMatchObject({ expired: 2, memoryBytes: 4, queued: 4 });
    expect(sub.stats()).toMatchObject({ queued: 2, queuedBytes: 4, expired: 1 });
    await clock.advance(100);
    expect(balanced(broker)).toMatchObject({ expired: 4, memoryBytes: 1, queued: 2 });
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["1"]);
  });

  it("is not handed out although its timer has not run yet: the loop was blocked", async () => {
    for (const ack of ["none", "manual"] as const) {
      const { broker, clock } = manualBroker();
      const sub = broker.subscribe("t", { ack });
      await broker.publish("t", "dead", { ttl: 100 });
      await broker.publish("t", "alive", { ttl: 101 });
      clock.block(100);
      expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["alive"]);
      expect(balanced(broker)).toMatchObject({ expired: 1, queued: 0 });
      await clock.advance(1_000);
      expect(balanced(broker)).toMatchObject({ expired: 1 });
      await broker.close({ drain: false });
    }
  });

  it("is not pushed into a handler that was busy for too long", async () => {
    const { broker, clock } = manualBroker();
    const got: unknown[] = [];
    broker.subscribe("t", ({ data }) => {
      got.push(data);
      if (data === 1) clock.block(100);
    });
    void broker.publish("t", 1, { ttl: 100 });
    void broker.publish("t", 2, { ttl: 100 });
    void broker.publish("t", 3, { ttl: 200 });
    await settle();
    expect(got).toEqual([1, 3]);
    expect(balanced(broker)).toMatchObject({ expired: 1, delivered: 2 });
  });

  it("is not handed to somebody who waits already", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    sub.pause();
    await broker.publish("t", "dead", { ttl: 50 });
    await broker.publish("t", "alive");
    const next = sub.next();
    clock.block(50);
    sub.resume();
    expect(await next).toMatchObject({ value: { data: "alive" } });
  });

  it("is not redelivered: it ends in its backoff, at its time", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, backoff: fixedBackoff(10_000) } });
    const sub = broker.subscribe("t");
    const at: number[] = [];
    const start = clock.now();
    broker.on("expire", () => at.push(clock.now() - start));
    await broker.publish("t", "12345", { ttl: 500 });
    await (await takeOne(sub)).nack();
    expect(balanced(broker)).toMatchObject({ delayed: 1, memoryBytes: 5 });
    await clock.advance(499);
    expect(at).toEqual([]);
    await clock.advance(1);
    expect(at).toEqual([500]);
    expect(balanced(broker)).toMatchObject({ delayed: 0, expired: 1, memoryBytes: 0 });
    await clock.advance(20_000);
    expect(await fetchNow(sub)).toEqual([]);
  });

  it("is not redelivered at once either: nack without delay, ack timeout, a member that leaves", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, backoff: fixedBackoff(0) } });
    const one = broker.subscribe("t", { group: "g" });
    const two = broker.subscribe("t", { group: "g" });
    for (const data of ["nack", "timeout", "leave"]) await broker.publish("t", data, { ttl: 900 });
    const nack = await takeOne(two);
    await takeOne(two);
    await takeOne(one);
    clock.block(950);
    await nack.nack({ delay: 0 });
    await one.unsubscribe();
    expect(balanced(broker)).toMatchObject({ expired: 2, inFlight: 1 });
    await clock.advance(50);
    expect(await fetchNow(two)).toEqual([]);
    expect(balanced(broker)).toMatchObject({ expired: 3, inFlight: 0, memoryBytes: 0 });
  });

  it("may be settled by whom it was handed to in time: expiry ends waiting, not working", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t");
    await broker.publish("t", 1, { ttl: 100 });
    const message = await takeOne(sub);
    await clock.advance(500);
    expect(message.signal.aborted).toBe(false);
    await message.ack();
    expect(balanced(broker)).toMatchObject({ delivered: 1, expired: 0 });
  });

  it("lets go of a publisher that was held back, which is no failure", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t", { maxMessages: 1 });
    await broker.publish("t", 1, { ttl: 100 });
    let isHeld = true;
    const held = broker.publish("t", 2, { ttl: 200 }).then((receipt) => {
      isHeld = false;
      return receipt;
    });
    const third = broker.publish("t", 3);
    await settle();
    expect(isHeld).toBe(true);
    await clock.advance(100);
    expect(await held).toMatchObject({ matched: 1 });
    expect(sub.stats()).toMatchObject({ queued: 1, waiting: 1 });
    await clock.advance(100);
    await third;
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([3]);
    expect(balanced(broker)).toMatchObject({ expired: 2, delivered: 1, waitingPublishers: 0 });
  });

  it("parked behind its key is not handed out when the key is free", async () => {
    for (const isBlocked of [false, true]) {
      const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 1e6 } });
      const sub = broker.subscribe("t", { orderBy: "key" });
      await broker.publish("t", "owner", { key: "k" });
      await broker.publish("t", "dead", { key: "k", ttl: 100 });
      await broker.publish("t", "alive", { key: "k" });
      const [owner, ...none] = await fetchNow(sub);
      expect(none).toEqual([]);
      if (isBlocked) clock.block(100);
      else await clock.advance(100);
      await owner?.ack();
      expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["alive"]);
      expect(balanced(broker)).toMatchObject({ expired: 1, inFlight: 1, queued: 0 });
      await broker.close({ drain: false });
    }
  });

  it("is dead-lettered where `reasons` asks for it, with what happened to it", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: { reasons: ["expired"] } });
    const sub = broker.subscribe("t", { name: "s" });
    const dlq = broker.subscribe("dlq");
    await broker.publish("t", "never handed", { ttl: 50 });
    await broker.publish("t", "nacked", { ttl: 80, priority: "highest" });
    await (await takeOne(sub)).nack({ reason: "busy" });
    await clock.advance(100);
    expect((await broker.deadLetters.list()).items).toMatchObject([
      { reason: "expired", subscription: "s", message: { data: "never handed" }, history: [], error: undefined },
      { reason: "expired", message: { data: "nacked" }, history: [{ outcome: "nacked", reason: "busy" }] },
    ]);
    expect((await fetchNow(dlq)).map(({ headers }) => headers["dead-letter-reason"])).toEqual(["expired", "expired"]);
    expect(balanced(broker)).toMatchObject({ expired: 2, deadLettered: 0 });
  });

  it("is counted and told also where it was retained and is asked for", async () => {
    const { broker, clock } = manualBroker();
    await broker.publish("t", 1, { retain: true, ttl: 100 });
    expect(broker.retained("t")).toHaveLength(1);
    await clock.advance(100);
    expect(broker.retained("t")).toEqual([]);
    const sub = broker.subscribe("t", { from: "last" });
    expect(await fetchNow(sub)).toEqual([]);
  });

  it("makes room: a queue that was full of expired messages takes new ones", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t", { maxMessages: 3, overflow: "error" });
    for (let index = 0; index < 3; index += 1) await broker.publish("t", index, { ttl: 100 });
    expect(await rejectionCode(broker.publish("t", 3))).toBe("ERR_QUEUE_FULL");
    await clock.advance(100);
    await broker.publish("t", 4);
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([4]);
  });
});

describe("expiry", () => {
  it("follows the wall clock: back means later, on means sooner, and nothing is handed out late", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", "later", { ttl: 1_000 });
    clock.jump(-5_000);
    await clock.advance(1_000);
    expect(sub.stats().queued, "it has not expired by its date").toBe(1);
    await clock.advance(5_000);
    expect(sub.stats()).toMatchObject({ queued: 0, expired: 1 });
    await broker.publish("t", "sooner", { ttl: 1_000 });
    clock.jump(1_000);
    expect(await fetchNow(sub)).toEqual([]);
    expect(balanced(broker)).toMatchObject({ expired: 2 });
  });

  it("of many messages needs one timer, and no scan: each leaves on its own, and its memory with it", async () => {
    const { broker, clock } = manualBroker();
    broker.subscribe("t", { maxMessages: 10_000 });
    const payloads: WeakRef<object>[] = [];
    const publish = async (index: number): Promise<void> => {
      const data = { index };
      payloads.push(new WeakRef(data));
      await broker.publish("t", data, { ttl: 1 + index });
    };
    for (let index = 0; index < 2_000; index += 1) await publish(index);
    expect(clock.pending).toBe(1);
    clock.block(1_900);
    await clock.advance(0);
    expect(balanced(broker)).toMatchObject({ expired: 1_900, queued: 100, memoryBytes: 100 * 13 });
    // The compiler's threads may hold an array that they look at, for as long as they are kept waiting themselves.
    await vi.waitFor(
      async () => {
        await collectGarbage();
        const alive = payloads.filter((one) => one.deref() !== undefined).length;
        expect(alive, "besides those that wait, some places that are empty").toBeLessThanOrEqual(100 + 128);
      },
      { timeout: 20_000, interval: 50 },
    );
    await clock.advance(100);
    expect(balanced(broker)).toMatchObject({ expired: 2_000, queued: 0, memoryBytes: 0 });
  });

  it("in 60 days works", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1, { ttl: 60 * day });
    await clock.advance(60 * day - 1);
    expect(sub.stats().queued).toBe(1);
    await clock.advance(1);
    expect(sub.stats()).toMatchObject({ queued: 0, expired: 1 });
  });
});
