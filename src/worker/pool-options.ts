/** What `workerPool` is given, and the checks of it: a misspelt limit would be no limit, and a wrong one found out when a worker dies. */
import { pathToFileURL } from "node:url";
import type { ResourceLimits } from "node:worker_threads";
import type { Backoff, Clock, Message, SubscribeOptions } from "../index.js";
import type { Allow } from "./allow-list.js";
import { checkAllow } from "./expose-options.js";
import { brokerError } from "./wire-error.js";

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

/** Throws `ERR_INVALID_OPTION` for what is no option, or of the wrong kind. */
export function checkPoolOptions(options: WorkerPoolOptions): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(optionNames, name)) {
      throw invalid(name, `workerPool has no option "${name}"; known are ${Object.keys(optionNames).join(", ")}`);
    }
  }
  for (const [name, least] of [
    ["size", 1],
    ["concurrency", 1],
    ["prefetch", 0],
    ["maxFailedStarts", 1],
  ] as const) {
    const count = options[name];
    if (count === undefined || (name === "maxFailedStarts" && count === Infinity)) continue;
    requireCount(name, count, least);
  }
  checkAllow(options.allow);
  const { key, restart, idleTimeout } = options as { readonly [name: string]: unknown };
  if (key !== undefined && key !== null && typeof key !== "function") {
    throw invalid("key", "option key must be a function of the message, or null");
  }
  if (restart !== undefined && typeof restart !== "function") {
    throw invalid(
      "restart",
      "option restart must be a function from the number of deaths in a row to milliseconds, such as exponentialBackoff({ initial: 100, max: 30_000 })",
    );
  }
  if (idleTimeout !== undefined && !(typeof idleTimeout === "number" && idleTimeout > 0)) {
    throw invalid("idleTimeout", "option idleTimeout must be more than 0 milliseconds");
  }
}

/** Throws `ERR_INVALID_OPTION` for what is no whole number from `least`. */
export function requireCount(option: string, value: unknown, least: number): void {
  if (Number.isInteger(value) && (value as number) >= least) return;
  throw invalid(option, `option ${option} must be an integer from ${least}; got ${String(value)}`);
}

/** The URL of a worker's module, which may be given as a path. */
export function moduleUrl(module: unknown): string {
  if (module instanceof URL) return module.href;
  if (typeof module !== "string" || module === "") {
    throw invalid(
      "module",
      'the module of a workerPool must be a URL or a path, such as new URL("./job.js", import.meta.url)',
    );
  }
  return /^[a-z]+:/i.test(module) ? module : pathToFileURL(module).href;
}

function invalid(option: string, text: string): Error {
  return brokerError("ERR_INVALID_OPTION", text, { option });
}
