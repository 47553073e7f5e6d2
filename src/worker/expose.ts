import { EventEmitter } from "node:events";
import type { Broker, WorkerLostEvent } from "../index.js";
import type { Allow } from "./allow-list.js";
import type { TimedDeadlines } from "./deadlines.js";
import { deadlinesOf, machineDeadlines } from "./deadlines.js";
import type { ExposeOptions, ExposeTarget } from "./expose-options.js";
import { checkExposeOptions, checkTarget } from "./expose-options.js";
import type { Link } from "./link.js";
import type { Exit, Peer } from "./peer.js";
import { peerOf } from "./peer.js";
import type { RemoteConsumer } from "./remote-consumer.js";
import { Session } from "./session.js";
import { brokerError } from "./wire-error.js";
import { tellWorkerLost } from "./worker-lost.js";

/** The events of an exposed broker. */
export interface ExposedBrokerEvents {
  /** The other side has gone without saying goodbye. An event of the broker, too. */
  "worker-lost": [event: WorkerLostEvent];
  /**
   * An ack timeout has passed, and the other side says nothing: its event loop hangs, or it is gone. It gets nothing more until it does;
   * where it does not within `hangTimeout`, it is lost.
   */
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

/** @internal What a pool adds to an exposed broker, which then tells the broker itself who is lost. */
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

/** Milliseconds that a silent worker has after an ack timeout to show that its event loop turns. */
const defaultHangTimeoutMs = 1_000;

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
  readonly #hangTimeoutMs: number;
  readonly #peer: Peer;
  readonly #sessions = new Set<Session>();
  /** What ends the wait for a word of each client that is silent. */
  readonly #silent = new Map<Session, () => void>();
  #past: ExposedBrokerStats = noFigures;
  #state: "open" | "closed" = "open";
  /** Of clients that are gone without a word: told when it is known what of. */
  #lost: { readonly returned: number; readonly subscriptions: number } | null = null;
  readonly #closed: Promise<void>;
  #resolveClosed: () => void = () => undefined;

  /** @internal Use `exposeBroker`. */
  constructor(broker: Broker, target: ExposeTarget, options: ExposeOptions, feed: FeedOptions | null = null) {
    super();
    this.#broker = broker;
    this.#allow = options.allow ?? {};
    this.#feed = feed;
    this.#deadlines = deadlinesOf(options.clock);
    this.#keepsTime = options.clock !== undefined;
    this.#hangTimeoutMs = options.hangTimeout ?? defaultHangTimeoutMs;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#peer = peerOf(target);
    this.#peer.start({ link: (link) => this.#open(link), exited: (exit) => this.#exited(exit) });
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
  stats(): ExposedBrokerStats {
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
        suspected: (one) => this.#suspected(one),
      },
      link,
    );
    this.#sessions.add(session);
  }

  /** A client has said goodbye, or was told to go. */
  #left(session: Session): void {
    this.#forget(session);
    if (this.#sessions.size === 0 && !this.#peer.isAwaited) this.#end(null);
  }

  /** A link has ended without a word. */
  #gone(session: Session): void {
    this.#lose(session);
    // What it died of is known in a moment, and only then told. A port of its own has nothing more to tell.
    if (!this.#peer.isAwaited && this.#sessions.size === 0) this.#tellLost("disconnect", null);
  }

  /** An ack timeout has passed without a word. */
  #suspected(session: Session): void {
    this.#silent.get(session)?.();
    this.#silent.set(
      session,
      machineDeadlines.after(this.#hangTimeoutMs, () => {
        this.#silent.delete(session);
        if (session.isSuspected && this.#sessions.has(session)) this.#hangs();
      }),
    );
    this.emit("worker-silent");
  }

  /** It says nothing, and has had its time. A thread that comes back may connect again. */
  #hangs(): void {
    const text = `the worker said nothing for ${this.#hangTimeoutMs} ms after an ack timeout, and counts as lost; connect again`;
    for (const session of [...this.#sessions]) {
      session.end(brokerError("ERR_BROKER_CLOSED", text, { hangTimeout: this.#hangTimeoutMs }));
      this.#lose(session);
    }
    this.#tellLost("hang", null);
  }

  #exited(exit: Exit): void {
    for (const session of [...this.#sessions]) {
      session.end(null);
      this.#lose(session);
    }
    if (this.#lost === null) this.#end(null);
    else this.#tellLost(exit.error === undefined ? "exit" : "error", exit);
  }

  /** A session that has ended by itself, or was ended, for want of a client. */
  #lose(session: Session): void {
    const { returned = 0, subscriptions = 0 } = this.#lost ?? {};
    const { left } = session;
    this.#lost = { returned: returned + left.deliveries, subscriptions: subscriptions + left.subscriptions };
    this.#forget(session);
  }

  #tellLost(reason: WorkerLostEvent["reason"], exit: Exit | null): void {
    const { worker, threadId, pid, mayConnectAgain } = this.#peer;
    const { returned = 0, subscriptions = 0 } = this.#lost ?? {};
    const event: WorkerLostEvent = {
      worker,
      reason,
      threadId,
      pid,
      exitCode: exit?.exitCode,
      signal: exit?.signal,
      error: exit?.error,
      returned,
      subscriptions,
      pool: undefined,
      slot: undefined,
    };
    this.#lost = null;
    if (reason !== "hang" || !mayConnectAgain) this.#end(null);
    const isHeard = this.emit("worker-lost", event);
    if (this.#feed === null) tellWorkerLost(this.#broker, event, isHeard);
  }

  #forget(session: Session): void {
    if (!this.#sessions.delete(session)) return;
    this.#silent.get(session)?.();
    this.#silent.delete(session);
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
    this.#peer.stop();
    for (const session of [...this.#sessions]) {
      session.end(error);
      this.#forget(session);
    }
    this.#resolveClosed();
  }
}

/** Who has a broker: what is exposed twice on one channel would be done twice. */
const exposedTo = new WeakMap<object, ExposedBroker>();

/**
 * Lets a worker thread, a child process, a cluster worker, or whoever has the other end of a port use this broker; it calls
 * `connectBroker`. Call it right after the worker was made, or later: whoever is first waits for the other.
 *
 * A worker that ends without closing its client, or hangs, is told by `worker-lost`, an event of the handle and of the broker: its
 * subscriptions are gone by then, and what it had not settled has returned to their groups. An error that a worker thread dies of is in
 * that event, and does not end this process; where nobody listens, it is an `error` event of the broker. Throws `ERR_INVALID_OPTION`.
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
  checkTarget(target);
  checkExposeOptions(options);
  const other = "process" in target ? target.process : target;
  if (exposedTo.get(other)?.state === "open") {
    // Both would carry out what it asks.
    const text =
      "a broker is exposed to this worker already; close that handle first, or give the other broker a port of its own";
    throw brokerError("ERR_INVALID_OPTION", text, { option: "target" });
  }
  const exposed = new ExposedBroker(broker as Broker, target, options); // what a worker says is not typed by the broker's topics
  exposedTo.set(other, exposed);
  return exposed;
}
