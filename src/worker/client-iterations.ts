import type { RequestManyOptions } from "../index.js";
import type { ClientCalls } from "./client-calls.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask } from "./protocol.js";
import { brokerError } from "./wire-error.js";

/** The iterations of `requestMany`: each is the broker's, and moved from here by calls. */
export class ClientIterations {
  readonly #writer: FrameWriter;
  readonly #calls: ClientCalls;
  /** Those whose data could not be cloned: the broker never heard of them. */
  readonly #refused = new Map<number, unknown>();
  /** They are numbered apart from calls, below 0. */
  #last = 0;

  constructor(writer: FrameWriter, calls: ClientCalls) {
    this.#writer = writer;
    this.#calls = calls;
  }

  /** Its frame could not be sent. */
  refused(iteration: number, error: unknown): void {
    this.#refused.set(iteration, error);
  }

  /** Asks, and yields the data of each answer. */
  async *run<Answer>(
    topicNumber: number,
    data: unknown,
    options: RequestManyOptions,
    isOpen: () => boolean,
  ): AsyncGenerator<Answer, void, undefined> {
    const { signal, ...rest } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw brokerError("ERR_INVALID_OPTION", "option signal must be an AbortSignal", { option: "signal" });
    }
    signal?.throwIfAborted();
    this.#last -= 1;
    const iteration = this.#last;
    const given = signal === undefined ? rest : { ...rest, signal: true };
    this.#writer.write([ask.requestMany, iteration, topicNumber, data, given]);
    // What cannot be cloned is known once it is sent.
    this.#writer.flush();
    if (this.#refused.has(iteration)) {
      const error = this.#refused.get(iteration);
      this.#refused.delete(iteration);
      throw error;
    }
    const onAbort = (): void => this.#writer.write([ask.abort, iteration]);
    signal?.addEventListener("abort", onAbort, { once: true });
    let isOver = false;
    try {
      for (;;) {
        let step: { readonly done?: true; readonly value?: unknown };
        try {
          step = (await this.#calls.makeAtOnce((call) => [ask.next, call, iteration, false])) as typeof step;
        } catch (error) {
          isOver = true;
          throw signal?.aborted === true ? signal.reason : error;
        }
        if (step.done === true) {
          isOver = true;
          return;
        }
        yield step.value as Answer;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      if (!isOver && isOpen()) await this.#calls.makeAtOnce((call) => [ask.next, call, iteration, true]);
    }
  }
}
