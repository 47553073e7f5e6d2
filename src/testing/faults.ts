import { InvalidArgumentError, matchesPattern } from "../index.js";
import type { Random } from "../platform/random.js";
import type { Duration } from "./duration.js";
import { durationMs } from "./duration.js";
import type { FaultHandle, Share } from "./fault-handle.js";
import { InjectedFault } from "./injected-fault.js";
import { seededRandom } from "./seeded-random.js";
import type { StoreFault } from "./store-faults.js";
import { StoreFaults } from "./store-faults.js";

/** What may happen to a message on its way into the broker. */
export interface PublishFault {
  /** The publish is refused, and nothing has changed. */
  readonly fail?: Share;
  /** What it is refused with; default an `InjectedFault`. */
  readonly error?: unknown;
  /** It is published twice, as by a publisher that never heard of its success: a `dedupId` helps. */
  readonly duplicate?: Share;
  /** It is published this much later, by the broker's clock; its promise waits. */
  readonly delay?: Duration;
  /** It changes places with others that are published in the same turn of the event loop. */
  readonly reorder?: boolean | Share;
}

/** What may happen to a message on its way to a handler. */
export interface DeliverFault {
  /** The handler is not called, and fails. */
  readonly fail?: Share;
  /** What it fails with; default an `InjectedFault`. */
  readonly error?: unknown;
  /** The handler is called twice with the same message, one after the other. */
  readonly duplicate?: Share;
  /** The handler is called this much later, by the broker's clock. */
  readonly delay?: Duration;
  /** Messages that wait at the same time are handed out in random order: they get random priorities when published. */
  readonly reorder?: boolean | Share;
  /** Only deliveries to this subscription or group. Has no effect on `reorder`. */
  readonly subscription?: string;
}

/** What may happen to an acknowledgement. */
export interface AckFault {
  /** The consumer's `ack` resolves, and the broker never hears of it: the message comes again after the ack timeout. */
  readonly lose?: Share;
  /** Only deliveries to this subscription or group. */
  readonly subscription?: string;
}

/** The faults of a test broker, all from its seed: the same seed and the same messages, the same faults. */
export interface Faults {
  /**
   * For messages published to topics that match. `fail` strikes every way of publishing but answers to requests and dead
   * letters; `duplicate`, `delay` and `reorder` strike `publish`.
   *
   * @example
   * ```ts
   * t.fault.onPublish("order.*", { fail: 1 });          // the next one is refused
   * t.fault.onPublish(">", { duplicate: 0.1 });         // one in ten comes twice
   * ```
   */
  onPublish(pattern: string, fault: PublishFault): FaultHandle;
  /** The same, for every topic. */
  onPublish(fault: PublishFault): FaultHandle;
  /** For deliveries to handlers. What is pulled (iterated, fetched) is struck by `reorder` alone. */
  onDeliver(pattern: string, fault: DeliverFault): FaultHandle;
  /** The same, for every topic. */
  onDeliver(fault: DeliverFault): FaultHandle;
  /**
   * For acknowledgements: `ack()` of a message, `broker.ack(id)`, and what a handler that returns does. An iterator that
   * acknowledges by asking for the next message is not struck.
   */
  onAck(fault: AckFault): FaultHandle;
  /** The same, for topics that match. */
  onAck(pattern: string, fault: AckFault): FaultHandle;
  /**
   * For the disk of a store that the kit made (`persistence: "memory"`, `persistence: { path }`). Throws `ERR_INVALID_OPTION`
   * without one.
   *
   * @example
   * ```ts
   * const disk = t.fault.store({ full: true });   // publishes reject with ERR_STORE_FULL, acknowledgements work
   * disk.stop();                                  // there is room again: within a second the store notices
   * t.fault.store({ failSync: 1, after: 2 });     // the third sync fails: ERR_STORE_FAILED until t.restart()
   * ```
   */
  store(fault: StoreFault): FaultHandle;
  /** Ends every fault. */
  clear(): void;
}

const publishKeys = ["fail", "error", "duplicate", "delay", "reorder"];
const deliverKeys = ["fail", "error", "duplicate", "delay", "reorder", "subscription"];
const ackKeys = ["lose", "subscription"];
const shareKeys = ["fail", "duplicate", "lose"];

interface Rule<Fault> extends FaultHandle {
  readonly pattern: string;
  readonly fault: Fault;
  count: number;
  /** What is left of each share that counts. */
  readonly left: Record<string, number>;
}

/** The rules in force, asked at each point where a fault may strike. */
export class FaultRules implements Faults {
  readonly #seed: number;
  #random: Random;
  readonly #publish = new Set<Rule<PublishFault>>();
  readonly #deliver = new Set<Rule<DeliverFault>>();
  readonly #ack = new Set<Rule<AckFault>>();
  /** Those of the store's disk. */
  readonly disk: StoreFaults;
  readonly #hasDisk: boolean;

  /** @param hasDisk whether there is a store that the kit made */
  constructor(seed: number, hasDisk: boolean) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
    this.#hasDisk = hasDisk;
    // Chance of its own: a write more does not change what strikes the messages.
    this.disk = new StoreFaults(seed + 1);
  }

  /** Whether nothing strikes messages. */
  get isEmpty(): boolean {
    return this.#publish.size + this.#deliver.size + this.#ack.size === 0;
  }

  /** The chance that they go by. */
  get random(): Random {
    return this.#random;
  }

  onPublish(patternOrFault: string | PublishFault, fault?: PublishFault): FaultHandle {
    if (typeof patternOrFault === "string") return this.#add(this.#publish, patternOrFault, fault ?? {}, publishKeys);
    return this.#add(this.#publish, ">", patternOrFault, publishKeys);
  }

  onDeliver(patternOrFault: string | DeliverFault, fault?: DeliverFault): FaultHandle {
    if (typeof patternOrFault === "string") return this.#add(this.#deliver, patternOrFault, fault ?? {}, deliverKeys);
    return this.#add(this.#deliver, ">", patternOrFault, deliverKeys);
  }

  onAck(patternOrFault: string | AckFault, fault?: AckFault): FaultHandle {
    if (typeof patternOrFault === "string") return this.#add(this.#ack, patternOrFault, fault ?? {}, ackKeys);
    return this.#add(this.#ack, ">", patternOrFault, ackKeys);
  }

  store(fault: StoreFault): FaultHandle {
    if (this.#hasDisk) return this.disk.add(fault);
    throw invalid('fault.store needs a store of the kit: createTestBroker({ persistence: "memory" }) or { path }');
  }

  clear(): void {
    this.disk.clear();
    this.#publish.clear();
    this.#deliver.clear();
    this.#ack.clear();
    this.#random = seededRandom(this.#seed);
  }

  /** The error a publish to `topic` is refused with; undefined: none. */
  publishFailure(topic: string): { readonly error: unknown } | undefined {
    for (const rule of this.#publish) {
      if (matchesPattern(rule.pattern, topic) && this.#strikes(rule, "fail"))
        return failure(rule.fault, topic, "publish");
    }
    return undefined;
  }

  isPublishedTwice(topic: string): boolean {
    return this.#any(this.#publish, topic, "duplicate");
  }

  publishDelay(topic: string): number {
    return this.#delay(this.#publish, topic);
  }

  isPublishReordered(topic: string): boolean {
    return this.#any(this.#publish, topic, "reorder");
  }

  /** A priority that puts a message in a random place among those that wait; undefined: leave it. */
  shuffledPriority(topic: string): number | undefined {
    return this.#any(this.#deliver, topic, "reorder") ? Math.floor(this.#random() * 10) : undefined;
  }

  deliverFailure(topic: string, subscription: string): { readonly error: unknown } | undefined {
    for (const rule of this.#deliver) {
      if (isFor(rule, topic, subscription) && this.#strikes(rule, "fail"))
        return failure(rule.fault, topic, "delivery");
    }
    return undefined;
  }

  isDeliveredTwice(topic: string, subscription: string): boolean {
    return this.#any(this.#deliver, topic, "duplicate", subscription);
  }

  deliverDelay(topic: string, subscription: string): number {
    return this.#delay(this.#deliver, topic, subscription);
  }

  isAckLost(topic: string, subscription: string): boolean {
    return this.#any(this.#ack, topic, "lose", subscription);
  }

  /** Puts things into random order. */
  shuffle<Item>(items: Item[]): void {
    for (let last = items.length - 1; last > 0; last -= 1) {
      const other = Math.floor(this.#random() * (last + 1));
      [items[last], items[other]] = [items[other] as Item, items[last] as Item];
    }
  }

  #any<Fault extends object>(rules: Set<Rule<Fault>>, topic: string, name: string, subscription?: string): boolean {
    for (const rule of rules) if (isFor(rule, topic, subscription) && this.#strikes(rule, name)) return true;
    return false;
  }

  #delay(rules: Set<Rule<PublishFault | DeliverFault>> | Set<Rule<PublishFault>>, topic: string, to?: string): number {
    let delay = 0;
    for (const rule of rules) {
      if (rule.fault.delay === undefined || !isFor(rule, topic, to)) continue;
      rule.count += 1;
      delay += durationMs("delay", rule.fault.delay);
    }
    return delay;
  }

  #strikes(rule: Rule<object>, name: string): boolean {
    const share = (rule.fault as Record<string, unknown>)[name];
    if (share === undefined || share === false) return false;
    if (typeof share === "number" && share < 1) {
      if (this.#random() >= share) return false;
    } else if (share !== true) {
      const left = rule.left[name] ?? 0;
      if (left < 1) return false;
      rule.left[name] = left - 1;
    }
    rule.count += 1;
    return true;
  }

  #add<Fault extends object>(
    rules: Set<Rule<Fault>>,
    pattern: string,
    fault: Fault,
    known: readonly string[],
  ): FaultHandle {
    const left: Record<string, number> = {};
    for (const [name, value] of Object.entries(fault)) {
      if (!known.includes(name))
        throw invalid(`there is no fault ${JSON.stringify(name)}; known are ${known.join(", ")}`);
      if (value === undefined) continue;
      if (name === "delay") durationMs("delay", value as Duration);
      const isShare = shareKeys.includes(name) || (name === "reorder" && typeof value !== "boolean");
      if (!isShare) continue;
      if (typeof value !== "number" || !(value >= 0)) {
        throw invalid(`${name} must be a probability below 1, or how many from 1; got ${String(value)}`);
      }
      if (value >= 1) left[name] = value;
    }
    const rule: Rule<Fault> = { pattern, fault, left, count: 0, stop: () => void rules.delete(rule) };
    rules.add(rule);
    return rule;
  }
}

function isFor(rule: Rule<object>, topic: string, subscription: string | undefined): boolean {
  const only = (rule.fault as { subscription?: string }).subscription;
  return (
    matchesPattern(rule.pattern, topic) && (only === undefined || subscription === undefined || only === subscription)
  );
}

function failure(fault: { error?: unknown }, topic: string, what: string): { readonly error: unknown } {
  return { error: fault.error ?? new InjectedFault(`injected fault: this ${what} on ${JSON.stringify(topic)} fails`) };
}

function invalid(text: string): Error {
  return new InvalidArgumentError("ERR_INVALID_OPTION", text, { facts: { option: "fault" } });
}
