import { describe, expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import {
  balanced,
  fetchNow,
  manualBroker,
  rejectionCode,
  roundAck,
  takeOne,
  thrownCode,
} from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

/** What docs/guarantees.md promises, one test a sentence; the mechanisms have tests of their own beside their sources. */
describe("the seven promises", () => {
  it("1. accepted means kept: once publish has resolved, every subscription that matches has it; once refused, none", async () => {
    const { broker } = manualBroker();
    const subs = ["orders.*", "orders.created", ">"].map((pattern) => broker.subscribe(pattern));
    const { matched } = await broker.publish("orders.created", 1);
    expect([matched, ...subs.map((sub) => sub.stats().queued)]).toEqual([3, 1, 1, 1]);

    const full = broker.subscribe("orders.*", { maxMessages: 1, overflow: "error" });
    await broker.publish("orders.created", 2);
    expect(await rejectionCode(broker.publish("orders.created", 3))).toBe("ERR_QUEUE_FULL");
    expect([full, ...subs].map((sub) => sub.stats().queued)).toEqual([1, 2, 2, 2]);
    await broker.close({ drain: false });
  });

  it("2. nothing vanishes silently: whatever ends a message, the counters add up, and each drop has a reason and an event", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    const told: string[] = [];
    broker.on("drop", ({ reason }) => told.push(reason)).on("expire", () => told.push("expired"));
    broker.on("dead-letter", ({ reason }) => told.push(reason)).on("error", () => undefined);
    const sub = broker.subscribe("a", { maxMessages: 4, overflow: "drop-oldest" });
    for (let n = 0; n < 5; n += 1) await broker.publish("a", n);
    const [first, second, third] = await fetchNow(sub, 3);
    await first?.ack();
    await second?.reject("no use");
    await third?.nack();
    balanced(broker);
    await broker.publish("a", "soon over", { ttl: 50 });
    await clock.advance(60);
    balanced(broker);
    await sub.unsubscribe();
    const { delivered, expired, deadLettered, dropped } = balanced(broker);
    expect({ delivered, expired, deadLettered, dropped }).toEqual({
      delivered: 1,
      expired: 1,
      deadLettered: 1,
      dropped: { overflow: 1, unsubscribed: 2 },
    });
    // Once as what ended it, and once as a dead letter.
    const both = ["expired", "expired", "overflow", "overflow"];
    expect(told.sort()).toEqual([...both, "rejected", "unsubscribed", "unsubscribed"]);
    await broker.close();
  });

  it("3. everything is bounded: a flood that nobody takes stays within count and bytes, without any option", async () => {
    const broker = new InProcBroker();
    const sub = broker.subscribe("flood", { overflow: "drop-oldest" });
    for (let n = 0; n < 5_000; n += 1) broker.publishSync("flood", { n });
    expect(sub.stats()).toMatchObject({ queued: 1_024, dropped: { overflow: 5_000 - 1_024 } });
    const big = broker.subscribe("big", { overflow: "drop-newest" });
    for (let n = 0; n < 10; n += 1) broker.publishSync("big", "x".repeat(4 * 2 ** 20));
    expect(big.stats()).toMatchObject({ queued: 4, queuedBytes: 16 * 2 ** 20 });
    expect(thrownCode(() => broker.publishSync("huge", new Uint8Array(9 * 2 ** 20)))).toBe("ERR_MESSAGE_TOO_LARGE");
    await broker.close({ drain: false });

    const { broker: small } = manualBroker({ memory: { maxBytes: 100 } });
    small.subscribe("a");
    await small.publish("a", "x".repeat(90));
    expect(await rejectionCode(small.publish("a", "x".repeat(20)))).toBe("ERR_MEMORY_LIMIT");
    expect(small.metrics.snapshot().memoryBytes).toBeLessThanOrEqual(100);
    await small.close({ drain: false });
  });

  it("4. a handler cannot hurt its neighbours: one throws, one hangs, one is slow, and the others have everything", async () => {
    const broker = new InProcBroker({ ack: {} });
    broker.on("error", () => undefined);
    const got: unknown[] = [];
    broker.subscribe("a", () => Promise.reject(new Error("always")));
    broker.subscribe("a", () => {
      throw new Error("always");
    });
    broker.subscribe("a", () => new Promise(() => undefined));
    broker.subscribe("a", { maxMessages: 1_000 });
    broker.subscribe("a", (msg) => void got.push(msg.data), { name: "good" });
    for (let n = 0; n < 100; n += 1) await broker.publish("a", n);
    while (got.length < 100) await settle();
    expect(got).toEqual(Array.from({ length: 100 }, (_, n) => n));
    await broker.close({ drain: false });
  });

  it("6. time is injected: a delay of 60 days, a retry and a timeout pass when the test says so", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("a");
    await broker.publish("a", "in 60 days", { delay: 60 * 24 * 3_600_000 });
    await clock.advance(60 * 24 * 3_600_000 - 1);
    expect(await fetchNow(sub)).toHaveLength(0);
    await clock.advance(1);
    expect((await takeOne(sub)).data).toBe("in 60 days");
    await clock.advance(1_000); // the ack timeout
    await clock.advance(100); // the backoff
    const again = await takeOne(sub);
    expect([again.data, again.deliveryCount]).toEqual(["in 60 days", 2]);
    await again.ack();
    await broker.close();
  });

  it("7. close is clean: it drains, or returns what is unfinished, and whoever waits is told", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("a");
    for (let n = 0; n < 3; n += 1) await broker.publish("a", n);
    await broker.publish("a", 3, { delay: 60_000 });
    const held = await takeOne(sub);
    const request = broker.request("a", "a question");
    const failed = rejectionCode(request);
    const closing = broker.close({ timeout: 500 });
    expect(await rejectionCode(broker.publish("a", 4))).toBe("ERR_BROKER_CLOSED");
    await clock.advance(500);
    const { undelivered, unacked } = await closing;
    expect(unacked.map(({ data }) => data)).toEqual([0]);
    expect(undelivered.map(({ data }) => data)).toEqual([1, 2, "a question", 3]);
    expect(await failed).toBe("ERR_BROKER_CLOSED");
    expect([held.signal.aborted, sub.state]).toEqual([true, "closed"]);
    expect(await rejectionCode(held.ack())).toBe("ERR_DELIVERY_EXPIRED");
  });
});

describe("delivery", () => {
  it('at most once (ack: "none"): a throw is an error event, and nothing comes again', async () => {
    const { broker } = manualBroker();
    const errors: unknown[] = [];
    broker.on("error", (error) => errors.push(error));
    let handed = 0;
    broker.subscribe("a", () => {
      handed += 1;
      throw new Error("no");
    });
    await broker.publish("a", 1);
    await broker.idle();
    expect([handed, errors.length, balanced(broker).delivered]).toEqual([1, 1, 1]);
    await broker.close();
  });

  it("at least once: a throw, a nack and a timeout each bring it again, after the backoff, until maxDeliveries", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    const sub = broker.subscribe("a");
    await broker.publish("a", 1);
    await (await takeOne(sub)).nack();
    await clock.advance(99);
    expect(await fetchNow(sub)).toHaveLength(0);
    await clock.advance(1);
    expect((await takeOne(sub)).deliveryCount).toBe(2);
    await clock.advance(1_000);
    await clock.advance(100);
    expect((await takeOne(sub)).deliveryCount).toBe(3);
    await clock.advance(1_000);
    await clock.advance(100_000);
    expect(await fetchNow(sub)).toHaveLength(0);
    const { items } = await broker.deadLetters.list();
    expect(items.map(({ reason, history }) => [reason, history.map(({ outcome }) => outcome)])).toEqual([
      ["max-deliveries", ["nacked", "timed-out", "timed-out"]],
    ]);
    await broker.close();
  });

  it("a settle that is late or repeated is refused with a code, and settles nothing", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("a");
    await broker.publish("a", 1);
    const first = await takeOne(sub);
    await clock.advance(1_000);
    expect(first.signal.aborted).toBe(true);
    expect(await rejectionCode(first.ack())).toBe("ERR_DELIVERY_EXPIRED");
    await clock.advance(100);
    const second = await takeOne(sub);
    await second.ack();
    expect(await rejectionCode(second.nack())).toBe("ERR_ALREADY_SETTLED");
    expect(balanced(broker)).toMatchObject({ delivered: 1, refusedSettles: 2 });
    await broker.close();
  });

  it("a group hands each message to one member, every other subscription has its own copy", async () => {
    const { broker } = manualBroker();
    const members = [broker.subscribe("a", { group: "g" }), broker.subscribe("a", { group: "g" })];
    const other = broker.subscribe("a");
    for (let n = 0; n < 10; n += 1) await broker.publish("a", n);
    const shares = await Promise.all(members.map((member) => fetchNow(member, 5)));
    expect(shares.flat().map(({ data }: Message) => Number(data))).toEqual([...Array(10).keys()]);
    expect(await fetchNow(other)).toHaveLength(10);
    await broker.close();
  });

  it("order: first in first out within a priority, the highest first, and by key also through redelivery", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("a", { ack: "none" });
    for (const [data, priority] of [
      ["b", 4],
      ["d", 0],
      ["a", 9],
      ["c", 4],
    ] as const) {
      await broker.publish("a", data, { priority });
    }
    expect((await fetchNow(sub)).map(({ data }) => data as string).join("")).toBe("abcd");

    const handled: unknown[] = [];
    broker.on("error", () => undefined);
    const handler = (msg: Message): void => {
      if (msg.data === "x1" && msg.deliveryCount === 1) throw new Error("again");
      handled.push(msg.data);
    };
    broker.subscribe("k", handler, { orderBy: "key", concurrency: 4 });
    for (const data of ["x1", "y1", "x2", "y2", "x3"]) await broker.publish("k", data, { key: data[0] ?? "" });
    expect(handled).toEqual(["y1", "y2"]);
    await clock.advance(100);
    await broker.idle();
    expect(handled).toEqual(["y1", "y2", "x1", "x2", "x3"]);
    await broker.close();
  });

  it("a batch and a transaction are all or nothing", async () => {
    const { broker } = manualBroker({ ack: roundAck, transactions: {} });
    const sub = broker.subscribe("a.*");
    expect(
      await rejectionCode(
        broker.publishBatch([
          { topic: "a.b", data: 1 },
          { topic: "a..b", data: 2 },
        ]),
      ),
    ).toBe("ERR_INVALID_TOPIC");
    expect(sub.stats().queued).toBe(0);
    await broker.publish("a.b", "order");
    const order = await takeOne(sub);
    await expect(
      broker.transaction(async (tx) => {
        await tx.publish("a.c", "invoice");
        await tx.ack(order);
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    expect(sub.stats()).toMatchObject({ queued: 0, inFlight: 1, delivered: 0 });
    await broker.transaction(async (tx) => {
      await tx.publish("a.c", "invoice");
      await tx.ack(order);
      expect(sub.stats()).toMatchObject({ queued: 0, delivered: 0 });
    });
    expect(sub.stats()).toMatchObject({ queued: 1, inFlight: 0, delivered: 1 });
    await broker.close({ drain: false });
  });

  it("an expired message is never handed over, wherever it waits", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("a");
    await broker.publish("a", "waits", { ttl: 50 });
    await broker.publish("a", "comes back", { ttl: 150 });
    const [, second] = await fetchNow(sub, 2);
    await second?.nack({ delay: 500 });
    await broker.publish("a", "too late", { delay: 300, ttl: 200 });
    await clock.advance(10_000);
    const left = (await fetchNow(sub)).map(({ data, deliveryCount }) => [data, deliveryCount]);
    expect(left).toEqual([]);
    balanced(broker);
    await broker.close({ drain: false });
  });
});
