import { durationText } from "./duration.js";
import type { TestClock } from "./test-clock.js";

/** Things that wait for time that a text lists. */
export const listed = 5;

/** What is known of a clock that stands still. */
export interface Standing {
  readonly clock: TestClock;
  /** Milliseconds until the next timer on a manual clock; undefined where none is known. */
  readonly nextTimerInMs: number | undefined;
}

/** Who would have to move time, and what would happen then. */
export function standstill({ clock, nextTimerInMs }: Standing): string[] {
  const agenda = clock.pending();
  const at = new Intl.DateTimeFormat("sv-SE", { timeZone: "UTC", dateStyle: "short", timeStyle: "medium" });
  const whose = clock.mode === "manual" ? "the clock is manual" : "the clock is the test runner's fake timers";
  const lines = [`  time stands still: ${whose}, and it is ${at.format(clock.now())} UTC.`];
  const how = (inMs: number): string =>
    clock.mode === "manual" ? `await t.clock.advance(${Math.ceil(inMs)})` : "advance the fake timers";
  const [next] = agenda;
  if (next !== undefined) {
    lines.push(`  what happens next when time moves (${how(next.inMs)}):`);
    for (const { inMs, what } of agenda.slice(0, listed)) lines.push(`    in ${durationText(inMs)}: ${what}`);
    if (agenda.length > listed) lines.push(`    and ${agenda.length - listed} more`);
  } else if (nextTimerInMs !== undefined) {
    lines.push(`  a timer of the broker is due in ${durationText(nextTimerInMs)} (${how(nextTimerInMs)}).`);
  } else lines.push("  nothing waits for time; a handler has not come back, or nobody reads.");
  return lines;
}
