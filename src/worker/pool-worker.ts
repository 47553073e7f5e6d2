import process from "node:process";
import { Worker } from "node:worker_threads";
import type { ResourceLimits, WorkerOptions } from "node:worker_threads";
import type { Backoff, Broker, Clock, Message, WorkerLostEvent } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { Deadlines } from "./deadlines.js";
import { deadlinesOf } from "./deadlines.js";
import { ExposedBroker } from "./expose.js";
import { Fifo } from "./fifo.js";
import type { RemoteConsumer } from "./remote-consumer.js";
import type { PoolWorkerData } from "./serve-pool.js";
import { textOf } from "./wire-error.js";

/** What a worker of a pool is made with. */
export interface PoolWorkerSettings {
  readonly broker: Broker;
  readonly slot: number;
  readonly bootstrap: URL;
  readonly module: string;
  readonly concurrency: number;
  readonly prefetch: number;
  readonly ackTimeoutMs: number;
  readonly allow: Allow;
  readonly restart: Backoff;
  readonly idleTimeoutMs: number;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly workerData: unknown;
  readonly execArgv: string[] | undefined;
  readonly env: NodeJS.ProcessEnv | undefined;
  readonly clock: Clock | undefined;
}

/** What a worker tells its pool. */
export interface PoolWorkerHost {
  /** It may be sent more. */
  room(worker: PoolWorker): void;
  /** Its thread has died; `wasStarting`: before it took work, of which `startFailed` tells. */
  lost(worker: PoolWorker, event: WorkerLostEvent, wasStarting: boolean): void;
  /** Its thread has died before it took work, so many times in a row; false: it is not to be tried again. */
  startFailed(worker: PoolWorker, times: number, error: unknown): boolean;
}

/** Milliseconds that a silent worker has at most, after an ack timeout, to show that its event loop turns. */
const mostHangTimeoutMs = 1_000;

/**
 * idle      no thread: not needed yet, or sent away for having nothing to do
 * starting  its thread loads the module
 * running   its thread takes work
 * waiting   its thread has died; another starts after the backoff
 * failed    its threads died before they took work, and the pool has given up; `start` tries again
 * closed    over
 */
export type PoolWorkerState = "idle" | "starting" | "running" | "waiting" | "failed" | "closed";

/**
 * One place of a pool, and the thread that fills it at the moment.
 *
 * When a thread dies, what it was working on goes back to the broker as failed, so that a message which kills workers is
 * dead-lettered in the end; what only waited in it stays here for the next thread, and is not counted.
 */
export class PoolWorker {
  readonly slot: number;
  readonly #settings: PoolWorkerSettings;
  readonly #host: PoolWorkerHost;
  readonly #waiting = new Fifo<Message>();
  #state: PoolWorkerState = "idle";
  #thread: Worker | null = null;
  #exposed: ExposedBroker | null = null;
  #consumer: RemoteConsumer | null = null;
  #working: Int32Array = new Int32Array(0);
  #left: readonly (readonly [number, Message])[] = [];
  readonly #deadlines: Deadlines;
  /** What cancels the next start, the next sign that what waits is wanted, and the end of a thread that has nothing to do. */
  #stopRestart: (() => void) | null = null;
  #stopKeepAlive: (() => void) | null = null;
  #stopIdling: (() => void) | null = null;
  #failures = 0;
  #failedStarts = 0;
  #startWaiters: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  done = 0;
  failed = 0;
  crashes = 0;
  starts = 0;

  constructor(settings: PoolWorkerSettings, host: PoolWorkerHost) {
    this.slot = settings.slot;
    this.#settings = settings;
    this.#deadlines = deadlinesOf(settings.clock);
    this.#host = host;
  }

  get state(): PoolWorkerState {
    return this.#state;
  }
  get threadId(): number | undefined {
    return this.#thread?.threadId;
  }
  /** Messages that wait here for a thread. */
  get queued(): number {
    return this.#waiting.length;
  }
  /** Messages its thread has. */
  get inFlight(): number {
    return this.#consumer?.inFlight ?? 0;
  }
  /** How many messages it would take now. */
  get room(): number {
    if (this.#state === "closed") return 0;
    const { concurrency, prefetch } = this.#settings;
    const credits = this.#consumer === null ? concurrency + prefetch : this.#consumer.credits;
    return credits - this.#waiting.length;
  }

  /** Starts its thread. Resolves once that takes work, rejects where it dies before. */
  start(): Promise<void> {
    if (this.#state === "running") return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#startWaiters.push({ resolve, reject });
      if (this.#state === "failed") this.#failedStarts = 0;
      if (this.#state === "idle" || this.#state === "failed") this.#spawn();
    });
  }

  /** The pool has given up: no more threads, until `start`. What waits here goes on waiting. */
  giveUp(error: unknown): void {
    if (this.#state !== "waiting" && this.#state !== "idle") return;
    this.#stopRestart?.();
    this.#stopRestart = null;
    this.#state = "failed";
    for (const { reject } of this.#startWaiters.splice(0)) reject(error);
  }

  /** Another worker of the pool has started: this one may, too. */
  revive(): void {
    if (this.#state !== "failed") return;
    this.#failedStarts = 0;
    this.#state = "idle";
    if (this.#waiting.length > 0) this.#spawn();
  }

  take(message: Message): void {
    this.#waiting.push(message);
    if (this.#state === "idle") this.#spawn();
    this.#pump();
  }

  /** Ends its thread; what it had goes back to the broker. */
  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    for (const stop of [this.#stopRestart, this.#stopKeepAlive, this.#stopIdling]) stop?.();
    for (const { reject } of this.#startWaiters.splice(0)) reject(new Error("the pool is closed"));
    for (const message of this.#waiting.clear()) void message.nack({ delay: 0, reason: "the pool was closed" });
    await this.#exposed?.close();
    for (const [, message] of this.#left) void message.nack({ delay: 0, reason: "the pool was closed" });
    await this.#thread?.terminate();
    this.#thread = null;
  }

  #spawn(): void {
    const {
      broker,
      bootstrap,
      module,
      concurrency,
      prefetch,
      allow,
      resourceLimits,
      workerData,
      execArgv,
      env,
      clock,
    } = this.#settings;
    this.#state = "starting";
    this.starts += 1;
    this.#left = [];
    this.#working = new Int32Array(new SharedArrayBuffer(4 * concurrency));
    const data: PoolWorkerData = {
      inprocBrokerPool: { module, slot: this.slot, concurrency, prefetch, working: this.#working, workerData },
    };
    const thread = startThread(bootstrap, {
      workerData: data,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
      ...(execArgv === undefined ? {} : { execArgv }),
      ...(env === undefined ? {} : { env }),
    });
    this.#thread = thread;
    const exposed = new ExposedBroker(
      broker,
      thread,
      {
        allow,
        hangTimeout: Math.min(mostHangTimeoutMs, this.#settings.ackTimeoutMs),
        ...(clock === undefined ? {} : { clock }),
      },
      {
        feed: (consumer) => this.#begin(consumer),
        feedAckTimeoutMs: this.#settings.ackTimeoutMs,
      },
    );
    this.#exposed = exposed;
    const { threadId } = thread;
    let lost: WorkerLostEvent | null = null;
    let error: unknown;
    exposed.on("worker-lost", (event) => {
      lost ??= event;
      // What it worked on has timed out already.
      if (event.reason === "hang" && this.#thread === thread) void thread.terminate();
    });
    thread.on("error", (thrown: unknown) => {
      error = thrown;
    });
    thread.once("exit", (exitCode) => {
      // After the handle's own listener, which tells what was lost.
      if (this.#thread === thread) this.#exited(lost ?? neverConnected(threadId, exitCode, error));
    });
    this.#hold();
  }

  #begin(consumer: RemoteConsumer): void {
    this.#consumer = consumer;
    this.#state = "running";
    this.#failedStarts = 0;
    consumer.onRoom = () => {
      this.#pump();
      this.#host.room(this);
    };
    consumer.onEnd = (left) => {
      this.#left = left;
      this.#consumer = null;
    };
    consumer.onSettled = (_message, decision) => {
      if (decision === "ack") {
        this.done += 1;
        this.#failures = 0;
      } else if (decision !== "extend") this.failed += 1;
      this.#hold();
    };
    for (const { resolve } of this.#startWaiters.splice(0)) resolve();
    this.#pump();
    this.#host.room(this);
    this.#hold();
  }

  #pump(): void {
    const consumer = this.#consumer;
    while (consumer !== null && consumer.credits > 0) {
      const message = this.#waiting.shift();
      if (message === undefined) break;
      consumer.take(message);
    }
    this.#hold();
    this.#keepWaiting();
  }

  /** The process lives for as long as there is work; a thread without any may be sent away. */
  #hold(): void {
    const isBusy = this.#waiting.length > 0 || this.inFlight > 0 || this.#startWaiters.length > 0;
    if (isBusy) this.#thread?.ref();
    else this.#thread?.unref();
    if (isBusy) {
      this.#stopIdling?.();
      this.#stopIdling = null;
    } else if (this.#stopIdling === null && this.#state === "running" && this.#settings.idleTimeoutMs < Infinity) {
      this.#stopIdling = this.#deadlines.after(this.#settings.idleTimeoutMs, () => void this.#sendAway());
    }
  }

  async #sendAway(): Promise<void> {
    this.#stopIdling = null;
    const thread = this.#thread;
    if (this.#state !== "running" || this.inFlight > 0 || thread === null) return;
    this.#state = "idle";
    this.#thread = null;
    await this.#exposed?.close();
    await thread.terminate();
  }

  #exited(event: WorkerLostEvent): void {
    if (this.#state === "closed" || this.#state === "idle") return;
    const wasStarting = this.#state === "starting";
    this.#thread = null;
    this.#exposed = null;
    this.#consumer = null;
    this.#stopIdling?.();
    this.#stopIdling = null;
    this.crashes += 1;
    this.#failures += 1;
    const reason = `its worker died: ${deathOf(event)}`;
    const culprits = new Set(this.#working);
    const others = this.#waiting.clear();
    for (const [number, message] of this.#left) {
      if (culprits.has(number)) {
        this.failed += 1;
        void message.nack({ reason });
      } else this.#waiting.push(message);
    }
    for (const message of others) this.#waiting.push(message);
    this.#left = [];
    this.#state = "waiting";
    this.#keepWaiting();
    this.#host.lost(this, event, wasStarting);
    if (wasStarting && !this.#startFailed(event)) {
      if ((this.#state as PoolWorkerState) === "waiting") this.#state = "failed";
      return;
    }
    if ((this.#state as PoolWorkerState) === "closed") return;
    const waitMs = this.#settings.restart(this.#failures, Math.random);
    const startAgain = (): void => {
      this.#stopRestart = null;
      this.#spawn();
    };
    this.#stopRestart = this.#deadlines.after(waitMs, startAgain, true);
  }

  /** Its thread has died before it took work. Returns whether to try again. */
  #startFailed({ error: thrown, exitCode }: WorkerLostEvent): boolean {
    const error = thrown ?? new Error(`the worker ended with exit code ${exitCode} before it took work`);
    this.#failedStarts += 1;
    for (const { reject } of this.#startWaiters.splice(0)) reject(error);
    return this.#host.startFailed(this, this.#failedStarts, error);
  }

  /** What no handler has begun with is still wanted: its time starts again, well before it is over. */
  #keepWaiting(): void {
    const { ackTimeoutMs } = this.#settings;
    if (this.#stopKeepAlive !== null || (this.#waiting.length === 0 && this.inFlight === 0)) return;
    this.#stopKeepAlive = this.#deadlines.after(ackTimeoutMs / 3, () => {
      this.#stopKeepAlive = null;
      for (const message of this.#waiting) void message.extend(ackTimeoutMs);
      this.#consumer?.keepAllBut(new Set(this.#working));
      this.#keepWaiting();
    });
  }
}

function deathOf({ reason, error, exitCode }: WorkerLostEvent): string {
  if (reason === "hang") return "it hung";
  return error === undefined ? `exit code ${exitCode}` : textOf(error);
}

/** How a thread was lost that died before it had the broker. */
function neverConnected(threadId: number, exitCode: number, error: unknown): WorkerLostEvent {
  return {
    worker: "thread",
    reason: error === undefined ? "exit" : "error",
    threadId,
    pid: undefined,
    exitCode,
    signal: undefined,
    error,
    returned: 0,
    subscriptions: 0,
    pool: undefined,
    slot: undefined,
  };
}

/**
 * Starts a thread, which inherits the program's arguments; but not one that speaks of a program that is no file, since a thread's
 * always is. Those of V8 hold for the whole process, and Node.js refuses them where arguments are named; then none are.
 */
function startThread(module: URL, options: WorkerOptions): Worker {
  const given = process.execArgv;
  const execArgv = given.filter((argument) => !argument.startsWith("--input-type"));
  if (options.execArgv !== undefined || execArgv.length === given.length) return new Worker(module, options);
  try {
    return new Worker(module, { ...options, execArgv });
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ERR_WORKER_INVALID_EXEC_ARGV") throw error;
    return new Worker(module, { ...options, execArgv: [] });
  }
}
