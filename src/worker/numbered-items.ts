/** Slots to begin with; a power of two, as every capacity is. */
const leastSlots = 64;
/** A window that is as wide as so many times what it holds is made narrow again. */
const sparse = 8;

/**
 * Items by number, where numbers only grow and most items go about as they came: the deliveries in flight.
 *
 * They lie in a circular window over the numbers, from the oldest that is there. What stays while many come and go would make the window
 * wide, so it moves aside, into a map. A map for all of them would cost much more: each time it makes room, it leaves a table behind that keeps
 * what was in it alive, until a major collection.
 */
export class NumberedItems<Item> {
  #slots: (Item | undefined)[] = new Array<Item | undefined>(leastSlots).fill(undefined);
  /** The window: from this number to before the other. */
  #from = 0;
  #to = 0;
  #inWindow = 0;
  /** Older than all in the window. */
  readonly #aside = new Map<number, Item>();

  get size(): number {
    return this.#inWindow + this.#aside.size;
  }

  /** Slots that the window has, taken or not. */
  get slots(): number {
    return this.#slots.length;
  }

  /** Adds an item under a number above all that were added before. */
  add(number: number, item: Item): void {
    if (this.#inWindow === 0) this.#from = number;
    else if (number - this.#from >= this.#slots.length) this.#makeRoom(number);
    this.#to = number + 1;
    this.#slots[number & (this.#slots.length - 1)] = item;
    this.#inWindow += 1;
  }

  get(number: number): Item | undefined {
    if (number >= this.#from) return number < this.#to ? this.#slots[number & (this.#slots.length - 1)] : undefined;
    return this.#aside.size === 0 ? undefined : this.#aside.get(number);
  }

  /** Takes an item out, and returns it. */
  take(number: number): Item | undefined {
    if (number < this.#from) {
      if (this.#aside.size === 0) return undefined;
      const item = this.#aside.get(number);
      this.#aside.delete(number);
      return item;
    }
    if (number >= this.#to) return undefined;
    const slots = this.#slots;
    const mask = slots.length - 1;
    const item = slots[number & mask];
    if (item === undefined) return undefined;
    slots[number & mask] = undefined;
    this.#inWindow -= 1;
    if (number === this.#from) {
      let from = number + 1;
      while (from < this.#to && slots[from & mask] === undefined) from += 1;
      this.#from = from;
    }
    return item;
  }

  clear(): void {
    this.#slots = new Array<Item | undefined>(leastSlots).fill(undefined);
    this.#from = this.#to;
    this.#inWindow = 0;
    this.#aside.clear();
  }

  /** The oldest. */
  first(): Item | undefined {
    if (this.#aside.size > 0) return this.#aside.values().next().value;
    return this.#inWindow === 0 ? undefined : this.#slots[this.#from & (this.#slots.length - 1)];
  }

  /** Numbers and items, the oldest first. Those that are taken out meanwhile are left out. */
  *[Symbol.iterator](): IterableIterator<[number: number, item: Item]> {
    yield* this.#aside;
    for (let number = this.#from; number < this.#to; number += 1) {
      const item = this.get(number);
      if (item !== undefined) yield [number, item];
    }
  }

  /** Widens the window, or lets those that make it wide move aside. */
  #makeRoom(number: number): void {
    const width = number + 1 - this.#from;
    if (width > this.#inWindow * sparse) {
      const from = number + 1 - this.#slots.length;
      for (let old = this.#from; old < from; old += 1) {
        const item = this.take(old);
        if (item !== undefined) this.#aside.set(old, item);
      }
      if (this.#inWindow === 0) this.#from = number;
      return;
    }
    const old = this.#slots;
    const slots = new Array<Item | undefined>(powerOfTwo(width)).fill(undefined);
    for (let one = this.#from; one < this.#to; one += 1) slots[one & (slots.length - 1)] = old[one & (old.length - 1)];
    this.#slots = slots;
  }
}

function powerOfTwo(least: number): number {
  let power = leastSlots;
  while (power < least) power *= 2;
  return power;
}
