import type { History, HistoryEntry } from "./history.js";
import { isEntry } from "./history.js";

/**
 * Looks at what is published without being a subscription: it takes nothing from anybody, and `matched` does not count it.
 *
 * @example
 * ```ts
 * using tap = t.tap("orders.>");
 * await checkout(cart);
 * assert.deepEqual(tap.messages.map((m) => m.topic), ["orders.created", "orders.paid"]);
 * ```
 */
export class Tap<Data = unknown> implements AsyncIterable<HistoryEntry<Data>>, Disposable {
  readonly #messages: HistoryEntry<Data>[] = [];
  readonly #stop: () => void;
  #read = 0;
  #isStopped = false;
  readonly #readers: ((result: IteratorResult<HistoryEntry<Data>, undefined>) => void)[] = [];

  /** @internal */
  constructor(history: History, pattern: string) {
    this.#stop = history.watch((entry) => {
      if (!isEntry(entry, "published", pattern)) return;
      const copy = { ...entry } as HistoryEntry<Data>;
      this.#messages.push(copy);
      const reader = this.#readers.shift();
      if (reader === undefined) return;
      this.#read += 1;
      reader({ value: copy, done: false });
    });
  }

  /** What was published since the tap was made, in order. */
  get messages(): readonly HistoryEntry<Data>[] {
    return [...this.#messages];
  }

  /** The next message that this tap has not given out yet, past or to come; `done` once it is stopped and read. */
  next(): Promise<IteratorResult<HistoryEntry<Data>, undefined>> {
    const message = this.#messages[this.#read];
    if (message !== undefined) {
      this.#read += 1;
      return Promise.resolve({ value: message, done: false });
    }
    if (this.#isStopped) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  /** Ends it; what it saw stays. A repeat does nothing. */
  stop(): void {
    this.#isStopped = true;
    this.#stop();
    for (const reader of this.#readers.splice(0)) reader({ value: undefined, done: true });
  }

  /** Goes over what it sees, past and to come; ending the loop stops the tap. */
  [Symbol.asyncIterator](): AsyncIterator<HistoryEntry<Data>, undefined> {
    return {
      next: () => this.next(),
      return: () => {
        this.stop();
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  }

  /** As `stop`. */
  [Symbol.dispose](): void {
    this.stop();
  }
}
