import type { Message, MessageFacts, MessageRecord, NackOptions, ReplyOptions } from "../index.js";
import { messageId, messageRecord } from "../index.js";
import type { WireDecision } from "./protocol.js";
import { brokerError, fromWireError, quietly, toWireError } from "./wire-error.js";
import type { WireError } from "./wire-error.js";

/** What a message in a client needs of the subscription it came to. */
export interface RemoteOrigin {
  /** The subscription's name; "" where nothing is acknowledged. */
  readonly name: string;
  readonly acknowledges: boolean;
  /** The eight characters that end the ids which the broker makes. */
  nonce(): string;
  idOf(message: RemoteMessage): string;
  decide(message: RemoteMessage, decision: WireDecision, argument: unknown): Promise<void>;
  /** Has the signal of a delivery aborted once it is taken back. */
  watch(message: RemoteMessage): void;
  reply(message: Message, data: unknown, options: ReplyOptions | undefined): Promise<void>;
}

/**
 * inFlight  this client's to settle
 * settling  a decision is on its way to the broker; nobody else may decide
 * settled   decided
 * lost      taken back: ack timeout, or the end of the subscription or connection
 */
export type RemoteMessageState = "inFlight" | "settling" | "settled" | "lost";

/** A delivery in a client's thread. */
export class RemoteMessage implements Message {
  readonly origin: RemoteOrigin;
  readonly number: number;
  readonly topic: string;
  readonly timestamp: number;
  readonly seq: number;
  readonly data: unknown;
  readonly facts: MessageFacts | null;
  state: RemoteMessageState;
  #abort: AbortController | null = null;

  constructor(
    origin: RemoteOrigin,
    number: number,
    topic: string,
    timestamp: number,
    seq: number,
    data: unknown,
    facts: MessageFacts | null,
  ) {
    this.origin = origin;
    this.number = number;
    this.topic = topic;
    this.timestamp = timestamp;
    this.seq = seq;
    this.data = data;
    this.facts = facts;
    this.state = origin.acknowledges ? "inFlight" : "settled";
  }

  get id(): string {
    return this.facts?.id ?? messageId(this.timestamp, this.seq, this.origin.nonce());
  }
  get headers(): Readonly<Record<string, string>> {
    return this.facts?.headers ?? noHeaders;
  }
  get key(): string | undefined {
    return this.facts?.key;
  }
  get priority(): number {
    return this.facts?.priority ?? 4;
  }
  get expiresAt(): number | undefined {
    return this.facts?.expiresAt;
  }
  get deliveryCount(): number {
    return this.facts?.deliveryCount ?? 1;
  }
  get redelivered(): boolean {
    return this.facts?.redelivered ?? false;
  }
  get replyTo(): string | undefined {
    return this.facts?.replyTo;
  }
  get correlationId(): string | undefined {
    return this.facts?.correlationId;
  }
  get subscription(): string {
    return this.origin.acknowledges ? this.origin.name : "";
  }
  get deliveryId(): string {
    return this.origin.acknowledges ? this.origin.idOf(this) : "";
  }
  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.state === "lost") this.#abort.abort(lateError(this));
      else this.origin.watch(this);
    }
    return this.#abort.signal;
  }

  ack(): Promise<void> {
    return this.#decide("ack", undefined);
  }
  nack(options?: NackOptions): Promise<void> {
    return this.#decide("nack", options);
  }
  reject(reason?: string): Promise<void> {
    return this.#decide("reject", reason);
  }
  extend(ms: number): Promise<void> {
    return this.#decide("extend", ms);
  }
  reply(data: unknown, options?: ReplyOptions): Promise<void> {
    return this.origin.reply(this, data, options);
  }

  /** Taken back: nothing here can settle it any more. */
  lose(): void {
    if (this.state === "settled") return;
    this.state = "lost";
    this.#abort?.abort(lateError(this));
  }

  toJSON(): MessageRecord {
    return messageRecord(this);
  }
  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return messageRecord(this);
  }

  #decide(decision: WireDecision, argument: unknown): Promise<void> {
    if (this.state !== "inFlight") return quietly(lateError(this));
    return this.origin.decide(this, decision, argument);
  }
}

const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/** Why a message can no longer be settled. */
export function lateError(message: RemoteMessage): Error {
  const { topic, deliveryCount } = message;
  const facts = { topic, subscription: message.origin.name, deliveryCount };
  const what = `delivery ${deliveryCount} of ${JSON.stringify(topic)} to ${message.origin.name}`;
  if (message.state === "lost") {
    return brokerError(
      "ERR_DELIVERY_EXPIRED",
      `${what} was taken back (ack timeout or end of the subscription); ` +
        "raise ackTimeout, or call msg.extend(ms) while the work goes on",
      facts,
    );
  }
  if (!message.origin.acknowledges) {
    return brokerError(
      "ERR_ALREADY_SETTLED",
      `this delivery of ${JSON.stringify(topic)} was settled when it was handed over, because its subscription has ack: "none"; ` +
        'subscribe with ack: "manual" (or "auto") to settle deliveries',
      { topic },
    );
  }
  return brokerError("ERR_ALREADY_SETTLED", `${what} is settled already; settle each delivery once`, facts);
}

/** An argument of an event on its way: what cannot be cloned, by its facts. */
export type WireArgument =
  | { readonly error: WireError }
  | { readonly message: MessageRecord }
  | { readonly value: unknown }
  | { readonly parts: Readonly<Record<string, WireArgument>> };

/** Makes an argument of an event ready for its way. */
export function toWireArgument(value: unknown): WireArgument {
  if (value instanceof Error) return { error: toWireError(value) };
  if (isMessage(value)) return { message: { ...messageRecord(value), deliveryId: "" } };
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    const parts: Record<string, WireArgument> = {};
    for (const [name, part] of Object.entries(value)) {
      parts[name] = isMessage(part) || part instanceof Error ? toWireArgument(part) : { value: part };
    }
    return { parts };
  }
  return { value };
}

/** Makes it an argument again. Its messages are for reading: they were never delivered here. */
export function fromWireArgument(wire: WireArgument, origin: RemoteOrigin): unknown {
  if ("error" in wire) return fromWireError(wire.error);
  if ("message" in wire) {
    const { topic, timestamp, seq, data, ...facts } = wire.message;
    return new RemoteMessage(origin, 0, topic, timestamp, seq, data, facts as MessageFacts);
  }
  if ("parts" in wire) {
    return Object.fromEntries(Object.entries(wire.parts).map(([name, part]) => [name, fromWireArgument(part, origin)]));
  }
  return wire.value;
}

function isMessage(value: unknown): value is Message {
  return (
    typeof value === "object" && value !== null && typeof (value as Message).ack === "function" && "topic" in value
  );
}
