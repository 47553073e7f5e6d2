/** What a case throws that finds a promise broken. */
export class ConformanceError extends Error {
  /** Its class's. */
  override readonly name = "ConformanceError";
}

/** What a case throws that has waited, long enough for any machine, for what does not happen. */
export class NotHappened extends ConformanceError {}

/** Throws unless `claim` is true. */
export function check(claim: boolean, text: string): asserts claim {
  if (!claim) throw new ConformanceError(text);
}

/** Throws unless both are equal, all the way down. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  check(isSame(actual, expected), `${what}: expected ${show(expected)}, got ${show(actual)}`);
}

/** Throws unless the promise rejects (or the function throws) with that code. Returns the error. */
export async function refused(
  attempt: Promise<unknown> | (() => unknown),
  code: string,
  what: string,
): Promise<{ readonly code?: string; readonly cause?: unknown; readonly message: string }> {
  let result: unknown;
  try {
    result = await (typeof attempt === "function" ? attempt() : attempt);
  } catch (error) {
    const found = (error as { code?: unknown }).code;
    check(found === code, `${what}: expected ${code}, got ${String(found ?? error)}`);
    return error as { code?: string; message: string };
  }
  throw new ConformanceError(`${what}: expected ${code}, and it resolved to ${show(result)}`);
}

/**
 * What a case waits for further down. Where it does not get there, since it has failed before, nobody hears of how this ends: a
 * rejection that nobody handles would end the process.
 */
export function later<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => undefined);
  return promise;
}

/** True where both are equal, all the way down. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => isSame((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]))
  );
}

/** A value in a failure's text. */
export function show(value: unknown): string {
  try {
    const text = JSON.stringify(value) as string | undefined;
    return text === undefined ? String(value) : text.length > 300 ? `${text.slice(0, 297)}...` : text;
  } catch {
    return String(value);
  }
}
