import { Ring } from "../collections/ring.js";
import type { Delivery } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import { Consumer } from "./consumer.js";

/** How `fetch` waits. */
export interface FetchOptions {
  /** Milliseconds to wait for the batch to fill; default 1,000. What has come by then is the batch. */
  readonly timeout?: number | undefined;
  /** Ends the wait: rejects with the signal's reason, unless some messages are there already. */
  readonly signal?: AbortSignal | undefined;
}

interface Waiter {
  accept(message: Message): void;
  end(error: unknown): void;
}

const done: IteratorResult<Message, undefined> = { value: undefined, done: true };

/**
 * Hands messages to whoever asks: `next` of an iterator, or `fetch`. It takes from the queue only on demand, so what
 * nobody asks for stays where other members of a group can have it.
 */
export class PullConsumer extends Consumer {
  readonly #waiters = new Ring<Waiter>();
  /** The delivery the iterator gave out last; asking for the next one acknowledges it in `auto` mode. */
  #current: Delivery | null = null;
  #ended = false;
  #endError: unknown = undefined;

  override get isTaking(): boolean {
    return super.isTaking && this.#waiters.length > 0;
  }

  next(): Promise<IteratorResult<Message, undefined>> {
    this.#acknowledgeCurrent();
    if (this.#ended) return this.#afterEnd();
    if (this.#waiters.length === 0 && !this.host.scheduler.spend(1)) {
      const message = this.#takeNow();
      if (message !== undefined) {
        this.#gaveOut(message);
        return Promise.resolve({ value: message, done: false });
      }
    }
    const promise = new Promise<IteratorResult<Message, undefined>>((resolve, reject) => {
      this.#waiters.push({
        accept: (message) => {
          this.#gaveOut(message);
          resolve({ value: message, done: false });
        },
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what ended the subscription
        end: (error) => (error === undefined ? resolve(done) : reject(error)),
      });
    });
    this.queue.wakeUp();
    return promise;
  }

  /** Up to `count` messages: all that are asked for, or what there is when the time is over. */
  fetch(count: number, options: FetchOptions, hold: () => () => void): Promise<Message[]> {
    const filled = this.queue.whenFilled();
    if (filled !== null && !this.#ended) return filled.then(() => this.fetch(count, options, hold));
    const messages: Message[] = [];
    if (this.#ended) return Promise.resolve(messages);
    if (this.#waiters.length === 0) {
      while (messages.length < count) {
        const message = this.#takeNow();
        if (message === undefined) break;
        messages.push(message);
      }
    }
    const timeoutMs = options.timeout ?? 1_000;
    if (messages.length === count || timeoutMs === 0) return Promise.resolve(messages);
    if (options.signal?.aborted === true && messages.length === 0) {
      return Promise.reject(options.signal.reason);
    }
    return new Promise((resolve, reject) => {
      const release = hold();
      let waiter: Waiter | null = null;
      const finish = (error?: unknown): void => {
        this.host.deadlines.cancel(timer);
        options.signal?.removeEventListener("abort", onAbort);
        release();
        if (waiter !== null) {
          const waiting = waiter;
          waiter = null;
          this.#waiters.retain((one) => one !== waiting);
        }
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own reason
        if (error !== undefined && messages.length === 0) reject(error);
        else resolve(messages);
      };
      const onAbort = (): void => finish(options.signal?.reason);
      const ask = (): void => {
        // Its own deliveries in flight fill it up: more would never come.
        if (messages.length > 0 && this.acknowledges && this.inFlight >= this.settings.maxInFlight) {
          finish();
          return;
        }
        waiter = {
          accept: (message) => {
            waiter = null;
            messages.push(message);
            if (messages.length === count) finish();
            else ask();
          },
          end: (error) => {
            waiter = null;
            finish(error);
          },
        };
        this.#waiters.push(waiter);
      };
      const timer = this.host.deadlines.after(timeoutMs, { onTimer: () => finish() });
      options.signal?.addEventListener("abort", onAbort, { once: true });
      ask();
      this.queue.wakeUp();
    });
  }

  /** The iterator ends early: what it gave out last was not finished, so it goes back where that is possible. */
  abandonCurrent(): void {
    const current = this.#current;
    this.#current = null;
    if (current?.state === "inFlight" && this.settings.ack === "auto") this.host.tracker.takeBack(current);
  }

  /** Ends every wait: quietly, or with an error for whoever asks first. */
  end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    if (waiters.length === 0) this.#endError = error;
    for (const [index, waiter] of waiters.entries()) waiter.end(index === 0 ? error : undefined);
  }

  protected hasPlace(): boolean {
    return this.#waiters.length > 0;
  }

  protected hand(message: Message): void {
    this.#beginTimeout(message);
    (this.#waiters.shift() as Waiter).accept(message);
  }

  #takeNow(): Message | undefined {
    if (this.queue.queued === 0 || !this.mayTake()) return undefined;
    const message = this.takeOne();
    if (message !== undefined) this.#beginTimeout(message);
    if (this.queue.queued === 0) this.queue.settled();
    return message;
  }

  #beginTimeout(message: Message): void {
    if (this.acknowledges) this.host.tracker.begin(message as Delivery, this.settings.ackTimeoutMs);
  }

  #acknowledgeCurrent(): void {
    const current = this.#current;
    this.#current = null;
    if (current?.state !== "inFlight" || this.settings.ack !== "auto") return;
    const settled = this.host.tracker.ack(current);
    if (settled === fulfilled) return;
    settled.catch((error: unknown) => this.host.failed(this.queue, error, current, "handler"));
  }

  #gaveOut(message: Message): void {
    this.#current = this.acknowledges ? (message as Delivery) : null;
  }

  #afterEnd(): Promise<IteratorResult<Message, undefined>> {
    const error = this.#endError;
    this.#endError = undefined;
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what ended the subscription
    return error === undefined ? Promise.resolve(done) : Promise.reject(error);
  }
}
