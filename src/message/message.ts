import { brokerError } from "../errors.js";
import type { Headers } from "./headers.js";
import { noHeaders } from "./headers.js";
import type { MessageIds } from "./id.js";
import { defaultPriority } from "./priority.js";

/** How to give a delivery back. */
export interface NackOptions {
  /** Milliseconds until it is delivered again; absent: the subscription's backoff. */
  readonly delay?: number | undefined;
  /** Why, for the delivery history of a dead letter. Of an `Error` its message is kept. */
  readonly reason?: string | undefined;
}

/** What a reply may carry besides its data. */
export interface ReplyOptions {
  /** Headers of the answer. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

/**
 * A message as a consumer sees it: what was published, and this one hand-over of it.
 *
 * @example
 * ```ts
 * broker.subscribe("orders.*", async (msg) => {
 *   if (msg.deliveryCount > 3) return msg.reject("still failing");
 *   await ship(msg.data, { signal: msg.signal });
 * }, { ack: "auto" });
 * ```
 */
export interface Message<Data = unknown, Topic extends string = string> {
  /** The publisher's id, or one that sorts by time. */
  readonly id: string;
  /** The topic it was published to. */
  readonly topic: Topic;
  /** What was published; with the broker option `payloads` a copy or frozen. */
  readonly data: Data;
  /** Strings by name; frozen, and empty where none were given. */
  readonly headers: Headers;
  /** What `orderBy: "key"` and worker pools go by. */
  readonly key: string | undefined;
  /** 0 (lowest) to 9 (highest). */
  readonly priority: number;
  /** The broker's sequence number: higher means published later. */
  readonly seq: number;
  /** When it was published, in milliseconds since 1970. */
  readonly timestamp: number;
  /** When it expires, in milliseconds since 1970; undefined: never. */
  readonly expiresAt: number | undefined;
  /** 1 for the first hand-over to this subscription or group. */
  readonly deliveryCount: number;
  /** True where this subscription may have seen it before. */
  readonly redelivered: boolean;
  /** The topic an answer goes to; undefined where none is asked for. */
  readonly replyTo: string | undefined;
  /** What links an answer to its request. */
  readonly correlationId: string | undefined;
  /** Aborted once this hand-over is no longer the consumer's: ack timeout, unsubscribe, close. */
  readonly signal: AbortSignal;
  /** Names this hand-over, for `broker.ack(deliveryId)` where the object cannot travel. */
  readonly deliveryId: string;
  /**
   * The name of the subscription (group, durable) it was delivered to. Empty where that has `ack: "none"` and nobody watches
   * (plugin, `process` channel, `payloads: "clone"`): one object serves every such subscription.
   */
  readonly subscription: string;

  /**
   * Settles the delivery: done.
   *
   * Only the first of ack, nack, reject and the ack timeout decides a delivery. Rejects with
   * `ERR_ALREADY_SETTLED` when it is decided, with `ERR_DELIVERY_EXPIRED` when the ack timeout (or the end of the
   * subscription) took it back. That rejection may be left unawaited: it never ends the process.
   */
  ack(): Promise<void>;
  /**
   * Gives the delivery back, to be delivered again after `delay` (or the subscription's backoff).
   * At `maxDeliveries` attempts the message is dead-lettered instead. Rejects as `ack` does.
   */
  nack(options?: NackOptions): Promise<void>;
  /** Gives up on the message now: dead-lettered as `rejected`. Rejects as `ack` does. */
  reject(reason?: string): Promise<void>;
  /** Asks for more time: the ack timeout starts again and ends `ms` milliseconds from now. Rejects as `ack` does. */
  extend(ms: number): Promise<void>;
  /**
   * Answers a request. Rejects with `ERR_INVALID_MESSAGE` where no answer was asked for. An answer that comes too late,
   * when nobody waits any more, is dropped and counted.
   */
  reply(data: unknown, options?: ReplyOptions): Promise<void>;
}

/** What a message needs of the broker it came from. */
export interface MessageOrigin {
  readonly ids: MessageIds;
  /** Aborted when the broker closes. */
  readonly signal: AbortSignal;
  reply(request: Message, data: unknown, options: ReplyOptions | undefined): Promise<void>;
}

/** The time and place of publishing; one object serves every message of a turn of the event loop. */
export class Stamp {
  readonly at: number;
  readonly origin: MessageOrigin;
  /** The traits of a message that nothing sets apart; null until there is one. */
  usual: MessageTraits | null = null;
  /** Of those that differ in their priority alone, by priority. */
  #plain: (MessageTraits | undefined)[] | null = null;

  constructor(at: number, origin: MessageOrigin) {
    this.at = at;
    this.origin = origin;
  }

  /** The traits of a message that has a priority and nothing else to itself. */
  plain(priority: number): MessageTraits {
    return this.#plain?.[priority] ?? this.#addPlain(priority);
  }

  #addPlain(priority: number): MessageTraits {
    const traits = new MessageTraits(this, priority, 0, null);
    if (priority === defaultPriority) this.usual = traits;
    this.#plain ??= [];
    while (this.#plain.length < priority) this.#plain.push(undefined);
    this.#plain[priority] = traits;
    return traits;
  }
}

/**
 * What many messages have in common. Most of a turn share one object, so that each of them is a quarter smaller: a
 * message that waits is copied twice by the collector, and read again when it is cold.
 */
export class MessageTraits {
  readonly stamp: Stamp;
  readonly priority: number;
  /** In milliseconds since 1970; 0: never. */
  readonly expiresAtMs: number;
  readonly extras: MessageExtras | null;

  constructor(stamp: Stamp, priority: number, expiresAtMs: number, extras: MessageExtras | null) {
    this.stamp = stamp;
    this.priority = priority;
    this.expiresAtMs = expiresAtMs;
    this.extras = extras;
  }

  /** The traits of a message, shared where it is like others of its turn. */
  static of(stamp: Stamp, priority: number, expiresAtMs: number, extras: MessageExtras | null): MessageTraits {
    if (expiresAtMs !== 0 || extras !== null) return new MessageTraits(stamp, priority, expiresAtMs, extras);
    if (priority === defaultPriority && stamp.usual !== null) return stamp.usual;
    return stamp.plain(priority);
  }
}

/** What few messages have; one object, so that the others pay one null for it. */
export interface MessageExtras {
  readonly id?: string | undefined;
  readonly headers?: Headers | undefined;
  readonly key?: string | undefined;
  readonly replyTo?: string | undefined;
  readonly correlationId?: string | undefined;
  /** Told of each subscription that has acknowledged it: publisher confirms. */
  readonly onAcked?: ((subscription: string) => void) | undefined;
  /** True for a delayed message that its topic is to retain once its time has come. */
  readonly isToRetain?: boolean | undefined;
  /** True for history that was published again. */
  readonly replayed?: boolean | undefined;
}

/** A promise that is fulfilled, for the many calls that have nothing to wait for. */
export const fulfilled: Promise<void> = Promise.resolve();

/** A rejection that a caller may leave unawaited: it never ends the process. */
export function quietRejection(error: Error): Promise<never> {
  const rejected = Promise.reject<never>(error);
  rejected.catch(() => undefined);
  return rejected;
}

/**
 * A published message: one object however many subscriptions it goes to. Subscriptions without
 * acknowledgement hand out this object itself, so it is a settled delivery to them.
 */
export class PublishedMessage implements Message {
  readonly topic: string;
  readonly data: unknown;
  /** Changes while the message is on its way into the store at most, before anybody has it. */
  seq: number;
  /** What it counts towards the limits. */
  readonly bytes: number;
  /** Places (queues, flights, delays) that hold it; its memory is given back at 0. */
  holders: number;
  readonly traits: MessageTraits;

  constructor(topic: string, data: unknown, seq: number, bytes: number, traits: MessageTraits) {
    this.topic = topic;
    this.data = data;
    this.seq = seq;
    this.bytes = bytes;
    // Here and not beside its declaration, which would cost a call for each message.
    this.holders = 0;
    this.traits = traits;
  }

  get priority(): number {
    return this.traits.priority;
  }
  /** In milliseconds since 1970; 0: never. */
  get expiresAtMs(): number {
    return this.traits.expiresAtMs;
  }
  get stamp(): Stamp {
    return this.traits.stamp;
  }
  get extras(): MessageExtras | null {
    return this.traits.extras;
  }
  get id(): string {
    const { extras, stamp } = this.traits;
    return extras?.id ?? stamp.origin.ids.idOf(stamp.at, this.seq);
  }
  get headers(): Headers {
    return this.extras?.headers ?? noHeaders;
  }
  get key(): string | undefined {
    return this.extras?.key;
  }
  get timestamp(): number {
    return this.stamp.at;
  }
  get expiresAt(): number | undefined {
    return this.expiresAtMs === 0 ? undefined : this.expiresAtMs;
  }
  get deliveryCount(): number {
    return 1;
  }
  get redelivered(): boolean {
    return this.extras?.replayed === true;
  }
  get replyTo(): string | undefined {
    return this.extras?.replyTo;
  }
  get correlationId(): string | undefined {
    return this.extras?.correlationId;
  }
  get signal(): AbortSignal {
    return this.stamp.origin.signal;
  }
  get deliveryId(): string {
    return "";
  }
  get subscription(): string {
    return "";
  }

  ack(): Promise<void> {
    return quietRejection(settledAtHandOver(this.topic));
  }
  nack(): Promise<void> {
    return quietRejection(settledAtHandOver(this.topic));
  }
  reject(): Promise<void> {
    return quietRejection(settledAtHandOver(this.topic));
  }
  extend(): Promise<void> {
    return quietRejection(settledAtHandOver(this.topic));
  }
  reply(data: unknown, options?: ReplyOptions): Promise<void> {
    return this.stamp.origin.reply(this, data, options);
  }

  toJSON(): MessageRecord {
    return messageRecord(this);
  }
  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return messageRecord(this);
  }
}

/** What a subscription without acknowledgement answers to a settle. */
export function settledAtHandOver(topic: string): Error {
  return brokerError(
    "ERR_ALREADY_SETTLED",
    `this delivery of ${JSON.stringify(topic)} was settled when it was handed over, because its subscription has ack: "none"; ` +
      `subscribe with ack: "manual" (or "auto"), or give the broker the ack option, to settle deliveries`,
    { topic },
  );
}

/** A message as plain data. */
export type MessageRecord = Omit<Message, "signal" | "ack" | "nack" | "reject" | "extend" | "reply">;

/**
 * The facts of a message without its methods, for JSON, logs and dead letters. Reading `deliveryId` makes a delivery known by its
 * id until it is settled, as reading it from the message does.
 *
 * @example
 * ```ts
 * import { messageRecord } from "inproc-broker";
 *
 * log.info(messageRecord(msg)); // what JSON.stringify(msg) writes
 * ```
 */
export function messageRecord(message: Message): MessageRecord {
  return {
    id: message.id,
    topic: message.topic,
    data: message.data,
    headers: message.headers,
    key: message.key,
    priority: message.priority,
    seq: message.seq,
    timestamp: message.timestamp,
    expiresAt: message.expiresAt,
    deliveryCount: message.deliveryCount,
    redelivered: message.redelivered,
    replyTo: message.replyTo,
    correlationId: message.correlationId,
    deliveryId: message.deliveryId,
    subscription: message.subscription,
  };
}
