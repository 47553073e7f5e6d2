import type { PublishOptions, SubscribeOptions } from "../../index.js";
import { boom, cases, dataOf } from "../case.js";
import { check, equal, later, refused } from "../check.js";

export const idleCases = cases("idle", {
  "idle resolves once nothing is queued, in flight or in backoff, and not before": async (c) => {
    const t = await c.open({ ack: { backoff: () => 500 } });
    const idle = t.part("idle");
    await idle();
    const backoff = t.window(500);
    t.broker.subscribe("a", ({ deliveryCount }) => {
      if (deliveryCount === 1) boom();
    });
    await t.broker.publish("a", 1);
    let isIdle = false;
    const wait = later(idle().then(() => (isIdle = true)));
    await backoff.near();
    check(!isIdle, "it resolved while a message was in backoff");
    backoff.seen();
    await backoff.end();
    await t.outcome("it resolves after that", wait);
  },
  "idle for a topic does not wait for others": async (c) => {
    const t = await c.open();
    t.broker.subscribe("stuck");
    await t.broker.publish("stuck", 1);
    await t.outcome("it is idle", t.part("idle")({ topic: "other" }));
  },
  "idle rejects with ERR_TIMEOUT": async (c) => {
    const t = await c.open();
    t.broker.subscribe("stuck");
    await t.broker.publish("stuck", 1);
    const outcome = later(refused(t.part("idle")({ timeout: 100 }), "ERR_TIMEOUT", "idle"));
    await t.advance(100);
    await outcome;
  },
});

export const eventCases = cases("events", {
  "a handler that throws is an error event with the message and the error": async (c) => {
    const t = await c.open();
    const errors: unknown[] = [];
    t.broker.on("error", (error, { during, message }) => {
      errors.push([(error as Error).message, during, message?.data]);
    });
    t.broker.subscribe("a", boom);
    await t.broker.publish("a", 1);
    await t.until("it is told", () => errors.length === 1);
    equal(errors, [["boom", "handler", 1]], "error");
  },
  "a drop, an expiry, a redelivery and a dead letter are events": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 2, backoff: () => 10 }, deadLetter: {} });
    const told: string[] = [];
    t.broker.on("drop", ({ reason }) => told.push(`drop ${reason}`));
    t.broker.on("expire", () => told.push("expire"));
    t.broker.on("redeliver", ({ deliveryCount, delay }) => told.push(`redeliver ${deliveryCount} ${delay}`));
    t.broker.on("dead-letter", ({ reason }) => told.push(`dead-letter ${reason}`));
    t.broker.subscribe("fails", boom);
    t.broker.subscribe("full", { maxMessages: 1, overflow: "drop-newest" });
    t.broker.subscribe("old");
    await t.broker.publish("full", 1);
    await t.broker.publish("full", 2);
    await t.broker.publish("old", 1, { ttl: 5 });
    await t.broker.publish("fails", 1);
    await t.settle();
    await t.advance(5);
    await t.advance(5);
    await t.until("all are told", () => told.length === 6);
    const letters = ["dead-letter expired", "dead-letter max-deliveries", "dead-letter overflow"];
    equal([...told].sort(), [...letters, "drop overflow", "expire", "redeliver 1 10"], "events");
  },
  "off ends listening, once listens once": async (c) => {
    const t = await c.open();
    let [on, once] = [0, 0];
    const listener = (): void => void (on += 1);
    t.broker.on("error", listener);
    t.broker.once("error", () => void (once += 1));
    t.broker.subscribe("a", boom);
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    await t.until("both are told", () => on === 2);
    t.broker.off("error", listener);
    await t.broker.publish("a", 3);
    await t.settle();
    equal([on, once], [2, 1], "calls");
  },
  "a listener that throws hurts nobody": async (c) => {
    const t = await c.open();
    let told = 0;
    t.broker.on("drop", boom);
    t.broker.on("drop", () => (told += 1));
    t.broker.subscribe("a", { maxMessages: 1, overflow: "drop-newest" });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    equal(told, 2, "the other listener's calls");
  },
});

export const counterCases = cases("counters", {
  "every copy is delivered, queued, in flight, delayed, expired, dead-lettered or dropped: the sums hold": async (
    c,
  ) => {
    const t = await c.open({ ack: { maxDeliveries: 2, backoff: () => 50, timeout: 100 }, deadLetter: {} });
    const metrics = t.part("metrics");
    t.broker.subscribe("a", ({ data }) => {
      if ((data as number) % 3 === 0) boom();
    });
    const pull = t.broker.subscribe("a", { maxMessages: 5, overflow: "drop-oldest", ack: "manual" });
    t.broker.subscribe("a", { maxMessages: 100, overflow: "drop-newest" });
    for (let index = 0; index < 40; index += 1) {
      await t.broker.publish("a", index, index % 4 === 0 ? { ttl: 30 } : index % 7 === 0 ? { delay: 20 } : {});
      await t.broker.publish("nobody", index);
      if (index % 5 === 0) await pull.fetch(1, { timeout: 0 });
      if (index % 6 === 0) await t.advance(17);
      const figures = metrics.snapshot();
      const { published, routedMessages, unrouted, scheduled, scheduledExpired, scheduledCancelled } = figures;
      equal(published, routedMessages + unrouted + scheduled + scheduledExpired + scheduledCancelled, "messages");
      const { routed, delivered, queued, inFlight, delayed, expired, deadLettered, dropped } = figures;
      const drops = Object.values(dropped).reduce((sum, one) => sum + one, 0);
      equal(routed, delivered + queued + inFlight + delayed + expired + deadLettered + drops, "copies");
    }
  },
  "memory is given back when nothing holds a message any more": async (c) => {
    const t = await c.open({ ack: {} });
    const seen = t.collect("a");
    const pull = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", "x".repeat(1_000));
    check(t.part("metrics").snapshot().memoryBytes >= 1_000, "it counts while it waits");
    await t.until("it comes", () => seen.data.length === 1);
    const [message] = await pull.fetch(1);
    await message?.ack();
    await t.settle();
    equal(t.part("metrics").snapshot().memoryBytes, 0, "bytes");
  },
});

export const closeCases = cases("close", {
  "close waits for what is queued, in flight and in backoff": async (c) => {
    const t = await c.open({ ack: { backoff: () => 100 } });
    const seen: unknown[] = [];
    t.broker.subscribe("a", async ({ data, deliveryCount }) => {
      await Promise.resolve();
      if (data === 1 && deliveryCount === 1) boom();
      seen.push(data);
    });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    const closing = later(t.broker.close({ timeout: 5_000 }));
    await t.settle();
    await t.advance(100);
    equal(await closing, { undelivered: [], unacked: [] }, "result");
    equal([...seen].sort(), [1, 2, 3], "done");
  },
  "close returns what it could not finish in time": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    await sub.fetch(1);
    const closing = later(t.broker.close({ timeout: 500 }));
    await t.settle();
    await t.advance(500);
    const { undelivered, unacked } = await closing;
    equal([dataOf(undelivered), dataOf(unacked)], [[2, 3], [1]], "left");
  },
  "close without drain does not wait": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a");
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2, { delay: 1_000 });
    const { undelivered } = await t.broker.close({ drain: false });
    equal(dataOf(undelivered), [1, 2], "undelivered");
  },
  "after close every operation is refused with ERR_BROKER_CLOSED": async (c) => {
    const t = await c.open();
    await t.broker.close();
    const { broker } = t;
    await refused(() => broker.publish("a", 1), "ERR_BROKER_CLOSED", "publish");
    await refused(() => broker.publishBatch([]), "ERR_BROKER_CLOSED", "publishBatch");
    await refused(() => broker.subscribe("a"), "ERR_BROKER_CLOSED", "subscribe");
    await refused(() => broker.request("a", 1), "ERR_BROKER_CLOSED", "request");
    await refused(() => broker.respond("a", () => 1), "ERR_BROKER_CLOSED", "respond");
    await refused(() => broker.flush(), "ERR_BROKER_CLOSED", "flush");
    await refused(() => broker.ack("x"), "ERR_BROKER_CLOSED", "ack");
  },
  "a repeated close answers the same": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a");
    await t.broker.publish("a", 1);
    const first = await t.broker.close({ drain: false });
    equal((await t.broker.close()).undelivered.length, first.undelivered.length, "undelivered");
  },
  "close ends every iteration": async (c) => {
    const t = await c.open();
    const next = t.broker.subscribe("a").next();
    let result: IteratorResult<unknown> | undefined;
    next.then(
      (ended) => (result = ended),
      () => undefined,
    );
    await t.broker.close();
    await t.until("the iteration ends", () => result !== undefined);
    equal(result?.done, true, "done");
  },
  "close rejects held publishers and open requests with ERR_BROKER_CLOSED": async (c) => {
    const t = await c.open();
    t.broker.subscribe("full", { maxMessages: 1 });
    await t.broker.publish("full", 1);
    t.broker.subscribe("silent", () => undefined);
    const held = later(refused(t.broker.publish("full", 2), "ERR_BROKER_CLOSED", "the held publish"));
    const asked = later(
      refused(t.broker.request("silent", 1, { timeout: 60_000 }), "ERR_BROKER_CLOSED", "the request"),
    );
    await t.settle();
    await t.broker.close({ drain: false });
    await Promise.all([held, asked]);
  },
  "close tells: a closed event, and subscriptions that are over": async (c) => {
    const t = await c.open();
    let told = 0;
    t.broker.on("closed", () => (told += 1));
    const sub = t.broker.subscribe("a", () => undefined);
    await t.broker.close();
    await t.outcome("the subscription ends", sub.closed);
    equal([told, sub.state], [1, "closed"], "told and state");
  },
  "no handler is called after close": async (c) => {
    const t = await c.open({ ack: { timeout: 100 } });
    const seen = t.collect("a");
    const delay = t.window(500);
    await t.broker.publish("a", 1, { delay: 500 });
    await t.broker.close({ drain: false });
    delay.seen();
    await t.advance(1_000);
    equal(seen.data, [], "received");
  },
});

export const errorCases = cases("errors", {
  "a topic that is empty, too long, or has empty tokens or spaces is refused": async (c) => {
    const t = await c.open({ limits: { maxTopicLength: 20, maxTokens: 4 } });
    for (const topic of ["", ".", "a.", ".a", "a..b", "a b", "x".repeat(21), "a.b.c.d.e"]) {
      await refused(t.broker.publish(topic, 1), "ERR_INVALID_TOPIC", `publish to ${JSON.stringify(topic)}`);
    }
  },
  "a pattern that is empty or malformed is refused, and leaves no subscription": async (c) => {
    const t = await c.open();
    for (const pattern of ["", "a..b", ".a", "a.", "a b"]) {
      await refused(
        () => t.broker.subscribe(pattern),
        "ERR_INVALID_PATTERN",
        `subscribe to ${JSON.stringify(pattern)}`,
      );
    }
    await refused(() => t.broker.subscribe(["a", "a..b"]), "ERR_INVALID_PATTERN", "one of two");
    equal((await t.broker.publish("a", 1)).matched, 0, "matched");
  },
  "an option nobody knows is refused with ERR_INVALID_OPTION": async (c) => {
    const t = await c.open();
    const publishOptions = { dealy: 5 } as PublishOptions;
    const subscribeOptions = { concurency: 5 } as SubscribeOptions;
    await refused(t.broker.publish("a", 1, publishOptions), "ERR_INVALID_OPTION", "publish");
    await refused(() => t.broker.subscribe("a", subscribeOptions), "ERR_INVALID_OPTION", "subscribe");
  },
  "undefined, functions and symbols are no payloads": async (c) => {
    const t = await c.open();
    for (const data of [undefined, () => 1, Symbol("s")]) {
      await refused(t.broker.publish("a", data), "ERR_INVALID_MESSAGE", typeof data);
    }
  },
  "values out of range are refused, and nothing has changed": async (c) => {
    const t = await c.open();
    for (const options of [{ concurrency: 0 }, { maxInFlight: -1 }, { maxMessages: 0.5 }, { ackTimeout: 0 }]) {
      await refused(() => t.broker.subscribe("a", options), "ERR_INVALID_OPTION", JSON.stringify(options));
    }
    equal((await t.broker.publish("a", 1)).matched, 0, "matched");
    await refused(t.broker.publish("a", 1, { ttl: 0 }), "ERR_INVALID_OPTION", "ttl 0");
  },
  "an error has a code, and a text that says the value and what to do": async (c) => {
    const t = await c.open();
    const error = await refused(t.broker.publish("a..b", 1), "ERR_INVALID_TOPIC", "publish");
    check(error.message.includes("a..b"), `the text has the value: ${error.message}`);
    check(error instanceof Error, "it is an Error");
  },
});
