import type { TimerLine } from "../delivery/timers.js";
import { brokerError } from "../errors.js";
import type { PublishedMessage } from "../message/message.js";

/** Counts the subscriptions that have acknowledged a message. */
export class Confirmation {
  readonly wanted: number;
  readonly timeoutMs: number;
  readonly reached: Promise<void>;
  readonly #by = new Set<string>();
  #resolve: () => void = () => undefined;

  constructor(wanted: number, timeoutMs: number) {
    this.wanted = wanted;
    this.timeoutMs = timeoutMs;
    this.reached = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get count(): number {
    return this.#by.size;
  }

  add(subscription: string): void {
    this.#by.add(subscription);
    if (this.#by.size >= this.wanted) this.#resolve();
  }
}

/** Publishes that wait for confirms, each within its time. */
export class Confirms {
  readonly #deadlines: TimerLine;
  readonly #hold: () => () => void;
  readonly #waiters = new Set<(error: unknown) => void>();

  /** @param hold - keeps the process alive until what it returns is called */
  constructor(deadlines: TimerLine, hold: () => () => void) {
    this.#deadlines = deadlines;
    this.#hold = hold;
  }

  /** Resolves once a message has its confirms. Rejects with `ERR_TIMEOUT`, and with the signal's reason. */
  async reached(confirmation: Confirmation, message: PublishedMessage, signal: AbortSignal | undefined): Promise<void> {
    const release = this.#hold();
    let cleanUp = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => reject(signal?.reason);
        const timer = this.#deadlines.after(confirmation.timeoutMs, {
          onTimer: () => reject(unconfirmed(confirmation, message)),
        });
        cleanUp = () => {
          this.#deadlines.cancel(timer);
          this.#waiters.delete(reject);
          signal?.removeEventListener("abort", onAbort);
        };
        this.#waiters.add(reject);
        signal?.addEventListener("abort", onAbort, { once: true });
        // It was on its way into the store when that happened.
        if (signal?.aborted === true) onAbort();
        confirmation.reached.then(resolve, reject);
      });
    } finally {
      cleanUp();
      release();
    }
  }

  /** Fails everything that waits for confirms. */
  failAll(error: unknown): void {
    for (const fail of [...this.#waiters]) fail(error);
  }
}

function unconfirmed(confirmation: Confirmation, message: PublishedMessage): Error {
  return brokerError(
    "ERR_TIMEOUT",
    `${confirmation.count} of ${confirmation.wanted} subscriptions acknowledged the message on ${JSON.stringify(message.topic)} within ${confirmation.timeoutMs} ms; it stays published`,
    { topic: message.topic, id: message.id, confirmed: confirmation.count, wanted: confirmation.wanted },
  );
}
