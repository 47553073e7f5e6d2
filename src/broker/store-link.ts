import type { DeadLetter } from "../delivery/dead-letter.js";
import type { DeadLetterManager } from "../delivery/dead-letters.js";
import type { DedupWindow } from "../delivery/dedup.js";
import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { Timers } from "../delivery/timers.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DispatchHost } from "../dispatch/ports.js";
import type { QueueFacts } from "../dispatch/queue-facts.js";
import type { Router } from "../dispatch/router.js";
import { brokerError } from "../errors.js";
import type { Delivery, FlightOutcome } from "../message/delivery.js";
import type { MessageOrigin, PublishedMessage } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import type { ErrorContext, Events } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import type { EventLoop } from "../platform/event-loop.js";
import type { Random } from "../platform/random.js";
import type { Draft, Drafter } from "./draft.js";
import { Durables } from "./durables.js";
import type { Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import { recoverInto, stepOfDeadLetter } from "./recovery.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";
import type { Persistence, RecoveryReport, Store, StoreMetrics, StoreStep } from "./store-port.js";
import { StoreWriter } from "./store-writer.js";
import { StoredPublisher } from "./stored-publisher.js";
import type { SubscriptionRegistry } from "./subscription-registry.js";
import type { TopicFacts } from "./topic-facts.js";
import type { TurnStamp } from "./turn-stamp.js";

/** What the link needs of the broker: the core. */
export interface StoreLinkHost {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly loop: EventLoop;
  readonly router: Router<TopicFacts>;
  readonly drafter: Drafter;
  readonly stamps: TurnStamp;
  readonly publisher: Publisher;
  readonly memory: MemoryBudget;
  readonly delayed: DelayedMessages;
  readonly dedup: DedupWindow<Receipt>;
  readonly retained: RetainedMessages;
  readonly deadLetters: DeadLetterManager | null;
  readonly registry: SubscriptionRegistry;
  readonly dispatch: DispatchHost;
  readonly timers: Timers;
  readonly events: Events;
  readonly origin: MessageOrigin;
  accepts(queue: QueueFacts, message: PublishedMessage): boolean;
  giveUpRecovered(delivery: Delivery): FlightOutcome;
  giveUpUnreadable(delivery: Delivery, error: Error): boolean;
  fail(error: unknown, context: ErrorContext): void;
  /** Somebody may wait for there being nothing left to do. */
  tellQuiet(): void;
}

/** A dead letter on its way to its subscription. */
export interface Redriven {
  readonly message: PublishedMessage;
  /** Resolves once it is stored as driven; rejects where it is not, and is a dead letter as before. */
  readonly kept: Promise<void>;
}

/** What joins a broker to its store: opens and closes it, and has the parts that are there only with one. */
export class StoreLink {
  readonly writer = new StoreWriter();
  readonly publisher: StoredPublisher;
  readonly durables: Durables;
  readonly #core: StoreLinkHost;
  readonly #persistence: Persistence;
  readonly #random: Random;
  #store: Store | null = null;
  #opening: Promise<void> | null = null;
  #isClosed = false;

  constructor(core: StoreLinkHost, persistence: Persistence, random: Random) {
    this.#core = core;
    this.#persistence = persistence;
    this.#random = random;
    this.publisher = new StoredPublisher({
      settings: core.settings,
      router: core.router,
      drafter: core.drafter,
      stamps: core.stamps,
      publisher: core.publisher,
      writer: this.writer,
      memory: core.memory,
      delayed: core.delayed,
      retained: core.retained,
      timers: core.timers,
      quiet: () => core.tellQuiet(),
      failed: (error, message) => this.#fail(error, { during: "store", message }),
    });
    this.durables = new Durables({
      writer: this.writer,
      dispatch: core.dispatch,
      origin: core.origin,
      isFrozen: core.settings.payloads === "freeze",
      now: () => core.clock.now(),
      afterTurn: (run) => core.loop.afterTurn(run),
      accepts: (queue, message) => core.accepts(queue, message),
      giveUp: (delivery) => core.giveUpRecovered(delivery),
      giveUpUnreadable: (delivery, error) => core.giveUpUnreadable(delivery, error),
      extrasOf: (seq) => this.publisher.extrasOf(seq),
      offerRetained: (queue) => core.registry.offerRetained(queue),
      queueOf: (durable) => {
        const queue = core.registry.queueNamed(durable);
        return queue instanceof DurableQueue ? queue : undefined;
      },
      isClosed: () => this.#isClosed,
      hasDeadLetter: (id) => core.deadLetters?.has(id) === true,
      keepsExpired: core.settings.deadLetter?.reasons.has("expired") === true,
      closeBehind: (queue, error) => core.registry.closeBehind(queue, error),
      failed: (error, subscription) => this.#fail(error, { during: "store", subscription }),
    });
  }

  /** The open store. Throws `ERR_NOT_READY` before. */
  get store(): Store {
    if (this.#store !== null) return this.#store;
    throw brokerError(
      "ERR_NOT_READY",
      "the store is being opened; await broker.ready(), or InProcBroker.open(options)",
    );
  }

  get recoveryReport(): RecoveryReport | undefined {
    return this.#store?.recoveryReport;
  }

  /** Undefined until it is open. */
  get figures(): StoreMetrics | undefined {
    return this.#store?.figures();
  }

  /** Opens the store and takes over what it has. Rejects as the store's opening does. */
  open(): Promise<void> {
    this.#opening = this.#open();
    return this.#opening;
  }

  async #open(): Promise<void> {
    const core = this.#core;
    const { clock, settings, events } = core;
    const store = await this.#persistence.open({
      clock,
      random: this.#random,
      dedup: { window: settings.dedup.windowMs, maxEntries: settings.dedup.maxEntries },
      stateChanged: (_state, error) => {
        if (error !== undefined) this.#fail(error, { during: "store" });
      },
      problem: ({ message, cause }) =>
        this.#fail(brokerError("ERR_STORE_FAILED", message, {}, cause), { during: "store" }),
      expired: () => this.durables.tellExpired(),
    });
    if (this.#isClosed) {
      await store.close();
      return;
    }
    this.#store = store;
    core.publisher.raiseSeq(store.lastSeq);
    this.writer.open(store);
    recoverInto(core, this, store.recovered);
    store.forgetRecovered();
    events.emit("recovered", store.recoveryReport);
  }

  /** Lets in what waited for the store. */
  begin(): void {
    this.durables.opened();
    this.publisher.opened();
  }

  /** Everything published and settled so far is on the disk. */
  async flush(): Promise<void> {
    await this.publisher.whenThrough();
    await this.store.flush();
  }

  /** Appends what nobody waits for; a refusal is an `error` event. */
  tell(steps: readonly StoreStep[]): void {
    this.writer.append(steps).catch((error: unknown) => this.#fail(error, { during: "store" }));
  }

  keepDeadLetter(letter: DeadLetter, bytes: number): void {
    const step = stepOfDeadLetter(letter, bytes);
    try {
      // A handler may have made of the payload what the store cannot keep, and that must not keep the settle from it.
      this.store.check([step]);
    } catch (error) {
      this.#fail(error, { during: "dead-letter" });
      return;
    }
    this.tell([step]);
  }

  /** Resolves when that is kept. A refusal is told besides. */
  forgetDeadLetter(id: string): Promise<void> {
    if (!this.writer.isOpen) return fulfilled;
    const kept = this.writer.append([{ type: "dead-letter-removed", id }]);
    kept.catch((error: unknown) => this.#fail(error, { during: "store" }));
    return kept;
  }

  /** Forgets them in one record; resolves when that is kept. Null where there are none. */
  forgetDeadLetters(letters: readonly DeadLetter[]): Promise<void> | null {
    if (letters.length === 0) return null;
    return this.writer.append(letters.map(({ id }) => ({ type: "dead-letter-removed", id })));
  }

  /** Publishes a dead letter to its topic again, in one record with its end as a dead letter. */
  redrive(draft: Draft, letter: DeadLetter): Redriven {
    return this.#publishAgain(draft, letter, (message) => this.durables.drivenAgain(message), {});
  }

  /** The same for one durable alone: every other that its topic matches has it settled in that record. */
  redriveTo(queue: DurableQueue, draft: Draft, letter: DeadLetter): Redriven {
    const { registry, publisher } = this.#core;
    const { durable, name } = queue;
    const more = (message: PublishedMessage): StoreStep[] => [
      ...this.durables.settledForOthers(message, durable),
      ...this.durables.drivenAgain(message, durable),
    ];
    return this.#publishAgain(draft, letter, more, {
      route: (message) => {
        publisher.counters.routedMessages += 1;
        registry.queueFor(name, draft.topic)?.offer(message);
      },
    });
  }

  #publishAgain(
    draft: Draft,
    letter: DeadLetter,
    more: (message: PublishedMessage) => StoreStep[],
    way: { route?: (message: PublishedMessage) => void },
  ): Redriven {
    let resolve = (): void => undefined;
    let reject: (error: unknown) => void = () => undefined;
    const kept = new Promise<void>((onKept, onRefused) => {
      resolve = onKept;
      reject = onRefused;
    });
    const removed: StoreStep = { type: "dead-letter-removed", id: letter.id };
    const message = this.publisher.publishExtra(draft, (published) => [...more(published), removed], {
      ...way,
      published: resolve,
      refused: (error) => {
        this.#core.deadLetters?.restore(letter, draft.bytes);
        reject(error);
      },
    });
    return { message, kept };
  }

  /** Refuses what is not stored yet, writes what is appended, and closes the store. */
  async close(error: Error): Promise<void> {
    this.#isClosed = true;
    this.publisher.close(error);
    await this.#opening?.catch(() => undefined);
    await this.#store?.close();
  }

  /** After the end there is nobody to tell. */
  #fail(error: unknown, context: ErrorContext): void {
    if (!this.#isClosed) this.#core.fail(error, context);
  }
}
