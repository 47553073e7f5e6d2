import { broken, BrokerError, brokerError } from "../errors.js";
import { fulfilled } from "../message/message.js";
import type { Durability, Store, StoreStep } from "./store-port.js";
import { durabilities } from "./store-port.js";

/** A promise, and how it is decided. */
class Outcome {
  readonly promise: Promise<void>;
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

/** Steps that go into one record. */
class Collection {
  readonly steps: StoreStep[] = [];
  /** Those of calls that publish nothing. */
  readonly others: StoreStep[] = [];
  /** Of the calls that publish something. */
  readonly published = new Outcome();
  /** Of the others. */
  readonly kept = new Outcome();
  level: Durability = "memory";
  /** All of it is stored, or nothing. */
  isWhole: boolean;

  constructor(isWhole: boolean) {
    this.isWhole = isWhole;
  }

  decideBy(stored: Promise<void>, again: (others: readonly StoreStep[]) => Promise<void>): void {
    const { published, kept, others, steps } = this;
    const resolve = (): void => {
      published.resolve();
      kept.resolve();
    };
    stored.then(resolve, (error: unknown) => {
      published.reject(error);
      const isFull = error instanceof BrokerError && error.code === "ERR_STORE_FULL";
      const standsAlone = isFull && !this.isWhole && others.length > 0 && others.length < steps.length;
      (standsAlone ? again(others) : stored).then(kept.resolve, kept.reject);
    });
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
    const publishes = steps.some(isPublish);
    for (const step of steps) {
      collection.steps.push(step);
      if (!publishes) collection.others.push(step);
    }
    collection.level = highest(collection.level, level ?? this.store.durability);
    return publishes ? collection.published.promise : collection.kept.promise;
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

  /**
   * Runs `run`; what it appends goes into one record. `run` must not wait for it. Where a full disk refuses the messages in it,
   * the calls that publish none are stored without those that do: a settle must not wait for room for the copy of a dead letter.
   *
   * @param isWhole - all of it is stored, or nothing
   */
  together<Result>(run: () => Result, isWhole = false): Result {
    if (this.#collection === null) return this.#gather(run, isWhole).result;
    if (isWhole) this.#collection.isWhole = true;
    return run();
  }

  /** As `together`, whole, where nothing is being gathered. Tells what went into the record, too: for who stores it again after a refusal. */
  gather<Result>(run: () => Result): Gathered<Result> {
    if (this.#collection !== null) broken("a record within a record");
    return this.#gather(run, true);
  }

  #gather<Result>(run: () => Result, isWhole: boolean): Gathered<Result> {
    const collection = new Collection(isWhole);
    const { steps, kept } = collection;
    this.#collection = collection;
    try {
      return { result: run(), steps, stored: kept.promise };
    } finally {
      this.#collection = null;
      const stored = steps.length === 0 ? fulfilled : this.#append(steps, collection.level);
      collection.decideBy(stored, (others) => this.#append(others, collection.level));
    }
  }

  #append(steps: readonly StoreStep[], level: Durability | undefined): Promise<void> {
    const stored = this.store.append(steps, level);
    // Messages are held back before they get here, so that the buffer has room for them.
    if (steps.some(isPublish)) return stored;
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

function isPublish({ type }: StoreStep): boolean {
  return type === "publish";
}

/** The higher of two levels. */
export function highest(one: Durability, other: Durability): Durability {
  return durabilities.indexOf(one) >= durabilities.indexOf(other) ? one : other;
}
