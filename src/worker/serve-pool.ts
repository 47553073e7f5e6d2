import { parentPort, workerData } from "node:worker_threads";
import type { Message } from "../index.js";
import { connectBroker } from "./connect.js";
import type { RemoteBroker } from "./remote-broker.js";
import { brokerError } from "./wire-error.js";
import type { RemoteMessage } from "./wire-message.js";
import { WorkingPlaces } from "./working-places.js";

/** What a pool's handler gets besides the message. */
export interface PoolContext {
  /** The broker of the program that made the pool, within the pool's `allow`. */
  readonly broker: RemoteBroker;
  /** The pool's option of that name. */
  readonly workerData: unknown;
  /** Which worker of the pool this is, from 0. */
  readonly slot: number;
}

/** What a worker module exports: resolves for success, throws (or rejects) for failure. */
export type PoolHandler = (message: Message, context: PoolContext) => unknown;

/** What a pool gives its workers to begin with. */
export interface PoolWorkerData {
  readonly inprocBrokerPool: {
    readonly module: string;
    readonly slot: number;
    readonly concurrency: number;
    readonly prefetch: number;
    /** Which deliveries handlers are working on: see `WorkingPlaces`. */
    readonly working: Int32Array;
    readonly workerData: unknown;
  };
}

/**
 * Works for the `workerPool` that started this thread: with `handler`, or with the default export of the pool's module.
 *
 * Only for a script of your own in the pool's option `bootstrap`, as a bundled program needs one. Throws `ERR_INVALID_OPTION`
 * in a thread that no pool started, and where the module has no handler.
 *
 * @example
 * ```ts
 * import { servePool } from "inproc-broker/worker";
 *
 * await servePool(async (msg) => resize(msg.data));
 * ```
 */
export async function servePool(handler?: PoolHandler): Promise<void> {
  const data = (workerData as Partial<PoolWorkerData> | null)?.inprocBrokerPool;
  if (parentPort === null || data === undefined) {
    throw brokerError("ERR_INVALID_OPTION", "servePool runs in a thread that a workerPool started");
  }
  const broker = connectBroker();
  const work = handler ?? handlerOf(await import(data.module), data.module);
  const context: PoolContext = { broker, workerData: data.workerData, slot: data.slot };
  const places = new WorkingPlaces(data.working);
  const run = (message: Message): unknown => {
    const leave = places.enter(message as RemoteMessage);
    let result: unknown;
    try {
      result = work(message, context);
    } catch (error) {
      leave();
      throw error;
    }
    if (!(result instanceof Promise)) {
      leave();
      return result;
    }
    return result.finally(leave);
  };
  await broker.feed(run, data.concurrency, data.prefetch).ready;
}

/** The handler of a module: an ES module's default export, `module.exports`, or what a compiler made of a default export. */
function handlerOf(module: unknown, url: string): PoolHandler {
  let found: unknown = module;
  for (let depth = 0; depth < 3; depth += 1) {
    if (typeof found === "function") return found as PoolHandler;
    found = (found as { default?: unknown } | null)?.default;
  }
  throw brokerError("ERR_INVALID_OPTION", `${url} has no handler; export default a function of a message`, {
    module: url,
  });
}
