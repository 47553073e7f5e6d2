import type {
  AckMode,
  Broker,
  BrokerEventName,
  BrokerSubscription,
  DeadLetter,
  DropEvent,
  Message,
  PublishOptions,
  Receipt,
  RedeliverEvent,
  SubscribeOptions,
} from "../index.js";
import type { Allow } from "./allow-list.js";
import { requirePublish, requireSubscribe } from "./allow-list.js";
import type { TimedDeadlines } from "./deadlines.js";
import { DeliveryWriter } from "./delivery-writer.js";
import { FrameReader } from "./frame-reader.js";
import { FrameWriter } from "./frame-writer.js";
import type { Link } from "./link.js";
import { ask, callWindow, eventWindow, maxDeadlines, tell } from "./protocol.js";
import type { SubscriptionKind, WireDecision } from "./protocol.js";
import { RemoteConsumer } from "./remote-consumer.js";
import { toWireArgument } from "./wire-message.js";
import { TopicNames, TopicNumbers } from "./topic-numbers.js";
import { brokerError, fromWireError, textOf, toWireError } from "./wire-error.js";
import type { WireError } from "./wire-error.js";
import type { WireSubscribeOptions } from "./subscribe-options.js";
import { fromWireOptions } from "./subscribe-options.js";

/** What a session needs of the handle it belongs to. */
export interface SessionHost {
  readonly broker: Broker;
  readonly allow: Allow;
  /** A pool's worker asks for work; null where this is no pool. */
  readonly feed: ((consumer: RemoteConsumer) => void) | null;
  /** Milliseconds a feed's deliveries may take. */
  readonly feedAckTimeoutMs: number;
  /** What time is counted in. */
  readonly deadlines: TimedDeadlines;
  /** Whether the client's deadlines are kept here too. */
  readonly keepsTime: boolean;
  /** The client has said goodbye. */
  left(session: Session): void;
  /** The link is gone. */
  gone(session: Session): void;
  /** An ack timeout has passed, and the client has said nothing since the delivery. */
  suspected(session: Session): void;
}

interface Entry {
  readonly consumer: RemoteConsumer;
  readonly subscription: BrokerSubscription | null;
}

/** Reply topics that a client may answer to although `allow.publish` does not name them. */
const maxReplyTopics = 10_000;

/**
 * One client, on the broker's side: carries out what it asks, and sends what its subscriptions get.
 *
 * open    from the first batch
 * ended   its subscriptions are gone, its calls abandoned; entered by the client's goodbye, the end of the link or `end()`
 */
export class Session {
  readonly #host: SessionHost;
  readonly #link: Link;
  readonly #writer: FrameWriter;
  readonly #deliveries: DeliveryWriter;
  readonly #topicNumbers: TopicNumbers;
  readonly #topicNames = new TopicNames();
  readonly #entries = new Map<number, Entry>();
  /** Calls whose caller has a signal. */
  readonly #calls = new Map<number, AbortController>();
  readonly #iterations = new Map<number, AsyncIterableIterator<unknown>>();
  readonly #replyTopics = new Set<string>();
  readonly #stopEvents = new Map<BrokerEventName, () => void>();
  /** What cancels each deadline of the client that is kept here. */
  readonly #deadlines = new Map<number, () => void>();
  /** Subscriptions that dropped for want of room in this turn. */
  readonly #overflowed = new Set<string>();
  #eventCredits = eventWindow;
  #eventsDropped = 0;
  /** Deliveries of subscriptions that have gone. */
  #sentBefore = 0;
  /** Deliveries that were not decided when the session ended. */
  returned = 0;
  #state: "open" | "ended" = "open";
  #isGreeted = false;
  #isSuspected = false;
  #now: number | null = null;
  /** How this broker acknowledges where a subscription does not say: asked once. */
  #defaultAck: { readonly mode: AckMode; readonly timeoutMs: number } | null = null;

  constructor(host: SessionHost, link: Link) {
    this.#host = host;
    this.#link = link;
    this.#writer = new FrameWriter(link, (frame, error) => this.#refused(frame, error));
    this.#topicNumbers = new TopicNumbers(this.#writer);
    this.#deliveries = new DeliveryWriter(this.#writer, this.#topicNumbers);
    link.start({
      batch: (batch) => this.#read(batch),
      closed: () => {
        if (this.#state === "ended") return;
        this.end(null);
        host.gone(this);
      },
    });
    link.hold(false);
    host.broker.on("redeliver", this.#onRedeliver);
    host.broker.on("dead-letter", this.#onGivenUp);
    host.broker.on("drop", this.#onDrop);
    host.broker.on("closed", this.#onBrokerClosed);
  }

  /** Figures for the handle. */
  get figures(): { subscriptions: number; inFlight: number; sent: number; batches: number; eventsDropped: number } {
    let inFlight = 0;
    let sent = this.#sentBefore;
    for (const { consumer } of this.#entries.values()) {
      inFlight += consumer.inFlight;
      sent += consumer.sent;
    }
    return {
      subscriptions: this.#entries.size,
      inFlight,
      sent,
      batches: this.#writer.batches,
      eventsDropped: this.#eventsDropped,
    };
  }

  /**
   * Ends the session: its subscriptions go, and what they had returns to their groups. Returns how many deliveries that were.
   *
   * @param error - what the client is told; null where there is nobody to tell
   */
  end(error: Error | null): number {
    if (this.#state === "ended") return 0;
    this.#state = "ended";
    const { broker } = this.#host;
    broker.off("redeliver", this.#onRedeliver);
    broker.off("dead-letter", this.#onGivenUp);
    broker.off("drop", this.#onDrop);
    broker.off("closed", this.#onBrokerClosed);
    for (const cancel of this.#deadlines.values()) cancel();
    this.#deadlines.clear();
    for (const stop of this.#stopEvents.values()) stop();
    this.#stopEvents.clear();
    let returned = 0;
    const reason = error ?? brokerError("ERR_REMOTE", "the worker that was to answer is gone");
    for (const { consumer, subscription } of [...this.#entries.values()]) {
      returned += consumer.end(reason);
      this.#sentBefore += consumer.sent;
      if (subscription !== null) void subscription.unsubscribe();
    }
    this.#entries.clear();
    for (const call of this.#calls.values()) call.abort(reason);
    this.#calls.clear();
    for (const iteration of this.#iterations.values()) void iteration.return?.();
    this.#iterations.clear();
    if (error !== null) {
      this.#writer.write([tell.closed, toWireError(error)]);
      this.#writer.flush();
    }
    this.#link.close();
    this.returned = returned;
    return returned;
  }

  /** True from an ack timeout until the client's next word. */
  get isSuspected(): boolean {
    return this.#isSuspected;
  }

  /** Sends what has been written. */
  flush(): void {
    this.#writer.flush();
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

  readonly #onBrokerClosed = (): void => {
    this.end(brokerError("ERR_BROKER_CLOSED", "the broker is closed; open a new one, and expose it"));
    this.#host.left(this);
  };

  /** An ack timeout has passed. A client that hangs is sent nothing more; one that is only slow says something soon. */
  #suspect(): void {
    if (this.#isSuspected || this.#state === "ended") return;
    this.#isSuspected = true;
    for (const { consumer } of this.#entries.values()) consumer.setSuspended(true);
    this.#host.suspected(this);
  }

  #time(): number {
    if (this.#now === null) {
      this.#now = this.#host.deadlines.now();
      void Promise.resolve().then(() => {
        this.#now = null;
      });
    }
    return this.#now;
  }

  #read(batch: readonly unknown[]): void {
    if (this.#isSuspected) {
      this.#isSuspected = false;
      for (const { consumer } of this.#entries.values()) consumer.setSuspended(false);
    }
    const frames = new FrameReader(batch);
    while (frames.hasMore && this.#state === "open") this.#carryOut(frames);
  }

  #carryOut(frames: FrameReader): void {
    const operation = frames.number();
    switch (operation) {
      case ask.hello:
        this.#greet(frames.next());
        break;
      case ask.topic:
        this.#topicNames.learn(frames.number(), frames.next() as string);
        break;
      case ask.publish:
        this.#publish(frames.number(), frames.number(), frames.next(), frames.next() as PublishOptions | null);
        break;
      case ask.publishBatch:
        this.#publishBatch(frames.number(), frames.next() as readonly { topic: string; data: unknown }[]);
        break;
      case ask.request:
        this.#request(frames.number(), frames.number(), frames.next(), frames.next() as object);
        break;
      case ask.requestMany:
        this.#requestMany(frames.number(), frames.number(), frames.next(), frames.next() as object);
        break;
      case ask.next:
        this.#moveIteration(frames.number(), frames.number(), frames.next() as boolean);
        break;
      case ask.subscribe:
        this.#subscribe(frames);
        break;
      case ask.unsubscribe:
        this.#unsubscribe(frames.number(), frames.number(), frames.next() as object | null);
        break;
      case ask.drain: {
        const call = frames.number();
        const entry = this.#entries.get(frames.number());
        this.#answer(call, async () => entry?.subscription?.drain());
        break;
      }
      case ask.credit: {
        const entry = this.#entries.get(frames.number());
        const credits = frames.number();
        entry?.consumer.grant(credits);
        break;
      }
      case ask.pause: {
        const entry = this.#entries.get(frames.number());
        const isPaused = frames.next() as boolean;
        entry?.consumer.setPaused(isPaused);
        break;
      }
      case ask.heartbeat:
        this.#entries.get(frames.number())?.subscription?.heartbeat();
        break;
      case ask.stats: {
        const call = frames.number();
        const entry = this.#entries.get(frames.number());
        this.#answer(call, async () => entry?.subscription?.stats() ?? null);
        break;
      }
      case ask.fetchNow:
        void this.#fetchNow(frames.number(), frames.number(), frames.number());
        break;
      case ask.acks: {
        const consumer = this.#entries.get(frames.number())?.consumer;
        for (let left = frames.number(); left > 0; left -= 1) {
          const number = frames.number();
          consumer?.acked(number);
        }
        break;
      }
      case ask.failed: {
        const consumer = this.#entries.get(frames.number())?.consumer;
        const number = frames.number();
        const reason = frames.next() as string;
        consumer?.failed(number, reason);
        break;
      }
      case ask.settle: {
        const call = frames.number();
        const consumer = this.#entries.get(frames.number())?.consumer;
        const number = frames.number();
        const decision = frames.next() as WireDecision;
        const argument = frames.next();
        this.#answer(call, async () => {
          if (consumer === undefined) throw noSubscription();
          await consumer.settle(number, decision, argument);
        });
        break;
      }
      case ask.settleById:
        this.#settleById(frames.number(), frames.next() as string, frames.next() as WireDecision, frames.next());
        break;
      case ask.keep: {
        const consumer = this.#entries.get(frames.number())?.consumer;
        for (let left = frames.number(); left > 0; left -= 1) {
          const number = frames.number();
          consumer?.keep(number);
        }
        break;
      }
      case ask.watch: {
        const consumer = this.#entries.get(frames.number())?.consumer;
        const number = frames.number();
        consumer?.watch(number);
        break;
      }
      case ask.answer: {
        const consumer = this.#entries.get(frames.number())?.consumer;
        const number = frames.number();
        const hasFailed = frames.next() as boolean;
        const answer = frames.next();
        consumer?.answer(number, hasFailed, hasFailed ? fromWireError(answer as WireError) : answer);
        break;
      }
      case ask.reply:
        this.#reply(frames.number(), frames.next() as string, frames.next(), frames.next() as PublishOptions);
        break;
      case ask.abort: {
        const call = frames.number();
        this.#calls.get(call)?.abort();
        break;
      }
      case ask.flush:
        this.#answer(frames.number(), () => this.#host.broker.flush());
        break;
      case ask.event:
        this.#forwardEvent(frames.next() as BrokerEventName, frames.next() as boolean);
        break;
      case ask.eventCredit:
        this.#eventCredits += frames.number();
        break;
      case ask.alive:
        break;
      case ask.deadline:
        this.#keepDeadline(frames.number(), frames.number());
        break;
      case ask.noDeadline: {
        const number = frames.number();
        this.#deadlines.get(number)?.();
        this.#deadlines.delete(number);
        break;
      }
      case ask.close:
        this.end(brokerError("ERR_BROKER_CLOSED", "this client of the broker is closed; connect again"));
        this.#host.left(this);
        break;
      default:
        throw brokerError("ERR_INVALID_MESSAGE", `the worker protocol has no operation ${String(operation)}`);
    }
  }

  #greet(probe: unknown): void {
    if (!(probe instanceof Map)) {
      this.end(
        brokerError(
          "ERR_INVALID_OPTION",
          'the channel to the child process loses types; fork it with { serialization: "advanced" }',
          { option: "serialization" },
        ),
      );
      this.#host.left(this);
      return;
    }
    if (this.#isGreeted) return;
    this.#isGreeted = true;
    this.#writer.write([tell.welcome, callWindow, this.#host.keepsTime]);
  }

  #publish(call: number, topicNumber: number, data: unknown, options: PublishOptions | null): void {
    const topic = this.#topicNames.of(topicNumber);
    try {
      requirePublish(this.#host.allow, topic);
      const { broker } = this.#host;
      const publishing =
        options === null ? broker.publish(topic, data) : broker.publish(topic, data, this.#withSignal(call, options));
      publishing.then(
        (receipt) => this.#published(call, receipt),
        (error: unknown) => this.#failed(call, error),
      );
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #publishBatch(call: number, entries: readonly { topic: string; data: unknown }[]): void {
    this.#answer(call, async () => {
      if (Array.isArray(entries)) for (const { topic } of entries) requirePublish(this.#host.allow, topic);
      const receipts = await this.#host.broker.publishBatch(entries);
      return receipts.map(plainReceipt);
    });
  }

  #request(call: number, topicNumber: number, data: unknown, options: object): void {
    const topic = this.#topicNames.of(topicNumber);
    this.#answer(call, async () => {
      requirePublish(this.#host.allow, topic);
      return this.#host.broker.request(topic, data, this.#withSignal(call, options));
    });
  }

  #requestMany(call: number, topicNumber: number, data: unknown, options: object): void {
    const topic = this.#topicNames.of(topicNumber);
    try {
      requirePublish(this.#host.allow, topic);
      this.#iterations.set(call, this.#host.broker.requestMany(topic, data, this.#withSignal(call, options)));
    } catch (error) {
      this.#iterations.set(call, failing(error));
    }
  }

  #moveIteration(call: number, number: number, isReturn: boolean): void {
    const iteration = this.#iterations.get(number);
    this.#answer(call, async () => {
      let step: IteratorResult<unknown, unknown> = { value: undefined, done: true };
      let isOver = true;
      try {
        if (isReturn) await iteration?.return?.();
        else if (iteration !== undefined) step = await iteration.next();
        isOver = step.done === true;
      } finally {
        if (isOver) {
          this.#iterations.delete(number);
          this.#calls.delete(number);
        }
      }
      return step.done === true ? { done: true } : { value: step.value };
    });
  }

  #subscribe(frames: FrameReader): void {
    const call = frames.number();
    const kind = frames.next() as SubscriptionKind;
    const id = frames.number();
    const patterns = frames.next() as readonly string[];
    const wire = frames.next() as WireSubscribeOptions;
    const credits = frames.number();
    try {
      this.#returned(call, this.#open(kind, id, patterns, wire, credits));
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #open(
    kind: SubscriptionKind,
    id: number,
    patterns: readonly string[],
    wire: WireSubscribeOptions,
    credits: number,
  ): { ack: AckMode; ackTimeout: number } {
    const { broker, allow, feed } = this.#host;
    const host = {
      writer: this.#writer,
      deliveries: this.#deliveries,
      now: () => this.#time(),
      deadlines: this.#host.deadlines,
      suspect: () => this.#suspect(),
    };
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
        if (message.replyTo !== undefined) this.#mayReplyTo(message.replyTo);
        consumer.take(message);
      };
      subscription = broker.subscribe(patterns, handler, { ...options, ack: acknowledges ? "manual" : "none" });
    }
    this.#entries.set(id, { consumer, subscription });
    consumer.follow(subscription);
    void subscription.closed.then(() => this.#ended(id));
    return { ack: mode, ackTimeout: timeoutMs };
  }

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
    this.#writer.write([tell.ended, id, this.#overflowed.has(name) ? toWireError(overflowed(name)) : null]);
  }

  #unsubscribe(call: number, id: number, options: object | null): void {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    this.#sentBefore += entry?.consumer.sent ?? 0;
    this.#answer(call, async () => {
      entry?.consumer.end(noSubscription());
      await entry?.subscription?.unsubscribe(options ?? {});
    });
  }

  /**
   * What is there now, the first of a durable's backlog included: the broker hands over in microtasks, so a turn of the event loop later
   * it has.
   */
  async #fetchNow(call: number, id: number, count: number): Promise<void> {
    await this.#entries.get(id)?.subscription?.whenFilled?.();
    const consumer = this.#entries.get(id)?.consumer;
    if (consumer === undefined) {
      this.#returned(call, 0);
      return;
    }
    const before = consumer.sent;
    consumer.grant(count);
    setImmediate(() => {
      const unused = Math.max(0, count - (consumer.sent - before));
      consumer.grant(-unused);
      this.#returned(call, unused);
    });
  }

  #keepDeadline(number: number, ms: number): void {
    const over = (): void => {
      this.#deadlines.delete(number);
      if (this.#state === "open") this.#writer.write([tell.deadline, number]);
    };
    if (this.#deadlines.size >= maxDeadlines) over();
    else this.#deadlines.set(number, this.#host.deadlines.after(ms, over));
  }

  #settleById(call: number, deliveryId: string, decision: WireDecision, argument: unknown): void {
    const { broker, allow } = this.#host;
    this.#answer(call, () => {
      if (allow.publish !== undefined || allow.subscribe !== undefined) {
        throw brokerError(
          "ERR_ALREADY_SETTLED",
          `no delivery ${JSON.stringify(deliveryId)} of this worker is in flight; exposeBroker's allow keeps it to its own`,
          { deliveryId },
        );
      }
      if (decision === "ack") return broker.ack(deliveryId);
      if (decision === "nack") return broker.nack(deliveryId, argument as object | undefined);
      if (decision === "reject") return broker.reject(deliveryId, argument as string | undefined);
      return broker.extend(deliveryId, argument as number);
    });
  }

  #reply(call: number, topic: string, data: unknown, options: PublishOptions): void {
    this.#answer(call, async () => {
      if (!this.#replyTopics.has(topic)) requirePublish(this.#host.allow, topic);
      await this.#host.broker.publish(topic, data, options);
    });
  }

  #mayReplyTo(topic: string): void {
    if (this.#host.allow.publish === undefined) return;
    this.#replyTopics.add(topic);
    if (this.#replyTopics.size > maxReplyTopics) {
      const [oldest] = this.#replyTopics;
      this.#replyTopics.delete(oldest as string);
    }
  }

  #forwardEvent(name: BrokerEventName, isWanted: boolean): void {
    this.#stopEvents.get(name)?.();
    this.#stopEvents.delete(name);
    if (!isWanted) return;
    const { broker } = this.#host;
    const listener = (...args: readonly unknown[]): void => {
      if (this.#eventCredits <= 0) {
        this.#eventsDropped += 1;
        return;
      }
      this.#eventCredits -= 1;
      this.#writer.write([tell.event, name, args.map(toWireArgument)]);
    };
    broker.on(name, listener);
    this.#stopEvents.set(name, () => broker.off(name, listener));
  }

  /** A signal cannot travel: the client says that it has one, and `abort` when it is aborted. */
  #withSignal(call: number, options: { readonly signal?: unknown }): object {
    if (options.signal === undefined) return options;
    const controller = new AbortController();
    this.#calls.set(call, controller);
    return { ...options, signal: controller.signal };
  }

  #answer(call: number, work: () => Promise<unknown>): void {
    let working: Promise<unknown>;
    try {
      working = work();
    } catch (error) {
      this.#failed(call, error);
      return;
    }
    working.then(
      (value) => this.#returned(call, value),
      (error: unknown) => this.#failed(call, error),
    );
  }

  #published(call: number, receipt: Receipt): void {
    if (this.#state === "ended") return;
    this.#calls.delete(call);
    if (receipt.duplicate || receipt.report !== undefined)
      this.#writer.write([tell.returned, call, plainReceipt(receipt)]);
    else this.#writer.write([tell.published, call, receipt.id, receipt.seq, receipt.matched]);
  }

  #returned(call: number, value: unknown): void {
    if (this.#state === "ended") return;
    this.#calls.delete(call);
    this.#writer.write([tell.returned, call, value]);
  }

  #failed(call: number, error: unknown): void {
    if (this.#state === "ended") return;
    this.#calls.delete(call);
    this.#writer.write([tell.threw, call, toWireError(error)]);
  }

  /** A frame could not be cloned. */
  #refused(frame: readonly unknown[], error: unknown): void {
    const [operation, first, second] = frame as readonly number[];
    if (operation === tell.deliver) {
      const apart = DeliveryWriter.apart(frame);
      if (apart === null) this.#entries.get(first as number)?.consumer.refused(second as number, error);
      else {
        for (const one of apart) {
          this.#writer.write(one);
          this.#writer.flush();
        }
      }
    } else if (operation === tell.deliverWithFacts) {
      this.#entries.get(first as number)?.consumer.refused(second as number, error);
    } else if (operation === tell.returned) {
      const text = `the answer cannot be cloned: ${textOf(error)}`;
      this.#failed(first as number, brokerError("ERR_INVALID_MESSAGE", text));
    }
  }
}

function plainReceipt({ id, seq, matched, duplicate, report }: Receipt): Receipt {
  return report === undefined ? { id, seq, matched, duplicate } : { id, seq, matched, duplicate, report };
}

/** An iteration that fails at its first step, as one of the broker would. */
function failing(error: unknown): AsyncIterableIterator<unknown> {
  return {
    next: async () => {
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function overflowed(subscription: string): Error {
  return brokerError(
    "ERR_QUEUE_FULL",
    `the queue of ${subscription} was full, which ends it by its overflow policy "close"; ` +
      "let its consumer catch up, raise maxMessages or maxBytes, or choose another policy",
    { subscription },
  );
}

function noSubscription(): Error {
  return brokerError("ERR_DELIVERY_EXPIRED", "the subscription that this was delivered to is over");
}
