import type { Broker, BrokerSubscription, Message, SubscribeOptions } from "../index.js";
import { slotOfKey } from "./key-slots.js";
import type { WorkerPoolOptions } from "./pool-options.js";
import type { PoolWorker } from "./pool-worker.js";

/** What a pool takes its messages with. */
export interface PoolIntakeHost {
  readonly broker: Broker;
  readonly patterns: string | readonly string[];
  readonly group: string;
  readonly options: WorkerPoolOptions;
  /** Messages a worker may have: those its handlers work on, and those ahead of them. */
  readonly perWorker: number;
  readonly keyOf: ((message: Message) => string | undefined) | null;
  /** The workers, by slot. */
  workers(): readonly PoolWorker[];
}

/**
 * The subscriptions of a pool of some size: one for the keys of each slot, and one for what has no key, which any worker may take. Each is
 * paused while who takes its messages has no room: they wait in the broker, within its bounds.
 */
export class PoolIntake {
  readonly #host: PoolIntakeHost;
  readonly #subscriptions: BrokerSubscription[] = [];
  /** Those that wait for room. */
  readonly #paused = new Set<BrokerSubscription>();

  constructor(host: PoolIntakeHost, size: number, isHeld: boolean) {
    this.#host = host;
    const { keyOf } = host;
    if (keyOf === null) {
      this.#add((message) => this.#takeAnywhere(message, 0), undefined, size, isHeld);
      return;
    }
    for (let slot = 0; slot < size; slot += 1) {
      const isMine = (message: Message): boolean => {
        const key = keyOf(message);
        return key !== undefined && slotOfKey(key, size) === slot;
      };
      this.#add((message) => this.#take(message, slot), isMine, null, isHeld);
    }
    const hasNoKey = (message: Message): boolean => keyOf(message) === undefined;
    this.#add((message) => this.#takeAnywhere(message, size), hasNoKey, size, isHeld);
  }

  /** Messages that wait in the broker. */
  get queued(): number {
    return this.#subscriptions.reduce((total, subscription) => total + subscription.stats().queued, 0);
  }

  /** Begins to take, where it was held. */
  begin(): void {
    for (const subscription of this.#subscriptions) subscription.resume();
  }

  /** Takes nothing, until `regulate` finds that there is room. */
  pause(): void {
    for (const subscription of this.#subscriptions) this.#pause(subscription);
  }

  /** Goes on with what waited for room, where there is some. */
  regulate(): void {
    const workers = this.#host.workers();
    for (const subscription of this.#paused) {
      const own = this.#host.keyOf === null ? undefined : workers[this.#subscriptions.indexOf(subscription)];
      if (own === undefined ? !workers.some(hasRoom) : !hasRoom(own)) continue;
      this.#paused.delete(subscription);
      subscription.resume();
    }
  }

  /** Takes no new messages; resolves once what it had is done. */
  async drain(): Promise<void> {
    await Promise.all(this.#subscriptions.map((one) => one.drain()));
  }

  /** Ends it; what it had goes to other members of the group. */
  async close(): Promise<void> {
    await Promise.all(this.#subscriptions.map((one) => one.unsubscribe()));
  }

  /** @param sharedBy - workers that share what it takes; null: it is one's own, and its keys are kept in order */
  #add(
    take: (message: Message) => void,
    filter: SubscribeOptions["filter"],
    sharedBy: number | null,
    isHeld: boolean,
  ): void {
    const { broker, patterns, group, options, perWorker } = this.#host;
    const { ackTimeout, maxDeliveries, backoff, maxMessages, maxBytes, overflow } = options;
    const subscription = broker.subscribe(patterns, take, {
      ...defined({ ackTimeout, maxDeliveries, backoff, maxMessages, maxBytes, overflow, filter }),
      group,
      ack: "manual",
      maxInFlight: perWorker * (sharedBy ?? 1),
      // Each key by itself, also through redelivery, which only the broker's own key can have.
      ...(sharedBy === null ? { orderBy: "key" } : {}),
    });
    this.#subscriptions.push(subscription);
    if (isHeld) subscription.pause();
  }

  #take(message: Message, slot: number): void {
    const worker = this.#host.workers()[slot] as PoolWorker;
    worker.take(message);
    if (!hasRoom(worker)) this.#pause(this.#subscriptions[slot] as BrokerSubscription);
  }

  #takeAnywhere(message: Message, index: number): void {
    const workers = this.#host.workers();
    let best = workers[0] as PoolWorker;
    for (const worker of workers) if (rank(worker) > rank(best)) best = worker;
    best.take(message);
    if (!workers.some(hasRoom)) this.#pause(this.#subscriptions[index] as BrokerSubscription);
  }

  #pause(subscription: BrokerSubscription): void {
    subscription.pause();
    this.#paused.add(subscription);
  }
}

function hasRoom({ room }: PoolWorker): boolean {
  return room > 0;
}

/** Who should have the next: a thread that runs before one that has to be started, then whoever has most room. */
function rank(worker: PoolWorker): number {
  return worker.room + (worker.state === "running" ? 0.5 : 0);
}

/** The entries that are given. */
function defined<Options extends object>(
  options: Options,
): { [Name in keyof Options]?: Exclude<Options[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
