// A broker on a store against a small model: random operations, crashes and restarts among them, and at any time what
// another broker would find after a crash.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { InProcBroker, Message, PublishOptions, Subscription } from "inproc-broker";
import type { LevelPersistenceOptions } from "inproc-broker/persistence";
import { balanced, fetchNow } from "../support/manual-broker.js";
import { ManualClock, settle } from "../support/manual-clock.js";
import { dedupWindow, FolderPlace, maxDeliveries, MemoryPlace } from "./stored-broker-world.js";
import type { Place } from "./stored-broker-world.js";

const topics = ["a.x", "a.y", "b.x"] as const;
const durables = { wide: ["*.x", "a.*"], narrow: ["a.x"] } as const;
type Durable = keyof typeof durables;
const names = ["wide", "narrow"] as const;
const isLong = process.env["LONG"] !== undefined;

type Step =
  | { readonly do: "publish"; readonly topic: number; readonly ttl?: number; readonly delay?: number }
  | { readonly do: "dedup"; readonly topic: number; readonly key: number }
  | { readonly do: "retain"; readonly key: number; readonly clears: boolean }
  | { readonly do: "batch"; readonly topics: readonly number[] }
  | { readonly do: "take"; readonly durable: Durable; readonly count: number }
  | { readonly do: "settle"; readonly index: number; readonly how: "ack" | "nack" | "reject" }
  | { readonly do: "transaction"; readonly topic: number; readonly index: number; readonly commit: boolean }
  | { readonly do: "reconnect"; readonly durable: Durable }
  | { readonly do: "advance"; readonly ms: number }
  | { readonly do: "compact" | "purge-dead" | "reopen" | "crash" | "look" };

const topic = fc.nat(2);
const index = fc.nat(20);
const durable = fc.constantFrom(...names);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("publish" as const), topic }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("publish" as const), topic, ttl: fc.integer({ min: 1, max: 200 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("publish" as const), topic, delay: fc.integer({ min: 1, max: 200 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("dedup" as const), topic, key: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("retain" as const), key: fc.nat(1), clears: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("batch" as const), topics: fc.array(topic, { maxLength: 4 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("take" as const), durable, count: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("settle" as const),
      index,
      how: fc.constantFrom("ack" as const, "ack" as const, "nack" as const, "reject" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("transaction" as const), topic, index, commit: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reconnect" as const), durable }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 1, max: 150 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "compact" as const,
        "purge-dead" as const,
        "reopen" as const,
        "crash" as const,
        "look" as const,
      ),
    }),
  },
);

/** What the store owes to a durable of one message. */
interface Copy {
  isSettled: boolean;
  isRejected: boolean;
  /** Hand-overs that are in the store for sure, and that there were. */
  keptCount: number;
  count: number;
  /** The last hand-over by this broker. */
  countHere: number;
  /** Not before; of a message that was given back. */
  dueAt: number;
}

interface ModelMessage {
  readonly id: string;
  readonly topic: string;
  readonly expiresAt: number;
  readonly dueAt: number;
  readonly copies: Map<Durable, Copy>;
}

class World {
  readonly clock = new ManualClock();
  readonly #retention: LevelPersistenceOptions["retention"];
  #place: Place;
  #broker: InProcBroker | undefined;
  readonly #subs = new Map<Durable, Subscription>();
  #held: { message: Message; durable: Durable }[] = [];
  readonly #messages = new Map<string, ModelMessage>();
  readonly #dedup = new Map<number, { id: string; until: number }>();
  readonly #retained = new Map<string, string>();
  /** Dead letters that were thrown away. */
  readonly #purged = new Set<string>();
  #next = 0;

  constructor(place: Place, retention: LevelPersistenceOptions["retention"]) {
    this.#place = place;
    this.#retention = retention;
  }

  get broker(): InProcBroker {
    if (this.#broker === undefined) throw new Error("the world is not open");
    return this.#broker;
  }

  async open(): Promise<void> {
    this.#broker = await this.#place.open(this.clock, this.#retention);
    for (const name of names) this.#connect(name);
    await this.#arrive();
  }

  async run(one: Step): Promise<void> {
    switch (one.do) {
      case "publish":
        await this.#publish(one.topic, {
          ...(one.ttl === undefined ? {} : { ttl: one.ttl }),
          ...(one.delay === undefined ? {} : { delay: one.delay }),
        });
        break;
      case "dedup":
        await this.#publishOnce(one.topic, one.key);
        break;
      case "retain": {
        const topic = `kept.${one.key}`;
        const { id } = await this.broker.publish(topic, one.clears ? null : { of: topic }, { retain: true });
        if (one.clears) this.#retained.delete(topic);
        else this.#retained.set(topic, id);
        break;
      }
      case "batch": {
        const drafts = one.topics.map((at) => ({ topic: topicAt(at), data: {}, id: this.#newId() }));
        await this.broker.publishBatch(drafts);
        for (const { id, topic } of drafts) this.#expect(id, topic);
        break;
      }
      case "take":
        for (const message of await fetchNow(this.#subs.get(one.durable) as Subscription, one.count)) {
          this.#took(message, one.durable);
        }
        break;
      case "settle":
        await this.#settle(one.index, one.how);
        break;
      case "transaction":
        await this.#transact(one.topic, one.index, one.commit);
        break;
      case "reconnect":
        await (this.#subs.get(one.durable) as Subscription).unsubscribe();
        this.#drop(one.durable);
        this.#connect(one.durable);
        break;
      case "advance":
        await this.clock.advance(one.ms);
        await this.#arrive();
        break;
      case "compact":
        await this.broker.compact();
        break;
      case "purge-dead":
        for (const { message, subscription } of (await this.broker.deadLetters.list()).items) {
          this.#purged.add(`${subscription} ${message.id}`);
        }
        await this.broker.deadLetters.purge();
        await this.broker.flush();
        break;
      case "reopen":
        await this.broker.close({ drain: false });
        this.#forget(true);
        await this.open();
        break;
      case "crash": {
        const left = this.#place;
        const abandoned = this.broker;
        this.#place = left.crash();
        this.#forget(false);
        await this.open();
        await abandoned.close({ drain: false });
        left.remove();
        break;
      }
      case "look":
        await this.#look();
        break;
    }
    balanced(this.broker);
  }

  async finish(): Promise<void> {
    try {
      await this.#look();
    } finally {
      await this.broker.close({ drain: false });
      this.#place.remove();
    }
  }

  async abandon(): Promise<void> {
    await this.#broker?.close({ drain: false }).catch(() => undefined);
    this.#place.remove();
  }

  // What the model knows.

  #expect(id: string, topic: string, { ttl, delay }: PublishOptions = {}): void {
    const now = this.clock.now();
    const message: ModelMessage = {
      id,
      topic,
      expiresAt: ttl === undefined ? Infinity : now + ttl,
      dueAt: delay === undefined ? 0 : now + delay,
      copies: new Map(),
    };
    for (const name of names) {
      if (name === "narrow" && topic !== "a.x") continue;
      message.copies.set(name, { isSettled: false, isRejected: false, keptCount: 0, count: 0, countHere: 0, dueAt: 0 });
    }
    this.#messages.set(id, message);
  }

  #copy(id: string, durable: Durable): Copy {
    const copy = this.#messages.get(id)?.copies.get(durable);
    if (copy === undefined) throw new Error(`${id} is not for ${durable}`);
    return copy;
  }

  #took(message: Message, durable: Durable): void {
    const { id, deliveryCount } = message;
    const copy = this.#copy(id, durable);
    expect(copy.isSettled, "what was settled does not come again").toBe(false);
    expect(deliveryCount).toBeGreaterThan(copy.keptCount);
    expect(deliveryCount).toBeLessThanOrEqual(Math.min(copy.count + 1, maxDeliveries));
    expect(message.redelivered).toBe(deliveryCount > 1);
    expect(message.expiresAt ?? Infinity, "what has expired is not handed out").toBeGreaterThan(this.clock.now());
    expect(copy.dueAt, "not before its time").toBeLessThanOrEqual(this.clock.now());
    copy.count = deliveryCount;
    copy.countHere = deliveryCount;
    this.#held.push({ message, durable });
  }

  /** Deliveries that are out are no longer anybody's. */
  #drop(durable: Durable): void {
    this.#held = this.#held.filter((one) => one.durable !== durable);
  }

  #forget(isKept: boolean): void {
    this.#held = [];
    this.#subs.clear();
    for (const { copies } of this.#messages.values()) {
      for (const copy of copies.values()) {
        if (isKept) copy.keptCount = Math.max(copy.keptCount, copy.countHere);
        copy.countHere = 0;
      }
    }
  }

  // What it does with the broker.

  #connect(name: Durable): void {
    const options = { durable: name, ack: "manual", maxInFlight: 1_000_000 } as const;
    this.#subs.set(name, this.broker.subscribe(durables[name], options));
  }

  /** Waits until what has come due is through the store. */
  async #arrive(): Promise<void> {
    await this.clock.advance(0);
    await this.broker.flush();
    await settle();
  }

  #newId(): string {
    this.#next += 1;
    return `m${this.#next}`;
  }

  async #publish(at: number, options: PublishOptions): Promise<void> {
    const id = this.#newId();
    const topic = topicAt(at);
    await this.broker.publish(topic, { id }, { id, ...options });
    this.#expect(id, topic, options);
  }

  async #publishOnce(at: number, key: number): Promise<void> {
    const now = this.clock.now();
    const known = this.#dedup.get(key);
    // Whether the window's last millisecond is within it is nobody's promise.
    if (known?.until === now) return;
    const id = this.#newId();
    const topic = topicAt(at);
    const receipt = await this.broker.publish(topic, { id }, { id, dedupId: `key ${key}` });
    if (known !== undefined && known.until > now) {
      expect(receipt).toMatchObject({ duplicate: true, id: known.id });
      return;
    }
    expect(receipt).toMatchObject({ duplicate: false, id });
    this.#dedup.set(key, { id, until: now + dedupWindow });
    this.#expect(id, topic);
  }

  async #settle(at: number, how: "ack" | "nack" | "reject"): Promise<void> {
    const [held] = this.#held.splice(at % Math.max(1, this.#held.length), 1);
    if (held === undefined) return;
    const { message, durable } = held;
    await message[how]();
    this.#settled(message, durable, how);
  }

  #settled({ id }: Message, durable: Durable, how: "ack" | "nack" | "reject"): void {
    const copy = this.#copy(id, durable);
    if (how === "nack" && copy.count < maxDeliveries) {
      copy.keptCount = copy.count;
      copy.dueAt = this.clock.now() + copy.count * 20;
      return;
    }
    copy.isSettled = true;
    copy.isRejected = how !== "ack";
  }

  async #transact(at: number, heldAt: number, commits: boolean): Promise<void> {
    const tx = this.broker.beginTransaction();
    const id = this.#newId();
    const topic = topicAt(at);
    void tx.publish(topic, { id }, { id });
    const place = heldAt % Math.max(1, this.#held.length);
    const held = this.#held[place];
    if (held !== undefined) void tx.ack(held.message);
    if (!commits) return tx.rollback();
    await tx.commit();
    this.#expect(id, topic);
    if (held === undefined) return;
    this.#held.splice(place, 1);
    this.#settled(held.message, held.durable, "ack");
  }

  /** Opens another broker on what a crash would leave now, and compares everything that it has with the model. */
  async #look(): Promise<void> {
    const place = this.#place.crash();
    const clock = new ManualClock(this.clock.now());
    const broker = await place.open(clock, this.#retention);
    try {
      await clock.advance(1);
      await broker.flush();
      const subs = new Map(
        names.map((name) => [
          name,
          broker.subscribe(durables[name], { durable: name, ack: "manual", maxInFlight: 1_000_000 }),
        ]),
      );
      const now = new Map<Durable, Message[]>();
      for (const [name, sub] of subs) now.set(name, await fetchNow(sub));
      // And all that was delayed or in its backoff.
      await clock.advance(10_000);
      await broker.flush();
      await settle();
      const { items } = await broker.deadLetters.list({ limit: 1_000 });
      const dead = new Set(items.map(({ subscription, message }) => `${subscription} ${message.id}`));
      expect(dead.size, "each dead letter once").toBe(items.length);
      for (const [name, sub] of subs) {
        this.#compare(name, now.get(name) as Message[], await fetchNow(sub), dead, this.clock.now() + 1);
      }
      const retained = new Map(broker.retained("kept.*").map(({ topic, id }) => [topic, id]));
      expect(retained).toEqual(this.#retained);
      balanced(broker);
    } finally {
      await broker.close({ drain: false });
      place.remove();
    }
  }

  #compare(name: Durable, first: readonly Message[], later: readonly Message[], dead: Set<string>, now: number): void {
    const fresh = first.filter(({ redelivered }) => !redelivered).map(({ seq }) => seq);
    expect(fresh, "in order").toEqual([...fresh].sort((a, b) => a - b));
    const got = [...first, ...later].map(({ id }) => id);
    expect(new Set(got).size, "each once").toBe(got.length);
    const isFirst = new Set(first.map(({ id }) => id));
    const has = new Set(got);
    for (const { id, copies, expiresAt, dueAt } of this.#messages.values()) {
      const copy = copies.get(name);
      if (copy === undefined) continue;
      const key = `${name} ${id}`;
      const hint = `${key} ${JSON.stringify(copy)}`;
      if (copy.isSettled) {
        expect(has.has(id), `${hint}: settled, and there again`).toBe(false);
        expect(dead.has(key), `${hint}: a dead letter`).toBe(copy.isRejected && !this.#purged.has(key));
        continue;
      }
      const mayBeDead = copy.count >= maxDeliveries;
      if (mayBeDead && (dead.has(key) || this.#purged.has(key))) {
        expect(has.has(id), `${hint}: dead, and there`).toBe(false);
        continue;
      }
      expect(dead.has(key), `${hint}: dead`).toBe(false);
      const dueNow = Math.max(dueAt, copy.dueAt) <= now;
      if (expiresAt <= now) expect(has.has(id), `${hint}: expired`).toBe(false);
      else if (dueNow) expect(isFirst.has(id), `${hint}: gone`).toBe(true);
      else if (expiresAt === Infinity) expect(has.has(id) && !isFirst.has(id), `${hint}: later`).toBe(true);
    }
    for (const id of got) expect(this.#messages.get(id)?.copies.has(name), `${id}: unknown to ${name}`).toBe(true);
  }
}

function topicAt(at: number): string {
  return topics[at] as string;
}

async function check(newPlace: () => Place, retention: LevelPersistenceOptions["retention"], numRuns: number) {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const world = new World(newPlace(), retention);
      try {
        await world.open();
        for (const one of steps) await world.run(one);
        await world.finish();
      } catch (error) {
        await world.abandon();
        throw error;
      }
    }),
    { numRuns },
  );
}

describe("a broker on a store, against a model", () => {
  it.each([undefined, "interest", "limits"] as const)(
    "has what it acknowledged, through crashes and restarts, with the retention %s",
    async (policy) => {
      const retention = policy === undefined ? undefined : { policy, maxAge: 1e10 };
      await check(() => new MemoryPlace(), retention, isLong ? 1_500 : 60);
    },
    600_000,
  );

  it("does so in a folder, with LevelDB", async () => {
    await check(() => new FolderPlace(), undefined, isLong ? 100 : 5);
  }, 600_000);
});
