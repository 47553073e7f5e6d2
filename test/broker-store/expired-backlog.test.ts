// What expires in a durable's backlog is told before a checkpoint removes it, whoever is or is not connected.
import { describe, expect, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import { balanced, fetchNow, takeOne } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { crash, dataOf, openBroker, range, temporaryFolder, until } from "./fixture.js";
import type { StoredBrokerOptions } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

/** A broker on a clock that the test moves, with a durable "d" on "a", and what is told to have expired. */
async function opened(
  path = temporaryFolder(),
  clock = new ManualClock(),
  options: StoredBrokerOptions = {},
): Promise<{ path: string; broker: InProcBroker; clock: ManualClock; told: unknown[] }> {
  const broker = await openBroker(path, {
    clock,
    deadLetter: {},
    ...options,
    store: { checkpointInterval: 1e9, ...options.store },
  });
  const told: unknown[] = [];
  broker.on("expire", ({ message, subscription }) => told.push([message.data, message.deliveryCount, subscription]));
  return { path, broker, clock, told };
}

async function deadData(broker: InProcBroker): Promise<unknown[]> {
  const { items } = await broker.deadLetters.list({ reason: "expired", limit: 10_000 });
  return items.map(({ message }) => message.data);
}

describe("what expired while nobody was connected", () => {
  it("is told, counted and kept as a dead letter by the checkpoint that removes it", async () => {
    const { broker, clock, told, path } = await opened();
    await broker.subscribe("a", manual).unsubscribe();
    for (const data of range(1, 3)) await broker.publish("a", data, { ttl: data === 2 ? 10_000 : 100 });
    await clock.advance(150);
    expect(told).toEqual([]);
    await broker.compact();
    expect(told).toEqual([
      [1, 1, "d"],
      [3, 1, "d"],
    ]);
    expect(await deadData(broker)).toEqual([1, 3]);
    expect(broker.metrics.snapshot().expired).toBe(2);
    expect(broker.subscriptions()).toMatchObject([{ backlog: 1 }]);
    balanced(broker);
    await broker.compact();
    expect(told).toHaveLength(2);
    // Told once is told, also for the next process and for who connects.
    const next = await opened(crash(path), clock);
    await next.broker.compact();
    expect(await deadData(next.broker)).toEqual([1, 3]);
    expect(dataOf(await fetchNow(next.broker.subscribe("a", manual)))).toEqual([2]);
    expect(next.told).toEqual([]);
    balanced(next.broker);
  });

  it("is told of blocks too, and of those among others by a thorough pass", async () => {
    const { broker, clock, told } = await opened();
    await broker.subscribe("a", manual).unsubscribe();
    for (const data of range(1, 4)) await broker.publish("a", data, data % 2 === 0 ? {} : { ttl: 100 * data });
    await broker.compact();
    await clock.advance(150);
    await broker.compact();
    expect(told).toEqual([[1, 1, "d"]]);
    await clock.advance(300);
    await broker.compact();
    expect(told).toEqual([
      [1, 1, "d"],
      [3, 1, "d"],
    ]);
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual([2, 4]);
    balanced(broker);
  });

  it("is told by the next checkpoint also where it lies in a block among others", async () => {
    const { broker, clock, told } = await opened(undefined, undefined, { store: { checkpointInterval: 1_000 } });
    await broker.subscribe("a", manual).unsubscribe();
    for (const [at, ttl] of [100_000, 100, 200_000, 5_000].entries()) await broker.publish("a", at, { ttl });
    await broker.compact();
    await clock.advance(150);
    await broker.publish("other", 0);
    await clock.advance(1_000);
    await until(() => told.length > 0);
    expect(told).toEqual([[1, 1, "d"]]);
    await broker.compact();
    expect(told).toHaveLength(1);
    expect(await deadData(broker)).toEqual([1]);
    await clock.advance(5_000);
    await broker.publish("other", 0);
    await clock.advance(1_000);
    await until(() => told.length > 1);
    expect(told[1]).toEqual([3, 1, "d"]);
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual([0, 2]);
    balanced(broker);
  });

  it("is told of page by page, each in its turn, and its room is given back", async () => {
    const { broker, clock, told } = await opened(undefined, undefined, { store: { topics: ["a"] } });
    await broker.subscribe("a", manual).unsubscribe();
    const count = 700;
    await broker.publishBatch(range(1, count).map((data) => ({ topic: "a", data, ttl: 100 })));
    await clock.advance(150);
    await broker.compact();
    expect(told.map((one) => (one as unknown[])[0])).toEqual(range(1, count));
    expect(await deadData(broker)).toEqual(range(1, count));
    const { messagesInBlocks, messagesInLog } = await broker.storeStats();
    expect([messagesInBlocks, messagesInLog]).toEqual([0, 0]);
    balanced(broker);
  });

  it("is told to each of the durables that waited, and to nobody who reads history", async () => {
    const { broker, clock, told } = await opened();
    await broker.subscribe("a", manual).unsubscribe();
    await broker.subscribe(">", { ...manual, durable: "all" }).unsubscribe();
    const reader = broker.subscribe("a", { from: "oldest", maxMessages: 1, ack: "manual" });
    await broker.publish("a", 1, { ttl: 100 });
    await takeOne(reader);
    await broker.publish("b", 2, { ttl: 100 });
    await clock.advance(150);
    await broker.compact();
    expect(told.sort()).toEqual([
      [1, 1, "all"],
      [1, 1, "d"],
      [2, 1, "all"],
    ]);
    balanced(broker);
  });

  it("is told although its payload cannot be decoded, with the bytes", async () => {
    const broken = {
      name: "custom",
      encode: (data: unknown): Uint8Array => Buffer.from(JSON.stringify(data)),
      decode: (): unknown => {
        throw new TypeError("cannot read this one");
      },
    };
    const { broker, clock, told } = await opened(undefined, undefined, { store: { codec: broken } });
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publish("a", "x", { ttl: 100 });
    await clock.advance(150);
    await broker.compact();
    expect(told).toEqual([[expect.any(Uint8Array), 1, "d"]]);
    const [bytes] = await deadData(broker);
    expect(Buffer.from(bytes as Uint8Array).toString()).toContain('"x"');
    expect(broker.subscriptions()).toMatchObject([{ backlog: 0 }]);
  });
});

describe("what expired far behind a connected durable", () => {
  it("is told once, by the checkpoint or by the durable, and the rest is delivered", async () => {
    const { broker, clock, told } = await opened();
    const sub = broker.subscribe("a", { ...manual, maxMessages: 4, maxInFlight: 2 });
    for (const data of range(1, 40)) await broker.publish("a", data, data % 4 === 0 ? {} : { ttl: 100 });
    const held = await takeOne(sub);
    await clock.advance(150);
    await broker.compact();
    await held.ack();
    const seen: unknown[] = [];
    while (seen.length < 10) {
      const message = await takeOne(sub);
      seen.push(message.data);
      await message.ack();
    }
    await broker.idle();
    expect(seen).toEqual(range(1, 10).map((one) => one * 4));
    const expected = range(1, 40).filter((one) => one % 4 !== 0 && one !== held.data);
    expect(told.map((one) => (one as unknown[])[0]).sort((a, b) => Number(a) - Number(b))).toEqual(expected);
    balanced(broker);
  });

  it("is not told where its filter does not want it", async () => {
    const { broker, clock, told } = await opened();
    const sub = broker.subscribe("a", { ...manual, maxMessages: 2, filter: ({ data }) => data !== 5 });
    for (const data of range(1, 6)) await broker.publish("a", data, data > 4 ? { ttl: 100 } : {});
    await takeOne(sub);
    await clock.advance(150);
    await broker.compact();
    expect(told).toEqual([[6, 1, "d"]]);
    expect(broker.subscriptions()).toMatchObject([{ backlog: 4 }]);
  });

  it("comes to nobody who connects while it is told", async () => {
    const { broker, clock, told } = await opened();
    await broker.subscribe("a", manual).unsubscribe();
    for (const data of range(1, 600)) void broker.publish("a", data, { ttl: 100 });
    await broker.flush();
    await clock.advance(150);
    broker.on("expire", () => {
      if (told.length === 300) broker.subscribe("a", manual);
    });
    await broker.compact();
    await until(() => told.length >= 600);
    await broker.idle();
    expect(told.map((one) => (one as unknown[])[0])).toEqual(range(1, 600));
    balanced(broker);
  });
});

describe("a crash in the middle of it", () => {
  it("has the next checkpoint tell again, and loses none", async () => {
    const { broker, clock, told, path } = await opened();
    await broker.subscribe("a", manual).unsubscribe();
    for (const data of range(1, 3)) await broker.publish("a", data, { ttl: 100 });
    await clock.advance(150);
    let copy = "";
    broker.on("expire", () => (copy ||= crash(path)));
    await broker.compact();
    expect(told).toHaveLength(3);
    const next = await opened(copy, clock);
    await next.broker.compact();
    expect(next.told).toEqual(told);
    expect(await deadData(next.broker)).toEqual([1, 2, 3]);
    await next.broker.compact();
    expect(next.told).toHaveLength(3);
  });
});
