import type { Attempt } from "../message/delivery.js";
import type { MessageRecord } from "../message/message.js";

/** Why a message was given up on. */
export type DeadLetterReason = "max-deliveries" | "rejected" | "expired" | "overflow" | "handler-error";

export const deadLetterReasons: readonly DeadLetterReason[] = [
  "max-deliveries",
  "rejected",
  "expired",
  "overflow",
  "handler-error",
];

/** A message that was given up on, for one subscription. */
export interface DeadLetter {
  /** Names this dead letter; a message that two subscriptions gave up on has two. */
  readonly id: string;
  /** What was published, as the subscription got it last. */
  readonly message: MessageRecord;
  /** `max-deliveries`, `rejected` (by the consumer), `expired`, `overflow`, or `handler-error` (a throw without acknowledgement). */
  readonly reason: DeadLetterReason;
  /** The topic it was published to. */
  readonly topic: string;
  /** The subscription (group, durable) that gave it up. */
  readonly subscription: string;
  /** The last error's text, where there was one. */
  readonly error: string | undefined;
  /** How each hand-over ended; of a long history the first and the last ones. */
  readonly history: readonly Attempt[];
  /** When it was given up on, in milliseconds since 1970. */
  readonly deadAt: number;
  /** How often it has been driven again before. */
  readonly redrives: number;
}

/** Which dead letters. Every condition given must hold. */
export interface DeadLetterFilter {
  /** The dead letter's own id, not its message's. */
  readonly id?: string | undefined;
  /** A topic or a pattern. */
  readonly topic?: string | undefined;
  /** Why it was given up on. */
  readonly reason?: DeadLetterReason | undefined;
  /** Who gave it up: a subscription's or a group's name. */
  readonly subscription?: string | undefined;
}

/** Which dead letters: by what they have, or by a function that is asked for each. */
export type DeadLetterChoice = DeadLetterFilter | ((letter: DeadLetter) => boolean);

/** A page of dead letters, oldest first. */
export interface DeadLetterListOptions extends DeadLetterFilter {
  /** How many at most; default 100. */
  readonly limit?: number | undefined;
  /** Where the page before ended. */
  readonly cursor?: string | undefined;
}

/** How to drive dead letters again. */
export interface RedriveOptions {
  /** Messages a second; absent: all at once. */
  readonly rate?: number | undefined;
  /** Ends it between two messages; what was driven by then stays driven. */
  readonly signal?: AbortSignal | undefined;
}

/** Figures of the dead letters. */
export interface DeadLetterStats {
  /** Kept now. */
  readonly count: number;
  /** Kept now, counted as the limits count. */
  readonly bytes: number;
  /** Kept now, by reason. */
  readonly byReason: Readonly<Partial<Record<DeadLetterReason, number>>>;
  /** Ever taken in. */
  readonly added: number;
  /** Ever driven again. */
  readonly redriven: number;
  /** Ever thrown away by `purge`. */
  readonly purged: number;
  /** Let go because a bound was reached or `maxAge` was over. */
  readonly evicted: number;
}

/** The dead letters of a broker: to look at, to drive again, to throw away. */
export interface DeadLetters {
  /**
   * Dead letters, oldest first, a page at a time. `cursor` is undefined on the last page.
   *
   * @example
   * ```ts
   * const { items } = await broker.deadLetters.list({ topic: "orders.>", reason: "max-deliveries" });
   * ```
   */
  list(options?: DeadLetterListOptions): Promise<{
    /** The page. */
    items: DeadLetter[];
    /** Pass it to the next `list` for the page after; undefined on the last page. */
    cursor: string | undefined;
  }>;
  /** One dead letter by its id; undefined where there is none. */
  peek(id: string): Promise<DeadLetter | undefined>;
  /**
   * Delivers dead letters again: each to the subscription that gave it up, or to its topic where that subscription
   * has gone. Each starts with a fresh delivery count, leaves this list, and comes back if it fails again. One whose payload
   * the store's codec cannot decode stays, with an `error` event.
   *
   * With a store it resolves once it is stored what was driven. Rejects with what the store refuses with, once all is decided: what
   * was refused is in the list again.
   *
   * @returns how many were driven
   */
  redrive(filter?: DeadLetterChoice, options?: RedriveOptions): Promise<number>;
  /**
   * Throws dead letters away: all that are there now and match, or none. Resolves once they are gone for good; with a store, also from
   * the disk. A repeat finds none. Rejects with `ERR_INVALID_OPTION`, `ERR_BROKER_CLOSED` or what the store refuses with.
   *
   * @returns how many
   */
  purge(filter?: DeadLetterChoice): Promise<number>;
  /** Figures of this instant. */
  stats(): DeadLetterStats;
}
