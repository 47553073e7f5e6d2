import type { GiveUpReason } from "../delivery/ack-tracker.js";
import type { DeadLetter, DeadLetterReason } from "../delivery/dead-letter.js";
import { DeadLetterManager } from "../delivery/dead-letters.js";
import type { Timers } from "../delivery/timers.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import type { DropReason, QueueFacts } from "../dispatch/queue-facts.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import type { Router } from "../dispatch/router.js";
import { brokerError, errorText } from "../errors.js";
import type { Attempt, Delivery, FlightOutcome } from "../message/delivery.js";
import type { Message, MessageRecord, PublishedMessage } from "../message/message.js";
import { fulfilled, messageRecord } from "../message/message.js";
import { UndecodedPayload } from "../message/undecoded-payload.js";
import { payloadBytes } from "../message/size.js";
import type { ErrorContext, Events } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import { checkPattern, matchesPattern } from "../topic/grammar.js";
import { plainDraft, type Draft, type Drafter } from "./draft.js";
import type { Observers } from "./observers.js";
import { asSeenBy } from "./observers.js";
import type { Publisher } from "./publisher.js";
import type { Settings } from "./settings.js";
import type { Redriven, StoreLink } from "./store-link.js";
import type { SubscriptionRegistry } from "./subscription-registry.js";
import type { TopicFacts } from "./topic-facts.js";

/** What the undertaker needs of the broker: the core. */
export interface UndertakerHost {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly events: Events;
  readonly observers: Observers;
  readonly router: Router<TopicFacts>;
  readonly registry: SubscriptionRegistry;
  readonly drafter: Drafter;
  readonly publisher: Publisher;
  readonly store: StoreLink | null;
  /** Aborted when the broker closes. */
  readonly abort: AbortController;
  fail(error: unknown, context: ErrorContext): void;
}

const noSteps = (): never[] => [];

/**
 * Takes the messages that will not be delivered (dropped, expired, given up on): tells of them, keeps as dead letters those
 * that the broker option `deadLetter` names, and drives dead letters again.
 */
export class Undertaker {
  /** The dead letters; null where none are kept. */
  readonly letters: DeadLetterManager | null;
  readonly #core: UndertakerHost;
  readonly #redrives = new WeakMap<PublishedMessage, number>();
  /** The dead letters that deliveries were made. */
  readonly #lettersOf = new WeakMap<Delivery, DeadLetter>();
  #isPublishing = false;

  constructor(core: UndertakerHost, hold: () => () => void) {
    this.#core = core;
    const { deadLetter } = core.settings;
    this.letters = deadLetter === null ? null : this.#open(deadLetter, hold);
  }

  /** A queue has dropped a message. */
  dropped(queue: QueueFacts, message: PublishedMessage, reason: DropReason, from: Delivery | null): void {
    this.#core.observers.tellDrop(from ?? asSeenBy(queue, message), reason, queue.name);
    if (reason === "overflow" && this.#keeps("overflow")) {
      this.#bury(message, recordFor(from ?? message, queue), "overflow", queue, undefined, from?.history ?? []);
    }
  }

  /** The time to live of a message that waited is over. */
  expired(queue: QueueFacts, delivery: Delivery): void {
    const { observers, events } = this.#core;
    observers.tellDrop(delivery, "expired", queue.name);
    if (events.has("expire")) events.emit("expire", { message: delivery, subscription: queue.name });
    if (this.#keeps("expired")) {
      this.#bury(delivery.message, recordFor(delivery, queue), "expired", queue, undefined, delivery.history ?? []);
    }
  }

  /** A handler threw on a message that nothing will deliver again. */
  undone(queue: QueueFacts, message: Message, error: unknown): void {
    if (!this.#keeps("handler-error")) return;
    queue.counters.delivered -= 1;
    queue.counters.deadLettered += 1;
    const published = "message" in message ? (message as Delivery).message : (message as PublishedMessage);
    this.#bury(published, recordFor(message, queue), "handler-error", queue, errorText(error), []);
  }

  /** Keeps or drops a message that a consumer gave up on, and says which. */
  giveUp(delivery: Delivery, reason: GiveUpReason, history: readonly Attempt[]): FlightOutcome {
    const error = history.at(-1)?.reason;
    const queue = delivery.source as unknown as QueueFacts;
    if (this.#keeps(reason)) {
      const letter = this.#bury(delivery.message, recordFor(delivery, queue), reason, queue, error, history);
      this.#lettersOf.set(delivery, letter);
      return "deadLettered";
    }
    this.#core.observers.tellDrop(delivery, reason, delivery.source.name);
    return reason;
  }

  /** A delivery was not given up on after all: a store has refused it. Its dead letter, where it is one, goes. */
  withdraw(delivery: Delivery): void {
    const letter = this.#lettersOf.get(delivery);
    if (letter !== undefined) this.letters?.withdraw(letter.id);
  }

  /**
   * The payload of a stored message cannot be decoded: it becomes a dead letter (`handler-error`) with the payload's bytes.
   * False where dead letters do not take it, or are full: a codec with a bug must not push out what is there, nor itself.
   */
  unreadable(delivery: Delivery, error: Error): boolean {
    const { letters } = this;
    const { deadLetter } = this.#core.settings;
    if (letters === null || deadLetter === null || !this.#keeps("handler-error")) return false;
    const { count, bytes } = letters.stats();
    const { message } = delivery;
    if (count >= deadLetter.maxMessages || bytes + message.bytes > deadLetter.maxBytes) return false;
    const queue = delivery.source as unknown as QueueFacts;
    this.#bury(message, recordFor(delivery, queue), "handler-error", queue, errorText(error), []);
    return true;
  }

  #keeps(reason: DeadLetterReason): boolean {
    return this.#core.settings.deadLetter?.reasons.has(reason) === true;
  }

  /** Keeps a message that was given up on, and publishes it to the dead-letter topic. */
  #bury(
    published: PublishedMessage,
    message: MessageRecord,
    reason: DeadLetterReason,
    queue: QueueFacts,
    error: string | undefined,
    history: readonly Attempt[],
  ): DeadLetter {
    const { topic } = message;
    const redrives = this.#redrives.get(published) ?? 0;
    const facts = { message, reason, topic, subscription: queue.name, error, history, redrives };
    const letter = (this.letters as DeadLetterManager).add(facts, published.bytes);
    const { store } = this.#core;
    if (store === null) {
      this.#tellBuried(letter);
      return letter;
    }
    store.writer.together(() => {
      store.keepDeadLetter(letter, published.bytes);
      this.#tellBuried(letter);
    });
    return letter;
  }

  #tellBuried(letter: DeadLetter): void {
    this.#core.events.emit("dead-letter", letter);
    // A dead letter of the dead-letter topic stays in the list; published there again it would go round for ever. So does
    // one that had to make room for a dead letter: each would push out the next, until nothing else is in that queue.
    if (letter.topic !== this.#core.settings.deadLetter?.topic && !this.#isPublishing) this.#publishDeadLetter(letter);
  }

  #publishDeadLetter(letter: DeadLetter): void {
    const { message } = letter;
    const topic = this.#core.settings.deadLetter?.topic as string;
    try {
      const headers = {
        ...message.headers,
        "dead-letter-id": letter.id,
        "dead-letter-reason": letter.reason,
        "dead-letter-topic": letter.topic,
        "dead-letter-subscription": letter.subscription,
        "dead-letter-deliveries": String(message.deliveryCount),
        ...(letter.error === undefined ? {} : { "dead-letter-error": letter.error }),
      };
      const options = { headers, ...(message.key === undefined ? {} : { key: message.key }) };
      const { data } = message;
      const copy = data instanceof UndecodedPayload ? data.slice() : data;
      const draft = this.#core.drafter.draft(topic, copy, options);
      if (draft instanceof Promise) {
        draft
          .then((ready) => this.#publishToDeadLetterTopic(ready))
          .catch((error: unknown) => this.#core.fail(error, { during: "dead-letter" }));
      } else this.#publishToDeadLetterTopic(draft);
    } catch (error) {
      this.#core.fail(error, { during: "dead-letter" });
    }
  }

  #publishToDeadLetterTopic(draft: Draft): void {
    const { abort, store, publisher } = this.#core;
    if (abort.signal.aborted) throw abort.signal.reason;
    this.#isPublishing = true;
    try {
      if (draft.isStored) (store as StoreLink).publisher.publishExtra(draft, noSteps);
      else publisher.publishExtra(draft);
    } finally {
      this.#isPublishing = false;
    }
  }

  #open(settings: NonNullable<Settings["deadLetter"]>, hold: () => () => void): DeadLetterManager {
    return new DeadLetterManager(settings, {
      now: () => this.#core.clock.now(),
      deadlines: this.#core.timers.deadlines,
      matches: matchesPattern,
      checkPattern: (pattern) => checkPattern(pattern, this.#core.settings.limits),
      redrive: (letter) => this.#redrive(letter),
      forget: (letters) => this.#core.store?.forgetDeadLetters(letters) ?? null,
      evicted: (letter) => {
        this.#core.store?.forgetDeadLetter(letter.id).catch(() => undefined);
        this.#tellEvicted(letter);
      },
      hold,
    });
  }

  #redrive(letter: DeadLetter): Promise<void> | null {
    const { message } = letter;
    if (message.data instanceof UndecodedPayload) {
      const text = `dead letter ${letter.id} cannot be delivered: its payload cannot be decoded (${letter.error ?? ""}); open the store with a codec that can`;
      this.#core.fail(brokerError("ERR_STORE_CORRUPT", text, { id: letter.id, topic: letter.topic }), {
        during: "dead-letter",
      });
      return null;
    }
    const queue = this.#core.registry.queueFor(letter.subscription, message.topic);
    const { id, topic, data, headers, key, priority, replyTo, correlationId } = message;
    const extras = { id, headers, key, replyTo, correlationId, replayed: true };
    // Without its expiry: what has expired would be dropped at once, and whoever drives it again wants it delivered.
    const draft = plainDraft(topic, data, payloadBytes(data), priority, extras);
    const { message: published, kept } = this.#driveAgain(letter, draft, queue);
    this.#redrives.set(published, letter.redrives + 1);
    return kept;
  }

  /** To the subscription that gave it up, or to its topic where that has gone. */
  #driveAgain(letter: DeadLetter, draft: Draft, queue: DeliveryQueue | undefined): Redriven {
    const { store, publisher, router } = this.#core;
    if (store !== null && queue instanceof DurableQueue) return store.redriveTo(queue, draft, letter);
    if (store !== null && queue === undefined && router.routeAgain(draft.topic).attachment.isStored) {
      return store.redrive(draft, letter);
    }
    const driven = queue === undefined ? publisher.publishExtra(draft) : publisher.deliverTo(queue, draft);
    return { message: driven, kept: store?.forgetDeadLetter(letter.id) ?? fulfilled };
  }

  #tellEvicted(letter: DeadLetter): void {
    this.#core.fail(
      brokerError(
        "ERR_LIMIT_EXCEEDED",
        `dead letter ${letter.id} (${letter.reason} on ${JSON.stringify(letter.topic)}) was let go: deadLetter.maxMessages, maxBytes or maxAge was reached; purge or redrive in time, or raise them`,
        { id: letter.id, topic: letter.topic },
      ),
      { during: "dead-letter" },
    );
  }
}

/** The facts of a message, under the name of the queue it is given up for. */
function recordFor(message: Message, queue: QueueFacts): MessageRecord {
  return { ...messageRecord(message), subscription: queue.name, deliveryId: "" };
}
