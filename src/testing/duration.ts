import { InvalidArgumentError } from "../index.js";

/** Milliseconds, or a text: `"250ms"`, `"90s"`, `"5m"`, `"2h"`, `"1d"`, and sums such as `"1h 30m"`. */
export type Duration = number | string;

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const wholeText = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d)\s*)+$/;
const onePart = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

/** A duration in milliseconds. Throws `ERR_INVALID_OPTION` for anything else, negative numbers included. */
export function durationMs(name: string, duration: Duration): number {
  if (typeof duration === "number" && duration >= 0 && duration < Infinity) return duration;
  if (typeof duration === "string" && wholeText.test(duration)) {
    let ms = 0;
    for (const [, amount, unit] of duration.matchAll(onePart))
      ms += Number(amount) * (unitMs[unit as string] as number);
    return ms;
  }
  throw new InvalidArgumentError(
    "ERR_INVALID_OPTION",
    `${name} must be 0 or more milliseconds, or a text such as "250ms", "90s", "5m", "1h 30m"; got ${JSON.stringify(duration) ?? typeof duration}`,
    { facts: { option: name } },
  );
}

/** A duration for people: `1,500 ms`. */
export function durationText(ms: number): string {
  return `${ms.toLocaleString("en-US", { maximumFractionDigits: 1 })} ms`;
}
