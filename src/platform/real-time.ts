import * as timers from "node:timers";

/**
 * Real time, whatever fake timers a test has put in the place of the global functions: these were taken when this module was loaded,
 * and from where fake timers that were there before that (jest's `enableGlobally`) do not reach.
 */
const { setTimeout, clearTimeout, setImmediate } = timers;

/**
 * Runs `run` after `delayMs` real milliseconds, and keeps the process alive until then, unless `keepsAlive` is false. Returns what
 * cancels it.
 */
export function afterRealTime(delayMs: number, run: () => void, { keepsAlive = true } = {}): () => void {
  const timer = setTimeout(run, Math.min(delayMs, 2 ** 31 - 1));
  if (!keepsAlive) timer.unref();
  return () => clearTimeout(timer);
}

/** Resolves in the next turn of the event loop, once every promise that is ready has been followed. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
