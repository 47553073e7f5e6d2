import type { Headers } from "../index.js";
import { matchesPattern } from "../index.js";
import { copyOf } from "./copy.js";

/**
 * What happened to a message.
 *
 * published     accepted, and routed to `matched` subscriptions and groups
 * scheduled     accepted, and waits until `dueAt`
 * cancelled     was scheduled, and taken back
 * replied       an answer to a request
 * delivered     handed to a consumer of `subscription`
 * acked         settled: done
 * nacked        given back by its consumer, by the ack timeout, or because its consumer went; `delay` until it comes again
 * rejected      given up by its consumer
 * deadLettered  given up on and kept as a dead letter, for `reason`
 * dropped       will not reach `subscription`, for `reason`
 * expired       its time to live was over
 * error         a handler, filter, plugin or listener threw
 * fault         the kit did to it what the test asked for
 * crashed       the broker was ended as by a power cut; of no message
 * restarted     the next broker has begun; of no message
 */
export type HistoryKind =
  | "published"
  | "scheduled"
  | "cancelled"
  | "replied"
  | "delivered"
  | "acked"
  | "nacked"
  | "rejected"
  | "deadLettered"
  | "dropped"
  | "expired"
  | "error"
  | "fault"
  | "crashed"
  | "restarted";

/** One thing that happened. `data` is a copy from the time of publishing: what anybody does to it later changes nothing. */
export interface HistoryEntry<Data = unknown> {
  /** Its place in the history since the last reset, from 0; what leads to something comes before it. */
  readonly index: number;
  /** What happened. */
  readonly kind: HistoryKind;
  /** When, in milliseconds since 1970 by the broker's clock. */
  readonly at: number;
  /** The message's topic; empty for an error that concerns no message. */
  readonly topic: string;
  /** A copy of the payload. */
  readonly data: Data;
  /** The message's id. */
  readonly id: string;
  /** The message's sequence number; 0 for an error that concerns no message. */
  readonly seq: number;
  /** The message's headers. */
  readonly headers: Headers;
  /** What `orderBy: "key"` goes by. */
  readonly key: string | undefined;
  /** 0 (lowest) to 9 (highest). */
  readonly priority: number;
  /** The subscription or group it concerns. */
  readonly subscription?: string;
  /** Of a delivery: 1 for the first hand-over. */
  readonly deliveryCount?: number;
  /** Of a publish: how many subscriptions and groups get it. */
  readonly matched?: number;
  /** Of a scheduled message: when it is due, in milliseconds since 1970. */
  readonly dueAt?: number;
  /** Of what is given back: milliseconds until it is delivered again. */
  readonly delay?: number;
  /** Why. */
  readonly reason?: string;
  /** Of an error: what was thrown. */
  readonly error?: unknown;
}

/** A part of what happened, as it is read: by a session, by assertions, by matchers. */
export interface HistoryView {
  /** What happened, in causal order: a copy of the list. */
  history(): readonly HistoryEntry[];
}

/** What happened to a broker, up to a number of entries; beyond it the oldest half goes. */
export class History {
  readonly #limit: number;
  #entries: HistoryEntry[] = [];
  /** Entries that went because of the limit. */
  #gone = 0;
  /** Entries ever added, over every reset: what activity is measured by. */
  #added = 0;
  readonly #watchers = new Set<(entry: HistoryEntry) => void>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get added(): number {
    return this.#added;
  }

  /** The index that the next entry will have. */
  get end(): number {
    return this.#gone + this.#entries.length;
  }

  add(facts: Omit<HistoryEntry, "index">): HistoryEntry {
    const entry: HistoryEntry = { index: this.end, ...facts };
    this.#entries.push(entry);
    this.#added += 1;
    if (this.#entries.length > this.#limit) {
      const half = this.#limit >> 1;
      this.#gone += half;
      this.#entries = this.#entries.slice(half);
    }
    if (this.#watchers.size > 0) for (const watch of [...this.#watchers]) watch(entry);
    return entry;
  }

  /** Fills in what is known only after the fact. */
  amend(entry: HistoryEntry, facts: Partial<HistoryEntry>): void {
    Object.assign(entry, facts);
  }

  /** Entries from `begin` up to and without `end`. */
  slice(begin = 0, end = this.end): readonly HistoryEntry[] {
    return this.#entries
      .slice(Math.max(0, begin - this.#gone), Math.max(0, end - this.#gone))
      .map((one) => ({ ...one }));
  }

  /** The same for users: with payloads of their own, so that what they change is not what happened. */
  copies(begin = 0): readonly HistoryEntry[] {
    return this.slice(begin).map((one) => Object.assign(one, { data: copyOf(one.data) }));
  }

  /** Calls `watcher` for each entry to come, until the returned function is called. */
  watch(watcher: (entry: HistoryEntry) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  clear(): void {
    this.#entries = [];
    this.#gone = 0;
    this.#added += 1;
  }
}

/** Whether an entry is of that kind, and on a topic that the pattern matches. */
export function isEntry(entry: HistoryEntry, kind: HistoryKind, pattern: string): boolean {
  return entry.kind === kind && entry.topic !== "" && matchesPattern(pattern, entry.topic);
}
