import { brokerError, quote } from "../errors.js";
import type { WorkOptions } from "../platform/progress.js";

/** Milliseconds since 1970 of a date given either way. */
export function dateMs(name: string, value: unknown): number {
  const ms =
    typeof value === "object" && value !== null && "getTime" in value && typeof value.getTime === "function"
      ? (value.getTime as () => unknown)()
      : value;
  if (typeof ms !== "number" || !Number.isFinite(ms)) {
    throw invalid(name, "a date: milliseconds since 1970, or a Date", value);
  }
  return ms;
}

export function duration(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !(value > 0)) throw invalid(name, "more than 0 milliseconds", value);
  return value;
}

/** A duration that may be nothing. */
export function delayMs(name: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value === Infinity) {
    throw invalid(name, "0 or more milliseconds", value);
  }
  return value;
}

export function count(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (value === Infinity) return Infinity;
  if (!Number.isInteger(value) || (value as number) < 1) throw invalid(name, "an integer from 1", value);
  return value as number;
}

/** Ids and names are kept in tables that are bounded by count, so they must be bounded too. */
const maxTextLength = 1_024;

export function requireText(name: string, value: unknown): asserts value is string {
  if (typeof value !== "string" || value === "") throw invalid(name, "a text that is not empty", value);
  if (value.length > maxTextLength) {
    throw invalid(name, `at most ${maxTextLength} characters, of which this has ${value.length}`, value);
  }
}

export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== "function") throw invalid(name, "a function", value);
}

export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid("signal", "an AbortSignal", signal);
}

const workOptions: ReadonlySet<string> = new Set(["onProgress", "signal"]);

/** The options of a long work. */
export function checkWork(options: WorkOptions): void {
  requireObject("options", options);
  refuseUnknown("", options, workOptions);
  if (options.onProgress !== undefined) requireFunction("onProgress", options.onProgress);
  checkSignal(options.signal);
}

export function invalid(name: string, wanted: string, value: unknown): Error {
  return brokerError("ERR_INVALID_OPTION", `option ${name} must be ${wanted}; got ${quote(value)}`, {
    option: name,
  });
}

export function requireObject(name: string, value: unknown): asserts value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(name, "an object", value);
  }
}

export function refuseUnknown(prefix: string, options: object, known: ReadonlySet<string>): void {
  for (const name in options) {
    if (known.has(name)) continue;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `there is no option ${quote(prefix + name)}; known are ${[...known].join(", ")}`,
      { option: prefix + name },
    );
  }
}

/** A section of the options: an object of known names; nothing, where it was left out. */
export function section<Section extends object>(
  name: string,
  value: Section | undefined,
  known: readonly string[],
): Partial<Section> {
  if (value === undefined) return {};
  requireObject(name, value);
  refuseUnknown(`${name}.`, value, new Set(known));
  return value;
}

export function oneOf(name: string, value: unknown, known: readonly string[]): void {
  if (!known.includes(value as string)) {
    throw invalid(name, `one of ${known.map((one) => JSON.stringify(one)).join(", ")}`, value);
  }
}

/** What to write, where an empty object would not do. */
const howToEnable: Readonly<Record<string, string>> = {
  persistence: 'persistence: levelPersistence({ path: "./data" }), from "inproc-broker/persistence"',
};

/** The error of a feature whose option was not given. */
export function moduleDisabled(feature: string, option: string): Error {
  return brokerError(
    "ERR_MODULE_DISABLED",
    `${feature} needs the broker option ${quote(option)}: pass it to InProcBroker.open or new InProcBroker, as ${howToEnable[option] ?? `${option}: {}`}`,
    { option },
  );
}
