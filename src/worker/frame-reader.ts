/** Reads the values of a batch one after another, its tag left out. */
export class FrameReader {
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

  number(): number {
    return this.next() as number;
  }
}
