// One test for each event of a broker: when it is told, with what, and how often.
import { describe, expect, it } from "vitest";
import type { BrokerEventName, ErrorContext, InProcBroker, Message } from "inproc-broker";
import { balanced, fetchNow, manualBroker, roundAck, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

/** Everything a broker tells under one name. */
function heard(broker: InProcBroker, name: BrokerEventName): unknown[][] {
  const events: unknown[][] = [];
  broker.on(name, (...args: unknown[]) => void events.push(args));
  return events;
}

describe("error", () => {
  it("tells what threw, where, whose it was and what it worked on, for each of the places that call user code", async () => {
    const boom = new Error("boom");
    const { broker, clock } = manualBroker({
      plugins: [
        {
          name: "p",
          onDrop: () => {
            throw boom;
          },
        },
      ],
    });
    const contexts: ErrorContext[] = [];
    broker.on("error", (error, context) => {
      expect(error).toBe(boom);
      contexts.push(context);
    });
    const fail = (): never => {
      throw boom;
    };
    broker.subscribe("h", fail, { name: "handler" });
    broker.subscribe("f", { name: "filter", filter: fail });
    const slow = broker.subscribe("b", { name: "backoff", ack: "manual", backoff: fail });
    const going = broker.subscribe("g", { name: "going" });
    broker.once("drop", fail);
    for (const topic of ["h", "f", "b", "g"]) await broker.publish(topic, topic);
    await settle();
    await (await takeOne(slow)).nack();
    await going.unsubscribe();
    await clock.advance(0);
    expect(contexts.map((one) => [one.during, one.subscription, one.message?.data, one.message?.subscription])).toEqual(
      [
        ["handler", "handler", "h", "handler"],
        ["filter", "filter", "f", "filter"],
        ["backoff", "backoff", "b", "backoff"],
        ["plugin", undefined, undefined, undefined],
        ["listener", undefined, undefined, undefined],
      ],
    );
    balanced(broker);
  });
});

describe("slow-consumer", () => {
  it("is told at once, then at most once a second, with how often the queue was full meanwhile", async () => {
    const { broker, clock } = manualBroker();
    const events = heard(broker, "slow-consumer");
    const sub = broker.subscribe("t", { name: "slow", maxMessages: 2, overflow: "drop-newest" });
    for (let data = 0; data < 6; data += 1) broker.publishSync("t", "1234");
    expect(events).toEqual([[{ subscription: "slow", queued: 2, queuedBytes: 8, occurrences: 1 }]]);
    await clock.advance(999);
    broker.publishSync("t", 1);
    expect(events).toHaveLength(1);
    await clock.advance(1);
    broker.publishSync("t", 1);
    expect(events[1]).toEqual([{ subscription: "slow", queued: 2, queuedBytes: 8, occurrences: 5 }]);
    await fetchNow(sub);
    broker.publishSync("t", 1);
    expect(events).toHaveLength(2);
  });

  it.each(["wait", "drop-oldest", "drop-newest", "error", "close"] as const)("under overflow: %j", async (overflow) => {
    const { broker } = manualBroker();
    const events = heard(broker, "slow-consumer");
    broker.subscribe("t", { name: "slow", maxMessages: 1, overflow });
    broker.subscribe("t", { name: "quick" });
    await broker.publish("t", 1);
    expect(events).toEqual([]);
    broker.publish("t", 2).catch(() => undefined);
    await settle();
    expect(events).toMatchObject([[{ subscription: "slow" }]]);
    await broker.close({ drain: false });
  });
});

describe("drop", () => {
  it("overflow: names the message, whose it was and why", async () => {
    const { broker } = manualBroker();
    const events = heard(broker, "drop");
    broker.subscribe("t", { name: "s", maxMessages: 1, overflow: "drop-oldest" });
    broker.subscribe("t", { name: "other" });
    for (const data of ["one", "two"]) broker.publishSync("t", data);
    expect(events).toMatchObject([
      [{ subscription: "s", reason: "overflow", message: { data: "one", subscription: "s" } }],
    ]);
  });

  it("unsubscribed: what waits, what is in its backoff and what is in flight, each once", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const hooked: unknown[] = [];
    const { broker: plugged } = manualBroker({
      ack: roundAck,
      plugins: [
        { name: "p", onDrop: (msg, reason, subscription) => void hooked.push([msg.data, reason, subscription]) },
      ],
    });
    for (const one of [broker, plugged]) {
      const events = heard(one, "drop") as [{ message: Message; reason: string; subscription: string }][];
      const sub = one.subscribe("t", { name: "s", maxInFlight: 2 });
      for (const data of ["delayed", "in flight", "waits"]) one.publishSync("t", data);
      const [first] = await fetchNow(sub);
      await first?.nack({ delay: 1e6 });
      await sub.unsubscribe();
      const told = events.map(([{ message, reason, subscription }]) => [message.data, reason, subscription]);
      expect(told.sort()).toEqual([
        ["delayed", "unsubscribed", "s"],
        ["in flight", "unsubscribed", "s"],
        ["waits", "unsubscribed", "s"],
      ]);
      expect(balanced(one).dropped).toEqual({ unsubscribed: 3 });
    }
    expect(hooked).toHaveLength(3);
  });

  it("is not told where a member of a group leaves and others are there", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const events = heard(broker, "drop");
    const leaving = broker.subscribe("t", { group: "g" });
    broker.subscribe("t", { group: "g" });
    for (const data of [1, 2]) broker.publishSync("t", data);
    await takeOne(leaving);
    await leaving.unsubscribe();
    expect([events, balanced(broker).queued]).toEqual([[], 2]);
  });

  it("purged and closed: queued and in flight", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const events = heard(broker, "drop") as [{ message: Message; reason: string }][];
    const sub = broker.subscribe("t", { maxInFlight: 1 });
    for (const data of [1, 2]) broker.publishSync("t", data);
    await takeOne(sub);
    broker.purge();
    for (const data of [3, 4]) broker.publishSync("t", data);
    await takeOne(sub);
    await broker.close({ drain: false });
    expect(events.map(([{ message, reason }]) => [message.data, reason])).toEqual([
      [1, "purged"],
      [2, "purged"],
      [3, "closed"],
      [4, "closed"],
    ]);
    balanced(broker);
  });

  it("rejected and max-deliveries where there are no dead letters; with them it is a dead letter, and no drop", async () => {
    for (const deadLetter of [undefined, {}]) {
      const { broker } = manualBroker({ ack: { ...roundAck, maxDeliveries: 1 }, deadLetter });
      const [drops, letters] = [heard(broker, "drop"), heard(broker, "dead-letter")];
      const sub = broker.subscribe("t", { name: "s" });
      for (const data of [1, 2]) broker.publishSync("t", data);
      await (await takeOne(sub)).reject("no");
      await (await takeOne(sub)).nack();
      const told = [[{ subscription: "s", reason: "rejected" }], [{ subscription: "s", reason: "max-deliveries" }]];
      expect([drops, letters]).toMatchObject(deadLetter === undefined ? [told, []] : [[], told]);
      balanced(broker);
    }
  });
});

describe("expire", () => {
  it("names the subscription it waited in; none where it was not routed yet; and it is no drop", async () => {
    const { broker, clock } = manualBroker();
    const [expired, drops] = [heard(broker, "expire"), heard(broker, "drop")];
    broker.subscribe("t", { name: "s" });
    await broker.publish("t", "waits", { ttl: 10 });
    await broker.publish("t", "scheduled", { ttl: 10, delay: 20 });
    await clock.advance(9);
    expect(expired).toEqual([]);
    await clock.advance(1);
    const facts = (expired as [{ message: Message; subscription: unknown }][]).map(([{ message, subscription }]) => [
      message.data,
      subscription,
    ]);
    expect(facts.sort()).toEqual([
      ["scheduled", undefined],
      ["waits", "s"],
    ]);
    expect(drops).toEqual([]);
    balanced(broker);
  });
});

describe("dead-letter", () => {
  it("is told once for each, and is what the list has", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    const events = heard(broker, "dead-letter");
    const sub = broker.subscribe("t", { name: "s" });
    await broker.publish("t", 1);
    await takeOne(sub);
    for (let round = 0; round < 3; round += 1) {
      await clock.advance(1_100);
      await fetchNow(sub);
    }
    expect(events).toEqual([(await broker.deadLetters.list()).items]);
    expect(events).toMatchObject([[{ reason: "max-deliveries", subscription: "s", message: { deliveryCount: 3 } }]]);
  });
});

describe("redeliver", () => {
  it("tells which hand-over failed, why, and when it comes again: throw, nack, timeout, a member that left", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 10 } });
    broker.on("error", () => undefined);
    const events = heard(broker, "redeliver");
    const thrower = broker.subscribe(
      "t",
      () => {
        throw new Error("oops");
      },
      { group: "g" },
    );
    await broker.publish("t", 1);
    await settle();
    await thrower.unsubscribe();
    const { broker: other, clock: otherClock } = manualBroker({ ack: roundAck });
    const others = heard(other, "redeliver");
    const [one] = [other.subscribe("t", { group: "g" }), other.subscribe("t", { group: "g" })];
    await other.publish("t", 1);
    await (await takeOne(one)).nack({ delay: 7, reason: "busy" });
    await otherClock.advance(7);
    await takeOne(one);
    await one.unsubscribe();
    await clock.advance(0);
    expect(events).toMatchObject([[{ subscription: "g", deliveryCount: 1, delay: 100, reason: "oops" }]]);
    expect(others).toMatchObject([
      [{ subscription: "g", deliveryCount: 1, delay: 7, reason: "busy" }],
      [{ subscription: "g", deliveryCount: 2, delay: 0, reason: "its consumer has gone" }],
    ]);
    const { broker: late, clock: lateClock } = manualBroker({ ack: roundAck });
    const timeouts = heard(late, "redeliver");
    const hanging = late.subscribe("t");
    await late.publish("t", 1);
    await takeOne(hanging);
    await lateClock.advance(1_000);
    expect(timeouts).toMatchObject([[{ deliveryCount: 1, delay: 100, reason: "ack timeout" }]]);
  });
});

describe("closed", () => {
  it("is told once, when everything is over, and nothing is told after it", async () => {
    const { broker } = manualBroker();
    const seen: string[] = [];
    broker.on("drop", () => void seen.push("drop"));
    broker.on("closed", () => void seen.push(`closed, ${broker.state}`));
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    await Promise.all([broker.close({ drain: false }), broker.close()]);
    await sub.unsubscribe();
    expect(seen).toEqual(["drop", "closed, closed"]);
  });
});

it("a listener that is taken away hears no more, once hears one, and the same one twice is two", async () => {
  const { broker } = manualBroker();
  let [on, once] = [0, 0];
  const listener = (): void => void (on += 1);
  broker.on("drop", listener).on("drop", listener);
  broker.once("drop", () => void (once += 1));
  broker.subscribe("t", { maxMessages: 1, overflow: "drop-newest" });
  for (let count = 0; count < 3; count += 1) broker.publishSync("t", count);
  expect([on, once]).toEqual([4, 1]);
  broker.off("drop", listener);
  broker.publishSync("t", 4);
  expect(on).toBe(4);
  await broker.close({ drain: false });
});
