/** First in, first out, without moving what waits. */
export class Fifo<Item> {
  #items: (Item | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes out the first item that `isWanted`. */
  take(isWanted: (item: Item) => boolean): Item | undefined {
    for (let index = this.#head; index < this.#items.length; index += 1) {
      const item = this.#items[index] as Item;
      if (!isWanted(item)) continue;
      if (index === this.#head) return this.shift();
      this.#items.splice(index, 1);
      return item;
    }
    return undefined;
  }

  clear(): Item[] {
    const left = this.#items.slice(this.#head) as Item[];
    this.#items = [];
    this.#head = 0;
    return left;
  }

  *[Symbol.iterator](): IterableIterator<Item> {
    for (let index = this.#head; index < this.#items.length; index += 1) yield this.#items[index] as Item;
  }
}
