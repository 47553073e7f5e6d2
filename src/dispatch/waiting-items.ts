import { PriorityQueue } from "../collections/priority-queue.js";
import { Delivery } from "../message/delivery.js";
import type { PublishedMessage } from "../message/message.js";
import type { Keyed } from "./key-order.js";
import { KeyOrder } from "./key-order.js";

/**
 * What waits in a queue. A message that nothing sets apart waits as itself, shared by every queue it is in; one that can
 * expire, that comes back, or whose publisher is held back, as a Delivery of its queue.
 */
export type Item = PublishedMessage | Delivery;

/** Empty places are cleared once there are this many, and more of them than items. */
const emptyPlacesKept = 64;

/**
 * What waits in a queue, in the order in which it is handed out: by priority, then as it came. With `orderBy: "key"` an item
 * whose key is in use is parked when its turn has come, until the key is free.
 *
 * A delivery that expires or is withdrawn in the middle leaves an empty place: it is no longer `waiting`, and is skipped when
 * it comes up. Taking it out at once would cost a search.
 */
export class WaitingItems {
  readonly #order: PriorityQueue<Item>;
  readonly #keys: KeyOrder<Item> | null;
  #emptyPlaces = 0;

  /** @param agingMs - milliseconds of waiting that lift an item by one priority; 0: priorities are strict */
  constructor(agingMs: number, isOrderedByKey: boolean) {
    this.#order = new PriorityQueue<Item>(
      agingMs > 0 ? { numberOf: seqOf, agingMs, timeOf: (item) => item.timestamp } : { numberOf: seqOf },
    );
    this.#keys = isOrderedByKey ? new KeyOrder<Item>() : null;
  }

  /** True where nothing is in turn: what is parked is not. Empty places count. */
  get isEmpty(): boolean {
    return this.#order.size === 0;
  }

  push(item: Item): void {
    this.#order.push(item, item.priority);
  }

  /** Adds an item that comes back: before the others of its priority, behind those that came back and are older. */
  putBack(item: Item): void {
    this.#order.putBack(item, item.priority);
  }

  /** Whose turn it is; it may be an empty place. */
  peek(): Item | undefined {
    return this.#order.peek();
  }

  /** Removes what `peek` returned. */
  shift(): void {
    this.#order.shift();
  }

  /** Removes and returns the next item, past the empty places. Its key is not taken. */
  next(): Item | undefined {
    for (;;) {
      const item = this.#order.shift();
      if (item === undefined || isWaiting(item)) return item;
      this.closePlace(item);
    }
  }

  /** Takes the key of an item that `next` returned; false: its key is in use, and it is parked. */
  acquire(item: Item): boolean {
    return this.#keys === null || this.#keys.acquire(item);
  }

  /** An item is done with: the next of its key has its turn. */
  release(item: Keyed): void {
    const next = this.#keys?.release(item);
    if (next !== undefined) this.putBack(next);
  }

  /** The delivery that is somewhere in here waits no longer. @param left - items that wait beside it */
  openPlace(left: number): void {
    this.#emptyPlaces += 1;
    if (this.#emptyPlaces > emptyPlacesKept && this.#emptyPlaces > left) this.#closeUp();
  }

  /** An empty place has come up, and is gone. */
  closePlace(item: Item): void {
    this.#emptyPlaces -= 1;
    this.release(item);
  }

  /**
   * Removes and returns what a drop policy gives up first to make room for a message of such a priority: of the lowest that
   * waits. Undefined where nothing is worth less than that message.
   */
  shed(policy: "drop-oldest" | "drop-newest", priority: number): Item | undefined {
    for (;;) {
      const lowest = this.#order.lowestPriority;
      if (lowest > priority || (policy === "drop-newest" && lowest === priority)) return undefined;
      const victim = policy === "drop-oldest" ? this.#order.shiftLowest() : this.#order.popLowest();
      if (victim === undefined) {
        const parked = policy === "drop-oldest" ? this.#keys?.shedOldest() : undefined;
        if (parked === undefined || isWaiting(parked)) return parked;
        this.#emptyPlaces -= 1;
      } else {
        if (isWaiting(victim)) return victim;
        this.closePlace(victim);
      }
    }
  }

  clear(): void {
    this.#order.clear();
    this.#keys?.clear();
    this.#emptyPlaces = 0;
  }

  /** The items in the order in which they would be handed out, then those that are parked. */
  *[Symbol.iterator](): IterableIterator<Item> {
    for (const item of this.#order) if (isWaiting(item)) yield item;
    if (this.#keys === null) return;
    for (const item of this.#keys.parked()) if (isWaiting(item)) yield item;
  }

  #closeUp(): void {
    const gone: Item[] = [];
    const isHere = (item: Item): boolean => {
      if (isWaiting(item)) return true;
      gone.push(item);
      return false;
    };
    this.#keys?.retainParked(isHere);
    this.#order.retain(isHere);
    for (const item of gone) this.closePlace(item);
  }
}

function seqOf(item: Item): number {
  return item.seq;
}

function isWaiting(item: Item): boolean {
  return !(item instanceof Delivery) || item.state === "waiting";
}
