import { describe, expect, it } from "vitest";
import type { Message } from "inproc-broker";
import {
  BrokerError,
  exponentialBackoff,
  InvalidArgumentError,
  LifecycleError,
  RequestError,
  SettleError,
  TimeoutError,
} from "inproc-broker";
import { ManualClock } from "../support/manual-clock.js";
import { Collector, deferred, failure, openRig } from "./fixture.js";

describe("publish", () => {
  it("reaches subscriptions of the broker, and answers with its receipt", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    broker.subscribe("orders.*", seen.add);
    const receipt = await client.publish("orders.created", { id: 7 }, { key: "k", headers: { a: "b" } });
    const [message] = await seen.until(1);
    expect(message).toMatchObject({ topic: "orders.created", data: { id: 7 }, key: "k", headers: { a: "b" } });
    expect(receipt).toEqual({ id: message?.id, seq: message?.seq, matched: 1, duplicate: false });
    const again = { dedupId: "d", report: true };
    await client.publish("orders.created", 1, again);
    expect(await client.publish("orders.created", 1, again)).toMatchObject({ duplicate: true });
  });

  it("has ids arrive whole, whichever message is the first that a client gets", async () => {
    for (const first of [{ key: "k" }, { headers: { a: "b" } }, { id: "mine" }, {}]) {
      const { client } = openRig();
      const seen = new Collector<Message>();
      await client.subscribe("a", seen.add).ready;
      const receipts = [await client.publish("a", 1, first), await client.publish("a", 2)];
      expect((await seen.until(2)).map(({ id }) => id)).toEqual(receipts.map(({ id }) => id));
    }
  });

  it("carries what structured clone carries", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    broker.subscribe("a", seen.add);
    const data = {
      map: new Map([[1, { at: new Date(5) }]]),
      big: 2n ** 70n,
      bytes: new Uint8Array([1, 2]),
      none: undefined,
    };
    await client.publish("a", data);
    expect((await seen.until(1))[0]?.data).toEqual(data);
  });

  it("keeps the order, also beyond the window, and bounds what is with the broker", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 100_000 } });
    const seen = new Collector<Message>();
    broker.subscribe("a", seen.add);
    const all = Array.from({ length: 5_000 }, (_, index) => client.publish("a", index));
    expect(client.stats().calls).toBe(1_024);
    expect(client.stats().waiting).toBe(5_000 - 1_024);
    await Promise.all(all);
    expect((await seen.until(5_000)).map(({ data }) => data)).toEqual(
      Array.from({ length: 5_000 }, (_, index) => index),
    );
    expect(client.stats()).toMatchObject({ calls: 0, waiting: 0 });
  });

  it("refuses what would wait beyond the bound", async () => {
    const { client } = openRig();
    const all = Array.from({ length: 1_024 + 65_536 }, () => client.publish("a", 1));
    expect(await failure(client.publish("a", 1))).toMatchObject({ code: "ERR_QUEUE_FULL" });
    await Promise.all(all);
  });

  it("fails as the broker does: class, code and facts", async () => {
    const { client } = openRig();
    const error = await failure(client.publish("a..b", 1));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error).toMatchObject({ code: "ERR_INVALID_TOPIC", facts: { topic: "a..b" } });
    expect(await failure(client.publish("a", 1, { ttl: -1 }))).toMatchObject({ code: "ERR_INVALID_OPTION" });
    expect(await failure(client.publish("a", undefined))).toMatchObject({ code: "ERR_INVALID_MESSAGE" });
    for (const entry of [null, 5]) {
      expect(await failure(client.publishBatch([entry as never]))).toMatchObject({ code: "ERR_INVALID_MESSAGE" });
    }
  });

  it("refuses what cannot be cloned, alone", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    broker.subscribe("a", seen.add);
    const [before, bad, after] = [client.publish("a", 1), client.publish("a", () => 1), client.publish("a", 2)];
    expect(await failure(bad)).toMatchObject({ code: "ERR_INVALID_MESSAGE" });
    await Promise.all([before, after]);
    expect((await seen.until(2)).map(({ data }) => data)).toEqual([1, 2]);
  });

  it("moves buffers on request, and copies them otherwise", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    broker.subscribe("a", seen.add);
    const [copied, moved] = [new ArrayBuffer(8), new ArrayBuffer(8)];
    await client.publish("a", { copied, moved }, { transfer: [moved] });
    expect([copied.byteLength, moved.byteLength]).toEqual([8, 0]);
    expect((await seen.until(1))[0]?.data).toEqual({ copied: new ArrayBuffer(8), moved: new ArrayBuffer(8) });
  });

  it("publishes batches whole, and flushes", async () => {
    const { client, broker } = openRig();
    const seen = new Collector<Message>();
    broker.subscribe(">", seen.add);
    const entries = [
      { topic: "a", data: 1 },
      { topic: "b", data: 2, priority: 9 as const },
    ];
    expect(await client.publishBatch(entries)).toMatchObject([{ matched: 1 }, { matched: 1 }]);
    await client.flush();
    expect(await seen.until(2)).toHaveLength(2);
    expect(await failure(client.publishBatch([...entries, { topic: "*", data: 1 }]))).toMatchObject({
      code: "ERR_INVALID_TOPIC",
    });
    expect(seen.items).toHaveLength(2);
  });

  it("gives up on the signals of a batch", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 1 } });
    broker.subscribe("a").pause();
    await client.publish("a", 0);
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = client.publishBatch([
      { topic: "a", data: 1, signal: first.signal },
      { topic: "a", data: 2, signal: second.signal },
    ]);
    await client.flush();
    second.abort(new RangeError("enough"));
    expect(await failure(waiting)).toEqual(new RangeError("enough"));
  });

  it("gives up on a signal, there too", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 1 } });
    const sub = broker.subscribe("a");
    await client.publish("a", 1);
    const controller = new AbortController();
    const held = client.publish("a", 2, { signal: controller.signal });
    await client.flush();
    expect(sub.stats().waiting).toBe(1);
    controller.abort(new Error("enough"));
    expect(await failure(held)).toEqual(new Error("enough"));
    await client.flush();
    expect(sub.stats()).toMatchObject({ waiting: 0, queued: 1 });
  });
});

describe("subscribe with a handler", () => {
  it("gets messages whole and in order, and acknowledges each that succeeds", async () => {
    const { broker, client } = openRig({ ack: {} });
    const seen = new Collector<Message>();
    const sub = client.subscribe("orders.>", seen.add, { group: "g" });
    await sub.ready;
    expect([sub.ackMode, sub.ackTimeout, sub.name, sub.group]).toEqual(["auto", 30_000, "g", "g"]);
    const receipts = [];
    for (let index = 0; index < 300; index += 1) {
      receipts.push(
        await broker.publish(`orders.${index % 3}`, index, index % 5 === 0 ? { key: `k${index}`, ttl: 60_000 } : {}),
      );
    }
    const messages = await seen.until(300);
    expect(messages.map(({ data }) => data)).toEqual(Array.from({ length: 300 }, (_, index) => index));
    expect(messages.map(({ id, seq }) => [id, seq])).toEqual(receipts.map(({ id, seq }) => [id, seq]));
    expect(messages[5]).toMatchObject({ topic: "orders.2", key: "k5", subscription: "g", deliveryCount: 1 });
    await broker.idle();
    expect(await sub.refreshStats()).toMatchObject({ delivered: 300, inFlight: 0 });
  });

  it("gives back what fails, with its reason and the subscription's backoff", async () => {
    const { broker, client } = openRig({ ack: { backoff: () => 60_000 }, deadLetter: {} });
    const errors = new Collector<unknown>();
    client.on("error", errors.add);
    const redelivered = new Collector<{ reason: string | undefined; delay: number }>();
    broker.on("redeliver", redelivered.add);
    const seen = new Collector<Message>();
    client.subscribe(
      "a",
      (message) => {
        seen.add(message);
        if (message.deliveryCount < 3) throw new Error("not yet");
      },
      { backoff: exponentialBackoff({ initial: 1, jitter: 0, factor: 2 }) },
    );
    await client.publish("a", 1);
    expect((await seen.until(3)).map((message) => [message.deliveryCount, message.redelivered])).toEqual([
      [1, false],
      [2, true],
      [3, true],
    ]);
    expect(redelivered.items).toMatchObject([
      { reason: "not yet", delay: 1 },
      { reason: "not yet", delay: 2 },
    ]);
    expect(errors.items).toEqual([new Error("not yet"), new Error("not yet")]);
    await broker.idle();
  });

  it("runs as many handlers at once as it may", async () => {
    const { client } = openRig({ ack: {} });
    let running = 0;
    let most = 0;
    const seen = new Collector<Message>();
    const gates = Array.from({ length: 12 }, () => deferred());
    client.subscribe(
      "a",
      async (message) => {
        running += 1;
        most = Math.max(most, running);
        seen.add(message);
        await gates[message.data as number]?.promise;
        running -= 1;
      },
      { concurrency: 4 },
    );
    for (let index = 0; index < 12; index += 1) void client.publish("a", index);
    await seen.until(4);
    for (const { resolve } of gates) resolve();
    await seen.until(12);
    expect(most).toBe(4);
  });

  it("sends a handler that is stuck no more than its window, and the rest waits in the broker's bounds", async () => {
    const { broker, client, handle } = openRig({ subscription: { maxMessages: 500, overflow: "drop-newest" } });
    const gate = deferred();
    const seen = new Collector<Message>();
    const sub = client.subscribe(
      "a",
      async (message) => {
        seen.add(message);
        await gate.promise;
      },
      { ack: "none" },
    );
    await sub.ready;
    for (let index = 0; index < 5_000; index += 1) await broker.publish("a", index);
    expect(seen.items).toHaveLength(1);
    const { sent } = handle.stats();
    expect(sent).toBeLessThanOrEqual(8);
    expect(broker.metrics.snapshot()).toMatchObject({});
    expect((await sub.refreshStats()).queued).toBe(500);
    gate.resolve();
    await seen.until(500 + sent);
    expect(handle.stats().sent).toBe(500 + sent);
  });

  it("settles although as many publishes as may wait for the queue that this empties", async () => {
    const { client } = openRig({ ack: { timeout: 600_000 } });
    const seen = new Collector<unknown>();
    const handler = async (message: Message): Promise<void> => {
      await message.ack();
      seen.add(message.data);
    };
    await client.subscribe("a", handler, { ack: "manual", maxMessages: 10, concurrency: 4 }).ready;
    await Promise.all(Array.from({ length: 3_000 }, (_, index) => client.publish("a", index)));
    expect(await seen.until(3_000)).toHaveLength(3_000);
  });

  it("settles by hand, once, by message and by id", async () => {
    const { broker, client } = openRig({ ack: {}, deadLetter: {} });
    const seen = new Collector<Message>();
    client.subscribe("a", seen.add, { ack: "manual", maxInFlight: 10 });
    for (const data of [1, 2, 3, 4]) await client.publish("a", data);
    const [first, second, third, fourth] = (await seen.until(4)) as [Message, Message, Message, Message];
    const acked = first.ack();
    const twice = await failure(first.ack());
    expect(twice).toBeInstanceOf(SettleError);
    expect(twice).toMatchObject({ code: "ERR_ALREADY_SETTLED" });
    await acked;
    await client.ack(second.deliveryId);
    expect(await failure(client.ack(second.deliveryId))).toMatchObject({ code: "ERR_ALREADY_SETTLED" });
    await third.reject("bad");
    expect((await broker.deadLetters.list()).items).toMatchObject([{ reason: "rejected", message: { data: 3 } }]);
    await fourth.extend(50_000);
    expect(await failure(fourth.extend(-1))).toMatchObject({ code: "ERR_INVALID_OPTION" });
    await client.nack(fourth.deliveryId, { delay: 0 });
    const again = (await seen.until(5))[4] as Message;
    expect(again).toMatchObject({ data: 4, deliveryCount: 2 });
    await again.ack();
    await broker.idle();
  });

  it("is told of an ack timeout: the signal is aborted, a late settle refused, the handler's place free", async () => {
    const { broker, client } = openRig({ ack: { timeout: 30, backoff: () => 0 } });
    const seen = new Collector<Message>();
    const aborted = new Collector<unknown>();
    client.subscribe("a", async (message) => {
      seen.add(message);
      if (message.deliveryCount > 1) return;
      message.signal.addEventListener("abort", () => aborted.add(message.signal.reason));
      await new Promise(() => undefined);
    });
    await client.publish("a", 1);
    const [first] = (await seen.until(2)) as [Message];
    expect(aborted.items).toMatchObject([{ code: "ERR_DELIVERY_EXPIRED" }]);
    expect(await failure(first.ack())).toMatchObject({ code: "ERR_DELIVERY_EXPIRED" });
    expect(await failure(client.ack(first.deliveryId))).toMatchObject({ code: "ERR_DELIVERY_EXPIRED" });
    await broker.idle();
  });

  for (const deadLetter of [{}, undefined]) {
    const fate = deadLetter === undefined ? "dropped" : "dead-lettered";
    it(`is told of the last ack timeout, after which the message is ${fate}: the handler's place is free`, async () => {
      const clock = new ManualClock();
      const { client } = openRig({
        clock,
        ack: { timeout: 1_000, maxDeliveries: 1 },
        ...(deadLetter === undefined ? {} : { deadLetter }),
      });
      const seen = new Collector<Message>();
      const aborted = new Collector<unknown>();
      client.subscribe("a", async (message) => {
        seen.add(message);
        if (message.data !== "hangs") return;
        message.signal.addEventListener("abort", () => aborted.add(message.signal.reason));
        await new Promise(() => undefined);
      });
      await client.publish("a", "hangs");
      await client.publish("a", "next");
      await seen.until(1);
      await clock.advance(1_000);
      expect((await seen.until(2)).map(({ data }) => data)).toEqual(["hangs", "next"]);
      expect(await aborted.until(1)).toMatchObject([{ code: "ERR_DELIVERY_EXPIRED" }]);
    });
  }

  it("leaves what its busy handler cannot begin with to the other members of the group", async () => {
    const { broker, client, join } = openRig();
    const [mine, others] = [new Collector<unknown>(), new Collector<unknown>()];
    const busy = client.subscribe(
      "a",
      async ({ data }) => {
        mine.add(data);
        await new Promise(() => undefined);
      },
      { group: "g" },
    );
    await busy.ready;
    const { client: other } = join();
    await other.subscribe("a", ({ data }) => others.add(data), { group: "g" }).ready;
    for (let data = 0; data < 10; data += 1) await broker.publish("a", data);
    await others.until(9);
    expect(mine.items).toHaveLength(1);
  });

  it("acknowledges what comes in the same batch as the broker's acceptance", async () => {
    const { broker, client } = openRig({ ack: {} });
    await broker.publish("a", 1, { retain: true });
    const seen = new Collector<Message>();
    const sub = client.subscribe("a", seen.add, { from: "last" });
    await seen.until(1);
    await broker.idle();
    expect([sub.ackMode, seen.items[0]?.subscription]).toEqual(["auto", sub.name]);
  });

  it("says why the broker has ended it: its queue was full, and closes then", async () => {
    const { broker, client } = openRig();
    const sub = client.subscribe("a", { maxMessages: 1, overflow: "close" });
    await sub.ready;
    for (const data of [1, 2]) await broker.publish("a", data);
    await sub.closed;
    expect(await failure(sub.next())).toMatchObject({ code: "ERR_QUEUE_FULL", facts: { subscription: sub.name } });
    expect(await sub.next()).toEqual({ value: undefined, done: true });
  });

  it("is over for whoever ends it while its client closes, without an error", async () => {
    const { client } = openRig();
    const stop = new AbortController();
    const subs = [client.subscribe("a"), client.subscribe("a", { signal: stop.signal })];
    await subs[0]?.ready;
    const ended = subs[0]?.unsubscribe();
    // A rejection that nobody hears of would end the process.
    stop.abort();
    await client.close({ drain: false });
    await ended;
    expect(subs.map(({ state }) => state)).toEqual(["closed", "closed"]);
  });

  it("counts what it has done at once, and the rest as of the broker's last answer", async () => {
    const { broker, client } = openRig({ ack: {}, subscription: { maxMessages: 2, overflow: "drop-newest" } });
    const sub = client.subscribe("a", { ack: "manual" });
    await sub.ready;
    for (const data of [1, 2, 3]) await broker.publish("a", data);
    const [one, two] = await sub.fetch(2);
    await one?.ack();
    await two?.nack();
    expect(sub.stats()).toMatchObject({ delivered: 1, nacked: 1, inFlight: 0, dropped: {} });
    expect(await sub.refreshStats()).toMatchObject({ delivered: 1, nacked: 1, dropped: { overflow: 1 } });
    expect(sub.stats()).toMatchObject({ dropped: { overflow: 1 } });
  });

  it("keeps what waits for its handler from timing out", async () => {
    const { broker, client } = openRig({ ack: { timeout: 300, backoff: () => 600_000 } });
    const timeouts = new Collector<{ message: Message }>();
    broker.on("redeliver", timeouts.add);
    const seen = new Collector<Message>();
    const gate = deferred();
    const sub = client.subscribe("a", async (message) => {
      await message.extend(600_000);
      seen.add(message);
      await gate.promise;
    });
    await sub.ready;
    for (const data of [1, 2]) await broker.publish("a", data);
    await seen.until(1);
    // What says that the time of both is over: a delivery of the same age, which nobody keeps.
    broker.subscribe("b", () => undefined, { ack: "manual" });
    await broker.publish("b", 3);
    await timeouts.until(1);
    gate.resolve();
    await seen.until(2);
    expect(timeouts.items.map(({ message }) => message.data)).toEqual([3]);
    expect(seen.items.map(({ deliveryCount }) => deliveryCount)).toEqual([1, 1]);
  });

  it("pauses, resumes, drains and unsubscribes", async () => {
    const { broker, client } = openRig({ ack: {} });
    const seen = new Collector<Message>();
    const sub = client.subscribe("a", seen.add);
    await sub.ready;
    sub.pause();
    await client.flush();
    for (const data of [1, 2, 3]) await broker.publish("a", data);
    await client.flush();
    expect(seen.items).toHaveLength(0);
    sub.resume();
    await seen.until(3);
    for (let data = 0; data < 200; data += 1) void broker.publish("a", data);
    await sub.drain();
    expect([seen.items.length, sub.state]).toEqual([203, "closed"]);
    expect((await broker.publish("a", 4)).matched).toBe(0);
    const other = client.subscribe("b", seen.add);
    await other.ready;
    await other.unsubscribe();
    await other.closed;
    expect((await broker.publish("b", 4)).matched).toBe(0);
    expect(broker.subscriptions()).toEqual([]);
  });

  it("keeps the order of each key without acknowledgement, too", async () => {
    const { broker, client } = openRig();
    const begun = new Map<string | undefined, unknown[]>();
    const running = new Set<string | undefined>();
    const all = new Collector<unknown>();
    let overlaps = 0;
    const handler = async (msg: Message): Promise<void> => {
      if (running.has(msg.key)) overlaps += 1;
      running.add(msg.key);
      begun.set(msg.key, [...(begun.get(msg.key) ?? []), msg.data]);
      await new Promise(setImmediate);
      running.delete(msg.key);
      all.add(msg.data);
    };
    const sub = client.subscribe("a", handler, { orderBy: "key", ack: "none", concurrency: 4 });
    await sub.ready;
    const numbers = Array.from({ length: 40 }, (_, index) => index);
    for (const n of numbers) await broker.publish("a", n, { key: `k${n % 2}` });
    await all.until(40);
    expect([...begun.values()]).toEqual([numbers.filter((n) => n % 2 === 0), numbers.filter((n) => n % 2 === 1)]);
    expect(overlaps).toBe(0);
  });

  it("holds back what was on its way when it was paused, and keeps a key in order where it has handlers to spare", async () => {
    const { broker, client } = openRig({ ack: {} });
    const seen = new Collector<unknown>();
    const gates = { x: deferred(), y: deferred() };
    const handler = ({ key, data }: Message): Promise<void> => {
      seen.add(data);
      return gates[key as "x" | "y"].promise;
    };
    const sub = client.subscribe("a", handler, { concurrency: 4, orderBy: "key", maxInFlight: 8 });
    const plain = client.subscribe("a", ({ data }) => seen.add(`plain ${data}`), { concurrency: 4 });
    await Promise.all([sub.ready, plain.ready]);
    for (const [key, data] of [
      ["x", 1],
      ["x", 2],
      ["y", 3],
    ] as const)
      await broker.publish("a", data, { key });
    plain.pause();
    await client.flush();
    await client.flush();
    expect(seen.items).toEqual([1, 3]);
    gates.x.resolve();
    expect((await seen.until(3))[2]).toBe(2);
    plain.resume();
    expect((await seen.until(6)).slice(3)).toEqual(["plain 1", "plain 2", "plain 3"]);
    gates.y.resolve();
  });

  it("returns what an unsubscribed member held to the others of its group", async () => {
    const { broker, client, join } = openRig({ ack: {} });
    const [mine, others] = [new Collector<Message>(), new Collector<Message>()];
    const sub = client.subscribe(
      "a",
      async (message) => {
        mine.add(message);
        await new Promise(() => undefined);
      },
      { group: "g" },
    );
    await sub.ready;
    await broker.publish("a", 1);
    await mine.until(1);
    const other = join().client.subscribe("a", others.add, { group: "g" });
    await other.ready;
    await sub.unsubscribe();
    expect((await others.until(1))[0]).toMatchObject({ data: 1, deliveryCount: 2 });
    await broker.idle();
  });

  it("moves buffers to a subscription that asks, without acknowledgement only", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    const sub = client.subscribe("a", seen.add, { transfer: true, ack: "none" });
    await sub.ready;
    const buffer = new ArrayBuffer(64);
    await broker.publish("a", { buffer });
    expect((await seen.until(1))[0]?.data).toEqual({ buffer: new ArrayBuffer(64) });
    expect(buffer.byteLength).toBe(0);
    client.on("error", () => undefined);
    const refused = client.subscribe("a", seen.add, { transfer: true, ack: "auto" });
    expect(await failure(refused.ready)).toMatchObject({ code: "ERR_INVALID_OPTION", facts: { option: "transfer" } });
  });

  it("dead-letters what cannot be cloned, and delivers what came with it", async () => {
    const { broker, client } = openRig({ ack: {}, deadLetter: {} });
    const seen = new Collector<Message>();
    const sub = client.subscribe("a", seen.add);
    await sub.ready;
    for (const data of [1, () => 2, 3].slice(0, 1)) await broker.publish("a", data);
    await broker.publishBatch([
      { topic: "a", data: 2 },
      { topic: "a", data: { run: () => 1 } },
      { topic: "a", data: 3 },
    ]);
    expect((await seen.until(3)).map(({ data }) => data)).toEqual([1, 2, 3]);
    await broker.idle();
    expect((await broker.deadLetters.list()).items).toMatchObject([{ reason: "rejected" }]);
  });
});

describe("subscribe without a handler", () => {
  it("is iterated, one at a time, and leaves with the loop", async () => {
    const { broker, client } = openRig();
    for (const round of [1, 2]) {
      const sub = client.subscribe("a");
      await sub.ready;
      for (const data of [1, 2, 3, 4]) await broker.publish("a", data);
      const got: unknown[] = [];
      for await (const message of sub) {
        got.push(message.data);
        if (got.length === 3) break;
      }
      expect([round, ...got]).toEqual([round, 1, 2, 3]);
      expect(sub.state).toBe("closed");
    }
  });

  it("takes no more than it was asked for", async () => {
    const { broker, client, handle } = openRig({ ack: {} });
    const sub = client.subscribe("a");
    await sub.ready;
    for (let data = 0; data < 10; data += 1) await broker.publish("a", data);
    const batch = await sub.fetch(4);
    expect(batch.map(({ data }) => data as unknown)).toEqual([0, 1, 2, 3]);
    expect(handle.stats().sent).toBe(4);
    await Promise.all(batch.map((message) => message.ack()));
    expect((await sub.fetch(20, { timeout: 0 })).map(({ data }) => data as unknown)).toEqual([4, 5, 6, 7, 8, 9]);
    expect(await sub.fetch(1, { timeout: 0 })).toEqual([]);
    expect(await sub.fetch(5, { timeout: 5 })).toEqual([]);
    await client.flush();
    await broker.publish("a", 10);
    await client.flush();
    expect(handle.stats().sent).toBe(10);
    expect((await sub.fetch(1))[0]?.data).toBe(10);
  });

  it("ends for whoever waits, when it is closed", async () => {
    const { client } = openRig();
    const sub = client.subscribe("a");
    const next = sub.next();
    await sub.ready;
    await sub.unsubscribe();
    expect(await next).toEqual({ value: undefined, done: true });
    expect(await failure(client.subscribe("a", () => undefined).fetch(1))).toMatchObject({
      code: "ERR_INVALID_OPTION",
    });
  });
});

describe("requests", () => {
  it("go both ways, and fail as they do", async () => {
    const { broker, client } = openRig();
    broker.respond("main.add", (message) => {
      const { a, b } = message.data as { a: number; b: number };
      return a + b;
    });
    const responder = client.respond("worker.double", async (message) => {
      if (message.data === "bad") throw new TypeError("no number");
      return (message.data as number) * 2;
    });
    await responder.ready;
    expect(await client.request("main.add", { a: 1, b: 2 })).toBe(3);
    expect(await broker.request("worker.double", 21)).toBe(42);
    expect(await client.request("worker.double", 4)).toBe(8);
    const remote = await failure(client.request("worker.double", "bad"));
    expect(remote).toBeInstanceOf(RequestError);
    expect(remote).toMatchObject({ code: "ERR_REMOTE", cause: new TypeError("no number") });
    expect(await failure(client.request("nobody", 1))).toMatchObject({ code: "ERR_NO_RESPONDERS" });
    broker.subscribe("silent", () => undefined);
    expect(await failure(client.request("silent", 1, { timeout: 5 }))).toMatchObject({ code: "ERR_TIMEOUT" });
  });

  it("fail with what was thrown: its class, fields and cause", async () => {
    const { broker, client } = openRig();
    const inner = Object.assign(new RangeError("inner"), { code: "EINNER" });
    const cases: [unknown, object][] = [
      [Object.assign(new TypeError("t"), { code: "EFOO", info: { a: 1 } }), { code: "EFOO", info: { a: 1 } }],
      [new DOMException("gone", "AbortError"), { name: "AbortError", message: "gone" }],
      [new AggregateError([inner, "text"], "all"), { errors: [inner, "text"] }],
      [new SyntaxError("s", { cause: inner }), { cause: inner }],
      [
        new TimeoutError("ERR_TIMEOUT", "late", { facts: { timeout: 1 } }),
        { code: "ERR_TIMEOUT", facts: { timeout: 1 } },
      ],
      ["just text", {}],
    ];
    broker.respond("main", ({ data }) => {
      throw cases[data as number]![0];
    });
    await client.respond("worker", ({ data }) => {
      throw cases[data as number]![0];
    }).ready;
    for (const [index, [thrown, facts]] of cases.entries()) {
      for (const ask of [() => client.request("main", index), () => broker.request("worker", index)]) {
        const { cause } = (await failure(ask())) as Error;
        expect(Object.getPrototypeOf(cause)).toBe(Object.getPrototypeOf(thrown));
        if (cause instanceof Error) expect(cause).toMatchObject(facts);
        else expect(cause).toBe(thrown);
      }
    }
  });

  it("may ask many with nothing that cannot be cloned", async () => {
    const { broker, client } = openRig();
    broker.respond("who", () => 1);
    expect(await failure(client.requestMany("who", () => 1).next())).toMatchObject({ code: "ERR_INVALID_MESSAGE" });
  });

  it("may have many answers", async () => {
    const { broker, client } = openRig();
    for (const data of [1, 2]) await client.respond("who", () => data).ready;
    broker.respond("who", () => 3);
    const answers: unknown[] = [];
    for await (const answer of client.requestMany("who", null, { max: 3, timeout: 5_000 })) answers.push(answer);
    expect(answers.sort()).toEqual([1, 2, 3]);
    const none = client.requestMany("nobody", null);
    expect(await failure(none.next())).toMatchObject({ code: "ERR_NO_RESPONDERS" });
  });

  it("are answered from a plain subscription too", async () => {
    const { broker, client } = openRig();
    const sub = client.subscribe("ask", (message) => message.reply({ got: message.data }));
    await sub.ready;
    expect(await broker.request("ask", 1)).toEqual({ got: 1 });
  });

  it("fail at once when their responder goes", async () => {
    const { broker, client } = openRig();
    const asked = deferred();
    const responder = client.respond("ask", async () => {
      asked.resolve();
      await new Promise(() => undefined);
    });
    await responder.ready;
    const answer = failure(broker.request("ask", 1, { timeout: 60_000 }));
    await asked.promise;
    await client.close({ drain: false });
    expect(await answer).toMatchObject({ code: "ERR_REMOTE" });
  });
});

describe("allow", () => {
  it("is held by the broker's side", async () => {
    const { broker, client } = openRig({}, { allow: { publish: ["out.*"], subscribe: ["in.>"] } });
    broker.subscribe(">", () => undefined);
    expect((await client.publish("out.a", 1)).matched).toBe(1);
    const error = await failure(client.publish("in.a", 1));
    expect(error).toMatchObject({ code: "ERR_INVALID_TOPIC", facts: { topic: "in.a", allowed: ["out.*"] } });
    expect(await failure(client.request("in.a", 1))).toMatchObject({ code: "ERR_INVALID_TOPIC" });
    expect(await failure(client.requestMany("in.a", 1).next())).toMatchObject({ code: "ERR_INVALID_TOPIC" });
    expect(
      await failure(
        client.publishBatch([
          { topic: "out.a", data: 1 },
          { topic: "in.a", data: 1 },
        ]),
      ),
    ).toMatchObject({
      code: "ERR_INVALID_TOPIC",
    });
    client.on("error", () => undefined);
    for (const pattern of ["in.a", "in.*.b", "in.>"]) await client.subscribe(pattern).ready;
    for (const pattern of [">", "*.a", "out.a", "in"]) {
      expect(await failure(client.subscribe(pattern).ready)).toMatchObject({ code: "ERR_INVALID_PATTERN" });
    }
  });

  it("keeps events about other messages, and answers to other topics, from the client", async () => {
    const { broker, client } = openRig({ ack: {}, deadLetter: {} }, { allow: { publish: ["out"], subscribe: ["in"] } });
    const heard = new Collector<unknown>();
    client.on("dead-letter", ({ topic }) => heard.add(topic)).on("drop", ({ message }) => heard.add(message.topic));
    await client.flush();
    broker.subscribe(["in", "secret"], (message) => message.reject("bad"));
    const sub = broker.subscribe(["in", "secret"]);
    for (const topic of ["secret", "in"]) await broker.publish(topic, 1);
    await sub.unsubscribe();
    await heard.until(2);
    await client.flush();
    expect(heard.items).toEqual(["in", "in"]);
    for (const replyTo of ["out", "in"]) await client.publish("out", 1, { replyTo });
    const elsewhere = { replyTo: "secret" };
    expect(await failure(client.publish("out", 1, elsewhere))).toMatchObject({ code: "ERR_INVALID_TOPIC" });
    expect(await failure(client.publishBatch([{ topic: "out", data: 1, ...elsewhere }]))).toMatchObject({
      code: "ERR_INVALID_TOPIC",
      facts: { topic: "secret", allowed: ["out"] },
    });
    const replied = new Collector<unknown>();
    await client.subscribe("in", (message) => message.reply(1, elsewhere as object).catch(replied.add)).ready;
    await broker.publish("in", 1, { replyTo: "answers" });
    expect(await replied.until(1)).toMatchObject([{ code: "ERR_INVALID_TOPIC", facts: { topic: "secret" } }]);
  });

  it("is no list that is misspelt", () => {
    for (const options of [{ alow: {} }, { allow: { publish: "a" } }, { allow: { read: [] } }, { allow: [] }]) {
      expect(() => openRig({}, options as object)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    }
    expect(() => openRig({}, { hangTimeout: 0 })).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });

  it("leaves answers alone", async () => {
    const { broker, client } = openRig({}, { allow: { publish: [], subscribe: ["ask"] } });
    await client.subscribe("ask", (message) => message.reply(2)).ready;
    expect(await broker.request("ask", 1)).toBe(2);
  });
});

describe("events and the end", () => {
  it("forwards the broker's events", async () => {
    const { broker, client } = openRig({ ack: {}, deadLetter: {} });
    const letters = new Collector<unknown>();
    const drops = new Collector<unknown>();
    client.on("dead-letter", letters.add).on("drop", drops.add);
    await client.flush();
    broker.subscribe("a", (message) => message.reject("bad"));
    const sub = broker.subscribe("b");
    await broker.publish("a", { id: 1 });
    await broker.publish("b", 2);
    await sub.unsubscribe();
    expect((await letters.until(1))[0]).toMatchObject({ reason: "rejected", message: { data: { id: 1 } } });
    expect((await drops.until(1))[0]).toMatchObject({ reason: "unsubscribed", message: { topic: "b", data: 2 } });
    client.off("drop", drops.add);
    await client.flush();
  });

  it("ends with the broker", async () => {
    const { broker, client, handle } = openRig({ ack: {} });
    const closed = new Collector<void>();
    client.on("closed", closed.add);
    const sub = client.subscribe("a");
    const next = sub.next();
    await sub.ready;
    await broker.close();
    await handle.closed;
    await closed.until(1);
    expect(await next).toEqual({ value: undefined, done: true });
    expect(client.state).toBe("closed");
    const error = await failure(client.publish("a", 1));
    expect(error).toBeInstanceOf(LifecycleError);
    expect(error).toMatchObject({ code: "ERR_BROKER_CLOSED" });
    expect(() => client.subscribe("a")).toThrow(BrokerError);
    await handle.close();
  });

  it("closes the client alone, after what it has", async () => {
    const { broker, client, handle } = openRig({ ack: {} });
    const done = new Collector<unknown>();
    const gate = deferred();
    const sub = client.subscribe("a", async (message) => {
      await gate.promise;
      done.add(message.data);
    });
    await sub.ready;
    for (const data of [1, 2, 3]) await broker.publish("a", data);
    const closing = client.close();
    gate.resolve();
    expect(await closing).toEqual({ undelivered: [], unacked: [] });
    expect(done.items).toEqual([1, 2, 3]);
    await handle.closed;
    await broker.idle();
    expect(broker.state).toBe("open");
    expect(broker.subscriptions()).toEqual([]);
  });

  it("says what it did not finish", async () => {
    const { broker, client } = openRig({ ack: {} });
    const seen = new Collector<Message>();
    await client.subscribe("a", seen.add, { ack: "manual" }).ready;
    await broker.publish("a", 1);
    await seen.until(1);
    const { unacked } = await client.close({ drain: false });
    expect(unacked.map(({ data }) => data)).toEqual([1]);
    expect(await failure(seen.items[0]!.ack())).toMatchObject({ code: "ERR_DELIVERY_EXPIRED" });
  });

  it("tells of a client that goes without a word", async () => {
    const { broker, handle } = openRig({ ack: {} });
    const { MessageChannel } = await import("node:worker_threads");
    const { connectBroker, exposeBroker } = await import("inproc-broker/worker");
    const { port1, port2 } = new MessageChannel();
    const exposed = exposeBroker(broker, port1);
    const lost = new Collector<unknown>();
    exposed.on("worker-lost", lost.add);
    broker.on("worker-lost", lost.add);
    const client = connectBroker(port2);
    const seen = new Collector<Message>();
    await client.subscribe("a", seen.add, { ack: "manual" }).ready;
    await broker.publish("a", 1);
    await seen.until(1);
    port2.close();
    await exposed.closed;
    const [event, told] = await lost.until(2);
    expect(event).toMatchObject({ worker: "port", reason: "disconnect", returned: 1, subscriptions: 1 });
    expect(told).toBe(event);
    expect(broker.subscriptions()).toEqual([]);
    expect(handle.state).toBe("open");
  });

  it("refuses at the call what can be refused there", () => {
    const { client } = openRig();
    expect(() => client.subscribe("a..b")).toThrow(expect.objectContaining({ code: "ERR_INVALID_PATTERN" }));
    expect(() => client.subscribe("a", { concurrency: 0 })).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_OPTION" }),
    );
    expect(() => client.subscribe("a", { filter: () => true })).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_OPTION", facts: { option: "filter" } }),
    );
  });

  it("passes options of a store on, which a broker in memory refuses", async () => {
    const { client } = openRig();
    client.on("error", () => undefined);
    const sub = client.subscribe("a", { durable: "d" } as object);
    expect(await failure(sub.ready)).toMatchObject({ code: "ERR_MODULE_DISABLED" });
    await sub.closed;
    expect(await failure(client.publish("a", 1, { durability: "group" } as object))).toMatchObject({
      code: "ERR_MODULE_DISABLED",
    });
  });
});
