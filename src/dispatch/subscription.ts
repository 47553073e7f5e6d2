import { brokerError, quote } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import type { Message } from "../message/message.js";
import type { AckMode, Consumer } from "./consumer.js";
import type { FetchOptions } from "./pull-consumer.js";
import { PullConsumer } from "./pull-consumer.js";
import type { DropReason } from "./queue-facts.js";

export type { FetchOptions } from "./pull-consumer.js";

const fetchOptionNames = ["timeout", "signal"];

/** What a subscription did and holds. Where members of a group share a queue, the queue's figures are the group's. */
export interface SubscriptionStats {
  /** Waiting in the queue, within its bounds. */
  readonly queued: number;
  /** Bytes of what waits. */
  readonly queuedBytes: number;
  /** Publishers held back because the queue is full. */
  readonly waiting: number;
  /** Handed to this consumer and not settled. */
  readonly inFlight: number;
  /** Given back, waiting for their backoff. */
  readonly delayed: number;
  /** Done with: acknowledged, or handed over where nothing is acknowledged. */
  readonly delivered: number;
  /** Hand-overs, repeated ones included. */
  readonly handedOver: number;
  /** Repeated hand-overs. */
  readonly redelivered: number;
  /** Given back by a nack, or by a handler that threw. */
  readonly nacked: number;
  /** Taken back after the ack timeout. */
  readonly timedOut: number;
  /** Times the handler threw or rejected. */
  readonly handlerErrors: number;
  /** Expired before they were handed out. */
  readonly expired: number;
  /** Given up on and kept. */
  readonly deadLettered: number;
  /** Not delivered, by reason. */
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>;
}

/**
 * open      takes messages
 * draining  takes no new ones; finishes what it has
 * closed    over
 */
export type SubscriptionState = "open" | "draining" | "closed";

/** How to end a subscription. */
export interface UnsubscribeOptions {
  /** Forgets a durable's position and backlog too; without it they stay for the next time. */
  readonly deleteDurable?: boolean | undefined;
}

/** Who opens and closes subscriptions; the broker. */
export interface SubscriptionOwner {
  remove(subscription: Subscription, options: UnsubscribeOptions): Promise<void>;
  drain(subscription: Subscription): Promise<void>;
  renew(subscription: Subscription): void;
  hold(): () => void;
}

/**
 * A subscription: a bounded queue of deliveries with one consumer. Iterate over it or `fetch` where it was made without
 * a handler.
 *
 * @example
 * ```ts
 * await using sub = broker.subscribe("orders.>");
 * for await (const msg of sub) {
 *   if (msg.topic === "orders.closing") break;   // ends the subscription
 * }
 * ```
 */
export class Subscription<Received extends Message<unknown> = Message>
  implements AsyncIterable<Received>, AsyncDisposable
{
  /** Its name: the durable's, the group's, the one given, or a number of its own. */
  readonly name: string;
  /** What it subscribed to, without repeats. */
  readonly patterns: readonly string[];
  /** Undefined where it competes with nobody. */
  readonly group: string | undefined;
  /** Undefined for a subscription that ends with its process. */
  readonly durable: string | undefined;
  readonly #owner: SubscriptionOwner;
  readonly #consumer: Consumer;
  #state: SubscriptionState = "open";
  readonly #closed: Promise<void>;
  #resolveClosed: () => void = () => undefined;

  /** @internal */
  constructor(owner: SubscriptionOwner, consumer: Consumer, durable: string | undefined, group: string | undefined) {
    this.#owner = owner;
    this.#consumer = consumer;
    this.name = consumer.queue.name;
    this.patterns = consumer.queue.patterns;
    this.group = group;
    this.durable = durable;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /** `"open"`, then `"draining"` after `drain()`, then `"closed"`. */
  get state(): SubscriptionState {
    return this.#state;
  }

  /** Resolves once the subscription is over, whatever ended it. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** When a delivery counts as done: the option `ack`, or what follows from the broker's where it was left out. */
  get ackMode(): AckMode {
    return this.#consumer.settings.ack;
  }

  /** Milliseconds a consumer has to settle a delivery. Says nothing where `ackMode` is `"none"`. */
  get ackTimeout(): number {
    return this.#consumer.settings.ackTimeoutMs;
  }

  /** True from `pause()` to `resume()`. */
  get isPaused(): boolean {
    return this.#consumer.isPaused;
  }

  /**
   * The next message; `done` once the subscription is over. With `ack: "auto"`, asking for the next message acknowledges the
   * one before. Throws `ERR_INVALID_OPTION` where a handler takes the messages.
   */
  next(): Promise<IteratorResult<Received, undefined>> {
    return this.#puller("next").next() as Promise<IteratorResult<Received, undefined>>;
  }

  /** Ends the subscription: what `break` in a `for await` loop does. */
  async return(): Promise<IteratorResult<Received, undefined>> {
    if (this.#consumer instanceof PullConsumer) this.#consumer.abandonCurrent();
    await this.unsubscribe();
    return { value: undefined, done: true };
  }

  /** What `for await` calls. Throws `ERR_INVALID_OPTION` where a handler takes the messages. One loop at a time. */
  [Symbol.asyncIterator](): AsyncIterator<Received, undefined> {
    this.#puller("for await");
    return this;
  }

  /**
   * Pulls a batch: resolves with `count` messages, or after `timeout` (default 1,000 ms) with those there are. Also stops
   * short where `maxInFlight` of them are unacknowledged, since more would not come. Once the subscription is over (`state` is
   * `"closed"`: unsubscribed, or the broker closed) it resolves with `[]` at once; `next` is `done` then.
   *
   * @example
   * ```ts
   * const batch = await sub.fetch(100, { timeout: 1_000 });
   * await insertAll(batch.map((msg) => msg.data));
   * await Promise.all(batch.map((msg) => msg.ack()));
   * ```
   */
  fetch(count: number, options: FetchOptions = {}): Promise<Received[]> {
    try {
      const puller = this.#puller("fetch");
      if (!Number.isInteger(count) || count < 1) {
        throw brokerError("ERR_INVALID_OPTION", `fetch takes an integer from 1; got ${quote(count)}`, {
          option: "count",
        });
      }
      checkCallOptions("fetch", options, fetchOptionNames);
      const { timeout, signal } = options;
      if (signal !== undefined && !(signal instanceof AbortSignal)) {
        throw brokerError("ERR_INVALID_OPTION", `fetch's signal must be an AbortSignal; got ${quote(signal)}`, {
          option: "signal",
        });
      }
      if (timeout !== undefined && !(typeof timeout === "number" && timeout >= 0)) {
        throw brokerError(
          "ERR_INVALID_OPTION",
          `fetch's timeout must be 0 or more milliseconds; got ${quote(timeout)}`,
          { option: "timeout" },
        );
      }
      return puller.fetch(count, options, () => this.#owner.hold()) as Promise<Received[]>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Takes no messages until `resume`; they go on gathering in the queue, within its bounds. */
  pause(): void {
    this.#consumer.pause();
  }

  /** Takes messages again, beginning with those that gathered. */
  resume(): void {
    this.#consumer.resume();
  }

  /** Says that the consumer is alive: starts the subscription's `ttl` again. Does nothing where it has none. */
  heartbeat(): void {
    this.#owner.renew(this);
  }

  /**
   * Takes no new messages, finishes those it has (queued, in flight, in backoff), then ends. A member of a group finishes
   * those in flight and leaves the rest to the others. A repeat returns the same promise's outcome.
   */
  async drain(): Promise<void> {
    if (this.#state === "closed") return;
    if (this.#state === "draining") return this.#closed;
    this.#state = "draining";
    await this.#owner.drain(this);
  }

  /**
   * Ends the subscription at once. What it held goes to other members of its group, or stays with the durable; of a plain
   * subscription it is dropped, counted as `unsubscribed`. Safe inside a handler; a repeat does nothing.
   */
  async unsubscribe(options: UnsubscribeOptions = {}): Promise<void> {
    checkCallOptions("unsubscribe", options, ["deleteDurable"]);
    if (options.deleteDurable === true && this.durable === undefined) {
      const text = "unsubscribe takes deleteDurable of a durable subscription; this one was made without durable";
      throw brokerError("ERR_INVALID_OPTION", text, { option: "deleteDurable" });
    }
    if (this.#state === "closed") return;
    await this.#owner.remove(this, options);
  }

  /** What it did and holds, of this instant. */
  stats(): SubscriptionStats {
    const { queue } = this.#consumer;
    const { counters } = queue;
    return {
      // A queue that backoffs keep full may hand out a message before its publisher goes on.
      queued: Math.max(0, queue.queued - queue.held),
      queuedBytes: queue.queuedBytes,
      waiting: queue.held,
      inFlight: this.#consumer.inFlight,
      delayed: queue.delayed,
      delivered: counters.delivered,
      handedOver: counters.handedOver,
      redelivered: counters.redelivered,
      nacked: counters.nacked,
      timedOut: counters.timedOut,
      handlerErrors: counters.handlerErrors,
      expired: counters.expired,
      deadLettered: counters.deadLettered,
      dropped: { ...counters.dropped },
    };
  }

  /**
   * Resolves once a durable has what its store holds for it, as far as its bounds allow; `fetch` waits for that by itself. Resolves at once
   * where something is queued, and where nothing is stored.
   */
  async whenFilled(): Promise<void> {
    await this.#consumer.queue.whenFilled();
  }

  /** `unsubscribe()`: what `await using` calls. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe();
  }

  /** @internal */
  get consumer(): Consumer {
    return this.#consumer;
  }

  /** @internal Over: ends whoever waits, with an error where one ended it. */
  close(error?: unknown): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#consumer.close();
    if (this.#consumer instanceof PullConsumer) this.#consumer.end(error);
    this.#resolveClosed();
  }

  #puller(use: string): PullConsumer {
    if (this.#consumer instanceof PullConsumer) return this.#consumer;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `${use} needs a subscription without a handler; ${quote(this.name)} has one that takes its messages`,
      { subscription: this.name },
    );
  }
}
