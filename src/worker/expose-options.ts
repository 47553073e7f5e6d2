/** What `exposeBroker` is given, and the checks of it: a misspelt limit would be no limit. */
import type { ChildProcess } from "node:child_process";
import type { MessagePort, Worker } from "node:worker_threads";
import type { Clock } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { IpcChannel } from "./process-link.js";
import { brokerError } from "./wire-error.js";

/**
 * What can be given a broker: a worker thread, a port that somebody else has the other end of, a child process, a cluster worker, or
 * any other end of an IPC channel (`process` in a child whose parent is to use the child's broker).
 */
export type ExposeTarget =
  | Worker
  | MessagePort
  | ChildProcess
  | IpcChannel
  | {
      /** The child process of a cluster worker. */
      readonly process: ChildProcess;
    };

/** How to expose a broker. */
export interface ExposeOptions {
  /** What the other side may do; default everything. */
  readonly allow?: Allow;
  /**
   * What counts the time that a client waits (for a `fetch`, in `close`, between its signs of life), over here: for a test that moves the
   * broker's clock, `t.clock`. Default the machine's, over there.
   */
  readonly clock?: Clock;
  /**
   * Milliseconds that the other side may say nothing after an ack timeout has passed, until it counts as lost (`worker-lost`, reason
   * `hang`) and its subscriptions go; default 1,000. Infinity: never. Always the machine's time.
   */
  readonly hangTimeout?: number;
}

const optionNames: Readonly<Record<keyof ExposeOptions, true>> = { allow: true, clock: true, hangTimeout: true };

/** Throws `ERR_INVALID_OPTION` for what no broker can be exposed to. */
export function checkTarget(target: unknown): void {
  if ((typeof target === "object" || typeof target === "function") && target !== null) return;
  throw brokerError(
    "ERR_INVALID_OPTION",
    `exposeBroker is given a Worker, a MessagePort, a child process or a cluster worker; got ${String(target)}`,
    { option: "target" },
  );
}

/** Throws `ERR_INVALID_OPTION` for what is no option, or of the wrong kind. */
export function checkExposeOptions(options: ExposeOptions): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(optionNames, name)) {
      const text = `exposeBroker has no option "${name}"; known are ${Object.keys(optionNames).join(", ")}`;
      throw brokerError("ERR_INVALID_OPTION", text, { option: name });
    }
  }
  checkAllow(options.allow);
  const { hangTimeout } = options as { readonly hangTimeout?: unknown };
  if (hangTimeout !== undefined && !(typeof hangTimeout === "number" && hangTimeout > 0)) {
    throw invalid("hangTimeout", "more than 0 milliseconds, or Infinity");
  }
}

/** The same for the option `allow`, of `exposeBroker` and of a pool. */
export function checkAllow(allow: unknown): void {
  if (allow === undefined) return;
  if (typeof allow !== "object" || allow === null || Array.isArray(allow)) {
    throw invalid("allow", 'an object, such as { publish: ["images.done"], subscribe: ["images.*"] }');
  }
  for (const [name, patterns] of Object.entries(allow) as [string, unknown][]) {
    if (name !== "publish" && name !== "subscribe") throw invalid(`allow.${name}`, "publish or subscribe");
    if (patterns === undefined) continue;
    if (!Array.isArray(patterns) || !patterns.every((pattern) => typeof pattern === "string")) {
      throw invalid(`allow.${name}`, "an array of patterns");
    }
  }
}

function invalid(option: string, wanted: string): Error {
  return brokerError("ERR_INVALID_OPTION", `option ${option} must be ${wanted}`, { option });
}
