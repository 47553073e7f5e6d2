/**
 * Earlier brokers kept maps beside their queues and never took anything out: metrics for each topic ever used, a dispatcher
 * for each topic with priorities, a deduplication map for each subject, a limiter for each key, an entry for each ack.
 */
import { expect, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import { balanced, collectGarbage, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const topics = 100_000;
/** What the heap may differ by between two rounds that leave nothing behind. */
const noise = 3 * 2 ** 20;

async function heapAfter(run: () => Promise<void>): Promise<number> {
  await run();
  await settle();
  await collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** The growth of the heap through a second round of the same kind; the first one fills what has a bound. */
async function growth(round: (number: number) => Promise<void>): Promise<number> {
  const before = await heapAfter(() => round(1));
  const after = await heapAfter(() => round(2));
  return after - before;
}

function publishTo(broker: InProcBroker, count: number, topicOf: (index: number) => string): void {
  for (let index = 0; index < count; index += 1) broker.publishSync(topicOf(index), index);
}

it("100,000 distinct topics leave nothing behind, with a subscriber and without", async () => {
  const { broker } = manualBroker();
  const sub = broker.subscribe("heard.>", () => undefined, { maxMessages: Infinity, maxBytes: Infinity });
  const grown = await growth(async (round) => {
    publishTo(broker, topics, (index) => `unheard.${round}.${index}`);
    for (let part = 0; part < 10; part += 1) {
      publishTo(broker, topics / 10, (index) => `heard.${round}.${part}.${index}`);
      await settle();
    }
  });
  expect(grown).toBeLessThan(noise);
  expect(sub.stats().delivered).toBe(2 * topics);
  expect(broker.topics().length).toBeLessThan(topics / 2);
  await broker.close();
});

it("neither do priorities, keys, ids, acks and dedupIds, each of them new", async () => {
  const { broker, clock } = manualBroker({
    ack: roundAck,
    deadLetter: { maxMessages: 10 },
    dedup: { maxEntries: 100 },
  });
  broker.on("error", () => undefined);
  const sub = broker.subscribe("t.*", { orderBy: "key", maxInFlight: 1_000, name: "s" });
  const count = 5_000;
  const grown = await growth(async (round) => {
    for (let index = 0; index < count; index += 1) {
      const name = `${round}-${index}`;
      const priority = (index % 10) as 0;
      await broker.publish(`t.${name}`, index, { key: name, dedupId: name, id: name, priority, ttl: 60_000 });
      if (index % 500 !== 499) continue;
      for (const message of await fetchNow(sub)) {
        if ((message.data as number) % 3 === 0) await broker.ack(message.deliveryId);
        else if ((message.data as number) % 3 === 1) await message.reject();
        else await message.ack();
      }
    }
    await clock.advance(120_001);
  });
  expect(grown).toBeLessThan(noise);
  expect(balanced(broker)).toMatchObject({ inFlight: 0, queued: 0, memoryBytes: 0, dedupEntries: 0 });
  expect(broker.deadLetters.stats().count).toBe(10);
  await broker.close();
});

it("nor do subscriptions, requests, transactions and delayed messages that come and go", async () => {
  const { broker, clock } = manualBroker({ ack: roundAck, transactions: {} });
  broker.respond("question", ({ data }) => data);
  const grown = await growth(async (round) => {
    // Ids of ended transactions are remembered up to 10,000: the first round fills that.
    for (let index = 0; index < 12_000; index += 1) {
      await broker.transaction(() => undefined, { id: `${round}-${index}` });
    }
    for (let index = 0; index < 1_000; index += 1) {
      const sub = broker.subscribe([`own.${round}.${index}`, `wild.${round}.${index}.*`], { group: `g${index}` });
      await broker.request("question", index);
      await broker.publish("delayed", index, { delay: 10 + index });
      const { id } = await broker.publish("delayed", index, { delay: 1e9 });
      await broker.cancel(id);
      await sub.unsubscribe();
    }
    await clock.advance(10_000);
  });
  expect(grown).toBeLessThan(noise);
  expect(broker.metrics.snapshot()).toMatchObject({ subscriptions: 1, scheduled: 0, pendingRequests: 0 });
  await broker.close();
});
