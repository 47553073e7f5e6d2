import { broken, BrokerError, brokerError } from "../errors.js";
import { fulfilled } from "../message/message.js";
import type { Durability, Store, StoreStep } from "./store-port.js";
import { durabilities } from "./store-port.js";

/** Steps that go into one record. */
class Collection {
  readonly steps: StoreStep[] = [];
  readonly promise: Promise<void>;
  level: Durability = "memory";
  resolve: () => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever waits for it sees a failure; nobody may.
    this.promise.catch(() => undefined);
  }
}

/** What went into one record. */
export interface Gathered<Result> {
  readonly result: Result;
  readonly steps: readonly StoreStep[];
  readonly stored: Promise<void>;
}

/**
 * The one way from the broker into its store: publishes, settles, dead letters, everything. What is appended while
 * `together` runs becomes one record.
 */
export class StoreWriter {
  #store: Store | null = null;
  #collection: Collection | null = null;
  /** The promise of the last append that published nothing, and what its caller was given for it: one for a whole group. */
  #stored: Promise<void> | null = null;
  #guarded: Promise<void> = fulfilled;
  /** The highest number of a message that was appended or collected. */
  lastSeq = 0;

  get store(): Store {
    return this.#store ?? broken("the store is used before it is open");
  }

  get isOpen(): boolean {
    return this.#store !== null;
  }

  open(store: Store): void {
    this.#store = store;
    this.lastSeq = store.lastSeq;
  }

  /** Appends steps as one. `level` absent: the store's own. */
  append(steps: readonly StoreStep[], level?: Durability): Promise<void> {
    for (const step of steps) if (step.type === "publish") this.lastSeq = Math.max(this.lastSeq, step.message.seq);
    const collection = this.#collection;
    if (collection === null) return this.#append(steps, level);
    for (const step of steps) collection.steps.push(step);
    collection.level = highest(collection.level, level ?? this.store.durability);
    return collection.promise;
  }

  /** Throws what `append` would refuse, as far as that is known before. */
  requireRoom(steps: readonly StoreStep[]): void {
    const { store } = this;
    if (steps.length > 0 && store.state === "full") {
      throw brokerError("ERR_STORE_FULL", "the store's disk is full; it goes on by itself once there is room");
    }
    if (store.state === "failed") {
      throw brokerError(
        "ERR_STORE_FAILED",
        "the store has failed and takes nothing; close the broker and open it again",
      );
    }
    store.check(steps);
  }

  /** Runs `run`; what it appends goes into one record. `run` must not wait for it. */
  together<Result>(run: () => Result): Result {
    return this.#collection === null ? this.gather(run).result : run();
  }

  /** As `together`, where nothing is being gathered. Tells what went into the record, too: for who stores it again after a refusal. */
  gather<Result>(run: () => Result): Gathered<Result> {
    if (this.#collection !== null) broken("a record within a record");
    const collection = new Collection();
    const { steps, promise: stored } = collection;
    this.#collection = collection;
    try {
      return { result: run(), steps, stored };
    } finally {
      this.#collection = null;
      if (steps.length === 0) collection.resolve();
      else this.#append(steps, collection.level).then(collection.resolve, collection.reject);
    }
  }

  #append(steps: readonly StoreStep[], level: Durability | undefined): Promise<void> {
    const stored = this.store.append(steps, level);
    // Messages are held back before they get here, so that the buffer has room for them.
    if (steps[0]?.type === "publish" || steps.some(({ type }) => type === "publish")) return stored;
    // What the buffer has no room for is refused by itself: a promise that was there before is that of a group.
    if (stored !== this.#stored) {
      this.#stored = stored;
      this.#guarded = stored.catch((error: unknown) => this.#appendAgain(steps, level, error));
    }
    return this.#guarded;
  }

  /** What settles messages must not be lost for want of room in a buffer. */
  async #appendAgain(steps: readonly StoreStep[], level: Durability | undefined, error: unknown): Promise<void> {
    if (!(error instanceof BrokerError) || error.code !== "ERR_QUEUE_FULL") throw error;
    await this.store.ready();
    await this.#append(steps, level);
  }
}

/** The higher of two levels. */
export function highest(one: Durability, other: Durability): Durability {
  return durabilities.indexOf(one) >= durabilities.indexOf(other) ? one : other;
}
