import type { BrokerOptions, Clock, InProcBroker, Message, Plugin, Receipt, SubscribeOptions } from "../index.js";
import type { Subscription } from "../index.js";
import type { AsyncContext } from "../platform/async-context.js";
import { asyncContext } from "../platform/async-context.js";
import { nextTurn } from "../platform/real-time.js";
import { FaultRules } from "./faults.js";
import { FaultWaits } from "./fault-waits.js";
import { History } from "./history.js";
import { isPersistence, KitStore } from "./kit-store.js";
import { Ledger } from "./ledger.js";
import type { Life } from "./life.js";
import { never, whileAlive } from "./life.js";
import type { kitSettings, KitSettings } from "./options.js";
import { unmovedClock } from "./other-clocks.js";
import type { SubscriptionFacts } from "./recorder.js";
import { inboxPrefix, Recorder } from "./recorder.js";
import { seededRandom } from "./seeded-random.js";
import { standstill } from "./standstill.js";
import type { PendingTimer, TestClock } from "./test-clock.js";
import { TimeWaits } from "./time-waits.js";
import { VirtualClock } from "./virtual-clock.js";

import { overTheWire } from "./wire.js";

/** Chance for faults is apart from the broker's, so that a fault more does not change the jitter of everything else. */
const faultSeed = 0x5eed;

interface HeldPublish {
  readonly run: () => void;
}

/**
 * The parts behind a test broker, and what they do to the broker's traffic: a plugin that records, and strikes with faults;
 * the ways in which a publish may be delayed; the handlers that are held back in manual mode.
 */
export class Kit {
  readonly settings: KitSettings;
  readonly history: History;
  readonly ledger: Ledger;
  readonly faults: FaultRules;
  readonly recorder: Recorder;
  readonly clock: TestClock;
  /** Calls of the application that wait while time stands still. */
  readonly timeWaits: TimeWaits;
  /** The options of every broker, without what is made for each. */
  readonly brokerOptions: BrokerOptions;
  /** What the brokers keep their messages in; null: they do not. */
  readonly store: KitStore | null;
  /** Publishes that a fault delays. */
  heldPublishes = 0;
  /** What faults hold back until time moves. */
  readonly #waits: FaultWaits;
  /** True while somebody of the application listens for errors. */
  hasErrorListener = false;
  readonly #causes: AsyncContext<readonly string[]> | null;
  readonly #facts = new Map<string, SubscriptionFacts>();
  /** Handlers by subscription name, in the order they were subscribed. */
  readonly #handlers = new Map<string, Set<Subscription<never>>>();
  readonly #lostAcks = new WeakSet<Message>();
  readonly #byDeliveryId = new Map<string, { readonly message: Message; readonly subscription: string }>();
  /** Who waits for a handler to come back, and how to end the wait. */
  readonly #left = new Map<(seq: number, subscription: string) => void, () => void>();
  #life: Life = { isOver: true, isSteady: false };
  #shuffling: HeldPublish[] | null = null;
  #broker: InProcBroker<never> | null = null;
  #isAttached = false;
  #deadLetterTopic: string;
  #random = seededRandom(0);

  constructor({ settings, now, persistence, broker }: ReturnType<typeof kitSettings>) {
    this.settings = settings;
    this.history = new History(settings.historyLimit);
    this.ledger = new Ledger(settings.historyLimit);
    const isOwnStore = persistence !== undefined && !isPersistence(persistence);
    this.faults = new FaultRules(settings.seed ^ faultSeed, isOwnStore);
    this.store =
      persistence === undefined
        ? null
        : new KitStore(persistence, {
            faults: this.faults.disk,
            wait: (ms, what) => this.#waits.wait(ms, what, true),
            struck: (what) => void this.recorder.event("fault", what),
            opened: (lastSeq, scheduled) => {
              this.#life.isSteady = true;
              this.ledger.begin(lastSeq, scheduled);
            },
          });
    this.#deadLetterTopic = broker.deadLetter === undefined ? "" : (broker.deadLetter.topic ?? "dlq");
    this.#causes = settings.mode === "inline" ? asyncContext() : null;
    let brokerClock: Clock;
    if (settings.clock === "manual") {
      const clock = new VirtualClock(now === undefined ? {} : { now });
      brokerClock = clock.forBroker({
        activity: () => this.history.added + this.heldPublishes + this.#storeSteps(),
        storeSteps: () => this.#storeSteps(),
        stored: () => this.store?.disk?.atRest(),
        isWorking: () => this.recorder.running + this.heldPublishes > 0,
        fingerprint: () => this.fingerprint(),
        agenda: () => this.agenda(),
      });
      this.clock = clock;
    } else {
      this.clock = unmovedClock(settings.clock, () => this.agenda());
      brokerClock = this.clock;
    }
    this.#waits = new FaultWaits(brokerClock);
    this.timeWaits = new TimeWaits({
      standsStill: settings.clock !== "real",
      patienceMs: settings.timeoutMs,
      now: () => this.clock.now(),
      progress: () => `${this.history.added} ${this.clock.monotonic()}`,
      needsTime: () => !this.#isAtWork() && (this.clock.pending().length > 0 || this.#isHeldUp()),
      bringsMessages: () => {
        const { scheduled, delayed } = this.broker.metrics.snapshot();
        return scheduled + delayed > 0 || this.#isHeldUp();
      },
      standstill: () => standstill(this),
    });
    this.recorder = new Recorder({
      history: this.history,
      ledger: this.ledger,
      now: () => this.clock.now(),
      factsOf: (name) => this.#facts.get(name) ?? unknownFacts,
      causes: this.#causes,
      left: (seq, subscription) => {
        for (const tell of [...this.#left.keys()]) tell(seq, subscription);
      },
    });
    this.#random = seededRandom(settings.seed);
    this.brokerOptions = {
      ...broker,
      clock: brokerClock,
      random: () => this.#random(),
      payloads: settings.payloads === "reference" ? "reference" : "clone",
    };
  }

  #storeSteps(): number {
    return this.store?.disk?.begun ?? 0;
  }

  /** The one of the brokers that is there now, or was last. */
  get life(): Life {
    return this.#life;
  }

  /** Options for the next broker. */
  optionsFor(life: Life): BrokerOptions {
    const { brokerOptions, store } = this;
    const own = [this.#faultPlugin(life), this.recorder.plugin].map((plugin) => whileAlive(plugin, life));
    return {
      ...brokerOptions,
      plugins: [...(brokerOptions.plugins ?? []), ...own],
      ...(store === null ? {} : { persistence: store.persistenceFor(life) }),
    };
  }

  get broker(): InProcBroker<never> {
    return this.#broker as InProcBroker<never>;
  }

  /** The broker is there: listens to it. */
  attach(broker: InProcBroker<never>, life: Life): void {
    this.#isAttached = false;
    this.#life = life;
    this.recorder.listen(broker, life);
    this.#broker = broker;
    this.#isAttached = true;
  }

  /** True once `attach` is over: what listens now is the application. */
  get isAttached(): boolean {
    return this.#isAttached;
  }

  /** The broker closes: a slow disk is no longer slow. */
  closing(): void {
    this.#life.isSteady = false;
    this.#waits.release("disk");
  }

  /** The broker has ended: forgets what was under way in it. What waits because of a fault goes on, and finds it gone. */
  endLife(): void {
    this.#life.isOver = true;
    this.#life.isSteady = false;
    this.recorder.end();
    if (this.store === null) this.ledger.clear();
    else this.ledger.end((name) => this.#factsOf(name).isDurable);
    this.#facts.clear();
    this.#handlers.clear();
    this.#byDeliveryId.clear();
    this.timeWaits.end();
    for (const release of [...this.#left.values()]) release();
    this.#waits.release("all");
  }

  /** What waits for time. */
  agenda(): PendingTimer[] {
    const now = this.clock.now();
    return [...this.ledger.agenda(now), ...this.#waits.agenda(now), ...this.timeWaits.agenda(now)];
  }

  /** Milliseconds until the next timer on a manual clock; undefined where none is known. */
  get nextTimerInMs(): number | undefined {
    return this.clock instanceof VirtualClock ? this.clock.nextTimerInMs : undefined;
  }

  /** Whether there is something that time alone would bring on: a backoff, a lost acknowledgement, a fault. */
  waitsForTime(withRetries: boolean, withScheduled: boolean): boolean {
    if (this.#isAtWork()) return false;
    const { delayed, scheduled } = this.broker.metrics.snapshot();
    return (
      this.heldPublishes + this.#held().deliveries > 0 ||
      (withRetries && (delayed > 0 || this.#held().isAckLost)) ||
      (withScheduled && scheduled > 0)
    );
  }

  /** Whether a handler has not come back that no fault holds back. */
  #isAtWork(): boolean {
    return this.recorder.running > this.#held().deliveries;
  }

  /** Deliveries that faults hold back, and whether a lost acknowledgement keeps one in flight. */
  #held(): { readonly deliveries: number; readonly isAckLost: boolean } {
    let deliveries = 0;
    let isAckLost = false;
    for (const message of this.ledger.messages()) {
      for (const state of message.deliveries.values()) {
        deliveries += state.held;
        isAckLost ||= state.isAckLost && state.where === "in flight";
      }
    }
    return { deliveries, isAckLost };
  }

  /** Whether messages are queued that nobody takes although somebody could: a rate limit's, which no agenda knows of. */
  #isHeldUp(): boolean {
    return this.nextTimerInMs !== undefined && this.broker.subscriptions().some(({ queued }) => queued > 0);
  }

  /** Differs where anything has happened. */
  fingerprint(): string {
    const { uptime: _, ...figures } = this.broker.metrics.snapshot();
    return `${this.history.added} ${JSON.stringify(figures)}`;
  }

  /** Whether a topic carries the broker's own messages, which tests do not publish. */
  isInternal(topic: string): boolean {
    return topic === this.#deadLetterTopic || topic.startsWith(inboxPrefix);
  }

  // --- subscriptions

  subscribed(subscription: Subscription<never>, isPush: boolean, options: SubscribeOptions<never> = {}): void {
    const { ack: brokerAck } = this.brokerOptions;
    const isDurable = options.durable !== undefined;
    const acknowledges = brokerAck !== undefined || isDurable;
    const mode = options.ack ?? (acknowledges ? (isPush ? "auto" : "manual") : "none");
    this.#facts.set(subscription.name, {
      isDurable,
      acknowledges: mode !== "none",
      isAuto: mode === "auto",
      ackTimeoutMs: options.ackTimeout ?? brokerAck?.timeout ?? 30_000,
    });
    if (!isPush) {
      this.#watchPulls(subscription);
      return;
    }
    const handlers = this.#handlers.get(subscription.name);
    if (handlers === undefined) this.#handlers.set(subscription.name, new Set([subscription]));
    else handlers.add(subscription);
    if (this.settings.mode === "manual") subscription.pause();
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
        return this.timeWaits.watch(
          { what: `a fetch from ${name}`, then: "ends with what there is by then", ms },
          fetched,
        );
      },
      next: () => this.timeWaits.watch({ what: `an iteration of ${name}`, then: "", ms: Infinity }, next()),
    };
    Object.assign(subscription, watched);
  }

  /** Has one message handed to one handler: of those that wait, the one that was published first. */
  async deliverOne(): Promise<boolean> {
    await this.clock.settle();
    const candidates = this.broker
      .subscriptions()
      .filter(({ name, queued }) => queued > 0 && (this.#handlers.get(name)?.size ?? 0) > 0)
      .map(({ name }) => ({ name, seq: this.broker.peek(name, 1)[0]?.seq ?? Infinity }))
      .sort((a, b) => a.seq - b.seq);
    for (const { name } of candidates) {
      const before = this.#handedTo(name);
      for (const handler of this.#handlers.get(name) ?? []) {
        handler.resume();
        await nextTurn();
        handler.pause();
        if (this.#handedTo(name) > before) {
          await this.clock.settle();
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

  // --- publishing

  /** Carries out a publish, with what faults and inline mode do to it. */
  async publish(topic: string, publish: (options: { report?: true }) => Promise<Receipt>): Promise<Receipt> {
    await this.#holdPublish(topic);
    if (this.settings.mode !== "inline") {
      const receipt = await publish({});
      if (this.faults.isPublishedTwice(topic)) {
        this.recorder.fault({ topic }, "published twice");
        await publish({});
      }
      return receipt;
    }
    const causes = this.#causes?.get() ?? [];
    const receipt = await publish({ report: true });
    const targets = (receipt.report ?? [])
      .filter(({ outcome }) => outcome === "queued" || outcome === "waiting")
      .map(({ subscription }) => subscription)
      .filter((name) => !causes.includes(name) && (this.#handlers.get(name)?.size ?? 0) > 0);
    await Promise.all(targets.map((name) => this.#handled(receipt.seq, name)));
    return receipt;
  }

  /** True where `publish` of this topic is nothing but the broker's. */
  isPlainPublish(): boolean {
    return this.settings.mode !== "inline" && this.faults.isEmpty;
  }

  async #holdPublish(topic: string): Promise<void> {
    const delayMs = this.faults.publishDelay(topic);
    const isReordered = this.faults.isPublishReordered(topic);
    if (delayMs === 0 && !isReordered) return;
    this.heldPublishes += 1;
    try {
      if (delayMs > 0) {
        this.recorder.fault({ topic }, `the publish was delayed by ${delayMs} ms`);
        await this.#waits.wait(delayMs, `a fault lets a publish on ${topic} go on`);
      }
      if (isReordered) {
        this.recorder.fault({ topic }, "the publish was reordered");
        await this.#shuffled();
      }
    } finally {
      this.heldPublishes -= 1;
    }
  }

  /** Resolves in random order with all that wait for it in this turn. */
  #shuffled(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#shuffling === null) {
        this.#shuffling = [];
        void nextTurn().then(() => {
          const held = this.#shuffling ?? [];
          this.#shuffling = null;
          this.faults.shuffle(held);
          for (const { run } of held) run();
        });
      }
      this.#shuffling.push({ run: resolve });
    });
  }

  /** Resolves once a handler has come back from a message, or it will not get it. */
  async #handled(seq: number, subscription: string): Promise<void> {
    const isHandled = (): boolean => {
      const state = this.ledger.get(seq)?.deliveries.get(subscription);
      return state !== undefined && state.running === 0 && (state.attempts > 0 || state.where === "done");
    };
    if (isHandled()) return;
    await new Promise<void>((resolve) => {
      const release = (): void => {
        this.#left.delete(tell);
        resolve();
      };
      const tell = (leftSeq: number, name: string): void => {
        if (leftSeq === seq && name === subscription && isHandled()) release();
      };
      this.#left.set(tell, release);
    });
  }

  // --- faults on the way out

  /** Acknowledges a delivery by its id, unless a fault loses that. */
  ackById(deliveryId: string, ack: () => Promise<void>): Promise<void> {
    const delivery = this.#byDeliveryId.get(deliveryId);
    if (delivery === undefined || !this.#loseAck(delivery.message, delivery.subscription)) return ack();
    return Promise.resolve();
  }

  /** Forgets what is under way: for a broker that was emptied. */
  reset(): void {
    this.faults.clear();
    this.store?.reset();
    this.ledger.clear();
    this.history.clear();
    this.#byDeliveryId.clear();
    this.#random = seededRandom(this.settings.seed);
  }

  #faultPlugin(life: Life): Plugin {
    return {
      name: "test-kit",
      onPublish: (draft) => {
        const { topic } = draft;
        if (this.settings.payloads === "wire" && draft.headers["reply-failed"] === undefined) {
          draft.data = overTheWire(topic, draft.data);
        }
        if (this.faults.isEmpty || this.isInternal(topic)) return;
        const failure = this.faults.publishFailure(topic);
        if (failure !== undefined) {
          this.recorder.fault({ topic, data: draft.data }, "the publish was refused");
          throw failure.error;
        }
        draft.priority = this.faults.shuffledPriority(topic) ?? draft.priority;
      },
      onDeliver: (message, subscription) => {
        if (!this.#factsOf(subscription).acknowledges) return;
        this.#byDeliveryId.set(message.deliveryId, { message, subscription });
        // The consumer's own hand: what it calls is this object's, whoever passes it on.
        const ack = message.ack.bind(message);
        Object.defineProperty(message, "ack", {
          value: () => (this.#loseAck(message, subscription) ? Promise.resolve() : ack()),
        });
      },
      around: (message, subscription, run) => this.#around(message, subscription, run, life),
      onSettle: (message) => void this.#byDeliveryId.delete(message.deliveryId),
    };
  }

  #around(message: Message, subscription: string, run: () => unknown, life: Life): unknown {
    const inContext =
      this.#causes === null
        ? run
        : () => this.#causes?.run([...(this.ledger.get(message.seq)?.causedIn ?? []), subscription], run);
    if (this.settings.mode === "manual") for (const one of this.#handlers.get(subscription) ?? []) one.pause();
    const cameBack = this.recorder.handlerBegins(message, subscription, life);
    let result: unknown;
    try {
      result = this.faults.isEmpty ? inContext() : this.#struck(message, subscription, inContext, life);
    } catch (error) {
      cameBack();
      throw error;
    }
    if (!isThenable(result)) {
      if (this.#losesReturn(message, subscription)) result = never();
      cameBack();
      return result;
    }
    return Promise.resolve(result).then(
      (value: unknown) => {
        const isLost = this.#losesReturn(message, subscription);
        cameBack();
        return isLost ? never() : value;
      },
      (error: unknown) => {
        cameBack();
        throw error;
      },
    );
  }

  /** Runs a handler with what the faults do to it. */
  #struck(message: Message, subscription: string, run: () => unknown, life: Life): unknown {
    const { topic } = message;
    const delayMs = this.faults.deliverDelay(topic, subscription);
    const failure = this.faults.deliverFailure(topic, subscription);
    const isTwice = this.faults.isDeliveredTwice(topic, subscription);
    const strike = (): unknown => {
      if (failure !== undefined) {
        this.recorder.fault(message, "the delivery failed", subscription);
        throw failure.error;
      }
      if (!isTwice) return run();
      this.recorder.fault(message, "delivered twice", subscription);
      return (async () => {
        await run();
        return run();
      })();
    };
    if (delayMs === 0) return strike();
    this.recorder.fault(message, `the delivery was delayed by ${delayMs} ms`, subscription);
    const state = this.ledger.get(message.seq)?.deliveries.get(subscription);
    if (state !== undefined) state.held += 1;
    return this.#waits.wait(delayMs, `a fault lets a delivery of ${topic} to ${subscription} go on`).then(() => {
      if (life.isOver) return never();
      if (state !== undefined) state.held -= 1;
      return strike();
    });
  }

  /** Whether the acknowledgement that a handler's return is goes astray. */
  #losesReturn(message: Message, subscription: string): boolean {
    if (!this.#factsOf(subscription).isAuto) return false;
    return this.#lostAcks.has(message) || this.#loseAck(message, subscription);
  }

  #loseAck(message: Message, subscription: string): boolean {
    if (this.#lostAcks.has(message)) return true;
    if (this.faults.isEmpty || !this.faults.isAckLost(message.topic, subscription)) return false;
    this.#lostAcks.add(message);
    this.recorder.ackLost(message, subscription);
    return true;
  }

  #factsOf(subscription: string): SubscriptionFacts {
    return this.#facts.get(subscription) ?? unknownFacts;
  }
}

const unknownFacts: SubscriptionFacts = { isDurable: false, acknowledges: false, isAuto: false, ackTimeoutMs: 30_000 };

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
