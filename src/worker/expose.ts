import { ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { MessageChannel, MessagePort, Worker } from "node:worker_threads";
import type { Broker, Clock } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { TimedDeadlines } from "./deadlines.js";
import { deadlinesOf } from "./deadlines.js";
import type { Link } from "./link.js";
import { MessagePortLink } from "./message-port-link.js";
import type { IpcChannel } from "./process-link.js";
import { ProcessLink } from "./process-link.js";
import type { Greeting } from "./protocol.js";
import type { RemoteConsumer } from "./remote-consumer.js";
import { Session } from "./session.js";
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
}

/** How a worker was lost. */
export interface WorkerLostEvent {
  /** `exit`: its thread or process has ended. `error`: by an error. `disconnect`: its port or channel was closed. */
  readonly reason: "exit" | "error" | "disconnect";
  /** The thread's or process's; undefined where that is not known. */
  readonly exitCode: number | undefined;
  /** What a worker thread died of. */
  readonly error: unknown;
  /** Deliveries it had not settled, which have returned to their groups. */
  readonly returned: number;
}

/** The events of an exposed broker. */
export interface ExposedBrokerEvents {
  /** The other side has gone without saying goodbye. */
  "worker-lost": [event: WorkerLostEvent];
  /** An ack timeout has passed, and the other side says nothing: its event loop hangs, or it is gone. It gets nothing more until it does. */
  "worker-silent": [];
}

/** Figures of an exposed broker. */
export interface ExposedBrokerStats {
  /** Clients connected. */
  readonly clients: number;
  /** Their subscriptions. */
  readonly subscriptions: number;
  /** Deliveries and requests that the other side has and nobody has decided. */
  readonly inFlight: number;
  /** Deliveries sent, ever. */
  readonly sent: number;
  /** Messages they were sent in. */
  readonly batches: number;
  /** Events that the other side was too slow for. */
  readonly eventsDropped: number;
}

/** @internal What a pool adds to an exposed broker. */
export interface FeedOptions {
  readonly feed: (consumer: RemoteConsumer) => void;
  readonly feedAckTimeoutMs: number;
}

const noFigures: ExposedBrokerStats = {
  clients: 0,
  subscriptions: 0,
  inFlight: 0,
  sent: 0,
  batches: 0,
  eventsDropped: 0,
};

/**
 * A broker that another thread or process may use: what `exposeBroker` returns.
 *
 * open    clients may connect
 * closed  by `close()`, by the end of the broker, or because the other side is gone; nothing of it is left
 */
export class ExposedBroker extends EventEmitter<ExposedBrokerEvents> implements AsyncDisposable {
  readonly #broker: Broker;
  readonly #allow: Allow;
  readonly #feed: FeedOptions | null;
  readonly #deadlines: TimedDeadlines;
  readonly #keepsTime: boolean;
  readonly #sessions = new Set<Session>();
  readonly #known = new Set<string>();
  #past: ExposedBrokerStats = noFigures;
  #state: "open" | "closed" = "open";
  #stop: () => void = () => undefined;
  /** Of a worker that is gone: told when it is known what of. */
  #returned = 0;
  #isLost = false;
  #awaitsExit = false;
  #error: unknown = undefined;
  readonly #closed: Promise<void>;
  #resolveClosed: () => void = () => undefined;

  /** @internal Use `exposeBroker`. */
  constructor(broker: Broker, target: ExposeTarget, options: ExposeOptions, feed: FeedOptions | null = null) {
    super();
    this.#broker = broker;
    this.#allow = checkAllow(options.allow);
    this.#feed = feed;
    this.#deadlines = deadlinesOf(options.clock);
    this.#keepsTime = options.clock !== undefined;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    if (target instanceof Worker) this.#exposeToThread(target);
    else if (target instanceof MessagePort) this.#open(new MessagePortLink(target));
    else if ("process" in target) this.#exposeToProcess(target.process);
    else if (target instanceof ChildProcess) this.#exposeToProcess(target);
    else this.#open(new ProcessLink(target));
  }

  /** `"open"`, then `"closed"`. */
  get state(): "open" | "closed" {
    return this.#state;
  }

  /** Resolves once nothing of it is left. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** Figures of this instant, those of clients that have gone included where they only grow. */
  get stats(): ExposedBrokerStats {
    let { clients, subscriptions, inFlight, sent, batches, eventsDropped } = this.#past;
    for (const { figures } of this.#sessions) {
      clients += 1;
      subscriptions += figures.subscriptions;
      inFlight += figures.inFlight;
      sent += figures.sent;
      batches += figures.batches;
      eventsDropped += figures.eventsDropped;
    }
    return { clients, subscriptions, inFlight, sent, batches, eventsDropped };
  }

  /**
   * Ends it: clients are told and closed, their subscriptions go, and what they had not settled returns to their groups. The worker
   * itself lives on. A repeat does nothing.
   */
  async close(): Promise<void> {
    this.#end(
      brokerError("ERR_BROKER_CLOSED", "the broker is no longer exposed to this worker; connect again when it is"),
    );
  }

  /** `close()`: what `await using` calls. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal True where a client has said nothing since an ack timeout. */
  get isSilent(): boolean {
    for (const session of this.#sessions) if (session.isSuspected) return true;
    return false;
  }

  #exposeToThread(worker: Worker): void {
    const onMessage = (message: unknown): void => {
      const greeting = message as Partial<Greeting> | null;
      if (greeting?.inprocBroker !== "connect" || greeting.client === undefined) return;
      if (this.#known.has(greeting.client)) return;
      this.#known.add(greeting.client);
      const { port1, port2 } = new MessageChannel();
      this.#open(new MessagePortLink(port1));
      const answer: Greeting = { inprocBroker: "port", client: greeting.client, port: port2 };
      worker.postMessage(answer, [port2]);
    };
    const onError = (error: unknown): void => {
      this.#error = error;
    };
    const onExit = (exitCode: number): void => {
      this.#awaitsExit = false;
      this.#exited(exitCode);
    };
    this.#awaitsExit = true;
    worker.on("message", onMessage);
    worker.on("error", onError);
    worker.on("exit", onExit);
    this.#stop = () => {
      worker.off("message", onMessage);
      worker.off("error", onError);
      worker.off("exit", onExit);
    };
    const greeting: Greeting = { inprocBroker: "exposed" };
    worker.postMessage(greeting);
  }

  #exposeToProcess(child: ChildProcess): void {
    const onExit = (exitCode: number | null): void => {
      this.#awaitsExit = false;
      this.#exited(exitCode ?? undefined);
    };
    this.#awaitsExit = true;
    child.on("exit", onExit);
    this.#stop = () => void child.off("exit", onExit);
    this.#open(new ProcessLink(child));
  }

  #open(link: Link): void {
    const session: Session = new Session(
      {
        broker: this.#broker,
        allow: this.#allow,
        feed: this.#feed?.feed ?? null,
        feedAckTimeoutMs: this.#feed?.feedAckTimeoutMs ?? Infinity,
        deadlines: this.#deadlines,
        keepsTime: this.#keepsTime,
        left: (one) => this.#left(one),
        gone: (one) => this.#gone(one),
        suspected: () => this.emit("worker-silent"),
      },
      link,
    );
    this.#sessions.add(session);
  }

  /** A client has said goodbye, or was told to go. */
  #left(session: Session): void {
    this.#forget(session);
    if (this.#sessions.size === 0 && !this.#awaitsExit) this.#end(null);
  }

  /** A link has ended without a word. */
  #gone(session: Session): void {
    this.#returned += session.returned;
    this.#isLost = true;
    this.#forget(session);
    // What it died of is known in a moment, and only then told. A port of its own has nothing more to tell.
    if (!this.#awaitsExit && this.#sessions.size === 0) this.#tellLost("disconnect", undefined);
  }

  #exited(exitCode: number | undefined): void {
    for (const session of [...this.#sessions]) {
      this.#isLost = true;
      this.#returned += session.end(null);
      this.#forget(session);
    }
    if (this.#isLost) this.#tellLost(this.#error === undefined ? "exit" : "error", exitCode);
    else this.#end(null);
  }

  #tellLost(reason: WorkerLostEvent["reason"], exitCode: number | undefined): void {
    const event: WorkerLostEvent = { reason, exitCode, error: this.#error, returned: this.#returned };
    this.#end(null);
    this.emit("worker-lost", event);
  }

  #forget(session: Session): void {
    if (!this.#sessions.delete(session)) return;
    const { sent, batches, eventsDropped } = session.figures;
    this.#past = {
      ...this.#past,
      sent: this.#past.sent + sent,
      batches: this.#past.batches + batches,
      eventsDropped: this.#past.eventsDropped + eventsDropped,
    };
  }

  #end(error: Error | null): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#stop();
    for (const session of [...this.#sessions]) {
      session.end(error);
      this.#forget(session);
    }
    this.#resolveClosed();
  }
}

/**
 * Lets a worker thread, a child process, a cluster worker, or whoever has the other end of a port use this broker; it calls
 * `connectBroker`. Call it right after the worker was made, or later: whoever is first waits for the other.
 *
 * A worker that ends without closing its client is told by `worker-lost`: its subscriptions are gone by then, and what it had
 * not settled has returned to their groups. An error that a worker thread dies of is in that event, and does not end this
 * process. Throws `ERR_INVALID_OPTION`.
 *
 * A child process needs `serialization: "advanced"`.
 *
 * @example
 * ```ts
 * import { Worker } from "node:worker_threads";
 * import { exposeBroker } from "inproc-broker/worker";
 *
 * const worker = new Worker(new URL("./resize.js", import.meta.url));
 * const handle = exposeBroker(broker, worker, { allow: { publish: ["images.done"], subscribe: ["images.*"] } });
 * handle.on("worker-lost", ({ reason, returned }) => console.error(reason, returned));
 * ```
 */
export function exposeBroker<Topics>(
  broker: Broker | Broker<Topics>,
  target: ExposeTarget,
  options: ExposeOptions = {},
): ExposedBroker {
  const given: unknown = target;
  if ((typeof given !== "object" && typeof given !== "function") || given === null) {
    throw brokerError(
      "ERR_INVALID_OPTION",
      `exposeBroker is given a Worker, a MessagePort, a child process or a cluster worker; got ${String(given)}`,
      { option: "target" },
    );
  }
  return new ExposedBroker(broker as Broker, target, options); // what a worker says is not typed by the broker's topics
}

function checkAllow(allow: Allow | undefined): Allow {
  if (allow === undefined) return {};
  for (const [name, patterns] of Object.entries(allow) as [string, unknown][]) {
    if (name !== "publish" && name !== "subscribe") throw invalidAllow(`allow.${name}`, "publish or subscribe");
    if (patterns === undefined) continue;
    if (!Array.isArray(patterns) || !patterns.every((pattern) => typeof pattern === "string")) {
      throw invalidAllow(`allow.${name}`, "an array of patterns");
    }
  }
  return allow;
}

function invalidAllow(option: string, wanted: string): Error {
  return brokerError("ERR_INVALID_OPTION", `option ${option} must be ${wanted}`, { option });
}
