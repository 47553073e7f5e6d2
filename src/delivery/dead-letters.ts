import { brokerError, quote } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import { fulfilled } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import type {
  DeadLetter,
  DeadLetterChoice,
  DeadLetterFilter,
  DeadLetterListOptions,
  DeadLetterReason,
  DeadLetters,
  DeadLetterStats,
  RedriveOptions,
} from "./dead-letter.js";
import { deadLetterReasons } from "./dead-letter.js";
import type { TimerLine } from "./timers.js";

export interface DeadLetterSettings {
  readonly maxMessages: number;
  readonly maxBytes: number;
  /** Milliseconds; Infinity: kept until a bound is reached. */
  readonly maxAgeMs: number;
}

/** What the dead-letter manager needs of the broker around it. */
export interface DeadLetterHost {
  now(): number;
  readonly deadlines: TimerLine;
  matches(pattern: string, topic: string): boolean;
  /** Throws for what is no pattern. */
  checkPattern(pattern: string): void;
  /**
   * Delivers it again, or throws and changes nothing. Resolves once it is kept that it was driven, and rejects where it is not
   * kept: the letter was restored then. Null for one that cannot be delivered, which is told.
   */
  redrive(letter: DeadLetter): Promise<void> | null;
  /** Has the store forget them all, or none: resolves when it has. Null where there is nothing to wait for. */
  forget(letters: readonly DeadLetter[]): Promise<void> | null;
  /** A bound was reached, and the oldest goes. */
  evicted(letter: DeadLetter): void;
  /** Keeps the process alive until released. */
  hold(): () => void;
}

const filterNames: readonly string[] = ["id", "topic", "reason", "subscription"];

interface Kept {
  readonly letter: DeadLetter;
  readonly bytes: number;
}

/**
 * Keeps what was given up on, up to a number, a size and an age; beyond that the oldest goes, counted and told.
 *
 * Entries are numbered, and a Map keeps them in that order, so a cursor is the number of the last one seen, and stays
 * right whatever is removed meanwhile.
 */
export class DeadLetterManager implements DeadLetters {
  readonly #settings: DeadLetterSettings;
  readonly #host: DeadLetterHost;
  readonly #kept = new Map<number, Kept>();
  readonly #byReason: Partial<Record<DeadLetterReason, number>> = {};
  readonly #waits = new Set<(error: unknown) => void>();
  #refusal: { readonly of: "redrive" | "everything"; readonly error: Error } | null = null;
  /** False after an old one was restored. */
  #isInOrder = true;
  #lastNumber = 0;
  #bytes = 0;
  #added = 0;
  #redriven = 0;
  #purged = 0;
  #evicted = 0;

  constructor(settings: DeadLetterSettings, host: DeadLetterHost) {
    this.#settings = settings;
    this.#host = host;
  }

  add(facts: Omit<DeadLetter, "id" | "deadAt">, bytes: number): DeadLetter {
    this.#lastNumber += 1;
    this.#added += 1;
    const letter: DeadLetter = { ...facts, id: `dl-${this.#lastNumber}`, deadAt: this.#host.now() };
    this.#kept.set(this.#lastNumber, { letter, bytes });
    this.#bytes += bytes;
    this.#byReason[letter.reason] = (this.#byReason[letter.reason] ?? 0) + 1;
    this.#enforceBounds();
    return letter;
  }

  /** Takes in what was kept before: by an earlier process, or by this one until a redrive that failed. */
  restore(letter: DeadLetter, bytes: number): void {
    const number = numberOf(letter.id);
    if (!Number.isSafeInteger(number) || this.#kept.has(number)) return;
    if (number < this.#lastNumber) this.#isInOrder = false;
    this.#lastNumber = Math.max(this.#lastNumber, number);
    this.#kept.set(number, { letter, bytes });
    this.#bytes += bytes;
    this.#byReason[letter.reason] = (this.#byReason[letter.reason] ?? 0) + 1;
  }

  /** Takes back what was added: it is no dead letter. Does nothing where it has gone. */
  withdraw(id: string): void {
    const number = numberOf(id);
    const kept = this.#kept.get(number);
    if (kept === undefined) return;
    this.#remove(number, kept);
    this.#added -= 1;
  }

  list(options: DeadLetterListOptions = {}): Promise<{ items: DeadLetter[]; cursor: string | undefined }> {
    return this.#async(() => {
      this.#checkObject(options);
      const { limit = 100, cursor, ...filter } = options;
      this.#check(filter);
      if (!Number.isInteger(limit) || limit < 1) {
        throw brokerError("ERR_INVALID_OPTION", `limit must be an integer from 1; got ${quote(limit)}`, {
          option: "limit",
        });
      }
      const after = cursor === undefined ? 0 : numberOf(cursor);
      if (Number.isNaN(after)) {
        throw brokerError("ERR_INVALID_OPTION", `cursor must come from a list call; got ${quote(cursor)}`, {
          option: "cursor",
        });
      }
      this.#enforceBounds();
      const items: DeadLetter[] = [];
      let isMore = false;
      for (const [number, { letter }] of this.#inOrder()) {
        if (number <= after || !this.#isMatch(letter, filter)) continue;
        if (items.length === limit) {
          isMore = true;
          break;
        }
        items.push(letter);
      }
      return { items, cursor: isMore ? items.at(-1)?.id : undefined };
    });
  }

  peek(id: string): Promise<DeadLetter | undefined> {
    return this.#async(() => {
      this.#enforceBounds();
      return this.#kept.get(numberOf(id))?.letter;
    });
  }

  /** Whether it is still a dead letter. */
  has(id: string): boolean {
    return this.#kept.has(numberOf(id));
  }

  async redrive(filter: DeadLetterChoice = {}, options: RedriveOptions = {}): Promise<number> {
    if (this.#refusal !== null) throw this.#refusal.error;
    this.#check(filter);
    checkCallOptions("redrive", options, ["rate", "signal"]);
    const { rate, signal } = options;
    if (rate !== undefined && !(typeof rate === "number" && rate > 0)) {
      throw brokerError("ERR_INVALID_OPTION", `rate must be more than 0 messages a second; got ${quote(rate)}`, {
        option: "rate",
      });
    }
    this.#enforceBounds();
    // Chosen before the first is driven: one that fails again and comes back is not driven in the same call.
    const numbers = [...this.#matching(filter)];
    const startedAt = this.#host.deadlines.now();
    let driven = 0;
    const kept: Promise<void>[] = [];
    for (const number of numbers) {
      if (rate !== undefined) await this.#waitUntil(startedAt + (driven * 1000) / rate, signal);
      if (signal?.aborted === true) break;
      const one = this.#kept.get(number);
      if (one === undefined) continue;
      const isKept = this.#drive(number, one);
      if (isKept === null) continue;
      this.#redriven += 1;
      driven += 1;
      if (isKept === fulfilled) continue;
      isKept.catch(() => (this.#redriven -= 1));
      kept.push(isKept);
    }
    for (const outcome of await Promise.allSettled(kept)) if (outcome.status === "rejected") throw outcome.reason;
    return driven;
  }

  /** It leaves the list before it is driven: the store may refuse it, and so restore it, at once. */
  #drive(number: number, kept: Kept): Promise<void> | null {
    const { letter, bytes } = kept;
    this.#remove(number, kept);
    let isDriven: Promise<void> | null = null;
    try {
      isDriven = this.#host.redrive(letter);
      return isDriven;
    } finally {
      if (isDriven === null) this.restore(letter, bytes);
    }
  }

  purge(filter: DeadLetterChoice = {}): Promise<number> {
    return this.#async(() => {
      this.#check(filter);
      const numbers = [...this.#matching(filter)];
      const forgotten = this.#host.forget(numbers.map((number) => (this.#kept.get(number) as Kept).letter));
      return forgotten === null ? this.#purge(numbers) : forgotten.then(() => this.#purge(numbers));
    });
  }

  #purge(numbers: readonly number[]): number {
    let count = 0;
    for (const number of numbers) {
      const kept = this.#kept.get(number);
      // Driven again while the store was being told.
      if (kept === undefined) continue;
      this.#remove(number, kept);
      count += 1;
    }
    this.#purged += count;
    return count;
  }

  stats(): DeadLetterStats {
    this.#enforceBounds();
    return {
      count: this.#kept.size,
      bytes: this.#bytes,
      byReason: { ...this.#byReason },
      added: this.#added,
      redriven: this.#redriven,
      purged: this.#purged,
      evicted: this.#evicted,
    };
  }

  /**
   * Refuses from now on: to drive again, since the broker takes no messages any more; or everything but `stats`.
   * A redrive that waits for its rate is rejected.
   */
  refuse(of: "redrive" | "everything", error: Error): void {
    this.#refusal = { of, error };
    for (const fail of [...this.#waits]) fail(error);
  }

  *#matching(filter: DeadLetterChoice): IterableIterator<number> {
    for (const [number, { letter }] of this.#inOrder()) {
      const isChosen = typeof filter === "function" ? filter(letter) : this.#isMatch(letter, filter);
      if (isLate(isChosen, () => undefined)) {
        throw brokerError("ERR_INVALID_OPTION", "a filter must answer at once; this one returned a promise", {
          option: "filter",
        });
      }
      if (isChosen) yield number;
    }
  }

  #isMatch(letter: DeadLetter, filter: DeadLetterFilter): boolean {
    return (
      (filter.id === undefined || filter.id === letter.id) &&
      (filter.reason === undefined || filter.reason === letter.reason) &&
      (filter.subscription === undefined || filter.subscription === letter.subscription) &&
      (filter.topic === undefined || this.#host.matches(filter.topic, letter.topic))
    );
  }

  #inOrder(): ReadonlyMap<number, Kept> {
    if (this.#isInOrder) return this.#kept;
    const entries = [...this.#kept].sort(([one], [other]) => one - other);
    this.#kept.clear();
    for (const [number, kept] of entries) this.#kept.set(number, kept);
    this.#isInOrder = true;
    return this.#kept;
  }

  #remove(number: number, kept: Kept): void {
    this.#kept.delete(number);
    this.#bytes -= kept.bytes;
    const { reason } = kept.letter;
    const left = (this.#byReason[reason] ?? 1) - 1;
    if (left === 0) delete this.#byReason[reason];
    else this.#byReason[reason] = left;
  }

  #enforceBounds(): void {
    const { maxMessages, maxBytes, maxAgeMs } = this.#settings;
    const oldestKept = maxAgeMs === Infinity ? -Infinity : this.#host.now() - maxAgeMs;
    for (const [number, kept] of this.#inOrder()) {
      const isOver = this.#kept.size > maxMessages || this.#bytes > maxBytes || kept.letter.deadAt < oldestKept;
      if (!isOver) return;
      this.#remove(number, kept);
      this.#evicted += 1;
      this.#host.evicted(kept.letter);
    }
  }

  async #waitUntil(deadline: number, signal: AbortSignal | undefined): Promise<void> {
    const { deadlines } = this.#host;
    if (deadline <= deadlines.now() || signal?.aborted === true) return;
    const release = this.#host.hold();
    let cleanUp = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const entry = deadlines.at(deadline, { onTimer: () => resolve() });
        const onAbort = (): void => resolve();
        signal?.addEventListener("abort", onAbort, { once: true });
        this.#waits.add(reject);
        cleanUp = () => {
          deadlines.cancel(entry);
          signal?.removeEventListener("abort", onAbort);
          this.#waits.delete(reject);
        };
      });
    } finally {
      cleanUp();
      release();
    }
  }

  /** A misspelt condition would choose everything, and `purge` would throw it away. */
  #check(filter: DeadLetterChoice): void {
    if (typeof filter === "function") return;
    this.#checkObject(filter);
    for (const name of Object.keys(filter)) {
      if (filterNames.includes(name)) continue;
      throw brokerError(
        "ERR_INVALID_OPTION",
        `dead letters are chosen by ${filterNames.join(", ")}; there is no ${quote(name)}`,
        { option: name },
      );
    }
    if (filter.topic !== undefined) this.#host.checkPattern(filter.topic);
    if (filter.reason !== undefined && !deadLetterReasons.includes(filter.reason)) {
      throw brokerError(
        "ERR_INVALID_OPTION",
        `reason must be one of ${deadLetterReasons.join(", ")}; got ${quote(filter.reason)}`,
        { option: "reason" },
      );
    }
  }

  #checkObject(filter: unknown): void {
    if (typeof filter === "object" && filter !== null) return;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `dead letters are chosen by an object with ${filterNames.join(", ")}, such as { id }; got ${quote(filter)}`,
      { option: "filter" },
    );
  }

  /** What could be synchronous in memory is not on a store; so neither is it here. */
  #async<Result>(run: () => Result | Promise<Result>): Promise<Result> {
    return new Promise((resolve) => {
      if (this.#refusal?.of === "everything") throw this.#refusal.error;
      resolve(run());
    });
  }
}

function numberOf(id: string): number {
  return typeof id === "string" && id.startsWith("dl-") ? Number(id.slice(3)) : NaN;
}
