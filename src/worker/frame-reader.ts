/** Reads the values of a batch one after another, its tag left out. */
export class FrameReader {
  /** Kept, and never read: V8 throws away the code for a shape of which there is no object left at a full collection. */
  static readonly shape = new FrameReader([]);

  readonly #batch: readonly unknown[];
  #index = 1;

  constructor(batch: readonly unknown[]) {
    this.#batch = batch;
  }

  get hasMore(): boolean {
    return this.#index < this.#batch.length;
  }

  next(): unknown {
    const value = this.#batch[this.#index];
    this.#index += 1;
    return value;
  }

  /** An object with these keys and the values that come next. */
  record(keys: readonly string[]): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    for (const key of keys) {
      record[key] = this.#batch[this.#index];
      this.#index += 1;
    }
    return record;
  }

  number(): number {
    return this.next() as number;
  }
}
