import type { Delivery } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import type { PromptConsumer } from "./express-lane.js";
import type { DispatchHost, QueueConsumer } from "./ports.js";
import type { DeliveryQueue } from "./queue.js";
import type { RateLimit } from "./token-bucket.js";
import { TokenBucket } from "./token-bucket.js";

/** When a delivery counts as done: when handed over, when the handler has succeeded, or when the consumer says so. */
export type AckMode = "none" | "auto" | "manual";

/** The settings of a consumer, complete and checked. */
export interface ConsumerSettings {
  readonly ack: AckMode;
  readonly ackTimeoutMs: number;
  readonly maxInFlight: number;
  readonly concurrency: number;
  readonly rateLimit: RateLimit | null;
}

/**
 * One taker of a queue's messages: knows its capacity and what it holds.
 *
 * `isReady` is the question "would you take one now"; `pump` takes as many as it is ready for.
 */
export abstract class Consumer implements QueueConsumer {
  readonly queue: DeliveryQueue;
  readonly settings: ConsumerSettings;
  readonly acknowledges: boolean;
  inFlight = 0;
  /** Messages it was handed, ever: progress, for heartbeats. */
  handed = 0;
  protected readonly host: DispatchHost;
  readonly #maxInFlight: number;
  readonly #bucket: TokenBucket | null;
  #isPaused = false;
  #isClosed = false;
  #firstFlight: Delivery | null = null;
  #refill: { onTimer(): void } | null = null;
  readonly #quietWaiters: (() => void)[] = [];

  constructor(queue: DeliveryQueue, settings: ConsumerSettings, host: DispatchHost) {
    this.queue = queue;
    this.settings = settings;
    this.host = host;
    this.acknowledges = settings.ack !== "none";
    this.#maxInFlight = settings.maxInFlight;
    this.#bucket = settings.rateLimit === null ? null : new TokenBucket(settings.rateLimit, host.deadlines.now());
  }

  /** True where it has a place free in its own way (a handler not running, somebody waiting for `next`). */
  protected abstract hasPlace(): boolean;
  protected abstract hand(message: Message): void;

  get prompt(): PromptConsumer | null {
    return null;
  }

  get holdsKeys(): boolean {
    return false;
  }

  countHanded(messages: number): void {
    this.handed += messages;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** True where its rate is limited. */
  protected get isLimited(): boolean {
    return this.#bucket !== null;
  }

  get isTaking(): boolean {
    return !this.#isPaused && !this.#isClosed;
  }

  isReady(): boolean {
    return this.hasPlace() && this.mayTake();
  }

  /** True where nothing but a place might be missing: open, not paused, below `maxInFlight`, within its rate. */
  protected mayTake(): boolean {
    return (
      !this.#isPaused &&
      !this.#isClosed &&
      this.inFlight < this.#maxInFlight &&
      (this.#bucket === null || this.#hasToken(this.#bucket))
    );
  }

  /** Takes up to `limit` messages for as long as it is ready; returns how many. */
  pump(limit: number): number {
    let done = 0;
    while (done < limit && this.isReady()) {
      const message = this.takeOne();
      if (message === undefined) break;
      done += 1;
      this.hand(message);
    }
    return done;
  }

  pause(): void {
    this.#isPaused = true;
    this.queue.chooseWay();
  }

  resume(): void {
    this.#isPaused = false;
    this.queue.chooseWay();
    this.queue.wakeUp();
  }

  /** Takes no more. What it has in flight stays with it. */
  close(): void {
    this.#isClosed = true;
    this.queue.chooseWay();
  }

  beginFlight(delivery: Delivery): void {
    delivery.consumer = this;
    this.inFlight += 1;
    const first = this.#firstFlight;
    delivery.next = first;
    if (first !== null) first.previous = delivery;
    this.#firstFlight = delivery;
  }

  endFlight(delivery: Delivery): void {
    this.inFlight -= 1;
    const { previous, next } = delivery;
    if (previous === null) this.#firstFlight = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    delivery.previous = null;
    delivery.next = null;
    if (this.#quietWaiters.length > 0) this.tellQuiet();
  }

  /** Deliveries in flight, the latest first. One that is being decided is none: whoever hears of that may ask. */
  flights(): Delivery[] {
    const flights: Delivery[] = [];
    for (let one = this.#firstFlight; one !== null; one = one.next) {
      if (one.state === "inFlight" || one.state === "staged") flights.push(one);
    }
    return flights;
  }

  /** Messages it has in flight or is working on. */
  busyWith(): Iterable<Message> {
    return this.flights();
  }

  /** True where nothing of its is in flight or running. */
  get isQuiet(): boolean {
    return this.inFlight === 0;
  }

  /** Resolves once it is quiet. */
  whenQuiet(): Promise<void> {
    if (this.isQuiet) return Promise.resolve();
    return new Promise((resolve) => this.#quietWaiters.push(resolve));
  }

  protected tellQuiet(): void {
    if (this.#quietWaiters.length === 0 || !this.isQuiet) return;
    for (const resolve of this.#quietWaiters.splice(0)) resolve();
  }

  protected takeOne(): Message | undefined {
    const message = this.queue.take(this);
    if (message === undefined) return undefined;
    this.handed += 1;
    this.#bucket?.take();
    return message;
  }

  #hasToken(bucket: TokenBucket): boolean {
    const waitMs = bucket.waitMs(this.host.deadlines.now());
    if (waitMs === 0) return true;
    if (this.#refill === null) {
      this.#refill = {
        onTimer: () => {
          this.#refill = null;
          this.queue.wakeUp();
        },
      };
      this.host.deadlines.after(waitMs, this.#refill);
    }
    return false;
  }
}
