import { cases, dataOf } from "../case.js";
import { check, equal, refused } from "../check.js";

export const priorityCases = cases("priority", {
  "a consumer gets the highest priority that waits, first in first out within one": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    const priorities = [4, 0, 9, 4, 7, 9, 0] as const;
    for (const [index, priority] of priorities.entries())
      await t.broker.publish("a", `${priority}#${index}`, { priority });
    equal(dataOf(await sub.fetch(7)), ["9#2", "9#5", "7#4", "4#0", "4#3", "0#1", "0#6"], "order");
  },
  "priorities have names, and 4 is the default": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    for (const priority of ["lowest", "low", "normal", "high", "highest"] as const) {
      await t.broker.publish("a", priority, { priority });
    }
    await t.broker.publish("a", "absent");
    const batch = await sub.fetch(6);
    equal(
      batch.map((message) => [message.data as unknown, message.priority]),
      [
        ["highest", 9],
        ["high", 7],
        ["normal", 4],
        ["absent", 4],
        ["low", 2],
        ["lowest", 0],
      ],
      "order",
    );
  },
  "a priority outside 0 to 9 is refused": async (c) => {
    const t = await c.open();
    await refused(t.broker.publish("a", 1, { priority: 10 as 9 }), "ERR_INVALID_OPTION", "priority 10");
  },
  "a message keeps its priority when it comes again": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", "low", { priority: 1 });
    const [low] = await sub.fetch(1);
    await t.broker.publish("a", "high", { priority: 8 });
    await low?.nack({ delay: 0 });
    equal(dataOf(await sub.fetch(2)), ["high", "low"], "order");
  },
  "aging lifts what waits too long": async (c) => {
    const t = await c.open({ priority: { aging: 100 } });
    const sub = t.broker.subscribe("a");
    await t.broker.publish("a", "old and low", { priority: 0 });
    await t.advance(1_000);
    await t.broker.publish("a", "new and high", { priority: 9 });
    equal(dataOf(await sub.fetch(2)), ["old and low", "new and high"], "order");
  },
});

export const ttlCases = cases("ttl", {
  "a message whose ttl is over is never handed to a consumer": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    await t.broker.publish("a", "short", { ttl: 100 });
    await t.broker.publish("a", "long", { ttl: 10_000 });
    await t.advance(100);
    equal(dataOf(await sub.fetch(2, { timeout: 0 })), ["long"], "received");
    await t.figures(sub, { expired: 1 }, "expired");
  },
  "a message is handed over until its ttl is over, and says when that is": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a");
    const ttl = t.window(500);
    await t.broker.publish("a", 1, { ttl: 500 });
    await ttl.near();
    const [message] = await sub.fetch(1, { timeout: 0 });
    check(message !== undefined, "it is not handed over although its ttl is not over");
    ttl.seen();
    const ms = (message.expiresAt ?? 0) - message.timestamp;
    // On real time the two may be read one after the other.
    check(t.stopwatch === undefined ? ms === 500 : ms > 250 && ms < 750, `expiresAt - timestamp is ${ms}, not 500`);
  },
  "the broker's ttl is for messages that name none": async (c) => {
    const t = await c.open({ ttl: { default: 100 } });
    const sub = t.broker.subscribe("a");
    await t.broker.publish("a", "default");
    await t.broker.publish("a", "own", { ttl: 60_000 });
    await t.advance(500);
    equal(dataOf(await sub.fetch(2, { timeout: 0 })), ["own"], "received");
  },
  "a message that has expired already is refused": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a");
    await refused(t.broker.publish("a", 1, { expiresAt: 1 }), "ERR_MESSAGE_EXPIRED", "expiresAt in 1970");
  },
  "a message in backoff expires too": async (c) => {
    const t = await c.open({ ack: { backoff: () => 1_000 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1, { ttl: 500 });
    const [message] = await sub.fetch(1);
    await message?.nack();
    await t.advance(2_000);
    equal((await sub.fetch(1, { timeout: 0 })).length, 0, "received");
    await t.figures(sub, { expired: 1 }, "expired");
  },
  "expiry makes room in a full queue": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 1, overflow: "error" });
    await t.broker.publish("a", 1, { ttl: 100 });
    await t.advance(100);
    await t.settle();
    await t.broker.publish("a", 2);
    equal(dataOf(await sub.fetch(1)), [2], "received");
  },
});

export const delayCases = cases("delay", {
  "a delayed message is delivered after its delay, not before": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    const delay = t.window(1_000);
    equal((await t.broker.publish("a", 1, { delay: 1_000 })).matched, 0, "matched");
    await delay.near();
    equal(seen.data, [], "before");
    delay.seen();
    await delay.end();
    await t.until("it comes", () => seen.data.length === 1);
  },
  "delayed messages come in the order they are due": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    const apart = t.window(300);
    for (const delay of [900, 300, 600]) await t.broker.publish("a", delay, { delay });
    apart.seen();
    await t.advance(1_000);
    await t.until("all come", () => seen.data.length === 3);
    equal(seen.data, [300, 600, 900], "order");
  },
  "it goes to those who are subscribed when it is due": async (c) => {
    const t = await c.open();
    const early = t.collect("a");
    const delay = t.window(500);
    await t.broker.publish("a", 1, { delay: 500 });
    await early.subscription.unsubscribe();
    const late = t.collect("a");
    delay.seen();
    await delay.end();
    await t.until("it comes", () => late.data.length === 1);
    equal(early.data, [], "received by the one that has gone");
  },
  "a delay of 60 days works": async (c) => {
    const t = await c.open();
    if (t.implementation.pendingTimers === undefined) return;
    const seen = t.collect("a");
    await t.broker.publish("a", 1, { delay: 60 * 86_400_000 });
    await t.advance(59 * 86_400_000);
    equal(seen.data, [], "a day before");
    await t.advance(86_400_000);
    await t.until("it comes", () => seen.data.length === 1);
  },
  "a delay of 0, and a date that is over, deliver now": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1, { delay: 0 });
    await t.broker.publish("a", 2, { deliverAt: 1 });
    await t.until("both come", () => seen.data.length === 2);
  },
  "a delay below 0, and one with a date, are refused": async (c) => {
    const t = await c.open();
    await refused(t.broker.publish("a", 1, { delay: -1 }), "ERR_INVALID_OPTION", "delay -1");
    await refused(t.broker.publish("a", 1, { delay: 1, deliverAt: 1 }), "ERR_INVALID_OPTION", "delay and deliverAt");
  },
});

export const cancelCases = cases(
  "cancel",
  {
    "cancel takes back a delayed message, once": async (c) => {
      const t = await c.open();
      const seen = t.collect("a");
      const delay = t.window(500);
      const { id } = await t.broker.publish("a", 1, { delay: 500 });
      const cancel = t.part("cancel");
      equal([await cancel(id), await cancel(id), await cancel("never-was")], [true, false, false], "cancelled");
      delay.seen();
      await t.advance(1_000);
      equal(seen.data, [], "received");
    },
  },
  ["delay"],
);

export const dedupCases = cases("dedup", {
  "a second publish under a dedupId is not delivered, and answers with the first receipt": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    const first = await t.broker.publish("a", 1, { dedupId: "x" });
    const second = await t.broker.publish("a", 2, { dedupId: "x" });
    equal([first.duplicate, second.duplicate, second.id], [false, true, first.id], "receipts");
    await t.until("the first comes", () => seen.data.length === 1);
    await t.settle();
    equal(seen.data, [1], "received");
  },
  "after the window the id is free again": async (c) => {
    const t = await c.open({ dedup: { window: 1_000 } });
    const window = t.window(1_000);
    await t.broker.publish("a", 1, { dedupId: "x" });
    await window.near();
    equal((await t.broker.publish("a", 2, { dedupId: "x" })).duplicate, true, "within the window");
    window.seen();
    await window.end();
    await t.advance(1);
    equal((await t.broker.publish("a", 3, { dedupId: "x" })).duplicate, false, "after it");
  },
  "a publish that was refused does not take its id": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 1, overflow: "error" });
    await t.broker.publish("a", 1);
    await refused(t.broker.publish("a", 2, { dedupId: "x" }), "ERR_QUEUE_FULL", "while it is full");
    await sub.fetch(1);
    equal((await t.broker.publish("a", 2, { dedupId: "x" })).duplicate, false, "the second attempt");
  },
  "different ids are different messages": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    for (const dedupId of ["x", "y", "z"]) await t.broker.publish("a", dedupId, { dedupId });
    await t.until("all come", () => seen.data.length === 3);
  },
});

export const timerCases = cases("timers", {
  "close leaves no timer": async (c) => {
    const t = await c.open({ ack: { timeout: 1_000 }, transactions: {}, deadLetter: {} });
    const sub = t.broker.subscribe("a", { ack: "manual", ttl: 60_000, heartbeat: 1_000 });
    await t.broker.publish("a", 1, { ttl: 500 });
    await t.broker.publish("a", 2, { delay: 500 });
    await sub.fetch(1);
    const timers = t.implementation.pendingTimers;
    check(timers !== undefined, "the implementation supports timers and has no pendingTimers");
    check(timers() > 0, "there is a timer to leave");
    await t.broker.close({ drain: false });
    equal(timers(), 0, "timers");
  },
  "100 deadlines need a handful of timers": async (c) => {
    const t = await c.open();
    for (let index = 0; index < 100; index += 1) await t.broker.publish("a", index, { delay: 1_000 + index });
    const timers = t.implementation.pendingTimers;
    check(timers !== undefined && timers() <= 10, `there are ${timers?.()} timers`);
  },
});
