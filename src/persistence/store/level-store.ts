import { ClassicLevel } from "classic-level";
import type { KeyRange } from "./keys.js";

/** A change to the database: a value, or undefined to remove the key. */
export interface Change {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

/** The database, as the store sees it: ordered keys, atomic batches. LevelDB is one; tests have one that loses power. */
export interface KeyValueStore {
  get(key: Buffer): Promise<Buffer | undefined>;
  /** All changes or none, on the disk when it resolves. */
  batch(changes: readonly Change[]): Promise<void>;
  /** Keys and values of a range in order, some hundreds at a time, as they were when the call was made. */
  entries(range: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined>;
  /** Gives back the room of what was removed or replaced. */
  compact(): Promise<void>;
  close(): Promise<void>;
}

/** Opens the database in a folder; makes it when there is none. Rejects with LevelDB's own errors. */
export type OpenKeyValueStore = (path: string) => Promise<KeyValueStore>;

const readAheadBytes = 1024 * 1024;

class LevelStore implements KeyValueStore {
  readonly #level: ClassicLevel<Buffer, Buffer>;

  constructor(level: ClassicLevel<Buffer, Buffer>) {
    this.#level = level;
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#level.get(key, { fillCache: false });
  }

  batch(changes: readonly Change[]): Promise<void> {
    const operations = changes.map(({ key, value }) =>
      value === undefined ? ({ type: "del", key } as const) : ({ type: "put", key, value } as const),
    );
    return this.#level.batch(operations, { sync: true });
  }

  async *entries(range: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined> {
    const iterator = this.#level.iterator({ ...range, fillCache: false, highWaterMarkBytes: readAheadBytes });
    try {
      for (;;) {
        const entries = await iterator.nextv(1000);
        if (entries.length === 0) return;
        yield entries;
      }
    } finally {
      await iterator.close();
    }
  }

  compact(): Promise<void> {
    return this.#level.compactRange(Buffer.from([0]), Buffer.from([255, 255]));
  }

  close(): Promise<void> {
    return this.#level.close();
  }
}

/** LevelDB through classic-level. Values are compressed before they come here. */
export const openLevelStore: OpenKeyValueStore = async (path) => {
  const level = new ClassicLevel<Buffer, Buffer>(path, {
    keyEncoding: "buffer",
    valueEncoding: "buffer",
    compression: false,
  });
  await level.open();
  return new LevelStore(level);
};

/** True when another process (or another opening in this one) has the database. */
export function isLevelLocked(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && cause.code === "LEVEL_LOCKED") return true;
  }
  return false;
}
