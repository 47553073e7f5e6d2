import type { Backlog, BacklogItem } from "../dispatch/durable-queue.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import type { DispatchHost } from "../dispatch/ports.js";
import type { QueueSettings } from "../dispatch/queue-facts.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import type { Delivery, FlightOutcome } from "../message/delivery.js";
import type { MessageExtras, MessageOrigin, PublishedMessage } from "../message/message.js";
import { matchesPattern } from "../topic/grammar.js";
import { ExpiredBacklog } from "./expired-backlog.js";
import type { SubscribeOptions } from "./options.js";
import type { PendingMessage, Recovered, SettleStep, StoredFacts, StorePoint, StoreStep } from "./store-port.js";
import type { StoreWriter } from "./store-writer.js";
import { messageFrom, Stamps, unreadable } from "./stored-message.js";
import { historyPrefix, storePoint } from "./subscribe-settings.js";

/** What the durables need of the broker around them. */
export interface DurablesHost {
  readonly writer: StoreWriter;
  readonly dispatch: DispatchHost;
  readonly origin: MessageOrigin;
  readonly isFrozen: boolean;
  readonly now: () => number;
  readonly afterTurn: (run: () => void) => void;
  readonly accepts: (queue: DeliveryQueue, message: PublishedMessage) => boolean;
  readonly giveUp: (delivery: Delivery) => FlightOutcome;
  readonly giveUpUnreadable: (delivery: Delivery, error: Error) => boolean;
  /** What a message of that number carries besides what is stored: who waits for its confirms. */
  readonly extrasOf: (seq: number) => Partial<MessageExtras>;
  readonly failed: (error: unknown, subscription: string) => void;
  /** Puts the retained messages that a queue asks for into it. */
  readonly offerRetained: (queue: DeliveryQueue) => void;
  /** The queue of a durable, parked or not. */
  readonly queueOf: (durable: string) => DurableQueue | undefined;
  readonly isClosed: () => boolean;
  readonly hasDeadLetter: (id: string) => boolean;
  /** Whether what expires becomes a dead letter. */
  readonly keepsExpired: boolean;
  /** Ends the subscriptions behind a queue, with an error. */
  readonly closeBehind: (queue: DeliveryQueue, error: unknown) => void;
}

interface Known {
  patterns: readonly string[];
  /** Its place is being looked for: it is not in the store yet. */
  isSought: boolean;
  /** What has become of it since; goes into the store with it. */
  readonly changes: StoreStep[];
}

const knownAs = (patterns: readonly string[]): Known => ({ patterns, isSought: false, changes: [] });

/**
 * The durables of a broker: their queues, and what the store is told of them.
 *
 * A subscription that begins in the past is a durable too, under a name nobody can give; it goes with the subscription,
 * or at the next opening of the store where the process died before.
 */
export class Durables {
  readonly #host: DurablesHost;
  readonly #known = new Map<string, Known>();
  readonly #expired: ExpiredBacklog;
  readonly #stamps: Stamps;
  /** Connections that wait for the store to be open. */
  #waiting: (() => void)[] = [];
  #lastNumber = 0;
  /** The last promise of a settle, whose rejection nobody need see. */
  #quieted: Promise<void> | null = null;

  constructor(host: DurablesHost) {
    this.#host = host;
    this.#stamps = new Stamps(host.origin);
    const { writer, queueOf, isClosed, hasDeadLetter, keepsExpired, afterTurn } = host;
    this.#expired = new ExpiredBacklog({
      writer,
      isOpen: () => writer.isOpen && !isClosed(),
      durables: () => [...this.#known.keys()].filter((name) => !name.startsWith(historyPrefix)),
      queueOf,
      itemOf: (facts) => this.#expiredItem(facts),
      hasDeadLetter,
      isKept: keepsExpired,
      afterTurn,
    });
  }

  /** Tells of what has expired in backlogs, before a checkpoint removes it. */
  tellExpired(): Promise<void> {
    return this.#expired.tell();
  }

  /** A name for a subscription that begins in the past. */
  newHistoryName(): string {
    this.#lastNumber += 1;
    return `${historyPrefix}history-${this.#lastNumber}`;
  }

  /** A queue for the durable of that name, parked. */
  openQueue(
    durable: string,
    name: string,
    patterns: readonly string[],
    shard: number,
    settings: QueueSettings,
  ): DurableQueue {
    const backlog = this.#backlogOf(durable, name);
    return new DurableQueue(durable, name, patterns, shard, settings, this.#host.dispatch, backlog);
  }

  /** Takes over what the store has. Returns those that somebody may come back to. */
  recover(durables: Recovered["durables"]): readonly { readonly name: string; readonly patterns: readonly string[] }[] {
    const left = durables.filter(({ name }) => name.startsWith(historyPrefix));
    for (const { name } of left)
      this.#tell({ type: "durable", change: "deleted", name, patterns: [], position: 0 }, name);
    const kept = durables.filter(({ name }) => !name.startsWith(historyPrefix));
    for (const { name, patterns } of kept) this.#known.set(name, knownAs(patterns));
    return kept;
  }

  /** Lets in the connections that have waited for the store. */
  opened(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const connect of waiting) connect();
  }

  /** A first consumer is there: makes the durable where it is new, and begins to bring in its backlog. */
  connect(queue: DurableQueue, from: SubscribeOptions["from"]): void {
    if (!this.#host.writer.isOpen) this.#waiting.push(() => this.connect(queue, from));
    else this.#connect(queue, from);
  }

  /** Forgets the durable: position and backlog. Resolves once that is stored. */
  delete(name: string): Promise<void> {
    if (!this.#host.writer.isOpen)
      return new Promise((resolve) => this.#waiting.push(() => resolve(this.delete(name))));
    if (!this.#known.delete(name)) return Promise.resolve();
    return this.#host.writer.append([{ type: "durable", change: "deleted", name, patterns: [], position: 0 }]);
  }

  /** Forgets the backlog of the durable behind a queue, and keeps its position: it goes on with what comes from now on. */
  empty(queue: DurableQueue): void {
    const { lastSeq } = this.#host.writer;
    const known = this.#known.get(queue.durable);
    const anew = this.#created(queue.durable, queue.patterns, lastSeq + 1);
    // One whose place is being looked for is emptied once it is made: it would begin at that place otherwise.
    if (known?.isSought === true) known.changes.push(anew);
    else this.#tell(anew, queue.name);
    queue.start(lastSeq, lastSeq);
    if (known?.isSought === true) queue.seek();
  }

  /** Messages that a durable has still to settle; undefined where the store does not know it yet. */
  backlogOf(durable: string): number | undefined {
    const { writer } = this.#host;
    if (!writer.isOpen || !this.#known.has(durable)) return undefined;
    try {
      return writer.store.backlog(durable).messages;
    } catch {
      // It was made in this turn, and is not in the log yet; or the broker is closed.
      return undefined;
    }
  }

  /** Steps that settle a message for every durable but one: it is for that one alone. */
  settledForOthers(message: PublishedMessage, durable: string): StoreStep[] {
    const steps: StoreStep[] = [];
    for (const [name, { patterns }] of this.#known) {
      if (name === durable || !patterns.some((pattern) => matchesPattern(pattern, message.topic))) continue;
      steps.push({ type: "settle", durable: name, seq: message.seq, outcome: "ack", deliveryCount: 0 });
    }
    return steps;
  }

  /** Steps that mark a message as delivered again, for all the durables that get it or for the one alone. */
  drivenAgain({ topic, seq }: PublishedMessage, durable?: string): StoreStep[] {
    const steps: StoreStep[] = [];
    for (const [name, { patterns }] of this.#known) {
      if (durable !== undefined && name !== durable) continue;
      if (!patterns.some((pattern) => matchesPattern(pattern, topic))) continue;
      steps.push({ type: "settle", durable: name, seq, outcome: "attempt", deliveryCount: 0 });
    }
    return steps;
  }

  #connect(queue: DurableQueue, from: SubscribeOptions["from"]): void {
    const { writer } = this.#host;
    const { durable, patterns } = queue;
    const { lastSeq } = writer;
    const known = this.#known.get(durable);
    if (known !== undefined) {
      if (!isSame(known.patterns, patterns)) {
        known.patterns = patterns;
        const position = lastSeq + 1;
        const change = {
          type: "durable",
          change: "changed",
          name: durable,
          patterns,
          position,
          options: null,
        } as const;
        if (known.isSought) known.changes.push(change);
        else this.#tell(change, queue.name);
      }
      if (known.isSought) queue.seek();
      else queue.start(0, lastSeq);
      return;
    }
    const mine = knownAs(patterns);
    this.#known.set(durable, mine);
    // Another may have come in this one's place, since it left.
    const current = (): DurableQueue => this.#host.queueOf(durable) ?? queue;
    const fail = (error: unknown): void => {
      const isMine = this.#known.get(durable) === mine;
      if (isMine) this.#known.delete(durable);
      this.#host.closeBehind(isMine ? current() : queue, error);
    };
    const create = (position: number, leave: readonly StoreStep[] = []): void => {
      mine.isSought = false;
      writer.append([this.#created(durable, patterns, position), ...mine.changes, ...leave]).catch(fail);
      if (from === "last" && queue.consumers.length > 0) this.#host.offerRetained(queue);
      current().start(Math.min(position - 1, lastSeq), writer.lastSeq);
    };
    if (typeof from === "object" && "time" in from) {
      // Until its place is found, something else has to wait for what comes: it would be gone otherwise.
      const stand = this.newHistoryName();
      const leave: StoreStep = { type: "durable", change: "deleted", name: stand, patterns: [], position: 0 };
      this.#tell(this.#created(stand, patterns, lastSeq + 1), queue.name);
      mine.isSought = true;
      queue.seek();
      this.#positionAt(storePoint("from", from), patterns, lastSeq + 1).then(
        (position) => {
          // It may have been deleted meanwhile, and made anew.
          if (this.#known.get(durable) === mine) create(position, [leave]);
          else this.#tell(leave, queue.name);
        },
        (error: unknown) => {
          this.#tell(leave, queue.name);
          fail(error);
        },
      );
      return;
    }
    // One that is still to come means "new".
    const first = typeof from === "object" && "seq" in from ? Math.max(1, from.seq) : Infinity;
    create(from === "oldest" ? 1 : Math.min(first, lastSeq + 1));
  }

  #created(name: string, patterns: readonly string[], position: number): StoreStep {
    const options = name.startsWith(historyPrefix) ? { isReader: true } : null;
    return { type: "durable", change: "created", name, patterns, position, options };
  }

  async #positionAt(from: StorePoint, patterns: readonly string[], otherwise: number): Promise<number> {
    for await (const [first] of this.#host.writer.store.replayPages(patterns, { from, limit: 1 })) {
      if (first !== undefined) return Math.min(first.seq, otherwise);
    }
    return otherwise;
  }

  #tell(step: StoreStep, name: string): void {
    this.#host.writer.append([step]).catch((error: unknown) => this.#host.failed(error, name));
  }

  #backlogOf(durable: string, name: string): Backlog {
    const { writer, now, afterTurn, accepts, giveUp, giveUpUnreadable, failed } = this.#host;
    return {
      page: async (afterSeq, limit, maxBytes) => {
        const { messages, throughSeq, hasMore } = await this.#expired.reading(() =>
          writer.store.pending(durable, afterSeq, limit, maxBytes, true),
        );
        const items: BacklogItem[] = [];
        for (const pending of messages) {
          const item = this.#itemOf(pending, durable, name);
          if (item !== undefined) items.push(item);
        }
        return { items, throughSeq, hasMore };
      },
      settle: (outcomes, isLazy) =>
        this.#settle(
          outcomes.map(({ seq, outcome, deliveryCount, retryAt, reason }) =>
            settleStep(durable, seq, outcome, deliveryCount, retryAt, reason),
          ),
          isLazy,
        ),
      settleOne: (seq, outcome, deliveryCount, isLazy) =>
        this.#settle([settleStep(durable, seq, outcome, deliveryCount)], isLazy),
      // A store that cannot write can still be read.
      flush: () => writer.store.flush().catch(() => undefined),
      together: (run) => writer.together(run),
      accepts,
      giveUp,
      giveUpUnreadable,
      wasTold: (seq) => this.#expired.wasTold(durable, seq),
      failed: (error) => failed(error, name),
      now,
      afterTurn,
    };
  }

  /**
   * Undefined for what is passed over, told, and stays in the store: a payload that cannot be decoded, where the codec is
   * another one's, or the durable a reader of history.
   */
  #itemOf(pending: PendingMessage, durable: string, name: string): BacklogItem | undefined {
    const { isFrozen, extrasOf, failed } = this.#host;
    const { message: facts, deliveryCount, retryAt, isDriven } = pending;
    try {
      const extras = extrasOf(facts.seq);
      const message = messageFrom(facts, this.#stamps, isFrozen, isDriven ? { ...extras, replayed: true } : extras);
      // One shape for all of them: a million go through here.
      return { message, deliveryCount, retryAt, unreadable: undefined };
    } catch (cause) {
      const error = unreadable(facts, cause);
      const { undecoded } = facts;
      if (undecoded === undefined || error.code !== "ERR_STORE_CORRUPT" || durable.startsWith(historyPrefix)) {
        failed(error, name);
        return undefined;
      }
      const message = messageFrom(facts, this.#stamps, false, extrasOf(facts.seq), undecoded);
      return { message, deliveryCount, retryAt, unreadable: error };
    }
  }

  /** Its time is over, whether or not its payload can be decoded. */
  #expiredItem(facts: StoredFacts): Pick<BacklogItem, "message"> {
    const { isFrozen, extrasOf } = this.#host;
    try {
      return { message: messageFrom(facts, this.#stamps, isFrozen, extrasOf(facts.seq)) };
    } catch {
      return { message: messageFrom(facts, this.#stamps, false, extrasOf(facts.seq), facts.undecoded ?? null) };
    }
  }

  #settle(steps: readonly SettleStep[], isLazy: boolean): Promise<void> {
    const kept = this.#host.writer.append(steps, isLazy ? "memory" : undefined);
    if (isLazy) return kept.catch(() => undefined);
    // Those of one group wait for one promise, which may be left unawaited.
    if (kept !== this.#quieted) kept.catch(() => undefined);
    this.#quieted = kept;
    return kept;
  }
}

function settleStep(
  durable: string,
  seq: number,
  outcome: SettleStep["outcome"],
  deliveryCount: number,
  retryAt?: number,
  reason?: string,
): SettleStep {
  return { type: "settle", durable, seq, outcome, deliveryCount, retryAt, reason };
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((one) => others.includes(one));
}
