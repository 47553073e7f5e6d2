import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { TestBroker, TestBrokerOptions } from "../../src/testing/index.js";
import { createTestBroker } from "../../src/testing/index.js";

/** Real milliseconds that nothing has to happen for. */
const timeoutMs = 15;

function open(options: TestBrokerOptions = {}): TestBroker {
  const t = createTestBroker({ timeoutMs, ...options });
  onTestFinished(async () => {
    await t.broker.close({ drain: false });
  });
  return t;
}

/** The next warning of this process. */
function nextWarning(): Promise<Error & { code?: string }> {
  return new Promise((resolve) => {
    const take = (warning: Error): void => {
      if (!warning.message.includes("real milliseconds")) return;
      process.off("warning", take);
      resolve(warning);
    };
    process.on("warning", take);
  });
}

describe("a warning says who waits while time stands still, until when, and what to call", () => {
  it("for a fetch", async () => {
    const t = open();
    const sub = t.broker.subscribe("x", { name: "worker" });
    const warned = nextWarning();
    const fetched = sub.fetch(2, { timeout: 1_500 });
    const { message, code } = await warned;
    expect(code).toBe("INPROC_BROKER_TIME_STANDS_STILL");
    expect(message).toBe(
      [
        "nothing has happened for 15 real milliseconds, and these wait:",
        "  a fetch from worker",
        "  time stands still: the clock is manual, and it is 2030-01-01 00:00:00 UTC.",
        "  what happens next when time moves (await t.clock.advance(1500)):",
        "    in 1,500 ms: a fetch from worker ends with what there is by then",
      ].join("\n"),
    );
    await t.clock.advance(1_500);
    expect(await fetched).toEqual([]);
    expect(t.clock.pending()).toEqual([]);
  });

  it("for a request, for requestMany, for a publish to be confirmed, and for broker.idle()", async () => {
    const t = open({ ack: {} });
    t.broker.subscribe("silent", { ack: "manual" });
    const waits: [what: string, then: string, ms: number, wait: () => Promise<unknown>][] = [
      ["a request on silent", "fails with ERR_TIMEOUT", 700, () => t.broker.request("silent", 1, { timeout: 700 })],
      ["requestMany on silent", "ends", 600, () => t.broker.requestMany("silent", 1, { timeout: 600 }).next()],
      [
        "a publish on silent that 1 subscriptions are to confirm",
        "fails with ERR_TIMEOUT",
        500,
        () => t.broker.publish("silent", 1, { confirm: 1, confirmTimeout: 500 }),
      ],
      ["broker.idle()", "fails with ERR_TIMEOUT", 400, () => t.broker.idle({ timeout: 400 })],
    ];
    for (const [what, then, ms, wait] of waits) {
      const warned = nextWarning();
      const waiting = wait().catch((error: unknown) => error);
      const { message } = await warned;
      expect(message).toContain(`\n  ${what}\n`);
      expect(message).toContain(`in ${ms} ms: ${what} ${then}`);
      await t.clock.advance(ms);
      await waiting;
    }
  });

  it("for an iteration, where its message comes later", async () => {
    const t = open();
    const sub = t.broker.subscribe("x", { name: "loop" });
    const warned = nextWarning();
    const next = sub[Symbol.asyncIterator]().next();
    await t.broker.publish("x", 1, { delay: 9_000 });
    const { message } = await warned;
    expect(message).toContain("\n  an iteration of loop\n");
    expect(message).toContain("in 9,000 ms: the scheduled message on x is delivered");
    await t.clock.advance(9_000);
    expect((await next).value).toMatchObject({ data: 1 });
  });

  it("on the fake timers of a runner", async () => {
    vi.useFakeTimers({ now: 0 });
    onTestFinished(() => void vi.useRealTimers());
    const t = open({ clock: "timers" });
    const warned = nextWarning();
    const fetched = t.broker.subscribe("x").fetch(1);
    expect((await warned).message).toContain("what happens next when time moves (advance the fake timers):");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await fetched).toEqual([]);
  });
});

describe("no warning", () => {
  const told: string[] = [];
  const listen = (warning: Error): void => void told.push(warning.message);
  afterEach(() => {
    process.off("warning", listen);
    told.length = 0;
  });

  it("comes of a consumer for which nothing is on its way, of one whose handler is at work, and on the machine's clock", async () => {
    process.on("warning", listen);
    const quiet = open({ timeoutMs: 1 });
    void quiet.broker.subscribe("x")[Symbol.asyncIterator]().next();
    const busy = open({ timeoutMs: 1, ack: {} });
    busy.broker.subscribe("x", () => new Promise(() => undefined));
    await busy.broker.publish("x", 1);
    void busy.broker.subscribe("y", { name: "busy" }).fetch(1);
    const real = open({ timeoutMs: 1, clock: "real" });
    void real.broker.subscribe("y", { name: "real" }).fetch(1);
    // The one that is told of, although the others have waited for longer.
    const warned = nextWarning();
    const last = open({ timeoutMs: 40 });
    void last.broker.subscribe("y", { name: "last" }).fetch(1);
    await warned;
    expect(told).toHaveLength(1);
    expect(told[0]).toContain("a fetch from last");
  });
});

describe("the kit's own waits fail", () => {
  it("track: where what it runs waits for time", async () => {
    const t = open();
    t.broker.subscribe("silent", () => undefined);
    const tracked = t.track(() => t.broker.request("silent", 1));
    await expect(tracked).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
    await expect(tracked).rejects.toThrow(
      "what was tracked has not come back, and nothing has happened for 15 real milliseconds",
    );
    await expect(tracked).rejects.toThrow("in 5,000 ms: a request on silent fails with ERR_TIMEOUT");
  });

  it("track: where what it runs waits for a timer of the application on the kit's clock", async () => {
    const t = open();
    const tracked = t.track(() => new Promise<void>((resolve) => void t.clock.schedule(3_000, resolve)));
    await expect(tracked).rejects.toThrow("in 3,000 ms: a timer of the application, scheduled on this clock");
  });

  it("track goes on for as long as something happens, or time is moved", async () => {
    const t = open({ timeoutMs: 200 });
    const tracked = t.track(() => new Promise<void>((resolve) => void t.clock.schedule(3_000, resolve)));
    await t.clock.advance(3_000);
    expect((await tracked).history()).toEqual([]);
  });

  it("send: where its publish is held back, and nobody reads", async () => {
    const t = open({ subscription: { maxMessages: 1, overflow: "wait" } });
    t.broker.subscribe("x");
    await t.broker.publish("x", 1);
    const sent = t.send("x", 2);
    await expect(sent).rejects.toThrow("the publish on x has not resolved after 15 real milliseconds");
    await expect(sent).rejects.toMatchObject({ code: "ERR_TIMEOUT" });
  });

  it("idle: says that a rate limit's timer is what is missing", async () => {
    const t = open();
    t.broker.subscribe("x", () => undefined, { rateLimit: { perSecond: 1, burst: 1 } });
    await t.broker.publish("x", 1);
    await t.broker.publish("x", 2);
    await expect(t.idle()).rejects.toThrow(
      "in 1,000 ms: the rate limit of subscription-1 lets the next message through",
    );
  });
});

it("send goes through a delay that a fault gives its publish", async () => {
  const t = open({ ack: {} });
  t.broker.subscribe("x", () => undefined);
  t.fault.onPublish("x", { delay: 5_000 });
  expect(await t.send("x", 1)).toMatchObject({ outcome: "acked" });
});
