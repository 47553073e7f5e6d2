import { EventEmitter } from "node:events";
import { availableParallelism } from "node:os";
import type { Broker, Message, WorkerLostEvent } from "../index.js";
import { exponentialBackoff, RequestError } from "../index.js";
import type { Deadlines } from "./deadlines.js";
import { deadlinesOf } from "./deadlines.js";
import type { PoolIntakeHost } from "./pool-intake.js";
import { PoolIntake } from "./pool-intake.js";
import type { WorkerPoolOptions } from "./pool-options.js";
import { checkPoolOptions, moduleUrl, requireCount } from "./pool-options.js";
import type { WorkerPoolStats } from "./pool-stats.js";
import { poolStats } from "./pool-stats.js";
import { PoolWorker } from "./pool-worker.js";
import { textOf } from "./wire-error.js";
import { tellWorkerLost } from "./worker-lost.js";

/** The events of a pool. */
export interface WorkerPoolEvents {
  /** A worker's thread has died, or was ended because it hung; another takes its place. An event of the broker, too. */
  "worker-lost": [
    event: WorkerLostEvent & {
      /** Whose place in the pool it had. */
      readonly slot: number;
    },
  ];
  /** Its workers cannot start, and it has given up: the error's `cause` is what the last one died of. */
  failed: [error: Error];
}

/** How to end a pool. */
export interface PoolCloseOptions {
  /** Finish what is queued and in flight first; default true. */
  readonly drain?: boolean;
  /** Milliseconds that may take; default 30,000. */
  readonly timeout?: number;
}

/**
 * Worker threads that share the messages of a pattern: what `workerPool` returns.
 *
 * open      takes messages
 * failed    its workers cannot start (`maxFailedStarts`): starts none, and takes no messages, which wait in their queues; `ready()` tries
 *           again, and opens it where that succeeds
 * draining  takes no new ones; finishes what it has
 * closed    over; its threads are gone
 */
export class WorkerPool extends EventEmitter<WorkerPoolEvents> implements AsyncDisposable {
  readonly #broker: Broker;
  readonly #group: string;
  readonly #makeWorker: (slot: number) => PoolWorker;
  #workers: PoolWorker[] = [];
  /** Those that a smaller size has let go. */
  readonly #retired = { done: 0, failed: 0, crashes: 0 };
  readonly #makeIntake: (size: number, isHeld: boolean) => PoolIntake;
  #intake: PoolIntake;
  #state: "open" | "failed" | "draining" | "closed" = "open";
  #error: Error | undefined = undefined;
  readonly #maxFailedStarts: number;
  readonly #deadlines: Deadlines;
  #closing: Promise<void> | null = null;
  #resizing: Promise<void> = Promise.resolve();

  /** @internal Use `workerPool`. */
  constructor(broker: Broker, patterns: string | readonly string[], module: URL | string, options: WorkerPoolOptions) {
    super();
    checkPoolOptions(options);
    const { size = Math.max(1, availableParallelism() - 1), concurrency = 1, prefetch = concurrency } = options;
    const { key = (message: Message) => message.key, maxFailedStarts = 5 } = options;
    this.#broker = broker;
    this.#maxFailedStarts = maxFailedStarts;
    this.#deadlines = deadlinesOf(options.clock);
    this.#group = options.group ?? `pool ${typeof patterns === "string" ? patterns : patterns.join(" ")}`;
    const url = moduleUrl(module);
    const ackTimeoutMs = options.ackTimeout ?? defaultAckTimeout(broker, patterns);
    this.#makeWorker = (slot) =>
      new PoolWorker(
        {
          broker,
          slot,
          bootstrap: options.bootstrap ?? new URL("./pool-entry.js", import.meta.url),
          module: url,
          concurrency,
          prefetch,
          ackTimeoutMs,
          allow: options.allow ?? {},
          restart: options.restart ?? exponentialBackoff({ initial: 100, max: 30_000 }),
          idleTimeoutMs: options.idleTimeout ?? Infinity,
          resourceLimits: options.resourceLimits,
          workerData: options.workerData,
          execArgv: options.execArgv,
          env: options.env,
          clock: options.clock,
        },
        {
          room: () => this.#roomFound(),
          lost: (worker, event, wasStarting) => this.#lost(worker, event, wasStarting),
          startFailed: (worker, times, error) => this.#startFailed(worker, times, error),
        },
      );
    this.#workers = Array.from({ length: size }, (_, slot) => this.#makeWorker(slot));
    const host: PoolIntakeHost = {
      broker,
      patterns,
      group: this.#group,
      options,
      perWorker: concurrency + prefetch,
      keyOf: key,
      workers: () => this.#workers,
    };
    this.#makeIntake = (count, isHeld) => new PoolIntake(host, count, isHeld);
    this.#intake = this.#makeIntake(size, false);
    broker.once("closed", this.#onBrokerClosed);
  }

  /** `"open"`, then `"draining"` and `"closed"` after `close()`; `"failed"` while its workers cannot start. */
  get state(): "open" | "failed" | "draining" | "closed" {
    return this.#state;
  }

  /** Why its workers cannot start, while it is `"failed"`. */
  get error(): Error | undefined {
    return this.#error;
  }

  /**
   * Starts every worker that has no thread, also where the pool had given up. Resolves once all take work; rejects with what one died of
   * before.
   */
  async ready(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.start()));
  }

  /** Figures of this instant. */
  stats(): WorkerPoolStats {
    return poolStats(this.#workers, this.#retired, this.#intake.queued);
  }

  /**
   * Changes the number of workers. Order within a key holds: what came before is finished where it was, and what comes meanwhile waits
   * for that. Only keys whose worker is new or goes move. Resolves once the new workers take over.
   */
  resize(size: number): Promise<void> {
    requireCount("size", size, 1);
    this.#resizing = this.#resizing.then(() => this.#resize(size));
    return this.#resizing;
  }

  /**
   * Ends the pool: takes nothing new, finishes what is queued and in flight, within `timeout`, and ends the threads. What is not
   * finished goes back to the broker: to other members of the group, if there are any. A repeat does nothing.
   */
  close(options: PoolCloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  /** `close()`: what `await using` calls. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onBrokerClosed = (): void => {
    void this.close({ drain: false });
  };

  #lost({ slot }: PoolWorker, event: WorkerLostEvent, wasStarting: boolean): void {
    const told = { ...event, pool: this.#group, slot };
    const isHeard = this.emit("worker-lost", told);
    tellWorkerLost(this.#broker, told, isHeard || wasStarting);
  }

  /** Says that a worker could not start, and gives up where none can. Returns whether to try again. */
  #startFailed(worker: PoolWorker, times: number, cause: unknown): boolean {
    const isOver = this.#state === "failed";
    const isLast =
      isOver || (times >= this.#maxFailedStarts && !this.#workers.some(({ state }) => state === "running"));
    const what = `a worker of ${JSON.stringify(this.#group)} could not start, ${times} times in a row`;
    const then = isLast
      ? "the pool has given up, and its messages wait; mend the module, then call pool.ready()"
      : "it is tried again";
    const facts = { slot: worker.slot, times };
    const error = new RequestError("ERR_REMOTE", `${what}; ${then}: ${textOf(cause)}`, { facts, cause });
    this.#broker.reportError?.(error, { during: "worker", subscription: this.#group });
    if (isOver) return false;
    if (!isLast || this.#state !== "open") return true;
    this.#state = "failed";
    this.#error = error;
    this.#intake.pause();
    for (const one of this.#workers) one.giveUp(error);
    this.emit("failed", error);
    return false;
  }

  #roomFound(): void {
    if (this.#state === "failed") {
      this.#state = "open";
      this.#error = undefined;
      for (const worker of this.#workers) worker.revive();
    }
    this.#intake.regulate();
  }

  async #resize(size: number): Promise<void> {
    if (this.#state !== "open" || size === this.#workers.length) return;
    for (let slot = this.#workers.length; slot < size; slot += 1) this.#workers.push(this.#makeWorker(slot));
    const next = this.#makeIntake(size, true);
    await this.#intake.drain();
    this.#intake = next;
    for (const worker of this.#workers.splice(size)) {
      this.#retired.done += worker.done;
      this.#retired.failed += worker.failed;
      this.#retired.crashes += worker.crashes;
      await worker.close();
    }
    next.begin();
  }

  async #close({ drain = true, timeout = 30_000 }: PoolCloseOptions): Promise<void> {
    const canWork = this.#state !== "failed";
    this.#state = "draining";
    this.#broker.off("closed", this.#onBrokerClosed);
    if (drain && canWork) {
      let cancel = (): void => undefined;
      const late = new Promise<void>((resolve) => {
        cancel = this.#deadlines.after(timeout, resolve, true);
      });
      const drained = this.#resizing.then(() => this.#intake.drain());
      await Promise.race([drained, late]);
      cancel();
    }
    this.#state = "closed";
    await this.#intake.close();
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }
}

/**
 * Spreads the messages of a pattern over worker threads, each of which runs the default export of `module`.
 *
 * At least once: a message is acknowledged when the handler has resolved, given back when it throws, times out, or takes its
 * thread with it. A message that kills its workers is dead-lettered after `maxDeliveries`; those that only waited beside it
 * are not counted. A thread that hangs beyond the ack timeout is ended and replaced.
 *
 * `module` is an ES module or CommonJS (`module.exports = handler`), a URL or an absolute path. Throws `ERR_INVALID_OPTION`.
 *
 * @example
 * ```ts
 * import { workerPool } from "inproc-broker/worker";
 *
 * await using pool = workerPool(broker, "images.*", new URL("./resize.js", import.meta.url), { size: 4 });
 * await broker.publish("images.uploaded", { path: "a.png" }, { key: "a.png" });
 *
 * // resize.js
 * export default async (msg, { broker }) => {
 *   await broker.publish("thumbnails.made", await resize(msg.data.path));
 * };
 * ```
 */
export function workerPool<Topics>(
  broker: Broker | Broker<Topics>,
  pattern: string | readonly string[],
  module: URL | string,
  options: WorkerPoolOptions = {},
): WorkerPool {
  return new WorkerPool(broker as Broker, pattern, module, options);
}

/** What the broker's default is, where the options name none. */
function defaultAckTimeout(broker: Broker, patterns: string | readonly string[]): number {
  const probe = broker.subscribe(patterns, () => undefined, {});
  void probe.unsubscribe();
  return probe.ackTimeout;
}
