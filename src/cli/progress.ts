import type { Progress } from "../platform/progress.js";

const everyMs = 200;

/** Shows how far a long work has come: in one line that is written over, where a person watches, else in lines. */
export class ProgressLine {
  readonly #write: (text: string) => void;
  readonly #isWatched: boolean;
  readonly #now: () => number;
  #shownAt = -Infinity;
  #last: Progress | undefined;
  #width = 0;

  constructor(write: (text: string) => void, isWatched: boolean, now: () => number) {
    this.#write = write;
    this.#isWatched = isWatched;
    this.#now = now;
  }

  show(progress: Progress): void {
    this.#last = progress;
    const now = this.#now();
    if (now - this.#shownAt < everyMs) return;
    this.#shownAt = now;
    this.#draw(progress);
    this.#last = undefined;
  }

  /** Shows the end, and leaves the line. */
  end(): void {
    if (this.#last !== undefined) this.#draw(this.#last);
    if (this.#isWatched && this.#width > 0) this.#write("\n");
    this.#last = undefined;
    this.#width = 0;
  }

  #draw({ done, total, unit }: Progress): void {
    const text = total === undefined ? `${done} ${unit}` : `${done} of ${total} ${unit}`;
    this.#write(this.#isWatched ? `\r${text.padEnd(this.#width)}` : `${text}\n`);
    this.#width = text.length;
  }
}
