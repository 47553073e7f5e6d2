/** How far a long work has come. */
export interface Progress {
  /** What is behind, in `unit`. */
  readonly done: number;
  /** What there is in all: an estimate that may change on the way. Undefined where nobody knows. */
  readonly total: number | undefined;
  /** What is counted. */
  readonly unit: "bytes" | "blocks" | "messages" | "lines" | "files";
}

/** What whoever starts a long work may want of it. */
export interface WorkOptions {
  /** Told how far it has come, whenever a part is done. Must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Ends it between two parts: it throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Counts what of a long work is behind. */
export class ProgressMeter {
  readonly #options: WorkOptions;
  readonly #unit: Progress["unit"];
  #done = 0;
  #total: number;

  /** @param total what there is to do, in `unit`, as far as that is known */
  constructor({ onProgress, signal }: WorkOptions, unit: Progress["unit"], total: number) {
    this.#options = { onProgress, signal };
    this.#unit = unit;
    this.#total = total;
  }

  /** So much more is done. Throws the signal's reason where the work is to end. */
  passed(amount: number): void {
    const { signal, onProgress } = this.#options;
    signal?.throwIfAborted();
    this.#done += amount;
    onProgress?.({ done: this.#done, total: Math.max(this.#total, this.#done), unit: this.#unit });
  }

  /** By now it is known how much is left. */
  expect(left: number): void {
    this.#total = this.#done + left;
  }
}
