import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import type { BrokerOptions, DeadLetter, DeadLetterFilter, DeadLetterReason, Message } from "inproc-broker";
import { InProcBroker, fixedBackoff } from "inproc-broker";
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

const all: DeadLetterReason[] = ["max-deliveries", "rejected", "expired", "overflow", "handler-error"];

/** A broker that keeps dead letters, with a subscription to `>` but the dead-letter topic that rejects what it is told to. */
function open(deadLetter: NonNullable<BrokerOptions["deadLetter"]> = {}, more: BrokerOptions = {}) {
  const { broker, clock } = manualBroker({ ack: roundAck, deadLetter, ...more });
  const got: unknown[] = [];
  const state = { isFailing: true };
  broker.subscribe(
    "work.>",
    (msg) => {
      got.push(msg.data);
      if (state.isFailing) void msg.reject("cannot do it");
    },
    { name: "worker" },
  );
  const bury = async (count: number, topic = "work.a"): Promise<void> => {
    for (let index = 0; index < count; index += 1) await broker.publish(topic, index);
    await settle();
  };
  const ids = async (filter: DeadLetterFilter = {}): Promise<string[]> =>
    (await broker.deadLetters.list({ ...filter, limit: 1_000 })).items.map(({ id }) => id);
  return { broker, clock, got, state, bury, ids };
}

describe("a dead letter", () => {
  it("keeps the message, the reason, where it came from, the error and how each hand-over ended", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    const events: DeadLetter[] = [];
    broker.on("dead-letter", (letter) => events.push(letter));
    broker.on("error", () => undefined);
    const start = clock.now();
    let attempt = 0;
    broker.subscribe(
      "orders.*",
      async (msg) => {
        attempt += 1;
        if (attempt === 1) throw new Error("boom");
        if (attempt === 2) return msg.nack({ reason: "later", delay: 50 });
        return new Promise(() => undefined);
      },
      { group: "billing" },
    );
    const { id, seq } = await broker.publish(
      "orders.new",
      { n: 1 },
      { key: "k", headers: { a: "b" }, priority: "high" },
    );
    await clock.advance(100 + 50 + 1_000);

    const { items, cursor } = await broker.deadLetters.list();
    expect(cursor).toBeUndefined();
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      reason: "max-deliveries",
      topic: "orders.new",
      subscription: "billing",
      error: "ack timeout",
      deadAt: start + 1_150,
      redrives: 0,
      message: {
        id,
        seq,
        topic: "orders.new",
        data: { n: 1 },
        key: "k",
        headers: { a: "b" },
        priority: 7,
        timestamp: start,
        deliveryCount: 3,
        redelivered: true,
        subscription: "billing",
      },
      history: [
        { deliveryCount: 1, outcome: "nacked", at: start, reason: "boom" },
        { deliveryCount: 2, outcome: "nacked", at: start + 100, reason: "later" },
        { deliveryCount: 3, outcome: "timed-out", at: start + 1_150, reason: "ack timeout" },
      ],
    });
    expect(events).toEqual(items);
    expect(await broker.deadLetters.peek(items[0]?.id ?? "")).toEqual(items[0]);
    expect(JSON.parse(JSON.stringify(items))).toMatchObject([{ topic: "orders.new" }]);
    expect(balanced(broker)).toMatchObject({ deadLettered: 1, dropped: {}, memoryBytes: 0 });
  });

  it("of a long story keeps how it began and how it ended", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 100 }, deadLetter: {} });
    broker.subscribe("t", (msg) => msg.nack({ delay: 1, reason: `no ${msg.deliveryCount}` }));
    await broker.publish("t", 1);
    await clock.advance(200);
    const [letter] = (await broker.deadLetters.list()).items;
    expect(letter?.history).toHaveLength(20);
    expect(letter?.history.map(({ deliveryCount }) => deliveryCount)).toEqual([
      1,
      ...Array.from({ length: 19 }, (_, index) => 82 + index),
    ]);
    expect(letter?.error).toBe("no 100");
  });

  it("is one for each subscription that gave the message up", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {} });
    for (const name of ["one", "two"]) broker.subscribe("t", (msg) => msg.reject(name), { name });
    broker.subscribe("t", () => undefined, { name: "three" });
    await broker.publish("t", 1);
    await settle();
    const { items } = await broker.deadLetters.list();
    expect(items.map(({ subscription, error }) => [subscription, error])).toEqual([
      ["one", "one"],
      ["two", "two"],
    ]);
    expect(balanced(broker)).toMatchObject({ routed: 3, delivered: 1, deadLettered: 2 });
  });

  it("without the option deadLetter is a counted drop with an event, and the API names the option", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const drops: [unknown, string, string][] = [];
    broker.on("drop", ({ message, subscription, reason }) => drops.push([message.data, subscription, reason]));
    const sub = broker.subscribe("t", (msg) => (msg.data === "reject" ? msg.reject() : msg.nack()), { name: "s" });
    await broker.publish("t", "reject");
    await broker.publish("t", "nack");
    await clock.advance(1_000);
    expect(drops).toEqual([
      ["reject", "s", "rejected"],
      ["nack", "s", "max-deliveries"],
    ]);
    expect(balanced(broker)).toMatchObject({ dropped: { rejected: 1, "max-deliveries": 1 }, deadLettered: 0 });
    expect(sub.stats().dropped).toEqual({ rejected: 1, "max-deliveries": 1 });
    expect(thrownCode(() => broker.deadLetters)).toBe("ERR_MODULE_DISABLED");
  });
});

describe("reasons", () => {
  it("by default: each of them; what expired or overflowed is counted as that", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    broker.on("error", () => undefined);
    await giveUpInEveryWay(broker);
    await clock.advance(10_000);
    const { byReason } = broker.deadLetters.stats();
    expect(byReason).toEqual({ "max-deliveries": 1, rejected: 1, "handler-error": 1, expired: 1, overflow: 1 });
    expect(balanced(broker)).toMatchObject({ deadLettered: 3, expired: 1, dropped: { overflow: 1 } });
  });

  it("chosen by the option, each of them", async () => {
    for (const reason of all) {
      const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: { reasons: [reason] } });
      broker.on("error", () => undefined);
      await giveUpInEveryWay(broker);
      await clock.advance(10_000);
      const { items } = await broker.deadLetters.list();
      expect(items.map((letter) => [letter.reason, letter.topic])).toEqual([[reason, reason]]);
      balanced(broker);
    }
  });

  async function giveUpInEveryWay(broker: InProcBroker): Promise<void> {
    broker.subscribe("max-deliveries", (msg) => msg.nack());
    broker.subscribe("rejected", (msg) => msg.reject());
    broker.subscribe("expired");
    broker.subscribe("overflow", { maxMessages: 1, overflow: "drop-newest" });
    broker.subscribe(
      "handler-error",
      () => {
        throw new Error("boom");
      },
      { ack: "none" },
    );
    await broker.publish("overflow", 0);
    for (const topic of all) await broker.publish(topic, 1, topic === "expired" ? { ttl: 10 } : {});
    await settle();
  }

  it("unknown ones are refused, as is a dead-letter topic that nothing can be published to", () => {
    for (const deadLetter of [
      { reasons: ["boredom" as "expired"] },
      { reasons: "expired" as unknown as [] },
      { topic: "dlq.*" },
      { topic: "dlq.>" },
      { topic: "" },
    ]) {
      const code = thrownCode(() => new InProcBroker({ deadLetter }));
      expect(["ERR_INVALID_OPTION", "ERR_INVALID_TOPIC"], JSON.stringify(deadLetter)).toContain(code);
    }
  });
});

describe("list", () => {
  it("filters by topic or pattern, reason, subscription and id: every condition must hold", async () => {
    const { broker, clock, bury } = open({ reasons: all });
    broker.subscribe("work.b", { name: "slow" });
    await broker.publish("work.b", "x", { ttl: 5 });
    await bury(2, "work.a");
    await bury(1, "work.b.c");
    await clock.advance(10);
    const list = async (filter: DeadLetterFilter): Promise<string[]> =>
      (await broker.deadLetters.list(filter)).items.map(({ id }) => id);
    expect(await list({})).toHaveLength(5);
    expect(await list({ topic: "work.a" })).toHaveLength(2);
    expect(await list({ topic: "work.*" })).toHaveLength(4);
    expect(await list({ topic: "work.>" })).toHaveLength(5);
    expect(await list({ topic: "other" })).toEqual([]);
    expect(await list({ reason: "expired" })).toHaveLength(1);
    expect(await list({ subscription: "slow" })).toHaveLength(1);
    expect(await list({ subscription: "slow", reason: "rejected" })).toEqual([]);
    const [id] = await list({ topic: "work.b.c" });
    expect(await list({ id })).toEqual([id]);
    expect(await list({ id, topic: "work.a" })).toEqual([]);
  });

  it("goes through pages, oldest first; the cursor holds while letters come and go", async () => {
    const { broker, bury, ids } = open();
    await bury(10);
    const original = await ids();
    const page1 = await broker.deadLetters.list({ limit: 3 });
    expect(page1.items.map(({ id }) => id)).toEqual(original.slice(0, 3));

    // Of the seen ones some go, the one the cursor names among them; of the unseen ones too; and others come.
    for (const index of [0, 2, 3, 8]) await broker.deadLetters.purge({ id: original[index] as string });
    await bury(2);

    const page2 = await broker.deadLetters.list({ limit: 3, cursor: page1.cursor as string });
    expect(page2.items.map(({ id }) => id)).toEqual([4, 5, 6].map((index) => original[index]));
    const page3 = await broker.deadLetters.list({ limit: 100, cursor: page2.cursor as string });
    const fresh = (await ids()).slice(-2);
    expect(page3.items.map(({ id }) => id)).toEqual([original[7], original[9], ...fresh]);
    expect(page3.cursor).toBeUndefined();
  });

  it("has no cursor on the last page, also where the page is exactly full, and with a filter", async () => {
    const { broker, bury } = open();
    await bury(3, "work.a");
    await bury(3, "work.b");
    expect((await broker.deadLetters.list({ limit: 6 })).cursor).toBeUndefined();
    expect((await broker.deadLetters.list({ limit: 3, topic: "work.a" })).cursor).toBeUndefined();
    expect((await broker.deadLetters.list({ limit: 5 })).cursor).toBeDefined();
  });

  it("has 100 on a page unless asked otherwise", async () => {
    const { broker, bury } = open();
    await bury(101);
    expect((await broker.deadLetters.list()).items).toHaveLength(100);
  });

  it("refuses nonsense, and above all a misspelt condition, which would choose everything", async () => {
    const { broker, bury } = open();
    await bury(1);
    const { deadLetters } = broker;
    for (const options of [{ limit: 0 }, { limit: 1.5 }, { cursor: "nonsense" }, { cursor: "dl-x" }]) {
      expect(await rejectionCode(deadLetters.list(options)), JSON.stringify(options)).toBe("ERR_INVALID_OPTION");
    }
    const filters: [string, object][] = [
      ["ERR_INVALID_OPTION", { topics: "other" }],
      ["ERR_INVALID_OPTION", { reason: "bored" }],
      ["ERR_INVALID_PATTERN", { topic: "a..b" }],
    ];
    for (const [code, filter] of filters) {
      expect(await rejectionCode(deadLetters.list(filter))).toBe(code);
      expect(await rejectionCode(deadLetters.purge(filter))).toBe(code);
      expect(await rejectionCode(deadLetters.redrive(filter))).toBe(code);
    }
    expect(deadLetters.stats()).toMatchObject({ count: 1, purged: 0, redriven: 0 });
  });

  it("and peek change nothing: what is not there is undefined", async () => {
    const { broker, bury, ids } = open();
    await bury(1);
    const before = broker.deadLetters.stats();
    expect(await broker.deadLetters.peek((await ids())[0] as string)).toMatchObject({ reason: "rejected" });
    for (const id of ["dl-99", "nonsense", "", 7 as unknown as string]) {
      expect(await broker.deadLetters.peek(id)).toBeUndefined();
    }
    expect(broker.deadLetters.stats()).toEqual(before);
  });
});

describe("redrive", () => {
  it("delivers again to the subscription that gave up, and to nobody else, with a fresh count", async () => {
    const { broker, bury, state, ids } = open();
    const bystander = broker.subscribe("work.a", { name: "bystander" });
    const seen: Message[] = [];
    broker.subscribe("work.a", (msg) => void seen.push(msg), { name: "other" });
    await bury(2);
    expect(await fetchNow(bystander)).toHaveLength(2);
    const published = broker.metrics.snapshot().published;

    state.isFailing = false;
    expect(await broker.deadLetters.redrive()).toBe(2);
    await settle();

    expect(await ids()).toEqual([]);
    expect(await fetchNow(bystander)).toEqual([]);
    expect(seen).toHaveLength(2);
    expect(balanced(broker)).toMatchObject({ published: published + 2, deadLettered: 2 });
    expect(broker.deadLetters.stats()).toMatchObject({ count: 0, added: 2, redriven: 2, bytes: 0, byReason: {} });
  });

  it("hands over the same message: id, data, key, headers, priority; marked as redelivered, and without its expiry", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: { reasons: ["rejected", "expired"] } });
    const sub = broker.subscribe("t", { ack: "manual" });
    const { id } = await broker.publish("t", { a: 1 }, { key: "k", headers: { h: "v" }, priority: 9, ttl: 50 });
    await clock.advance(50);
    expect(broker.deadLetters.stats().byReason).toEqual({ expired: 1 });
    await broker.deadLetters.redrive();
    await clock.advance(10_000);
    const again = await takeOne(sub);
    expect(again).toMatchObject({ id, data: { a: 1 }, key: "k", headers: { h: "v" }, priority: 9, topic: "t" });
    expect(again).toMatchObject({ redelivered: true, deliveryCount: 1, expiresAt: undefined });
  });

  it("goes to the topic where the subscription has gone", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {} });
    const gone = broker.subscribe("t", (msg) => msg.reject());
    await broker.publish("t", 1);
    await settle();
    await gone.unsubscribe();
    const later = [broker.subscribe("t"), broker.subscribe(">")];
    expect(await broker.deadLetters.redrive()).toBe(1);
    for (const sub of later) expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([1]);
  });

  it("in a group whose members ask for different things goes to one that asks for this topic", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {} });
    const got: string[] = [];
    broker.subscribe("a", ({ topic }) => void got.push(`a got ${topic}`), { group: "g" });
    const failing = broker.subscribe("b", (msg) => msg.reject(), { group: "g" });
    await broker.publish("b", 1);
    await settle();
    await failing.unsubscribe();
    broker.subscribe("b", ({ topic }) => void got.push(`b got ${topic}`), { group: "g" });
    await broker.deadLetters.redrive();
    await settle();
    expect(got).toEqual(["b got b"]);
  });

  it("drives what the filter chooses", async () => {
    const { broker, bury, state, ids, got } = open();
    await bury(2, "work.a");
    await bury(1, "work.b");
    state.isFailing = false;
    got.length = 0;
    expect(await broker.deadLetters.redrive({ topic: "work.b" })).toBe(1);
    await settle();
    expect(got).toEqual([0]);
    expect(await ids()).toHaveLength(2);
    expect(await broker.deadLetters.redrive({ id: (await ids())[1] as string })).toBe(1);
    expect(await broker.deadLetters.redrive({ topic: "nobody" })).toBe(0);
  });

  it("does not loop where it fails again: the letter comes back once for each call, and says how often", async () => {
    const { broker, got, bury } = open();
    await bury(1);
    for (let round = 1; round <= 3; round += 1) {
      expect(await broker.deadLetters.redrive()).toBe(1);
      await settle();
      const { items } = await broker.deadLetters.list();
      expect(items).toHaveLength(1);
      expect(items[0]).toMatchObject({ redrives: round, message: { deliveryCount: 1 }, reason: "rejected" });
      expect(got).toHaveLength(1 + round);
    }
    expect(broker.deadLetters.stats()).toMatchObject({ added: 4, redriven: 3, count: 1 });
  });

  it("is paced by `rate`, on the broker's clock", async () => {
    const { broker, clock, bury, got, state } = open();
    await bury(5);
    state.isFailing = false;
    got.length = 0;
    let driven: number | undefined;
    void broker.deadLetters.redrive({}, { rate: 2 }).then((count) => (driven = count));
    await settle();
    expect(got).toEqual([0]);
    await clock.advance(499);
    expect(got).toEqual([0]);
    await clock.advance(1);
    expect(got).toEqual([0, 1]);
    await clock.advance(1_000);
    expect(got).toEqual([0, 1, 2, 3]);
    expect(driven).toBeUndefined();
    await clock.advance(500);
    expect(driven).toBe(5);
  });

  it("skips what is purged or driven by another call meanwhile", async () => {
    const { broker, clock, bury, state, got } = open();
    await bury(3);
    state.isFailing = false;
    got.length = 0;
    const slow = broker.deadLetters.redrive({}, { rate: 1 });
    await settle();
    expect(await broker.deadLetters.redrive()).toBe(2);
    await clock.advance(5_000);
    expect(await slow).toBe(1);
    expect(got.toSorted()).toEqual([0, 1, 2]);
  });

  it("ends between two messages when its signal aborts, and leaves no listener on it", async () => {
    const { broker, clock, bury, ids } = open();
    await bury(30);
    const controller = new AbortController();
    const driving = broker.deadLetters.redrive({}, { rate: 1, signal: controller.signal });
    await clock.advance(20_000);
    expect(getEventListeners(controller.signal, "abort").length).toBeLessThanOrEqual(1);
    controller.abort();
    expect(await driving).toBe(21);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    await clock.advance(60_000);
    // Those that were driven failed again.
    expect(await ids()).toHaveLength(30);
    expect(broker.deadLetters.stats().redriven).toBe(21);
    expect(await broker.deadLetters.redrive({}, { signal: AbortSignal.abort() })).toBe(0);
  });

  it("keeps the letter where there is no memory for it, and says so", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: { topic: "dlq" }, memory: { maxBytes: 10 } });
    broker.on("error", () => undefined);
    broker.subscribe("t", (msg) => msg.reject(), { name: "s" });
    const hoard = broker.subscribe("hoard");
    await broker.publish("t", "12345");
    await settle();
    await broker.publish("hoard", "123456");
    expect(await rejectionCode(broker.deadLetters.redrive())).toBe("ERR_MEMORY_LIMIT");
    expect(broker.deadLetters.stats()).toMatchObject({ count: 1, redriven: 0 });
    await fetchNow(hoard).then((messages) => Promise.all(messages.map((one) => one.ack())));
    expect(await broker.deadLetters.redrive()).toBe(1);
  });

  it("keeps the letter where there is no place for its topic, and counts nothing", async () => {
    const { broker, clock } = manualBroker({
      ack: roundAck,
      deadLetter: {},
      limits: { maxTopics: 2, topicIdle: 1_000 },
    });
    const failing = broker.subscribe("t", (msg) => msg.reject());
    await broker.publish("t", 1);
    await settle();
    await failing.unsubscribe();
    await clock.advance(2_000);
    await broker.publish("one", 1);
    await broker.publish("two", 1);
    expect(await rejectionCode(broker.deadLetters.redrive())).toBe("ERR_LIMIT_EXCEEDED");
    expect(broker.deadLetters.stats()).toMatchObject({ count: 1, redriven: 0 });
    balanced(broker);
  });

  it("refuses a rate of nothing", async () => {
    const { broker } = open();
    for (const rate of [0, -1, NaN, "1" as unknown as number]) {
      expect(await rejectionCode(broker.deadLetters.redrive({}, { rate }))).toBe("ERR_INVALID_OPTION");
    }
  });

  it("that waits for its rate is rejected when the broker closes; so is everything afterwards but the figures", async () => {
    const { broker, clock, bury } = open();
    await bury(3);
    const { deadLetters } = broker;
    const driving = rejectionCode(deadLetters.redrive({}, { rate: 1 }));
    await settle();
    await broker.close();
    expect(await driving).toBe("ERR_BROKER_CLOSED");
    expect(clock.pending).toBe(0);
    expect(await rejectionCode(deadLetters.redrive())).toBe("ERR_BROKER_CLOSED");
    expect(await rejectionCode(deadLetters.list())).toBe("ERR_BROKER_CLOSED");
    expect(await rejectionCode(deadLetters.peek("dl-1"))).toBe("ERR_BROKER_CLOSED");
    expect(await rejectionCode(deadLetters.purge())).toBe("ERR_BROKER_CLOSED");
    expect(deadLetters.stats()).toMatchObject({ added: 4, redriven: 1 });
  });
});

describe("purge", () => {
  it("throws away what the filter chooses, and counts it", async () => {
    const { broker, bury, ids } = open();
    await bury(3, "work.a");
    await bury(2, "work.b");
    expect(await broker.deadLetters.purge({ topic: "work.b" })).toBe(2);
    expect(await ids()).toHaveLength(3);
    expect(await broker.deadLetters.purge()).toBe(3);
    expect(await broker.deadLetters.purge()).toBe(0);
    expect(broker.deadLetters.stats()).toEqual({
      count: 0,
      bytes: 0,
      byReason: {},
      added: 5,
      redriven: 0,
      purged: 5,
      evicted: 0,
    });
  });
});

describe("bounds", () => {
  it("by count: the oldest goes, counted, with an event that names it", async () => {
    const { broker, bury, ids } = open({ maxMessages: 3 });
    const errors: [string, unknown][] = [];
    broker.on("error", (error) => errors.push([(error as { code: string }).code, (error as { facts: object }).facts]));
    await bury(5);
    expect(await ids()).toEqual(["dl-3", "dl-4", "dl-5"]);
    expect(errors).toEqual([
      ["ERR_LIMIT_EXCEEDED", { id: "dl-1", topic: "work.a" }],
      ["ERR_LIMIT_EXCEEDED", { id: "dl-2", topic: "work.a" }],
    ]);
    expect(broker.deadLetters.stats()).toMatchObject({ count: 3, evicted: 2, added: 5, byReason: { rejected: 3 } });
    balanced(broker);
  });

  it("by bytes, of data, headers and key", async () => {
    const { broker, ids } = open({ maxBytes: 100 });
    broker.on("error", () => undefined);
    await broker.publish("work.a", "x".repeat(40), { key: "k".repeat(10) });
    await broker.publish("work.a", "x".repeat(50));
    await settle();
    expect(await ids()).toHaveLength(2);
    expect(broker.deadLetters.stats().bytes).toBe(100);
    await broker.publish("work.a", "");
    await settle();
    expect(await ids(), "an empty one has room").toHaveLength(3);
    await broker.publish("work.a", "x");
    await settle();
    expect(await ids()).toEqual(["dl-2", "dl-3", "dl-4"]);
    await broker.publish("work.a", "x".repeat(101));
    await settle();
    expect(await ids(), "larger than all there is").toEqual([]);
    expect(broker.deadLetters.stats()).toMatchObject({ bytes: 0, evicted: 5 });
  });

  it("by age", async () => {
    const { broker, clock, bury, ids } = open({ maxAge: 1_000 });
    const evicted: string[] = [];
    broker.on("error", (error) => evicted.push((error as { facts: { id: string } }).facts.id));
    await bury(1);
    await clock.advance(600);
    await bury(1);
    await clock.advance(401);
    expect(await ids()).toEqual(["dl-2"]);
    expect(evicted).toEqual(["dl-1"]);
    await clock.advance(600);
    expect(await broker.deadLetters.peek("dl-2")).toBeUndefined();
    expect(await broker.deadLetters.redrive(), "what is too old is not driven").toBe(0);
    expect(broker.deadLetters.stats()).toMatchObject({ count: 0, evicted: 2 });
  });
});

describe("the dead-letter topic", () => {
  it("gets each of them, with its story in the headers", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: { topic: "graveyard" } });
    const sub = broker.subscribe("graveyard");
    broker.subscribe("t", (msg) => msg.reject("no good"), { name: "s" });
    await broker.publish("t", { n: 1 }, { key: "k", headers: { a: "b" } });
    await settle();
    const message = await takeOne(sub);
    expect(message).toMatchObject({
      topic: "graveyard",
      data: { n: 1 },
      key: "k",
      deliveryCount: 1,
      redelivered: false,
    });
    expect({ ...message.headers }).toEqual({
      a: "b",
      "dead-letter-id": "dl-1",
      "dead-letter-reason": "rejected",
      "dead-letter-topic": "t",
      "dead-letter-subscription": "s",
      "dead-letter-deliveries": "1",
      "dead-letter-error": "no good",
    });
    expect(await broker.deadLetters.peek(message.headers["dead-letter-id"] as string)).toMatchObject({ topic: "t" });
  });

  it("is `dlq` by default, and needs nobody to listen", async () => {
    const { broker, bury } = open();
    const sub = broker.subscribe("dlq");
    await bury(1);
    expect((await takeOne(sub)).topic).toBe("dlq");
  });

  it("is no loop: a dead letter of its own stays in the list, and can be driven again", async () => {
    const { broker, bury, clock } = open();
    let handed = 0;
    broker.subscribe(
      "dlq",
      () => {
        handed += 1;
        throw new Error("the undertaker is ill");
      },
      { maxDeliveries: 2, name: "undertaker", backoff: fixedBackoff(10) },
    );
    broker.on("error", () => undefined);
    await bury(1);
    await clock.advance(60_000);
    expect(handed).toBe(2);
    const { items } = await broker.deadLetters.list({ subscription: "undertaker" });
    expect(items).toMatchObject([{ topic: "dlq", reason: "max-deliveries", error: "the undertaker is ill" }]);
    expect(broker.deadLetters.stats().added).toBe(2);
    expect(await broker.deadLetters.redrive({ subscription: "undertaker" })).toBe(1);
    await clock.advance(60_000);
    expect(handed).toBe(4);
    expect(broker.deadLetters.stats().added).toBe(3);
  });

  it("does not empty a full queue that also hears it: one overflow is one dead letter there", async () => {
    const { broker } = manualBroker({ deadLetter: { reasons: ["overflow"] } });
    const sub = broker.subscribe(">", { maxMessages: 5, overflow: "drop-oldest" });
    for (let index = 1; index <= 5; index += 1) await broker.publish("t", index);
    await broker.publish("t", 6);
    const waiting = broker.peek(sub).map(({ topic, data }) => `${topic} ${String(data)}`);
    expect(waiting).toEqual(["t 3", "t 4", "t 5", "t 6", "dlq 1"]);
    expect((await broker.deadLetters.list()).items.map(({ message }) => message.data)).toEqual([1, 2]);
    expect(balanced(broker)).toMatchObject({ dropped: { overflow: 2 }, queued: 5 });
  });

  it("that refuses the message (a schema, a limit, memory) is an error event, and the letter stays in the list", async () => {
    const reject = {
      "~standard": { version: 1 as const, vendor: "test", validate: () => ({ issues: [{ message: "no" }] }) },
    };
    const rejectLater = {
      "~standard": { version: 1 as const, vendor: "test", validate: async () => ({ issues: [{ message: "no" }] }) },
    };
    for (const more of [
      { schemas: { dlq: reject } },
      { schemas: { dlq: rejectLater } },
      { limits: { maxMessageBytes: 20 } },
      { memory: { maxBytes: 20 } },
    ] satisfies BrokerOptions[]) {
      const { broker, bury } = open({}, more);
      broker.subscribe("dlq");
      const errors: unknown[] = [];
      broker.on("error", (_error, { during }) => errors.push(during));
      await bury(1);
      expect(errors, JSON.stringify(more)).toEqual(["dead-letter"]);
      expect(broker.deadLetters.stats().count).toBe(1);
    }
  });
});
