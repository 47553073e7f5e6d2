import { EventEmitter } from "node:events";
import { availableParallelism } from "node:os";
import type { ResourceLimits } from "node:worker_threads";
import type {
  Backoff,
  Broker,
  BrokerSubscription,
  Clock,
  Message,
  SubscribeOptions,
  WorkerLostEvent,
} from "../index.js";
import { exponentialBackoff, RequestError } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { Deadlines } from "./deadlines.js";
import { deadlinesOf } from "./deadlines.js";
import { slotOfKey } from "./key-slots.js";
import { checkPoolOptions, moduleUrl } from "./pool-options.js";
import { PoolWorker } from "./pool-worker.js";
import type { PoolWorkerState } from "./pool-worker.js";
import { brokerError, textOf } from "./wire-error.js";
import { tellWorkerLost } from "./worker-lost.js";

/** Settings of a pool: its own, and those of its subscription. */
export interface WorkerPoolOptions extends Pick<
  SubscribeOptions,
  "ackTimeout" | "maxDeliveries" | "backoff" | "maxMessages" | "maxBytes" | "overflow"
> {
  /** Worker threads; default as many as the machine runs at once, less one for this thread. */
  readonly size?: number;
  /** The group it subscribes as, and its name in dead letters; default made of the pattern. */
  readonly group?: string;
  /**
   * What decides the worker: default the message's key. Messages of one key go to one worker, one at a time and in order. Where it is
   * undefined, and for `null` in place of the function, the least busy worker takes the message.
   */
  readonly key?: ((message: Message) => string | undefined) | null;
  /** Handlers running at once in a worker; default 1. */
  readonly concurrency?: number;
  /** Messages sent to a worker beyond those its handlers work on, so that it need not wait; default `concurrency`. */
  readonly prefetch?: number;
  /** Milliseconds until a dead worker is replaced, by the number of deaths in a row; default from 100 to 30,000, doubling. */
  readonly restart?: Backoff;
  /**
   * Threads of one worker in a row that may die before they take work (a module that is missing, does not parse, throws while it loads),
   * with no other worker running, before the pool gives up: see `WorkerPool.state`. Default 5; Infinity: never.
   */
  readonly maxFailedStarts?: number;
  /** Milliseconds without work after which a worker's thread ends, to be started again when there is some; default never. */
  readonly idleTimeout?: number;
  /** Of each thread; a thread that exceeds them dies, and counts as crashed. */
  readonly resourceLimits?: ResourceLimits;
  /** What counts the time of `restart`, `idleTimeout`, `close` and the workers' waits; for tests. Default the machine's. */
  readonly clock?: Clock;
  /** What handlers may do with `context.broker`; default everything. */
  readonly allow?: Allow;
  /** What handlers find in `context.workerData`. */
  readonly workerData?: unknown;
  /** Arguments of Node.js for the threads, such as `--import` of a TypeScript loader. */
  readonly execArgv?: string[];
  /** Environment of the threads; default this process's. */
  readonly env?: NodeJS.ProcessEnv;
  /** The script of the threads, where the package's own cannot be found: in a bundle. It calls `servePool(handler)`. */
  readonly bootstrap?: URL;
}

const optionNames: Readonly<Record<keyof WorkerPoolOptions, true>> = {
  ackTimeout: true,
  allow: true,
  backoff: true,
  bootstrap: true,
  clock: true,
  concurrency: true,
  env: true,
  execArgv: true,
  group: true,
  idleTimeout: true,
  key: true,
  maxBytes: true,
  maxDeliveries: true,
  maxFailedStarts: true,
  maxMessages: true,
  overflow: true,
  prefetch: true,
  resourceLimits: true,
  restart: true,
  size: true,
  workerData: true,
};

/** One worker of a pool. */
export interface PoolWorkerStats {
  /** Its place, from 0. */
  readonly slot: number;
  /** What it does. */
  readonly state: PoolWorkerState;
  /** Of its thread; undefined where it has none. */
  readonly threadId: number | undefined;
  /** Messages its thread has. */
  readonly inFlight: number;
  /** Messages acknowledged. */
  readonly done: number;
  /** Messages given back: the handler threw, timed out, or took the thread with it. */
  readonly failed: number;
  /** Threads that died. */
  readonly crashes: number;
  /** Threads that were started. */
  readonly starts: number;
}

/** Figures of a pool. */
export interface WorkerPoolStats {
  /** Workers it has. */
  readonly size: number;
  /** Messages that wait in the broker for one. */
  readonly queued: number;
  /** Messages that workers have. */
  readonly inFlight: number;
  /** Messages acknowledged. */
  readonly done: number;
  /** Messages given back. */
  readonly failed: number;
  /** Threads that died. */
  readonly crashes: number;
  /** Each worker. */
  readonly workers: readonly PoolWorkerStats[];
}

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
  readonly #patterns: string | readonly string[];
  readonly #options: WorkerPoolOptions;
  readonly #group: string;
  readonly #concurrency: number;
  readonly #prefetch: number;
  readonly #keyOf: ((message: Message) => string | undefined) | null;
  readonly #makeWorker: (slot: number) => PoolWorker;
  #workers: PoolWorker[] = [];
  /** Those that a smaller size has let go. */
  readonly #retired = { done: 0, failed: 0, crashes: 0 };
  #subscriptions: BrokerSubscription[] = [];
  #state: "open" | "failed" | "draining" | "closed" = "open";
  #error: Error | undefined = undefined;
  readonly #maxFailedStarts: number;
  readonly #deadlines: Deadlines;
  #closing: Promise<void> | null = null;
  #resizing: Promise<void> = Promise.resolve();
  readonly #paused = new Set<BrokerSubscription>();

  /** @internal Use `workerPool`. */
  constructor(broker: Broker, patterns: string | readonly string[], module: URL | string, options: WorkerPoolOptions) {
    super();
    const { size = Math.max(1, availableParallelism() - 1), concurrency = 1, prefetch = concurrency, key } = options;
    checkPoolOptions(options, optionNames);
    requireCount("size", size, 1);
    requireCount("concurrency", concurrency, 1);
    requireCount("prefetch", prefetch, 0);
    const { maxFailedStarts = 5 } = options;
    if (maxFailedStarts !== Infinity) requireCount("maxFailedStarts", maxFailedStarts, 1);
    this.#broker = broker;
    this.#patterns = patterns;
    this.#options = options;
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#maxFailedStarts = maxFailedStarts;
    this.#deadlines = deadlinesOf(options.clock);
    this.#group = options.group ?? `pool ${typeof patterns === "string" ? patterns : patterns.join(" ")}`;
    this.#keyOf = key === null ? null : (key ?? ((message) => message.key));
    const url = moduleUrl(module);
    const ackTimeoutMs = this.#ackTimeoutOf();
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
          room: () => this.#resume(),
          lost: (worker, event, wasStarting) => this.#lost(worker, event, wasStarting),
          startFailed: (worker, times, error) => this.#startFailed(worker, times, error),
        },
      );
    this.#workers = Array.from({ length: size }, (_, slot) => this.#makeWorker(slot));
    this.#subscriptions = this.#subscribe(size, false);
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
    const workers = this.#workers.map(({ slot, state, threadId, inFlight, done, failed, crashes, starts }) => ({
      slot,
      state,
      threadId,
      inFlight,
      done,
      failed,
      crashes,
      starts,
    }));
    const sum = (name: "inFlight" | "done" | "failed" | "crashes"): number =>
      workers.reduce((total, worker) => total + worker[name], 0);
    const waiting = this.#workers.reduce((total, { queued }) => total + queued, 0);
    return {
      size: workers.length,
      queued: this.#subscriptions.reduce((total, subscription) => total + subscription.stats().queued, waiting),
      inFlight: sum("inFlight"),
      done: sum("done") + this.#retired.done,
      failed: sum("failed") + this.#retired.failed,
      crashes: sum("crashes") + this.#retired.crashes,
      workers,
    };
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

  #subscribe(size: number, isPaused: boolean): BrokerSubscription[] {
    const keyOf = this.#keyOf;
    const made: BrokerSubscription[] = [];
    const add = (take: (message: Message) => void, filter: SubscribeOptions["filter"], isOrdered: boolean): void => {
      const { ackTimeout, maxDeliveries, backoff, maxMessages, maxBytes, overflow } = this.#options;
      const subscription = this.#broker.subscribe(this.#patterns, take, {
        ...defined({ ackTimeout, maxDeliveries, backoff, maxMessages, maxBytes, overflow, filter }),
        group: this.#group,
        ack: "manual",
        maxInFlight: (this.#concurrency + this.#prefetch) * (isOrdered ? 1 : size),
        // Each key by itself, also through redelivery, which only the broker's own key can have.
        ...(isOrdered ? { orderBy: "key" } : {}),
      });
      made.push(subscription);
      if (isPaused) subscription.pause();
    };
    if (keyOf === null) {
      add((message) => this.#takeAnywhere(message, made[0] as BrokerSubscription), undefined, false);
      return made;
    }
    for (let slot = 0; slot < size; slot += 1) {
      const isMine = (message: Message): boolean => {
        const key = keyOf(message);
        return key !== undefined && slotOfKey(key, size) === slot;
      };
      add((message) => this.#take(slot, message, made[slot] as BrokerSubscription), isMine, true);
    }
    add(
      (message) => this.#takeAnywhere(message, made[size] as BrokerSubscription),
      (message) => keyOf(message) === undefined,
      false,
    );
    return made;
  }

  #take(slot: number, message: Message, from: BrokerSubscription): void {
    const worker = this.#workers[slot] as PoolWorker;
    worker.take(message);
    if (worker.room <= 0) this.#pause(from);
  }

  #takeAnywhere(message: Message, from: BrokerSubscription): void {
    let best = this.#workers[0] as PoolWorker;
    for (const worker of this.#workers) if (rank(worker) > rank(best)) best = worker;
    best.take(message);
    if (!this.#workers.some(({ room }) => room > 0)) this.#pause(from);
  }

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
    for (const subscription of this.#subscriptions) this.#pause(subscription);
    for (const one of this.#workers) one.giveUp(error);
    this.emit("failed", error);
    return false;
  }

  #pause(subscription: BrokerSubscription): void {
    subscription.pause();
    this.#paused.add(subscription);
  }

  #resume(): void {
    if (this.#state === "failed") {
      this.#state = "open";
      this.#error = undefined;
      for (const worker of this.#workers) worker.revive();
    }
    for (const subscription of this.#paused) {
      const slot = this.#subscriptions.indexOf(subscription);
      const own = this.#keyOf === null ? undefined : this.#workers[slot];
      const hasRoom = own === undefined ? this.#workers.some(({ room }) => room > 0) : own.room > 0;
      if (!hasRoom) continue;
      this.#paused.delete(subscription);
      subscription.resume();
    }
  }

  async #resize(size: number): Promise<void> {
    if (this.#state !== "open" || size === this.#workers.length) return;
    const before = this.#subscriptions;
    for (let slot = this.#workers.length; slot < size; slot += 1) this.#workers.push(this.#makeWorker(slot));
    const after = this.#subscribe(size, true);
    await Promise.all(before.map((subscription) => subscription.drain()));
    for (const subscription of before) this.#paused.delete(subscription);
    this.#subscriptions = after;
    for (const worker of this.#workers.splice(size)) {
      this.#retired.done += worker.done;
      this.#retired.failed += worker.failed;
      this.#retired.crashes += worker.crashes;
      await worker.close();
    }
    for (const subscription of after) subscription.resume();
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
      const drained = this.#resizing.then(() => Promise.all(this.#subscriptions.map((one) => one.drain())));
      await Promise.race([drained, late]);
      cancel();
    }
    this.#state = "closed";
    await Promise.all(this.#subscriptions.map((one) => one.unsubscribe()));
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  /** What the broker's default is, where the options name none. */
  #ackTimeoutOf(): number {
    if (this.#options.ackTimeout !== undefined) return this.#options.ackTimeout;
    const probe = this.#broker.subscribe(this.#patterns, () => undefined, {});
    const { ackTimeout } = probe;
    void probe.unsubscribe();
    return ackTimeout;
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

/** Who should have the next: a thread that runs before one that has to be started, then whoever has most room. */
function rank(worker: PoolWorker): number {
  return worker.room + (worker.state === "running" ? 0.5 : 0);
}

function requireCount(option: string, value: unknown, least: number): void {
  if (Number.isInteger(value) && (value as number) >= least) return;
  throw brokerError("ERR_INVALID_OPTION", `option ${option} must be an integer from ${least}; got ${String(value)}`, {
    option,
  });
}

/** The entries that are given. */
function defined<Options extends object>(
  options: Options,
): { [Name in keyof Options]?: Exclude<Options[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
