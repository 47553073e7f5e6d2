import type { BrokerSubscription, Message, SubscribeOptions, SubscriptionStats } from "../index.js";
import { check, equal, isSame, NotHappened, show } from "./check.js";
import type { ConformanceOptions, ConformantBroker, Feature, Implementation } from "./contract.js";
import type { Passing } from "./moment.js";
import { Stopwatch, Window } from "./moment.js";

/** One promise of the contract, and how it is checked. */
export interface Case {
  readonly feature: Feature;
  /** Other features that the check needs. */
  readonly needs: readonly Feature[];
  readonly promise: string;
  run(context: CaseContext): Promise<void>;
}

/** The cases of a feature, by the promise that each checks. */
export function cases(
  feature: Feature,
  checks: Readonly<Record<string, (context: CaseContext) => Promise<void>>>,
  needs: readonly Feature[] = [],
): Case[] {
  return Object.entries(checks).map(([promise, run]) => ({ feature, needs, promise, run }));
}

/** Milliseconds by which a real timer may be early. */
const timerGrain = 2;
/** Times that a broker is given to do what is ready, before a wait counts as failed. */
const patience = 2_000;
/** The same, before it counts as quiet. */
const quiet = 5;

/** A broker that a case has opened. */
export class Opened {
  readonly broker: ConformantBroker;
  readonly implementation: Implementation;
  readonly #passing: Passing;
  readonly #windows: Set<Window>;
  /** By how much time was moved. */
  #moved = 0;

  constructor(implementation: Implementation, stopwatch: Stopwatch, windows: Set<Window>) {
    const { broker, advance } = implementation;
    this.implementation = implementation;
    this.broker = broker;
    this.#windows = windows;
    this.#passing =
      advance === undefined
        ? { stopwatch, advance: (ms) => stopwatch.wait(ms) }
        : { stopwatch: undefined, advance: (ms) => advance.call(implementation, ms) };
  }

  /** Moves time on. */
  advance(ms: number): Promise<void> {
    this.#moved += ms;
    return this.#passing.advance(ms);
  }

  /** Milliseconds since some moment, for differences. Within a call of `advance` on a clock that is moved: where it goes. */
  elapsed(): number {
    return this.#passing.stopwatch?.elapsed() ?? this.#moved;
  }

  /** The time until a deadline that is set after this; for checks of what is before it. */
  window(ms: number): Window {
    return new Window(ms, this, this.#windows);
  }

  /** Real time, where the case does not move it. */
  get stopwatch(): Stopwatch | undefined {
    return this.#passing.stopwatch;
  }

  /** Resolves once the condition holds, without time moving on. */
  async until(what: string, condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < patience; turn += 1) {
      if (condition()) return;
      await this.advance(0);
    }
    throw new NotHappened(`it did not happen: ${what}`);
  }

  /** What the promise resolves to, without time moving on: one that stays open fails the case, and does not hang it. */
  async outcome<Value>(what: string, promise: Promise<Value>): Promise<Value> {
    let isOpen = true;
    const over = (): void => {
      isOpen = false;
    };
    promise.then(over, over);
    await this.until(what, () => !isOpen);
    return promise;
  }

  /** The next message for a subscription without a handler, without time moving on. */
  async arrival(what: string, subscription: BrokerSubscription): Promise<Message> {
    for (let turn = 0; turn < patience; turn += 1) {
      const [message] = await subscription.fetch(1, { timeout: 0 });
      if (message !== undefined) return message;
      await this.advance(0);
    }
    throw new NotHappened(`it did not happen: ${what}`);
  }

  /** Checks when things happened, by `elapsed` from before what set them off. On real time they may be late, not early. */
  equalTimes(actual: readonly number[], expected: readonly number[], what: string): void {
    if (this.stopwatch === undefined) equal(actual, expected, what);
    else {
      const isKept = actual.every((ms, index) => ms >= (expected[index] ?? 0) - timerGrain);
      check(isKept && actual.length === expected.length, `${what}: expected ${show(expected)}, got ${show(actual)}`);
    }
  }

  /** Has happen what is ready; for checks that something does not. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < quiet; turn += 1) await this.advance(0);
  }

  /** Checks figures of a subscription. An implementation elsewhere may learn of them late: it is asked until they are as expected. */
  async figures(subscription: BrokerSubscription, expected: Partial<SubscriptionStats>, what: string): Promise<void> {
    const names = Object.keys(expected) as (keyof SubscriptionStats)[];
    const pick = (): unknown => {
      const stats = subscription.stats();
      return Object.fromEntries(names.map((name) => [name, stats[name]]));
    };
    pick();
    await this.settle();
    for (let turn = 0; turn < quiet && !isSame(pick(), expected); turn += 1) await this.advance(0);
    equal(pick(), expected, what);
  }

  /** Subscribes, and keeps what comes. */
  collect(pattern: string | readonly string[], options: SubscribeOptions = {}): Collected {
    const messages: Message[] = [];
    const subscription = this.broker.subscribe(pattern, (message) => void messages.push(message), options);
    return {
      messages,
      subscription,
      get data() {
        return messages.map((message) => message.data);
      },
    };
  }

  /** A part of the broker that a feature brings along. */
  part<Name extends keyof ConformantBroker>(name: Name): NonNullable<ConformantBroker[Name]> {
    const { broker } = this;
    const part: unknown = broker[name];
    check(part !== undefined, `the broker supports this feature and has no ${String(name)}`);
    return (typeof part === "function" ? (part.bind(broker) as unknown) : part) as NonNullable<ConformantBroker[Name]>;
  }
}

/** What a subscription of a case has received. */
export interface Collected {
  readonly messages: Message[];
  readonly data: unknown[];
  readonly subscription: BrokerSubscription;
}

/** Opens the broker under test. */
export type BrokerFactory = (
  options: ConformanceOptions,
) => Promise<Implementation | ConformantBroker> | Implementation | ConformantBroker;

/** What a case runs in: opens brokers, and ends them. */
export class CaseContext {
  readonly #factory: BrokerFactory;
  readonly #opened: Implementation[] = [];
  readonly #stopwatch = new Stopwatch();
  readonly #windows = new Set<Window>();

  constructor(factory: BrokerFactory) {
    this.#factory = factory;
  }

  async open(options: ConformanceOptions = {}): Promise<Opened> {
    return this.adopt(implementationOf(await this.#factory(options)));
  }

  /** Takes over an implementation that came about in another way than `open`. */
  adopt(implementation: Implementation): Opened {
    this.#opened.push(implementation);
    // Failures that cases bring about on purpose are no news.
    implementation.broker.on("error", () => undefined);
    return new Opened(implementation, this.#stopwatch, this.#windows);
  }

  /** Whether what the case found, or waited for, may be so because the machine was too slow for it. */
  get isTooLate(): boolean {
    return [...this.#windows].some(({ isOver }) => isOver);
  }

  /** Ends what the case opened. */
  async end(): Promise<void> {
    for (const { broker, dispose } of this.#opened.splice(0).reverse()) {
      await broker.close({ drain: false }).catch(() => undefined);
      await dispose?.();
    }
  }
}

/** A broker alone has no time that could be moved. */
function implementationOf(made: Implementation | ConformantBroker): Implementation {
  const { broker, publish } = (made as Partial<Implementation & ConformantBroker> | undefined) ?? {};
  if (broker !== undefined) return made as Implementation;
  if (typeof publish === "function") return { broker: made as ConformantBroker };
  throw new TypeError("conformance: the factory must return a broker, or { broker, advance }");
}

/** The payloads of some messages. */
export function dataOf(messages: readonly Message[]): unknown[] {
  return messages.map((message) => message.data);
}

/** Fails on purpose, in handlers. */
export function boom(): never {
  throw new Error("boom");
}
