import { KitAssertionError } from "./assertion-error.js";
import type { HistoryEntry, HistoryKind, HistoryView } from "./history.js";
import { isEntry } from "./history.js";
import type { Expectation } from "./matching.js";
import { meets, showExpectation } from "./matching.js";
import { showEntries } from "./show.js";

/** Some of what happened: a list that knows what else there was, so that a failure can say so. */
export class Selection<Data = unknown> implements Iterable<HistoryEntry<Data>> {
  readonly #entries: readonly HistoryEntry<Data>[];
  readonly #what: string;
  readonly #view: HistoryView;

  /** @internal */
  constructor(entries: readonly HistoryEntry<Data>[], what: string, view: HistoryView) {
    this.#entries = entries;
    this.#what = what;
    this.#view = view;
  }

  /** How many there are. */
  get count(): number {
    return this.#entries.length;
  }

  /** All of them, in causal order. */
  all(): HistoryEntry<Data>[] {
    return [...this.#entries];
  }

  /** The payloads, in causal order. */
  data(): Data[] {
    return this.#entries.map((entry) => entry.data);
  }

  /** The only one. Throws where there is none, or more than one, and lists what there was. */
  one(): HistoryEntry<Data> {
    const [first] = this.#entries;
    if (first !== undefined && this.#entries.length === 1) return first;
    throw new KitAssertionError(
      `expected one ${this.#what}, and there ${this.count === 0 ? "was none" : `were ${this.count}`}\n` +
        showEntries("what happened", this.#view.history()),
    );
  }

  /** The first one. Throws where there is none, and lists what there was. */
  first(): HistoryEntry<Data> {
    const [first] = this.#entries;
    if (first !== undefined) return first;
    throw new KitAssertionError(
      `expected a ${this.#what}, and there was none\n${showEntries("what happened", this.#view.history())}`,
    );
  }

  /** Goes over all of them, in causal order. */
  [Symbol.iterator](): Iterator<HistoryEntry<Data>> {
    return this.#entries[Symbol.iterator]();
  }
}

/**
 * What happened while something ran, and in consequence of it: the answer of `t.track`. Each method takes a topic or
 * pattern (default everything) and conditions, and returns what there was of it.
 *
 * @example
 * ```ts
 * const s = await t.track(() => api.signUp(user));
 * assert.equal(s.published("user.created").one().data.id, user.id);
 * assert.equal(s.deadLettered().count, 0);
 * ```
 */
export class Session<Result = unknown> implements HistoryView {
  /** What the tracked function returned. */
  readonly result: Result;
  readonly #entries: readonly HistoryEntry[];

  /** @internal */
  constructor(result: Result, entries: readonly HistoryEntry[]) {
    this.result = result;
    this.#entries = entries;
  }

  history(): readonly HistoryEntry[] {
    return [...this.#entries];
  }

  /** What was accepted and routed. */
  published<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("published", pattern, expectation);
  }
  /** What waits, or waited, for its `delay` or `deliverAt`. */
  scheduled<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("scheduled", pattern, expectation);
  }
  /** What was handed to a consumer, each hand-over. */
  delivered<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("delivered", pattern, expectation);
  }
  /** What was settled as done. */
  acked<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("acked", pattern, expectation);
  }
  /** What was given back: by its consumer, by the ack timeout, or because its consumer went. */
  nacked<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("nacked", pattern, expectation);
  }
  /** What a consumer gave up. */
  rejected<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("rejected", pattern, expectation);
  }
  /** What was given up on and kept as a dead letter. */
  deadLettered<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("deadLettered", pattern, expectation);
  }
  /** What will not reach a subscription that it matched. */
  dropped<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("dropped", pattern, expectation);
  }
  /** What was over its time to live. */
  expired<Data = unknown>(pattern?: string, expectation?: Expectation<Data>): Selection<Data> {
    return this.#select("expired", pattern, expectation);
  }
  /** What handlers, filters, plugins and listeners threw. */
  errors(): HistoryEntry[] {
    return this.#entries.filter((entry) => entry.kind === "error");
  }

  #select<Data>(kind: HistoryKind, pattern = ">", expectation: Expectation<Data> = {}): Selection<Data> {
    const entries = this.#entries.filter(
      (entry) => isEntry(entry, kind, pattern) && meets(entry, expectation as Expectation<never>),
    );
    const what = `message ${kind} on ${pattern}${showExpectation(expectation)}`;
    return new Selection(entries as HistoryEntry<Data>[], what, this);
  }
}
