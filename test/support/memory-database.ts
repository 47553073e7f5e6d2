import type { KeyRange } from "../../src/persistence/store/keys.js";
import type { Change, KeyValueStore } from "../../src/persistence/store/level-store.js";

/**
 * A database in memory, with its content kept between openings: each batch is on the disk, whole, when it resolves, as
 * LevelDB's synced batches are. It fails, in part done or not, where it is told to.
 */
export class MemoryDatabase {
  entries = new Map<string, Buffer>();
  /** The n-th batch (from 0) fails, … */
  failAt: number | undefined;
  /** … after it was done, or before. */
  failsAfterwards = false;
  batches = 0;
  hasFailed = false;
  /** There was no room for something in the background: batches and compactions fail until the next opening, as LevelDB's do. */
  keepsFailure = false;

  copy(): MemoryDatabase {
    const copy = new MemoryDatabase();
    copy.entries = new Map(this.entries);
    return copy;
  }

  open = async (): Promise<KeyValueStore> => {
    await Promise.resolve();
    this.keepsFailure = false;
    return {
      get: (key) => Promise.resolve(this.entries.get(key.toString("latin1"))),
      getMany: (keys) => Promise.resolve(keys.map((key) => this.entries.get(key.toString("latin1")))),
      batch: (changes) => this.#batch(changes),
      entries: (range) => this.#entries(range),
      compact: async () => this.#requireRoom(),
      close: () => Promise.resolve(),
    };
  };

  async #batch(changes: readonly Change[]): Promise<void> {
    await Promise.resolve();
    this.#requireRoom();
    const isFailing = this.batches++ === this.failAt;
    if (isFailing && !this.failsAfterwards) throw this.#failure();
    for (const { key, value } of changes) {
      if (value === undefined) this.entries.delete(key.toString("latin1"));
      else this.entries.set(key.toString("latin1"), Buffer.from(value));
    }
    if (isFailing) throw this.#failure();
  }

  #requireRoom(): void {
    if (!this.keepsFailure) return;
    throw Object.assign(new Error("IO error: 000005.ldb: No space left on device"), { code: "LEVEL_IO_ERROR" });
  }

  #failure(): Error {
    this.hasFailed = true;
    return Object.assign(new Error("the batch failed"), { code: "LEVEL_IO_ERROR" });
  }

  async *#entries({ gte, lt }: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined> {
    await Promise.resolve();
    const from = gte.toString("latin1");
    const to = lt.toString("latin1");
    const keys = [...this.entries.keys()].filter((key) => key >= from && key < to).sort();
    yield keys.map((key) => [Buffer.from(key, "latin1"), this.entries.get(key) as Buffer] as const);
  }
}
