import { tallyOf } from "./ledger.js";
import type { Tally } from "./ledger.js";

interface Entry {
  /** Where it is, or will be, in the database. */
  readonly storedKey: Buffer;
  /** Until it is in the database. */
  value: Uint8Array | undefined;
  readonly at: number;
  isStored: boolean;
  /** For the ledger: the checksum it is stored with. */
  mark: number;
}

/** A value to be written. Whoever seals it says with which checksum. */
interface TablePut {
  readonly key: Buffer;
  readonly value: Uint8Array;
  mark: number;
}

/** What a checkpoint has to write for a table. */
export interface TableChanges {
  readonly puts: readonly TablePut[];
  readonly deletes: readonly Buffer[];
  /** What the table has in the database and keeps there. */
  readonly kept: Tally;
  /** Call it when they are in the database. */
  confirm(): void;
}

/**
 * A small table that lives in the log until a checkpoint puts it into the database: delayed messages, dead letters,
 * dedup ids, retained messages. Values stay in memory only until then; the keys stay.
 */
export class SideTable<Key> {
  readonly #entries = new Map<Key, Entry>();
  readonly #dirty = new Set<Entry>();
  /** Keys in the database that are in it no longer. */
  readonly #removed = new Map<string, Buffer>();

  get size(): number {
    return this.#entries.size;
  }

  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  /** Adds or replaces; a replaced entry moves to the end. */
  put(key: Key, storedKey: Buffer, value: Uint8Array, at = 0): void {
    this.remove(key);
    const entry: Entry = { storedKey, value, at, isStored: false, mark: 0 };
    this.#removed.delete(storedKey.toString("latin1"));
    this.#entries.set(key, entry);
    this.#dirty.add(entry);
  }

  /** Adds what is in the database already. */
  load(key: Key, storedKey: Buffer, mark: number, at = 0): void {
    this.#entries.set(key, { storedKey, value: undefined, at, isStored: true, mark });
  }

  remove(key: Key): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#dirty.delete(entry);
    // A checkpoint may be writing it just now; removing what is not there does no harm.
    this.#removed.set(entry.storedKey.toString("latin1"), entry.storedKey);
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.remove(key);
  }

  /** Removes from the front what is older than `before`, and what is beyond `maxEntries`. */
  prune(before: number, maxEntries: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.at >= before && this.#entries.size <= maxEntries) return;
      this.remove(key);
    }
  }

  changes(): TableChanges {
    const entries = [...this.#dirty];
    const removed = [...this.#removed];
    const puts = entries.map(({ storedKey, value }) => ({ key: storedKey, value: value as Uint8Array, mark: 0 }));
    return {
      puts,
      deletes: removed.map(([, key]) => key),
      kept: tallyOf(this.#storedMarks()),
      confirm: () => {
        for (const [index, entry] of entries.entries()) {
          entry.isStored = true;
          entry.mark = puts[index]?.mark ?? 0;
          entry.value = undefined;
          this.#dirty.delete(entry);
        }
        for (const [text, key] of removed) if (this.#removed.get(text) === key) this.#removed.delete(text);
      },
    };
  }

  *#storedMarks(): IterableIterator<number> {
    for (const { isStored, mark } of this.#entries.values()) if (isStored) yield mark;
  }

  /** Every key, in order, with its value if that is not in the database yet. */
  *[Symbol.iterator](): IterableIterator<readonly [Key, Uint8Array | undefined]> {
    for (const [key, { value }] of this.#entries) yield [key, value];
  }
}
