import { Ring } from "../collections/ring.js";
import type { TimerLine } from "../delivery/timers.js";
import { brokerError, errorText, quote } from "../errors.js";
import type { Message, PublishedMessage } from "../message/message.js";
import type { Inbox } from "./topic-facts.js";

/** How to ask. */
export interface RequestOptions {
  /** Milliseconds to wait for the answer; default 5,000. */
  readonly timeout?: number | undefined;
  /** Headers of the request. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>> | undefined;
  /** Key of the request, for responders with `orderBy: "key"`. */
  readonly key?: string | undefined;
  /** Ends the wait: rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How to ask many. */
export interface RequestManyOptions extends RequestOptions {
  /** Answers after which it is over; absent: all that come in time. */
  readonly max?: number | undefined;
}

export const requestOptionNames: readonly string[] = ["timeout", "headers", "key", "signal"];

/** The header that marks an answer as a responder's failure; its data is what the responder threw. */
export const failureHeader = "reply-failed";

/** Answers kept for a reader that is slower than they come; more are dropped, counted as late. */
const bufferedAnswers = 1_024;

interface Pending {
  /** Takes an answer; false where it is not wanted. */
  accept(message: PublishedMessage): boolean;
  fail(error: unknown): void;
}

/**
 * The requests that wait for answers, by the topic their answers go to.
 *
 * Every inbox is a topic of its own under one prefix, and none of them is a subscription: asking costs the router nothing.
 */
export class Requests implements Inbox {
  readonly prefix: string;
  readonly #deadlines: TimerLine;
  readonly #hold: () => () => void;
  readonly #pending = new Map<string, Pending>();
  #lastNumber = 0;

  constructor(nonce: string, deadlines: TimerLine, hold: () => () => void) {
    this.prefix = `_inbox.${nonce}.`;
    this.#deadlines = deadlines;
    this.#hold = hold;
  }

  get size(): number {
    return this.#pending.size;
  }

  answer(message: PublishedMessage): boolean {
    return this.#pending.get(message.topic)?.accept(message) ?? false;
  }

  /** Asks and waits for the first answer. `send` publishes the request, and rejects where nobody would answer. */
  async one(
    topic: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    send: (replyTo: string) => Promise<unknown>,
  ): Promise<Message> {
    signal?.throwIfAborted();
    const replyTo = this.#newInbox();
    const release = this.#hold();
    let cleanUp = (): void => undefined;
    try {
      return await new Promise<Message>((resolve, reject) => {
        const timer = this.#deadlines.after(timeoutMs, {
          onTimer: () => reject(timedOut(topic, timeoutMs)),
        });

        const onAbort = (): void => reject(signal?.reason);
        signal?.addEventListener("abort", onAbort, { once: true });
        cleanUp = () => {
          this.#deadlines.cancel(timer);
          signal?.removeEventListener("abort", onAbort);
        };
        this.#pending.set(replyTo, {
          accept: (message) => {
            this.#pending.delete(replyTo);
            if (message.headers[failureHeader] === undefined) resolve(message);
            else reject(remoteFailure(topic, message));
            return true;
          },
          fail: reject,
        });
        send(replyTo).catch(reject);
      });
    } finally {
      cleanUp();
      release();
      this.#pending.delete(replyTo);
    }
  }

  /** Asks and yields answers until `max` have come or the time is over. */
  async *many(
    topic: string,
    max: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    send: (replyTo: string) => Promise<unknown>,
  ): AsyncGenerator<Message, void, undefined> {
    signal?.throwIfAborted();
    const replyTo = this.#newInbox();
    const answers = new Ring<PublishedMessage>();
    let wake: () => void = () => undefined;
    let isOver = false;
    let failure: { readonly error: unknown } | null = null;
    const end = (error?: { readonly error: unknown }): void => {
      isOver = true;
      failure ??= error ?? null;
      wake();
    };
    const timer = this.#deadlines.after(timeoutMs, { onTimer: () => end() });
    const onAbort = (): void => end({ error: signal?.reason });
    signal?.addEventListener("abort", onAbort, { once: true });
    const release = this.#hold();
    let taken = 0;
    this.#pending.set(replyTo, {
      accept: (message) => {
        if (isOver || answers.length >= bufferedAnswers) return false;
        taken += 1;
        answers.push(message);
        if (taken >= max) isOver = true;
        wake();
        return true;
      },
      fail: (error) => end({ error }),
    });
    try {
      await send(replyTo);
      for (;;) {
        const message = answers.shift();
        if (message !== undefined) {
          if (message.headers[failureHeader] !== undefined) throw remoteFailure(topic, message);
          yield message;
        } else if (isOver) {
          const failed = failure as { readonly error: unknown } | null;
          if (failed !== null) throw failed.error;
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#pending.delete(replyTo);
      this.#deadlines.cancel(timer);
      signal?.removeEventListener("abort", onAbort);
      release();
    }
  }

  /** Ends every wait with an error. */
  failAll(error: unknown): void {
    for (const pending of [...this.#pending.values()]) pending.fail(error);
    this.#pending.clear();
  }

  #newInbox(): string {
    this.#lastNumber += 1;
    return this.prefix + String(this.#lastNumber);
  }
}

/** The error of a request that nobody is there to answer. */
export function noResponders(topic: string): Error {
  return brokerError(
    "ERR_NO_RESPONDERS",
    `nobody answers ${quote(topic)}: no subscription matches it; start a responder with broker.respond(${quote(topic)}, …) first`,
    { topic },
  );
}

function timedOut(topic: string, timeoutMs: number): Error {
  return brokerError(
    "ERR_TIMEOUT",
    `no answer to ${quote(topic)} within ${timeoutMs} ms; a subscriber got the request and did not reply in time`,
    { topic, timeout: timeoutMs },
  );
}

function remoteFailure(topic: string, message: PublishedMessage): Error {
  return brokerError(
    "ERR_REMOTE",
    `the responder of ${quote(topic)} failed: ${errorText(message.data)}`,
    { topic, correlationId: message.correlationId },
    message.data,
  );
}
