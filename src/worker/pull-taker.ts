import type { FetchOptions, Message } from "../index.js";
import { Fifo } from "./fifo.js";
import type { Taker, TakerHost } from "./taker.js";
import type { RemoteMessage } from "./wire-message.js";

interface Waiter {
  accept(message: RemoteMessage): void;
  end(error: unknown): void;
}

const done: IteratorResult<RemoteMessage, undefined> = { value: undefined, done: true };

/** What only a pull needs of its subscription. */
export interface PullHost {
  readonly maxInFlight: number;
  /** Deliveries that are not decided. */
  inFlight(): number;
  /** Has the broker's side send up to so many of what is there now; resolves once it has. */
  fetchNow(count: number): Promise<unknown>;
  /** Keeps the thread alive until the returned function is called. */
  hold(): () => void;
  /** Runs `run` after so many milliseconds. Returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** Gives deliveries to whoever asks, and asks the broker's side for no more than that. */
export class PullTaker implements Taker {
  readonly firstCredits = 0;
  readonly #pull: PullHost;
  readonly #waiters = new Fifo<Waiter>();
  readonly #waiting = new Fifo<RemoteMessage>();
  #host: TakerHost | null = null;
  /** Asked for and not come. */
  #granted = 0;
  /** The delivery that `next` gave out last: in `auto` mode, asking for the next one acknowledges it. */
  #current: RemoteMessage | null = null;
  #isEnded = false;
  #endError: unknown = undefined;

  constructor(pull: PullHost) {
    this.#pull = pull;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get isQuiet(): boolean {
    return this.#waiting.length === 0;
  }

  begin(host: TakerHost): void {
    this.#host = host;
  }

  held(): Iterable<Message> {
    return this.#waiting;
  }

  next(): Promise<IteratorResult<RemoteMessage, undefined>> {
    this.#acknowledgeCurrent();
    if (this.#isEnded) return this.#afterEnd();
    const ready = this.#take();
    if (ready !== undefined) {
      this.#current = ready;
      return Promise.resolve({ value: ready, done: false });
    }
    const release = this.#pull.hold();
    return new Promise((resolve, reject) => {
      this.#waiters.push({
        accept: (message) => {
          release();
          this.#current = message;
          resolve({ value: message, done: false });
        },
        end: (error) => {
          release();
          if (error === undefined) resolve(done);
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what ended the subscription
          else reject(error);
        },
      });
      this.#ask();
    });
  }

  fetch(count: number, options: FetchOptions): Promise<RemoteMessage[]> {
    const messages: RemoteMessage[] = [];
    if (this.#isEnded) return Promise.resolve(messages);
    while (messages.length < count) {
      const ready = this.#take();
      if (ready === undefined) break;
      messages.push(ready);
    }
    const { timeout: timeoutMs = 1_000, signal } = options;
    if (messages.length === count) return Promise.resolve(messages);
    if (signal?.aborted === true && messages.length === 0) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const release = this.#pull.hold();
      let waiter: Waiter | null = null;
      let cancel = (): void => undefined;
      const finish = (error?: unknown): void => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
        release();
        if (waiter !== null) {
          const waiting = waiter;
          waiter = null;
          this.#waiters.take((one) => one === waiting);
          this.#ask();
        }
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own reason
        if (error !== undefined && messages.length === 0) reject(error);
        else resolve(messages);
      };
      const onAbort = (): void => finish(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      // One waiter for all that are wanted: `wanted` tells the broker's side how many.
      const isFull = (): boolean =>
        messages.length === count ||
        (this.#host?.acknowledges === true && this.#pull.inFlight() >= this.#pull.maxInFlight);
      waiter = {
        accept: (message) => {
          messages.push(message);
          if (isFull()) {
            waiter = null;
            finish();
          } else this.#unshift(waiter as Waiter);
        },
        end: (error) => {
          waiter = null;
          finish(error);
        },
      };
      this.#waiters.push(waiter);
      if (timeoutMs === 0) {
        void this.#pull.fetchNow(count - messages.length).then(
          () => {
            if (waiter !== null) finish();
          },
          () => undefined,
        );
        return;
      }
      cancel = this.#pull.after(timeoutMs, () => finish());
      this.#wanted.set(waiter, count - messages.length);
      this.#ask();
    });
  }

  receive(message: RemoteMessage): void {
    if (this.#granted > 0) this.#granted -= 1;
    if (this.#isEnded) return;
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#waiting.push(message);
    else {
      const wanted = this.#wanted.get(waiter);
      if (wanted !== undefined) this.#wanted.set(waiter, wanted - 1);
      waiter.accept(message);
    }
  }

  batchEnded(): void {
    // Asks when it is asked.
  }

  lost(message: RemoteMessage): void {
    this.#waiting.take((one) => one === message);
  }

  setPaused(): void {
    // What is asked for waits on the broker's side.
  }

  /** The iterator ends early: what it gave out last was not finished. */
  abandonCurrent(): void {
    this.#current = null;
  }

  end(error: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#waiting.clear();
    const waiters = this.#waiters.clear();
    if (waiters.length === 0) this.#endError = error;
    for (const [index, waiter] of waiters.entries()) waiter.end(index === 0 ? error : undefined);
  }

  /** How many each `fetch` still wants; a `next` wants one. */
  readonly #wanted = new WeakMap<Waiter, number>();

  /** Brings what is granted in line with what is wanted. */
  #ask(): void {
    if (this.#isEnded) return;
    let wanted = 0;
    for (const waiter of this.#waiters) wanted += this.#wanted.get(waiter) ?? 1;
    const credits = wanted - this.#granted;
    if (credits === 0) return;
    this.#granted = wanted;
    this.#grant(credits);
  }

  /** Puts a waiter back to the front. */
  #unshift(waiter: Waiter): void {
    const others = this.#waiters.clear();
    this.#waiters.push(waiter);
    for (const other of others) this.#waiters.push(other);
  }

  #take(): RemoteMessage | undefined {
    for (;;) {
      const message = this.#waiting.shift();
      if (message === undefined || message.state !== "lost") return message;
    }
  }

  #grant(credits: number): void {
    this.#host?.grant(credits);
  }

  #acknowledgeCurrent(): void {
    const current = this.#current;
    this.#current = null;
    if (current !== null && this.#host?.isAuto === true) this.#host.succeeded(current);
  }

  #afterEnd(): Promise<IteratorResult<RemoteMessage, undefined>> {
    const error = this.#endError;
    this.#endError = undefined;
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what ended the subscription
    return error === undefined ? Promise.resolve(done) : Promise.reject(error);
  }
}
