// Every overflow policy, bounded by count and by bytes: what the subscription keeps, what its publisher hears, and that nobody else feels it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { InProcBroker, OverflowPolicy, SubscribeOptions, Subscription } from "inproc-broker";
import { balanced, fetchNow, manualBroker, rejectionCode, roundAck, thrownCode } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

/** Three messages of ten bytes fit, under either bound. */
const bounds: readonly [by: string, options: SubscribeOptions][] = [
  ["count", { maxMessages: 3 }],
  ["bytes", { maxBytes: 30 }],
];
const text = (number: number): string => String(number).padStart(10, "0");
const numbers = (messages: readonly { data: unknown }[]): number[] => messages.map(({ data }) => Number(data));

describe.each(bounds)("a queue bounded by %s", (_by, bound) => {
  function setUp(overflow: OverflowPolicy): { broker: InProcBroker; slow: Subscription; other: Subscription } {
    const { broker } = manualBroker({ ack: roundAck });
    const slow = broker.subscribe("t", { name: "slow", overflow, ...bound });
    const other = broker.subscribe("t", { name: "other" });
    return { broker, slow, other };
  }

  it("wait: holds back its publishers, one for each message beyond it, and lets them go in order as there is room", async () => {
    const { broker, slow, other } = setUp("wait");
    const resolved: number[] = [];
    for (let number = 1; number <= 6; number += 1) {
      void broker.publish("t", text(number)).then(() => resolved.push(number));
    }
    await settle();
    expect(resolved).toEqual([1, 2, 3]);
    expect(slow.stats()).toMatchObject({ queued: 3, waiting: 3 });
    expect(numbers(await fetchNow(other))).toEqual([1, 2, 3, 4, 5, 6]);
    expect(thrownCode(() => broker.publishSync("t", text(7)))).toBe("ERR_QUEUE_FULL");
    const taken: number[] = [];
    for (const wanted of [4, 5, 6, 6, 6, 6]) {
      taken.push(...numbers(await fetchNow(slow, 1)));
      await settle();
      expect(resolved.at(-1)).toBe(wanted);
    }
    expect(taken).toEqual([1, 2, 3, 4, 5, 6]);
    expect(other.stats().queued).toBe(0);
    balanced(broker);
  });

  it.each([
    ["drop-oldest", [3, 4, 5]],
    ["drop-newest", [1, 2, 3]],
  ] as const)("%s: keeps %j of five, tells of the others, and no publisher waits", async (overflow, kept) => {
    const { broker, slow, other } = setUp(overflow);
    const dropped: unknown[] = [];
    broker.on("drop", ({ message, reason, subscription }) =>
      dropped.push([Number(message.data), reason, subscription]),
    );
    for (let number = 1; number <= 5; number += 1) {
      if (number % 2 === 0) broker.publishSync("t", text(number));
      else expect((await broker.publish("t", text(number))).matched).toBe(2);
      expect(slow.stats().queued).toBe(Math.min(number, 3));
    }
    const gone = [1, 2, 3, 4, 5].filter((number) => !(kept as readonly number[]).includes(number));
    expect(dropped).toEqual(gone.map((number) => [number, "overflow", "slow"]));
    expect([numbers(await fetchNow(slow)), numbers(await fetchNow(other))]).toEqual([kept, [1, 2, 3, 4, 5]]);
    expect(balanced(broker).dropped).toEqual({ overflow: 2 });
  });

  it("error: refuses the publish, which nobody gets, until there is room", async () => {
    const { broker, slow, other } = setUp("error");
    for (let number = 1; number <= 3; number += 1) await broker.publish("t", text(number));
    const refusal: unknown = await broker.publish("t", text(4), { dedupId: "d" }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "ERR_QUEUE_FULL", facts: { subscription: "slow", topic: "t" } });
    expect(thrownCode(() => broker.publishSync("t", text(4)))).toBe("ERR_QUEUE_FULL");
    const batch = [0, 1].map((more) => ({ topic: more === 0 ? "elsewhere" : "t", data: text(4) }));
    expect(await rejectionCode(broker.publishBatch(batch))).toBe("ERR_QUEUE_FULL");
    expect([numbers(await fetchNow(other)), balanced(broker).published]).toEqual([[1, 2, 3], 3]);
    await fetchNow(slow, 1);
    expect((await broker.publish("t", text(4), { dedupId: "d" })).duplicate).toBe(false);
    expect(numbers(await fetchNow(slow))).toEqual([2, 3, 4]);
  });

  it("close: ends the subscription with an error for whoever reads it; the publish and the others go on", async () => {
    const { broker, slow, other } = setUp("close");
    for (let number = 1; number <= 4; number += 1) await broker.publish("t", text(number));
    await slow.closed;
    await expect(slow.next()).rejects.toMatchObject({ code: "ERR_QUEUE_FULL" });
    expect(await slow.next()).toEqual({ value: undefined, done: true });
    expect((await broker.publish("t", text(5))).matched).toBe(1);
    expect(numbers(await fetchNow(other))).toEqual([1, 2, 3, 4, 5]);
    expect(balanced(broker).dropped).toEqual({ overflow: 1, unsubscribed: 3 });
  });

  it.each(["drop-oldest", "drop-newest"] as const)("%s: what is more urgent stays", async (overflow) => {
    const { broker, slow } = setUp(overflow);
    for (const [number, priority] of [
      [1, 9],
      [2, 1],
      [3, 5],
      [4, 9],
      [5, 0],
    ] as const) {
      // prettier-ignore
      broker.publishSync("t", text(number), { priority });
    }
    expect(numbers(await fetchNow(slow))).toEqual([1, 4, 3]);
  });
});

it("a message larger than the bound by bytes: wait takes it alone, drop policies drop it and nothing else, error refuses it", async () => {
  const outcomes: Record<string, unknown> = {};
  for (const overflow of ["wait", "drop-oldest", "drop-newest", "error"] as const) {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t", { maxBytes: 10, overflow });
    await broker.publish("t", "small");
    const large = broker.publish("t", "x".repeat(50)).then(
      () => "accepted",
      (error: unknown) => (error as { code?: string }).code,
    );
    await settle();
    const got = (await fetchNow(sub)).map(({ data }) => (data as string).length);
    outcomes[overflow] = [await large, got];
  }
  expect(outcomes).toEqual({
    wait: ["accepted", [5, 50]],
    "drop-oldest": ["accepted", [5]],
    "drop-newest": ["accepted", [5]],
    error: ["ERR_QUEUE_FULL", [5]],
  });
});

it("a subscription that takes nothing holds up its own publishers and no others", async () => {
  const { broker, clock } = manualBroker();
  broker.subscribe("slow.>", { maxMessages: 1 });
  const got: unknown[] = [];
  broker.subscribe(["slow.>", "quick"], (msg) => void got.push(msg.data));
  await broker.publish("slow.a", 0);
  let isHeld = true;
  void broker.publish("slow.b", 1).then(() => (isHeld = false));
  for (let number = 2; number < 1_000; number += 1) await broker.publish("quick", number);
  await clock.advance(10);
  expect([isHeld, got.length]).toEqual([true, 1_000]);
});

describe("memory.maxBytes", () => {
  it("is not exceeded at any instant that anybody can see, whatever is published and however", async () => {
    const maxBytes = 300;
    const size = fc.integer({ min: 1, max: 120 });
    const operation = fc.record({
      how: fc.constantFrom("publish", "sync", "batch", "transaction", "delay", "retain", "take", "ack", "nack", "time"),
      topic: fc.constantFrom("wait", "drop", "nobody", "both"),
      sizes: fc.array(size, { minLength: 1, maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
        let most = 0;
        const look = (): void => {
          most = Math.max(most, broker.metrics.snapshot().memoryBytes);
        };
        const { broker, clock } = manualBroker({
          ack: roundAck,
          deadLetter: { reasons: ["overflow", "max-deliveries"] },
          transactions: {},
          memory: { maxBytes },
          plugins: [
            { name: "look", onPublished: look, onDrop: look, onDeliver: look, onSettle: look, onScheduled: look },
          ],
        });
        broker.on("error", look);
        const wait = broker.subscribe(["wait", "both"], { maxMessages: 2 });
        broker.subscribe(["drop", "both"], { maxMessages: 2, overflow: "drop-oldest" });
        broker.subscribe("dlq", { maxMessages: 2, overflow: "drop-newest" });
        const held: { ack(): Promise<void>; nack(): Promise<void> }[] = [];
        for (const { how, topic, sizes } of operations) {
          const entries = sizes.map((bytes) => ({ topic, data: "x".repeat(bytes) }));
          const { data } = entries[0] as { data: string };
          const quiet = (promise: Promise<unknown>): void => {
            promise.catch(() => undefined);
          };
          if (how === "publish") quiet(broker.publish(topic, data));
          else if (how === "batch") quiet(broker.publishBatch(entries));
          else if (how === "delay") quiet(broker.publish(topic, data, { delay: 50 }));
          else if (how === "retain") quiet(broker.publish(topic, data, { retain: true, ttl: 70 }));
          else if (how === "transaction") {
            quiet(broker.transaction((tx) => Promise.all(entries.map((one) => tx.publish(one.topic, one.data)))));
          } else if (how === "sync") {
            try {
              broker.publishSync(topic, data);
            } catch {
              // Refused, as it should be where there is no room.
            }
          } else if (how === "take") held.push(...(await fetchNow(wait, 1)));
          else if (how === "time") await clock.advance(30);
          else {
            const message = held.shift();
            if (message !== undefined) quiet(how === "ack" ? message.ack() : message.nack());
          }
          look();
          await settle();
          look();
          expect(most).toBeLessThanOrEqual(maxBytes);
        }
        balanced(broker);
        await broker.close({ drain: false });
        expect(broker.metrics.snapshot().memoryBytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
