import type { BrokerOptions, Clock, InProcBroker } from "../index.js";
import { asyncContext } from "../platform/async-context.js";
import { BrokerTimes } from "./broker-times.js";
import { FaultPlugin } from "./fault-plugin.js";
import { FaultRules } from "./faults.js";
import { FaultWaits } from "./fault-waits.js";
import { History } from "./history.js";
import { isPersistence, KitStore } from "./kit-store.js";
import { KitSubscriptions } from "./kit-subscriptions.js";
import type { Cause } from "./ledger.js";
import { Ledger } from "./ledger.js";
import type { Life } from "./life.js";
import { whileAlive } from "./life.js";
import type { kitSettings, KitSettings } from "./options.js";
import { unmovedClock } from "./other-clocks.js";
import { Publishing } from "./publishing.js";
import { inboxPrefix, Recorder } from "./recorder.js";
import { seededRandom } from "./seeded-random.js";
import { standstill } from "./standstill.js";
import type { PendingTimer, TestClock } from "./test-clock.js";
import { TimeWaits } from "./time-waits.js";
import { VirtualClock } from "./virtual-clock.js";

/** Chance for faults is apart from the broker's, so that a fault more does not change the jitter of everything else. */
const faultSeed = 0x5eed;

/**
 * The parts behind a test broker, joined: history and ledger, clock and chance, store and faults; and what is to be known of
 * all of them at once: what waits for time, and whether anything has happened.
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
  /** What of the broker's own waits for time. */
  readonly times: BrokerTimes;
  /** The options of every broker, without what is made for each. */
  readonly brokerOptions: BrokerOptions;
  /** What the brokers keep their messages in; null: they do not. */
  readonly store: KitStore | null;
  readonly subscriptions: KitSubscriptions;
  readonly publishing: Publishing;
  readonly #strikes: FaultPlugin;
  /** What faults hold back until time moves. */
  readonly #waits: FaultWaits;
  /** What a fault that cuts the power does; the test broker's. */
  powerWent: () => void = () => undefined;
  /** True while somebody of the application listens for errors. */
  hasErrorListener = false;
  #life: Life = { isOver: true, isSteady: false };
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
            powerWent: () => this.powerWent(),
            clock: (clock) => this.times.storeClock(clock),
            opened: (lastSeq, scheduled) => {
              this.#life.isSteady = true;
              this.ledger.begin(lastSeq, scheduled);
            },
          });
    this.#deadLetterTopic = broker.deadLetter === undefined ? "" : (broker.deadLetter.topic ?? "dlq");
    const causes = settings.mode === "inline" ? asyncContext<Cause>() : null;
    let brokerClock: Clock;
    if (settings.clock === "manual") {
      const clock = new VirtualClock(now === undefined ? {} : { now });
      brokerClock = clock.forBroker({
        activity: () => this.history.added + this.publishing.held + this.#storeSteps(),
        storeSteps: () => this.#storeSteps(),
        stored: () => this.store?.disk?.atRest(),
        isWorking: () => this.recorder.running + this.publishing.held > 0,
        fingerprint: () => this.fingerprint(),
        agenda: () => this.agenda(),
      });
      this.clock = clock;
    } else {
      this.clock = unmovedClock(settings.clock, () => this.agenda());
      brokerClock = this.clock;
    }
    this.#waits = new FaultWaits(brokerClock);
    this.times = new BrokerTimes(this.clock);
    this.timeWaits = new TimeWaits({
      standsStill: settings.clock !== "real",
      patienceMs: settings.timeoutMs,
      now: () => this.clock.now(),
      progress: () => `${this.history.added} ${this.clock.monotonic()}`,
      needsTime: () => !this.#isAtWork() && (this.clock.pending().length > this.ownAgenda().length || this.#isHeldUp()),
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
      factsOf: (name) => this.subscriptions.factsOf(name),
      causes,
      left: (seq, subscription) => this.publishing.left(seq, subscription),
    });
    this.subscriptions = new KitSubscriptions({
      mode: settings.mode,
      ack: broker.ack,
      clock: this.clock,
      timeWaits: this.timeWaits,
      times: this.times,
      broker: () => this.broker,
    });
    const { faults, recorder, ledger, subscriptions } = this;
    const parts = { settings, faults, recorder, ledger, subscriptions, causes, waits: this.#waits };
    this.publishing = new Publishing(parts);
    this.#strikes = new FaultPlugin({ ...parts, isInternal: (topic) => this.isInternal(topic) });
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
    const own = [this.#strikes.pluginFor(life), this.recorder.plugin].map((plugin) => whileAlive(plugin, life));
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
    else this.ledger.end((name) => this.subscriptions.factsOf(name).isDurable);
    this.subscriptions.clear();
    this.#strikes.clear();
    this.timeWaits.end();
    this.times.end();
    this.publishing.end();
    this.#waits.release("all");
  }

  /** What waits for time. */
  agenda(): PendingTimer[] {
    const now = this.clock.now();
    return [...this.ledger.agenda(now), ...this.#waits.agenda(now), ...this.timeWaits.agenda(now), ...this.ownAgenda()];
  }

  /** Of that: what nobody waits for, and no test leaves behind: the broker's own deadlines. */
  ownAgenda(): PendingTimer[] {
    return [...this.ledger.expiries(this.clock.now()), ...this.times.agenda()];
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
      this.publishing.held + this.#held().deliveries > 0 ||
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

  /** Acknowledges a delivery by its id, unless a fault loses that. */
  ackById(deliveryId: string, ack: () => Promise<void>): Promise<void> {
    return this.#strikes.ackById(deliveryId, ack);
  }

  /** Forgets what is under way: for a broker that was emptied. */
  reset(): void {
    this.faults.clear();
    this.store?.reset();
    this.ledger.clear();
    this.history.clear();
    this.#strikes.clear();
    this.#random = seededRandom(this.settings.seed);
  }
}
