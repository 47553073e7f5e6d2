import { errorText } from "../errors.js";
import type { Delivery } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import type { ConsumerSettings } from "./consumer.js";
import { Consumer } from "./consumer.js";
import type { DispatchHost, ProcessContext } from "./ports.js";
import type { DeliveryQueue } from "./queue.js";

/** What works on a message; whatever it returns, a promise is waited for. */
export type Process = (message: Message) => unknown;

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
  #running = 0;
  /** Messages of which the handler has not come back. */
  readonly #working = new Set<Message>();

  constructor(queue: DeliveryQueue, settings: ConsumerSettings, host: DispatchHost, process: Process) {
    super(queue, settings, host);
    const { around } = host;
    this.#process = around === null ? process : (message) => around(message, queue, () => process(message));
    this.#concurrency = settings.concurrency;
    this.#isAuto = settings.ack === "auto";
  }

  override get isQuiet(): boolean {
    return this.inFlight === 0 && this.#running === 0;
  }

  override busyWith(): Iterable<Message> {
    return new Set([...this.flights(), ...this.#working]);
  }

  override endFlight(delivery: Delivery): void {
    if (delivery.isRunning && delivery.state === "lost") this.#freePlace(delivery);
    super.endFlight(delivery);
  }

  override pump(limit: number): number {
    const { processChannel } = this.host;
    if (this.acknowledges || this.isLimited || processChannel.isActive) return super.pump(limit);
    // At most once, and nobody watches: the loop that most messages of most brokers go through.
    let done = 0;
    while (done < limit && this.#running < this.#concurrency && !this.isPaused && !this.isClosed) {
      const message = this.queue.takeSettled(this);
      if (message === undefined) break;
      done += 1;
      try {
        const result = this.#process(message);
        if (result !== undefined && isThenable(result)) this.#follow(message, result);
      } catch (error) {
        this.#failed(message, error);
      }
    }
    this.handed += done;
    return done;
  }

  protected hasPlace(): boolean {
    return this.#running < this.#concurrency;
  }

  protected hand(message: Message): void {
    let result: unknown;
    try {
      const channel = this.host.processChannel;
      result = channel.isActive
        ? channel.trace(this.#context(message), () => this.#process(message))
        : this.#process(message);
    } catch (error) {
      this.#failed(message, error);
      return;
    }
    if (isThenable(result)) this.#follow(message, result);
    else if (this.acknowledges) this.#succeeded(message as Delivery);
  }

  #context(message: Message): ProcessContext {
    return { message, subscription: this.queue.name };
  }

  #follow(message: Message, result: PromiseLike<unknown>): void {
    this.#running += 1;
    this.#working.add(message);
    this.queue.running += 1;
    if (this.acknowledges) {
      const delivery = message as Delivery;
      delivery.isRunning = true;
      if (isUndecided(delivery)) this.host.tracker.start(delivery, this.settings.ackTimeoutMs);
    }
    result.then(
      () => {
        if (this.acknowledges) this.#succeeded(message as Delivery);
        this.#cameBack(message);
      },
      (error: unknown) => {
        this.#failed(message, error);
        this.#cameBack(message);
      },
    );
  }

  #cameBack(message: Message): void {
    if (this.acknowledges) {
      if (!(message as Delivery).isRunning) return;
      this.#freePlace(message as Delivery);
    } else {
      this.#working.delete(message);
      this.#running -= 1;
      this.queue.running -= 1;
    }
    this.tellQuiet();
    this.queue.settled();
  }

  #freePlace(delivery: Delivery): void {
    delivery.isRunning = false;
    this.#working.delete(delivery);
    this.#running -= 1;
    this.queue.running -= 1;
  }

  #succeeded(delivery: Delivery): void {
    if (delivery.state !== "inFlight") return;
    if (!this.#isAuto) {
      if (delivery.timer === null) this.host.tracker.start(delivery, this.settings.ackTimeoutMs);
      return;
    }
    this.#settle(this.host.tracker.ack(delivery), delivery);
  }

  #failed(message: Message, error: unknown): void {
    this.queue.counters.handlerErrors += 1;
    this.host.failed(this.queue, error, message, "handler");
    if (!this.acknowledges) {
      this.host.undone(this.queue, message, error);
      return;
    }
    const delivery = message as Delivery;
    if (delivery.state === "inFlight") {
      this.#settle(this.host.tracker.nack(delivery, { reason: errorText(error) }), delivery);
    }
  }

  /** A settle of our own that the store refuses is the broker's trouble; the handler has done its part. */
  #settle(settled: Promise<void>, delivery: Delivery): void {
    settled.catch((error: unknown) => this.host.failed(this.queue, error, delivery, "handler"));
  }
}

function isUndecided(delivery: Delivery): boolean {
  return delivery.state === "inFlight" && delivery.timer === null;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
