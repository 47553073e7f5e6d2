import { look } from "./assertions.js";
import type { HistoryKind, HistoryView } from "./history.js";
import type { Expectation } from "./matching.js";

/** What a matcher answers to a runner. */
export interface MatcherResult {
  /** Whether what was expected is there. */
  readonly pass: boolean;
  /** What was expected, and what there was instead. */
  readonly message: () => string;
}

/** A matcher of this kit: for `t`, a session of `t.track`, or anything else that has a history. */
export type HistoryMatcher = (received: unknown, pattern?: string, expectation?: Expectation<never>) => MatcherResult;

/**
 * The matchers' types, for the runner's own: `Result` is what its `expect` returns. Without a pattern, every topic is meant.
 *
 * @example
 * ```ts
 * // vitest.d.ts
 * import type { BrokerMatchers } from "inproc-broker/testing";
 * declare module "vitest" {
 *   interface Matchers<T = any> extends BrokerMatchers<T> {}
 * }
 * ```
 */
export interface BrokerMatchers<Result = void> {
  /** Published on a topic that matches: at least once, or `times`. */
  toHavePublished(pattern?: string, expectation?: Expectation<never>): Result;
  /** Published with a `delay` or `deliverAt`. */
  toHaveScheduled(pattern?: string, expectation?: Expectation<never>): Result;
  /** Handed to a consumer. */
  toHaveDelivered(pattern?: string, expectation?: Expectation<never>): Result;
  /** Settled: done. */
  toHaveAcked(pattern?: string, expectation?: Expectation<never>): Result;
  /** Given back, by the consumer or the ack timeout. */
  toHaveNacked(pattern?: string, expectation?: Expectation<never>): Result;
  /** Given up by its consumer. */
  toHaveRejected(pattern?: string, expectation?: Expectation<never>): Result;
  /** Given up on, and kept as a dead letter. */
  toHaveDeadLettered(pattern?: string, expectation?: Expectation<never>): Result;
  /** Will not reach a subscription that it matched. */
  toHaveDropped(pattern?: string, expectation?: Expectation<never>): Result;
  /** Its time to live was over. */
  toHaveExpired(pattern?: string, expectation?: Expectation<never>): Result;
}

/**
 * Matchers for the `expect` of vitest and jest. They need neither: a runner takes them as they are.
 *
 * @example
 * ```ts
 * import { expect } from "vitest";
 * import { matchers } from "inproc-broker/testing";
 * expect.extend(matchers);
 *
 * expect(t).toHavePublished("order.*", { times: 2, match: { total: 10 } });
 * expect(t).not.toHaveDeadLettered();
 * ```
 */
export const matchers: Record<keyof BrokerMatchers, HistoryMatcher> = {
  toHavePublished: matcher("toHavePublished", "published"),
  toHaveScheduled: matcher("toHaveScheduled", "scheduled"),
  toHaveDelivered: matcher("toHaveDelivered", "delivered"),
  toHaveAcked: matcher("toHaveAcked", "acked"),
  toHaveNacked: matcher("toHaveNacked", "nacked"),
  toHaveRejected: matcher("toHaveRejected", "rejected"),
  toHaveDeadLettered: matcher("toHaveDeadLettered", "deadLettered"),
  toHaveDropped: matcher("toHaveDropped", "dropped"),
  toHaveExpired: matcher("toHaveExpired", "expired"),
};

function matcher(name: string, kind: HistoryKind): HistoryMatcher {
  return (received, pattern = ">", expectation) => {
    if (typeof (received as Partial<HistoryView> | null)?.history !== "function") {
      return {
        pass: false,
        message: () => `${name} looks at a test broker (what createTestBroker returns) or a session of t.track`,
      };
    }
    const { pass, text } = look(received as HistoryView, kind, pattern, expectation);
    return { pass, message: () => (pass ? text.replace(/^expected /, "expected not ") : text) };
  };
}
