// An earlier broker stored what came through one of its seven ways to publish. What came through the others, "reliable"
// messages first of all, was gone after a restart.
import { describe, expect, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import { crash, openBroker, temporaryFolder } from "../broker-store/fixture.js";
import { fetchNow, takeOne } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";

const ways: Readonly<Record<string, (broker: InProcBroker, clock: ManualClock) => Promise<unknown>>> = {
  publish: (broker) => broker.publish("t", 1),
  "publish with options": (broker) => broker.publish("t", 1, { key: "k", priority: 9, headers: { a: "b" }, ttl: 1e9 }),
  "publish with memory durability": (broker) => broker.publish("t", 1, { durability: "memory" }),
  publishBatch: (broker) => broker.publishBatch([{ topic: "t", data: 1 }]),
  transaction: (broker) => broker.transaction((tx) => void tx.publish("t", 1)),
  "a transaction by id": async (broker) => {
    const { id } = broker.beginTransaction();
    await broker.publish("t", 1, { transaction: id });
    await broker.commitTransaction(id);
  },
  delay: async (broker, clock) => {
    await broker.publish("t", 1, { delay: 1_000 });
    await clock.advance(1_000);
  },
  "a delay that is not over": (broker) => broker.publish("t", 1, { delay: 1 }),
  retain: (broker) => broker.publish("t", 1, { retain: true }),
  request: (broker) => {
    broker.request("t", 1).catch(() => undefined);
    return Promise.resolve();
  },
  "a reply to a topic": async (broker) => {
    const sub = broker.subscribe("question");
    await broker.publish("question", 0, { replyTo: "t" });
    await (await takeOne(sub)).reply(1);
  },
  "a dead letter's topic": async (broker) => {
    const sub = broker.subscribe("work", { ack: "manual" });
    await broker.publish("work", 1);
    await (await takeOne(sub)).reject();
  },
  "a dead letter driven again": async (broker) => {
    const sub = broker.subscribe("t", { durable: "d", ack: "manual" });
    await broker.publish("t", 1);
    await (await takeOne(sub)).reject();
    await broker.deadLetters.redrive();
    await sub.unsubscribe();
  },
};

describe("what was accepted is there after a crash, whichever way it came", () => {
  it.each(Object.keys(ways))("%s", async (way) => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const options = { clock, transactions: {}, deadLetter: { topic: "t" } };
    const broker = await openBroker(path, options);
    await broker.subscribe("t", { durable: "d", ack: "manual" }).unsubscribe();
    await ways[way]?.(broker, clock);
    await broker.flush();
    const again = await openBroker(crash(path), options);
    await clock.advance(10);
    await again.flush();
    const messages = await fetchNow(again.subscribe("t", { durable: "d", ack: "manual" }));
    expect(messages.map(({ data }) => data)).toEqual([1]);
  });
});
