// Every option has a test that fails when it is ignored, and refuses what is out of its range.
import { describe, expect, it } from "vitest";
import type { BrokerOptions, PublishOptions, SubscribeOptions } from "inproc-broker";
import { BrokerError, fixedBackoff, InProcBroker } from "inproc-broker";
import { fetchNow, manualBroker, rejectionCode, roundAck, takeOne, thrownCode } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const never = (): Promise<never> => new Promise<never>(() => undefined);

describe("a broker option", () => {
  const invalid: readonly [option: string, options: unknown][] = [
    ["shards", { shards: 3 }],
    ["shards", { shards: 0 }],
    ["subscription.maxMessages", { subscription: { maxMessages: 0 } }],
    ["subscription.maxBytes", { subscription: { maxBytes: -1 } }],
    ["subscription.overflow", { subscription: { overflow: "drop" } }],
    ["memory.maxBytes", { memory: { maxBytes: "1" } }],
    ["memory.onLimit", { memory: { onLimit: "drop" } }],
    ["ttl.default", { ttl: { default: 0 } }],
    ["ack.timeout", { ack: { timeout: -5 } }],
    ["ack.maxDeliveries", { ack: { maxDeliveries: 1.5 } }],
    ["ack.backoff", { ack: { backoff: 100 } }],
    ["dedup.window", { dedup: { window: 0 } }],
    ["dedup.maxEntries", { dedup: { maxEntries: 0 } }],
    ["transactions.timeout", { transactions: { timeout: 0 } }],
    ["transactions.maxOpen", { transactions: { maxOpen: 0 } }],
    ["transactions.maxOperations", { transactions: { maxOperations: 0 } }],
    ["deadLetter.maxMessages", { deadLetter: { maxMessages: 0 } }],
    ["deadLetter.maxBytes", { deadLetter: { maxBytes: 0 } }],
    ["deadLetter.maxAge", { deadLetter: { maxAge: 0 } }],
    ["deadLetter.reasons", { deadLetter: { reasons: ["bored"] } }],
    ["priority.aging", { priority: { aging: 0 } }],
    ["limits.maxTopics", { limits: { maxTopics: 0 } }],
    ["limits.topicIdle", { limits: { topicIdle: 0 } }],
    ["limits.maxSubscriptions", { limits: { maxSubscriptions: 0 } }],
    ["limits.maxTopicLength", { limits: { maxTopicLength: 0 } }],
    ["limits.maxTokens", { limits: { maxTokens: 0 } }],
    ["limits.maxMessageBytes", { limits: { maxMessageBytes: 0 } }],
    ["limits.maxDelayed", { limits: { maxDelayed: 0 } }],
    ["limits.maxRetained", { limits: { maxRetained: 0 } }],
    ["limits.maxWaitingPublishers", { limits: { maxWaitingPublishers: 0 } }],
    ["payloads", { payloads: "copy" }],
    ["clock", { clock: 5 }],
    ["clock.schedule", { clock: { now: Date.now, monotonic: Date.now } }],
    ["random", { random: 0.5 }],
    ["plugins", { plugins: {} }],
    ["plugin.name", { plugins: [{}] }],
    ["persistance", { persistance: {} }],
    ["ack.timeoutMs", { ack: { timeoutMs: 5 } }],
    ["limits.topics", { limits: { topics: 5 } }],
  ];

  it.each(invalid)("%s out of range, or unknown, is refused by name: %j", (option, options) => {
    let thrown: unknown;
    try {
      new InProcBroker(options as BrokerOptions);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(BrokerError);
    expect((thrown as BrokerError).code).toBe("ERR_INVALID_OPTION");
    expect((thrown as BrokerError).message).toContain(option);
  });

  it("shards: any power of two delivers the same", async () => {
    for (const shards of [1, 2, 64, 1024]) {
      const { broker } = manualBroker({ shards });
      const got: string[] = [];
      broker.subscribe("a.*", (msg) => void got.push(msg.topic));
      for (let index = 0; index < 50; index += 1) await broker.publish(`a.${index}`, index);
      await broker.idle();
      expect(got).toEqual(Array.from({ length: 50 }, (_, index) => `a.${index}`));
      await broker.close();
    }
  });

  it("subscription.maxMessages, maxBytes, overflow are every subscription's defaults", async () => {
    const { broker } = manualBroker({ subscription: { maxMessages: 2, overflow: "error" } });
    broker.subscribe("m").pause();
    await broker.publish("m", 1);
    await broker.publish("m", 2);
    expect(await rejectionCode(broker.publish("m", 3))).toBe("ERR_QUEUE_FULL");
    const bytes = manualBroker({ subscription: { maxBytes: 16, overflow: "error" } }).broker;
    bytes.subscribe("b");
    await bytes.publish("b", "x".repeat(16));
    expect(await rejectionCode(bytes.publish("b", "x"))).toBe("ERR_QUEUE_FULL");
  });

  it("memory.maxBytes refuses what would exceed it, and nobody has got it", async () => {
    const { broker } = manualBroker({ memory: { maxBytes: 100 } });
    const subs = [broker.subscribe("t"), broker.subscribe("t")];
    await broker.publish("t", "x".repeat(60));
    expect(broker.metrics.snapshot().memoryBytes, "counted once for two queues").toBe(60);
    expect(await rejectionCode(broker.publish("t", "x".repeat(41)))).toBe("ERR_MEMORY_LIMIT");
    expect(thrownCode(() => broker.publishSync("t", "x".repeat(41)))).toBe("ERR_MEMORY_LIMIT");
    expect(subs.map((sub) => sub.stats().queued)).toEqual([1, 1]);
    for (const sub of subs) await fetchNow(sub);
    expect(broker.metrics.snapshot().memoryBytes).toBe(0);
    await broker.publish("t", "x".repeat(100));
  });

  it("ttl.default expires what names no ttl", async () => {
    const { broker, clock } = manualBroker({ ttl: { default: 50 } });
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    await broker.publish("t", 2, { ttl: 500 });
    await clock.advance(50);
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual([2]);
  });

  it("ack: its presence makes handlers auto and iterators manual; timeout, maxDeliveries and backoff apply", async () => {
    const { broker, clock } = manualBroker({ ack: { timeout: 40, maxDeliveries: 2, backoff: fixedBackoff(7) } });
    let runs = 0;
    const pushed = broker.subscribe("push", () => {
      runs += 1;
      if (runs === 1) throw new Error("once");
    });
    broker.on("error", () => undefined);
    await broker.publish("push", 1);
    await clock.advance(6);
    expect(runs).toBe(1);
    await clock.advance(1);
    expect(runs).toBe(2);
    expect(pushed.stats().delivered).toBe(1);
    const pulled = broker.subscribe("pull");
    await broker.publish("pull", 1);
    await takeOne(pulled);
    expect(pulled.stats().inFlight).toBe(1);
    await clock.advance(47);
    expect((await takeOne(pulled)).deliveryCount).toBe(2);
    await clock.advance(40);
    expect(pulled.stats()).toMatchObject({ inFlight: 0, dropped: { "max-deliveries": 1 } });
  });

  it("dedup.window and dedup.maxEntries bound what is remembered", async () => {
    const { broker, clock } = manualBroker({ dedup: { window: 100, maxEntries: 2 } });
    const publish = async (dedupId: string): Promise<boolean> => (await broker.publish("t", 1, { dedupId })).duplicate;
    expect([await publish("a"), await publish("a")]).toEqual([false, true]);
    await clock.advance(101);
    expect(await publish("a")).toBe(false);
    await publish("b");
    await publish("c");
    expect(await publish("a"), "the third id pushed out the first").toBe(false);
  });

  it("transactions: absent refuses; timeout, maxOpen, maxOperations apply", async () => {
    const { broker: without } = manualBroker();
    expect(thrownCode(() => without.beginTransaction())).toBe("ERR_MODULE_DISABLED");
    const { broker, clock } = manualBroker({ transactions: { timeout: 100, maxOpen: 1, maxOperations: 1 } });
    const tx = broker.beginTransaction();
    expect(thrownCode(() => broker.beginTransaction())).toBe("ERR_LIMIT_EXCEEDED");
    await tx.publish("a", 1);
    expect(await rejectionCode(tx.publish("a", 2))).toBe("ERR_LIMIT_EXCEEDED");
    await clock.advance(100);
    expect(await rejectionCode(tx.commit())).toBe("ERR_TRANSACTION_TIMEOUT");
  });

  it("deadLetter: absent refuses; topic, maxMessages, reasons apply", async () => {
    expect(thrownCode(() => manualBroker().broker.deadLetters)).toBe("ERR_MODULE_DISABLED");
    const { broker } = manualBroker({
      ack: roundAck,
      deadLetter: { topic: "graveyard", maxMessages: 1, reasons: ["rejected"] },
    });
    broker.on("error", () => undefined);
    const grave = broker.subscribe("graveyard", { ack: "none" });
    const sub = broker.subscribe("t");
    for (const data of [1, 2]) {
      await broker.publish("t", data);
      await (await takeOne(sub)).reject("no");
    }
    expect((await broker.deadLetters.list()).items.map((letter) => letter.message.data)).toEqual([2]);
    expect((await fetchNow(grave)).map((msg) => msg.headers["dead-letter-reason"])).toEqual(["rejected", "rejected"]);
  });

  it("priority.aging lifts what waits too long; absent, priorities are strict", async () => {
    for (const [aging, first] of [
      [10, "low"],
      [undefined, "high"],
    ] as const) {
      const { broker, clock } = manualBroker(aging === undefined ? {} : { priority: { aging } });
      const sub = broker.subscribe("t");
      await broker.publish("t", "low", { priority: 0 });
      await clock.advance(100);
      await broker.publish("t", "high", { priority: 9 });
      expect((await takeOne(sub)).data).toBe(first);
    }
  });

  it("limits.maxTopics refuses one topic too many, and topicIdle makes room", async () => {
    const { broker, clock } = manualBroker({ limits: { maxTopics: 2, topicIdle: 1_000 } });
    await broker.publish("a", 1);
    await broker.publish("b", 1);
    expect(await rejectionCode(broker.publish("c", 1))).toBe("ERR_LIMIT_EXCEEDED");
    await broker.publish("a", 2);
    await clock.advance(1_001);
    await broker.publish("c", 1);
    expect(broker.topics().map(({ topic }) => topic)).toEqual(["c"]);
  });

  it("limits.maxSubscriptions counts, also in a batch, which is all or none", () => {
    const { broker } = manualBroker({ limits: { maxSubscriptions: 2 } });
    broker.subscribe("a");
    expect(thrownCode(() => broker.subscribeBatch([{ pattern: "b" }, { pattern: "c" }]))).toBe("ERR_LIMIT_EXCEEDED");
    expect(broker.metrics.snapshot().subscriptions).toBe(1);
    broker.subscribe("b");
    expect(thrownCode(() => broker.subscribe("c"))).toBe("ERR_LIMIT_EXCEEDED");
  });

  it("limits.maxTopicLength, maxTokens, maxMessageBytes, maxDelayed, maxRetained, maxWaitingPublishers refuse", async () => {
    const { broker } = manualBroker({
      limits: {
        maxTopicLength: 5,
        maxTokens: 2,
        maxMessageBytes: 10,
        maxDelayed: 1,
        maxRetained: 1,
        maxWaitingPublishers: 1,
      },
    });
    expect(await rejectionCode(broker.publish("abcdef", 1))).toBe("ERR_INVALID_TOPIC");
    expect(await rejectionCode(broker.publish("a.b.c", 1))).toBe("ERR_INVALID_TOPIC");
    expect(thrownCode(() => broker.subscribe("a.b.>"))).toBe("ERR_INVALID_PATTERN");
    expect(await rejectionCode(broker.publish("a", "x".repeat(11)))).toBe("ERR_MESSAGE_TOO_LARGE");
    await broker.publish("a", 1, { delay: 10 });
    expect(await rejectionCode(broker.publish("a", 1, { delay: 10 }))).toBe("ERR_LIMIT_EXCEEDED");
    await broker.publish("a", 1, { retain: true });
    await broker.publish("a", 2, { retain: true });
    expect(await rejectionCode(broker.publish("b", 1, { retain: true }))).toBe("ERR_LIMIT_EXCEEDED");
    broker.subscribe("w", { maxMessages: 1 });
    await broker.publish("w", 1);
    const held = broker.publish("w", 2);
    expect(await rejectionCode(broker.publish("w", 3))).toBe("ERR_QUEUE_FULL");
    void broker.close({ drain: false });
    expect(await rejectionCode(held)).toBe("ERR_BROKER_CLOSED");
  });

  it("payloads: reference shares, clone copies for each, freeze freezes", async () => {
    const shared = { list: [1] };
    for (const payloads of ["reference", "clone", "freeze"] as const) {
      const { broker } = manualBroker({ payloads });
      const subs = [broker.subscribe("t"), broker.subscribe("t")];
      const data = structuredClone(shared);
      await broker.publish("t", data);
      const [one, two] = (await Promise.all(subs.map(takeOne))).map((msg) => msg.data as typeof shared);
      expect([payloads, one === data, one === two, Object.isFrozen(one?.list)]).toEqual(
        {
          reference: ["reference", true, true, false],
          clone: ["clone", false, false, false],
          freeze: ["freeze", true, true, true],
        }[payloads],
      );
      expect(one).toEqual(shared);
    }
    const { broker } = manualBroker({ payloads: "clone" });
    expect(await rejectionCode(broker.publish("t", { call: () => undefined }))).toBe("ERR_INVALID_MESSAGE");
  });
});

describe("a subscribe option", () => {
  const invalid: readonly [option: string, options: unknown][] = [
    ["maxMessages", { maxMessages: 0 }],
    ["maxBytes", { maxBytes: 0 }],
    ["overflow", { overflow: "spill" }],
    ["name", { name: "" }],
    ["group", { group: "" }],
    ["from", { from: "yesterday" }],
    ["ack", { ack: "yes" }],
    ["ackTimeout", { ackTimeout: 0 }],
    ["maxDeliveries", { maxDeliveries: 0 }],
    ["backoff", { backoff: 5 }],
    ["maxInFlight", { maxInFlight: 0 }],
    ["concurrency", { concurrency: 0 }],
    ["orderBy", { orderBy: "topic" }],
    ["filter", { filter: "x" }],
    ["rateLimit", { rateLimit: 5 }],
    ["rateLimit.perSecond", { rateLimit: { perSecond: 0 } }],
    ["rateLimit.burst", { rateLimit: { perSecond: 1, burst: 0 } }],
    ["priority.aging", { priority: { aging: -1 } }],
    ["ttl", { ttl: 0 }],
    ["heartbeat", { heartbeat: 10 }],
    ["signal", { signal: {} }],
    ["prefetch", { prefetch: 10 }],
  ];

  it.each(invalid)("%s out of range, or unknown, is refused by name: %j", (option, options) => {
    const { broker } = manualBroker();
    let thrown: unknown;
    try {
      broker.subscribe("t", options as SubscribeOptions);
    } catch (error) {
      thrown = error;
    }
    expect((thrown as BrokerError).code).toBe("ERR_INVALID_OPTION");
    expect((thrown as BrokerError).message).toContain(option);
    expect(broker.metrics.snapshot().subscriptions).toBe(0);
  });

  it.each([[{ durable: "d" }], [{ from: "oldest" }], [{ from: { seq: 1 } }], [{ from: { time: 1 } }]])(
    "that needs a store says which option is missing: %j",
    (options) => {
      const { broker } = manualBroker();
      try {
        broker.subscribe("t", options as SubscribeOptions);
        throw new Error("accepted");
      } catch (error) {
        expect(error).toMatchObject({ code: "ERR_MODULE_DISABLED", facts: { option: "persistence" } });
      }
    },
  );

  it("options after a handler that may be missing are not lost, and none is taken for a handler", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t", undefined as never, { name: "mine" });
    await broker.publish("t", 1);
    expect([sub.name, (await takeOne(sub)).data]).toEqual(["mine", 1]);
    expect(thrownCode(() => broker.subscribe("t", { name: "x" } as never, { name: "y" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("t", null as never))).toBe("ERR_INVALID_OPTION");
  });

  it("maxMessages, maxBytes, overflow override the broker's", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t", { maxMessages: 2, overflow: "drop-oldest" });
    for (const data of [1, 2, 3]) await broker.publish("t", data);
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual([2, 3]);
    const small = broker.subscribe("b", { maxBytes: 10, overflow: "drop-newest" });
    for (const data of ["12345", "67890", "x"]) await broker.publish("b", data);
    expect((await fetchNow(small)).map((msg) => msg.data)).toEqual(["12345", "67890"]);
  });

  it("name and group name the subscription, and no two have the same name", () => {
    const { broker } = manualBroker();
    expect(broker.subscribe("t", { name: "audit" }).name).toBe("audit");
    expect(broker.subscribe("t", { group: "billing" }).name).toBe("billing");
    expect(broker.subscribe("t", { group: "billing" }).name).toBe("billing");
    expect(thrownCode(() => broker.subscribe("t", { name: "audit" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("t", { group: "audit" }))).toBe("ERR_INVALID_OPTION");
  });

  it('from: "last" begins with the retained messages', async () => {
    const { broker } = manualBroker();
    await broker.publish("t.a", 1, { retain: true });
    await broker.publish("t.b", 2, { retain: true });
    await broker.publish("t.a", 3, { retain: true });
    await broker.publish("t.c", 4, { retain: true });
    await broker.publish("t.c", null, { retain: true });
    expect((await fetchNow(broker.subscribe("t.*", { from: "last" }))).map((msg) => msg.data)).toEqual([2, 3]);
    expect(await fetchNow(broker.subscribe("t.*", { from: "new" }))).toEqual([]);
    expect(broker.retained("t.a").map((msg) => msg.data)).toEqual([3]);
  });

  it("ack, ackTimeout, maxDeliveries, backoff override the broker's", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    expect((await once(broker, { ack: "none" })).inFlight).toBe(0);
    const sub = broker.subscribe("t", { ackTimeout: 10, maxDeliveries: 2, backoff: fixedBackoff(5) });
    await broker.publish("t", 1);
    await takeOne(sub);
    await clock.advance(15);
    await takeOne(sub);
    await clock.advance(10);
    expect(sub.stats().dropped).toEqual({ "max-deliveries": 1 });
  });

  it("maxInFlight bounds what is unsettled", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t", { ack: "manual", maxInFlight: 2 });
    for (const data of [1, 2, 3]) await broker.publish("t", data);
    const [first] = await fetchNow(sub);
    expect(sub.stats()).toMatchObject({ inFlight: 2, queued: 1 });
    await first?.ack();
    expect((await takeOne(sub)).data).toBe(3);
  });

  it("concurrency bounds the handlers that run at once", async () => {
    const { broker } = manualBroker();
    let running = 0;
    broker.subscribe("t", () => ((running += 1), never()), { concurrency: 3 });
    for (const data of [1, 2, 3, 4, 5]) await broker.publish("t", data);
    await settle();
    expect(running).toBe(3);
  });

  it('orderBy: "key" keeps the order within a key through redelivery', async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    broker.on("error", () => undefined);
    const done: string[] = [];
    let isFirst = true;
    broker.subscribe(
      "t",
      async (msg) => {
        await Promise.resolve();
        if (msg.key === "x" && isFirst) {
          isFirst = false;
          throw new Error("once");
        }
        done.push(`${msg.key}${String(msg.data)}`);
      },
      { orderBy: "key", concurrency: 4 },
    );
    for (const data of [1, 2, 3]) for (const key of ["x", "y"]) await broker.publish("t", data, { key });
    await settle();
    expect(done).toEqual(["y1", "y2", "y3"]);
    await clock.advance(100);
    expect(done).toEqual(["y1", "y2", "y3", "x1", "x2", "x3"]);
  });

  it("filter: what it refuses is not for this subscription; one that throws is an error and refuses", async () => {
    const { broker } = manualBroker();
    const errors: unknown[] = [];
    broker.on("error", (error, { during }) => errors.push([String(error), during]));
    const even = broker.subscribe("t", { filter: (msg) => (msg.data as number) % 2 === 0 });
    broker.subscribe("t", {
      filter: () => {
        throw new Error("bad filter");
      },
    });
    expect((await broker.publish("t", 1)).matched).toBe(0);
    expect((await broker.publish("t", 2)).matched).toBe(1);
    expect((await fetchNow(even)).map((msg) => msg.data)).toEqual([2]);
    expect(errors).toEqual([
      ["Error: bad filter", "filter"],
      ["Error: bad filter", "filter"],
    ]);
  });

  it("rateLimit spreads deliveries over time, with a burst", async () => {
    const { broker, clock } = manualBroker();
    const got: number[] = [];
    broker.subscribe("t", () => void got.push(clock.monotonic()), { rateLimit: { perSecond: 10, burst: 2 } });
    for (let data = 0; data < 5; data += 1) await broker.publish("t", data);
    await clock.advance(1_000);
    expect(got).toEqual([0, 0, 100, 200, 300]);
  });

  it("priority.aging applies to one subscription", async () => {
    const { broker, clock } = manualBroker();
    const aged = broker.subscribe("t", { priority: { aging: 10 } });
    const strict = broker.subscribe("t");
    await broker.publish("t", "low", { priority: "lowest" });
    await clock.advance(100);
    await broker.publish("t", "high", { priority: "highest" });
    expect([(await takeOne(aged)).data, (await takeOne(strict)).data]).toEqual(["low", "high"]);
  });

  it("ttl ends the subscription, heartbeat() renews it, heartbeat renews it by itself while it gets on", async () => {
    const { broker, clock } = manualBroker();
    const mortal = broker.subscribe("t", { ttl: 100 });
    await clock.advance(99);
    mortal.heartbeat();
    await clock.advance(99);
    expect(mortal.state).toBe("open");
    await clock.advance(1);
    expect(mortal.state).toBe("closed");
    const alive = broker.subscribe("t", () => undefined, { ttl: 100, heartbeat: 40 });
    const stuck = broker.subscribe("t", never, { ttl: 100, heartbeat: 40 });
    await broker.publish("t", 1);
    await clock.advance(1_000);
    expect([alive.state, stuck.state]).toEqual(["open", "closed"]);
  });

  it("signal ends it, before or after, and the iteration over it", async () => {
    const { broker } = manualBroker();
    expect(broker.subscribe("t", { signal: AbortSignal.abort() }).state).toBe("closed");
    const controller = new AbortController();
    const sub = broker.subscribe("t", { signal: controller.signal });
    const next = sub.next();
    controller.abort();
    expect(await next).toEqual({ value: undefined, done: true });
    expect((await broker.publish("t", 1)).matched).toBe(0);
  });

  async function once(broker: InProcBroker, options: SubscribeOptions) {
    const sub = broker.subscribe("once", options);
    await broker.publish("once", 1);
    await takeOne(sub);
    return sub.stats();
  }
});

describe("a publish option", () => {
  const invalid: readonly [option: string, options: unknown, code?: string][] = [
    ["id", { id: "" }],
    ["key", { key: 5 }],
    ["headers", { headers: 5 }, "ERR_INVALID_MESSAGE"],
    ["header", { headers: { a: 5 } }, "ERR_INVALID_MESSAGE"],
    ["priority", { priority: 10 }],
    ["priority", { priority: "urgent" }],
    ["ttl", { ttl: 0 }],
    ["ttl", { ttl: 5, expiresAt: 5e12 }],
    ["expiresAt", { expiresAt: "tomorrow" }],
    ["delay", { delay: -1 }],
    ["delay", { delay: 5, deliverAt: 5e12 }],
    ["deliverAt", { deliverAt: NaN }],
    ["dedupId", { dedupId: 5 }],
    ["confirm", { confirm: 0 }],
    ["confirmTimeout", { confirm: 1, confirmTimeout: 0 }],
    ["durability", { durability: "disk" }],
    ["replyTo", { replyTo: 5 }],
    ["correlationId", { correlationId: 5 }],
    ["signal", { signal: 5 }],
    ["prio", { prio: 5 }],
  ];

  it.each(invalid)("%s out of range, or unknown, is refused by name: %j", async (option, options, code) => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    const error: unknown = await broker.publish("t", 1, options as PublishOptions).catch((thrown: unknown) => thrown);
    expect((error as BrokerError).code).toBe(code ?? "ERR_INVALID_OPTION");
    expect((error as BrokerError).message).toContain(option);
    expect(sub.stats().queued).toBe(0);
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 1 });
  });

  it.each(["os", "interval", "group", "always"])("durability %s needs a store", async (durability) => {
    const { broker } = manualBroker();
    expect(await rejectionCode(broker.publish("t", 1, { durability } as unknown as PublishOptions))).toBe(
      "ERR_MODULE_DISABLED",
    );
  });

  it("id, key, headers, priority, replyTo, correlationId, expiresAt reach the consumer", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    const expiresAt = clock.now() + 1_000;
    await broker.publish("t", 1, {
      id: "m1",
      key: "k",
      headers: { a: "1", b: ["2", "3"] },
      priority: "high",
      replyTo: "answers",
      correlationId: "c1",
      expiresAt: new Date(expiresAt),
    });
    expect(await takeOne(sub)).toMatchObject({
      id: "m1",
      key: "k",
      priority: 7,
      replyTo: "answers",
      correlationId: "c1",
      expiresAt,
      timestamp: clock.now(),
      deliveryCount: 1,
      redelivered: false,
    });
  });

  it("headers are a copy that nobody can change, and __proto__ is a name like any other", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    const headers: Record<string, string> = { a: "1" };
    Object.defineProperty(headers, "__proto__", { value: "x", enumerable: true });
    await broker.publish("t", 1, { headers });
    headers["a"] = "2";
    const msg = await takeOne(sub);
    expect([msg.headers["a"], msg.headers["__proto__"], Object.isFrozen(msg.headers)]).toEqual(["1", "x", true]);
  });

  it("priority decides, first in first out within one", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    for (const [data, priority] of [
      ["a", 1],
      ["b", 9],
      ["c", 4],
      ["d", 9],
      ["e", "low"],
    ] as const) {
      await broker.publish("t", data, { priority });
    }
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual(["b", "d", "c", "e", "a"]);
  });

  it("delay and deliverAt hold it back; cancel takes it back", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", "delay", { delay: 100 });
    await broker.publish("t", "at", { deliverAt: clock.now() + 50 });
    const { id } = await broker.publish("t", "never", { delay: 75 });
    expect([await broker.cancel(id), await broker.cancel(id)]).toEqual([true, false]);
    await clock.advance(50);
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual(["at"]);
    await clock.advance(50);
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual(["delay"]);
  });

  it("dedupId: the second is a duplicate with the first's receipt", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    const first = await broker.publish("t", 1, { dedupId: "x" });
    const second = await broker.publish("t", 2, { dedupId: "x" });
    expect([second.id, second.seq, second.matched, second.duplicate]).toEqual([first.id, first.seq, 1, true]);
    expect(sub.stats().queued).toBe(1);
  });

  it("confirm waits for so many acknowledgements, confirmTimeout for so long", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const subs = [broker.subscribe("t"), broker.subscribe("t")];
    let isConfirmed = false;
    const confirmed = broker.publish("t", 1, { confirm: 2 }).then(() => (isConfirmed = true));
    const [one, two] = await Promise.all(subs.map(takeOne));
    await one?.ack();
    await settle();
    expect(isConfirmed).toBe(false);
    await two?.ack();
    await confirmed;
    const late = broker.publish("t", 2, { confirm: 3, confirmTimeout: 200 });
    const code = rejectionCode(late);
    await clock.advance(200);
    expect(await code).toBe("ERR_TIMEOUT");
  });

  it("confirm is refused at once where nobody would get the message, and nothing has changed", async () => {
    const { broker, clock } = manualBroker();
    const filtered = broker.subscribe("t", { filter: () => false });
    const error: unknown = await broker
      .publish("t", 1, { confirm: 1, dedupId: "x" })
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ERR_NO_RESPONDERS", facts: { topic: "t", wanted: 1, matched: 0 } });
    expect((error as Error).message).toContain("0 subscriptions");
    const batch = broker.publishBatch([
      { topic: "u", data: 1 },
      { topic: "t", data: 1, confirm: 2 },
    ]);
    expect(await rejectionCode(batch)).toBe("ERR_NO_RESPONDERS");
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 2 });
    await filtered.unsubscribe();
    broker.subscribe("t");
    expect((await broker.publish("t", 1, { dedupId: "x" })).duplicate).toBe(false);
    const delayed = broker.publish("later", 1, { confirm: 1, delay: 100 });
    const sub = broker.subscribe("later");
    const taken = sub.fetch(1);
    await clock.advance(100);
    expect([(await delayed).matched, await taken]).toMatchObject([0, [{ data: 1 }]]);
  });

  it("report says what became of it in each subscription", async () => {
    const { broker } = manualBroker();
    broker.subscribe("t", { name: "open" });
    broker.subscribe("t", { name: "picky", filter: () => false });
    broker.subscribe("t", { name: "lossy", maxMessages: 1, overflow: "drop-newest" });
    const full = broker.subscribe("t", { name: "full", maxMessages: 1 });
    await broker.publish("t", 1);
    const second = broker.publish("t", 2, { report: true });
    await fetchNow(full);
    const outcomes = ((await second).report ?? []).map(({ subscription, outcome }) => [subscription, outcome]);
    expect(Object.fromEntries(outcomes)).toEqual({
      open: "queued",
      picky: "filtered",
      lossy: "dropped",
      full: "waiting",
    });
  });

  it("transaction stages it; signal ends its wait and takes it back from the full queue alone", async () => {
    const { broker } = manualBroker({ transactions: {} });
    const sub = broker.subscribe("t", { maxMessages: 1 });
    const other = broker.subscribe("t");
    const { id } = broker.beginTransaction();
    await broker.publish("t", "staged", { transaction: id });
    expect(sub.stats().queued).toBe(0);
    await broker.commitTransaction(id);
    expect(sub.stats().queued).toBe(1);
    const controller = new AbortController();
    const held = broker.publish("t", "held", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(held).rejects.toThrow("enough");
    expect([sub.stats().queued, sub.stats().dropped, other.stats().queued]).toEqual([1, { aborted: 1 }, 2]);
  });
});
