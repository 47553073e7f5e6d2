/** How long a slice of work may hold the event loop. */
const sliceMs = 2;

/** Long work in slices, between which the event loop turns. */
export class Slices {
  readonly #monotonic: () => number;
  readonly #breathe: () => Promise<void>;
  #start: number;

  /** @param breathe lets the event loop turn */
  constructor(monotonic: () => number, breathe: () => Promise<void>) {
    this.#monotonic = monotonic;
    this.#breathe = breathe;
    this.#start = monotonic();
  }

  get isOver(): boolean {
    return this.#monotonic() - this.#start >= sliceMs;
  }

  /** Lets the event loop turn when the slice is over. */
  async next(): Promise<void> {
    if (!this.isOver) return;
    await this.#breathe();
    this.#start = this.#monotonic();
  }
}
