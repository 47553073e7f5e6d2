import type { Clock } from "../index.js";
import type { Duration } from "./duration.js";

/** Something that happens once time has come so far. */
export interface PendingTimer {
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** Milliseconds from now. */
  readonly inMs: number;
  /** What happens, for people. */
  readonly what: string;
}

/** The clock of a test broker. Whoever tests may hand it to the application too: one clock for everything. */
export interface TestClock extends Clock {
  /** manual: stands still until it is moved. real: the machine's. timers: the test runner's fake timers move it. */
  readonly mode: "manual" | "real" | "timers";
  /**
   * Moves time on. Everything that comes due on the way happens at its own time, one timer after the other, and every
   * promise and every delivery that is ready is followed in between. Resolves once time is there and all is at rest;
   * work that waits for real I/O is not waited for.
   *
   * Calls queue up: two at once move time by the sum. Throws `ERR_INVALID_OPTION` where the clock is not manual.
   *
   * @example
   * ```ts
   * await t.clock.advance("5m");
   * ```
   */
  advance(duration: Duration): Promise<void>;
  /**
   * Goes to the next thing that happens, and resolves to the time in milliseconds since 1970; undefined where nothing waits
   * for time. A timer of the broker that finds nothing to do any more is passed over.
   *
   * @param within - goes no further than that: where nothing happens in that time it has passed, and the answer is undefined. So a test
   * can follow a period thing by thing, and do in between what the clock does not know of: wait for a worker thread, or for I/O.
   */
  runNext(within?: Duration): Promise<number | undefined>;
  /**
   * What waits for time, soonest first, in words: scheduled messages, redeliveries, ack timeouts and expiry; fetches, requests, confirms
   * and other calls that end by themselves; transactions, rate limits, the `ttl` of subscriptions; what a store does by itself; what
   * faults hold back; and the application's timers on this clock.
   */
  pending(): PendingTimer[];
  /** Sets the wall clock alone, as an administrator or NTP does: dates move, timeouts and delays do not. */
  jump(ms: number): void;
  /** Resolves once nothing happens any more without time moving on. */
  settle(): Promise<void>;
}
