/** Between a message as consumers see it and as the store keeps it. */
import { BrokerError, brokerError, errorText } from "../errors.js";
import { deepFreeze } from "../message/freeze.js";
import { copyHeaders, headerBytes, noHeaders } from "../message/headers.js";
import type { MessageExtras, MessageOrigin, MessageRecord } from "../message/message.js";
import { MessageTraits, PublishedMessage, Stamp } from "../message/message.js";
import { payloadBytes } from "../message/size.js";
import type { StoredFacts } from "./store-port.js";

/** A message's facts for the store. Dates become whole milliseconds: a message expires never earlier for that. */
export function factsOf(
  message: MessageRecord,
  more: Pick<StoredFacts, "deliverAt" | "dedupId" | "retain"> = {},
): StoredFacts {
  const { seq, topic, id, key, headers, priority, expiresAt, replyTo, correlationId, data } = message;
  const { deliverAt, dedupId, retain } = more;
  return {
    seq,
    timestamp: wholeMs(message.timestamp),
    topic,
    id,
    key,
    headers: headers === noHeaders ? undefined : headers,
    priority,
    expiresAt: expiresAt === undefined ? undefined : wholeMs(expiresAt),
    deliverAt: deliverAt === undefined ? undefined : wholeMs(deliverAt),
    dedupId,
    replyTo,
    correlationId,
    retain,
    data,
  };
}

/** What is told of a message whose payload cannot be decoded. */
export function unreadable({ seq, topic, id }: StoredFacts, cause: unknown): BrokerError {
  const code = cause instanceof BrokerError ? cause.code : "ERR_STORE_CORRUPT";
  const text = `message ${seq} on ${JSON.stringify(topic)} cannot be read: ${errorText(cause)}`;
  return brokerError(code, text, { seq, topic, id }, cause);
}

/** Stamps of messages that come from the store; those of one time, one after another, share one, as they did when they came. */
export class Stamps {
  readonly #origin: MessageOrigin;
  #last: Stamp;

  constructor(origin: MessageOrigin) {
    this.#origin = origin;
    this.#last = new Stamp(0, origin);
  }

  at(timestamp: number): Stamp {
    if (this.#last.at !== timestamp) this.#last = new Stamp(timestamp, this.#origin);
    return this.#last;
  }
}

/**
 * A message that the store gives back. Throws `ERR_STORE_CORRUPT`, or `ERR_INVALID_OPTION`, where its payload cannot be
 * decoded.
 */
export function messageFrom(
  facts: StoredFacts,
  stamps: Stamps,
  isFrozen: boolean,
  more: Partial<MessageExtras> = {},
  data: unknown = facts.data,
): PublishedMessage {
  const { topic, priority, seq, timestamp, expiresAt, id, key, replyTo, correlationId } = facts;
  const headers = facts.headers === undefined ? noHeaders : copyHeaders(facts.headers);
  if (isFrozen) deepFreeze(data);
  const bytes = payloadBytes(data) + headerBytes(headers) + (key?.length ?? 0);
  const { onAcked, replayed, isToRetain } = more;
  const extras: MessageExtras = { id, headers, key, replyTo, correlationId, onAcked, replayed, isToRetain };
  const traits = new MessageTraits(stamps.at(timestamp), priority, expiresAt ?? 0, extras);
  return new PublishedMessage(topic, data, seq, bytes, traits);
}

/** The same message under another number, as it is published when its time has come. */
export function renumbered(message: PublishedMessage, seq: number): PublishedMessage {
  const { topic, data, priority, bytes, expiresAtMs, stamp, extras, id } = message;
  const traits = new MessageTraits(stamp, priority, expiresAtMs, { ...extras, id });
  return new PublishedMessage(topic, data, seq, bytes, traits);
}

/** A date as the log has it: a whole number that is not below 0. */
function wholeMs(ms: number): number {
  return Math.max(0, Math.ceil(ms));
}
