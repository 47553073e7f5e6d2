import type { Random } from "../platform/random.js";

/**
 * Numbers in [0, 1) that are the same for the same seed, in every run and on every machine (mulberry32).
 *
 * @example
 * ```ts
 * const random = seededRandom(42);
 * const jitter = random() * 100;
 * ```
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
