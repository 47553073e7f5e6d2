import type { QueueFacts } from "../dispatch/queue-facts.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { brokerError } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import { checkPattern, matchesPattern, patternsOverlap } from "../topic/grammar.js";
import { checkSignal, delayMs } from "./checks.js";
import type { BrokerCore } from "./core.js";

/** What to wait for. */
export interface IdleOptions {
  /** A topic or pattern; absent: everything. */
  readonly topic?: string | undefined;
  /** Milliseconds after which it rejects with `ERR_TIMEOUT`, at once with 0; absent: it waits as long as it takes. */
  readonly timeout?: number | undefined;
  /** Also waits for messages that are published with a `delay` or `deliverAt`; default false. */
  readonly scheduled?: boolean | undefined;
  /** Also waits for messages in their backoff; default true. */
  readonly retries?: boolean | undefined;
  /** Ends the wait: rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const optionNames = ["topic", "timeout", "scheduled", "retries", "signal"];

interface WaitOptions extends IdleOptions {
  /** What a store keeps, and nobody goes on taking, is not waited for. */
  readonly isClosing?: boolean;
}

interface Waiter {
  readonly options: WaitOptions;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Knows when nothing is left to do, by counting what there is whenever something has left. It never polls, and costs
 * nothing while nobody waits.
 */
export class IdleWatch {
  readonly #core: BrokerCore;
  readonly #deciding: () => number;
  readonly #waiters = new Set<Waiter>();

  /** @param deciding - how many publishes have begun and are neither accepted nor refused */
  constructor(core: BrokerCore, deciding: () => number) {
    this.#core = core;
    this.#deciding = deciding;
  }

  /** Resolves once there is nothing left that would be lost, or that a consumer goes on taking; or when the time is over. */
  whenDrained(timeoutMs: number): Promise<void> {
    const options: WaitOptions = { timeout: timeoutMs, isClosing: true };
    return this.#isIdle(options) ? Promise.resolve() : this.#wait(options).catch(() => undefined);
  }

  wait(options: IdleOptions): Promise<void> {
    try {
      checkCallOptions("idle", options, optionNames);
      if (options.topic !== undefined) checkPattern(options.topic, this.#core.settings.limits);
      if (options.timeout !== undefined && options.timeout !== Infinity) delayMs("timeout", options.timeout);
      checkSignal(options.signal);
      options.signal?.throwIfAborted();
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#isIdle(options)) return Promise.resolve();
    if (options.timeout === 0) return Promise.reject(this.#timeoutError(options));
    return this.#wait(options);
  }

  /** Resolves once every publish that has begun is accepted or refused. */
  whenDecided(): Promise<void> {
    return this.#deciding() === 0 ? Promise.resolve() : this.#wait({ topic: "\0decided" });
  }

  /** Looks whether somebody's wait is over. */
  look(): void {
    for (const waiter of [...this.#waiters]) if (this.#isIdle(waiter.options)) waiter.resolve();
  }

  fail(error: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }

  async #wait(options: WaitOptions): Promise<void> {
    const { deadlines } = this.#core.timers;
    const release = this.#core.loop.hold();
    let cleanUp = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter: Waiter = { options, resolve, reject };

        const onAbort = (): void => reject(options.signal?.reason);
        const timer =
          options.timeout === undefined || options.timeout === Infinity
            ? null
            : deadlines.after(options.timeout, { onTimer: () => reject(this.#timeoutError(options)) });
        cleanUp = () => {
          this.#waiters.delete(waiter);
          if (timer !== null) deadlines.cancel(timer);
          options.signal?.removeEventListener("abort", onAbort);
          if (this.#waiters.size === 0) this.#core.watchQuiet(null);
        };
        options.signal?.addEventListener("abort", onAbort, { once: true });
        this.#waiters.add(waiter);
        this.#core.watchQuiet(() => this.look());
      });
    } finally {
      cleanUp();
      release();
    }
  }

  #isIdle(options: WaitOptions): boolean {
    if (this.#deciding() > 0) return false;
    if (options.topic === "\0decided") return true;
    const { registry, delayed } = this.#core;
    for (const queue of registry.queues) if (outstanding(queue, options) > 0) return false;
    if (options.scheduled === true) {
      for (const { message } of delayed.messages()) {
        if (options.topic === undefined || matchesPattern(options.topic, message.topic)) return false;
      }
    }
    return true;
  }

  #timeoutError(options: IdleOptions): Error {
    const { registry, delayed } = this.#core;
    const waiting = [...registry.queues].filter((queue) => outstanding(queue, options) > 0).map(facts);
    const lines = waiting.map(
      (one) =>
        `${one.subscription}: ${one.queued} queued, ${one.inFlight} in flight, ${one.delayed} in backoff, ${one.running} running`,
    );
    if (options.scheduled === true && delayed.size > 0) lines.push(`${delayed.size} scheduled for later`);
    if (this.#deciding() > 0) lines.push(`${this.#deciding()} publishes being validated`);
    return brokerError("ERR_TIMEOUT", `not idle after ${options.timeout} ms; outstanding: ${lines.join("; ")}`, {
      timeout: options.timeout,
      outstanding: waiting,
    });
  }
}

interface OutstandingFacts {
  readonly subscription: string;
  readonly queued: number;
  readonly inFlight: number;
  readonly delayed: number;
  readonly running: number;
}

function facts(queue: QueueFacts): OutstandingFacts {
  const { name: subscription, queued, inFlight, delayed, running } = queue;
  return { subscription, queued, inFlight, delayed, running };
}

/** Messages of the topic that a queue has yet to finish. */
function outstanding(queue: DeliveryQueue, options: WaitOptions): number {
  if (queue.isIdle) return 0;
  if (options.isClosing === true && queue.isKept) return queue.inFlight + queue.running;
  const { topic } = options;
  const withRetries = options.retries !== false;
  // Which topics it still has in the store is not known without reading them; which it can have is.
  const mayHave = topic === undefined || queue.patterns.some((pattern) => patternsOverlap(pattern, topic));
  const backlog = queue.isBehind && mayHave ? 1 : 0;
  if (topic === undefined) {
    return backlog + queue.queued + queue.inFlight + queue.running + (withRetries ? queue.delayed : 0);
  }
  let count = backlog;
  for (const message of queue.unfinished(withRetries)) if (matchesPattern(topic, message.topic)) count += 1;
  return count;
}
