import type { TimerEntry } from "../collections/timer-queue.js";
import type { Attempt, FlightOutcome, TimerTask } from "../message/delivery.js";
import { Delivery } from "../message/delivery.js";
import type { Message, PublishedMessage } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import type { DispatchHost, QueueConsumer } from "./ports.js";
import type { QueueSettings } from "./queue-facts.js";
import type { Offer } from "./queue.js";
import { DeliveryQueue } from "./queue.js";

/** What became of a message for a durable. `attempt`: handed out once more, and not settled. */
export interface DurableOutcome {
  readonly seq: number;
  readonly outcome: "ack" | "reject" | "dead" | "expired" | "attempt";
  /** Of an `ack`: 0 for what the durable's filter did not want, so that it was never handed out. */
  readonly deliveryCount: number;
  /** Of an attempt: when it is due again, in milliseconds since 1970. */
  readonly retryAt?: number | undefined;
  readonly reason?: string | undefined;
}

/** A message that a durable has still to settle. */
export interface BacklogItem {
  readonly message: PublishedMessage;
  /** Hand-overs so far. */
  readonly deliveryCount: number;
  /** In milliseconds since 1970. */
  readonly retryAt: number | undefined;
  /** Why its payload cannot be decoded; `message` has the bytes then, for a dead letter. */
  readonly unreadable?: Error | undefined;
}

/** What a durable's queue needs of the store behind it. */
export interface Backlog {
  /** The next of the backlog, in the order of publishing. */
  page(
    afterSeq: number,
    limit: number,
    maxBytes: number,
  ): Promise<{ readonly items: readonly BacklogItem[]; readonly throughSeq: number; readonly hasMore: boolean }>;
  /** Appends outcomes as one. Lazy: nobody waits, and a lost one costs a repeated delivery at most. Never unhandled. */
  settle(outcomes: readonly DurableOutcome[], isLazy: boolean): Promise<void>;
  /** The same for one message of which there is no more to say: what becomes of nearly all of them. */
  settleOne(seq: number, outcome: DurableOutcome["outcome"], deliveryCount: number, isLazy: boolean): Promise<void>;
  /** Resolves once everything appended so far can be read, as far as the store still writes. */
  flush(): Promise<void>;
  /** What is appended while `run` runs goes into one record. */
  together<Result>(run: () => Result): Result;
  /** False for what the subscription's filter does not want. */
  accepts(queue: DeliveryQueue, message: PublishedMessage): boolean;
  /** Gives up on a message that has had all its deliveries; says which counter that is. */
  giveUp(delivery: Delivery): FlightOutcome;
  /** Gives up on a message whose payload cannot be decoded, if it is kept as a dead letter; false: it is not. */
  giveUpUnreadable(delivery: Delivery, error: Error): boolean;
  /** It was told to have expired (`tellExpired`); the store may not know that yet. */
  wasTold(seq: number): boolean;
  /** A page could not be read. */
  failed(error: unknown): void;
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs `run` at the end of this turn of the event loop. */
  afterTurn(run: () => void): void;
}

/** Messages that are read at a time. */
const pageMessages = 512;

/** Milliseconds after which a page that could not be read is tried again, where nothing has it tried before. */
const retryMs = 1_000;

/**
 * The queue of a durable subscription: a window on its backlog, which is in the store.
 *
 * | state  | entered                                  | a message that is published    | left by                          |
 * |--------|------------------------------------------|--------------------------------|----------------------------------|
 * | parked | made; its last consumer has gone         | stays in the store             | `start` → behind, or live        |
 * | behind | `start`; a message found no room         | stays in the store             | the last page is in → live       |
 * | live   | everything through `cursor` has been in  | goes into the queue at once    | no room → behind; park → parked  |
 *
 * So it never refuses a publisher nor holds one back, and its memory is bounded by `maxMessages` and `maxBytes`. Messages
 * come in the order of publishing, through pages and at once alike; priorities order what is in.
 *
 * What becomes of a message is appended when it is decided, and the queue goes on at once. A delivery that outlives the
 * turn of the event loop in which it was handed out is noted as an attempt, so that after a crash it comes again as
 * redelivered, and one that brings down the process comes no more often than `maxDeliveries`.
 */
export class DurableQueue extends DeliveryQueue {
  /** Its name in the store. */
  readonly durable: string;
  override readonly isDurable = true;
  readonly #backlog: Backlog;
  readonly #dispatch: DispatchHost;
  readonly #filter: QueueSettings["filter"];
  /** Where in history it stands: nowhere while nobody is connected; looked for until `start` comes; or at its cursor. */
  #place: "none" | "sought" | "found" = "none";
  #isDraining = false;
  /** Everything through this number has been in the queue, or was never meant for it. */
  #cursor = 0;
  /** The highest number that there may be in the store. */
  #known = 0;
  #filling: Promise<void> | null = null;
  /** The next try of a page that could not be read. */
  #retry: TimerEntry<TimerTask> | null = null;
  /** Changes with every start and end, so that a page that was asked for before is not taken for an answer. */
  #epoch = 0;
  /** Handed out in this turn of the event loop. */
  #handed: Delivery[] = [];

  constructor(
    durable: string,
    name: string,
    patterns: readonly string[],
    shard: number,
    settings: QueueSettings,
    host: DispatchHost,
    backlog: Backlog,
  ) {
    // Its filter is asked here: what it does not want has to be settled, whichever way it comes.
    super(name, patterns, null, shard, { ...settings, filter: null }, host);
    this.durable = durable;
    this.#filter = settings.filter;
    this.#backlog = backlog;
    this.#dispatch = host;
  }

  /** True for a subscription that begins in the past, and has a place in the store for as long as it is there. */
  get isHistory(): boolean {
    return this.durable !== this.name;
  }

  /** The subscription's own filter. */
  get filter(): QueueSettings["filter"] {
    return this.#filter;
  }

  override get isBehind(): boolean {
    return (this.#place === "sought" && !this.#isDraining) || this.#hasMore;
  }

  /** The store has more to bring in. */
  get #hasMore(): boolean {
    return this.#place === "found" && !this.#isDraining && this.#cursor < this.#known;
  }

  override get isIdle(): boolean {
    return super.isIdle && !this.isBehind;
  }

  /** What no consumer goes on taking stays in the store, and is there the next time. */
  override get isKept(): boolean {
    return !this.consumers.some(({ isTaking }) => isTaking);
  }

  override settled(): void {
    super.settled();
    // Who closes the broker waits for no more than that.
    if (this.queued > 0 && this.inFlight === 0 && this.running === 0 && this.isKept) this.#dispatch.quiet(this);
  }

  /** The store has room for whatever does not fit here. */
  override hasRoom(): boolean {
    return true;
  }

  /** Its place in history is being looked for; until `start` says which it is, nobody knows what it has to do. */
  seek(): void {
    this.#place = "sought";
  }

  /** What of the backlog has not been in, and comes in from the store alone. */
  get outside(): { readonly afterSeq: number; readonly throughSeq: number } {
    return this.#place === "found"
      ? { afterSeq: this.#cursor, throughSeq: this.#known }
      : { afterSeq: 0, throughSeq: Number.MAX_SAFE_INTEGER };
  }

  /**
   * Tells of messages that have expired outside, and settles them as one. Those of them that must not come in any more, and when
   * that is stored.
   */
  tellExpired(items: readonly BacklogItem[]): { readonly seqs: ReadonlySet<number>; readonly stored: Promise<void> } {
    const { afterSeq, throughSeq } = this.outside;
    const told = items.filter(({ message: { seq } }) => seq > afterSeq && seq <= throughSeq);
    const seqs = new Set(told.map(({ message }) => message.seq));
    if (told.length === 0) return { seqs, stored: fulfilled };
    const outcomes: DurableOutcome[] = [];
    const stored = this.#backlog.together(() => {
      for (const { message, deliveryCount } of told) {
        const { seq } = message;
        const isWanted = this.#filter === null || this.#backlog.accepts(this, message);
        if (isWanted) this.#tellExpired(message, deliveryCount);
        outcomes.push(
          isWanted
            ? { seq, outcome: "expired", deliveryCount: deliveryCount + 1 }
            : { seq, outcome: "ack", deliveryCount: 0 },
        );
      }
      return this.#backlog.settle(outcomes, false);
    });
    return { seqs, stored };
  }

  /** Begins to bring in what lies above `cursor`, if somebody is still there; the store has messages through `lastSeq`. */
  start(cursor: number, lastSeq: number): void {
    this.#place = this.consumers.length === 0 ? "none" : "found";
    if (this.#place === "none") return;
    this.#epoch += 1;
    this.#cursor = Math.max(this.#cursor, cursor);
    this.#known = Math.max(this.#known, lastSeq);
    if (this.#hasMore) this.#top();
    else this.settled();
  }

  /** Brings in no more: what is here is finished, the rest stays in the store. */
  stopFilling(): void {
    this.#isDraining = true;
  }

  /** Somebody has joined whoever was to finish what was here. */
  goOnFilling(): void {
    this.#isDraining = false;
    this.#top();
  }

  /** The last consumer has gone: what waits stays in the store. Returns what of it was here. */
  park(): (PublishedMessage | Delivery)[] {
    this.#place = "none";
    this.#epoch += 1;
    this.#cancelRetry();
    const items = this.takeAll();
    this.counters.routed -= items.length;
    this.settled();
    return items;
  }

  override put(message: PublishedMessage): void {
    this.offer(message);
    this.#dispatch.memory.release(message);
  }

  override offer(message: PublishedMessage): Offer {
    const { seq } = message;
    if (seq <= this.#cursor) return "queued";
    const isNext =
      this.#place === "found" && !this.#isDraining && this.#cursor >= this.#known && this.#filling === null;
    this.#known = Math.max(this.#known, seq);
    if (isNext && super.hasRoom(message.bytes)) {
      this.#cursor = seq;
      this.#bringIn({ message, deliveryCount: 0, retryAt: undefined });
    } else this.#top();
    return "queued";
  }

  /** History has been here before, so that it takes the way of a queue without a store; to nobody, where nobody is there. */
  override offerAgain(message: PublishedMessage): Offer {
    if (this.consumers.length === 0) return "queued";
    if (this.#filter !== null && !this.#backlog.accepts(this, message)) return "queued";
    // The filter may have ended the subscription.
    if (this.consumers.length === 0) return "queued";
    return super.hasRoom(message.bytes) ? super.offer(message) : "full";
  }

  override take(consumer: QueueConsumer): Message | undefined {
    const message = super.take(consumer);
    this.#top();
    if (message === undefined) return undefined;
    if (!consumer.acknowledges) void this.#settle(message, "ack", true);
    else if (this.#handed.push(message as Delivery) === 1) this.#backlog.afterTurn(() => this.#noteAttempts());
    return message;
  }

  override takeSettled(consumer: QueueConsumer): Message | undefined {
    return this.take(consumer);
  }

  override finish(delivery: Delivery, outcome: FlightOutcome): Promise<void> {
    if (outcome === "unsubscribed" || outcome === "closed") {
      const kept = this.#settle(delivery, "attempt", true);
      this.#leave(delivery, outcome);
      return kept;
    }
    const kept = outcome === "purged" ? fulfilled : this.#settle(delivery, settledAs(outcome), false);
    void super.finish(delivery, outcome);
    this.#top();
    return kept;
  }

  override giveBack(
    delivery: Delivery,
    delayMs: number,
    history: readonly Attempt[],
    isNewAttempt: boolean,
  ): Promise<void> {
    const retryAt = delayMs > 0 ? Math.ceil(this.#backlog.now() + delayMs) : undefined;
    const { seq, deliveryCount } = delivery;
    const reason = history.at(-1)?.reason;
    const kept = this.#backlog.settle([{ seq, outcome: "attempt", deliveryCount, retryAt, reason }], false);
    // Its backoff, or who heard of its settle, may have ended the subscription.
    if (this.consumers.length === 0) this.#leave(delivery, "unsubscribed");
    else void super.giveBack(delivery, delayMs, history, isNewAttempt);
    return kept;
  }

  /** It is not dropped: it is in the store, and comes again. */
  #leave(delivery: Delivery, outcome: "unsubscribed" | "closed"): void {
    void super.finish(delivery, outcome);
    const { dropped } = this.counters;
    dropped[outcome] = (dropped[outcome] ?? 1) - 1;
    this.counters.routed -= 1;
  }

  override expire(delivery: Delivery): void {
    this.#backlog.together(() => {
      super.expire(delivery);
      void this.#settle(delivery, "expired", true);
    });
    this.#top();
  }

  override whenFilled(): Promise<void> | null {
    return this.queued === 0 && this.isBehind ? this.#filling : null;
  }

  #settle(message: Message, outcome: DurableOutcome["outcome"], isLazy: boolean): Promise<void> {
    return this.#backlog.settleOne(message.seq, outcome, message.deliveryCount, isLazy);
  }

  #noteAttempts(): void {
    const handed = this.#handed;
    this.#handed = [];
    const open = handed.filter(({ state }) => state === "inFlight" || state === "staged");
    if (open.length === 0) return;
    const attempts = open.map(({ seq, deliveryCount }) => ({ seq, outcome: "attempt", deliveryCount }) as const);
    void this.#backlog.settle(attempts, true);
  }

  /** Has the next page brought in, where there is one and half the queue is free for it. */
  #top(): void {
    if (this.#filling !== null || !this.#hasMore || this.consumers.length === 0) return;
    if (this.queued + this.delayed > this.settings.maxMessages / 2) return;
    if (this.queuedBytes > this.settings.maxBytes / 2) return;
    this.#cancelRetry();
    this.#filling = this.#fill()
      .then(
        () => true,
        (error: unknown) => {
          // It is tried again when the next message comes or goes, and after a while if none does.
          this.#backlog.failed(error);
          if (this.#hasMore) this.#retryLater();
          return false;
        },
      )
      .then((isRead) => {
        this.#filling = null;
        if (isRead) this.#top();
        this.settled();
      });
  }

  #retryLater(): void {
    const onTimer = (): void => {
      this.#retry = null;
      this.#top();
    };
    this.#retry ??= this.#dispatch.deadlines.after(retryMs, { onTimer });
  }

  #cancelRetry(): void {
    if (this.#retry !== null) this.#dispatch.deadlines.cancel(this.#retry);
    this.#retry = null;
  }

  async #fill(): Promise<void> {
    await this.#backlog.flush();
    while (this.#hasMore) {
      const limit = this.#room();
      if (limit <= 0) return;
      const { memory } = this.#dispatch;
      const maxBytes = Math.min(this.settings.maxBytes - this.queuedBytes, memory.maxBytes - memory.usedBytes);
      const known = this.#known;
      const epoch = this.#epoch;
      const { items, throughSeq, hasMore } = await this.#backlog.page(this.#cursor, limit, Math.max(1, maxBytes));
      if (epoch !== this.#epoch) continue;
      for (const item of items) {
        this.#bringIn(item);
        // Whoever was called on its way in (a filter, a listener) has ended this, or emptied it.
        if (epoch !== this.#epoch) break;
      }
      if (epoch !== this.#epoch) continue;
      this.#cursor = Math.max(this.#cursor, throughSeq);
      if (hasMore) continue;
      // What is not there by now, although it was appended, was for others or is gone.
      if (this.#cursor < known) {
        await this.#backlog.flush();
        const { items: more } = await this.#backlog.page(this.#cursor, 1, 1);
        if (more.length > 0 || epoch !== this.#epoch) continue;
        this.#cursor = Math.max(this.#cursor, known);
      }
    }
  }

  /** Messages that may be brought in now. */
  #room(): number {
    const { maxMessages, maxBytes } = this.settings;
    const { memory } = this.#dispatch;
    const isFull = this.queuedBytes >= maxBytes || !memory.hasRoom(1);
    // With nothing here, nothing would leave, and so nothing come in ever again.
    if (isFull) return this.queued + this.delayed + this.inFlight === 0 ? 1 : 0;
    return Math.min(pageMessages, maxMessages - this.queued - this.delayed);
  }

  #bringIn({ message, deliveryCount, retryAt, unreadable }: BacklogItem): void {
    if (this.#backlog.wasTold(message.seq)) return;
    if (unreadable !== undefined) {
      this.#setAside(message, deliveryCount, unreadable);
      return;
    }
    const epoch = this.#epoch;
    if (this.#filter !== null && !this.#backlog.accepts(this, message)) {
      void this.#backlog.settle([{ seq: message.seq, outcome: "ack", deliveryCount: 0 }], true);
      return;
    }
    // The filter has ended the subscription, and it stays in the store; or emptied the broker.
    if (epoch !== this.#epoch) return;
    if (message.expiresAtMs !== 0 && message.expiresAtMs <= this.#backlog.now()) {
      this.#expireStored(message, deliveryCount);
      return;
    }
    if (deliveryCount >= this.settings.maxDeliveries) {
      this.#giveUp(message, deliveryCount);
      return;
    }
    if (deliveryCount === 0) super.offerExtra(message);
    else this.restore(message, deliveryCount + 1, retryAt === undefined ? 0 : retryAt - this.#backlog.now());
  }

  /** Its time to live ended while it was in the store. */
  #expireStored(message: PublishedMessage, deliveryCount: number): void {
    this.#backlog.together(() => {
      const delivery = this.#tellExpired(message, deliveryCount);
      void this.#settle(delivery, "expired", true);
    });
  }

  #tellExpired(message: PublishedMessage, deliveryCount: number): Delivery {
    const delivery = new Delivery(message, this, message.data, deliveryCount + 1, null);
    delivery.moveTo("dropped");
    this.counters.routed += 1;
    this.counters.expired += 1;
    this.#dispatch.expired(this, delivery);
    return delivery;
  }

  /** A payload that cannot be decoded: a dead letter, or told and left in the store until the durable comes by again. */
  #setAside(message: PublishedMessage, deliveryCount: number, error: Error): void {
    const delivery = new Delivery(message, this, message.data, deliveryCount, null);
    delivery.moveTo("settled");
    this.#backlog.together(() => {
      if (!this.#backlog.giveUpUnreadable(delivery, error)) {
        this.#backlog.failed(error);
        return;
      }
      this.counters.routed += 1;
      this.counters.deadLettered += 1;
      void this.#settle(delivery, "dead", false);
    });
  }

  /** The process ended in its last delivery. */
  #giveUp(message: PublishedMessage, deliveryCount: number): void {
    const delivery = new Delivery(message, this, message.data, deliveryCount, null);
    delivery.moveTo("settled");
    this.counters.routed += 1;
    this.#backlog.together(() => {
      const outcome = this.#backlog.giveUp(delivery);
      if (outcome === "deadLettered") this.counters.deadLettered += 1;
      else this.counters.dropped["max-deliveries"] = (this.counters.dropped["max-deliveries"] ?? 0) + 1;
      void this.#settle(delivery, "dead", false);
    });
  }
}

function settledAs(outcome: FlightOutcome): DurableOutcome["outcome"] {
  if (outcome === "delivered") return "ack";
  if (outcome === "rejected") return "reject";
  return outcome === "expired" ? "expired" : "dead";
}
