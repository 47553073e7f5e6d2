/** True for a promise, and for whatever else `await` would wait for. Throws where reading `then` throws. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    ((typeof value === "object" && value !== null) || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function"
  );
}

/**
 * The promise behind what a callback returned; null where there is none. A foreign thenable gets a real promise around it,
 * since it may throw, answer twice, or answer at once.
 */
export function promiseOf(returned: unknown): Promise<unknown> | null {
  if (returned instanceof Promise) return returned;
  return isThenable(returned) ? Promise.resolve(returned) : null;
}

/** A callback that should have returned at once: if it returned a promise, its rejection goes to `report`. True if so. */
export function isLate(returned: unknown, report: (error: unknown) => void): boolean {
  const promise = promiseOf(returned);
  promise?.catch(report);
  return promise !== null;
}
