/** A ring starts with this many slots; a power of two, as every capacity is. */
const initialCapacity = 8;

/** Up to this many slots (8 KiB) are kept for the next burst; more are given back as the ring drains. */
const keptCapacity = 1024;

/**
 * A queue in one circular array, which also gives its last item back: every operation at either end is amortised O(1),
 * and a steady flow of items allocates nothing.
 *
 * The array doubles when it is full, and shrinks to a quarter once seven eighths of it are unused. It is half
 * empty and half full after either step, so neither can follow on the other before the number of items has
 * changed by a constant factor. A removed item's slot is cleared at once: the ring never keeps alive what it
 * no longer holds.
 *
 * An iterator reads the ring as it is at each step; changing the ring meanwhile is safe, but may skip or repeat
 * items.
 */
export class Ring<T> {
  #slots: (T | undefined)[] = emptySlots(initialCapacity);
  /** Where the first item is. Always below the capacity. */
  #head = 0;
  #length = 0;
  /** The ring shrinks when it holds fewer items than this; 0 while it is small enough to be kept. */
  #shrinkBelow = 0;

  /** How many items the ring holds. */
  get length(): number {
    return this.#length;
  }

  /** How many items fit before the ring grows. */
  get capacity(): number {
    return this.#slots.length;
  }

  /** Adds an item at the end. */
  push(item: T): void {
    let slots = this.#slots;
    if (this.#length === slots.length) slots = this.#resize(slots.length * 2);
    slots[(this.#head + this.#length) & (slots.length - 1)] = item;
    this.#length += 1;
  }

  /** Removes the first item and returns it. */
  shift(): T | undefined {
    const length = this.#length;
    if (length === 0) return undefined;
    const slots = this.#slots;
    const head = this.#head;
    const item = slots[head];
    slots[head] = undefined;
    this.#head = (head + 1) & (slots.length - 1);
    this.#length = length - 1;
    if (length <= this.#shrinkBelow) this.#resize(slots.length / 4);
    return item;
  }

  /** Removes the last item and returns it. */
  pop(): T | undefined {
    const length = this.#length;
    if (length === 0) return undefined;
    const slots = this.#slots;
    const last = (this.#head + length - 1) & (slots.length - 1);
    const item = slots[last];
    slots[last] = undefined;
    this.#length = length - 1;
    if (length <= this.#shrinkBelow) this.#resize(slots.length / 4);
    return item;
  }

  /** The first item, left in place. */
  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#slots[this.#head];
  }

  /** The last item, left in place. */
  peekLast(): T | undefined {
    return this.at(this.#length - 1);
  }

  /** The item at a position counted from the first, 0; `undefined` outside the ring. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined;
    const slots = this.#slots;
    return slots[(this.#head + index) & (slots.length - 1)];
  }

  /**
   * Keeps the items for which `keep` returns true, in their order, and returns how many it removed.
   *
   * When `keep` throws, the items it has refused are gone, the others all stay, and the error is passed on.
   * `keep` must not change the ring.
   */
  retain(keep: (item: T) => boolean): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const head = this.#head;
    const length = this.#length;
    let read = 0;
    let kept = 0;
    try {
      for (; read < length; read += 1) {
        const item = slots[(head + read) & mask] as T;
        if (!keep(item)) continue;
        slots[(head + kept) & mask] = item;
        kept += 1;
      }
    } finally {
      // Only after a throw are there items left that nobody has judged: they close up to the kept ones.
      for (; read < length; read += 1, kept += 1) {
        slots[(head + kept) & mask] = slots[(head + read) & mask];
      }
      for (let index = kept; index < length; index += 1) slots[(head + index) & mask] = undefined;
      this.#length = kept;
      this.#fit();
    }
    return length - kept;
  }

  /** Removes every item. */
  clear(): void {
    this.#slots = emptySlots(initialCapacity);
    this.#head = 0;
    this.#length = 0;
    this.#shrinkBelow = 0;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let index = 0; index < this.#length; index += 1) yield this.at(index) as T;
  }

  /** Shrinks as far as the policy asks after many items have gone at once. */
  #fit(): void {
    let capacity = this.#slots.length;
    while (capacity > keptCapacity && this.#length < capacity / 8) capacity /= 4;
    if (capacity !== this.#slots.length) this.#resize(capacity);
  }

  #resize(capacity: number): (T | undefined)[] {
    const from = this.#slots;
    const mask = from.length - 1;
    const to: (T | undefined)[] = emptySlots(capacity);
    for (let index = 0; index < this.#length; index += 1) {
      to[index] = from[(this.#head + index) & mask];
    }
    this.#slots = to;
    this.#head = 0;
    this.#shrinkBelow = capacity > keptCapacity ? capacity / 8 : 0;
    return to;
  }
}

/** Filled, so that every ring's array has one element kind whatever it will hold. */
function emptySlots<T>(capacity: number): (T | undefined)[] {
  return new Array<T | undefined>(capacity).fill(undefined);
}
