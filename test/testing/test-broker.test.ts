import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Message } from "../../src/index.js";
import { createTestBroker, seededRandom } from "../../src/testing/index.js";
import type { TestBrokerOptions } from "../../src/testing/index.js";

describe("idle", () => {
  it("is exact: in backoff is not idle, scheduled is", async () => {
    const t = createTestBroker({ ack: { backoff: () => 1_000 } });
    await using broker = t.broker;
    broker.subscribe("fails", () => Promise.reject(new Error("no")), { maxDeliveries: 2 });
    await broker.publish("later", 1, { delay: 1_000 });
    await t.idle();
    await broker.publish("fails", 1);
    await t.idle({ includeRetries: false });
    let isIdle = false;
    const idle = t.idle().then(() => (isIdle = true));
    await t.clock.advance(999);
    expect(isIdle).toBe(false);
    await t.clock.advance(1);
    await idle;
  });

  it("says what is outstanding, that time stands still, and what would happen next", async () => {
    const t = createTestBroker({ now: 0, ack: { timeout: 30_000, backoff: () => 250 } });
    await using broker = t.broker;
    broker.subscribe("order.placed", () => Promise.reject(new Error("boom")), { name: "billing" });
    broker.subscribe("order.placed", () => new Promise(() => undefined), { name: "hangs" });
    await broker.publish("order.placed", 1, { id: "m1" });
    const error = await t.idle({ timeoutMs: 5 }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "ERR_TIMEOUT" });
    expect((error as Error).message).toBe(`not idle after 5 real milliseconds; outstanding:
  billing: 0 queued, 0 in flight, 1 in backoff, 0 in a handler
  hangs: 0 queued, 1 in flight, 0 in backoff, 1 in a handler (order.placed m1)
  time stands still: the clock is manual, and it is 1970-01-01 00:00:00 UTC.
  what happens next when time moves (await t.clock.advance(250)):
    in 250 ms: delivery 2 of order.placed to billing (after "boom")
    in 30,000 ms: the ack timeout of order.placed in hangs`);
  });

  it("waits for one topic alone", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    broker.subscribe("stuck");
    await broker.publish("stuck", 1);
    await t.idle({ topic: "other.>" });
    await expect(t.idle({ topic: "stuck", timeoutMs: 1 })).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
  });
});

describe("track", () => {
  it("tells what happened, in causal order, retries played", async () => {
    const t = createTestBroker({ ack: { maxDeliveries: 2 }, deadLetter: {} });
    await using broker = t.broker;
    broker.subscribe(
      "user.created",
      (msg: Message<{ mail: string }>) => broker.publish("mail.queued", { to: msg.data.mail }),
      { name: "mailer" },
    );
    broker.subscribe("mail.queued", () => Promise.reject(new Error("smtp down")), { name: "smtp" });
    const s = await t.track(async () => {
      await broker.publish("user.created", { mail: "a@b.c" });
      await broker.publish("user.remind", null, { delay: 86_400_000 });
      return "done";
    });
    expect(s.result).toBe("done");
    expect(s.published("user.created").one().data).toEqual({ mail: "a@b.c" });
    expect(s.acked("user.created").count).toBe(1);
    expect(
      s
        .nacked("mail.queued")
        .all()
        .map(({ deliveryCount }) => deliveryCount),
    ).toEqual([1, 2]);
    expect(s.deadLettered("mail.queued").one()).toMatchObject({ reason: "max-deliveries", error: "smtp down" });
    expect(s.scheduled("user.remind").count).toBe(1);
    expect(s.errors()).toHaveLength(2);
    expect(s.dropped().count + s.expired().count).toBe(0);
    const kinds = s.history().map(({ kind, topic }) => `${kind} ${topic}`);
    expect(kinds.indexOf("published user.created")).toBeLessThan(kinds.indexOf("published mail.queued"));
    expect(kinds.indexOf("published mail.queued")).toBeLessThan(kinds.indexOf("deadLettered mail.queued"));
  });

  it("keeps copies: what anybody does to a payload later changes nothing", async () => {
    const t = createTestBroker({ payloads: "reference" });
    await using broker = t.broker;
    broker.subscribe("cart", (msg: Message<{ items: string[] }>) => void (msg.data.items.length = 0));
    const cart = { items: ["book"] };
    const s = await t.track(() => broker.publish("cart", cart));
    expect(cart.items).toEqual([]);
    expect(s.published("cart").one().data).toEqual({ items: ["book"] });
    expect(s.delivered("cart").one().data).toEqual({ items: ["book"] });
  });

  it("says what there was where one() finds another number", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    const s = await t.track(async () => {
      await broker.publish("order.paid", { id: 1 });
      await broker.publish("order.paid", { id: 2 });
    });
    expect(() => s.published("order.paid").one()).toThrow(
      'expected one message published on order.paid, and there were 2\n  what happened:\n    published order.paid {"id":1} (nobody subscribed)',
    );
    expect(() => s.published("order.placed").one()).toThrow("there was none");
    expect(s.published("order.*", { match: { id: 2 } }).one().data).toEqual({ id: 2 });
  });

  it("rejects with what was thrown", async () => {
    const t = createTestBroker();
    await using _ = t;
    await expect(t.track(() => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
  });
});

describe("send", () => {
  it("tells what became of a message", async () => {
    const t = createTestBroker({ ack: { maxDeliveries: 3, timeout: 1_000 }, deadLetter: {} });
    await using broker = t.broker;
    broker.subscribe("works", () => undefined);
    broker.subscribe("second", (msg) => (msg.deliveryCount === 1 ? Promise.reject(new Error("once")) : undefined));
    broker.subscribe("never", () => Promise.reject(new Error("always")));
    broker.subscribe("refuses", (msg) => msg.reject("malformed"));
    broker.subscribe("once", () => undefined, { ack: "none" });
    broker.subscribe("throws", () => Promise.reject(new Error("lost")), { ack: "none" });
    broker.subscribe("paused", () => undefined).pause();
    expect(await t.send("works", 1)).toMatchObject({ outcome: "acked", attempts: 1 });
    expect(await t.send("second", 1)).toMatchObject({ outcome: "acked", attempts: 2 });
    expect(await t.send("never", 1)).toMatchObject({
      outcome: "dead",
      attempts: 3,
      deliveries: [{ reason: "always" }],
    });
    expect(await t.send("refuses", 1)).toMatchObject({ outcome: "rejected", deliveries: [{ reason: "malformed" }] });
    expect(await t.send("once", 1)).toMatchObject({ outcome: "delivered", attempts: 1 });
    expect(await t.send("throws", 1)).toMatchObject({ outcome: "dead", attempts: 1 });
    expect(await t.send("nobody", 1)).toMatchObject({ outcome: "unhandled", attempts: 0, deliveries: [] });
    expect(await t.send("works", 1, { delay: 60_000 })).toMatchObject({ outcome: "acked" });
    const expired = t.send("paused", 1, { ttl: 100 });
    await t.clock.advance(100);
    expect(await expired).toMatchObject({ outcome: "expired", attempts: 0 });
    const stuck = t.send("paused", 1, { timeoutMs: 5 });
    await expect(stuck).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
    await expect(stuck).rejects.toThrow("1 of 1 subscriptions have not taken it");
  });

  it("answers for several subscriptions with the worst", async () => {
    const t = createTestBroker({ ack: { maxDeliveries: 1 } });
    await using broker = t.broker;
    broker.subscribe("x", () => undefined, { name: "good" });
    broker.subscribe("x", () => Promise.reject(new Error("bad")), { name: "bad" });
    const { outcome, deliveries } = await t.send("x", 1);
    expect(outcome).toBe("dead");
    expect(deliveries.map(({ subscription, outcome: one }) => [subscription, one]).sort()).toEqual([
      ["bad", "dead"],
      ["good", "acked"],
    ]);
  });
});

describe("waitFor", () => {
  it("resolves for what has happened, and for what happens later", async () => {
    const t = createTestBroker({ ack: {} });
    await using broker = t.broker;
    broker.subscribe("shipped", () => undefined);
    await broker.publish("shipped", { id: 6 });
    await t.idle();
    expect((await t.waitFor("shipped", undefined, { state: "acked" })).data).toEqual({ id: 6 });
    const later = t.waitFor<{ id: number }>("shipped", (m) => m.data.id === 7, { state: "acked" });
    await broker.publish("shipped", { id: 7 });
    expect((await later).data).toEqual({ id: 7 });
  });

  it("lists what there was where nothing comes", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    await broker.publish("order.placed", { id: 1 });
    await broker.publish("order.shipped", { id: 2 }, { delay: 5_000 });
    const wait = t.waitFor("order.shipped", undefined, { timeoutMs: 1 });
    await expect(wait).rejects.toThrow('published so far:\n    published order.placed {"id":1} (nobody subscribed)');
    await expect(wait).rejects.toThrow("in 5,000 ms: the scheduled message on order.shipped is delivered");
  });
});

describe("modes", () => {
  it("manual: handlers get nothing until deliver, then one after the other in the order of publishing", async () => {
    const t = createTestBroker({ mode: "manual", ack: {} });
    await using broker = t.broker;
    const seen: string[] = [];
    broker.subscribe("a", (msg) => void seen.push(`a${msg.data}`), { name: "a" });
    broker.subscribe("b", (msg) => void seen.push(`b${msg.data}`), { name: "b" });
    for (const [topic, data] of [
      ["b", 1],
      ["a", 2],
      ["b", 3],
    ] as const)
      await broker.publish(topic, data);
    await t.clock.settle();
    expect(seen).toEqual([]);
    expect(await t.deliver()).toBe(1);
    expect(seen).toEqual(["b1"]);
    expect(await t.deliver(10)).toBe(2);
    expect(seen).toEqual(["b1", "a2", "b3"]);
  });

  it("inline: publish resolves once its handlers, and what they publish, are through", async () => {
    const t = createTestBroker({ mode: "inline", ack: {} });
    await using broker = t.broker;
    const seen: string[] = [];
    broker.subscribe("order", async () => {
      await broker.publish("invoice", null);
      seen.push("order");
    });
    broker.subscribe("invoice", async () => {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push("invoice");
    });
    await broker.publish("order", null);
    expect(seen).toEqual(["invoice", "order"]);
  });

  it("inline: a handler that publishes to itself does not wait for itself, and who began waits for all of it", async () => {
    const t = createTestBroker({ mode: "inline" });
    await using broker = t.broker;
    const seen: unknown[] = [];
    broker.subscribe("count", async (msg: Message<number>) => {
      seen.push(msg.data);
      if (msg.data < 3) await broker.publish("count", msg.data + 1);
    });
    await broker.publish("count", 1);
    expect(seen).toEqual([1, 2, 3]);
  });
});

describe("payloads", () => {
  it("wire: what arrives is what JSON brings, and a copy", async () => {
    const t = createTestBroker({ payloads: "wire" });
    await using broker = t.broker;
    const sub = broker.subscribe("x");
    const data = { a: 1, gone: undefined, list: [null, { b: "c" }] };
    await broker.publish("x", data);
    const [msg] = await sub.fetch(1);
    const arrived = msg?.data as typeof data;
    expect(Object.keys(arrived)).toEqual(["a", "list"]);
    expect(arrived.list).not.toBe(data.list);
  });

  it.each([
    ["undefined", { user: { tags: [1, undefined] } }, "user.tags[1] is undefined"],
    ["a Date", { at: new Date(0) }, "at is a Date"],
    ["a bigint", { "odd name": [1n] }, '["odd name"][0] is a bigint'],
    ["NaN", { ratio: NaN }, "ratio is NaN"],
    ["a Map", new Map(), "it is a Map"],
    ["bytes", { bytes: new Uint8Array(2) }, "bytes is a Uint8Array"],
    ["toJSON", { f: { toJSON: () => 1 } }, "f is an object with toJSON"],
    ["a function", { call: () => undefined }, "call is a function"],
    ["a symbol", { now: { deep: Symbol("s") } }, "now.deep is a symbol"],
  ])("wire: refuses what would not survive, and says where: %s", async (_what, data, where) => {
    const t = createTestBroker({ payloads: "wire" });
    await using broker = t.broker;
    const refused = broker.publish("x", data);
    await expect(refused).rejects.toMatchObject({ code: "ERR_INVALID_MESSAGE" });
    await expect(refused).rejects.toThrow(where);
  });

  it("wire: refuses a cycle", async () => {
    const t = createTestBroker({ payloads: "wire" });
    await using broker = t.broker;
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    await expect(broker.publish("x", loop)).rejects.toThrow("self is part of itself");
  });

  it("wire: a failed request still reaches the requester", async () => {
    const t = createTestBroker({ payloads: "wire" });
    await using broker = t.broker;
    broker.respond("ask", () => Promise.reject(new Error("no idea")));
    await expect(broker.request("ask", 1)).rejects.toMatchObject({ code: "ERR_REMOTE" });
  });

  it("clone: everyone has a copy; reference: everyone shares", async () => {
    for (const payloads of ["clone", "reference"] as const) {
      const t = createTestBroker({ payloads });
      await using broker = t.broker;
      const sub = broker.subscribe("x");
      const data = {};
      await broker.publish("x", data);
      expect((await sub.fetch(1))[0]?.data === data).toBe(payloads === "reference");
    }
  });
});

describe("strict", () => {
  it("fails for what is left behind, and says what", async () => {
    const t = createTestBroker({ strict: true, ack: {} });
    const { broker } = t;
    broker.subscribe("queued", { name: "reader" });
    broker.subscribe("flight", () => undefined, { name: "forgets", ack: "manual" });
    broker.subscribe("throws", () => Promise.reject(new Error("lost")), { name: "throws", ack: "none" });
    await broker.publish("nobody", { id: 1 });
    for (const topic of ["queued", "flight", "throws"]) await broker.publish(topic, 1);
    await broker.publish("queued", 2, { delay: 500 });
    t.clock.schedule(100, () => undefined);
    await t.clock.settle();
    const error = await t[Symbol.asyncDispose]().catch((caught: unknown) => caught);
    expect((error as Error).message).toBe(`the test broker is not clean (seed 1):
  nobody subscribed to nobody {"id":1}
  1 messages are queued for reader
  1 deliveries to forgets are not acknowledged
  a timer is pending: in 100 ms, a timer of the application, scheduled on this clock
  a timer is pending: in 500 ms, the scheduled message on queued is delivered
  the subscription reader to queued is open
  the subscription forgets to flight is open
  the subscription throws to throws is open
  error throws 1 (in throws, "handler", Error: lost)`);
    expect(broker.state).toBe("closed");
    await t[Symbol.asyncDispose]();
  });

  it("is content with a test that tidies up, and with what it is told to overlook", async () => {
    const t = createTestBroker({ strict: { subscriptions: false }, ack: { maxDeliveries: 2 }, deadLetter: {} });
    await using broker = t.broker;
    broker.subscribe("works", () => undefined);
    broker.subscribe("fails", () => Promise.reject(new Error("no")));
    broker.respond("ask", () => "answer");
    expect(await broker.request("ask", 1)).toBe("answer");
    expect((await t.send("works", 1)).outcome).toBe("acked");
    expect((await t.send("fails", 1)).outcome).toBe("dead");
    t.assertClean();
  });

  it("leaves errors to an application that listens for them", async () => {
    const t = createTestBroker({ strict: { subscriptions: false } });
    await using broker = t.broker;
    broker.subscribe("throws", () => Promise.reject(new Error("lost")));
    await t.send("throws", 1);
    expect(() => t.assertClean()).toThrow("error throws 1");
    broker.on("error", () => undefined);
    t.assertClean();
  });
});

describe("tap", () => {
  it("sees what is published, takes nothing, and does not count in matched", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    using tap = t.tap<{ id: number }>("orders.>");
    expect((await broker.publish("orders.created", { id: 1 })).matched).toBe(0);
    const seen: unknown[] = [];
    broker.subscribe("orders.*", (msg) => void seen.push(msg.data), { group: "billing" });
    expect((await broker.publish("orders.paid", { id: 2 })).matched).toBe(1);
    await broker.publish("other", 3);
    await t.idle();
    expect(seen).toEqual([{ id: 2 }]);
    expect(tap.messages.map(({ topic, data }) => [topic, data.id])).toEqual([
      ["orders.created", 1],
      ["orders.paid", 2],
    ]);
    expect((await tap.next()).value?.topic).toBe("orders.created");
    expect((await tap.next()).value?.topic).toBe("orders.paid");
    const third = tap.next();
    await broker.publish("orders.shipped", { id: 3 });
    expect((await third).value?.topic).toBe("orders.shipped");
    tap.stop();
    expect((await tap.next()).done).toBe(true);
  });
});

describe("reset", () => {
  it("clears messages, history and faults, and keeps the subscriptions, whatever happened before", async () => {
    const step = fc.record({
      topic: fc.constantFrom("works", "fails", "hangs", "pull", "nobody"),
      delay: fc.constantFrom(0, 0, 0, 500),
      retain: fc.boolean(),
      dedupId: fc.constantFrom(undefined, "one", "two"),
      move: fc.nat(300),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const t = createTestBroker({ ack: { timeout: 200, maxDeliveries: 2 }, deadLetter: {} });
        await using broker = t.broker;
        const seen: unknown[] = [];
        broker.subscribe("works", (msg) => void seen.push(msg.data));
        broker.subscribe("fails", () => Promise.reject(new Error("no")));
        broker.subscribe("hangs", (msg) => (msg.data === "after" ? undefined : new Promise(() => undefined)));
        const pull = broker.subscribe("pull", { ack: "auto" });
        t.fault.onPublish("works", { fail: 0.3 });
        t.fault.onDeliver("fails", { duplicate: 0.3 });
        t.fault.onAck({ lose: 0.2 });
        for (const { topic, move, dedupId, ...options } of steps) {
          await broker
            .publish(topic, topic, { ...options, ...(dedupId === undefined ? {} : { dedupId }) })
            .catch(() => undefined);
          await t.clock.advance(move);
        }
        await t.reset();
        const figures = broker.metrics.snapshot();
        const { queued, inFlight, delayed, scheduled, retained, dedupEntries, memoryBytes, deadLetters } = figures;
        expect({
          queued,
          inFlight,
          delayed,
          scheduled,
          retained,
          dedupEntries,
          memoryBytes,
          dead: deadLetters?.count,
        }).toEqual({
          queued: 0,
          inFlight: 0,
          delayed: 0,
          scheduled: 0,
          retained: 0,
          dedupEntries: 0,
          memoryBytes: 0,
          dead: 0,
        });
        expect(t.history()).toEqual([]);
        expect(figures.subscriptions).toBe(4);
        seen.length = 0;
        await broker.publish("works", "after", { dedupId: "one" });
        await broker.publish("hangs", "after");
        await broker.publish("pull", "after");
        expect((await pull.next()).value?.data).toBe("after");
        await t.clock.advance(0);
        expect(seen).toEqual(["after"]);
        expect(t.history().filter(({ kind }) => kind === "delivered")).toHaveLength(3);
      }),
      { numRuns: 40 },
    );
  });
});

describe("one seed, one history", () => {
  const run = async (seed: number, options: TestBrokerOptions): Promise<string> => {
    const t = createTestBroker({ seed, ack: { timeout: 300, maxDeliveries: 3 }, deadLetter: {}, ...options });
    await using broker = t.broker;
    const random = seededRandom(seed ^ 7);
    const pick = (count: number): number => Math.floor(random() * count);
    for (let index = 0; index < 6; index += 1) {
      broker.subscribe(
        [`t.${index}`, `u.${index % 3}.>`],
        async (msg) => {
          for (let step = pick(3); step > 0; step -= 1) await Promise.resolve();
          const what = pick(6);
          if (what === 0) throw new Error("random failure");
          if (what === 1) await msg.reject("random rejection").catch(() => undefined);
          if (what === 2) await broker.publish(`u.${pick(3)}.x`, pick(100), { priority: pick(10) as 1 });
        },
        { ...(index < 3 ? { group: "g" } : {}), concurrency: 1 + (index % 3), overflow: "drop-oldest", maxMessages: 8 },
      );
    }
    t.fault.onPublish(">", { duplicate: 0.1, fail: 0.02, reorder: 0.2 });
    t.fault.onDeliver("t.*", { fail: 0.1, duplicate: 0.05, delay: 3, reorder: 0.3 });
    t.fault.onAck({ lose: 0.05 });
    for (let index = 0; index < 300; index += 1) {
      const publish = broker.publish(`t.${pick(6)}`, index, {
        ...(pick(5) === 0 ? { delay: pick(500) } : {}),
        ...(pick(5) === 0 ? { ttl: 1 + pick(200) } : {}),
      });
      publish.catch(() => undefined);
      if (pick(4) === 0) await t.clock.advance(pick(100));
    }
    await t.clock.advance("1m");
    return JSON.stringify(t.history(), (_name, value: unknown) => (value instanceof Error ? String(value) : value));
  };

  it.each([1, 42, 20_240])("seed %i", async (seed) => {
    const first = await run(seed, {});
    expect(first.length).toBeGreaterThan(50_000);
    expect(await run(seed, {})).toBe(first);
    expect(await run(seed + 1, {})).not.toBe(first);
  });

  it("does not depend on how busy the process is", async () => {
    const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => run(9, {})));
    for (const other of others) expect(other).toBe(first);
  });
});

describe("creating one", () => {
  it("1,000 in parallel do not meet, and leave nothing behind", async () => {
    const handles = (): string[] =>
      process
        .getActiveResourcesInfo()
        .filter((name) => name !== "Immediate")
        .sort();
    const before = handles();
    await Promise.all(
      Array.from({ length: 1_000 }, async (_, index) => {
        const t = createTestBroker({ ack: {} });
        await using broker = t.broker;
        const seen: unknown[] = [];
        broker.subscribe("x", (msg) => void seen.push(msg.data));
        await broker.publish("x", index);
        await t.idle();
        await t.clock.advance("1h");
        expect(seen).toEqual([index]);
        expect(t.history().filter(({ kind }) => kind === "published")).toHaveLength(1);
      }),
    );
    expect(handles().length).toBeLessThanOrEqual(before.length);
  });

  it("refuses options that nobody knows, and values out of range", () => {
    const wrong: [object, string][] = [
      [{ clok: "manual" }, "clok"],
      [{ clock: "fake" }, "clock"],
      [{ mode: "sync" }, "mode"],
      [{ payloads: "json" }, "payloads"],
      [{ seed: 0.5 }, "seed"],
      [{ strict: { unhandeld: true } }, "strict"],
      [{ random: () => 0 }, "random"],
      [{ clock: "real", now: 0 }, "now"],
      [{ timeoutMs: 0 }, "timeoutMs"],
      [{ historyLimit: 1 }, "historyLimit"],
    ];
    for (const [options, name] of wrong) {
      expect(() => createTestBroker(options), name).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    }
  });

  it("keeps the history within its limit", async () => {
    const t = createTestBroker({ historyLimit: 10 });
    await using broker = t.broker;
    for (let index = 0; index < 100; index += 1) await broker.publish("x", index);
    const history = t.history();
    expect(history.length).toBeLessThanOrEqual(10);
    expect(history.at(-1)).toMatchObject({ index: 99, data: 99 });
  });
});
