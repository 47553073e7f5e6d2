import { Delivery } from "./delivery.js";
import type { Headers } from "./headers.js";
import { noHeaders } from "./headers.js";
import type { Message } from "./message.js";
import { PublishedMessage } from "./message.js";
import { defaultPriority } from "./priority.js";

/** What sets one message apart from most others. What is absent has its default. */
export interface MessageFacts {
  /** The id its publisher gave; absent: `messageId` of its timestamp, seq and the broker's own eight characters. */
  readonly id?: string;
  /** Absent: none. */
  readonly headers?: Headers;
  /** Absent: none. */
  readonly key?: string;
  /** Absent: 4. */
  readonly priority?: number;
  /** Absent: never. */
  readonly expiresAt?: number;
  /** Absent: 1. */
  readonly deliveryCount?: number;
  /** Absent: false. */
  readonly redelivered?: boolean;
  /** Absent: no answer is asked for. */
  readonly replyTo?: string;
  /** Absent: none. */
  readonly correlationId?: string;
}

/**
 * What a message has beyond topic, data, seq and timestamp; null where that is nothing, as for most messages. For those who
 * carry messages elsewhere and want to carry few bytes.
 *
 * @example
 * ```ts
 * import { messageFacts } from "inproc-broker";
 *
 * broker.subscribe("ticks.>", (msg) => {
 *   const facts = messageFacts(msg);
 *   port.postMessage(facts === null ? [msg.topic, msg.data] : [msg.topic, msg.data, facts]);
 * });
 * ```
 */
export function messageFacts(message: Message): MessageFacts | null {
  const published =
    message instanceof PublishedMessage ? message : message instanceof Delivery ? message.message : null;
  if (
    published !== null &&
    published.extras === null &&
    published.expiresAtMs === 0 &&
    published.priority === defaultPriority &&
    message.deliveryCount === 1
  ) {
    return null;
  }
  const id = published === null ? message.id : published.extras?.id;
  const { headers, key, priority, expiresAt, deliveryCount, redelivered, replyTo, correlationId } = message;
  return {
    ...(id === undefined ? {} : { id }),
    ...(headers === noHeaders ? {} : { headers }),
    ...(key === undefined ? {} : { key }),
    ...(priority === defaultPriority ? {} : { priority }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(deliveryCount === 1 ? {} : { deliveryCount }),
    ...(redelivered ? { redelivered } : {}),
    ...(replyTo === undefined ? {} : { replyTo }),
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}
