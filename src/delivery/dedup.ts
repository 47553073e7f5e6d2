import { LRUCache } from "lru-cache";

/** How long a `dedupId` is remembered. */
export interface DedupSettings {
  /** Milliseconds. */
  readonly windowMs: number;
  readonly maxEntries: number;
}

/**
 * Remembers the receipts of what was published under a `dedupId`, for a window of time and up to a number of ids;
 * beyond that the oldest is forgotten.
 *
 * An id is entered in the same step as its message is accepted, so a publish that failed can be tried again.
 */
export class DedupWindow<Receipt extends object> {
  readonly #entries: LRUCache<string, Receipt>;

  constructor(settings: DedupSettings, monotonic: () => number) {
    this.#entries = new LRUCache<string, Receipt>({
      max: settings.maxEntries,
      ttl: settings.windowMs,
      ttlResolution: 0,
      // lru-cache takes a start of 0 for "no start", which would never go stale.
      perf: { now: () => monotonic() + 1 },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The receipt of the first publish under this id, if the window still holds it. Does not prolong it. */
  find(dedupId: string): Receipt | undefined {
    return this.#entries.peek(dedupId);
  }

  remember(dedupId: string, receipt: Receipt): void {
    this.#entries.set(dedupId, receipt);
  }
}
