import type { Broker, BrokerEventName, PublishOptions } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { TimedDeadlines } from "./deadlines.js";
import { DeliveryWriter } from "./delivery-writer.js";
import { FrameReader } from "./frame-reader.js";
import { FrameWriter } from "./frame-writer.js";
import type { Link } from "./link.js";
import { ask, callWindow, maxDeadlines, tell } from "./protocol.js";
import type { SubscriptionKind, WireDecision } from "./protocol.js";
import type { RemoteConsumer } from "./remote-consumer.js";
import { SessionAnswers } from "./session-answers.js";
import { SessionCalls } from "./session-calls.js";
import { SessionEvents } from "./session-events.js";
import { noSubscription, SessionSubscriptions } from "./session-subscriptions.js";
import { TopicNames, TopicNumbers } from "./topic-numbers.js";
import { brokerError, fromWireError, textOf, toWireError } from "./wire-error.js";
import type { WireError } from "./wire-error.js";
import type { WireSubscribeOptions } from "./subscribe-options.js";

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
  readonly #answers: SessionAnswers;
  readonly #calls: SessionCalls;
  readonly #events: SessionEvents;
  readonly #subscriptions: SessionSubscriptions;
  readonly #topicNames = new TopicNames();
  /** What cancels each deadline of the client that is kept here. */
  readonly #deadlines = new Map<number, () => void>();
  /** What it had when it ended: subscriptions, and deliveries that were not decided. */
  left = { subscriptions: 0, deliveries: 0 };
  #state: "open" | "ended" = "open";
  #isGreeted = false;
  #isSuspected = false;
  #now: number | null = null;

  constructor(host: SessionHost, link: Link) {
    this.#host = host;
    this.#link = link;
    this.#writer = new FrameWriter(link, (frame, error) => this.#refused(frame, error));
    this.#answers = new SessionAnswers(this.#writer);
    this.#calls = new SessionCalls(host.broker, host.allow, this.#answers);
    this.#events = new SessionEvents(host.broker, host.allow, this.#writer);
    this.#subscriptions = new SessionSubscriptions({
      broker: host.broker,
      allow: host.allow,
      feed: host.feed,
      feedAckTimeoutMs: host.feedAckTimeoutMs,
      writer: this.#writer,
      answers: this.#answers,
      consumers: {
        writer: this.#writer,
        deliveries: new DeliveryWriter(this.#writer, new TopicNumbers(this.#writer)),
        now: () => this.#time(),
        deadlines: host.deadlines,
        suspect: () => this.#suspect(),
      },
      mayReplyTo: (topic) => this.#calls.mayReplyTo(topic),
    });
    link.start({
      batch: (batch) => this.#read(batch),
      closed: () => {
        if (this.#state === "ended") return;
        this.end(null);
        host.gone(this);
      },
    });
    link.hold(false);
    host.broker.on("closed", this.#onBrokerClosed);
  }

  /** Figures for the handle. */
  get figures(): { subscriptions: number; inFlight: number; sent: number; batches: number; eventsDropped: number } {
    return { ...this.#subscriptions.figures, batches: this.#writer.batches, eventsDropped: this.#events.dropped };
  }

  /**
   * Ends the session: its subscriptions go, and what they had returns to their groups; `left` says how much that was.
   *
   * @param error - what the client is told; null where there is nobody to tell
   */
  end(error: Error | null): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#host.broker.off("closed", this.#onBrokerClosed);
    for (const cancel of this.#deadlines.values()) cancel();
    this.#deadlines.clear();
    this.#events.end();
    const reason = error ?? brokerError("ERR_REMOTE", "the worker that was to answer is gone");
    const { subscriptions } = this.#subscriptions.figures;
    this.left = { subscriptions, deliveries: this.#subscriptions.end(reason) };
    this.#answers.end(reason);
    this.#calls.end();
    if (error !== null) {
      this.#writer.write([tell.closed, toWireError(error)]);
      this.#writer.flush();
    }
    this.#link.close();
  }

  /** True from an ack timeout until the client's next word. */
  get isSuspected(): boolean {
    return this.#isSuspected;
  }

  /** Sends what has been written. */
  flush(): void {
    this.#writer.flush();
  }

  readonly #onBrokerClosed = (): void => {
    this.end(brokerError("ERR_BROKER_CLOSED", "the broker is closed; open a new one, and expose it"));
    this.#host.left(this);
  };

  /** An ack timeout has passed. A client that hangs is sent nothing more; one that is only slow says something soon. */
  #suspect(): void {
    if (this.#isSuspected || this.#state === "ended") return;
    this.#isSuspected = true;
    this.#subscriptions.setSuspended(true);
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
      this.#subscriptions.setSuspended(false);
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
        this.#calls.publish(
          frames.number(),
          this.#topicNames.of(frames.number()),
          frames.next(),
          frames.next() as PublishOptions | null,
        );
        break;
      case ask.publishBatch:
        this.#calls.publishBatch(frames.number(), frames.next() as readonly { topic: string; data: unknown }[]);
        break;
      case ask.request:
        this.#calls.request(
          frames.number(),
          this.#topicNames.of(frames.number()),
          frames.next(),
          frames.next() as object,
        );
        break;
      case ask.requestMany:
        this.#calls.requestMany(
          frames.number(),
          this.#topicNames.of(frames.number()),
          frames.next(),
          frames.next() as object,
        );
        break;
      case ask.next:
        this.#calls.moveIteration(frames.number(), frames.number(), frames.next() as boolean);
        break;
      case ask.subscribe:
        this.#subscribe(frames);
        break;
      case ask.unsubscribe:
        this.#subscriptions.unsubscribe(frames.number(), frames.number(), frames.next() as object | null);
        break;
      case ask.drain: {
        const call = frames.number();
        const subscription = this.#subscriptions.subscription(frames.number());
        this.#answers.answer(call, async () => subscription?.drain());
        break;
      }
      case ask.credit: {
        const consumer = this.#subscriptions.consumer(frames.number());
        const credits = frames.number();
        consumer?.grant(credits);
        break;
      }
      case ask.pause: {
        const consumer = this.#subscriptions.consumer(frames.number());
        const isPaused = frames.next() as boolean;
        consumer?.setPaused(isPaused);
        break;
      }
      case ask.heartbeat:
        this.#subscriptions.subscription(frames.number())?.heartbeat();
        break;
      case ask.stats: {
        const call = frames.number();
        const subscription = this.#subscriptions.subscription(frames.number());
        this.#answers.answer(call, async () => subscription?.stats() ?? null);
        break;
      }
      case ask.fetchNow:
        void this.#subscriptions.fetchNow(frames.number(), frames.number(), frames.number());
        break;
      case ask.acks: {
        const consumer = this.#subscriptions.consumer(frames.number());
        for (let left = frames.number(); left > 0; left -= 1) {
          const number = frames.number();
          consumer?.acked(number);
        }
        break;
      }
      case ask.failed: {
        const consumer = this.#subscriptions.consumer(frames.number());
        const number = frames.number();
        const reason = frames.next() as string;
        consumer?.failed(number, reason);
        break;
      }
      case ask.settle: {
        const call = frames.number();
        const consumer = this.#subscriptions.consumer(frames.number());
        const number = frames.number();
        const decision = frames.next() as WireDecision;
        const argument = frames.next();
        this.#answers.answer(call, async () => {
          if (consumer === undefined) throw noSubscription();
          await consumer.settle(number, decision, argument);
        });
        break;
      }
      case ask.settleById:
        this.#calls.settleById(frames.number(), frames.next() as string, frames.next() as WireDecision, frames.next());
        break;
      case ask.keep: {
        const consumer = this.#subscriptions.consumer(frames.number());
        for (let left = frames.number(); left > 0; left -= 1) {
          const number = frames.number();
          consumer?.keep(number);
        }
        break;
      }
      case ask.watch: {
        const consumer = this.#subscriptions.consumer(frames.number());
        const number = frames.number();
        consumer?.watch(number);
        break;
      }
      case ask.answer: {
        const consumer = this.#subscriptions.consumer(frames.number());
        const number = frames.number();
        const hasFailed = frames.next() as boolean;
        const answer = frames.next();
        consumer?.answer(number, hasFailed, hasFailed ? fromWireError(answer as WireError) : answer);
        break;
      }
      case ask.reply:
        this.#calls.reply(frames.number(), frames.next() as string, frames.next(), frames.next() as PublishOptions);
        break;
      case ask.abort: {
        this.#answers.abort(frames.number());
        break;
      }
      case ask.flush:
        this.#answers.answer(frames.number(), () => this.#host.broker.flush());
        break;
      case ask.event:
        this.#events.forward(frames.next() as BrokerEventName, frames.next() as boolean);
        break;
      case ask.eventCredit:
        this.#events.grant(frames.number());
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

  #subscribe(frames: FrameReader): void {
    const call = frames.number();
    const kind = frames.next() as SubscriptionKind;
    const id = frames.number();
    const patterns = frames.next() as readonly string[];
    const wire = frames.next() as WireSubscribeOptions;
    const credits = frames.number();
    try {
      this.#answers.returned(call, this.#subscriptions.open(kind, id, patterns, wire, credits));
    } catch (error) {
      this.#answers.failed(call, error);
    }
  }

  #keepDeadline(number: number, ms: number): void {
    const over = (): void => {
      this.#deadlines.delete(number);
      if (this.#state === "open") this.#writer.write([tell.deadline, number]);
    };
    if (this.#deadlines.size >= maxDeadlines) over();
    else this.#deadlines.set(number, this.#host.deadlines.after(ms, over));
  }

  /** A frame could not be cloned. */
  #refused(frame: readonly unknown[], error: unknown): void {
    const [operation, first, second] = frame as readonly number[];
    if (operation === tell.deliver) {
      const apart = DeliveryWriter.apart(frame);
      if (apart === null) this.#subscriptions.consumer(first as number)?.refused(second as number, error);
      else {
        for (const one of apart) {
          this.#writer.write(one);
          this.#writer.flush();
        }
      }
    } else if (operation === tell.deliverWithFacts) {
      this.#subscriptions.consumer(first as number)?.refused(second as number, error);
    } else if (operation === tell.returned) {
      const text = `the answer cannot be cloned: ${textOf(error)}`;
      this.#answers.failed(first as number, brokerError("ERR_INVALID_MESSAGE", text));
    }
  }
}
