import { describe, expect, it } from "vitest";
import type { Clock, PublishOptions } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { TimerLine } from "../../src/delivery/timers.js";
import { systemClock } from "../../src/platform/clock.js";
import { balanced, fetchNow, manualBroker, rejectionCode } from "../support/manual-broker.js";
import { ManualClock, settle } from "../support/manual-clock.js";

const day = 24 * 3_600_000;

function open(): ReturnType<typeof manualBroker> & {
  got: unknown[];
  publish(o: PublishOptions, data?: unknown): Promise<string>;
} {
  const { broker, clock } = manualBroker();
  const got: unknown[] = [];
  broker.subscribe("t", ({ data }) => void got.push(data));
  const publish = async (options: PublishOptions, data: unknown = 1): Promise<string> =>
    (await broker.publish("t", data, options)).id;
  return { broker, clock, got, publish };
}

describe("delay", () => {
  it("delivers after so many milliseconds, not one earlier", async () => {
    const { broker, clock, got, publish } = open();
    expect(await broker.publish("t", 1, { delay: 500 })).toMatchObject({ matched: 0, duplicate: false });
    expect(balanced(broker)).toMatchObject({ published: 1, scheduled: 1, routed: 0 });
    await clock.advance(499);
    expect(got).toEqual([]);
    await clock.advance(1);
    expect(got).toEqual([1]);
    expect(balanced(broker)).toMatchObject({ scheduled: 0, delivered: 1 });
    await publish({ delay: 0 }, "at once");
    await settle();
    expect(got).toEqual([1, "at once"]);
  });

  it("goes to the subscriptions that are there when its time has come", async () => {
    const { broker, clock } = manualBroker();
    const before = broker.subscribe("t");
    await broker.publish("t", 1, { delay: 100 });
    await before.unsubscribe();
    const later = broker.subscribe("t");
    await clock.advance(100);
    expect((await fetchNow(later)).map(({ data }) => data)).toEqual([1]);
  });

  it("keeps what was published: id, key, headers, priority, timestamp of the publish", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    const { seq } = await broker.publish("t", 1, { id: "x", key: "k", headers: { h: "1" }, priority: 7, delay: 100 });
    const published = clock.now();
    await clock.advance(100);
    expect((await fetchNow(sub))[0]).toMatchObject({
      id: "x",
      key: "k",
      headers: { h: "1" },
      priority: 7,
      seq,
      timestamp: published,
      redelivered: false,
      deliveryCount: 1,
    });
  });

  it("of equal length keeps the order of publishing", async () => {
    const { clock, got, publish } = open();
    for (let index = 0; index < 100; index += 1) await publish({ delay: 50 }, index);
    await clock.advance(50);
    expect(got).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it("of 60 days works", async () => {
    const { clock, got, publish } = open();
    await publish({ delay: 60 * day });
    await clock.advance(60 * day - 1);
    expect(got).toEqual([]);
    await clock.advance(1);
    expect(got).toEqual([1]);
  });

  it("counts on the monotonic clock: the wall clock may jump", async () => {
    const { clock, got, publish } = open();
    await publish({ delay: 1_000 });
    clock.jump(10 * day);
    await clock.advance(999);
    expect(got, "not early").toEqual([]);
    clock.jump(-20 * day);
    await clock.advance(1);
    expect(got, "not late").toEqual([1]);
    clock.jump(20 * day);
    await clock.advance(day);
    expect(got, "not twice").toEqual([1]);
  });

  it("refuses what is no delay", async () => {
    const { broker, clock } = manualBroker();
    const refused: PublishOptions[] = [
      { delay: -1 },
      { delay: NaN },
      { delay: Infinity },
      { delay: "5" as unknown as number },
      { deliverAt: NaN },
      { deliverAt: new Date(NaN) },
      { deliverAt: "tomorrow" as unknown as number },
      { delay: 1, deliverAt: clock.now() + 1 },
    ];
    for (const options of refused) {
      expect(await rejectionCode(broker.publish("t", 1, options)), JSON.stringify(options)).toBe("ERR_INVALID_OPTION");
    }
    expect(balanced(broker)).toMatchObject({ published: 0, refused: refused.length, scheduled: 0, memoryBytes: 0 });
  });
});

describe("deliverAt", () => {
  it("takes a number or a Date, and delivers at once what is over", async () => {
    const { clock, got, publish } = open();
    await publish({ deliverAt: clock.now() + 200 }, "number");
    await publish({ deliverAt: new Date(clock.now() + 100) }, "Date");
    await publish({ deliverAt: clock.now() - 1 }, "past");
    await publish({ deliverAt: clock.now() }, "now");
    await settle();
    expect(got).toEqual(["past", "now"]);
    await clock.advance(100);
    expect(got).toEqual(["past", "now", "Date"]);
    await clock.advance(100);
    expect(got).toEqual(["past", "now", "Date", "number"]);
  });

  it("follows the wall clock back: it is not early", async () => {
    const { clock, got, publish } = open();
    await publish({ deliverAt: clock.now() + 1_000 });
    clock.jump(-5_000);
    await clock.advance(1_000);
    expect(got).toEqual([]);
    await clock.advance(4_999);
    expect(got).toEqual([]);
    await clock.advance(1);
    expect(got).toEqual([1]);
  });

  it("follows the wall clock on within a minute on the machine's clock, and comes once", async () => {
    class CappedClock extends ManualClock {
      override schedule(delayMs: number, run: () => void): () => void {
        return super.schedule(Math.min(delayMs, 60_000), run);
      }
    }
    const clock = new CappedClock();
    const broker = new InProcBroker({ clock });
    const got: unknown[] = [];
    broker.subscribe("t", ({ data }) => void got.push(data));
    await broker.publish("t", 1, { deliverAt: clock.now() + day });
    clock.jump(2 * day);
    await broker.publish("t", "sooner", { deliverAt: clock.now() + 10 });
    await clock.advance(60_000);
    expect(got).toEqual([1, "sooner"]);
    clock.jump(-2 * day);
    await clock.advance(3_600_000);
    expect(got).toEqual([1, "sooner"]);
  });
});

describe("the machine's clock", () => {
  it("never asks Node for more than 2^31 - 1 ms, where a timer fires at once: it wakes early, and is asked again", () => {
    const asked: number[] = [];
    let elapsed = 0;
    // Node's rule: a longer delay fires after 1 ms.
    const node: Pick<Clock, "schedule"> = {
      schedule: (delayMs, run) => {
        asked.push(delayMs);
        timers.push({ at: elapsed + (delayMs > 2 ** 31 - 1 ? 1 : delayMs), run });
        return () => undefined;
      },
    };
    const timers: { at: number; run: () => void }[] = [];
    const capped: Clock = {
      now: () => elapsed,
      monotonic: () => elapsed,
      schedule: (delayMs, run) => node.schedule(Math.min(delayMs, 60_000), run),
    };
    const line = new TimerLine(capped, () => elapsed);
    const fired: number[] = [];
    line.after(60 * day, { onTimer: () => fired.push(elapsed) });
    while (fired.length === 0) {
      const next = timers.shift();
      if (next === undefined) throw new Error("the line is asleep");
      elapsed = next.at;
      next.run();
    }
    expect(fired).toEqual([60 * day]);
    expect(Math.max(...asked)).toBeLessThanOrEqual(60_000);
  });

  it("passes Node a delay it can keep, and a timer that keeps no process alive", () => {
    const original = globalThis.setTimeout;
    const asked: number[] = [];
    let unreferenced = 0;
    globalThis.setTimeout = ((_run: () => void, delayMs: number) => {
      asked.push(delayMs);
      return { unref: () => (unreferenced += 1) };
    }) as unknown as typeof setTimeout;
    try {
      for (const delayMs of [60 * day, 2 ** 31, Number.MAX_VALUE, Infinity, 0.2, -5]) {
        systemClock.schedule(delayMs, () => undefined);
      }
    } finally {
      globalThis.setTimeout = original;
    }
    expect(asked).toEqual([60_000, 60_000, 60_000, 60_000, 1, 0]);
    expect(unreferenced).toBe(asked.length);
  });
});

describe("cancel", () => {
  it("takes a delayed message back, by its id, once", async () => {
    const { broker, clock, got, publish } = open();
    const id = await publish({ delay: 100 });
    await publish({ delay: 100, id: "mine" }, 2);
    expect(await broker.cancel(id)).toBe(true);
    expect(await broker.cancel(id)).toBe(false);
    expect(await broker.cancel("nobody")).toBe(false);
    await clock.advance(100);
    expect(got).toEqual([2]);
    expect(await broker.cancel("mine"), "delivered").toBe(false);
    expect(balanced(broker)).toMatchObject({ scheduledCancelled: 1, memoryBytes: 0 });
  });

  it("frees the id for another message; until then it is taken", async () => {
    const { broker, clock, got, publish } = open();
    await publish({ delay: 100, id: "a" });
    expect(await rejectionCode(publish({ delay: 200, id: "a" }))).toBe("ERR_INVALID_MESSAGE");
    expect(
      await rejectionCode(
        broker.publishBatch([
          { topic: "t", data: 1, id: "b", delay: 1 },
          { topic: "t", data: 2, id: "b", delay: 1 },
        ]),
      ),
    ).toBe("ERR_INVALID_MESSAGE");
    await broker.cancel("a");
    await publish({ delay: 300, id: "a" }, "again");
    await clock.advance(300);
    expect(got).toEqual(["again"]);
  });

  it("ends the wait of idle({ scheduled: true })", async () => {
    const { broker, publish } = open();
    const id = await publish({ delay: 100 });
    await broker.idle();
    let isIdle = false;
    const idle = broker.idle({ scheduled: true }).then(() => (isIdle = true));
    await settle();
    expect(isIdle).toBe(false);
    await broker.cancel(id);
    await idle;
  });
});

describe("delayed messages that expire", () => {
  it("are delivered where their time comes first, and expire in the queue afterwards", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1, { delay: 100, ttl: 200 });
    await broker.publish("t", 2, { delay: 100, ttl: 300 });
    await clock.advance(200);
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([2]);
    expect(balanced(broker)).toMatchObject({ expired: 1, delivered: 1 });
  });

  it("leave when they expire, not when they would have been due: memory, counter and event", async () => {
    const { broker, clock, got } = open();
    const events: [unknown, string | undefined, number][] = [];
    broker.on("expire", ({ message, subscription }) => events.push([message.data, subscription, clock.now()]));
    const start = clock.now();
    await broker.publish("t", "12345", { delay: 60 * day, ttl: 1_000 });
    await broker.publish("t", "123", { deliverAt: start + day, expiresAt: start + 2_000 });
    await clock.advance(999);
    expect(balanced(broker)).toMatchObject({ scheduled: 2, memoryBytes: 8 });
    await clock.advance(1);
    expect(balanced(broker)).toMatchObject({ scheduled: 1, scheduledExpired: 1, memoryBytes: 3 });
    await clock.advance(1_000);
    expect(balanced(broker)).toMatchObject({ scheduled: 0, scheduledExpired: 2, memoryBytes: 0 });
    await clock.advance(61 * day);
    expect(got).toEqual([]);
    expect(events).toEqual([
      ["12345", undefined, start + 1_000],
      ["123", undefined, start + 2_000],
    ]);
  });

  it("at the very same instant count as expired: an expired message is never handed out", async () => {
    const { broker, clock, got, publish } = open();
    await publish({ delay: 100, ttl: 100 });
    await clock.advance(100);
    expect(got).toEqual([]);
    expect(balanced(broker)).toMatchObject({ scheduledExpired: 1 });
  });
});

describe("bounds", () => {
  it("limits.maxDelayed: one too many is refused, also inside a batch, and nothing has changed", async () => {
    const { broker, clock } = manualBroker({ limits: { maxDelayed: 2 } });
    await broker.publish("t", 1, { delay: 100 });
    const batch = broker.publishBatch([
      { topic: "t", data: 1, delay: 1 },
      { topic: "t", data: 1, deliverAt: clock.now() + 5 },
    ]);
    expect(await rejectionCode(batch)).toBe("ERR_LIMIT_EXCEEDED");
    expect(balanced(broker)).toMatchObject({ scheduled: 1, published: 1 });
    await broker.publish("t", 1, { delay: 100 });
    expect(await rejectionCode(broker.publish("t", 1, { delay: 1 }))).toBe("ERR_LIMIT_EXCEEDED");
    await broker.publish("t", "not delayed");
    await clock.advance(100);
    await broker.publish("t", 1, { delay: 1 });
  });

  it("limits.maxTopics: a message that was accepted is delivered, though others have its topic's place by then", async () => {
    const { broker, clock } = manualBroker({ limits: { maxTopics: 1, topicIdle: 1_000 } });
    const sub = broker.subscribe(">");
    await broker.publish("early", 1, { delay: 3_000 });
    await clock.advance(2_500);
    await broker.publish("other", 2);
    await clock.advance(500);
    expect((await fetchNow(sub)).map(({ topic }) => topic)).toEqual(["other", "early"]);
    expect(balanced(broker)).toMatchObject({ published: 2, delivered: 2 });
    expect(broker.topics()).toHaveLength(1);
    expect(await rejectionCode(broker.publish("third", 3))).toBe("ERR_LIMIT_EXCEEDED");
  });

  it("memory: delayed messages count from the publish until they are delivered or cancelled", async () => {
    const { broker, clock } = manualBroker({ memory: { maxBytes: 10 } });
    await broker.publish("t", "1234567", { delay: 100, id: "a" });
    expect(broker.metrics.snapshot().memoryBytes).toBe(7);
    expect(await rejectionCode(broker.publish("t", "1234", { delay: 1 }))).toBe("ERR_MEMORY_LIMIT");
    await broker.publish("t", "123", { delay: 200 });
    await broker.cancel("a");
    expect(broker.metrics.snapshot().memoryBytes).toBe(3);
    await clock.advance(200);
    expect(balanced(broker)).toMatchObject({ memoryBytes: 0, unrouted: 1 });
  });

  it("a queue that is full takes a message whose time has come: its publisher has gone, so nobody could wait", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t", { maxMessages: 1 });
    await broker.publish("t", 1, { delay: 10 });
    await broker.publish("t", 2, { delay: 10 });
    await clock.advance(10);
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([1, 2]);
  });

  it("any number of them need one timer of the clock for each time base", async () => {
    const { broker, clock, publish } = open();
    for (let index = 0; index < 1_000; index += 1) {
      await publish({ delay: 1 + (index % 97) });
      await publish({ deliverAt: clock.now() + 1 + (index % 89) });
    }
    expect(clock.pending).toBe(2);
    await clock.advance(100);
    expect(balanced(broker)).toMatchObject({ delivered: 2_000, memoryBytes: 0 });
  });
});

describe("close", () => {
  it("returns delayed messages as undelivered, without waiting for them, and leaves no timer", async () => {
    const clock = new ManualClock();
    const broker = new InProcBroker({ clock });
    broker.subscribe("t", () => undefined);
    await broker.publish("t", 1, { delay: day, ttl: 2 * day });
    const { undelivered } = await broker.close();
    expect(undelivered.map(({ data }) => data)).toEqual([1]);
    expect(clock.pending).toBe(0);
    expect(broker.metrics.snapshot().memoryBytes).toBe(0);
  });
});
