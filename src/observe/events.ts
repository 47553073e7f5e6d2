import { EventEmitter } from "eventemitter3";
import type { DeadLetter } from "../delivery/dead-letter.js";
import type { DropReason } from "../dispatch/queue-facts.js";
import type { Message } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import { brokerError, errorText, quote } from "../errors.js";
import type { EventLoop } from "../platform/event-loop.js";

/**
 * Where a failure comes from that has nobody else to go to: a handler, filter, plugin or event listener that threw, a pool's worker that could
 * not start.
 */
export interface ErrorContext {
  /** What threw it. */
  readonly during:
    "handler" | "filter" | "backoff" | "plugin" | "listener" | "delayed-delivery" | "dead-letter" | "store" | "worker";
  /** Whose handler or filter. */
  readonly subscription?: string;
  /** What it was working on. */
  readonly message?: Message;
}

/** A subscription does not keep up: its queue is at its bound. Told at most once a second for a subscription. */
export interface SlowConsumerEvent {
  /** Whose queue. */
  readonly subscription: string;
  /** Messages in it. */
  readonly queued: number;
  /** Bytes in it. */
  readonly queuedBytes: number;
  /** Messages that found the queue full since the last such event. */
  readonly occurrences: number;
}

/** A message will not reach a subscription that it matched. */
export interface DropEvent {
  /** What is dropped. */
  readonly message: Message;
  /** Who will not get it. */
  readonly subscription: string;
  /** Which policy or end of which part. */
  readonly reason: DropReason;
}

/** A message's time to live has passed before it was handed out. `subscription` is undefined where it was not routed yet. */
export interface ExpireEvent {
  /** What expired. */
  readonly message: Message;
  /** Whose queue it waited in. */
  readonly subscription: string | undefined;
}

/** A message goes back, to be delivered again. */
export interface RedeliverEvent {
  /** The delivery that failed. */
  readonly message: Message;
  /** Who gets it again. */
  readonly subscription: string;
  /** The hand-over that failed: 1 for the first. */
  readonly deliveryCount: number;
  /** Milliseconds until it is delivered again. */
  readonly delay: number;
  /** The nack's reason, the handler's error text, or `ack timeout`. */
  readonly reason: string | undefined;
}

/** A worker thread or process that used the broker is gone without a goodbye, or says nothing any more. */
export interface WorkerLostEvent {
  /** What it was: a worker thread, a child process (or cluster worker), or whoever had the other end of a port or channel. */
  readonly worker: "thread" | "process" | "port";
  /**
   * `exit`: its thread or process has ended. `error`: by an error. `disconnect`: its port or channel was closed. `hang`: an ack timeout has
   * passed, and it has said nothing since for as long as it may.
   */
  readonly reason: "exit" | "error" | "disconnect" | "hang";
  /** The thread's id; undefined where it is none. */
  readonly threadId: number | undefined;
  /** The process's id; undefined where it is none. */
  readonly pid: number | undefined;
  /** The thread's or process's; undefined where that is not known. */
  readonly exitCode: number | undefined;
  /** What a process was killed by, such as `SIGKILL`. */
  readonly signal: string | undefined;
  /** What a worker thread died of. */
  readonly error: unknown;
  /** Deliveries it had not settled, which have returned to their groups; of a pool's, to its place in the pool where they only waited. */
  readonly returned: number;
  /** Subscriptions of its own that have ended. */
  readonly subscriptions: number;
  /** The group of the pool it belonged to; undefined where it is none of a pool's. */
  readonly pool: string | undefined;
  /** Whose place in the pool it had, from 0; undefined where it is none of a pool's. */
  readonly slot: number | undefined;
}

/** The events of a broker, by name. Listeners are called synchronously and should return at once. */
export interface BrokerEvents {
  /** A handler, filter, plugin or listener threw. First what was thrown, an Error most likely; then where. */
  error: [error: unknown, context: ErrorContext];
  /** A queue is at its bound. */
  "slow-consumer": [event: SlowConsumerEvent];
  /** A message will not reach a subscription that it matched. */
  drop: [event: DropEvent];
  /** A message's time to live has passed. */
  expire: [event: ExpireEvent];
  /** A message was given up on and kept. */
  "dead-letter": [letter: DeadLetter];
  /** A message goes back, to be delivered again. */
  redeliver: [event: RedeliverEvent];
  /** A worker that the broker was exposed to, or one of a pool, is gone: `inproc-broker/worker`. */
  "worker-lost": [event: WorkerLostEvent];
  /**
   * The store is open, and what it had is there again; never told in memory. A listener that comes later is told at once.
   * The report is `broker.recoveryReport` too.
   */
  recovered: [report: object];
  /** The broker is closed. */
  closed: [];
}

/** The name of an event. */
export type BrokerEventName = keyof BrokerEvents;
/** What is called with an event. */
export type BrokerListener<Name extends BrokerEventName> = (...args: BrokerEvents[Name]) => void;

/** Milliseconds between two warnings about errors nobody listens for. */
const warningIntervalMs = 1_000;

/**
 * The broker's events. A listener that throws hurts nobody: what it threw becomes an `error` event. Errors that nobody
 * listens for become process warnings, one a second at most, so that they are neither lost nor a storm.
 */
export class Events {
  readonly #emitter = new EventEmitter<BrokerEvents>();
  readonly #loop: EventLoop;
  /** Each listener within a guard, so that one that throws does not keep the event from those after it. */
  readonly #guards = new WeakMap<object, (...args: never[]) => void>();
  /** Those of `error` have their own: one function may listen to both, and a failing error listener must not be told of that. */
  readonly #errorGuards = new WeakMap<object, (...args: never[]) => void>();
  /** Told once in a broker's life; kept for those who ask to hear it afterwards. */
  #recovered: BrokerEvents["recovered"] | null = null;
  #warnedAt = -Infinity;
  #unwarned = 0;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    const guarded = this.#guarded(name, listener);
    this.#emitter.on(name, guarded);
    if (name === "recovered" && this.#recovered !== null) this.#tellLate(guarded as BrokerListener<"recovered">);
  }

  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    const guarded = this.#guarded(name, listener);
    this.#emitter.once(name, guarded);
    if (name === "recovered" && this.#recovered !== null) this.#tellLate(guarded as BrokerListener<"recovered">);
  }

  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    const guarded = this.#guardsOf(name).get(listener);
    if (guarded !== undefined) this.#emitter.off(name, guarded as never);
  }

  has(name: BrokerEventName): boolean {
    return this.#emitter.listenerCount(name) > 0;
  }

  emit<Name extends BrokerEventName>(name: Name, ...args: BrokerEvents[Name]): void {
    const count = this.#emitter.listenerCount(name);
    if (name === "recovered") this.#recovered = args as BrokerEvents["recovered"];
    if (count === 0) {
      if (name === "error") this.#warn(...(args as BrokerEvents["error"]));
      return;
    }
    (this.#emitter.emit as (name: Name, ...args: BrokerEvents[Name]) => boolean).call(this.#emitter, name, ...args);
  }

  clear(): void {
    this.#emitter.removeAllListeners();
  }

  /** Who opens the store by `await InProcBroker.open` can listen only when it is open: it has happened, and is told now. */
  #tellLate(listener: BrokerListener<"recovered">): void {
    queueMicrotask(() => {
      const isThere = this.#emitter.listeners("recovered").includes(listener);
      if (!isThere || this.#recovered === null) return;
      listener(...this.#recovered);
      // The next one will never come: there is one for each broker.
      this.#emitter.off("recovered", listener);
    });
  }

  #guarded<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): BrokerListener<Name> {
    if (typeof listener !== "function") {
      throw brokerError(
        "ERR_INVALID_OPTION",
        `a listener for ${quote(name)} must be a function; got ${quote(listener)}`,
      );
    }
    const guards = this.#guardsOf(name);
    const known = guards.get(listener);
    if (known !== undefined) return known as BrokerListener<Name>;
    // Typed to return nothing, but an asynchronous function is a listener too.
    const call = listener as (...args: BrokerEvents[Name]) => unknown;
    const guarded: BrokerListener<Name> = (...args) => {
      try {
        isLate(call(...args), (error) => this.#listenerFailed(name, error));
      } catch (error) {
        this.#listenerFailed(name, error);
      }
    };
    guards.set(listener, guarded as (...args: never[]) => void);
    return guarded;
  }

  #guardsOf(name: BrokerEventName): WeakMap<object, (...args: never[]) => void> {
    return name === "error" ? this.#errorGuards : this.#guards;
  }

  #listenerFailed(name: BrokerEventName, error: unknown): void {
    // A failing error listener cannot be told of its own failure.
    if (name === "error") this.#warn(error, { during: "listener" });
    else this.emit("error", error, { during: "listener" });
  }

  #warn(error: unknown, context: ErrorContext): void {
    const now = this.#loop.elapsed();
    if (now - this.#warnedAt < warningIntervalMs) {
      this.#unwarned += 1;
      return;
    }
    this.#warnedAt = now;
    const more = this.#unwarned === 0 ? "" : ` (and ${this.#unwarned} more since the last warning)`;
    this.#unwarned = 0;
    const where = context.subscription === undefined ? "" : ` of ${context.subscription}`;
    const text = error instanceof Error ? (error.stack ?? error.message) : errorText(error);
    this.#loop.warn(
      `a ${context.during}${where} threw, and nobody listens for the broker's "error" event${more}: ${text}`,
      "INPROC_BROKER_UNHEARD_ERROR",
    );
  }
}
