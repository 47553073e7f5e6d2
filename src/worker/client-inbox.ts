import type { BrokerEventName, MessageFacts } from "../index.js";
import type { ClientCalls } from "./client-calls.js";
import type { ClientDeadlines } from "./client-deadlines.js";
import type { ClientEvents } from "./client-events.js";
import type { ClientSubscriptions } from "./client-subscriptions.js";
import { FrameReader } from "./frame-reader.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask, tell } from "./protocol.js";
import type { RecordKind } from "./protocol.js";
import { RecordMaker } from "./record-maker.js";
import type { RemoteSubscription } from "./remote-subscription.js";
import { TopicNames } from "./topic-numbers.js";
import { brokerError, fromWireError } from "./wire-error.js";
import type { WireError } from "./wire-error.js";
import type { WireArgument } from "./wire-message.js";

/** What the inbox of a client hands on to. */
export interface ClientInboxHost {
  readonly writer: FrameWriter;
  readonly calls: ClientCalls;
  readonly deadlines: ClientDeadlines;
  readonly events: ClientEvents;
  readonly subscriptions: ClientSubscriptions;
  /** False from when nothing more is read. */
  isOpen(): boolean;
  /** The broker has accepted the client. */
  welcomed(): void;
  /** The eight characters that end the ids which the broker makes. */
  nonce(nonce: string): void;
  /** The broker has let go of the client. */
  closed(error: Error): void;
}

/** Reads what the broker's side says, and hands each frame to whom it concerns. */
export class ClientInbox {
  readonly #host: ClientInboxHost;
  readonly #topicNames = new TopicNames();
  /** What makes the records that come, by shape number. */
  readonly #shapes: RecordMaker[] = [];
  /** Subscriptions that have deliveries in the batch being read. */
  readonly #delivered = new Set<RemoteSubscription>();

  constructor(host: ClientInboxHost) {
    this.#host = host;
  }

  read(batch: readonly unknown[]): void {
    const frames = new FrameReader(batch);
    const at = performance.now();
    while (frames.hasMore && this.#host.isOpen()) this.#carryOut(frames, at);
    if (this.#delivered.size === 0) return;
    for (const subscription of this.#delivered) subscription.batchEnded();
    this.#delivered.clear();
  }

  #carryOut(frames: FrameReader, at: number): void {
    const { calls, deadlines, events, subscriptions, writer } = this.#host;
    const operation = frames.number();
    switch (operation) {
      case tell.deliver:
      case tell.deliverRecords:
        this.#deliver(frames, operation === tell.deliverRecords, at);
        break;
      case tell.deliverWithFacts:
        this.#deliverWithFacts(frames, at);
        break;
      case tell.published: {
        const call = frames.number();
        const id = frames.next() as string;
        const seq = frames.number();
        calls.resolve(call, { id, seq, matched: frames.number(), duplicate: false });
        break;
      }
      case tell.returned:
        calls.resolve(frames.number(), frames.next());
        break;
      case tell.threw:
        calls.reject(frames.number(), fromWireError(frames.next() as WireError));
        break;
      case tell.topic:
        this.#topicNames.learn(frames.number(), frames.next() as string);
        break;
      case tell.shape:
        this.#shapes[frames.number()] = new RecordMaker(
          frames.next() as readonly string[],
          frames.next() as readonly RecordKind[],
        );
        break;
      case tell.nonce:
        this.#host.nonce(frames.next() as string);
        break;
      case tell.welcome:
        calls.setWindow(frames.number());
        deadlines.begin(frames.next() as boolean);
        this.#host.welcomed();
        break;
      case tell.deadline:
        deadlines.over(frames.number());
        break;
      case tell.lost: {
        const subscription = subscriptions.get(frames.number());
        const number = frames.number();
        subscription?.lose(number);
        writer.write([ask.alive]);
        break;
      }
      case tell.ended: {
        const subscription = subscriptions.get(frames.number());
        const error = frames.next() as WireError | null;
        void subscription?.endedByBroker(error === null ? undefined : fromWireError(error));
        break;
      }
      case tell.event:
        events.told(frames.next() as BrokerEventName, frames.next() as readonly WireArgument[]);
        break;
      case tell.closed:
        this.#host.closed(fromWireError(frames.next() as WireError) as Error);
        break;
      default:
        throw brokerError("ERR_INVALID_MESSAGE", `the worker protocol has no operation ${String(operation)}`);
    }
  }

  #deliver(frames: FrameReader, isRecords: boolean, at: number): void {
    const subscription = this.#host.subscriptions.get(frames.number());
    const first = frames.number();
    const topic = this.#topicNames.of(frames.number());
    const timestamp = frames.number();
    const count = frames.number();
    const seq = frames.number();
    const step = frames.number();
    const records = isRecords ? (this.#shapes[frames.number()] as RecordMaker) : null;
    if (records !== null) frames.beginRecords();
    if (subscription !== undefined) this.#delivered.add(subscription);
    for (let index = 0; index < count; index += 1) {
      const data = records === null ? frames.next() : frames.record(records);
      subscription?.deliver(first + index, topic, timestamp, seq + index * step, data, null, at);
    }
  }

  #deliverWithFacts(frames: FrameReader, at: number): void {
    const subscription = this.#host.subscriptions.get(frames.number());
    const number = frames.number();
    const topic = this.#topicNames.of(frames.number());
    const timestamp = frames.number();
    const seq = frames.number();
    const data = frames.next();
    const facts = frames.next() as MessageFacts;
    if (subscription !== undefined) this.#delivered.add(subscription);
    subscription?.deliver(number, topic, timestamp, seq, data, facts, at);
  }
}
