import type { Clock } from "./clock.js";

const machineNow: unknown = Reflect.get(performance, "now");

/**
 * The clock that the global functions make at the time of each call: with a test runner's fake timers in their place, time
 * is what those say. Where the runner moves timers and leaves dates alone, a timer that fires is taken to mean that its
 * delay has passed.
 */
export function globalClock(): Clock {
  // node:test moves dates and leaves performance alone; the others move both, and dates can be set besides.
  const isPerformanceFake = Reflect.get(performance, "now") !== machineNow;
  const read = (): number => (isPerformanceFake ? performance.now() : Date.now());
  const startedAt = read();
  let reached = 0;
  const monotonic = (): number => {
    reached = Math.max(reached, read() - startedAt);
    return reached;
  };
  return {
    now: () => Date.now(),
    monotonic,
    schedule(delayMs, run) {
      const sleepMs = Math.min(Math.max(0, Math.ceil(delayMs)), 2 ** 31 - 1);
      const firesAt = monotonic() + sleepMs;
      const timer = setTimeout(() => {
        reached = Math.max(reached, firesAt);
        run();
      }, sleepMs);
      // A fake timer need not be one of Node's.
      (timer as { unref?: () => unknown }).unref?.();
      return () => clearTimeout(timer);
    },
  };
}
