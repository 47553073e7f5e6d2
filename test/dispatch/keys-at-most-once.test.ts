// `orderBy: "key"` without acknowledgement: a message is settled when it is handed over, and has its key until it is worked on.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { BrokerOptions, Message, SubscribeOptions } from "inproc-broker";
import { describe, expect, it } from "vitest";
import { balanced, fetchNow, manualBroker } from "../support/manual-broker.js";

const byKey = { orderBy: "key", ack: "none" } as const;
const numbers = Array.from({ length: 60 }, (_, index) => index);
const keyOf = (n: number): string | undefined => (n % 4 === 3 ? undefined : `k${n % 4}`);

/** Runs handlers that take a while, and says in which order each key was begun, and how many ran at once. */
class Work {
  readonly begun = new Map<string | undefined, number[]>();
  readonly running = new Set<string>();
  atOnce = 0;
  overlaps = 0;

  async handle(message: Message): Promise<void> {
    const key = message.key ?? `none ${message.seq}`;
    if (this.running.has(key)) this.overlaps += 1;
    this.running.add(key);
    this.atOnce = Math.max(this.atOnce, this.running.size);
    const list = this.begun.get(message.key) ?? [];
    this.begun.set(message.key, list);
    list.push(message.data as number);
    for (let turn = 0; turn < 1 + (message.seq % 3); turn += 1) await new Promise(setImmediate);
    this.running.delete(key);
  }
}

describe("order by key without acknowledgement", () => {
  it.each<[string, BrokerOptions, SubscribeOptions]>([
    ["by a plain broker", {}, {}],
    ["with copies of payloads", { payloads: "clone" }, {}],
    ["at a rate", {}, { rateLimit: { perSecond: 1_000_000, burst: 60 } }],
    ["with a plugin that watches", { plugins: [{ name: "watch", onDeliver: () => undefined }] }, {}],
  ])("hands all of a key's messages to a handler, one at a time and in order, %s", async (_, options, given) => {
    const { broker } = manualBroker(options);
    const work = new Work();
    broker.subscribe("a", (msg) => work.handle(msg), { ...byKey, ...given, concurrency: 8 });
    for (const n of numbers) await broker.publish("a", n, { key: keyOf(n) });
    await broker.idle();
    expect(work.begun).toEqual(grouped());
    expect(work.overlaps).toBe(0);
    expect(work.atOnce).toBeGreaterThan(3);
    expect(balanced(broker)).toMatchObject({ delivered: 60, queued: 0, memoryBytes: 0 });
  });

  it("does so for a handler that returns at once, and for one that throws", async () => {
    const { broker } = manualBroker();
    broker.on("error", () => undefined);
    const got: unknown[] = [];
    broker.subscribe(
      "a",
      (msg) => {
        got.push(msg.data);
        if (msg.seq % 2 === 0) throw new Error("no");
        return msg.seq % 3 === 0 ? Promise.reject(new Error("late")) : undefined;
      },
      byKey,
    );
    for (const n of numbers) broker.publishSync("a", n, { key: "k" });
    await broker.idle();
    expect(got).toEqual(numbers);
  });

  it("does so while somebody listens on the process channel", async () => {
    const { broker } = manualBroker();
    const listen = (): void => undefined;
    subscribe("tracing:inproc-broker:process:start", listen);
    try {
      const work = new Work();
      broker.subscribe("a", (msg) => work.handle(msg), { ...byKey, concurrency: 8 });
      for (const n of numbers) broker.publishSync("a", n, { key: "k" });
      await broker.idle();
      expect([work.begun.get("k"), work.overlaps]).toEqual([numbers, 0]);
    } finally {
      unsubscribe("tracing:inproc-broker:process:start", listen);
    }
  });

  it("keeps a key for the members of a group together, also when the one that has it goes", async () => {
    const { broker } = manualBroker();
    const work = new Work();
    const members = [1, 2, 3].map(() => broker.subscribe("a", (msg) => work.handle(msg), { ...byKey, group: "g" }));
    for (const n of numbers) await broker.publish("a", n, { key: keyOf(n) });
    await members[0]?.unsubscribe();
    await broker.idle();
    expect(work.begun).toEqual(grouped());
    expect(work.overlaps).toBe(0);
  });

  it("leaves a key free once it was fetched, or iterated over: it is settled then", async () => {
    const { broker } = manualBroker();
    const fetched = broker.subscribe("a", byKey);
    const iterated = broker.subscribe("a", byKey);
    for (const n of numbers) await broker.publish("a", n, { key: "k" });
    expect((await fetchNow(fetched)).map(({ data }) => data)).toEqual(numbers);
    const got: unknown[] = [];
    for await (const { data } of iterated) if (got.push(data) === numbers.length) break;
    expect(got).toEqual(numbers);
  });
});

function grouped(): Map<string | undefined, number[]> {
  const groups = new Map<string | undefined, number[]>();
  for (const n of numbers) groups.set(keyOf(n), [...(groups.get(keyOf(n)) ?? []), n]);
  return groups;
}
