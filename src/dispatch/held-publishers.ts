/** The publishers that full queues hold back, counted over all queues. The process stays alive while there are any. */
export class HeldPublishers {
  count = 0;
  readonly #hold: () => () => void;
  #release: (() => void) | null = null;

  /** @param hold - keeps the process alive until what it returns is called */
  constructor(hold: () => () => void) {
    this.#hold = hold;
  }

  add(): void {
    this.count += 1;
    this.#release ??= this.#hold();
  }

  remove(): void {
    this.count -= 1;
    if (this.count > 0) return;
    this.#release?.();
    this.#release = null;
  }
}
