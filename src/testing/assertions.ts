import { matchesPattern } from "../index.js";
import { KitAssertionError } from "./assertion-error.js";
import type { HistoryEntry, HistoryKind, HistoryView } from "./history.js";
import type { Expectation } from "./matching.js";
import { findEntries, showExpectation } from "./matching.js";
import { showEntries } from "./show.js";

/** What a check found: the entries, or the text of a failure. */
export interface Finding {
  readonly pass: boolean;
  readonly entries: HistoryEntry[];
  /** What was expected and what there was instead. */
  readonly text: string;
}

/** Looks for entries of a kind. */
export function look(
  view: HistoryView,
  kind: HistoryKind,
  pattern: string,
  expectation: Expectation<never> = {},
): Finding {
  const entries = findEntries(view, kind, pattern, expectation);
  const { times } = expectation;
  const pass = times === undefined ? entries.length > 0 : entries.length === times;
  const wanted = times === undefined ? "at least one" : String(times);
  const there = view.history().filter((entry) => entry.kind === kind);
  const text =
    `expected ${wanted} ${kind} on ${pattern}${showExpectation(expectation)}, and there ${entries.length === 1 ? "was 1" : `were ${entries.length}`}\n` +
    showEntries(`${kind} in all`, there);
  return { pass, entries, text };
}

/** The entries. Throws where there are not as many as expected, and lists what there was. */
export function expectEntries(
  view: HistoryView,
  kind: HistoryKind,
  pattern: string,
  expectation: Expectation<never> = {},
): HistoryEntry[] {
  const { pass, entries, text } = look(view, kind, pattern, expectation);
  if (!pass) throw new KitAssertionError(text);
  return entries;
}

/** Throws where anything was published or scheduled on topics that match, and lists it. */
export function expectNothing(view: HistoryView, pattern: string): void {
  const there = [...findEntries(view, "published", pattern), ...findEntries(view, "scheduled", pattern)];
  if (there.length === 0) return;
  throw new KitAssertionError(
    `expected nothing on ${pattern}\n${showEntries(`published or scheduled on ${pattern}`, there)}`,
  );
}

/** Throws where messages on these topics or patterns were not published in this order; others may come in between. */
export function expectOrder(view: HistoryView, patterns: readonly string[]): void {
  const published = findEntries(view, "published", ">");
  let at = 0;
  for (const [step, pattern] of patterns.entries()) {
    while (at < published.length && !matchesPattern(pattern, (published[at] as HistoryEntry).topic)) at += 1;
    if (at >= published.length) {
      const before = step === 0 ? "" : ` after ${patterns.slice(0, step).join(", ")}`;
      throw new KitAssertionError(
        `expected the order ${patterns.join(", ")}: there was no ${pattern}${before}\n${showEntries("published", published)}`,
      );
    }
    at += 1;
  }
}
