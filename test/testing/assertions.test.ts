import { describe, expect, it } from "vitest";
import type { BrokerMatchers } from "../../src/testing/index.js";
import { createTestBroker, matchers, VirtualClock } from "../../src/testing/index.js";

declare module "vitest" {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any, @typescript-eslint/no-empty-object-type -- as vitest declares it
  interface Matchers<T = any> extends BrokerMatchers<T> {}
}
expect.extend(matchers);

describe("assertions", () => {
  it("find what is there, by topic, data, headers, key and number", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    await broker.publish("order.placed", { id: 7, lines: [{ sku: "a" }] }, { headers: { tenant: "x" }, key: "k" });
    await broker.publish("order.paid", { id: 7 });
    const [placed] = t.expectPublished<{ id: number }>("order.placed", {
      times: 1,
      match: { lines: [{ sku: expect.any(String) }] },
      headers: { tenant: "x" },
      key: "k",
    });
    expect(placed?.data.id).toBe(7);
    t.expectPublished("order.*", { times: 2, match: (data: { id: number }) => data.id === 7 });
    t.expectNothing("payment.>");
    t.expectOrder(["order.placed", "order.*"]);
  });

  it("a failure lists what there was instead", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    await broker.publish("order.placed", { id: 7 });
    await broker.publish("order.paid", { id: 7 }, { delay: 60_000 });
    expect(() => t.expectPublished("order.*", { match: { id: 8 } })).toThrow(
      'expected at least one published on order.* with match {"id":8}, and there were 0\n  published in all:\n    published order.placed {"id":7} (nobody subscribed)',
    );
    expect(() => t.expectPublished("nothing.>")).toThrow("and there were 0");
    expect(() => t.expectNothing("order.>")).toThrow("scheduled order.paid");
    expect(() => t.expectOrder(["order.placed", "order.shipped"])).toThrow(
      "expected the order order.placed, order.shipped: there was no order.shipped after order.placed",
    );
  });
});

describe("matchers", () => {
  it("work in a runner's expect, on a broker and on a session, and with not", async () => {
    const t = createTestBroker({ ack: { maxDeliveries: 2 }, deadLetter: {} });
    await using broker = t.broker;
    broker.subscribe("fails", () => Promise.reject(new Error("no")));
    broker.subscribe("works", () => undefined);
    broker.subscribe("refused", (msg) => msg.reject("bad"));
    const full = broker.subscribe("full", { maxMessages: 1, overflow: "drop-newest", ack: "none" });
    const s = await t.track(async () => {
      await broker.publish("fails", { id: 1 });
      await broker.publish("works", { id: 2 });
      await broker.publish("refused", { id: 3 });
      await broker.publish("later", { id: 4 }, { delay: 1_000 });
      await broker.publish("full", { id: 5 }, { ttl: 100 });
      await broker.publish("full", { id: 6 });
      await t.clock.advance(100);
    });
    for (const view of [t, s]) {
      expect(view).toHavePublished("*", { times: 9 });
      expect(view).toHaveScheduled("later");
      expect(view).toHaveDelivered("fails", { times: 2 });
      expect(view).toHaveAcked("works", { match: { id: 2 } });
      expect(view).toHaveNacked("fails", { times: 2 });
      expect(view).toHaveRejected("refused");
      expect(view).toHaveDeadLettered("refused", { reason: "rejected" });
      expect(view).toHavePublished("dlq", { times: 4 });
      expect(view).toHaveDropped("full", { match: { id: 6 }, reason: "overflow" });
      expect(view).toHaveExpired("full", { match: { id: 5 } });
      expect(view).not.toHavePublished("payment.>");
    }
    expect(full.stats().queued).toBe(0);
    expect(() => expect(t).toHavePublished("works", { times: 2 })).toThrow("expected 2 published on works");
    expect(() => expect(t).not.toHavePublished("works")).toThrow("expected not at least one published on works");
    expect(() => expect(broker).toHavePublished("works")).toThrow("looks at a test broker");
  });
});

describe("the application's clock", () => {
  it("one clock for everything: it serves a broker and any code that takes a Clock", async () => {
    const clock = new VirtualClock({ now: new Date("2031-02-03T04:05:06Z") });
    expect(new Date(clock.now()).toISOString()).toBe("2031-02-03T04:05:06.000Z");
    let ran = 0;
    const cancel = clock.schedule(10, () => (ran += 1));
    cancel();
    cancel();
    clock.schedule(20, () => (ran += 1));
    expect(await clock.runNext()).toBe(clock.now());
    expect(ran).toBe(1);
    expect(await clock.runNext()).toBeUndefined();
  });
});

it("what a test does to the history it was given is not what happened", async () => {
  const t = createTestBroker();
  await using broker = t.broker;
  const session = await t.track(() => broker.publish("a", { tags: ["x"] }));
  const waited = await t.waitFor<{ tags: string[] }>("a");
  for (const { data } of [
    session.published<{ tags: string[] }>().one(),
    waited,
    ...t.expectPublished<{ tags: string[] }>("a"),
  ]) {
    data.tags.push("y");
  }
  expect(t.history()[0]?.data).toEqual({ tags: ["x"] });
});

it("matchers mean every topic where none is given; match takes a typed function", async () => {
  const t = createTestBroker();
  await using broker = t.broker;
  expect(matchers.toHaveDeadLettered(t).pass).toBe(false);
  await broker.publish("a", { id: 7 });
  expect(matchers.toHavePublished(t).pass).toBe(true);
  t.expectPublished<{ id: number }>("a", { match: (data) => data.id === 7 });
  expect(() => t.expectPublished<{ id: number }>("a", { match: ({ id }) => id === 8 })).toThrow("expected");
});
