import type { PoolWorker, PoolWorkerState } from "./pool-worker.js";

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

/** What a pool that is smaller now has done with the workers it let go. */
export interface RetiredFigures {
  readonly done: number;
  readonly failed: number;
  readonly crashes: number;
}

/** The figures of a pool. `queued`: messages that wait in the broker. */
export function poolStats(all: readonly PoolWorker[], retired: RetiredFigures, queued: number): WorkerPoolStats {
  const workers = all.map(({ slot, state, threadId, inFlight, done, failed, crashes, starts }) => ({
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
  return {
    size: workers.length,
    queued: all.reduce((total, worker) => total + worker.queued, queued),
    inFlight: sum("inFlight"),
    done: sum("done") + retired.done,
    failed: sum("failed") + retired.failed,
    crashes: sum("crashes") + retired.crashes,
    workers,
  };
}
