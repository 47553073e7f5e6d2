import type { TimerEntry } from "../collections/timer-queue.js";
import { broken, brokerError } from "../errors.js";
import type { Headers } from "./headers.js";
import type { Message, MessageRecord, NackOptions, PublishedMessage, ReplyOptions } from "./message.js";
import { messageRecord, quietRejection, settledAtHandOver } from "./message.js";

/** Something that a timer wakes. `lateMs` is how long after its time that happens. */
export interface TimerTask {
  onTimer(lateMs: number): void;
}

/** How one hand-over of a message ended, for the history that a dead letter keeps. */
export interface Attempt {
  /** Which hand-over: 1 for the first. */
  readonly deliveryCount: number;
  /** `returned`: its consumer went away before it was settled. */
  readonly outcome: "nacked" | "timed-out" | "rejected" | "returned";
  /** When it ended, in milliseconds since 1970. */
  readonly at: number;
  /** The reason given, or the text of the error the handler threw. */
  readonly reason?: string;
}

/** What decides deliveries; the ack tracker. */
export interface Settler {
  ack(delivery: Delivery): Promise<void>;
  nack(delivery: Delivery, options: NackOptions | undefined): Promise<void>;
  reject(delivery: Delivery, reason: string | undefined): Promise<void>;
  extend(delivery: Delivery, ms: number): Promise<void>;
  /** Makes the delivery known by an id from now until it is settled. */
  identify(delivery: Delivery): string;
  /** The ack timeout has passed. */
  timedOut(delivery: Delivery, lateMs: number): void;
}

/** How a delivery in flight ended for good: the counter it goes to. */
export type FlightOutcome =
  "delivered" | "deadLettered" | "expired" | "unsubscribed" | "closed" | "purged" | "rejected" | "max-deliveries";

/** Milliseconds until the next delivery, after `deliveryCount` failed ones. */
export type Backoff = (deliveryCount: number, random: () => number) => number;

/** The queue a delivery belongs to. */
export interface DeliverySource {
  readonly name: string;
  /** True where what becomes of its deliveries is kept by a store. */
  readonly isDurable: boolean;
  readonly settler: Settler;
  readonly settings: { readonly maxDeliveries: number; readonly backoff: Backoff };
  readonly counters: { nacked: number; timedOut: number };
  /** The flight is over for good. Resolves once that is kept, where a store keeps it; may be left unawaited. */
  finish(delivery: Delivery, outcome: FlightOutcome): Promise<void>;
  /** The flight is over, and the message is delivered again after `delayMs`. Resolves as `finish` does. */
  giveBack(delivery: Delivery, delayMs: number, history: readonly Attempt[], isNewAttempt: boolean): Promise<void>;
  /** The message's time to live has passed while it waited. */
  expire(delivery: Delivery): void;
  /** The backoff is over. */
  wake(delivery: Delivery): void;
}

/**
 * waiting   in its queue; a timer runs if the message can expire
 * delayed   given back, out of the queue until its backoff is over
 * inFlight  handed to a consumer, which has until the ack timeout to settle it
 * staged    settled inside a transaction that is still open; the ack timeout goes on
 * settled   decided: acknowledged, given back (a new Delivery takes over), or given up
 * lost      taken back from its consumer: ack timeout, or the end of the subscription
 * dropped   expired, shed or withdrawn while it waited; its place in the queue is empty
 */
export type DeliveryState = "waiting" | "delayed" | "inFlight" | "staged" | "settled" | "lost" | "dropped";

/** A switch, since every delivery asks twice: a table of names costs several times as much. */
function isStep(from: DeliveryState, to: DeliveryState): boolean {
  switch (from) {
    case "waiting":
      return to === "inFlight" || to === "settled" || to === "delayed" || to === "dropped";
    case "inFlight":
      return to === "settled" || to === "lost" || to === "staged";
    case "delayed":
      return to === "waiting" || to === "dropped";
    case "staged":
      return to === "inFlight" || to === "settled" || to === "lost";
    default:
      return false;
  }
}

/**
 * One hand-over of a message to one subscription (or group), from the queue until it is decided.
 *
 * Each attempt is a Delivery of its own, so that a consumer whose time is over holds an object that can no
 * longer settle anything; what belongs to the message and its queue (count, history) moves on to the next.
 */
export class Delivery implements Message, TimerTask {
  readonly message: PublishedMessage;
  readonly source: DeliverySource;
  readonly data: unknown;
  deliveryCount: number;
  state: DeliveryState = "waiting";
  /** What wakes it: expiry while waiting, backoff while delayed, the ack timeout while in flight. */
  timer: TimerEntry<TimerTask> | null = null;
  /** Whether its ack timeout runs, or begins at the end of the turn. */
  timeout: "none" | "pending" | "started" = "none";
  /** Its consumer while in flight. */
  consumer: object | null = null;
  /** Neighbours among its consumer's deliveries in flight. */
  previous: Delivery | null = null;
  next: Delivery | null = null;
  history: readonly Attempt[] | null;
  /** True while a handler works on it: it takes one of its consumer's places. */
  isRunning = false;
  /** The id under which `broker.ack(deliveryId)` finds it, once somebody has read it. */
  knownAs: string | null = null;
  #abort: AbortController | null = null;

  constructor(
    message: PublishedMessage,
    source: DeliverySource,
    data: unknown,
    deliveryCount: number,
    history: readonly Attempt[] | null,
  ) {
    this.message = message;
    this.source = source;
    this.data = data;
    this.deliveryCount = deliveryCount;
    this.history = history;
  }

  /** The one place where the state changes; an impossible step is a bug of ours. */
  moveTo(state: DeliveryState): void {
    // Not `assert`: it would make the text for each of the steps that are right.
    if (!isStep(this.state, state)) broken(`a delivery went from ${this.state} to ${state}`);
    this.state = state;
    if (state === "lost") this.abortSignal();
  }

  abortSignal(): void {
    this.#abort?.abort(this.settleError());
  }

  /** Why this delivery can no longer be settled. */
  settleError(): Error {
    const { topic } = this.message;
    const facts = { topic, subscription: this.source.name, deliveryCount: this.deliveryCount };
    if (this.state === "lost") {
      return brokerError(
        "ERR_DELIVERY_EXPIRED",
        `delivery ${this.deliveryCount} of ${JSON.stringify(topic)} to ${this.source.name} was taken back (ack timeout or end of the subscription); ` +
          `raise ackTimeout, or call msg.extend(ms) while the work goes on`,
        facts,
      );
    }
    if (this.state === "staged") {
      return brokerError(
        "ERR_ALREADY_SETTLED",
        `this delivery of ${JSON.stringify(topic)} is settled by a transaction that is still open; commit it or roll it back first`,
        facts,
      );
    }
    // Settled by nobody, so at the hand-over.
    if (this.state === "settled" && this.consumer === null) return settledAtHandOver(topic);
    return brokerError(
      "ERR_ALREADY_SETTLED",
      `this delivery of ${JSON.stringify(topic)} to ${this.source.name} is settled already; settle each delivery once`,
      facts,
    );
  }

  onTimer(lateMs: number): void {
    this.timer = null;
    if (this.state === "waiting") this.source.expire(this);
    else if (this.state === "delayed") this.source.wake(this);
    else this.source.settler.timedOut(this, lateMs);
  }

  get id(): string {
    return this.message.id;
  }
  get topic(): string {
    return this.message.topic;
  }
  get bytes(): number {
    return this.message.bytes;
  }
  get priority(): number {
    return this.message.priority;
  }
  get headers(): Headers {
    return this.message.headers;
  }
  get key(): string | undefined {
    return this.message.key;
  }
  get seq(): number {
    return this.message.seq;
  }
  get timestamp(): number {
    return this.message.timestamp;
  }
  get expiresAt(): number | undefined {
    return this.message.expiresAt;
  }
  get redelivered(): boolean {
    return this.deliveryCount > 1 || this.message.redelivered;
  }
  get replyTo(): string | undefined {
    return this.message.replyTo;
  }
  get correlationId(): string | undefined {
    return this.message.correlationId;
  }
  get subscription(): string {
    return this.source.name;
  }
  get deliveryId(): string {
    return this.source.settler.identify(this);
  }
  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.state === "lost") this.abortSignal();
    }
    return this.#abort.signal;
  }

  ack(): Promise<void> {
    return this.source.settler.ack(this);
  }
  nack(options?: NackOptions): Promise<void> {
    return this.source.settler.nack(this, options);
  }
  reject(reason?: string): Promise<void> {
    return this.source.settler.reject(this, reason);
  }
  extend(ms: number): Promise<void> {
    return this.source.settler.extend(this, ms);
  }
  reply(data: unknown, options?: ReplyOptions): Promise<void> {
    return this.message.stamp.origin.reply(this, data, options);
  }

  toJSON(): MessageRecord {
    return messageRecord(this);
  }
  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return messageRecord(this);
  }
}

/** A message under the name of a queue, for whoever looks at it when there is nothing left to settle. */
export function deliveryOver(
  message: PublishedMessage,
  source: DeliverySource,
  state: "settled" | "dropped",
): Delivery {
  const delivery = new Delivery(message, source, message.data, 1, null);
  delivery.moveTo(state);
  return delivery;
}

/** A settle that came too late, as a rejection that may be left unawaited. */
export function settleRefused(delivery: Delivery): Promise<never> {
  return quietRejection(delivery.settleError());
}
