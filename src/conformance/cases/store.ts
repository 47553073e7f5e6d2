import type { BrokerSubscription, Message, SubscribeOptions } from "../../index.js";
import type { CaseContext, Opened } from "../case.js";
import { cases, dataOf } from "../case.js";
import { check, equal, later } from "../check.js";

const durable = (name: string, more: object = {}): SubscribeOptions =>
  ({ durable: name, ack: "manual", ...more }) as unknown as SubscribeOptions;

async function reopen(c: CaseContext, t: Opened): Promise<Opened> {
  check(t.implementation.reopen !== undefined, "the implementation supports a store and has no reopen");
  return c.adopt(await t.implementation.reopen());
}

async function crash(c: CaseContext, t: Opened): Promise<Opened> {
  check(t.implementation.crash !== undefined, "the implementation supports crashes and has no crash");
  return c.adopt(await t.implementation.crash());
}

/** What comes to a subscription, up to so many: a message that never comes fails the case, and does not hang it. */
async function take(t: Opened, subscription: BrokerSubscription, count: number): Promise<Message[]> {
  const fetched = later(subscription.fetch(count, { timeout: 1_000 }));
  await t.settle();
  await t.advance(1_000);
  return fetched;
}

export const durableCases = cases("durables", {
  "a durable goes on where it stopped, after the broker was closed and opened again": async (c) => {
    let t = await c.open({ ack: {} });
    let sub = t.broker.subscribe("a", durable("d"));
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    await (await take(t, sub, 1))[0]?.ack();
    await t.broker.flush();
    t = await reopen(c, t);
    sub = t.broker.subscribe("a", durable("d"));
    equal(dataOf(await take(t, sub, 2)), [2, 3], "received");
  },
  "what was in flight comes again, marked as redelivered": async (c) => {
    let t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", durable("d"));
    await t.broker.publish("a", 1);
    await take(t, sub, 1);
    t = await reopen(c, t);
    const [message] = await take(t, t.broker.subscribe("a", durable("d")), 1);
    equal([message?.data, message?.redelivered], [1, true], "message");
  },
  "what is published while nobody is there waits for the durable": async (c) => {
    const t = await c.open({ ack: {} });
    await t.broker.subscribe("a", durable("d")).unsubscribe();
    await t.broker.publish("a", 1);
    equal(dataOf(await take(t, t.broker.subscribe("a", durable("d")), 1)), [1], "received");
  },
  "deleteDurable forgets its position and backlog": async (c) => {
    let t = await c.open({ ack: {} });
    const subs = ["d", "e"].map((name) => t.broker.subscribe("a", durable(name)));
    await t.broker.publish("a", 1);
    for (const sub of subs) await sub.unsubscribe({ deleteDurable: true });
    equal(dataOf(await take(t, t.broker.subscribe("a", durable("d")), 1)), [], "received at once");
    t = await reopen(c, t);
    equal(dataOf(await take(t, t.broker.subscribe("a", durable("e")), 1)), [], "received after opening again");
  },
  'from "oldest" begins with the history': async (c) => {
    const t = await c.open({ ack: {} });
    for (const data of [1, 2]) await t.broker.publish("a", data);
    await t.broker.flush();
    equal(dataOf(await take(t, t.broker.subscribe("a", durable("d", { from: "oldest" })), 2)), [1, 2], "received");
  },
});

type Replaying = { replay(pattern: string, options?: { limit?: number }): AsyncIterable<Message> };

export const replayCases = cases("replay", {
  "replay yields the history of a pattern in order, and delivers nothing to anybody": async (c) => {
    const t = await c.open();
    const seen = t.collect("a.*");
    for (const topic of ["a.x", "b", "a.y"]) await t.broker.publish(topic, topic);
    await t.broker.flush();
    await t.until("they come", () => seen.data.length === 2);
    const history: unknown[] = [];
    for await (const message of (t.broker as unknown as Replaying).replay("a.>")) history.push(message.data);
    await t.settle();
    equal(
      [history, seen.data],
      [
        ["a.x", "a.y"],
        ["a.x", "a.y"],
      ],
      "history and deliveries",
    );
  },
  "replay stops at its limit": async (c) => {
    const t = await c.open();
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    await t.broker.flush();
    const history: unknown[] = [];
    for await (const message of (t.broker as unknown as Replaying).replay("a", { limit: 2 }))
      history.push(message.data);
    equal(history, [1, 2], "history");
  },
});

export const crashCases = cases(
  "crash",
  {
    "what publish has resolved for is there after a crash": async (c) => {
      let t = await c.open({ ack: {} });
      await t.broker.subscribe("a", durable("d")).unsubscribe();
      for (const data of [1, 2, 3]) await t.broker.publish("a", data);
      t = await crash(c, t);
      equal(dataOf(await take(t, t.broker.subscribe("a", durable("d")), 3)), [1, 2, 3], "received");
    },
    "what ack has resolved for does not come again after a crash": async (c) => {
      let t = await c.open({ ack: {} });
      const sub = t.broker.subscribe("a", durable("d"));
      for (const data of [1, 2]) await t.broker.publish("a", data);
      await (await take(t, sub, 1))[0]?.ack();
      t = await crash(c, t);
      equal(dataOf(await take(t, t.broker.subscribe("a", durable("d")), 2)), [2], "received");
    },
    "a committed transaction is there as a whole, an open one not at all": async (c) => {
      let t = await c.open({ ack: {}, transactions: {} });
      await t.broker.subscribe("*", durable("d")).unsubscribe();
      await t.part("transaction")((tx) => {
        void tx.publish("a", 1);
        void tx.publish("b", 2);
      });
      void t.part("beginTransaction")().publish("a", 3);
      t = await crash(c, t);
      equal(dataOf(await take(t, t.broker.subscribe("*", durable("d")), 3)), [1, 2], "received");
    },
  },
  ["durables"],
);
