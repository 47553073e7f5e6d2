import type {
  AckMode,
  Broker,
  BrokerSubscription,
  DeadLetter,
  DropEvent,
  Message,
  RedeliverEvent,
  SubscribeOptions,
} from "../index.js";
import type { Allow } from "./allow-list.js";
import { requireSubscribe } from "./allow-list.js";
import type { FrameWriter } from "./frame-writer.js";
import { tell } from "./protocol.js";
import type { SubscriptionKind } from "./protocol.js";
import type { ConsumerHost } from "./remote-consumer.js";
import { RemoteConsumer } from "./remote-consumer.js";
import type { SessionAnswers } from "./session-answers.js";
import type { WireSubscribeOptions } from "./subscribe-options.js";
import { fromWireOptions } from "./subscribe-options.js";
import { brokerError, toWireError } from "./wire-error.js";

/** What the subscriptions of a client need of its session. */
export interface SessionSubscriptionsHost {
  readonly broker: Broker;
  readonly allow: Allow;
  /** A pool's worker asks for work; null where this is no pool. */
  readonly feed: ((consumer: RemoteConsumer) => void) | null;
  /** Milliseconds a feed's deliveries may take. */
  readonly feedAckTimeoutMs: number;
  readonly writer: FrameWriter;
  readonly answers: SessionAnswers;
  readonly consumers: ConsumerHost;
  /** The client gets a message that asks for an answer there. */
  mayReplyTo(topic: string): void;
}

interface Entry {
  readonly consumer: RemoteConsumer;
  readonly subscription: BrokerSubscription | null;
}

/** A client's subscriptions, on the broker's side. */
export class SessionSubscriptions {
  readonly #host: SessionSubscriptionsHost;
  readonly #entries = new Map<number, Entry>();
  /** Subscriptions that dropped for want of room in this turn. */
  readonly #overflowed = new Set<string>();
  /** Deliveries of subscriptions that have gone. */
  #sentBefore = 0;
  /** How this broker acknowledges where a subscription does not say: asked once. */
  #defaultAck: { readonly mode: AckMode; readonly timeoutMs: number } | null = null;

  constructor(host: SessionSubscriptionsHost) {
    this.#host = host;
    const { broker } = host;
    broker.on("redeliver", this.#onRedeliver);
    broker.on("dead-letter", this.#onGivenUp);
    broker.on("drop", this.#onDrop);
  }

  get figures(): { subscriptions: number; inFlight: number; sent: number } {
    let inFlight = 0;
    let sent = this.#sentBefore;
    let subscriptions = 0;
    for (const { consumer, subscription } of this.#entries.values()) {
      // What a pool feeds is the pool's.
      if (subscription !== null) subscriptions += 1;
      inFlight += consumer.inFlight;
      sent += consumer.sent;
    }
    return { subscriptions, inFlight, sent };
  }

  consumer(id: number): RemoteConsumer | undefined {
    return this.#entries.get(id)?.consumer;
  }

  subscription(id: number): BrokerSubscription | null | undefined {
    return this.#entries.get(id)?.subscription;
  }

  /** A client that may hang is sent nothing more, until it says something. */
  setSuspended(isSuspended: boolean): void {
    for (const { consumer } of this.#entries.values()) consumer.setSuspended(isSuspended);
  }

  /** Subscribes at the broker. Throws what the client is to be refused with. */
  open(
    kind: SubscriptionKind,
    id: number,
    patterns: readonly string[],
    wire: WireSubscribeOptions,
    credits: number,
  ): { ack: AckMode; ackTimeout: number } {
    const { broker, allow, feed } = this.#host;
    const host = this.#host.consumers;
    if (kind === "feed") {
      if (feed === null) throw brokerError("ERR_INVALID_OPTION", "this worker was not started by a workerPool");
      const ackTimeoutMs = this.#host.feedAckTimeoutMs;
      const consumer = new RemoteConsumer(id, host, {
        acknowledges: true,
        ackTimeoutMs,
        credits,
        isTransferred: false,
      });
      this.#entries.set(id, { consumer, subscription: null });
      feed(consumer);
      return { ack: "auto", ackTimeout: ackTimeoutMs };
    }
    if (Array.isArray(patterns)) for (const pattern of patterns) requireSubscribe(allow, pattern);
    const { isTransferred, options: given } = fromWireOptions(wire);
    const options = given;
    const { mode, timeoutMs } = this.#ackOf(kind, patterns, options);
    const acknowledges = mode !== "none" && kind !== "respond";
    if (isTransferred && acknowledges) {
      throw brokerError(
        "ERR_INVALID_OPTION",
        'option transfer needs ack: "none": a buffer that has moved cannot be delivered again',
        { option: "transfer" },
      );
    }
    const settings = { acknowledges, ackTimeoutMs: timeoutMs, credits, isTransferred };
    const consumer = new RemoteConsumer(id, host, settings);
    let subscription: BrokerSubscription;
    if (kind === "respond") {
      const handler = (message: Message): Promise<unknown> => consumer.ask(message);
      // One pattern is what respond takes; the client refuses more.
      subscription = broker.respond(patterns[0] as string, handler, options);
    } else {
      const handler = (message: Message): void => {
        if (message.replyTo !== undefined) this.#host.mayReplyTo(message.replyTo);
        consumer.take(message);
      };
      subscription = broker.subscribe(patterns, handler, { ...options, ack: acknowledges ? "manual" : "none" });
    }
    this.#entries.set(id, { consumer, subscription });
    consumer.follow(subscription);
    void subscription.closed.then(() => this.#ended(id));
    return { ack: mode, ackTimeout: timeoutMs };
  }

  unsubscribe(call: number, id: number, options: object | null): void {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    this.#sentBefore += entry?.consumer.sent ?? 0;
    this.#host.answers.answer(call, async () => {
      entry?.consumer.end(noSubscription());
      await entry?.subscription?.unsubscribe(options ?? {});
    });
  }

  /**
   * What is there now, the first of a durable's backlog included: the broker hands over in microtasks, so a turn of the event loop later
   * it has.
   */
  async fetchNow(call: number, id: number, count: number): Promise<void> {
    await this.#entries.get(id)?.subscription?.whenFilled?.();
    const consumer = this.#entries.get(id)?.consumer;
    if (consumer === undefined) {
      this.#host.answers.returned(call, 0);
      return;
    }
    const before = consumer.sent;
    consumer.grant(count);
    setImmediate(() => {
      const unused = Math.max(0, count - (consumer.sent - before));
      consumer.grant(-unused);
      this.#host.answers.returned(call, unused);
    });
  }

  /** All of them go, and what they had returns to their groups. Returns how many deliveries that were. */
  end(reason: Error): number {
    const { broker } = this.#host;
    broker.off("redeliver", this.#onRedeliver);
    broker.off("dead-letter", this.#onGivenUp);
    broker.off("drop", this.#onDrop);
    let returned = 0;
    for (const { consumer, subscription } of [...this.#entries.values()]) {
      returned += consumer.end(reason);
      this.#sentBefore += consumer.sent;
      if (subscription !== null) void subscription.unsubscribe();
    }
    this.#entries.clear();
    return returned;
  }

  readonly #onRedeliver = (event: RedeliverEvent): void => {
    for (const { consumer, subscription } of this.#entries.values()) {
      if (!consumer.acknowledges || subscription === null || consumer.inFlight === 0) continue;
      if (subscription.name === event.subscription && consumer.takenBack(event.message)) return;
    }
  };

  readonly #onDrop = (event: DropEvent): void => {
    this.#onGivenUp(event);
    if (event.reason !== "overflow") return;
    // A subscription that closes where it is full does so in this turn, and the broker's event does not say so.
    if (this.#overflowed.size === 0) setImmediate(() => this.#overflowed.clear()).unref();
    this.#overflowed.add(event.subscription);
  };

  /** A message that timed out for the last time is dead-lettered, or dropped, and not redelivered. */
  readonly #onGivenUp = (event: DropEvent | DeadLetter): void => {
    if (event.reason !== "max-deliveries") return;
    for (const { consumer, subscription } of this.#entries.values()) {
      if (consumer.acknowledges && subscription?.name === event.subscription) consumer.givenUp(event.message.seq);
    }
  };

  #ackOf(
    kind: SubscriptionKind,
    patterns: readonly string[],
    options: SubscribeOptions,
  ): { mode: AckMode; timeoutMs: number } {
    if (this.#defaultAck === null) {
      const { broker } = this.#host;
      const probe = broker.subscribe(patterns, () => undefined, {});
      this.#defaultAck = { mode: probe.ackMode, timeoutMs: probe.ackTimeout };
      void probe.unsubscribe();
    }
    const byDefault = this.#defaultAck.mode === "none" ? "none" : kind === "pull" ? "manual" : "auto";
    return { mode: options.ack ?? byDefault, timeoutMs: options.ackTimeout ?? this.#defaultAck.timeoutMs };
  }

  /** The broker has ended a subscription, or the client has. */
  #ended(id: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#sentBefore += entry.consumer.sent;
    entry.consumer.end(noSubscription());
    const name = entry.subscription?.name ?? "";
    this.#host.writer.write([tell.ended, id, this.#overflowed.has(name) ? toWireError(overflowed(name)) : null]);
  }
}

function overflowed(subscription: string): Error {
  return brokerError(
    "ERR_QUEUE_FULL",
    `the queue of ${subscription} was full, which ends it by its overflow policy "close"; ` +
      "let its consumer catch up, raise maxMessages or maxBytes, or choose another policy",
    { subscription },
  );
}

/** What was delivered to it cannot be decided any more. */
export function noSubscription(): Error {
  return brokerError("ERR_DELIVERY_EXPIRED", "the subscription that this was delivered to is over");
}
