import type {
  AckMode,
  BrokerSubscription,
  FetchOptions,
  Message,
  MessageFacts,
  ReplyOptions,
  SubscriptionState,
  SubscriptionStats,
  UnsubscribeOptions,
} from "../index.js";
import { ask } from "./protocol.js";
import type { WireDecision } from "./protocol.js";
import { PullTaker } from "./pull-taker.js";
import type { FlightsHost } from "./remote-flights.js";
import { RemoteFlights } from "./remote-flights.js";
import type { Taker, TakerHost } from "./taker.js";
import { brokerError, textOf } from "./wire-error.js";
import type { RemoteOrigin } from "./wire-message.js";
import { RemoteMessage } from "./wire-message.js";

/** What a subscription needs of the client it belongs to. */
export interface SubscriptionHost extends FlightsHost {
  flush(): void;
  nonce(): string;
  reply(message: Message, data: unknown, options: ReplyOptions | undefined): Promise<void>;
  /** A handler threw. */
  failed(error: unknown, subscription: string, message: Message): void;
  /** Keeps the thread alive until the returned function is called. */
  hold(): () => void;
  forget(id: number): void;
}

/** What the broker answers a subscription that it accepts. */
export interface Accepted {
  readonly ack: AckMode;
  readonly ackTimeout: number;
}

/** Figures that only the broker's side has, until it has told them. */
const noFigures: SubscriptionStats = {
  queued: 0,
  queuedBytes: 0,
  waiting: 0,
  inFlight: 0,
  delayed: 0,
  delivered: 0,
  handedOver: 0,
  redelivered: 0,
  nacked: 0,
  timedOut: 0,
  handlerErrors: 0,
  expired: 0,
  deadLettered: 0,
  dropped: {},
};

/**
 * A subscription in a client: its queue is the broker's, its consumer is here.
 *
 * open      takes messages, from when the broker has accepted it (`ready`)
 * draining  takes no new ones; finishes what it has
 * closed    over: by `unsubscribe`, by the broker, or because it was refused
 */
export class RemoteSubscription<Received extends Message<unknown> = Message>
  implements BrokerSubscription<Received>, TakerHost, RemoteOrigin
{
  readonly name: string;
  readonly patterns: readonly string[];
  readonly group: string | undefined;
  readonly durable: string | undefined;
  /** Resolves once the broker has accepted it; rejects with what it was refused for. May be left unawaited. */
  readonly ready: Promise<void>;
  /** @internal */
  readonly id: number;
  readonly #host: SubscriptionHost;
  readonly #taker: Taker;
  readonly #isRespond: boolean;
  readonly #flights: RemoteFlights;
  #state: SubscriptionState = "open";
  #ack: AckMode;
  #ackTimeoutMs: number;
  #isPaused = false;
  #figures: SubscriptionStats = noFigures;
  #handlerErrors = 0;
  #received = 0;
  #isEnding = false;
  readonly #closed: Promise<void>;
  #resolveClosed: () => void = () => undefined;
  #quietWaiters: (() => void)[] = [];
  #stopListening: () => void = () => undefined;
  #release: () => void;

  /** @internal */
  constructor(
    host: SubscriptionHost,
    settings: {
      id: number;
      name: string;
      patterns: readonly string[];
      group: string | undefined;
      durable: string | undefined;
      ack: AckMode | undefined;
      ackTimeoutMs: number | undefined;
      isRespond: boolean;
      taker: Taker;
      accepted: Promise<unknown>;
      signal: AbortSignal | undefined;
    },
  ) {
    this.#host = host;
    this.id = settings.id;
    this.#flights = new RemoteFlights(host, settings.id);
    this.name = settings.name;
    this.patterns = settings.patterns;
    this.group = settings.group;
    this.durable = settings.durable;
    this.#isRespond = settings.isRespond;
    this.#taker = settings.taker;
    this.#ack = settings.ack ?? "none";
    this.#ackTimeoutMs = settings.ackTimeoutMs ?? Infinity;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    // A handler that waits for messages is a reason for its thread to live; an iteration that nobody asks is none.
    this.#release = this.#taker instanceof PullTaker ? () => undefined : host.hold();
    this.#taker.begin(this);
    this.ready = settings.accepted.then(
      () => undefined,
      (error: unknown) => {
        this.close(error);
        throw error;
      },
    );
    this.ready.catch(() => undefined);
    const { signal } = settings;
    if (signal === undefined) return;
    const onAbort = (): void => void this.unsubscribe();
    this.#stopListening = () => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) queueMicrotask(onAbort);
    else signal.addEventListener("abort", onAbort, { once: true });
  }

  /** `"open"`, then `"draining"` after `drain()`, then `"closed"`. */
  get state(): SubscriptionState {
    return this.#state;
  }

  /** Resolves once the subscription is over, whatever ended it. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** When a delivery counts as done; certain once `ready` has resolved. */
  get ackMode(): AckMode {
    return this.#ack;
  }

  /** Milliseconds a consumer has to settle a delivery; certain once `ready` has resolved. */
  get ackTimeout(): number {
    return this.#ackTimeoutMs;
  }

  /** True from `pause()` to `resume()`. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** The next message, as `Subscription.next`. */
  next(): Promise<IteratorResult<Received, undefined>> {
    return this.#puller("next").next() as unknown as Promise<IteratorResult<Received, undefined>>;
  }

  /** Ends the subscription: what `break` in a `for await` loop does. */
  async return(): Promise<IteratorResult<Received, undefined>> {
    if (this.#taker instanceof PullTaker) this.#taker.abandonCurrent();
    await this.unsubscribe();
    return { value: undefined, done: true };
  }

  /** What `for await` calls. */
  [Symbol.asyncIterator](): AsyncIterator<Received, undefined> {
    this.#puller("for await");
    return this;
  }

  /** Pulls a batch, as `Subscription.fetch`. */
  fetch(count: number, options: FetchOptions = {}): Promise<Received[]> {
    try {
      const puller = this.#puller("fetch");
      const { timeout, signal } = options;
      if (!Number.isInteger(count) || count < 1) throw badFetch("count", "an integer from 1", count);
      if (timeout !== undefined && !(typeof timeout === "number" && timeout >= 0)) {
        throw badFetch("timeout", "0 or more milliseconds", timeout);
      }
      if (signal !== undefined && !(signal instanceof AbortSignal)) throw badFetch("signal", "an AbortSignal", signal);
      return puller.fetch(count, options) as unknown as Promise<Received[]>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Takes no messages until `resume`; what has come already waits here, and is kept from timing out. */
  pause(): void {
    if (this.#isPaused || this.#state === "closed") return;
    this.#isPaused = true;
    this.#taker.setPaused(true);
    this.#host.write([ask.pause, this.id, true]);
  }

  /** Takes messages again. */
  resume(): void {
    if (!this.#isPaused || this.#state === "closed") return;
    this.#isPaused = false;
    this.#host.write([ask.pause, this.id, false]);
    this.#taker.setPaused(false);
  }

  /** Says that the consumer is alive: starts the subscription's `ttl` again. */
  heartbeat(): void {
    if (this.#state !== "closed") this.#host.write([ask.heartbeat, this.id]);
  }

  /** Takes no new messages, finishes those it has, then ends; as `Subscription.drain`. */
  async drain(): Promise<void> {
    if (this.#state === "closed") return;
    if (this.#state === "draining") return this.#closed;
    this.#state = "draining";
    if (this.#isPaused) this.resume();
    await unlessClosed(this.#host.call((call) => [ask.drain, call, this.id]));
    await this.#whenQuiet();
    this.close();
  }

  /** Ends the subscription at once; what it held returns to its group, as with `Subscription.unsubscribe`. */
  async unsubscribe(options: UnsubscribeOptions = {}): Promise<void> {
    if (this.#state === "closed") return;
    this.close();
    const ended = this.#host.call((call) => [ask.unsubscribe, call, this.id, options]);
    await (options.deleteDurable === true ? ended : unlessClosed(ended));
  }

  /**
   * What it did and holds: what is known here (deliveries in flight, done, given back) as of this instant, the rest as the broker
   * answered last, which this call asks for anew. `refreshStats` waits for the answer.
   */
  stats(): SubscriptionStats {
    if (this.#state !== "closed") this.refreshStats().catch(() => undefined);
    const { handedOver, delivered, nacked } = this.#figures;
    return {
      ...this.#figures,
      handedOver: Math.max(handedOver, this.#received),
      delivered: Math.max(delivered, this.acknowledges ? this.#flights.acked : this.#received),
      nacked: Math.max(nacked, this.#flights.nacked),
      inFlight: this.#flights.size,
      handlerErrors: this.#handlerErrors,
    };
  }

  /** Asks the broker for the figures of this subscription. */
  async refreshStats(): Promise<SubscriptionStats> {
    if (this.#state !== "closed") {
      const figures = (await this.#host.call((call) => [ask.stats, call, this.id])) as SubscriptionStats | null;
      if (figures !== null) this.#figures = figures;
    }
    return { ...this.#figures, inFlight: this.#flights.size, handlerErrors: this.#handlerErrors };
  }

  /** `unsubscribe()`: what `await using` calls. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe();
  }

  // What follows is for the client and the taker.

  /** @internal */
  get acknowledges(): boolean {
    return this.#ack !== "none" && !this.#isRespond;
  }
  /** @internal */
  get isAuto(): boolean {
    return this.#ack === "auto";
  }
  /** @internal */
  get ackTimeoutMs(): number {
    return this.#ackTimeoutMs;
  }
  /** @internal */
  get inFlight(): number {
    return this.#flights.size;
  }

  /** @internal The broker has accepted it; deliveries may follow in the same batch. */
  accept({ ack, ackTimeout }: Accepted): void {
    this.#ack = ack;
    this.#ackTimeoutMs = ackTimeout;
  }

  /** @internal A delivery has come. */
  deliver(
    number: number,
    topic: string,
    timestamp: number,
    seq: number,
    data: unknown,
    facts: MessageFacts | null,
    at: number,
  ): void {
    if (this.#state === "closed") return;
    const message = new RemoteMessage(this, number, topic, timestamp, seq, data, facts);
    this.#received += 1;
    if (this.acknowledges) this.#flights.add(message);
    this.#taker.receive(message, at);
  }

  /** @internal */
  batchEnded(): void {
    this.#taker.batchEnded();
  }

  /** @internal */
  lose(number: number): void {
    const message = this.#flights.get(number);
    if (message === undefined) return;
    this.#flights.lose(message);
    this.#taker.lost(message);
  }

  /** @internal The broker has ended it; what came before is finished where nothing has to be acknowledged. */
  async endedByBroker(error: unknown): Promise<void> {
    if (this.#state === "closed" || this.#isEnding) return;
    this.#isEnding = true;
    if (!this.acknowledges && !(this.#taker instanceof PullTaker)) await this.#whenQuiet();
    if (this.#state !== "draining") this.close(error);
  }

  /** @internal Over, here. */
  close(error?: unknown): void {
    if (this.#state === "closed") return;
    this.#flights.close();
    this.#state = "closed";
    this.#stopListening();
    this.#host.forget(this.id);
    this.#taker.end(error);
    for (const message of this.unsettled()) this.#flights.lose(message);
    this.quiet();
    for (const resolve of this.#quietWaiters.splice(0)) resolve();
    this.#release();
    this.#resolveClosed();
  }

  /** @internal Deliveries that are not decided. */
  unsettled(): RemoteMessage[] {
    return this.#flights.all();
  }

  /** @internal */
  grant(credits: number): void {
    if (this.#state !== "closed") this.#host.write([ask.credit, this.id, credits]);
  }

  /** @internal */
  succeeded(message: RemoteMessage): void {
    if (!this.isAuto || this.#isRespond || message.state !== "inFlight") return;
    this.#flights.succeeded(message);
  }

  /** @internal */
  failed(message: RemoteMessage, error: unknown): void {
    this.#handlerErrors += 1;
    this.#host.failed(error, this.name, message);
    if (this.acknowledges && message.state === "inFlight") this.#flights.failed(message, textOf(error));
  }

  /** @internal */
  keep(messages: readonly RemoteMessage[]): void {
    this.#host.write([ask.keep, this.id, messages.length, ...messages.map(({ number }) => number)]);
  }

  /** @internal */
  flush(): void {
    this.#flights.sendAcks();
    this.#host.flush();
  }

  /** @internal */
  quiet(): void {
    if (this.#quietWaiters.length === 0 || !this.#taker.isQuiet) return;
    for (const resolve of this.#quietWaiters.splice(0)) resolve();
  }

  /** @internal */
  nonce(): string {
    return this.#host.nonce();
  }

  /** @internal */
  idOf(message: RemoteMessage): string {
    return this.#flights.idOf(message);
  }

  /** @internal The delivery with that number, for `broker.ack(deliveryId)`. */
  find(number: number): RemoteMessage | undefined {
    return this.#flights.get(number);
  }

  /** @internal */
  decide(message: RemoteMessage, decision: WireDecision, argument: unknown): Promise<void> {
    return this.#flights.decide(message, decision, argument);
  }

  /** @internal */
  watch(message: RemoteMessage): void {
    if (this.acknowledges && message.state === "inFlight") this.#host.write([ask.watch, this.id, message.number]);
  }

  /** @internal */
  reply(message: Message, data: unknown, options: ReplyOptions | undefined): Promise<void> {
    return this.#host.reply(message, data, options);
  }

  #whenQuiet(): Promise<void> {
    if (this.#taker.isQuiet || this.#state === "closed") return Promise.resolve();
    return new Promise((resolve) => this.#quietWaiters.push(resolve));
  }

  #puller(use: string): PullTaker {
    if (this.#taker instanceof PullTaker) return this.#taker;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `${use} needs a subscription without a handler; ${JSON.stringify(this.name)} has one that takes its messages`,
      { subscription: this.name },
    );
  }
}

function badFetch(option: string, wanted: string, value: unknown): Error {
  return brokerError("ERR_INVALID_OPTION", `fetch's ${option} must be ${wanted}; got ${String(value)}`, { option });
}

/** Whoever ends a subscription has what he wants where its client ends meanwhile. */
async function unlessClosed(ended: Promise<unknown>): Promise<void> {
  try {
    await ended;
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ERR_BROKER_CLOSED") throw error;
  }
}
