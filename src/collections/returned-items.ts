/**
 * Items that came back, the one with the smallest number first: a binary heap in an array.
 *
 * A sorted array is a heap as well. So whoever asks for the other end, or for all in order, has the array sorted where it
 * is, and it stays sorted until an item comes that is not the last.
 */
export class ReturnedItems<T> {
  readonly #items: T[] = [];
  readonly #numberOf: (item: T) => number;
  #isSorted = true;

  constructor(numberOf: (item: T) => number) {
    this.#numberOf = numberOf;
  }

  get length(): number {
    return this.#items.length;
  }

  push(item: T): void {
    const items = this.#items;
    const numberOf = this.#numberOf;
    const number = numberOf(item);
    let index = items.length;
    if (index > 0 && number < numberOf(items[index - 1] as T)) this.#isSorted = false;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = items[parentIndex] as T;
      if (numberOf(parent) <= number) break;
      items[index] = parent;
      index = parentIndex;
    }
    items[index] = item;
  }

  /** The item with the smallest number, left in place. */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** Removes the item with the smallest number and returns it. */
  shift(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (items.length > 0) {
      this.#isSorted = items.length === 1;
      this.#siftDown(last as T);
    } else this.#isSorted = true;
    return first;
  }

  /** Removes the item with the greatest number and returns it. */
  pop(): T | undefined {
    this.#sort();
    return this.#items.pop();
  }

  /** The item at a place in the order of numbers. */
  at(index: number): T | undefined {
    this.#sort();
    return this.#items[index];
  }

  /** Keeps the items for which `keep` returns true. When it throws, those it has refused are gone. */
  retain(keep: (item: T) => boolean): void {
    this.#sort();
    const items = this.#items;
    let read = 0;
    let kept = 0;
    try {
      for (; read < items.length; read += 1) {
        const item = items[read] as T;
        if (!keep(item)) continue;
        items[kept] = item;
        kept += 1;
      }
    } finally {
      items.splice(kept, read - kept);
    }
  }

  #sort(): void {
    if (this.#isSorted) return;
    const numberOf = this.#numberOf;
    this.#items.sort((a, b) => numberOf(a) - numberOf(b));
    this.#isSorted = true;
  }

  /** Finds the place for an item that stands in for the first. */
  #siftDown(item: T): void {
    const items = this.#items;
    const numberOf = this.#numberOf;
    const number = numberOf(item);
    let index = 0;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= items.length) break;
      if (childIndex + 1 < items.length && numberOf(items[childIndex + 1] as T) < numberOf(items[childIndex] as T)) {
        childIndex += 1;
      }
      const child = items[childIndex] as T;
      if (number <= numberOf(child)) break;
      items[index] = child;
      index = childIndex;
    }
    items[index] = item;
  }
}
