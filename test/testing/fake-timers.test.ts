import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createTestBroker } from "../../src/testing/index.js";

describe("on vitest's fake timers", () => {
  beforeEach(() => vi.useFakeTimers({ now: 0 }));
  afterEach(() => vi.useRealTimers());

  it("time is what the runner says: delays, retries, expiry and request timeouts", async () => {
    const t = createTestBroker({ clock: "timers", ack: { backoff: () => 1_000 } });
    await using broker = t.broker;
    const seen: [unknown, number][] = [];
    broker.subscribe("x", (msg) => void seen.push([msg.data, Date.now()]));
    broker.subscribe("fails", (msg) => {
      seen.push([`try ${msg.deliveryCount}`, Date.now()]);
      if (msg.deliveryCount === 1) throw new Error("once");
    });
    broker.subscribe("silent", () => undefined);
    await broker.publish("x", "later", { delay: 60 * 86_400_000 });
    await broker.publish("fails", 1);
    const asked = expect(broker.request("silent", 1, { timeout: 3_000 })).rejects.toMatchObject({
      code: "ERR_TIMEOUT",
    });
    await vi.advanceTimersByTimeAsync(3_000);
    await asked;
    expect(seen).toEqual([
      ["try 1", 0],
      ["try 2", 1_000],
    ]);
    await vi.advanceTimersByTimeAsync(60 * 86_400_000);
    expect(seen.at(-1)).toEqual(["later", 60 * 86_400_000]);
  });

  it("says so when a test waits on time that nobody advances", async () => {
    const t = createTestBroker({ clock: "timers", ack: { backoff: () => 1_000 } });
    await using broker = t.broker;
    broker.subscribe("fails", () => Promise.reject(new Error("no")), { name: "worker" });
    await broker.publish("fails", 1);
    const idle = t.idle({ timeoutMs: 5 });
    await expect(idle).rejects.toThrow("time stands still: the clock is the test runner's fake timers");
    await expect(idle).rejects.toThrow('in 1,000 ms: delivery 2 of fails to worker (after "no")');
  });

  it("a flood goes on although setImmediate is fake", async () => {
    const t = createTestBroker({ clock: "timers" });
    await using broker = t.broker;
    let seen = 0;
    broker.subscribe("x", () => void (seen += 1), { maxMessages: 100_000 });
    for (let index = 0; index < 20_000; index += 1) await broker.publish("x", index);
    await t.idle();
    expect(seen).toBe(20_000);
  });
});

it("works where fake timers were in place before it was loaded, as with jest's enableGlobally", async () => {
  vi.useFakeTimers({ now: 0 });
  onTestFinished(() => void vi.useRealTimers());
  vi.resetModules();
  const { createTestBroker: create } = await import("../../src/testing/index.js");
  for (const clock of ["timers", "manual"] as const) {
    const t = create({ clock });
    const seen: unknown[] = [];
    t.broker.subscribe("x", (msg) => void seen.push(msg.data));
    await t.broker.publish("x", "now");
    await t.idle({ timeoutMs: 500 });
    await t.broker.publish("x", "later", { delay: 1_000 });
    await (clock === "timers" ? vi.advanceTimersByTimeAsync(1_000) : t.clock.advance(1_000));
    expect(seen).toEqual(["now", "later"]);
    await t.broker.close();
  }
});

describe("on the machine's clock", () => {
  it("works as the broker does", async () => {
    const t = createTestBroker({ clock: "real", ack: { backoff: () => 1 } });
    await using broker = t.broker;
    broker.subscribe("x", (msg) => (msg.deliveryCount < 3 ? Promise.reject(new Error("no")) : undefined));
    expect(await t.send("x", 1)).toMatchObject({ outcome: "acked", attempts: 3 });
  });
});
