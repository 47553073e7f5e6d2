import { Ring } from "../collections/ring.js";

/** How long a `dedupId` is remembered. */
export interface DedupSettings {
  /** Milliseconds; Infinity: until `maxEntries` is reached. */
  readonly windowMs: number;
  readonly maxEntries: number;
}

interface Entry {
  readonly dedupId: string;
  readonly enteredAt: number;
}

/**
 * Remembers the receipts of what was published under a `dedupId`, for a window of time and up to a number of ids;
 * beyond that the oldest is forgotten.
 *
 * An id is entered in the same step as its message is accepted, so a publish that failed can be tried again. Every id
 * is kept equally long, so they go in the order in which they came, and need no timer: whoever looks first lets go of
 * what is over. (A Map alone would do, but finding its first entry gets slow once many before it were deleted.)
 * A receipt must not refer to its message, or the payload would stay as long.
 */
export class DedupWindow<Receipt extends object> {
  readonly #windowMs: number;
  readonly #maxEntries: number;
  readonly #monotonic: () => number;
  readonly #receipts = new Map<string, Receipt>();
  readonly #oldestFirst = new Ring<Entry>();

  constructor(settings: DedupSettings, monotonic: () => number) {
    this.#windowMs = settings.windowMs;
    this.#maxEntries = settings.maxEntries;
    this.#monotonic = monotonic;
  }

  get size(): number {
    this.#forgetOver(this.#monotonic());
    return this.#receipts.size;
  }

  /** The receipt of the first publish under this id, if the window still holds it. Does not prolong it. */
  find(dedupId: string): Receipt | undefined {
    this.#forgetOver(this.#monotonic());
    return this.#receipts.get(dedupId);
  }

  /** Forgets every id. */
  clear(): void {
    this.#receipts.clear();
    this.#oldestFirst.clear();
  }

  /** Enters an id that `find` does not find. `ageMs`: how long it has been known already, to a process before this one. */
  remember(dedupId: string, receipt: Receipt, ageMs = 0): void {
    this.#receipts.set(dedupId, receipt);
    this.#oldestFirst.push({ dedupId, enteredAt: this.#monotonic() - ageMs });
    if (this.#oldestFirst.length > this.#maxEntries) this.#forgetOldest();
  }

  #forgetOver(now: number): void {
    for (;;) {
      const oldest = this.#oldestFirst.peek();
      if (oldest === undefined || now - oldest.enteredAt <= this.#windowMs) return;
      this.#forgetOldest();
    }
  }

  #forgetOldest(): void {
    const oldest = this.#oldestFirst.shift();
    if (oldest !== undefined) this.#receipts.delete(oldest.dedupId);
  }
}
