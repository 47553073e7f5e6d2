/** How long a `dedupId` is remembered. */
export interface DedupSettings {
  /** Milliseconds; Infinity: until `maxEntries` is reached. */
  readonly windowMs: number;
  readonly maxEntries: number;
}

interface Entry<Receipt> {
  readonly receipt: Receipt;
  readonly enteredAt: number;
}

/**
 * Remembers the receipts of what was published under a `dedupId`, for a window of time and up to a number of ids;
 * beyond that the oldest is forgotten.
 *
 * An id is entered in the same step as its message is accepted, so a publish that failed can be tried again. Every id
 * is kept equally long, so the Map's order of insertion is the order in which they go, and needs no timer: whoever
 * looks first lets go of what is over. A receipt must not refer to its message, or the payload would stay as long.
 */
export class DedupWindow<Receipt extends object> {
  readonly #windowMs: number;
  readonly #maxEntries: number;
  readonly #monotonic: () => number;
  readonly #entries = new Map<string, Entry<Receipt>>();

  constructor(settings: DedupSettings, monotonic: () => number) {
    this.#windowMs = settings.windowMs;
    this.#maxEntries = settings.maxEntries;
    this.#monotonic = monotonic;
  }

  get size(): number {
    this.#forgetOver(this.#monotonic());
    return this.#entries.size;
  }

  /** The receipt of the first publish under this id, if the window still holds it. Does not prolong it. */
  find(dedupId: string): Receipt | undefined {
    this.#forgetOver(this.#monotonic());
    return this.#entries.get(dedupId)?.receipt;
  }

  /** Enters an id that `find` does not find. */
  remember(dedupId: string, receipt: Receipt): void {
    this.#entries.set(dedupId, { receipt, enteredAt: this.#monotonic() });
    if (this.#entries.size > this.#maxEntries) this.#forgetOldest();
  }

  #forgetOver(now: number): void {
    for (const [dedupId, { enteredAt }] of this.#entries) {
      if (now - enteredAt <= this.#windowMs) return;
      this.#entries.delete(dedupId);
    }
  }

  #forgetOldest(): void {
    for (const dedupId of this.#entries.keys()) {
      this.#entries.delete(dedupId);
      return;
    }
  }
}
