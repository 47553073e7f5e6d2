import { Ring } from "../collections/ring.js";

/** What is ordered: a message with its key and sequence number, fresh or coming back. */
export interface Keyed {
  readonly key: string | undefined;
  readonly seq: number;
}

interface Lane<Item> {
  /** The message that has the key: handed out, or on its way back after a nack. */
  ownerSeq: number;
  readonly parked: Ring<Item>;
}

/**
 * One message a key at a time. A message has its key from the moment it is taken until it is settled for good, also
 * through redelivery; others of the same key are parked meanwhile, in order.
 */
export class KeyOrder<Item extends Keyed> {
  readonly #lanes = new Map<string, Lane<Item>>();

  /** Messages that wait for their key. */
  parkedCount = 0;

  /** Takes the item's key for it, or parks it. A message without a key is never held back. */
  acquire(item: Item): boolean {
    if (item.key === undefined) return true;
    const lane = this.#lanes.get(item.key);
    if (lane === undefined) {
      this.#lanes.set(item.key, { ownerSeq: item.seq, parked: new Ring() });
      return true;
    }
    if (lane.ownerSeq === item.seq) return true;
    lane.parked.push(item);
    this.parkedCount += 1;
    return false;
  }

  /** Gives the key back, if the item has it. Returns the next of that key, which has it from now on. */
  release(item: Keyed): Item | undefined {
    if (item.key === undefined) return undefined;
    const lane = this.#lanes.get(item.key);
    if (lane?.ownerSeq !== item.seq) return undefined;
    const next = lane.parked.shift();
    if (next === undefined) {
      this.#lanes.delete(item.key);
      return undefined;
    }
    this.parkedCount -= 1;
    lane.ownerSeq = next.seq;
    return next;
  }

  /** Removes and returns the oldest parked item: what a drop policy sheds when nothing else waits. */
  shedOldest(): Item | undefined {
    let oldest: Lane<Item> | undefined;
    for (const lane of this.#lanes.values()) {
      const item = lane.parked.peek();
      if (item !== undefined && (oldest === undefined || item.seq < (oldest.parked.peek() as Item).seq)) {
        oldest = lane;
      }
    }
    if (oldest === undefined) return undefined;
    this.parkedCount -= 1;
    return oldest.parked.shift();
  }

  /** Removes the parked items that `keep` refuses. */
  retainParked(keep: (item: Item) => boolean): void {
    for (const { parked } of this.#lanes.values()) this.parkedCount -= parked.retain(keep);
  }

  *parked(): IterableIterator<Item> {
    for (const lane of this.#lanes.values()) yield* lane.parked;
  }

  clear(): void {
    this.#lanes.clear();
    this.parkedCount = 0;
  }
}
