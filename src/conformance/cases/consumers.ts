import { cases, dataOf } from "../case.js";
import { check, equal, later, refused } from "../check.js";

export const groupCases = cases("groups", {
  "each message goes to one member of the group": async (c) => {
    const t = await c.open();
    const members = [t.collect("a", { group: "g" }), t.collect("a", { group: "g" }), t.collect("a", { group: "g" })];
    for (let index = 0; index < 30; index += 1) equal((await t.broker.publish("a", index)).matched, 1, "matched");
    const all = (): unknown[] => members.flatMap(({ data }) => data);
    await t.until("all come", () => all().length === 30);
    await t.settle();
    equal(new Set(all()).size, 30, "different messages");
    equal(all().length, 30, "deliveries");
  },
  "two groups, and a subscription of its own, each get every message": async (c) => {
    const t = await c.open();
    const [one, two, own] = [t.collect("a", { group: "g1" }), t.collect("a", { group: "g2" }), t.collect("a")];
    equal((await t.broker.publish("a", 1)).matched, 3, "matched");
    await t.until("all have it", () => one.data.length + two.data.length + own.data.length === 3);
  },
  "every member that is free gets its share": async (c) => {
    const t = await c.open();
    const members = [t.collect("a", { group: "g" }), t.collect("a", { group: "g" })];
    for (let index = 0; index < 20; index += 1) await t.broker.publish("a", index);
    await t.until("all come", () => members.flatMap(({ data }) => data).length === 20);
    for (const { data } of members) check(data.length > 0, "a member got nothing");
  },
  "a member that is busy leaves messages to the others": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", () => new Promise(() => undefined), { group: "g" });
    const free = t.collect("a", { group: "g" });
    for (let index = 0; index < 10; index += 1) await t.broker.publish("a", index);
    await t.until("the free one has the others", () => free.data.length >= 9);
  },
  "what a member holds when it leaves goes to the others": async (c) => {
    const t = await c.open({ ack: {} });
    const leaver = t.broker.subscribe("a", { group: "g", ack: "manual" });
    await t.broker.publish("a", 1);
    const [held] = await leaver.fetch(1);
    const other = t.collect("a", { group: "g" });
    await leaver.unsubscribe();
    await t.until("the other has it", () => other.data.length === 1);
    equal([other.messages[0]?.id, other.messages[0]?.redelivered], [held?.id, true], "redelivery");
  },
  "what waits when a member leaves is left to the others": async (c) => {
    const t = await c.open();
    const leaver = t.broker.subscribe("a", { group: "g" });
    for (let index = 0; index < 5; index += 1) await t.broker.publish("a", index);
    const other = t.collect("a", { group: "g" });
    await leaver.unsubscribe();
    await t.until("the other has all", () => other.data.length === 5);
    equal(other.data, [0, 1, 2, 3, 4], "received");
  },
  "a group is one queue with one bound": async (c) => {
    const t = await c.open();
    const options = { group: "g", maxMessages: 2, overflow: "error" } as const;
    t.broker.subscribe("a", options);
    t.broker.subscribe("a", options);
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    await refused(t.broker.publish("a", 3), "ERR_QUEUE_FULL", "the third");
  },
});

export const keyCases = cases("keys", {
  "orderBy key: one at a time within a key, in order": async (c) => {
    const t = await c.open({ ack: {} });
    const running = new Set<unknown>();
    const seen = new Map<unknown, unknown[]>();
    let overlaps = 0;
    t.broker.subscribe(
      "a",
      async ({ key, data }) => {
        if (running.has(key)) overlaps += 1;
        running.add(key);
        // The earlier, the slower: whoever does not wait comes in first.
        for (let step = data as number; step < 60; step += 1) await Promise.resolve();
        running.delete(key);
        seen.set(key, [...(seen.get(key) ?? []), data]);
      },
      { orderBy: "key", concurrency: 8 },
    );
    const keyed = (index: number): Promise<unknown> => t.broker.publish("a", index, { key: `k${index % 4}` });
    await Promise.all(Array.from({ length: 60 }, (_, index) => keyed(index)));
    await t.until("all are done", () => [...seen.values()].flat().length === 60);
    equal(overlaps, 0, "handlers at once within a key");
    for (const [key, data] of seen) {
      const first = Number(String(key).slice(1));
      equal(
        data,
        Array.from({ length: 15 }, (_, index) => first + 4 * index),
        `order of ${String(key)}`,
      );
    }
  },
  "orderBy key: other keys do not wait": async (c) => {
    const t = await c.open({ ack: {} });
    const seen: unknown[] = [];
    t.broker.subscribe(
      "a",
      ({ key }) => {
        seen.push(key);
        return key === "stuck" ? new Promise(() => undefined) : undefined;
      },
      { orderBy: "key", concurrency: 4 },
    );
    for (const key of ["stuck", "stuck", "free", "free"]) await t.broker.publish("a", 1, { key });
    await t.until("the free ones come", () => seen.filter((key) => key === "free").length === 2);
    equal(seen.filter((key) => key === "stuck").length, 1, "hand-overs of the stuck key");
  },
  "orderBy key: a message that comes again still goes before its successors": async (c) => {
    const t = await c.open({ ack: { backoff: () => 100 } });
    const seen: unknown[] = [];
    t.broker.subscribe(
      "a",
      ({ data, deliveryCount }) => {
        seen.push(data);
        if (data === 1 && deliveryCount === 1) throw new Error("once");
      },
      { orderBy: "key", concurrency: 4 },
    );
    for (const data of [1, 2, 3]) await t.broker.publish("a", data, { key: "k" });
    await t.settle();
    await t.advance(100);
    await t.until("all come", () => seen.length === 4);
    equal(seen, [1, 1, 2, 3], "order");
  },
  "messages without a key are not held back by it": async (c) => {
    const t = await c.open({ ack: {} });
    let running = 0;
    t.broker.subscribe(
      "a",
      () => {
        running += 1;
        return new Promise(() => undefined);
      },
      { orderBy: "key", concurrency: 3 },
    );
    for (let index = 0; index < 3; index += 1) await t.broker.publish("a", index);
    await t.until("three run", () => running === 3);
  },
});

export const flowCases = cases("flow-control", {
  "maxInFlight bounds what a consumer holds unsettled": async (c) => {
    const t = await c.open({ ack: {} });
    const seen = t.collect("a", { ack: "manual", maxInFlight: 3 });
    for (let index = 0; index < 10; index += 1) await t.broker.publish("a", index);
    await t.until("three come", () => seen.data.length === 3);
    await t.settle();
    equal(seen.data.length, 3, "held");
    await seen.messages[0]?.ack();
    await t.until("one more comes", () => seen.data.length === 4);
    await t.settle();
    equal(seen.data.length, 4, "held and settled");
  },
  "pause holds messages back, resume brings them, none is lost": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    seen.subscription.pause();
    for (let index = 0; index < 5; index += 1) await t.broker.publish("a", index);
    await t.settle();
    equal(seen.data, [], "while paused");
    seen.subscription.resume();
    await t.until("all come", () => seen.data.length === 5);
    equal(seen.data, [0, 1, 2, 3, 4], "received");
  },
  "drain finishes what there is, takes nothing new, and ends": async (c) => {
    const t = await c.open({ ack: { backoff: () => 100 } });
    const seen: unknown[] = [];
    const sub = t.broker.subscribe("a", ({ data, deliveryCount }) => {
      seen.push(data);
      if (data === 1 && deliveryCount === 1) throw new Error("once");
    });
    for (const data of [1, 2]) await t.broker.publish("a", data);
    const drained = later(sub.drain());
    equal((await t.broker.publish("a", 3)).matched, 0, "matched while draining");
    await t.settle();
    await t.advance(100);
    await drained;
    equal([...seen].sort(), [1, 1, 2], "received");
    equal(sub.state, "closed", "state");
  },
  "a ttl ends a subscription that nobody renews; a heartbeat renews it": async (c) => {
    const t = await c.open();
    const first = t.window(1_000);
    const gone = t.broker.subscribe("a", { ttl: 1_000 });
    const kept = t.broker.subscribe("a", { ttl: 1_000 });
    await first.near(600);
    const renewed = t.window(1_000);
    kept.heartbeat();
    first.seen();
    await renewed.near(600);
    await t.until("the one that nobody renewed ends", () => gone.state === "closed");
    equal(kept.state, "open", "state of the one that was renewed");
    renewed.seen();
  },
});

export const rateCases = cases("rate-limit", {
  "rateLimit bounds how fast a subscription is served, and loses nothing": async (c) => {
    const t = await c.open();
    const seen: unknown[] = [];
    const at: number[] = [];
    const start = t.elapsed();
    t.broker.subscribe(
      "a",
      ({ data }) => {
        seen.push(data);
        at.push(t.elapsed() - start);
      },
      { rateLimit: { perSecond: 10 } },
    );
    for (let index = 0; index < 3; index += 1) await t.broker.publish("a", index);
    await t.until("the first comes", () => seen.length === 1);
    for (let step = 0; step < 6; step += 1) await t.advance(50);
    await t.until("all come", () => seen.length === 3);
    equal(seen, [0, 1, 2], "received");
    t.equalTimes(at, [0, 100, 200], "times of delivery");
  },
  "burst lets so many through at once": async (c) => {
    const t = await c.open();
    const second = t.window(1_000);
    const seen = t.collect("a", { rateLimit: { perSecond: 1, burst: 3 } });
    for (let index = 0; index < 5; index += 1) await t.broker.publish("a", index);
    await t.until("three come", () => seen.data.length >= 3);
    await t.settle();
    equal(seen.data.length, 3, "at once");
    second.seen();
  },
});

export const filterCases = cases("filters", {
  "a message that the filter does not want is not for this subscription": async (c) => {
    const t = await c.open();
    const seen = t.collect("a", { filter: ({ data }) => (data as number) % 2 === 0 });
    equal((await t.broker.publish("a", 1)).matched, 0, "matched, unwanted");
    equal((await t.broker.publish("a", 2)).matched, 1, "matched, wanted");
    await t.until("it comes", () => seen.data.length === 1);
    equal(seen.data, [2], "received");
  },
  "a filter sees topic, headers and key": async (c) => {
    const t = await c.open();
    const seen = t.collect("a.*", { filter: (m) => m.topic === "a.b" && m.headers["h"] === "v" && m.key === "k" });
    await t.broker.publish("a.b", 1, { headers: { h: "v" }, key: "k" });
    await t.broker.publish("a.c", 2, { headers: { h: "v" }, key: "k" });
    await t.broker.publish("a.b", 3);
    await t.until("it comes", () => seen.data.length === 1);
    await t.settle();
    equal(seen.data, [1], "received");
  },
  "a filter that throws keeps the message from its subscription alone": async (c) => {
    const t = await c.open();
    const bad = t.collect("a", {
      filter: () => {
        throw new Error("filter");
      },
    });
    const good = t.collect("a");
    await t.broker.publish("a", 1);
    await t.until("the other has it", () => good.data.length === 1);
    equal(bad.data, [], "received behind the failing filter");
  },
});

export const iteratorCases = cases("iterators", {
  "for await brings messages in order; break ends the subscription": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    for (let index = 0; index < 3; index += 1) await t.broker.publish("a", index);
    const seen: unknown[] = [];
    for await (const message of sub) {
      seen.push(message.data);
      if (seen.length === 3) break;
    }
    equal(seen, [0, 1, 2], "received");
    equal([sub.state, (await t.broker.publish("a", 3)).matched], ["closed", 0], "after break");
  },
  "an iterator that waits gets the next message": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    const next = later(sub.next());
    await t.broker.publish("a", "now");
    equal((await next).value?.data, "now", "next");
  },
  "unsubscribe ends an iterator that waits, without an error": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    const next = later(sub.next());
    await sub.unsubscribe();
    equal(await next, { value: undefined, done: true }, "next");
    equal((await sub.next()).done, true, "next after the end");
  },
  "a signal ends an iteration, without an error": async (c) => {
    const t = await c.open();
    const stop = new AbortController();
    const sub = t.broker.subscribe("a", { signal: stop.signal });
    const next = later(sub.next());
    stop.abort();
    equal((await t.outcome("the iteration ends", next)).done, true, "next");
  },
  'ack "auto": asking for the next message acknowledges the one before': async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "auto" });
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    await sub.next();
    equal(sub.stats().inFlight, 1, "in flight after the first");
    await sub.next();
    equal([sub.stats().inFlight, sub.stats().delivered], [1, 1], "in flight and done after the second");
  },
  "next on a subscription with a handler is refused": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", () => undefined);
    await refused(() => sub.next(), "ERR_INVALID_OPTION", "next");
  },
});

export const fetchCases = cases("fetch", {
  "fetch resolves with as many as were asked for, in order": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    for (let index = 0; index < 5; index += 1) await t.broker.publish("a", index);
    equal(dataOf(await sub.fetch(3)), [0, 1, 2], "first batch");
    equal(dataOf(await sub.fetch(2)), [3, 4], "second batch");
  },
  "fetch resolves after its timeout with what there is": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    await t.broker.publish("a", 1);
    const batch = later(sub.fetch(3, { timeout: 100 }));
    await t.settle();
    await t.advance(100);
    equal((await batch).length, 1, "messages");
  },
  "fetch with timeout 0 does not wait": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    equal(await t.outcome("it resolves at once", sub.fetch(3, { timeout: 0 })), [], "messages");
  },
  "fetch fills up with what comes while it waits": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    const batch = later(sub.fetch(2, { timeout: 60_000 }));
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    equal(dataOf(await batch), [1, 2], "messages");
  },
  "fetch stops short at maxInFlight, since more would not come": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual", maxInFlight: 2 });
    for (let index = 0; index < 4; index += 1) await t.broker.publish("a", index);
    const batch = sub.fetch(4, { timeout: 60_000 });
    equal((await t.outcome("it resolves at once", batch)).length, 2, "messages");
  },
  "fetch refuses a count below 1": async (c) => {
    const t = await c.open();
    await refused(t.broker.subscribe("a").fetch(0), "ERR_INVALID_OPTION", "fetch(0)");
  },
  "a signal ends a fetch with its reason": async (c) => {
    const t = await c.open();
    const stop = new AbortController();
    const batch = t.broker.subscribe("a").fetch(1, { signal: stop.signal, timeout: 60_000 });
    const reason = Object.assign(new Error("stop"), { code: "MINE" });
    stop.abort(reason);
    await refused(batch, "MINE", "fetch");
  },
});
