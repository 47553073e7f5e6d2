import { Ring } from "../collections/ring.js";
import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { Timers } from "../delivery/timers.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import { BrokerError } from "../errors.js";
import type { MessageExtras, PublishedMessage } from "../message/message.js";
import type { Draft } from "./draft.js";
import { Plan } from "./plan.js";
import { idTaken, tooManyDelayed, tooManyHeld } from "./publish-errors.js";
import type { Accepted, Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";
import type { Durability, StoreStep } from "./store-port.js";
import type { StoreWriter } from "./store-writer.js";
import { highest } from "./store-writer.js";
import { factsOf, renumbered } from "./stored-message.js";

/** What the stored publisher needs of the broker around it. */
export interface StoredPublisherHost {
  readonly settings: Settings;
  readonly publisher: Publisher;
  readonly writer: StoreWriter;
  readonly memory: MemoryBudget;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly timers: Timers;
  /** Nothing is on its way into the store any more. */
  quiet(): void;
  /** A message that had been accepted before could not be moved on. */
  failed(error: unknown, message: PublishedMessage): void;
}

/** Something on its way into the store. */
interface Submission {
  /** Bytes that it holds while it waits to begin; 0 where they are counted already. */
  readonly bytes: number;
  /** Appends; the promise resolves once it is stored. Or throws, and has changed nothing. Null: it has entered again. */
  begin(): Promise<void> | null;
  /** It is stored, and everything before it is visible. */
  carryOut(): void;
  /** It was refused: by `begin`, by the store, or by the broker's end. */
  refuse(error: unknown): void;
}

/** Submissions in a row that wait for the same promise: those of one write of the store. */
interface Group {
  readonly stored: Promise<void>;
  readonly submissions: Submission[];
  /** The first that is neither visible nor refused. */
  next: number;
  state: "writing" | "written" | "failed";
  error: unknown;
}

const nothingMore: Partial<MessageExtras> = {};

type Planned = readonly (Plan | Receipt)[];

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
  /** Not appended yet: the store is being opened, or its buffer is full. */
  readonly #entrance = new Ring<Submission>();
  /** Appended, and not visible yet. */
  readonly #line = new Ring<Group>();
  /** The end of the line, which others may join. */
  #last: Group | null = null;
  /** Dedup ids in the line, each with who waits for it to leave. */
  readonly #dedupIds = new Map<string, (() => void)[]>();
  readonly #delayedIds = new Set<string>();
  readonly #retainedTopics = new Map<string, number>();
  /** Delayed messages that are in the store. */
  readonly #scheduled = new WeakSet<PublishedMessage>();
  /** By the number of the message. */
  readonly #confirmations = new Map<number, Partial<MessageExtras>>();
  readonly #tails: { readonly after: number; readonly resolve: () => void }[] = [];
  #entered = 0;
  #left = 0;
  #isPumping = false;
  #refusal: { readonly error: unknown } | null = null;
  /** Delayed messages whose time has come, and that are on their way; or that a store which has failed keeps. */
  releasing = 0;

  constructor(host: StoredPublisherHost) {
    this.#host = host;
  }

  /** Publishes that are neither visible nor refused. */
  get inFlight(): number {
    return this.#entered - this.#left;
  }

  /** Lets in what has waited for the store to be open. */
  opened(): void {
    void this.#pump();
  }

  /** Refuses everything, from now on. */
  close(error: unknown): void {
    this.#refusal = { error };
    for (const submission of this.#entrance) this.#host.memory.unreserve(submission.bytes);
    const submissions = [...this.#line].flatMap((group) => group.submissions.slice(group.next));
    submissions.push(...this.#entrance);
    this.#line.clear();
    this.#last = null;
    this.#entrance.clear();
    for (const submission of submissions) this.#end(() => submission.refuse(error));
  }

  /** Accepts drafts as one, all of them or none: resolves when they are visible. */
  accept(drafts: readonly Draft[]): Promise<Accepted[]> {
    return this.acceptWith(drafts, (append) => append());
  }

  /**
   * The same, with something that goes into the same record: `around` calls `append`, within the writer's `together`.
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
          const first = this.#firstInFlight(drafts);
          if (first !== undefined) {
            first.push(() => this.#enter(submission));
            return null;
          }
          const { publisher, writer, memory } = this.#host;
          planned = publisher.plan(drafts, true);
          this.#requireRoom(planned);
          const number = planned.find((plan) => plan instanceof Plan)?.message.seq ?? Infinity;
          if (number <= writer.lastSeq) publisher.renumber(planned);
          const steps = this.#stepsOf(planned);
          const stored = around(() => writer.append(steps, levelOf(drafts, writer.store.durability)), steps);
          for (const plan of planned) if (plan instanceof Plan) bytes += plan.draft.bytes;
          memory.reserve(bytes);
          this.#reserve(planned);
          isReserved = true;
          return stored;
        },
        carryOut: () => {
          const { publisher } = this.#host;
          const again = this.#unreserve(planned, bytes);
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
          if (isReserved) for (const enter of this.#unreserve(planned, bytes)) enter();
        },
      };
      this.#enter(submission);
    });
  }

  /**
   * Publishes what nobody waits for, beyond the bounds of full queues. Throws `ERR_MEMORY_LIMIT`.
   *
   * @param more - goes into the same record
   * @param around - how it becomes visible, absent: routed as its topic says; and what else to do where it is refused
   */
  publishExtra(
    draft: Draft,
    more: (message: PublishedMessage) => StoreStep[],
    around: { route?: (message: PublishedMessage) => void; refused?: () => void } = {},
  ): PublishedMessage {
    const { publisher, memory, writer } = this.#host;
    publisher.requireMemory(draft.topic, draft.bytes);
    const message = publisher.messageOf(draft);
    memory.reserve(draft.bytes);
    this.#enter({
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
      },
      refuse: (error) => {
        memory.unreserve(draft.bytes);
        around.refused?.();
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
    this.#enter({
      bytes: 0,
      begin: () => {
        if (published.seq <= writer.lastSeq) published = renumbered(message, publisher.nextSeq());
        return writer.append([
          { type: "publish", message: factsOf(published) },
          { type: "delayed-removed", seq: message.seq },
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
        if (this.#refusal === null) this.#host.failed(error, message);
      },
    });
  }

  /** A delayed message will not be published: it was taken back, or has expired. */
  forget(message: PublishedMessage): Promise<void> {
    this.#scheduled.delete(message);
    return this.#host.writer.append([{ type: "delayed-removed", seq: message.seq }]);
  }

  /** Resolves once everything that has entered so far is visible or refused. */
  whenThrough(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    const after = this.#entered;
    return new Promise((resolve) => this.#tails.push({ after, resolve }));
  }

  #enter(submission: Submission): void {
    if (this.#refusal !== null) {
      submission.refuse(this.#refusal.error);
      return;
    }
    const { writer, settings } = this.#host;
    this.#entered += 1;
    if (this.#entrance.length === 0 && writer.isOpen && writer.store.ready() === undefined) {
      this.#begin(submission);
      return;
    }
    const { maxWaitingPublishers } = settings.limits;
    if (this.#entrance.length >= maxWaitingPublishers) {
      this.#end(() => submission.refuse(tooManyHeld("a stored topic", this.#entrance.length)));
      return;
    }
    const { memory, publisher } = this.#host;
    try {
      publisher.requireMemory("a stored topic", submission.bytes);
    } catch (error) {
      this.#end(() => submission.refuse(error));
      return;
    }
    memory.reserve(submission.bytes);
    this.#entrance.push(submission);
    void this.#pump();
  }

  async #pump(): Promise<void> {
    const { writer } = this.#host;
    if (this.#isPumping || !writer.isOpen) return;
    this.#isPumping = true;
    for (;;) {
      const ready = writer.store.ready();
      if (ready !== undefined) {
        await ready.catch(() => undefined);
        continue;
      }
      const submission = this.#entrance.shift();
      if (submission === undefined) break;
      this.#host.memory.unreserve(submission.bytes);
      this.#begin(submission);
    }
    this.#isPumping = false;
  }

  #begin(submission: Submission): void {
    let stored: Promise<void> | null;
    try {
      stored = submission.begin();
    } catch (error) {
      this.#end(() => submission.refuse(error));
      return;
    }
    if (stored === null) {
      this.#end(() => undefined);
      return;
    }
    const last = this.#last;
    if (last?.stored === stored && last.state === "writing") last.submissions.push(submission);
    else this.#wait({ stored, submissions: [submission], next: 0, state: "writing", error: undefined });
  }

  #wait(group: Group): void {
    this.#line.push(group);
    this.#last = group;
    group.stored.then(
      () => {
        group.state = "written";
        this.#proceed();
      },
      (error: unknown) => {
        group.state = "failed";
        group.error = error;
        this.#proceed();
      },
    );
  }

  /** Makes visible what is stored, as far as everything before it is. */
  #proceed(): void {
    for (;;) {
      const group = this.#line.peek();
      if (group === undefined || group.state === "writing") return;
      const submission = group.submissions[group.next];
      if (submission === undefined) {
        this.#line.shift();
        if (this.#last === group) this.#last = null;
        continue;
      }
      group.next += 1;
      this.#left += 1;
      if (group.state === "failed") submission.refuse(group.error);
      else submission.carryOut();
      this.#ended();
    }
  }

  #end(finish: () => void): void {
    this.#left += 1;
    finish();
    this.#ended();
  }

  #ended(): void {
    while (this.#tails.length > 0 && (this.#tails[0] as { after: number }).after <= this.#left)
      this.#tails.shift()?.resolve();
    if (this.inFlight === 0) this.#host.quiet();
  }

  /** Who waits for a dedup id of these drafts: it is on its way, and decides what they are. */
  #firstInFlight(drafts: readonly Draft[]): (() => void)[] | undefined {
    if (this.#dedupIds.size === 0) return undefined;
    for (const { dedupId } of drafts) {
      const first = dedupId === undefined ? undefined : this.#dedupIds.get(dedupId);
      if (first !== undefined) return first;
    }
    return undefined;
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

  /** What the plan could not know: places in tables that are promised to others on their way. */
  #requireRoom(planned: Planned): void {
    const { settings, delayed, retained } = this.#host;
    let more = 0;
    let topics: Set<string> | null = null;
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.due !== null) {
        more += 1;
        if (this.#delayedIds.has(message.id)) throw idTaken(message.id);
        if (delayed.size + this.#delayedIds.size + more > settings.limits.maxDelayed) throw tooManyDelayed(settings);
      }
      if (draft.isRetained && draft.data !== null && !retained.has(draft.topic)) {
        topics ??= new Set();
        if (!this.#retainedTopics.has(draft.topic)) topics.add(draft.topic);
        retained.requireRoom(draft.topic, this.#retainedTopics.size + topics.size);
      }
    }
  }

  #reserve(planned: Planned): void {
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.dedupId !== undefined) this.#dedupIds.set(draft.dedupId, []);
      if (draft.due !== null) this.#delayedIds.add(message.id);
      if (draft.isRetained) this.#retainedTopics.set(draft.topic, (this.#retainedTopics.get(draft.topic) ?? 0) + 1);
    }
  }

  /** Gives back what was reserved; returns what has waited for a dedup id. */
  #unreserve(planned: Planned, bytes: number): (() => void)[] {
    this.#host.memory.unreserve(bytes);
    const again: (() => void)[] = [];
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.dedupId !== undefined) {
        again.push(...(this.#dedupIds.get(draft.dedupId) ?? []));
        this.#dedupIds.delete(draft.dedupId);
      }
      if (draft.due !== null) this.#delayedIds.delete(message.id);
      if (!draft.isRetained) continue;
      const left = (this.#retainedTopics.get(draft.topic) ?? 1) - 1;
      if (left === 0) this.#retainedTopics.delete(draft.topic);
      else this.#retainedTopics.set(draft.topic, left);
    }
    return again;
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
    const facts = factsOf(message, { deliverAt, dedupId, retain: isRetained && data !== null });
    steps.push({ type: "publish", message: facts });
    if (isRetained && data === null) steps.push({ type: "retained-cleared", topic });
  }
}

/** The level of a batch: the highest of its messages'. */
function levelOf(drafts: readonly Draft[], byDefault: Durability): Durability {
  let level: Durability = "memory";
  for (const draft of drafts) if (draft.isStored) level = highest(level, draft.durability ?? byDefault);
  return level;
}
