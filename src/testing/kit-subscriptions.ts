import type { BrokerOptions, InProcBroker, SubscribeOptions, Subscription } from "../index.js";
import { nextTurn } from "../platform/real-time.js";
import type { BrokerTimes } from "./broker-times.js";
import type { KitSettings } from "./options.js";
import type { SubscriptionFacts } from "./recorder.js";
import type { TestClock } from "./test-clock.js";
import type { TimeWaits } from "./time-waits.js";

/** What the subscriptions need of the kit around them. */
export interface KitSubscriptionsHost {
  readonly mode: KitSettings["mode"];
  /** The broker's own option. */
  readonly ack: BrokerOptions["ack"];
  readonly clock: TestClock;
  readonly timeWaits: TimeWaits;
  readonly times: BrokerTimes;
  broker(): InProcBroker<never>;
}

/** The application's subscriptions: how each acknowledges, and the handlers, which manual mode holds back. */
export class KitSubscriptions {
  readonly #host: KitSubscriptionsHost;
  readonly #facts = new Map<string, SubscriptionFacts>();
  /** Handlers by subscription name, in the order they were subscribed. */
  readonly #handlers = new Map<string, Set<Subscription<never>>>();

  constructor(host: KitSubscriptionsHost) {
    this.#host = host;
  }

  factsOf(name: string): SubscriptionFacts {
    return this.#facts.get(name) ?? unknownFacts;
  }

  hasHandler(name: string): boolean {
    return (this.#handlers.get(name)?.size ?? 0) > 0;
  }

  /** A subscription got a message. */
  handedOver(name: string): void {
    this.#host.times.handedOver(name);
  }

  /** Has the handlers of a subscription take nothing more. */
  pause(name: string): void {
    for (const handler of this.#handlers.get(name) ?? []) handler.pause();
  }

  /** The broker has ended, and they with it. */
  clear(): void {
    this.#facts.clear();
    this.#handlers.clear();
  }

  /** The application has subscribed. */
  add(subscription: Subscription<never>, isPush: boolean, options: SubscribeOptions<never> = {}): void {
    const { ack: brokerAck, mode: kitMode } = this.#host;
    const isDurable = options.durable !== undefined;
    const acknowledges = brokerAck !== undefined || isDurable;
    const mode = options.ack ?? (acknowledges ? (isPush ? "auto" : "manual") : "none");
    this.#facts.set(subscription.name, {
      isDurable,
      acknowledges: mode !== "none",
      isAuto: mode === "auto",
      ackTimeoutMs: options.ackTimeout ?? brokerAck?.timeout ?? 30_000,
    });
    this.#host.times.subscribed(subscription, options);
    if (!isPush) {
      this.#watchPulls(subscription);
      return;
    }
    const handlers = this.#handlers.get(subscription.name);
    if (handlers === undefined) this.#handlers.set(subscription.name, new Set([subscription]));
    else handlers.add(subscription);
    if (kitMode === "manual") subscription.pause();
    void subscription.closed.then(() => {
      this.#handlers.get(subscription.name)?.delete(subscription);
    });
  }

  /** Whoever pulls may wait for time: for a message that comes later, or for the end of a `fetch`. */
  #watchPulls(subscription: Subscription<never>): void {
    const { name } = subscription;
    const fetch = subscription.fetch.bind(subscription);
    const next = subscription.next.bind(subscription);
    const watched: Partial<Subscription<never>> = {
      fetch: (count, options) => {
        const { timeout: ms = 1_000 } = options ?? {};
        const fetched = fetch(count, options);
        if (ms === 0) return fetched;
        return this.#host.timeWaits.watch(
          { what: `a fetch from ${name}`, then: "ends with what there is by then", ms },
          fetched,
        );
      },
      next: () => this.#host.timeWaits.watch({ what: `an iteration of ${name}`, then: "", ms: Infinity }, next()),
    };
    Object.assign(subscription, watched);
  }

  /** Has one message handed to one handler: of those that wait, the one that was published first. */
  async deliverOne(): Promise<boolean> {
    await this.#host.clock.settle();
    const broker = this.#host.broker();
    const candidates = broker
      .subscriptions()
      .filter(({ name, queued }) => queued > 0 && this.hasHandler(name))
      .map(({ name }) => ({ name, seq: broker.peek(name, 1)[0]?.seq ?? Infinity }))
      .sort((a, b) => a.seq - b.seq);
    for (const { name } of candidates) {
      const before = this.#handedTo(name);
      for (const handler of this.#handlers.get(name) ?? []) {
        handler.resume();
        await nextTurn();
        handler.pause();
        if (this.#handedTo(name) > before) {
          await this.#host.clock.settle();
          return true;
        }
      }
    }
    return false;
  }

  #handedTo(name: string): number {
    const [handler] = this.#handlers.get(name) ?? [];
    return handler?.stats().handedOver ?? 0;
  }
}

const unknownFacts: SubscriptionFacts = { isDurable: false, acknowledges: false, isAuto: false, ackTimeoutMs: 30_000 };
