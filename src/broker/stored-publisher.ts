import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { Timers } from "../delivery/timers.js";
import { BrokerError } from "../errors.js";
import type { MessageExtras, PublishedMessage } from "../message/message.js";
import type { Draft } from "./draft.js";
import type { PlainStoredHost } from "./plain-stored.js";
import { PlainStored } from "./plain-stored.js";
import type { Planned } from "./plan.js";
import { Plan } from "./plan.js";
import type { Accepted } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import { Reservations } from "./reservations.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";
import type { Submission } from "./store-line.js";
import { StoreLine } from "./store-line.js";
import type { Durability, StoreStep } from "./store-port.js";
import { highest } from "./store-writer.js";
import { factsOf, renumbered } from "./stored-message.js";

/** What the stored publisher needs of the broker around it. */
export interface StoredPublisherHost extends PlainStoredHost {
  readonly settings: Settings;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly timers: Timers;
  /** Nothing is on its way into the store any more. */
  quiet(): void;
  /** A message that had been accepted before could not be moved on. */
  failed(error: unknown, message: PublishedMessage): void;
}

const nothingMore: Partial<MessageExtras> = {};

/** Milliseconds until a delayed message that the store had no room for is tried again. */
const retryMs = 1_000;

/**
 * The way of messages that are stored: planned as any other, appended as one record for each call, and carried out when
 * that has reached its level of durability.
 *
 * Messages become visible in the order of their numbers, which is the order of the calls. So any number of publishers wait
 * for the same write, and one that does not await its publishes sees them in its order; a message of a lower level that was
 * published after one of a higher level waits for it.
 *
 * Between plan and carrying out, nothing is visible, and what the message will take (memory, ids, places in tables) is
 * reserved. Where the append fails, that is given back, and nothing has happened.
 */
export class StoredPublisher {
  readonly #host: StoredPublisherHost;
  readonly #line: StoreLine;
  readonly #reservations: Reservations;
  /** The short way, for a message that nothing sets apart. */
  readonly plain: PlainStored;
  /** Delayed messages that are in the store. */
  readonly #scheduled = new WeakSet<PublishedMessage>();
  /** By the number of the message. */
  readonly #confirmations = new Map<number, Partial<MessageExtras>>();
  /** Delayed messages whose time has come, and that are on their way; or that a store which has failed keeps. */
  releasing = 0;

  constructor(host: StoredPublisherHost) {
    this.#host = host;
    this.#line = new StoreLine(host);
    this.#reservations = new Reservations(host);
    this.plain = new PlainStored(host, this.#line);
  }

  /** Publishes that are neither visible nor refused. */
  get inFlight(): number {
    return this.#line.length;
  }

  /** Lets in what has waited for the store to be open. */
  opened(): void {
    this.#line.opened();
  }

  /** Refuses everything, from now on. */
  close(error: unknown): void {
    this.#line.close(error);
  }

  /** Resolves once everything that has entered so far is visible or refused. */
  whenThrough(): Promise<void> {
    return this.#line.whenThrough();
  }

  /** Accepts drafts as one, all of them or none: resolves when they are visible. */
  accept(drafts: readonly Draft[]): Promise<Accepted[]> {
    return this.acceptWith(drafts, (append) => append());
  }

  /**
   * The same, with something that goes into the same record: `around` calls `append`, within the writer's `together`, after
   * whatever publishes: messages become visible in the order in which they were appended, and that must be their numbers'.
   * What it throws refuses the whole, and it may throw only before it has changed anything.
   */
  acceptWith(
    drafts: readonly Draft[],
    around: (append: () => Promise<void>, steps: readonly StoreStep[]) => Promise<void>,
  ): Promise<Accepted[]> {
    return new Promise((resolve, reject) => {
      let planned: Planned = [];
      let bytes = 0;
      let isReserved = false;
      const submission: Submission = {
        bytes: drafts.reduce((sum, draft) => sum + draft.bytes, 0),
        begin: () => {
          for (const { signal } of drafts) signal?.throwIfAborted();
          const first = this.#reservations.firstInFlight(drafts);
          if (first !== undefined) {
            first.push(() => this.#line.enter(submission));
            return null;
          }
          const { publisher, writer } = this.#host;
          planned = publisher.plan(drafts, true);
          this.#reservations.requireRoom(planned);
          let steps = this.#stepsOf(planned);
          const stored = around(() => {
            const number = planned.find((plan) => plan instanceof Plan)?.message.seq ?? Infinity;
            if (number <= writer.lastSeq) {
              publisher.renumber(planned);
              steps = this.#stepsOf(planned);
            }
            return writer.append(steps, levelOf(drafts, writer.store.durability));
          }, steps);
          for (const plan of planned) if (plan instanceof Plan) bytes += plan.draft.bytes;
          this.#reservations.reserve(planned, bytes);
          isReserved = true;
          return stored;
        },
        carryOut: () => {
          const { publisher } = this.#host;
          const again = this.#reservations.unreserve(planned, bytes);
          for (const plan of planned) {
            if (plan instanceof Plan && plan.draft.isStored && plan.draft.due !== null)
              this.#scheduled.add(plan.message);
          }
          const accepted = publisher.carryOut(planned);
          planned.forEach((plan, index) => this.#watchConfirms(plan, accepted[index] as Accepted));
          resolve(accepted);
          for (const enter of again) enter();
        },
        refuse: (error) => {
          reject(error);
          if (isReserved) for (const enter of this.#reservations.unreserve(planned, bytes)) enter();
        },
      };
      this.#line.enter(submission);
    });
  }

  /**
   * Publishes what nobody waits for, beyond the bounds of full queues. Throws `ERR_MEMORY_LIMIT`.
   *
   * @param more - goes into the same record
   * @param around - how it becomes visible, absent: routed as its topic says; and what else to do then, or where it is refused
   */
  publishExtra(
    draft: Draft,
    more: (message: PublishedMessage) => StoreStep[],
    around: {
      route?: (message: PublishedMessage) => void;
      published?: () => void;
      refused?: (error: unknown) => void;
    } = {},
  ): PublishedMessage {
    const { publisher, memory, writer } = this.#host;
    publisher.requireMemory(draft.topic, draft.bytes);
    const message = publisher.messageOf(draft);
    memory.reserve(draft.bytes);
    this.#line.enter({
      bytes: 0,
      begin: () => {
        if (message.seq <= writer.lastSeq) message.seq = publisher.nextSeq();
        return writer.append([{ type: "publish", message: factsOf(message) }, ...more(message)], draft.durability);
      },
      carryOut: () => {
        memory.unreserve(draft.bytes);
        publisher.counters.published += 1;
        if (around.route === undefined) publisher.routeAccepted(message);
        else around.route(message);
        around.published?.();
      },
      refuse: (error) => {
        memory.unreserve(draft.bytes);
        around.refused?.(error);
        this.#host.failed(error, message);
      },
    });
    return message;
  }

  /** True for a delayed message that is in the store. */
  isScheduled(message: PublishedMessage): boolean {
    return this.#scheduled.has(message);
  }

  /** Takes over a delayed message that recovery found. */
  recovered(message: PublishedMessage): void {
    this.#scheduled.add(message);
  }

  /** A delayed message's time has come: it gets a new number and becomes visible, in one record with its end as a delayed one. */
  release(message: PublishedMessage): void {
    const { publisher, writer, timers, memory, delayed } = this.#host;
    if (message.expiresAtMs !== 0 && message.expiresAtMs <= timers.dates.now()) {
      this.forget(message).catch((error: unknown) => this.#host.failed(error, message));
      publisher.expireScheduled(message);
      return;
    }
    let published = renumbered(message, publisher.nextSeq());
    this.releasing += 1;
    this.#line.enter({
      bytes: 0,
      begin: () => {
        if (published.seq <= writer.lastSeq) published = renumbered(message, publisher.nextSeq());
        const isToRetain = published.extras?.isToRetain === true;
        const isClearing = isToRetain && published.data === null;
        return writer.append([
          { type: "publish", message: factsOf(published, { retain: isToRetain && !isClearing }) },
          { type: "delayed-removed", seq: message.seq },
          ...(isClearing ? [{ type: "retained-cleared", topic: published.topic } as const] : []),
        ]);
      },
      carryOut: () => {
        this.releasing -= 1;
        publisher.routeAccepted(published);
        memory.release(message);
      },
      refuse: (error) => {
        const isPassing =
          error instanceof BrokerError && (error.code === "ERR_STORE_FULL" || error.code === "ERR_QUEUE_FULL");
        if (isPassing) {
          this.releasing -= 1;
          delayed.add(message, timers.deadlines, timers.deadlines.now() + retryMs);
          return;
        }
        memory.release(message);
        if (!this.#line.isClosed) this.#host.failed(error, message);
      },
    });
  }

  /** A delayed message will not be published: it was taken back, or has expired. */
  forget(message: PublishedMessage): Promise<void> {
    this.#scheduled.delete(message);
    return this.#host.writer.append([{ type: "delayed-removed", seq: message.seq }]);
  }

  /** Who waits for the confirms of a message may have to be told when it comes back from the store. */
  #watchConfirms(plan: Plan | Receipt, { waits }: Accepted): void {
    if (!(plan instanceof Plan) || plan.confirmation === null) return;
    const { seq, extras } = plan.message;
    this.#confirmations.set(seq, { onAcked: extras?.onAcked });
    const forget = (): void => void this.#confirmations.delete(seq);
    Promise.all(waits).then(forget, forget);
  }

  /** What a message carries besides what is stored. */
  extrasOf(seq: number): Partial<MessageExtras> {
    return this.#confirmations.get(seq) ?? nothingMore;
  }

  #stepsOf(planned: Planned): StoreStep[] {
    const steps: StoreStep[] = [];
    for (const plan of planned) if (plan instanceof Plan && plan.draft.isStored) this.#addSteps(plan, steps);
    return steps;
  }

  #addSteps({ draft, message }: Plan, steps: StoreStep[]): void {
    const { timers } = this.#host;
    const { due, dedupId, isRetained, data, topic } = draft;
    const deliverAt = due === null ? undefined : timers.dates.now() + (due.at - timers[due.on].now());
    const facts = factsOf(message, { deliverAt, dedupId, retain: isRetained && (data !== null || due !== null) });
    steps.push({ type: "publish", message: facts });
    if (isRetained && data === null && due === null) steps.push({ type: "retained-cleared", topic });
  }
}

/** The level of a batch: the highest of its messages'. */
function levelOf(drafts: readonly Draft[], byDefault: Durability): Durability {
  let level: Durability = "memory";
  for (const draft of drafts) if (draft.isStored) level = highest(level, draft.durability ?? byDefault);
  return level;
}
