/** Milliseconds that syncs took. */
export interface SyncMs {
  readonly last: number;
  readonly longest: number;
  readonly total: number;
}

/** How many syncs there were, and how long they took. */
export class SyncTimes {
  #count = 0;
  #last = 0;
  #longest = 0;
  #total = 0;

  add(ms: number): void {
    this.#count++;
    this.#last = ms;
    this.#longest = Math.max(this.#longest, ms);
    this.#total += ms;
  }

  get count(): number {
    return this.#count;
  }

  get ms(): SyncMs {
    return { last: this.#last, longest: this.#longest, total: this.#total };
  }
}
