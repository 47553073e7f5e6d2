import { matchesPattern } from "../topic/grammar.js";
import type { AttemptState, RecoveredDurable, SettleOperation } from "./operations.js";
import { SeqSet } from "./seq-set.js";

/** A topic with messages in the store. It goes when its last one does. */
export class Topic {
  readonly name: string;
  /** Durables whose patterns match it now. */
  durables: Durable[] = [];
  /** Messages in the log that are not in blocks. */
  inLog = 0;
  blocks = 0;

  constructor(name: string) {
    this.name = name;
  }
}

/** The patterns that were in force for numbers below `before`. */
interface FormerPatterns {
  readonly before: number;
  readonly patterns: readonly string[];
}

/**
 * A durable subscription's place in history: everything through `floor` is done with, and of what comes after, what
 * is in `settled`. A message is pending when it matches, lies above the floor and is not settled.
 *
 * The floor is moved lazily, to just below the first pending message: a higher floor says the same in fewer bytes.
 */
export class Durable {
  readonly name: string;
  readonly patterns: readonly string[];
  readonly options: unknown;
  /** It reads history and asks for nothing: what it waits for is there until it has it, and no longer because of it. */
  readonly isReader: boolean;
  /** What is older was beyond the limit of age when it came: it does not wait for that. */
  readonly notBefore: number;
  /** Numbers through this one never were its own. */
  readonly start: number;
  floor: number;
  readonly settled: SeqSet;
  readonly attempts: Map<number, AttemptState>;
  /** Patterns it had before, as long as there are messages from their time. Oldest first. */
  former: readonly FormerPatterns[];
  /** Topics with messages that its patterns match; kept by the topic table. */
  readonly topics = new Set<Topic>();

  constructor(fields: {
    name: string;
    patterns: readonly string[];
    options: unknown;
    start: number;
    floor: number;
    settled?: SeqSet;
    attempts?: Map<number, AttemptState>;
    former?: readonly FormerPatterns[];
  }) {
    this.name = fields.name;
    this.patterns = fields.patterns;
    this.options = fields.options;
    const { isReader, notBefore } = (fields.options ?? {}) as {
      readonly isReader?: unknown;
      readonly notBefore?: unknown;
    };
    this.isReader = isReader === true;
    this.notBefore = typeof notBefore === "number" ? notBefore : 0;
    this.start = fields.start;
    this.floor = fields.floor;
    this.settled = fields.settled ?? new SeqSet();
    this.attempts = fields.attempts ?? new Map<number, AttemptState>();
    this.former = fields.former ?? [];
  }

  /** Whether it has still to settle a message of a topic that its patterns match. */
  isPending(topic: Topic, seq: number): boolean {
    return seq > this.floor && !this.settled.has(seq) && this.wasMatched(topic.name, seq);
  }

  /** As `isPending`, where the message's timestamp is known, or a later one. */
  isWaiting(topic: Topic, seq: number, timestamp: number): boolean {
    return timestamp >= this.notBefore && this.isPending(topic, seq);
  }

  /** Whether the message was ever its own; its patterns match the topic now. */
  covers(topic: Topic, seq: number): boolean {
    return seq > this.start && this.wasMatched(topic.name, seq);
  }

  /** Whether every pattern it had since the message came matched the topic too. */
  wasMatched(topic: string, seq: number): boolean {
    for (let index = this.former.length - 1; index >= 0; index--) {
      const { before, patterns } = this.former[index] as FormerPatterns;
      if (seq >= before) break;
      if (!patterns.some((pattern) => matchesPattern(pattern, topic))) return false;
    }
    return true;
  }

  settle({ seq, outcome, deliveryCount, retryAt, reason }: Omit<SettleOperation, "type" | "durable">): void {
    if (seq <= this.floor) return;
    if (outcome === "attempt") {
      if (!this.settled.has(seq)) this.attempts.set(seq, { deliveryCount, retryAt, reason });
      return;
    }
    this.settled.add(seq);
    this.attempts.delete(seq);
  }

  /** Nothing through `seq` is pending. */
  raiseFloor(seq: number): void {
    if (seq <= this.floor) return;
    this.floor = seq;
    this.settled.dropThrough(seq);
    for (const attempted of this.attempts.keys()) if (attempted <= seq) this.attempts.delete(attempted);
  }

  /** The oldest message of all has that number: what was in force only before it does not matter any more. */
  forgetFormer(oldestSeq: number): void {
    if (this.former.length > 0) this.former = this.former.filter(({ before }) => before > oldestSeq);
  }

  recovered(): RecoveredDurable {
    const { name, patterns, options, floor, settled } = this;
    return {
      name,
      patterns,
      options,
      floor,
      settled: () => aboveFloor(settled, floor),
      attempts: new Map(this.attempts),
    };
  }
}

function* aboveFloor(settled: SeqSet, floor: number): IterableIterator<number> {
  for (const seq of settled) if (seq > floor) yield seq;
}
