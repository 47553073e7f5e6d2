/** What a store hands over when it is opened goes into the tables of the broker, by the ways that fill them later. */
import type { DeadLetter, DeadLetterReason } from "../delivery/dead-letter.js";
import type { DeadLetterManager } from "../delivery/dead-letters.js";
import type { DedupWindow } from "../delivery/dedup.js";
import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { Timers } from "../delivery/timers.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import { brokerError, quote } from "../errors.js";
import type { Attempt } from "../message/delivery.js";
import { noHeaders } from "../message/headers.js";
import type { MessageOrigin, PublishedMessage } from "../message/message.js";
import type { ErrorContext } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import { coversPattern } from "../topic/grammar.js";
import type { Durables } from "./durables.js";
import type { Settings } from "./settings.js";
import type { Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import type { RetainedMessages } from "./retained.js";
import type { Recovered, StoredFacts, StoreStep } from "./store-port.js";
import { factsOf, messageFrom, Stamps, unreadable } from "./stored-message.js";
import type { StoredPublisher } from "./stored-publisher.js";

/** The tables that recovery fills: the core. */
export interface RecoveryHost {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly publisher: Publisher;
  readonly memory: MemoryBudget;
  readonly delayed: DelayedMessages;
  readonly dedup: DedupWindow<Receipt>;
  readonly retained: RetainedMessages;
  readonly deadLetters: DeadLetterManager | null;
  readonly registry: { park(durable: string, patterns: readonly string[]): void };
  readonly timers: Timers;
  readonly origin: MessageOrigin;
  fail(error: unknown, context: ErrorContext): void;
}

/** What is kept of a dead letter besides its message. */
interface DeadLetterFacts {
  readonly reason: DeadLetterReason;
  readonly subscription: string;
  readonly error?: string;
  readonly history: readonly Attempt[];
  readonly deadAt: number;
  readonly redrives: number;
  readonly deliveryCount: number;
  readonly redelivered: boolean;
  readonly bytes: number;
}

/** A dead letter for the store. */
export function stepOfDeadLetter(letter: DeadLetter, bytes: number): StoreStep {
  const { id, message, reason, subscription, error, history, deadAt, redrives } = letter;
  const { deliveryCount, redelivered } = message;
  const facts: DeadLetterFacts = {
    reason,
    subscription,
    ...(error === undefined ? {} : { error }),
    history,
    deadAt,
    redrives,
    deliveryCount,
    redelivered,
    bytes,
  };
  return { type: "dead-letter-added", id, message: factsOf(message), facts };
}

/** Fills the tables with what the store knew when it was opened. What cannot be read is told, and left out. */
export function recoverInto(
  core: RecoveryHost,
  link: { readonly durables: Durables; readonly publisher: StoredPublisher },
  recovered: Recovered,
): void {
  const { memory, retained, publisher, timers, delayed, dedup, clock, deadLetters } = core;
  for (const { name, patterns } of link.durables.recover(recovered.durables)) {
    core.registry.park(name, patterns);
    requireStored(core, name, patterns);
  }
  each(core, recovered.retained, (message) => retained.keep(message));
  each(core, recovered.delayed, (message, facts) => {
    publisher.counters.published += 1;
    memory.hold(message);
    link.publisher.recovered(message);
    delayed.add(message, timers.dates, facts.deliverAt ?? 0);
  });
  const now = clock.now();
  for (const { dedupId, seq, id, at } of recovered.dedup) {
    dedup.remember(dedupId, { id, seq, matched: 0, duplicate: false }, Math.max(0, now - at));
  }
  if (deadLetters === null) return;
  for (const { id, message, facts } of recovered.deadLetters) {
    try {
      const found = facts as DeadLetterFacts;
      deadLetters.restore(letterFrom(id, message, found), found.bytes);
    } catch (error) {
      core.fail(error, { during: "store" });
    }
  }
}

/** Tells of a durable that misses some of what it asks for: `topics` says less than when it was made. */
function requireStored(core: RecoveryHost, durable: string, patterns: readonly string[]): void {
  const topics = core.settings.persistence?.topics ?? [];
  const beyond = patterns.find((pattern) => !topics.some((cover) => coversPattern(cover, pattern)));
  if (beyond === undefined) return;
  const text =
    `the durable ${quote(durable)} asks for ${quote(beyond)}, which matches more than the store's topics (${topics.join(", ")}): ` +
    `it gets nothing of what is not stored; add it to topics, or subscribe with other patterns, or deleteDurable`;
  const error = brokerError("ERR_INVALID_OPTION", text, { option: "topics", durable });
  core.fail(error, { during: "store", subscription: durable });
}

function each(
  core: RecoveryHost,
  found: readonly StoredFacts[],
  take: (message: PublishedMessage, facts: StoredFacts) => void,
): void {
  const { origin, settings } = core;
  const stamps = new Stamps(origin);
  for (const facts of found) {
    try {
      const isToRetain = facts.deliverAt !== undefined && facts.retain === true;
      const more = isToRetain ? { isToRetain } : {};
      take(messageFrom(facts, stamps, settings.payloads === "freeze", more), facts);
    } catch (error) {
      core.fail(unreadable(facts, error), { during: "store" });
    }
  }
}

/** A dead letter may be one because its payload cannot be decoded; so it is there whether or not that has changed. */
function dataOrBytes(stored: StoredFacts): unknown {
  try {
    return stored.data;
  } catch (error) {
    if (stored.undecoded === undefined) throw error;
    return stored.undecoded;
  }
}

function letterFrom(id: string, stored: StoredFacts, facts: DeadLetterFacts): DeadLetter {
  const { topic, key, priority, seq, timestamp, expiresAt, replyTo, correlationId } = stored;
  const { reason, subscription, error, history, deadAt, redrives, deliveryCount, redelivered } = facts;
  return {
    id,
    message: {
      id: stored.id,
      topic,
      data: dataOrBytes(stored),
      headers: stored.headers ?? noHeaders,
      key,
      priority,
      seq,
      timestamp,
      expiresAt,
      deliveryCount,
      redelivered,
      replyTo,
      correlationId,
      deliveryId: "",
      subscription,
    },
    reason,
    topic,
    subscription,
    error,
    history,
    deadAt,
    redrives,
  };
}
