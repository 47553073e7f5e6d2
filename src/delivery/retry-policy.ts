import { brokerError, quote } from "../errors.js";
import type { Backoff } from "../message/delivery.js";

/** Settings of an exponential backoff. */
export interface ExponentialBackoffOptions {
  /** Milliseconds after the first failure; default 100. */
  readonly initial?: number | undefined;
  /** The most it waits, in milliseconds; default 30,000. */
  readonly max?: number | undefined;
  /** How fast it grows; default 2. */
  readonly factor?: number | undefined;
  /** The share of each wait that is left to chance, 0 to 1, so that failures do not come back together; default 0.2. */
  readonly jitter?: number | undefined;
}

/**
 * Waits that grow with each failure: `initial × factor^(n − 1)`, at most `max`, each varied by up to ± `jitter`
 * of itself (and still at most `max`).
 *
 * @example
 * ```ts
 * new InProcBroker({ ack: { backoff: exponentialBackoff({ initial: 200, max: 60_000 }) } });
 * ```
 */
export function exponentialBackoff(options: ExponentialBackoffOptions = {}): Backoff {
  const { initial = 100, max = 30_000, factor = 2, jitter = 0.2 } = options;
  requireNumber("initial", initial, 0, Infinity);
  requireNumber("max", max, 0, Infinity);
  requireNumber("factor", factor, 1, Infinity);
  requireNumber("jitter", jitter, 0, 1);
  // Nothing overflows: 0 × Infinity would be no number, and Infinity is no wait.
  const longest = Math.min(max, Number.MAX_VALUE);
  return (deliveryCount, random) => {
    const growth = Math.min(Number.MAX_VALUE, factor ** (deliveryCount - 1));
    const wait = Math.min(longest, initial * growth);
    return Math.min(longest, wait * (1 + jitter * (2 * random() - 1)));
  };
}

/** The same wait, in milliseconds, after each failure. */
export function fixedBackoff(delay: number): Backoff {
  requireNumber("delay", delay, 0, Infinity);
  return () => delay;
}

function requireNumber(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw brokerError(
      "ERR_INVALID_OPTION",
      `backoff option ${name} must be a number from ${least} to ${most}; got ${quote(value)}`,
      { option: name },
    );
  }
}
