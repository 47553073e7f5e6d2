// Each public operation on a broker that is open, draining or closed; and what close does with everything that waits.
import { describe, expect, it } from "vitest";
import type { Broker, InProcBroker, Message } from "inproc-broker";
import { manualBroker, rejectionCode, roundAck, takeOne, thrownCode } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const everything = { ack: roundAck, deadLetter: {}, transactions: {} };

/** Every operation that must be refused once close has begun; what it answers while the broker is open. */
const refused: Readonly<Record<string, (broker: InProcBroker) => unknown>> = {
  publish: (broker) => broker.publish("t", 1),
  publishSync: (broker) => broker.publishSync("t", 1),
  publishBatch: (broker) => broker.publishBatch([{ topic: "t", data: 1 }]),
  subscribe: (broker) => broker.subscribe("t"),
  subscribeBatch: (broker) => broker.subscribeBatch([{ pattern: "t" }]),
  request: (broker) => broker.request("answers", 1),
  requestMany: (broker) => broker.requestMany("answers", 1, { max: 1 })[Symbol.asyncIterator]().next(),
  respond: (broker) => broker.respond("t", () => 1),
  transaction: (broker) => broker.transaction((tx) => tx.publish("t", 1)),
  beginTransaction: (broker) => broker.beginTransaction(),
  flush: (broker) => broker.flush(),
  idle: (broker) => broker.idle({ topic: "nothing" }),
  cancel: (broker) => broker.cancel("nobody's id"),
  purge: (broker) => broker.purge(),
  ready: (broker) => broker.ready(),
};

/** Figures that can be read in every state. */
const readable: Readonly<Record<string, (broker: InProcBroker) => unknown>> = {
  state: (broker) => broker.state,
  health: (broker) => broker.health(),
  "metrics.snapshot": (broker) => broker.metrics.snapshot(),
  "metrics.prometheus": (broker) => broker.metrics.prometheus(),
  topics: (broker) => broker.topics(),
  subscriptions: (broker) => broker.subscriptions(),
  "deadLetters.stats": (broker) => broker.deadLetters.stats(),
};

async function codeOf(call: () => unknown): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe.each(Object.entries(refused))("%s", (_name, operation) => {
  it("works on an open broker", async () => {
    const { broker } = manualBroker(everything);
    broker.respond("answers", () => 1);
    expect(await codeOf(() => operation(broker))).toBeUndefined();
  });

  it("is refused while the broker drains", async () => {
    const { broker, clock } = manualBroker(everything);
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const closing = broker.close();
    expect(broker.state).toBe("draining");
    expect(await codeOf(() => operation(broker))).toBe("ERR_BROKER_CLOSED");
    await (await takeOne(sub)).ack();
    await closing;
    expect(clock.pending).toBe(0);
  });

  it("is refused on a closed broker", async () => {
    const { broker } = manualBroker(everything);
    await broker.close();
    expect(await codeOf(() => operation(broker))).toBe("ERR_BROKER_CLOSED");
  });
});

it.each(Object.entries(readable))("%s can be read in every state", async (_name, read) => {
  const { broker } = manualBroker(everything);
  const sub = broker.subscribe("t");
  await broker.publish("t", 1);
  expect(() => read(broker)).not.toThrow();
  const closing = broker.close();
  expect(() => read(broker)).not.toThrow();
  await (await takeOne(sub)).ack();
  await closing;
  expect(() => read(broker)).not.toThrow();
});

it("what may be looked at or undone while the broker drains is refused once it is closed", async () => {
  const { broker } = manualBroker(everything);
  const sub = broker.subscribe("t", { name: "s" });
  await broker.publish("t", 1, { retain: true });
  const tx = broker.beginTransaction();
  const closing = broker.close();
  expect([broker.peek("s").length, broker.retained().length]).toEqual([1, 1]);
  await broker.rollbackTransaction(tx.id);
  await (await takeOne(sub)).ack();
  await closing;
  expect([thrownCode(() => broker.peek(sub)), thrownCode(() => broker.retained())]).toEqual([
    "ERR_BROKER_CLOSED",
    "ERR_BROKER_CLOSED",
  ]);
  for (const refusal of [broker.rollbackTransaction(tx.id), tx.publish("t", 1), tx.rollback(), tx.commit()]) {
    expect(await rejectionCode(refusal)).toBe("ERR_BROKER_CLOSED");
  }
});

it("what returns a promise is refused by a rejection, and throws nothing", async () => {
  const { broker } = manualBroker(everything);
  await broker.close();
  const calls = { flush: () => broker.flush(), idle: () => broker.idle(), cancel: () => broker.cancel("x") };
  for (const call of Object.values(calls)) expect(await rejectionCode(call())).toBe("ERR_BROKER_CLOSED");
});

it("health says what state the broker is in", async () => {
  const { broker } = manualBroker();
  expect(broker.health().status).toBe("healthy");
  await broker.close();
  expect(broker.health().status).toBe("unhealthy");
});

it("the in-process broker is a Broker", () => {
  const broker: Broker = manualBroker().broker;
  expect(typeof broker.publish).toBe("function");
});

describe("close", () => {
  it("drains what is queued, in flight and in backoff, and then has nothing to return", async () => {
    const { broker, clock } = manualBroker(everything);
    broker.on("error", () => undefined);
    const done: unknown[] = [];
    broker.subscribe("t", async (msg) => {
      await Promise.resolve();
      if (msg.deliveryCount === 1) throw new Error("once");
      done.push(msg.data);
    });
    for (const data of [1, 2, 3]) await broker.publish("t", data);
    const closing = broker.close();
    await clock.advance(100);
    expect(await closing).toEqual({ undelivered: [], unacked: [] });
    expect(done).toEqual(expect.arrayContaining([1, 2, 3]));
  });

  it("returns at its deadline what is queued, delayed and unsettled, and whose it was", async () => {
    const { broker, clock } = manualBroker(everything);
    const sub = broker.subscribe("t", { name: "slow", maxInFlight: 1 });
    for (const data of ["held", "queued"]) await broker.publish("t", data);
    await broker.publish("t", "later", { delay: 1e6 });
    const held = await takeOne(sub);
    const closing = broker.close({ timeout: 300 });
    await clock.advance(299);
    expect(broker.state).toBe("draining");
    await clock.advance(1);
    const { undelivered, unacked } = await closing;
    const facts = (messages: readonly Message[]): unknown[] => messages.map((msg) => [msg.data, msg.subscription]);
    expect(facts(unacked)).toEqual([["held", "slow"]]);
    expect(facts(undelivered)).toEqual([
      ["queued", "slow"],
      ["later", ""],
    ]);
    expect(held.signal.aborted).toBe(true);
    expect(await rejectionCode(held.ack())).toBe("ERR_DELIVERY_EXPIRED");
    expect(broker.metrics.snapshot()).toMatchObject({ memoryBytes: 0, queued: 0, inFlight: 0, scheduled: 0 });
  });

  it("drain: false does not wait", async () => {
    const { broker } = manualBroker();
    broker.subscribe("t");
    await broker.publish("t", 1);
    expect((await broker.close({ drain: false })).undelivered.map((msg) => msg.data)).toEqual([1]);
  });

  it("leaves a subscription that is over: it gives nothing, and nothing that is asked of it throws", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    await broker.close({ drain: false });
    expect(sub.state).toBe("closed");
    expect(await sub.fetch(1)).toEqual([]);
    expect(await sub.next()).toEqual({ value: undefined, done: true });
    sub.pause();
    sub.resume();
    sub.heartbeat();
    await sub.whenFilled();
    await sub.drain();
    await sub.unsubscribe();
    expect(sub.stats()).toMatchObject({ queued: 0, inFlight: 0 });
  });

  it("ends every wait: held publishers, requests, confirms, fetches and idle reject or end, iterations are done", async () => {
    const { broker, clock } = manualBroker(everything);
    const full = broker.subscribe("full", { maxMessages: 1 });
    await broker.publish("full", 1);
    const held = rejectionCode(broker.publish("full", 2));
    broker.subscribe("asked");
    const request = rejectionCode(broker.request("asked", 1));
    const confirm = rejectionCode(broker.publish("asked", 2, { confirm: 1 }));
    const idle = rejectionCode(broker.idle());
    const fetch = broker.subscribe("quiet").fetch(5, { timeout: 60_000 });
    const next = broker.subscribe("quiet").next();
    await settle();
    await broker.close({ drain: false });
    expect(await Promise.all([held, request, confirm, idle])).toEqual(Array(4).fill("ERR_BROKER_CLOSED"));
    expect(await fetch).toEqual([]);
    expect(await next).toEqual({ value: undefined, done: true });
    expect([full.state, clock.pending]).toEqual(["closed", 0]);
  });

  it("rolls back what is open, closes plugins, tells listeners, and is the same for whoever asks again", async () => {
    const calls: string[] = [];
    const { broker } = manualBroker({
      ...everything,
      plugins: [{ name: "p", close: () => void calls.push("plugin") }],
    });
    broker.on("closed", () => calls.push("event"));
    const tx = broker.beginTransaction();
    await tx.publish("t", 1);
    const [one, two] = await Promise.all([broker.close(), broker.close({ drain: false })]);
    expect(one).toBe(two);
    expect(calls).toEqual(["plugin", "event"]);
    expect(await rejectionCode(tx.commit())).toBe("ERR_BROKER_CLOSED");
    await broker[Symbol.asyncDispose]();
  });

  it("a plugin that fails to close fails close, after everything else is done", async () => {
    const { broker, clock } = manualBroker({
      plugins: [{ name: "p", close: () => Promise.reject(new Error("disk gone")) }],
    });
    await expect(broker.close()).rejects.toMatchObject({ errors: [new Error("disk gone")] });
    expect([broker.state, clock.pending]).toEqual(["closed", 0]);
  });

  it("what a handler publishes while the broker drains is refused, so its message is given back and returned", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 100 } });
    broker.on("error", () => undefined);
    broker.subscribe("a", (msg) => broker.publish("b", msg.data));
    broker.publishSync("a", 1);
    const closing = broker.close({ timeout: 250 });
    await clock.advance(250);
    expect((await closing).undelivered.map((msg) => msg.topic)).toEqual(["a"]);
  });
});

describe("a subscription", () => {
  it("drain finishes what it has and takes nothing new", async () => {
    const { broker } = manualBroker();
    const got: unknown[] = [];
    const sub = broker.subscribe("t", (msg) => void got.push(msg.data));
    sub.pause();
    await broker.publish("t", 1);
    const drained = sub.drain();
    await broker.publish("t", 2);
    await drained;
    expect([got, sub.state]).toEqual([[1], "closed"]);
    await sub.drain();
  });

  it("unsubscribe drops what waits, counted and told, and may be called twice and from its own handler", async () => {
    const { broker } = manualBroker();
    const dropped: unknown[] = [];
    broker.on("drop", ({ message, reason }) => dropped.push([message.data, reason]));
    const got: unknown[] = [];
    const sub = broker.subscribe("t", async (msg) => {
      got.push(msg.data);
      await sub.unsubscribe();
      await sub.unsubscribe();
    });
    for (const data of [1, 2, 3]) broker.publishSync("t", data);
    await settle();
    expect(got).toEqual([1]);
    expect(dropped).toEqual([
      [2, "unsubscribed"],
      [3, "unsubscribed"],
    ]);
  });

  it("break ends it, and gives back what an auto iterator had not finished", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const other = broker.subscribe("t", { group: "g" });
    other.pause();
    for (const data of [1, 2, 3]) broker.publishSync("t", data);
    const seen: unknown[] = [];
    for await (const msg of broker.subscribe("t", { group: "g", ack: "auto" })) {
      seen.push(msg.data);
      if (msg.data === 2) break;
    }
    other.resume();
    expect(seen).toEqual([1, 2]);
    const rest = await other.fetch(5, { timeout: 0 });
    expect(rest.map((msg) => [msg.data as unknown, msg.deliveryCount])).toEqual([
      [2, 2],
      [3, 1],
    ]);
  });

  it("pause holds, resume goes on; a handler's subscription cannot be pulled from", async () => {
    const { broker } = manualBroker();
    const got: unknown[] = [];
    const sub = broker.subscribe("t", (msg) => void got.push(msg.data));
    sub.pause();
    await broker.publish("t", 1);
    await settle();
    expect([got, sub.isPaused]).toEqual([[], true]);
    sub.resume();
    await broker.idle();
    expect(got).toEqual([1]);
    expect(thrownCode(() => sub[Symbol.asyncIterator]())).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(sub.fetch(1))).toBe("ERR_INVALID_OPTION");
  });

  it("fetch waits for the batch, or for its time; and stops where its own deliveries fill it up", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t", { ack: "manual", maxInFlight: 3 });
    const two = sub.fetch(2, { timeout: 100 });
    await broker.publish("t", 1);
    await clock.advance(50);
    await broker.publish("t", 2);
    expect((await two).map((msg) => msg.data as unknown)).toEqual([1, 2]);
    const timed = sub.fetch(2, { timeout: 100 });
    await clock.advance(100);
    expect(await timed).toEqual([]);
    const stopped = sub.fetch(5, { timeout: 1e9 });
    await broker.publish("t", 3);
    expect((await stopped).map((msg) => msg.data as unknown)).toEqual([3]);
  });
});

describe("subscribeBatch", () => {
  it("makes all or none", async () => {
    const { broker } = manualBroker();
    expect(thrownCode(() => broker.subscribeBatch([{ pattern: "a" }, { pattern: "b..c" }]))).toBe(
      "ERR_INVALID_PATTERN",
    );
    expect(broker.subscriptions()).toEqual([]);
    const got: unknown[] = [];
    broker.subscribeBatch([
      { pattern: "a", handler: (msg) => void got.push(["a", msg.data]) },
      { pattern: ["a", "b.>"], handler: (msg) => void got.push(["ab", msg.data]) },
    ]);
    await broker.publish("a", 1);
    await broker.publish("b.c", 2);
    await broker.idle();
    expect(got).toEqual([
      ["a", 1],
      ["ab", 1],
      ["ab", 2],
    ]);
  });
});

describe("a group whose last member drains", () => {
  function openGroup() {
    const { broker } = manualBroker(everything);
    const got: unknown[] = [];
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const first = broker.subscribe("t", ({ data }) => (got.push(`first ${data}`), gate), { group: "g" });
    const join = () => broker.subscribe("t", ({ data }) => void got.push(`second ${data}`), { group: "g" });
    return { broker, got, first, join, release };
  }

  it("leaves what waits, and what comes, to who joins meanwhile", async () => {
    const { broker, got, first, join, release } = openGroup();
    await broker.publish("t", 1);
    await settle();
    const drained = first.drain();
    expect((await broker.publish("t", "to nobody")).matched).toBe(0);
    const second = join();
    expect((await broker.publish("t", 2)).matched).toBe(1);
    await settle();
    expect(got).toEqual(["first 1", "second 2"]);
    release();
    await drained;
    await broker.publish("t", 3);
    await broker.idle();
    expect(got).toEqual(["first 1", "second 2", "second 3"]);
    expect([first.state, second.state]).toEqual(["closed", "open"]);
  });

  it("finishes what waits where all members drain at once", async () => {
    const { broker, got, first, join, release } = openGroup();
    const second = join();
    second.pause();
    first.pause();
    for (const data of [1, 2, 3, 4]) await broker.publish("t", data);
    release();
    await Promise.all([first.drain(), second.drain()]);
    expect(got).toEqual([1, 2, 3, 4].map((data) => `second ${data}`));
    expect(broker.metrics.snapshot()).toMatchObject({ delivered: 4, dropped: {} });
  });
});
