import { brokerError } from "../errors.js";
import type { Backoff } from "../message/delivery.js";
import type { Message, Stamp } from "../message/message.js";

/** What happens to a message that finds the queue full. */
export type OverflowPolicy = "wait" | "drop-oldest" | "drop-newest" | "error" | "close";

/** Why a message did not reach a subscription that it matched. */
export type DropReason = "overflow" | "unsubscribed" | "closed" | "purged" | "aborted" | "rejected" | "max-deliveries";

/** The settings of a queue, complete and checked. */
export interface QueueSettings {
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly overflow: OverflowPolicy;
  readonly isOrderedByKey: boolean;
  /** Milliseconds of waiting that lift a message by one priority; 0: priorities are strict. */
  readonly agingMs: number;
  readonly filter: ((message: Message) => boolean) | null;
  readonly maxDeliveries: number;
  readonly backoff: Backoff;
}

/** Counters of one queue. At any instant: routed = delivered + queued + inFlight + delayed + expired + deadLettered + dropped. */
export class QueueCounters {
  /** Messages that were meant for this queue. */
  routed = 0;
  /** Messages done with: acknowledged, or handed over where nothing is acknowledged. */
  delivered = 0;
  /** Hand-overs, repeated ones included. */
  handedOver = 0;
  nacked = 0;
  timedOut = 0;
  redelivered = 0;
  handlerErrors = 0;
  expired = 0;
  deadLettered = 0;
  readonly dropped: Partial<Record<DropReason, number>> = {};
}

/** Adds counters to counters. */
export function addCounters(sums: QueueCounters, more: QueueCounters): void {
  for (const name of Object.keys(sums) as (keyof QueueCounters)[]) {
    if (name !== "dropped") sums[name] += more[name];
  }
  const dropped = sums.dropped as Record<string, number>;
  for (const [reason, value] of Object.entries(more.dropped)) dropped[reason] = (dropped[reason] ?? 0) + value;
}

/** What was told of a queue at its bound, so that it is not told for every message. */
export class Slowness {
  /** When it was told last, on the monotonic clock. */
  toldAt = -Infinity;
  /** How often the queue was at its bound since. */
  occurrences = 0;
  /** The stamp of the turn in which the clock was last read for this. */
  stamp: Stamp | null = null;
}

/** A queue, to those who only look at it. */
export interface QueueFacts {
  readonly name: string;
  readonly patterns: readonly string[];
  readonly group: string | null;
  readonly settings: QueueSettings;
  readonly counters: QueueCounters;
  readonly slowness: Slowness;
  /** Messages that wait to be taken, those of held publishers included. */
  readonly queued: number;
  readonly queuedBytes: number;
  readonly inFlight: number;
  readonly delayed: number;
  readonly running: number;
  readonly held: number;
  readonly isIdle: boolean;
}

/** The error of a publish that a full queue refuses. */
export function queueFull(queue: QueueFacts, topic: string): Error {
  const { maxMessages, maxBytes, overflow } = queue.settings;
  return brokerError(
    "ERR_QUEUE_FULL",
    `the queue of ${queue.name} is full (${queue.queued} of ${maxMessages} messages, ${queue.queuedBytes} of ${maxBytes} bytes), ` +
      `so ${JSON.stringify(topic)} was not published; let its consumer catch up, raise maxMessages or maxBytes, or choose an overflow policy other than ${overflow === "wait" ? 'publishSync with "wait"' : JSON.stringify(overflow)}`,
    { topic, subscription: queue.name, queued: queue.queued, maxMessages, maxBytes },
  );
}
