import { ReturnedItems } from "./returned-items.js";
import { Ring } from "./ring.js";

const lowest = 0;
const highest = 9;

/** How a `PriorityQueue` orders; without options by priority alone. */
export interface PriorityQueueOptions<T> {
  /** The number by which items that are put back keep their order among each other. Must not change meanwhile. */
  readonly numberOf?: (item: T) => number;
  /**
   * What one level of priority is worth in waiting time, in milliseconds: an item that has waited this much longer
   * for each level it is lower comes first. A positive number; needs `timeOf`.
   */
  readonly agingMs?: number;
  /** Since when an item waits, in milliseconds. Must give the same answer as long as the item is in the queue. */
  readonly timeOf?: (item: T) => number;
}

/** The waiting items of one priority, first in first out. */
class Lane<T> {
  readonly priority: number;
  readonly items = new Ring<T>();
  /** Those that were put back, which come before the others; null where there are none. */
  returned: ReturnedItems<T> | null = null;
  /** Where the lane stands in the heap; -1: it is not in it. */
  position = -1;

  constructor(priority: number) {
    this.priority = priority;
  }

  get length(): number {
    return this.returned === null ? this.items.length : this.items.length + this.returned.length;
  }

  shift(): T | undefined {
    const { returned } = this;
    if (returned === null) return this.items.shift();
    const item = returned.shift();
    if (returned.length === 0) this.returned = null;
    return item;
  }

  pop(): T | undefined {
    const { returned } = this;
    if (returned === null || this.items.length > 0) return this.items.pop();
    const item = returned.pop();
    if (returned.length === 0) this.returned = null;
    return item;
  }

  peek(): T | undefined {
    return this.returned === null ? this.items.peek() : this.returned.peek();
  }

  at(index: number): T | undefined {
    const { returned } = this;
    if (returned === null) return this.items.at(index);
    if (index === 0) return returned.peek();
    return index < returned.length ? returned.at(index) : this.items.at(index - returned.length);
  }

  retain(keep: (item: T) => boolean): void {
    const { returned } = this;
    if (returned !== null) {
      try {
        returned.retain(keep);
      } finally {
        if (returned.length === 0) this.returned = null;
      }
    }
    this.items.retain(keep);
  }
}

/**
 * A queue of items with priorities 0 to 9, the higher first, first in first out within one priority.
 *
 * It is a binary heap of at most ten lanes, ordered by which lane's head comes first; a lane is a ring. So an item
 * costs no more than a ring operation as long as its lane's head stays the same or one lane is alone, and never
 * more than a heap of ten.
 *
 * With aging an item's rank is `timeOf(item) - priority * agingMs`, the smaller first and the higher priority at
 * a tie: what waits long enough overtakes, inside one priority the order stays.
 *
 * What is put back comes before the others of its priority, those among each other in the order of their numbers,
 * whichever came back first.
 *
 * Every lane in the heap has items, with one exception that keeps a queue of one priority off the heap: a lane
 * that runs empty while it is alone stays, until a lane of another priority needs its place.
 */
export class PriorityQueue<T> {
  readonly #lanes: (Lane<T> | undefined)[] = new Array<Lane<T> | undefined>(highest + 1).fill(undefined);
  readonly #heap: Lane<T>[] = [];
  readonly #agingMs: number;
  readonly #timeOf: ((item: T) => number) | undefined;
  readonly #numberOf: (item: T) => number;
  /** The lane in the heap while there is but one: most queues have one priority, and then this is all they need. */
  #alone: Lane<T> | undefined;

  constructor(options: PriorityQueueOptions<T> = {}) {
    const { agingMs, timeOf } = options;
    this.#numberOf = options.numberOf ?? (() => 0);
    if (agingMs === undefined) {
      this.#agingMs = 0;
      this.#timeOf = undefined;
      return;
    }
    if (!(agingMs > 0 && agingMs < Infinity) || timeOf === undefined) {
      throw new RangeError(`Aging needs a positive number of milliseconds and timeOf, got ${agingMs}.`);
    }
    this.#agingMs = agingMs;
    this.#timeOf = timeOf;
  }

  /** How many items wait. */
  get size(): number {
    if (this.#alone !== undefined) return this.#alone.length;
    let size = 0;
    for (let index = 0; index < this.#heap.length; index += 1) {
      size += (this.#heap[index] as Lane<T>).length;
    }
    return size;
  }

  /** The lowest priority of which an item waits; -1 when none does. */
  get lowestPriority(): number {
    return this.#lowestLane()?.priority ?? -1;
  }

  /** Adds an item behind all others of its priority, a whole number from 0 to 9; throws a `RangeError` otherwise. */
  push(item: T, priority: number): void {
    const alone = this.#alone;
    if (alone !== undefined && alone.priority === priority) {
      alone.items.push(item);
      return;
    }
    const lane = this.#lanes[priority] ?? this.#openLane(priority);
    lane.items.push(item);
    if (lane.position < 0) this.#enter(lane);
  }

  /** Gives an item back: it comes before the others of its priority, but for those given back with a smaller number. */
  putBack(item: T, priority: number): void {
    const lane = this.#lanes[priority] ?? this.#openLane(priority);
    lane.returned ??= new ReturnedItems(this.#numberOf);
    lane.returned.push(item);
    if (lane.position < 0) this.#enter(lane);
    else if (this.#timeOf !== undefined && this.#alone === undefined) this.#restore(lane);
  }

  /** Removes the item that comes first and returns it; `undefined` when the queue is empty. */
  shift(): T | undefined {
    const alone = this.#alone;
    if (alone !== undefined) return alone.shift();
    const lane = this.#heap[0];
    if (lane === undefined) return undefined;
    const item = lane.shift();
    this.#settle(lane);
    return item;
  }

  /** The item that comes first, left in place. */
  peek(): T | undefined {
    return this.#heap[0]?.peek();
  }

  /** Removes the oldest item of the lowest waiting priority and returns it. */
  shiftLowest(): T | undefined {
    const lane = this.#lowestLane();
    if (lane === undefined) return undefined;
    const item = lane.shift();
    this.#settle(lane);
    return item;
  }

  /** Removes the newest item of the lowest waiting priority and returns it. */
  popLowest(): T | undefined {
    const lane = this.#lowestLane();
    if (lane === undefined) return undefined;
    const item = lane.pop();
    this.#settle(lane);
    return item;
  }

  /**
   * Keeps the items for which `keep` returns true, and returns how many it removed. It is asked by priority, the
   * highest first.
   *
   * When `keep` throws, the items it has refused are gone, the others all stay, and the error is passed on.
   * `keep` must not change the queue.
   */
  retain(keep: (item: T) => boolean): number {
    const before = this.size;
    try {
      for (let priority = highest; priority >= lowest; priority -= 1) {
        this.#lanes[priority]?.retain(keep);
      }
    } finally {
      this.#rebuild();
    }
    return before - this.size;
  }

  /** Removes every item. */
  clear(): void {
    this.#lanes.fill(undefined);
    this.#heap.length = 0;
    this.#alone = undefined;
  }

  /** The items in the order in which `shift()` would return them now. The queue must not change meanwhile. */
  *[Symbol.iterator](): IterableIterator<T> {
    const cursors = this.#heap.map((lane) => ({ lane, index: 0 }));
    for (;;) {
      let first: { lane: Lane<T>; index: number } | undefined;
      for (const cursor of cursors) {
        if (cursor.index === cursor.lane.length) continue;
        if (first === undefined || this.#comesFirst(cursor.lane, cursor.index, first.lane, first.index)) {
          first = cursor;
        }
      }
      if (first === undefined) return;
      yield first.lane.at(first.index) as T;
      first.index += 1;
    }
  }

  #openLane(priority: number): Lane<T> {
    if (!Number.isInteger(priority) || priority < lowest || priority > highest) {
      throw new RangeError(`A priority is a whole number from 0 to 9, got ${String(priority)}.`);
    }
    const lane = new Lane<T>(priority);
    this.#lanes[priority] = lane;
    return lane;
  }

  #lowestLane(): Lane<T> | undefined {
    const heap = this.#heap;
    let found = heap[0];
    if (found === undefined || found.length === 0) return undefined;
    for (let index = 1; index < heap.length; index += 1) {
      const lane = heap[index] as Lane<T>;
      if (lane.priority < found.priority) found = lane;
    }
    return found;
  }

  /** Puts a lane that has just lost an item where it belongs. */
  #settle(lane: Lane<T>): void {
    if (this.#alone !== undefined) return;
    if (lane.length === 0) this.#leave(lane);
    else if (this.#timeOf !== undefined) this.#restore(lane);
  }

  #enter(lane: Lane<T>): void {
    const heap = this.#heap;
    const alone = this.#alone;
    if (alone !== undefined && alone.length === 0) {
      alone.position = -1;
      heap.length = 0;
    }
    heap.push(lane);
    this.#alone = heap.length === 1 ? lane : undefined;
    this.#siftUp(lane, heap.length - 1);
  }

  #leave(lane: Lane<T>): void {
    const heap = this.#heap;
    const last = heap.pop() as Lane<T>;
    if (last !== lane) {
      last.position = lane.position;
      heap[last.position] = last;
      this.#restore(last);
    }
    lane.position = -1;
    this.#alone = heap.length === 1 ? heap[0] : undefined;
  }

  /** Puts a lane whose head has changed where it belongs. */
  #restore(lane: Lane<T>): void {
    const position = lane.position;
    this.#siftUp(lane, position);
    if (lane.position === position) this.#siftDown(lane, position);
  }

  #rebuild(): void {
    this.#heap.length = 0;
    this.#alone = undefined;
    for (const lane of this.#lanes) {
      if (lane === undefined) continue;
      lane.position = -1;
      if (lane.length > 0) this.#enter(lane);
    }
  }

  #siftUp(lane: Lane<T>, from: number): void {
    const heap = this.#heap;
    let index = from;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as Lane<T>;
      if (!this.#comesFirst(lane, 0, parent, 0)) break;
      heap[index] = parent;
      parent.position = index;
      index = parentIndex;
    }
    heap[index] = lane;
    lane.position = index;
  }

  #siftDown(lane: Lane<T>, from: number): void {
    const heap = this.#heap;
    let index = from;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= heap.length) break;
      let child = heap[childIndex] as Lane<T>;
      const right = heap[childIndex + 1];
      if (right !== undefined && this.#comesFirst(right, 0, child, 0)) {
        child = right;
        childIndex += 1;
      }
      if (!this.#comesFirst(child, 0, lane, 0)) break;
      heap[index] = child;
      child.position = index;
      index = childIndex;
    }
    heap[index] = lane;
    lane.position = index;
  }

  /** Whether the item at a place in one lane comes before that in another. */
  #comesFirst(a: Lane<T>, aIndex: number, b: Lane<T>, bIndex: number): boolean {
    const timeOf = this.#timeOf;
    if (timeOf === undefined) return a.priority > b.priority;
    const aRank = timeOf(a.at(aIndex) as T) - a.priority * this.#agingMs;
    const bRank = timeOf(b.at(bIndex) as T) - b.priority * this.#agingMs;
    return aRank < bRank || (aRank === bRank && a.priority > b.priority);
  }
}
