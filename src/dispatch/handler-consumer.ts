import { errorText } from "../errors.js";
import type { Delivery } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import { promiseOf } from "../message/thenable.js";
import type { ConsumerSettings } from "./consumer.js";
import { Consumer } from "./consumer.js";
import type { PromptConsumer } from "./express-lane.js";
import type { DispatchHost, ProcessContext } from "./ports.js";
import type { DeliveryQueue } from "./queue.js";

/** What works on a message; whatever it returns, a promise is waited for. */
export type Process = (message: Message) => unknown;

/** One of a consumer's `concurrency` places. Its two functions serve message after message, so a run makes none. */
interface Place {
  /** What its handler works on; null while it is free. */
  message: Message | null;
  /** True where the message was taken back: the place was given up, and a new one stands in for it. */
  isLost: boolean;
  readonly onFulfilled: () => void;
  readonly onRejected: (error: unknown) => void;
}

/**
 * Pushes messages into a handler, up to `concurrency` at a time.
 *
 * A handler that returns no promise costs none. A failure stays here: it is a nack with a reason where deliveries are
 * acknowledged, and an `error` event in any case. A delivery that is taken back from a handler (ack timeout) frees
 * the handler's place, so one that hangs does not hold up the queue.
 */
export class HandlerConsumer extends Consumer {
  readonly #process: Process;
  readonly #concurrency: number;
  readonly #isAuto: boolean;
  readonly #isKeyed: boolean;
  #running = 0;
  /** True once the handler has returned a promise: the next may be one too. */
  #hasBeenLate = false;
  /** As many as were ever needed at once. */
  readonly #places: Place[] = [];
  readonly #freePlaces: Place[] = [];
  /** The promise of the last settle of our own, until it is decided, and the deliveries that wait for it: a group of the store. */
  #settling: Promise<void> | null = null;
  #settledTogether: Delivery[] = [];

  constructor(queue: DeliveryQueue, settings: ConsumerSettings, host: DispatchHost, process: Process) {
    super(queue, settings, host);
    const { around } = host;
    this.#process = around === null ? process : (message) => around(message, queue, () => process(message));
    this.#concurrency = settings.concurrency;
    this.#isAuto = settings.ack === "auto";
    this.#isKeyed = queue.settings.isOrderedByKey;
  }

  override get isQuiet(): boolean {
    return this.inFlight === 0 && this.#running === 0;
  }

  override busyWith(): Iterable<Message> {
    const messages = new Set<Message>(this.flights());
    for (const { message } of this.#places) if (message !== null) messages.add(message);
    return messages;
  }

  override endFlight(delivery: Delivery): void {
    if (delivery.isRunning && delivery.state === "lost") this.#losePlace(delivery);
    super.endFlight(delivery);
  }

  override pump(limit: number): number {
    const { processChannel } = this.host;
    if (this.acknowledges || this.isLimited || this.#isKeyed || processChannel.isActive) return super.pump(limit);
    // At most once, in any order of keys, and nobody watches: the loop that most messages of most brokers go through.
    let done = 0;
    while (done < limit && this.#running < this.#concurrency && !this.isPaused && !this.isClosed) {
      const message = this.queue.takeSettled(this);
      if (message === undefined) break;
      done += 1;
      this.handle(message);
    }
    this.handed += done;
    return done;
  }

  override get holdsKeys(): boolean {
    return true;
  }

  override get prompt(): PromptConsumer | null {
    const isPrompt = !this.acknowledges && !this.isLimited && !this.isPaused && !this.isClosed && !this.#hasBeenLate;
    return isPrompt ? this : null;
  }

  /** Has the handler work on a message that needs no acknowledgement. */
  handle(message: Message): void {
    try {
      const result = this.#process(message);
      if (result === undefined) return;
      const promise = promiseOf(result);
      if (promise !== null) this.#follow(message, promise);
    } catch (error) {
      this.#failed(message, error);
    }
  }

  protected hasPlace(): boolean {
    return this.#running < this.#concurrency;
  }

  protected hand(message: Message): void {
    let promise: Promise<unknown> | null;
    try {
      const channel = this.host.processChannel;
      promise = promiseOf(
        channel.isActive ? channel.trace(this.#context(message), () => this.#process(message)) : this.#process(message),
      );
    } catch (error) {
      this.#failed(message, error);
      return;
    }
    if (promise !== null) this.#follow(message, promise);
    else this.#succeeded(message);
  }

  #context(message: Message): ProcessContext {
    return { message, subscription: this.queue.name };
  }

  #follow(message: Message, result: Promise<unknown>): void {
    const place = this.#freePlaces.pop() ?? this.#openPlace();
    place.message = message;
    if (!this.#hasBeenLate) this.#becomeLate();
    this.#running += 1;
    this.queue.running += 1;
    if (this.acknowledges) {
      const delivery = message as Delivery;
      delivery.isRunning = true;
      if (delivery.state === "inFlight") this.host.tracker.begin(delivery, this.settings.ackTimeoutMs);
    }
    result.then(place.onFulfilled, place.onRejected);
  }

  #becomeLate(): void {
    this.#hasBeenLate = true;
    this.queue.chooseWay();
  }

  #openPlace(): Place {
    const place: Place = {
      message: null,
      isLost: false,
      onFulfilled: () => this.#cameBack(place, false, undefined),
      onRejected: (error: unknown) => this.#cameBack(place, true, error),
    };
    this.#places.push(place);
    return place;
  }

  /**
   * A handler is done. Its place takes the next message at once, in this microtask: the way over the scheduler would cost
   * as much as the delivery. Queues still take turns, as their handlers come back in turn.
   */
  #cameBack(place: Place, hasFailed: boolean, error: unknown): void {
    const { queue, host } = this;
    const message = place.message as Message;
    const isOurs = host.scheduler.begin(queue);
    if (!place.isLost) this.#freePlace(place);
    if (hasFailed) this.#failed(message, error);
    else this.#succeeded(message);
    this.tellQuiet();
    queue.settled();
    if (isOurs) host.scheduler.proceed(queue);
  }

  #freePlace(place: Place): void {
    if (this.acknowledges) (place.message as Delivery).isRunning = false;
    place.message = null;
    this.#freePlaces.push(place);
    this.#running -= 1;
    this.queue.running -= 1;
  }

  #losePlace(delivery: Delivery): void {
    const place = this.#places.find((one) => one.message === delivery) as Place;
    this.#places.splice(this.#places.indexOf(place), 1);
    place.isLost = true;
    delivery.isRunning = false;
    this.#running -= 1;
    this.queue.running -= 1;
  }

  #succeeded(message: Message): void {
    if (!this.acknowledges) {
      this.queue.releaseKey(message);
      return;
    }
    const delivery = message as Delivery;
    if (delivery.state !== "inFlight") return;
    if (!this.#isAuto) {
      this.host.tracker.begin(delivery, this.settings.ackTimeoutMs);
      return;
    }
    this.#settle(this.host.tracker.ack(delivery), delivery);
  }

  #failed(message: Message, error: unknown): void {
    this.queue.counters.handlerErrors += 1;
    this.host.failed(this.queue, error, message, "handler");
    if (!this.acknowledges) {
      this.host.undone(this.queue, message, error);
      this.queue.releaseKey(message);
      return;
    }
    const delivery = message as Delivery;
    if (delivery.state === "inFlight") {
      this.#settle(this.host.tracker.nack(delivery, { reason: errorText(error) }), delivery);
    }
  }

  /** A settle of our own that the store refuses is the broker's trouble; the handler has done its part. */
  #settle(settled: Promise<void>, delivery: Delivery): void {
    if (settled === fulfilled) return;
    if (settled === this.#settling) {
      this.#settledTogether.push(delivery);
      return;
    }
    const deliveries = [delivery];
    this.#settling = settled;
    this.#settledTogether = deliveries;
    const over = (): void => {
      if (this.#settling === settled) this.#settling = null;
    };
    settled.then(over, (error: unknown) => {
      over();
      for (const one of deliveries) this.host.failed(this.queue, error, one, "handler");
    });
  }
}
