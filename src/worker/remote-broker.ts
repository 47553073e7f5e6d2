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
  MessageFacts,
  MessageOf,
  NackOptions,
  PublishOptions,
  Receipt,
  ReplyOptions,
  RequestManyOptions,
  RequestOptions,
  SubscribeOptions,
  TopicName,
} from "../index.js";
import { ClientCalls } from "./client-calls.js";
import { ClientDeadlines } from "./client-deadlines.js";
import { ClientEvents } from "./client-events.js";
import { ClientLink } from "./client-link.js";
import { ClientSubscriptions } from "./client-subscriptions.js";
import { FrameReader } from "./frame-reader.js";
import { FrameWriter } from "./frame-writer.js";
import type { Link } from "./link.js";
import { ask, callWindow, tell } from "./protocol.js";
import type { RecordKind } from "./protocol.js";
import { RecordMaker } from "./record-maker.js";
import type { RemoteSubscription } from "./remote-subscription.js";
import type { WorkerSubscribeOptions } from "./subscribe-options.js";
import { checkSubscribe } from "./subscribe-options.js";
import { TopicNames, TopicNumbers } from "./topic-numbers.js";
import { brokerError, fromWireError, quietly, textOf, toWireError } from "./wire-error.js";
import type { WireError } from "./wire-error.js";
import type { WireArgument } from "./wire-message.js";

/** Publish options of a client: those of the broker, and what moves. */
export interface WorkerPublishOptions extends PublishOptions {
  /** ArrayBuffers (and other transferables) in the data that move to the broker's thread instead of being copied. */
  readonly transfer?: readonly Transferable[];
}

/**
 * open      takes everything; what is asked before the broker has answered waits for it
 * draining  close has begun: settles still work, everything else is refused
 * closed    over: by `close()`, by the broker, or because the link ended
 */
export type RemoteBrokerState = "open" | "draining" | "closed";

/** Milliseconds to wait for the other side's goodbye; it may be gone, or hang. */
const goodbyeMs = 1_000;

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
  readonly #topicNames = new TopicNames();
  readonly #subscriptions: ClientSubscriptions;
  readonly #events: ClientEvents;
  readonly #aborts = new AbortController();
  /** Subscriptions that have deliveries in the batch being read. */
  readonly #delivered = new Set<RemoteSubscription>();
  #state: RemoteBrokerState = "open";
  #closing: Promise<CloseResult> | null = null;
  #nonce = "";
  /** What makes the records that come, by shape number. */
  readonly #shapes: RecordMaker[] = [];
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

  /** Calls with the broker, calls that wait here for their turn, and open subscriptions. */
  get figures(): {
    /** Calls that are with the broker. */
    readonly calls: number;
    /** Calls that wait here for their turn. */
    readonly waiting: number;
    /** Subscriptions that are open. */
    readonly subscriptions: number;
  } {
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
    if (this.#state !== "open") return Promise.reject(closedError());
    if (options === undefined) {
      return this.#calls.make((call) => [
        ask.publish,
        call,
        this.#topicNumbers.of(topic),
        data,
        null,
      ]) as Promise<Receipt>;
    }
    const { transfer, signal, ...rest } = options;
    return this.#calls.makeAbortable(
      signal,
      (call, hasSignal) => [
        ask.publish,
        call,
        this.#topicNumbers.of(topic),
        data,
        hasSignal ? { ...rest, signal: true } : rest,
      ],
      transfer,
    ) as Promise<Receipt>;
  }

  /** Publishes several messages: all of them, or none. */
  publishBatch(
    entries: readonly (BatchEntry<Topics> & { readonly transfer?: readonly Transferable[] })[],
  ): Promise<Receipt[]> {
    if (this.#state !== "open") return Promise.reject(closedError());
    if (!Array.isArray(entries)) {
      return Promise.reject(brokerError("ERR_INVALID_OPTION", "publishBatch takes an array"));
    }
    const transfers: Transferable[] = [];
    const plain = (entries as readonly unknown[]).map((entry) => {
      if (typeof entry !== "object" || entry === null) return entry;
      const { transfer, signal: _signal, ...rest } = entry as WorkerPublishOptions;
      if (transfer !== undefined) transfers.push(...transfer);
      return rest;
    });
    return this.#calls.make((call) => [ask.publishBatch, call, plain], transfers) as Promise<Receipt[]>;
  }

  /** Resolves once everything published so far has reached the level of durability it asked for. */
  flush(): Promise<void> {
    if (this.#state !== "open") return Promise.reject(closedError());
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
    if (this.#state !== "open") throw closedError();
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
    if (this.#state !== "open") return Promise.reject(closedError());
    const { signal, ...rest } = options;
    return this.#calls.makeAbortable(signal, (call, hasSignal) => [
      ask.request,
      call,
      this.#topicNumbers.of(topic),
      data,
      hasSignal ? { ...rest, signal: true } : rest,
    ]) as Promise<Answer>;
  }

  /** Asks, and yields the data of every answer; as `InProcBroker.requestMany`. */
  async *requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestManyOptions = {},
  ): AsyncGenerator<Answer, void, undefined> {
    if (this.#state !== "open") throw closedError();
    const { signal, ...rest } = options;
    signal?.throwIfAborted();
    // Iterations are numbered apart from calls, below 0.
    const iteration = -this.#subscriptions.nextNumber();
    this.#writer.write([
      ask.requestMany,
      iteration,
      this.#topicNumbers.of(topic),
      data,
      signal === undefined ? rest : { ...rest, signal: true },
    ]);
    const onAbort = (): void => this.#writer.write([ask.abort, iteration]);
    signal?.addEventListener("abort", onAbort, { once: true });
    let isOver = false;
    try {
      for (;;) {
        let step: { done?: true; value?: unknown };
        try {
          step = (await this.#calls.make((call) => [ask.next, call, iteration, false])) as typeof step;
        } catch (error) {
          isOver = true;
          throw signal?.aborted === true ? signal.reason : error;
        }
        if (step.done === true) {
          isOver = true;
          return;
        }
        yield step.value as Answer;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      if (!isOver && this.#state === "open") await this.#calls.make((call) => [ask.next, call, iteration, true]);
    }
  }

  /** Answers requests; as `InProcBroker.respond`. */
  respond<const Pattern extends string>(
    pattern: Pattern,
    handler: Handler<MessageOf<Topics, Pattern>>,
    options: SubscribeOptions<MessageOf<Topics, Pattern>> = {},
  ): RemoteSubscription<MessageOf<Topics, Pattern>> {
    if (this.#state !== "open") throw closedError();
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
      batch: (batch) => this.#read(batch),
      closed: () => this.#end(brokerError("ERR_BROKER_CLOSED", "the link to the broker has ended; connect again")),
    });
  }

  /** @internal Nobody answered. */
  fail(error: Error): void {
    this.#end(error);
  }

  #reply(message: Message, data: unknown, options: ReplyOptions = {}): Promise<void> {
    const { replyTo, correlationId } = message;
    if (replyTo === undefined) {
      return quietly(
        brokerError(
          "ERR_INVALID_MESSAGE",
          `the message on ${JSON.stringify(message.topic)} asks for no answer: it was published, not requested`,
          { topic: message.topic },
        ),
      );
    }
    if (this.#state === "closed") return quietly(closedError());
    const given = correlationId === undefined ? options : { ...options, correlationId };
    return this.#calls.make((call) => [ask.reply, call, replyTo, data, given]) as Promise<void>;
  }

  #read(batch: readonly unknown[]): void {
    const frames = new FrameReader(batch);
    const at = performance.now();
    while (frames.hasMore && this.#state !== "closed") this.#carryOut(frames, at);
    if (this.#delivered.size === 0) return;
    for (const subscription of this.#delivered) subscription.batchEnded();
    this.#delivered.clear();
  }

  #carryOut(frames: FrameReader, at: number): void {
    const operation = frames.number();
    switch (operation) {
      case tell.welcome:
        this.#calls.setWindow(frames.number());
        this.#deadlines.begin(frames.next() as boolean);
        this.#resolveReady();
        break;
      case tell.nonce:
        this.#nonce = frames.next() as string;
        break;
      case tell.topic:
        this.#topicNames.learn(frames.number(), frames.next() as string);
        break;
      case tell.returned:
        this.#calls.resolve(frames.number(), frames.next());
        break;
      case tell.threw:
        this.#calls.reject(frames.number(), fromWireError(frames.next() as WireError));
        break;
      case tell.published: {
        const call = frames.number();
        const id = frames.next() as string;
        const seq = frames.number();
        this.#calls.resolve(call, { id, seq, matched: frames.number(), duplicate: false });
        break;
      }
      case tell.deliver:
      case tell.deliverRecords: {
        const subscription = this.#subscriptions.get(frames.number());
        const first = frames.number();
        const topic = this.#topicNames.of(frames.number());
        const timestamp = frames.number();
        const count = frames.number();
        const seq = frames.number();
        const step = frames.number();
        const records = operation === tell.deliverRecords ? (this.#shapes[frames.number()] as RecordMaker) : null;
        if (records !== null) frames.beginRecords();
        if (subscription !== undefined) this.#delivered.add(subscription);
        for (let index = 0; index < count; index += 1) {
          const data = records === null ? frames.next() : frames.record(records);
          subscription?.deliver(first + index, topic, timestamp, seq + index * step, data, null, at);
        }
        break;
      }
      case tell.deadline:
        this.#deadlines.over(frames.number());
        break;
      case tell.shape:
        this.#shapes[frames.number()] = new RecordMaker(
          frames.next() as readonly string[],
          frames.next() as readonly RecordKind[],
        );
        break;
      case tell.deliverWithFacts: {
        const subscription = this.#subscriptions.get(frames.number());
        const number = frames.number();
        const topic = this.#topicNames.of(frames.number());
        const timestamp = frames.number();
        const seq = frames.number();
        const data = frames.next();
        const facts = frames.next() as MessageFacts;
        if (subscription !== undefined) this.#delivered.add(subscription);
        subscription?.deliver(number, topic, timestamp, seq, data, facts, at);
        break;
      }
      case tell.lost: {
        const subscription = this.#subscriptions.get(frames.number());
        const number = frames.number();
        subscription?.lose(number);
        this.#writer.write([ask.alive]);
        break;
      }
      case tell.ended: {
        const subscription = this.#subscriptions.get(frames.number());
        const error = frames.next() as WireError | null;
        void subscription?.endedByBroker(error === null ? undefined : fromWireError(error));
        break;
      }
      case tell.event:
        this.#events.told(frames.next() as BrokerEventName, frames.next() as readonly WireArgument[]);
        break;
      case tell.closed:
        this.#end(fromWireError(frames.next() as WireError) as Error, false);
        break;
      default:
        throw brokerError("ERR_INVALID_MESSAGE", `the worker protocol has no operation ${String(operation)}`);
    }
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
    if (operation === ask.requestMany) return;
    this.#calls.reject(first as number, refusal);
  }

  async #close(options: CloseOptions): Promise<CloseResult> {
    const { drain = true, timeout = 5_000 } = options;
    if (this.#state === "open") this.#state = "draining";
    const subscriptions = this.#subscriptions.all();
    if (drain && this.#link.isAttached && (this.#state as RemoteBrokerState) !== "closed") {
      let cancel = (): void => undefined;
      const late = new Promise<void>((resolve) => {
        cancel = this.#deadlines.after(timeout, resolve, true);
      });
      const drained = Promise.all(subscriptions.map((subscription) => subscription.drain()));
      const finished = drained.then(() => this.#calls.whenIdle()).catch(() => undefined);
      await Promise.race([finished, late]);
      cancel();
    }
    const unacked = subscriptions.flatMap((subscription) => subscription.unsettled());
    if ((this.#state as RemoteBrokerState) !== "closed") {
      for (const subscription of subscriptions) subscription.flush();
      await this.#sayGoodbye();
      this.#end(brokerError("ERR_BROKER_CLOSED", "this client of the broker is closed; connect again"), false);
    }
    return { undelivered: [], unacked };
  }

  /** Waits until the broker's side has heard it: a thread that ended before would count as lost. */
  async #sayGoodbye(): Promise<void> {
    if (!this.#link.isAttached) return;
    const release = this.#link.keepAlive();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, goodbyeMs);
    });
    this.#writer.write([ask.close]);
    this.#writer.flush();
    await Promise.race([this.#over, late]);
    clearTimeout(timer);
    release();
  }

  /** Over. An iteration ends quietly where somebody has closed something, and with the error where nobody meant to. */
  #end(error: Error, isFailure = true): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadlines.end();
    this.#subscriptions.end(isFailure ? error : undefined);
    this.#calls.failAll(error);
    this.#rejectReady(error);
    this.#aborts.abort(error);
    this.#link.close();
    this.#onClosed();
    this.#resolveOver();
    this.#events.end();
  }
}

function closedError(): Error {
  return brokerError("ERR_BROKER_CLOSED", "this client of the broker is closed (or closing); connect again");
}
