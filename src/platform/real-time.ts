/**
 * Real time, whatever fake timers a test has put in the place of the global functions: these were taken when this module
 * was loaded, and the first import of the library is before that.
 */
const { setTimeout, clearTimeout, setImmediate } = globalThis;

/** Runs `run` after `delayMs` real milliseconds, and keeps the process alive until then. Returns what cancels it. */
export function afterRealTime(delayMs: number, run: () => void): () => void {
  const timer = setTimeout(run, Math.min(delayMs, 2 ** 31 - 1));
  return () => clearTimeout(timer);
}

/** Resolves in the next turn of the event loop, once every promise that is ready has been followed. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
