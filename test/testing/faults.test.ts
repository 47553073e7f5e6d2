import { describe, expect, it } from "vitest";
import { createTestBroker, InjectedFault } from "../../src/testing/index.js";

describe("faults on publish", () => {
  it("fail: the next so many are refused, with the error the test names", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    const fault = t.fault.onPublish("order.*", { fail: 2 });
    await expect(broker.publish("order.placed", 1)).rejects.toBeInstanceOf(InjectedFault);
    expect(() => broker.publishSync("order.placed", 2)).toThrow("injected fault");
    await broker.publish("order.placed", 3);
    expect(fault.count).toBe(2);
    t.fault.onPublish("order.*", { fail: 1, error: new Error("disk on fire") });
    await expect(broker.publishBatch([{ topic: "order.paid", data: 1 }])).rejects.toThrow("disk on fire");
    t.expectPublished("order.*", { times: 1, match: 3 });
    t.expect("fault", "order.*", { times: 3 });
  });

  it("without a pattern strikes every topic", async () => {
    const t = createTestBroker({ ack: { backoff: () => 10 } });
    await using broker = t.broker;
    const refused = t.fault.onPublish({ fail: 1 });
    await expect(broker.publish("any.topic", 1)).rejects.toBeInstanceOf(InjectedFault);
    expect(refused.count).toBe(1);
    let handled = 0;
    broker.subscribe("other", () => void (handled += 1));
    const failed = t.fault.onDeliver({ fail: 1 });
    await t.track(() => broker.publish("other", 2));
    expect([failed.count, handled]).toEqual([1, 1]);
  });

  it("fail: vetoes a transaction as a whole", async () => {
    const t = createTestBroker({ transactions: {} });
    await using broker = t.broker;
    t.fault.onPublish("b", { fail: 1 });
    const commit = broker.transaction((tx) => {
      void tx.publish("a", 1);
      void tx.publish("b", 2);
    });
    await expect(commit).rejects.toBeInstanceOf(InjectedFault);
    t.expectNothing(">");
  });

  it("duplicate: comes twice, unless a dedupId catches it", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    t.fault.onPublish("x", { duplicate: 1 });
    await broker.publish("x", "plain");
    t.expectPublished("x", { times: 2, match: "plain" });
    t.fault.onPublish("x", { duplicate: 1 });
    await broker.publish("x", "dedup", { dedupId: "one" });
    t.expectPublished("x", { times: 1, match: "dedup" });
  });

  it("delay: the publish waits for the clock, and idle for the publish", async () => {
    const t = createTestBroker({ now: 0 });
    await using broker = t.broker;
    t.fault.onPublish("x", { delay: "2s" });
    const publish = broker.publish("x", 1);
    await expect(t.idle({ timeoutMs: 1 })).rejects.toThrow("a fault lets a publish on x go on");
    await t.clock.advance("2s");
    await publish;
    await t.idle();
    expect(t.expectPublished("x")[0]?.at).toBe(2_000);
    const s = await t.track(() => broker.publish("x", 2));
    expect(s.published("x").one().at).toBe(4_000);
  });

  it("reorder: those of one turn change places, by the seed", async () => {
    const order = async (seed: number): Promise<unknown[]> => {
      const t = createTestBroker({ seed });
      await using broker = t.broker;
      t.fault.onPublish("x", { reorder: true });
      await Promise.all([1, 2, 3, 4, 5].map((data) => broker.publish("x", data)));
      return t.expectPublished("x", { times: 5 }).map(({ data }) => data);
    };
    const first = await order(3);
    expect(first).not.toEqual([1, 2, 3, 4, 5]);
    expect([...first].sort()).toEqual([1, 2, 3, 4, 5]);
    expect(await order(3)).toEqual(first);
  });

  it("a share below 1 is a probability, drawn from the seed", async () => {
    const t = createTestBroker({ seed: 5 });
    await using broker = t.broker;
    const fault = t.fault.onPublish("x", { fail: 0.25 });
    let refused = 0;
    for (let index = 0; index < 400; index += 1) await broker.publish("x", index).catch(() => (refused += 1));
    expect(refused).toBe(fault.count);
    expect(refused).toBeGreaterThan(60);
    expect(refused).toBeLessThan(140);
  });
});

describe("faults on delivery", () => {
  it("fail: the handler is not called, and the message comes again", async () => {
    const t = createTestBroker({ ack: {} });
    await using broker = t.broker;
    let calls = 0;
    broker.subscribe("x", () => void (calls += 1));
    t.fault.onDeliver("x", { fail: 2 });
    expect(await t.send("x", 1)).toMatchObject({ outcome: "acked", attempts: 3 });
    expect(calls).toBe(1);
  });

  it("duplicate: the handler is called twice", async () => {
    const t = createTestBroker({ ack: {} });
    await using broker = t.broker;
    const seen: unknown[] = [];
    broker.subscribe("x", (msg) => void seen.push(msg.id));
    t.fault.onDeliver("x", { duplicate: 1 });
    await t.send("x", 1);
    expect(seen).toHaveLength(2);
    expect(new Set(seen).size).toBe(1);
  });

  it("delay: the handler runs later, and nobody else waits", async () => {
    const t = createTestBroker({ now: 0, ack: {} });
    await using broker = t.broker;
    const seen: [string, number][] = [];
    broker.subscribe("x", () => void seen.push(["slow", t.clock.now()]), { name: "slow" });
    broker.subscribe("x", () => void seen.push(["quick", t.clock.now()]), { name: "quick" });
    t.fault.onDeliver("x", { delay: "1s", subscription: "slow" });
    await t.track(() => broker.publish("x", 1));
    expect(seen).toEqual([
      ["quick", 0],
      ["slow", 1_000],
    ]);
  });

  it("reorder: what waits at the same time comes in another order", async () => {
    const t = createTestBroker({ seed: 2 });
    await using broker = t.broker;
    const seen: unknown[] = [];
    const sub = broker.subscribe("x", (msg) => void seen.push(msg.data));
    t.fault.onDeliver("x", { reorder: true });
    sub.pause();
    for (let index = 0; index < 6; index += 1) await broker.publish("x", index);
    sub.resume();
    await t.idle();
    expect(seen).not.toEqual([0, 1, 2, 3, 4, 5]);
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

describe("lost acknowledgements", () => {
  it("of a handler that returns, of msg.ack() and of broker.ack(id): the message comes again after the ack timeout", async () => {
    const t = createTestBroker({ now: 0, ack: { timeout: 1_000, backoff: () => 0 } });
    await using broker = t.broker;
    let calls = 0;
    broker.subscribe("auto", () => void (calls += 1));
    t.fault.onAck("auto", { lose: 1 });
    expect(await t.send("auto", 1)).toMatchObject({ outcome: "acked", attempts: 2 });
    expect(calls).toBe(2);

    const pull = broker.subscribe("manual", { ack: "manual" });
    await broker.publish("manual", 1);
    for (const how of ["msg.ack", "broker.ack"] as const) {
      t.fault.onAck("manual", { lose: 1 });
      const [msg] = await pull.fetch(1);
      await (how === "msg.ack" ? msg?.ack() : broker.ack(msg?.deliveryId ?? ""));
      expect(pull.stats().inFlight).toBe(1);
      await t.clock.advance(1_000);
    }
    const [last] = await pull.fetch(1);
    expect(last?.deliveryCount).toBe(3);
    await last?.ack();
    expect(pull.stats().inFlight).toBe(0);
    t.expect("fault", "manual", { times: 2, reason: "the acknowledgement was lost" });
  });
});

describe("rules", () => {
  it("stop, clear and reset end them; what nobody knows is refused", async () => {
    const t = createTestBroker();
    await using broker = t.broker;
    const fault = t.fault.onPublish("x", { fail: Infinity });
    await expect(broker.publish("x", 1)).rejects.toThrow();
    fault.stop();
    await broker.publish("x", 1);
    t.fault.onPublish("x", { fail: Infinity });
    t.fault.clear();
    await broker.publish("x", 1);
    t.fault.onPublish("x", { fail: Infinity });
    await t.reset();
    await broker.publish("x", 1);
    const wrong = [{ fial: 1 }, { fail: -1 }, { fail: "often" }, { delay: "soon" }, { lose: 1 }];
    for (const one of wrong) {
      expect(() => t.fault.onPublish("x", one as object)).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_OPTION" }),
      );
    }
  });
});
