import { cases, dataOf } from "../case.js";
import { check, equal, later, refused } from "../check.js";

export const backPressureCases = cases("back-pressure", {
  'overflow "wait": the publisher is held back until there is room, and nothing is lost': async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 2 });
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    let isThrough = false;
    const third = later(t.broker.publish("a", 3).then(() => (isThrough = true)));
    await t.settle();
    check(!isThrough, "the third was not held back");
    equal(dataOf(await sub.fetch(1)), [1], "first");
    await third;
    equal(dataOf(await sub.fetch(2)), [2, 3], "the others");
  },
  "a full subscription holds back the publisher, and no other subscription": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", { maxMessages: 1 });
    const quick = t.collect("a");
    for (const data of [1, 2, 3]) t.broker.publish("a", data).catch(() => undefined);
    await t.until("the quick one has all", () => quick.data.length === 3);
    equal(quick.data, [1, 2, 3], "received");
  },
  "a signal ends the wait for room: the message is withdrawn": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 1 });
    await t.broker.publish("a", 1);
    const stop = new AbortController();
    const held = later(t.broker.publish("a", 2, { signal: stop.signal }));
    stop.abort(Object.assign(new Error("stop"), { code: "MINE" }));
    await refused(held, "MINE", "the held publish");
    equal(dataOf(await sub.fetch(2, { timeout: 0 })), [1], "received");
  },
  "an unsubscribe lets held publishers go on": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 1 });
    await t.broker.publish("a", 1);
    const held = later(t.broker.publish("a", 2));
    await sub.unsubscribe();
    await t.outcome("the held publish goes on", held);
  },
  "a message too large is refused with ERR_MESSAGE_TOO_LARGE": async (c) => {
    const t = await c.open({ limits: { maxMessageBytes: 1_000 } });
    await refused(t.broker.publish("a", "x".repeat(1_001)), "ERR_MESSAGE_TOO_LARGE", "1,001 bytes");
    await t.broker.publish("a", "x".repeat(900));
  },
  "beyond its memory the broker refuses with ERR_MEMORY_LIMIT, and takes again when there is room": async (c) => {
    const t = await c.open({ memory: { maxBytes: 10_000 } });
    const sub = t.broker.subscribe("a");
    await t.broker.publish("a", "x".repeat(9_000));
    await refused(t.broker.publish("a", "x".repeat(2_000)), "ERR_MEMORY_LIMIT", "beyond it");
    await sub.fetch(1);
    await t.broker.publish("a", "x".repeat(2_000));
  },
});

export const overflowCases = cases("overflow", {
  '"error" refuses the publish for everyone, with ERR_QUEUE_FULL': async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", { maxMessages: 1, overflow: "error" });
    const other = t.collect("a");
    await t.broker.publish("a", 1);
    await refused(t.broker.publish("a", 2), "ERR_QUEUE_FULL", "the second");
    await t.settle();
    equal(other.data, [1], "received by the other");
  },
  '"drop-oldest" makes room at the front, "drop-newest" drops what comes': async (c) => {
    const t = await c.open();
    const oldest = t.broker.subscribe("a", { maxMessages: 2, overflow: "drop-oldest" });
    const newest = t.broker.subscribe("a", { maxMessages: 2, overflow: "drop-newest" });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    equal(dataOf(await oldest.fetch(2)), [2, 3], "drop-oldest");
    equal(dataOf(await newest.fetch(2)), [1, 2], "drop-newest");
    await t.figures(oldest, { dropped: { overflow: 1 } }, "counted, drop-oldest");
    await t.figures(newest, { dropped: { overflow: 1 } }, "counted, drop-newest");
  },
  "a drop policy gives up the lowest priority first": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 2, overflow: "drop-oldest" });
    await t.broker.publish("a", "high", { priority: 9 });
    await t.broker.publish("a", "low", { priority: 0 });
    await t.broker.publish("a", "middle", { priority: 5 });
    equal(dataOf(await sub.fetch(2)), ["high", "middle"], "kept");
  },
  '"close" ends the subscription that is full': async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 1, overflow: "close" });
    await t.broker.publish("a", 1);
    await t.broker.publish("a", 2);
    await t.until("it ends", () => sub.state === "closed");
    await refused(() => sub.next(), "ERR_QUEUE_FULL", "next");
  },
  "a bound by bytes holds too": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", { maxBytes: 1_000, overflow: "error" });
    await t.broker.publish("a", "x".repeat(800));
    await refused(t.broker.publish("a", "x".repeat(800)), "ERR_QUEUE_FULL", "the second");
  },
});

export const retainedCases = cases("retained", {
  'retain keeps a topic\'s last message for later subscribers with from: "last"': async (c) => {
    const t = await c.open();
    await t.broker.publish("state", 1, { retain: true });
    await t.broker.publish("state", 2, { retain: true });
    const [late, fresh] = [t.collect("state", { from: "last" }), t.collect("state")];
    await t.until("it comes", () => late.data.length === 1);
    await t.settle();
    equal([late.data, fresh.data], [[2], []], "received");
  },
  "null clears it": async (c) => {
    const t = await c.open();
    await t.broker.publish("state", 1, { retain: true });
    await t.broker.publish("state", null, { retain: true });
    const late = t.collect("state", { from: "last" });
    await t.settle();
    equal(late.data, [], "received");
  },
  "a wildcard gets the last message of each topic, in the order they were published": async (c) => {
    const t = await c.open();
    for (const topic of ["s.b", "s.a", "s.c"]) await t.broker.publish(topic, topic, { retain: true });
    await t.broker.publish("s.b", "s.b again", { retain: true });
    const late = t.collect("s.*", { from: "last" });
    await t.until("all come", () => late.data.length === 3);
    equal(late.data, ["s.a", "s.c", "s.b again"], "received");
  },
  "a message that is not retained does not replace one that is": async (c) => {
    const t = await c.open();
    await t.broker.publish("state", "kept", { retain: true });
    await t.broker.publish("state", "passing");
    const late = t.collect("state", { from: "last" });
    await t.until("it comes", () => late.data.length === 1);
    equal(late.data, ["kept"], "received");
  },
  "retained() lists them": async (c) => {
    const t = await c.open();
    for (const topic of ["s.a", "s.b", "x"]) await t.broker.publish(topic, topic, { retain: true });
    equal(
      t
        .part("retained")("s.*")
        .map(({ topic }) => topic),
      ["s.a", "s.b"],
      "retained",
    );
  },
});

export const batchCases = cases("batch", {
  "publishBatch publishes all in order, with a receipt each": async (c) => {
    const t = await c.open();
    const seen = t.collect(">");
    const receipts = await t.broker.publishBatch([
      { topic: "a", data: 1 },
      { topic: "b", data: 2, key: "k" },
      { topic: "a", data: 3 },
    ]);
    equal(
      receipts.map(({ matched }) => matched),
      [1, 1, 1],
      "matched",
    );
    await t.until("all come", () => seen.data.length === 3);
    equal(seen.data, [1, 2, 3], "received");
    equal(
      receipts.map(({ id }) => id),
      seen.messages.map(({ id }) => id),
      "ids",
    );
  },
  "publishBatch is all or nothing: one that is refused refuses all": async (c) => {
    const t = await c.open();
    const seen = t.collect(">");
    const batch = t.broker.publishBatch([
      { topic: "a", data: 1 },
      { topic: "not a topic", data: 2 },
    ]);
    await refused(batch, "ERR_INVALID_TOPIC", "the batch");
    await t.settle();
    equal(seen.data, [], "received");
  },
  "publishBatch is all or nothing where a queue would be full half way through": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("a", { maxMessages: 2, overflow: "error" });
    const batch = t.broker.publishBatch([1, 2, 3].map((data) => ({ topic: "a", data })));
    await refused(batch, "ERR_QUEUE_FULL", "the batch");
    await t.figures(sub, { queued: 0 }, "queued");
  },
  "an empty batch is fine": async (c) => {
    const t = await c.open();
    equal(await t.broker.publishBatch([]), [], "receipts");
  },
});

export const syncCases = cases("sync", {
  "publishSync publishes without a promise, in order with publish": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    const publishSync = t.part("publishSync");
    equal(publishSync("a", 1).matched, 1, "matched");
    void t.broker.publish("a", 2);
    publishSync("a", 3);
    await t.until("all come", () => seen.data.length === 3);
    equal(seen.data, [1, 2, 3], "received");
  },
  "publishSync throws where it would have to wait": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", { maxMessages: 1 });
    const publishSync = t.part("publishSync");
    publishSync("a", 1);
    await refused(() => publishSync("a", 2), "ERR_QUEUE_FULL", "the second");
  },
});

export const reportCases = cases("reports", {
  "report: the receipt tells what became of the message in each subscription": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", { name: "takes" });
    t.broker.subscribe("a", { name: "filters", filter: () => false });
    t.broker.subscribe("a", { name: "drops", maxMessages: 1, overflow: "drop-newest" });
    await t.broker.publish("a", 0);
    const { report = [], matched } = await t.broker.publish("a", 1, { report: true });
    const outcomes = Object.fromEntries(report.map(({ subscription, outcome }) => [subscription, outcome]));
    equal(outcomes, { takes: "queued", filters: "filtered", drops: "dropped" }, "report");
    equal(matched, 2, "matched");
  },
  "report: absent unless asked for": async (c) => {
    const t = await c.open();
    equal((await t.broker.publish("a", 1)).report, undefined, "report");
  },
});
