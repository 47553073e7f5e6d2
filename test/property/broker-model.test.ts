// The whole broker against a small model: random operations, and after each of them the sums, the bounds and what every
// subscription has seen.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import type { BrokerError, Message, Subscription } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { balanced, fetchNow } from "../support/manual-broker.js";
import { ManualClock, settle } from "../support/manual-clock.js";

const topics = ["a.x", "a.y", "b.x"] as const;
const patterns = ["a.*", "a.x", ">", "b.>"] as const;
const runs = process.env["LONG"] === undefined ? 60 : 2_000;

type Step =
  | {
      readonly do: "publish";
      readonly topic: number;
      readonly priority: number;
      readonly ttl?: number;
      readonly delay?: number;
    }
  | { readonly do: "batch"; readonly topics: readonly number[] }
  | { readonly do: "subscribe"; readonly pattern: number; readonly group: boolean }
  | { readonly do: "unsubscribe"; readonly index: number }
  | { readonly do: "take"; readonly index: number; readonly count: number }
  | { readonly do: "settle"; readonly index: number; readonly how: "ack" | "nack" | "reject" | "extend" }
  | { readonly do: "transaction"; readonly topic: number; readonly index: number; readonly commit: boolean }
  | { readonly do: "advance"; readonly ms: number }
  | { readonly do: "jump"; readonly ms: number };

const index = fc.nat(20);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("publish" as const), topic: fc.nat(2), priority: fc.nat(9) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      topic: fc.nat(2),
      priority: fc.constant(4),
      ttl: fc.integer({ min: 1, max: 200 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      topic: fc.nat(2),
      priority: fc.constant(4),
      delay: fc.integer({ min: 1, max: 200 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("batch" as const), topics: fc.array(fc.nat(2), { maxLength: 4 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("subscribe" as const), pattern: fc.nat(3), group: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unsubscribe" as const), index }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("take" as const), index, count: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("settle" as const),
      index,
      how: fc.constantFrom("ack" as const, "ack" as const, "nack" as const, "reject" as const, "extend" as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("transaction" as const), topic: fc.nat(2), index, commit: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 1, max: 150 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("jump" as const), ms: fc.integer({ min: -500, max: 500 }) }) },
);

/** What a subscription (or a group) has seen: how often each message was handed out, and how it ended. */
interface Seen {
  readonly counts: Map<string, number>;
  readonly ended: Map<string, string>;
}

class World {
  readonly clock = new ManualClock();
  readonly broker = new InProcBroker({
    clock: this.clock,
    random: () => 0.5,
    ack: { timeout: 100, maxDeliveries: 3, backoff: (count) => count * 20 },
    subscription: { maxMessages: 6, overflow: "drop-oldest" },
    memory: { maxBytes: 4_000 },
    deadLetter: { topic: "dead", reasons: ["max-deliveries", "rejected", "expired"] },
    transactions: {},
  });
  readonly subs: Subscription[] = [];
  readonly seen = new Map<string, Seen>();
  readonly held: Message[] = [];
  readonly published = new Set<string>();
  #next = 0;

  async run(one: Step): Promise<void> {
    switch (one.do) {
      case "publish": {
        const { ttl, delay, priority } = one;
        const options = {
          priority: priority as 4,
          ...(ttl === undefined ? {} : { ttl }),
          ...(delay === undefined ? {} : { delay }),
        };
        await this.#publish(() => this.broker.publish(this.#topic(one.topic), this.#data(), options));
        break;
      }
      case "batch": {
        const before = this.broker.metrics.snapshot().published;
        const receipts = await this.broker
          .publishBatch(one.topics.map((topic) => ({ topic: this.#topic(topic), data: this.#data() })))
          .catch(() => []);
        expect(this.broker.metrics.snapshot().published - before, "all or nothing").toBe(receipts.length);
        break;
      }
      case "subscribe": {
        if (this.subs.length >= 6) break;
        const pattern = patterns[one.pattern] as string;
        const sub = this.broker.subscribe(pattern, one.group ? { group: `g-${pattern}` } : {});
        this.subs.push(sub);
        if (!this.seen.has(sub.name)) this.seen.set(sub.name, { counts: new Map(), ended: new Map() });
        break;
      }
      case "unsubscribe": {
        const [sub] = this.subs.splice(one.index % Math.max(1, this.subs.length), 1);
        await sub?.unsubscribe();
        break;
      }
      case "take": {
        const sub = this.subs[one.index % Math.max(1, this.subs.length)];
        if (sub === undefined) break;
        for (const msg of await fetchNow(sub, one.count)) this.#took(msg);
        break;
      }
      case "settle": {
        const [msg] = this.held.splice(one.index % Math.max(1, this.held.length), 1);
        if (msg !== undefined) await this.#settle(msg, one.how);
        break;
      }
      case "transaction": {
        const tx = this.broker.beginTransaction();
        const [msg] = this.held.splice(one.index % Math.max(1, this.held.length), 1);
        const before = this.broker.metrics.snapshot();
        await tx.publish(this.#topic(one.topic), this.#data()).catch(() => undefined);
        const isStaged =
          msg !== undefined &&
          (await tx.ack(msg).then(
            () => true,
            () => false,
          ));
        expect(this.broker.metrics.snapshot().published, "nothing is visible before commit").toBe(before.published);
        if (!one.commit) await tx.rollback();
        else if (
          await tx.commit().then(
            () => true,
            () => false,
          )
        ) {
          expect(this.broker.metrics.snapshot().published).toBe(before.published + 1);
          if (isStaged) this.#end(msg, "ack");
        } else
          expect(this.broker.metrics.snapshot().delivered, "nothing after a refused commit").toBe(before.delivered);
        break;
      }
      case "advance":
        await this.clock.advance(one.ms);
        break;
      case "jump":
        this.clock.jump(one.ms);
        break;
    }
    await settle();
    this.#check();
  }

  async finish(): Promise<void> {
    await this.clock.advance(10_000);
    for (const sub of this.subs) {
      for (const msg of await fetchNow(sub)) {
        this.#took(msg);
        await this.#settle(msg, "ack");
      }
    }
    await this.clock.advance(10_000);
    await this.broker.idle({ timeout: 1 });
    const { queued, inFlight, delayed, scheduled, memoryBytes } = this.#check();
    expect({ queued, inFlight, delayed, scheduled, memoryBytes }).toEqual({
      queued: 0,
      inFlight: 0,
      delayed: 0,
      scheduled: 0,
      memoryBytes: 0,
    });
    await this.broker.close();
    expect(this.clock.pending, "no timer is left").toBe(0);
  }

  #check() {
    const figures = balanced(this.broker);
    expect(figures.memoryBytes).toBeLessThanOrEqual(figures.memoryMaxBytes);
    expect(figures.memoryBytes).toBeGreaterThanOrEqual(0);
    for (const info of this.broker.subscriptions()) expect(info.queued).toBeLessThanOrEqual(6 + 64);
    return figures;
  }

  #took(msg: Message): void {
    const seen = this.seen.get(msg.subscription) as Seen;
    const count = (seen.counts.get(msg.id) ?? 0) + 1;
    seen.counts.set(msg.id, count);
    expect(msg.deliveryCount, "hand-overs are counted by message and subscription").toBe(count);
    expect(count).toBeLessThanOrEqual(3);
    expect(seen.ended.get(msg.id), "what was settled does not come back").toBeUndefined();
    expect(msg.expiresAt ?? Infinity, "what has expired is not handed out").toBeGreaterThan(this.clock.now());
    this.held.push(msg);
  }

  async #settle(msg: Message, how: "ack" | "nack" | "reject" | "extend"): Promise<void> {
    const outcome = await (how === "extend" ? msg.extend(50) : msg[how]()).then(
      () => "done",
      (error: unknown) => (error as BrokerError).code,
    );
    expect(["done", "ERR_DELIVERY_EXPIRED"]).toContain(outcome);
    if (outcome === "done" && how === "extend") this.held.push(msg);
    if (outcome === "done" && (how === "ack" || how === "reject")) this.#end(msg, how);
    if (outcome === "done" && how !== "extend") {
      expect(
        await msg.ack().then(
          () => "done",
          (error: unknown) => (error as BrokerError).code,
        ),
      ).toBe("ERR_ALREADY_SETTLED");
    }
  }

  #end(msg: Message, how: string): void {
    this.seen.get(msg.subscription)?.ended.set(msg.id, how);
  }

  #topic(index: number): string {
    return topics[index] as string;
  }

  #data(): string {
    this.#next += 1;
    return String(this.#next).padStart(40, "0");
  }

  async #publish(call: () => Promise<{ id: string }>): Promise<void> {
    const outcome = await call().then(
      ({ id }) => id,
      (error: unknown) => (error as BrokerError).code,
    );
    if (outcome.startsWith("ERR_")) expect(["ERR_MEMORY_LIMIT"]).toContain(outcome);
    else {
      expect(this.published.has(outcome), "ids are unique").toBe(false);
      this.published.add(outcome);
    }
  }
}

it("random operations keep every promise", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const world = new World();
      for (const one of steps) await world.run(one);
      await world.finish();
    }),
    { numRuns: runs },
  );
}, 120_000);
