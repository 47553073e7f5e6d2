import { framesAt, numbersAt, textAt } from "./protocol.js";
import type { RecordMaker, RecordSource } from "./record-maker.js";

const noNumbers: readonly number[] = [];

/** Reads the values of a batch one after another. */
export class FrameReader {
  /** Kept, and never read: V8 throws away the code for a shape of which there is no object left at a full collection. */
  static readonly shape = new FrameReader([]);

  readonly #batch: readonly unknown[];
  readonly #records: RecordSource;
  #index = framesAt;

  constructor(batch: readonly unknown[]) {
    this.#batch = batch;
    this.#records = {
      numbers: (batch[numbersAt] ?? noNumbers) as ArrayLike<number>,
      numberAt: 0,
      text: batch[textAt] as string,
      textAt: 0,
      values: batch,
      valueAt: 0,
    };
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

  /** Reads where the records of a frame begin. */
  beginRecords(): void {
    this.#records.numberAt = this.number();
    this.#records.textAt = this.number();
  }

  /** The next record of the frame. */
  record(maker: RecordMaker): Record<string, unknown> {
    const records = this.#records;
    records.valueAt = this.#index;
    const record = maker.next(records);
    this.#index = records.valueAt;
    return record;
  }
}
