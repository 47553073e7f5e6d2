import type { Transferable } from "node:worker_threads";
import type {
  AnyTopics,
  BatchEntry,
  Broker,
  BrokerEventName,
  BrokerListener,
  CloseOptions,
  CloseResult,
  DataOf,
  ErrorContext,
  Handler,
  Message,
  MessageOf,
  NackOptions,
  Receipt,
  ReplyOptions,
  RequestManyOptions,
  RequestOptions,
  SubscribeOptions,
  TopicName,
  WorkerLostEvent,
} from "../index.js";
import { BrokerError } from "../index.js";
import { ClientCalls } from "./client-calls.js";
import { ClientDeadlines } from "./client-deadlines.js";
import { ClientEvents } from "./client-events.js";
import { finishWork, sayGoodbye } from "./client-goodbye.js";
import { ClientInbox } from "./client-inbox.js";
import { ClientIterations } from "./client-iterations.js";
import { ClientLink } from "./client-link.js";
import type { WorkerPublishOptions } from "./client-publishing.js";
import { ClientPublishing } from "./client-publishing.js";
import { ClientSubscriptions } from "./client-subscriptions.js";
import { FrameWriter } from "./frame-writer.js";
import type { Link } from "./link.js";
import { ask, callWindow } from "./protocol.js";
import type { RemoteSubscription } from "./remote-subscription.js";
import type { WorkerSubscribeOptions } from "./subscribe-options.js";
import { checkSubscribe } from "./subscribe-options.js";
import { TopicNumbers } from "./topic-numbers.js";
import { brokerError, quietly, textOf, toWireError } from "./wire-error.js";

/**
 * open      takes everything; what is asked before the broker has answered waits for it
 * draining  close has begun: settles still work, everything else is refused
 * closed    over: by `close()`, by the broker, or because the link ended
 */
export type RemoteBrokerState = "open" | "draining" | "closed";

/** Figures of a client. */
export interface RemoteBrokerStats {
  /** Calls that are with the broker. */
  readonly calls: number;
  /** Calls that wait here for their turn. */
  readonly waiting: number;
  /** Subscriptions that are open. */
  readonly subscriptions: number;
}

/**
 * The broker of another thread or process, through the interface `Broker`: made by `connectBroker`.
 *
 * What its promises promise is what the broker's promise; an error arrives as the same class, with code and facts.
 * Differences that a thread makes: a `filter` is refused (a function cannot cross), `stats()` is as of the last answer, and
 * a delivery's id is known to this client, and not to others.
 *
 * @example
 * ```ts
 * import { connectBroker } from "inproc-broker/worker";
 *
 * const broker = connectBroker();
 * broker.subscribe("images.*", async (msg) => resize(msg.data), { group: "resizers", concurrency: 2 });
 * ```
 */
export class RemoteBroker<Topics = AnyTopics> implements Broker<Topics> {
  readonly #link = new ClientLink();
  readonly #writer: FrameWriter;
  readonly #calls: ClientCalls;
  readonly #deadlines: ClientDeadlines;
  readonly #topicNumbers: TopicNumbers;
  readonly #publishing: ClientPublishing;
  readonly #iterations: ClientIterations;
  readonly #subscriptions: ClientSubscriptions;
  readonly #events: ClientEvents;
  readonly #inbox: ClientInbox;
  #state: RemoteBrokerState = "open";
  #closing: Promise<CloseResult> | null = null;
  /** What ended it. */
  #reason: Error | null = null;
  #nonce = "";
  #resolveReady: () => void = () => undefined;
  #rejectReady: (error: unknown) => void = () => undefined;
  readonly #ready: Promise<void>;
  #resolveOver: () => void = () => undefined;
  readonly #over: Promise<void>;
  #onClosed: () => void = () => undefined;

  /** @internal Use `connectBroker`. */
  constructor(id: string) {
    this.#writer = new FrameWriter(this.#link, (frame, error) => this.#refused(frame, error));
    this.#calls = new ClientCalls(this.#writer, callWindow);
    this.#deadlines = new ClientDeadlines(this.#writer);
    this.#topicNumbers = new TopicNumbers(this.#writer);
    this.#publishing = new ClientPublishing(this.#calls, this.#topicNumbers);
    this.#iterations = new ClientIterations(this.#writer, this.#calls);
    let release: (() => void) | null = null;
    this.#calls.onBusy = (isBusy) => {
      if (isBusy) release ??= this.#link.keepAlive();
      else {
        release?.();
        release = null;
      }
    };
    this.#ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.#ready.catch(() => undefined);
    this.#over = new Promise((resolve) => {
      this.#resolveOver = resolve;
    });
    this.#events = new ClientEvents(this.#writer, {
      name: "",
      acknowledges: false,
      nonce: () => this.#nonce,
      idOf: () => "",
      decide: () => Promise.resolve(),
      watch: () => undefined,
      reply: (message, data, options) => this.#reply(message, data, options),
    });
    const state = (): RemoteBrokerState => this.#state;
    this.#subscriptions = new ClientSubscriptions({
      id,
      writer: this.#writer,
      calls: this.#calls,
      deadlines: this.#deadlines,
      link: this.#link,
      events: this.#events,
      get state() {
        return state();
      },
      nonce: () => this.#nonce,
      reply: (message, data, options) => this.#reply(message, data, options),
    });
    this.#inbox = new ClientInbox({
      writer: this.#writer,
      calls: this.#calls,
      deadlines: this.#deadlines,
      events: this.#events,
      subscriptions: this.#subscriptions,
      isOpen: () => this.#state !== "closed",
      welcomed: () => this.#resolveReady(),
      nonce: (nonce) => {
        this.#nonce = nonce;
      },
      closed: (error) => this.#end(error, false),
    });
    this.#writer.write([ask.hello, new Map()]);
  }

  /** Resolves once the broker has answered; rejects with what it refused the client for, or when that takes too long. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** `"open"` from the start; `close()`, or the end of the broker or the link, makes it `"closed"`. */
  get state(): RemoteBrokerState {
    return this.#state;
  }

  /** Figures of this instant. */
  stats(): RemoteBrokerStats {
    return { calls: this.#calls.open, waiting: this.#calls.waiting, subscriptions: this.#subscriptions.size };
  }

  /**
   * Publishes, as `InProcBroker.publish`. So many publishes are with the broker at once; the others wait here, and beyond
   * 65,536 are refused with `ERR_QUEUE_FULL`.
   */
  publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: WorkerPublishOptions,
  ): Promise<Receipt> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    return this.#publishing.publish(topic, data, options);
  }

  /** Publishes several messages: all of them, or none. */
  publishBatch(
    entries: readonly (BatchEntry<Topics> & { readonly transfer?: readonly Transferable[] })[],
  ): Promise<Receipt[]> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    if (!Array.isArray(entries)) {
      return Promise.reject(brokerError("ERR_INVALID_OPTION", "publishBatch takes an array"));
    }
    return this.#publishing.publishBatch(entries);
  }

  /** Resolves once everything published so far has reached the level of durability it asked for. */
  flush(): Promise<void> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    return this.#calls.make((call) => [ask.flush, call]) as Promise<void>;
  }

  /**
   * Subscribes, as `InProcBroker.subscribe`. What can be checked here throws here; what only the broker can refuse rejects the
   * subscription's `ready`, ends it, and is told as an `error` event.
   */
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options?: WorkerSubscribeOptions<MessageOf<Topics, Pattern>>,
  ): RemoteSubscription<MessageOf<Topics, Pattern>>;
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: WorkerSubscribeOptions<MessageOf<Topics, Pattern>>,
  ): RemoteSubscription<MessageOf<Topics, Pattern>>;
  subscribe(
    pattern: string | readonly string[],
    handlerOrOptions?: Handler<never> | WorkerSubscribeOptions<never>,
    options?: WorkerSubscribeOptions<never>,
  ): RemoteSubscription<never> {
    const handler = typeof handlerOrOptions === "function" ? handlerOrOptions : undefined;
    const given = (handler === undefined ? handlerOrOptions : options) ?? {};
    this.#requireOpen();
    checkSubscribe(pattern, handler, given as WorkerSubscribeOptions<never>);
    const kind = handler === undefined ? "pull" : "push";
    return this.#subscriptions.open(
      kind,
      pattern,
      handler as Handler | undefined,
      given as WorkerSubscribeOptions<never>,
    );
  }

  /** @internal The subscription of a pool's worker: what the pool has for it. */
  feed(handler: (message: Message) => unknown, concurrency: number, prefetch: number): RemoteSubscription {
    const options = { ack: "auto", concurrency, maxInFlight: concurrency + prefetch } as const;
    return this.#subscriptions.open("feed", [], handler, options);
  }

  /** Asks, and resolves to the data of the first answer; as `InProcBroker.request`. */
  request<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestOptions = {},
  ): Promise<Answer> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    return this.#publishing.request(topic, data, options) as Promise<Answer>;
  }

  /** Asks, and yields the data of every answer; as `InProcBroker.requestMany`. */
  async *requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestManyOptions = {},
  ): AsyncGenerator<Answer, void, undefined> {
    this.#requireOpen();
    const isOpen = (): boolean => this.#state === "open";
    yield* this.#iterations.run<Answer>(this.#topicNumbers.of(topic), data, options, isOpen);
  }

  /** Answers requests; as `InProcBroker.respond`. */
  respond<const Pattern extends string>(
    pattern: Pattern,
    handler: Handler<MessageOf<Topics, Pattern>>,
    options: SubscribeOptions<MessageOf<Topics, Pattern>> = {},
  ): RemoteSubscription<MessageOf<Topics, Pattern>> {
    this.#requireOpen();
    const given = { concurrency: 64, ...options } as WorkerSubscribeOptions<never>;
    checkSubscribe(pattern, handler, given);
    return this.#subscriptions.open("respond", pattern, handler as unknown as Handler, given);
  }

  /** Acknowledges the delivery with that `deliveryId`. */
  ack(deliveryId: string): Promise<void> {
    return this.#subscriptions.settle(deliveryId, "ack", undefined);
  }
  /** Gives the delivery with that `deliveryId` back. */
  nack(deliveryId: string, options?: NackOptions): Promise<void> {
    return this.#subscriptions.settle(deliveryId, "nack", options);
  }
  /** Gives up on the message of the delivery with that `deliveryId`. */
  reject(deliveryId: string, reason?: string): Promise<void> {
    return this.#subscriptions.settle(deliveryId, "reject", reason);
  }
  /** Gives the delivery with that `deliveryId` `ms` milliseconds from now. */
  extend(deliveryId: string, ms: number): Promise<void> {
    return this.#subscriptions.settle(deliveryId, "extend", ms);
  }

  /** Listens to an event of the broker, or of this client (`error` of a handler here, `closed`). */
  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#events.on(name, listener);
    return this;
  }

  /** Listens to the next event of that name, and to no more. */
  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#events.once(name, listener);
    return this;
  }

  /** Stops listening. */
  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#events.off(name, listener);
    return this;
  }

  /** Tells an `error` event of this client. */
  reportError(error: unknown, context: ErrorContext): void {
    this.#events.tellError(error, context);
  }

  /** Tells a `worker-lost` event of this client: of a worker that it is exposed to in its turn. Returns whether anybody listens. */
  reportWorkerLost(event: WorkerLostEvent): boolean {
    return this.#events.emit("worker-lost", [event]);
  }

  /**
   * Ends the client, and leaves the broker open: refuses what is new, lets its subscriptions finish what they have (within
   * `timeout`), and ends the link. Returns what was not finished here; the broker delivers that again.
   */
  close(options: CloseOptions = {}): Promise<CloseResult> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  /** `close()` with its defaults. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal There is a link: what waited for it goes. */
  attach(link: Link, onClosed: () => void): void {
    this.#onClosed = onClosed;
    this.#link.attach(link, {
      batch: (batch) => this.#inbox.read(batch),
      closed: () => this.#end(brokerError("ERR_BROKER_CLOSED", "the link to the broker has ended; connect again")),
    });
  }

  /** @internal Nobody answered. */
  fail(error: Error): void {
    this.#end(error);
  }

  #reply(message: Message, data: unknown, options: ReplyOptions = {}): Promise<void> {
    if (this.#state === "closed") return quietly(this.#closedError());
    return this.#publishing.reply(message, data, options);
  }

  /** A frame could not be cloned. */
  #refused(frame: readonly unknown[], error: unknown): void {
    const [operation, first, second] = frame as readonly number[];
    if (operation === ask.answer) {
      const failure = brokerError("ERR_INVALID_MESSAGE", `the answer cannot be cloned: ${textOf(error)}`);
      this.#writer.write([ask.answer, first, second, true, toWireError(failure)]);
      return;
    }
    const refusal = brokerError(
      "ERR_INVALID_MESSAGE",
      `what goes to the broker's thread must be cloneable: ${textOf(error)}; send plain data`,
    );
    if (operation === ask.requestMany) this.#iterations.refused(first as number, refusal);
    else this.#calls.reject(first as number, refusal);
  }

  async #close(options: CloseOptions): Promise<CloseResult> {
    const { drain = true, timeout = 5_000 } = options;
    if (this.#state === "open") this.#state = "draining";
    const host = {
      link: this.#link,
      writer: this.#writer,
      calls: this.#calls,
      deadlines: this.#deadlines,
      over: this.#over,
    };
    const subscriptions = this.#subscriptions.all();
    if (drain && this.#state === "draining") await finishWork(host, subscriptions, timeout);
    const unacked = subscriptions.flatMap((subscription) => subscription.unsettled());
    if (this.#state !== "closed") {
      for (const subscription of subscriptions) subscription.flush();
      await sayGoodbye(host);
      this.#end(brokerError("ERR_BROKER_CLOSED", "this client of the broker is closed; connect again"), false);
    }
    return { undelivered: [], unacked };
  }

  /** Over. An iteration ends quietly where somebody has closed something, and with the error where nobody meant to. */
  #end(error: Error, isFailure = true): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#reason = error;
    this.#deadlines.end();
    this.#subscriptions.end(isFailure ? error : undefined);
    this.#calls.failAll(error);
    this.#rejectReady(error);
    this.#link.close();
    this.#onClosed();
    this.#resolveOver();
    this.#events.end();
  }

  #requireOpen(): void {
    if (this.#state !== "open") throw this.#closedError();
  }

  /** Why nothing can be asked any more. */
  #closedError(): Error {
    const reason = this.#reason;
    if (reason instanceof BrokerError && reason.code === "ERR_BROKER_CLOSED") {
      return brokerError(reason.code, reason.message, reason.facts);
    }
    const why = reason === null ? "" : `: ${reason.message}`;
    return brokerError("ERR_BROKER_CLOSED", `this client of the broker is closed (or closing)${why}; connect again`);
  }
}
