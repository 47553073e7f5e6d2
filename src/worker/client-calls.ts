import type { Transferable } from "node:worker_threads";
import { Fifo } from "./fifo.js";
import type { FrameWriter } from "./frame-writer.js";
import { NumberedItems } from "./numbered-items.js";
import { ask, maxWaitingCalls } from "./protocol.js";
import { brokerError } from "./wire-error.js";

interface Call {
  readonly frame: (call: number) => readonly unknown[] | null;
  readonly transfer: readonly Transferable[] | undefined;
  readonly answered: ((value: unknown) => void) | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The calls of a client that are not answered. So many are with the broker at once as its window allows; the others wait
 * here, up to a bound, beyond which a call is refused with `ERR_QUEUE_FULL`.
 */
export class ClientCalls {
  readonly #writer: FrameWriter;
  readonly #open = new NumberedItems<Call>();
  readonly #waiting = new Fifo<Call>();
  #window: number;
  #lastCall = 0;
  #idleWaiters: (() => void)[] = [];
  /** Told when the first call begins and when the last one ends. */
  onBusy: (isBusy: boolean) => void = () => undefined;

  constructor(writer: FrameWriter, window: number) {
    this.#writer = writer;
    this.#window = window;
  }

  /** Calls that are with the broker, and calls that wait. */
  get open(): number {
    return this.#open.size;
  }
  get waiting(): number {
    return this.#waiting.length;
  }

  setWindow(window: number): void {
    this.#window = window;
    this.#sendWaiting();
  }

  /**
   * Makes a call.
   *
   * @param frame - makes its frame, when its turn has come; null: its caller has given up meanwhile
   * @param answered - told of the answer before the next frame of its batch is read; promises are told later
   */
  make(
    frame: (call: number) => readonly unknown[] | null,
    transfer?: readonly Transferable[],
    answered?: (value: unknown) => void,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call: Call = { frame, transfer, answered, resolve, reject };
      if (this.#open.size === 0) this.onBusy(true);
      if (this.#open.size < this.#window && this.#waiting.length === 0) this.#send(call);
      else if (this.#waiting.length < maxWaitingCalls) this.#waiting.push(call);
      else {
        reject(
          brokerError(
            "ERR_QUEUE_FULL",
            `${this.#waiting.length} calls of this worker wait for the broker, as many as may; await each publish`,
            { waiting: this.#waiting.length },
          ),
        );
      }
    });
  }

  /**
   * Makes a call that waits for no turn: one that settles or ends something, and so makes room for those that wait. There are no more of
   * them than deliveries, subscriptions and iterations.
   */
  makeAtOnce(frame: (call: number) => readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#open.size === 0) this.onBusy(true);
      this.#send({ frame, transfer: undefined, answered: undefined, resolve, reject });
    });
  }

  /** A call whose caller may give up: rejects with the signal's reason, and tells the broker. */
  makeAbortable(
    signal: AbortSignal | undefined,
    frame: (call: number, hasSignal: boolean) => readonly unknown[],
    transfer?: readonly Transferable[],
  ): Promise<unknown> {
    if (signal === undefined) return this.make((call) => frame(call, false), transfer);
    if (!(signal instanceof AbortSignal)) {
      return Promise.reject(
        brokerError("ERR_INVALID_OPTION", "option signal must be an AbortSignal", { option: "signal" }),
      );
    }
    if (signal.aborted) return Promise.reject(signal.reason);
    let number: number | null = null;
    const called = this.make((call) => {
      if (signal.aborted) return null;
      number = call;
      return frame(call, true);
    }, transfer);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        if (number !== null && this.#open.get(number) !== undefined) this.#writer.write([ask.abort, number]);
        called.catch(() => undefined);
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const stop = (): void => signal.removeEventListener("abort", onAbort);
      called.then(
        (value) => {
          stop();
          resolve(value);
        },
        (error: unknown) => {
          stop();
          reject(error);
        },
      );
    });
  }

  resolve(call: number, value: unknown): void {
    const made = this.#open.take(call);
    if (made === undefined) return;
    this.#ended();
    made.answered?.(value);
    made.resolve(value);
  }

  reject(call: number, error: unknown): void {
    const made = this.#open.take(call);
    if (made === undefined) return;
    this.#ended();
    made.reject(error);
  }

  /** Ends every call with an error. */
  failAll(error: unknown): void {
    const all = [...[...this.#open].map(([, call]) => call), ...this.#waiting.clear()];
    this.#open.clear();
    for (const { reject } of all) reject(error);
    this.#tellIdle();
  }

  /** Resolves once no call is open. */
  whenIdle(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #send(call: Call): void {
    this.#lastCall += 1;
    const number = this.#lastCall;
    const frame = call.frame(number);
    if (frame === null) return;
    this.#open.add(number, call);
    this.#writer.write(frame, call.transfer);
  }

  #ended(): void {
    this.#sendWaiting();
    if (this.#open.size === 0) this.#tellIdle();
  }

  #sendWaiting(): void {
    while (this.#open.size < this.#window) {
      const call = this.#waiting.shift();
      if (call === undefined) return;
      this.#send(call);
    }
  }

  #tellIdle(): void {
    this.onBusy(false);
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
