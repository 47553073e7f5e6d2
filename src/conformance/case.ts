import type { BrokerSubscription, Message, SubscribeOptions, SubscriptionStats } from "../index.js";
import { InProcBroker } from "../index.js";
import { check, ConformanceError, equal, isSame } from "./check.js";
import type { ConformanceOptions, ConformantBroker, Feature, Implementation } from "./contract.js";

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

/** Times that a broker is given to do what is ready, before a wait counts as failed. */
const patience = 2_000;
/** The same, before it counts as quiet. */
const quiet = 5;

/** A broker that a case has opened. */
export class Opened {
  readonly broker: ConformantBroker;
  readonly implementation: Implementation;

  constructor(implementation: Implementation) {
    this.implementation = implementation;
    this.broker = implementation.broker;
  }

  /** Moves time on. */
  advance(ms: number): Promise<void> {
    return this.implementation.advance(ms);
  }

  /** Resolves once the condition holds, without time moving on. */
  async until(what: string, condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < patience; turn += 1) {
      if (condition()) return;
      await this.advance(0);
    }
    throw new ConformanceError(`it did not happen: ${what}`);
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
    return new Opened(implementation);
  }

  /** Ends what the case opened. */
  async end(): Promise<void> {
    for (const { broker, dispose } of this.#opened.splice(0).reverse()) {
      await broker.close({ drain: false }).catch(() => undefined);
      await dispose?.();
    }
  }
}

/** A broker alone has no time that could be moved: cases wait. */
function implementationOf(made: Implementation | ConformantBroker): Implementation {
  const { broker, publish } = (made as Partial<Implementation & ConformantBroker> | undefined) ?? {};
  if (broker !== undefined) return made as Implementation;
  if (typeof publish === "function") return { broker: made as ConformantBroker, advance: realTime };
  throw new TypeError("conformance: the factory must return a broker, or { broker, advance }");
}

/** Waits as long as a fetch that finds nothing does: timers are the broker's own business, here as for its users. */
async function realTime(ms: number): Promise<void> {
  const broker = new InProcBroker();
  await broker.subscribe("nothing").fetch(1, { timeout: ms + 1 });
  await broker.close();
}

/** The payloads of some messages. */
export function dataOf(messages: readonly Message[]): unknown[] {
  return messages.map((message) => message.data);
}

/** Fails on purpose, in handlers. */
export function boom(): never {
  throw new Error("boom");
}
