import { ClassicLevel } from "classic-level";
import { DamagedValue } from "./damaged-value.js";
import type { KeyRange } from "./keys.js";

/** A change to the database: a value, or undefined to remove the key. */
export interface Change {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

/** The database, as the store sees it: ordered keys, atomic batches. LevelDB is one; tests have one that loses power. */
export interface KeyValueStore {
  /** Rejects with `DamagedValue` where the database finds itself damaged; so does `entries`. */
  get(key: Buffer): Promise<Buffer | undefined>;
  /** The same for several keys in one trip; one that is damaged fails them all. */
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>;
  /** All changes or none, on the disk when it resolves. */
  batch(changes: readonly Change[]): Promise<void>;
  /** Keys and values of a range in order, some hundreds at a time, as they were when the call was made. */
  entries(range: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined>;
  /** Gives back the room of what was removed or replaced. */
  compact(): Promise<void>;
  close(): Promise<void>;
  /** True of one that nothing was asked of that could have left it in doubt: there is no reason to open it again. */
  readonly isUntouched?: boolean;
}

/** Opens the database in a folder; makes it when there is none. Rejects with LevelDB's own errors. */
export type OpenKeyValueStore = (path: string) => Promise<KeyValueStore>;

const readAheadBytes = 1024 * 1024;

class LevelStore implements KeyValueStore {
  readonly #level: ClassicLevel<Buffer, Buffer>;

  constructor(level: ClassicLevel<Buffer, Buffer>) {
    this.#level = level;
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    try {
      return await this.#level.get(key, { fillCache: false });
    } catch (error) {
      throw damageOf(error);
    }
  }

  async getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> {
    try {
      return await this.#level.getMany([...keys], { fillCache: false });
    } catch (error) {
      throw damageOf(error);
    }
  }

  /** A chained batch: one of an array copies its options into each of its changes, which takes fifteen times as long. */
  async batch(changes: readonly Change[]): Promise<void> {
    const batch = this.#level.batch();
    for (const { key, value } of changes) {
      if (value === undefined) batch.del(key);
      else batch.put(key, value);
    }
    await batch.write({ sync: true });
  }

  async *entries(range: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined> {
    const iterator = this.#level.iterator({ ...range, fillCache: false, highWaterMarkBytes: readAheadBytes });
    try {
      for (;;) {
        const entries = await iterator.nextv(1000).catch((error: unknown) => {
          throw damageOf(error);
        });
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

/** LevelDB's own finding that its files are damaged, as the store knows damage; other errors as they are. */
function damageOf(error: unknown): unknown {
  const isDamage = error instanceof Error && "code" in error && error.code === "LEVEL_CORRUPTION";
  return isDamage ? new DamagedValue(`the database is damaged: ${error.message}`, { cause: error }) : error;
}

/**
 * Why LevelDB would not open: another process (or another opening in this one) has it, its files are damaged or gone, the
 * disk is full, or the system refuses. Undefined for what is no error of LevelDB's.
 */
export function levelProblem(error: unknown): "locked" | "damaged" | "full" | "failed" | undefined {
  let found: "failed" | undefined;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
    if (code === "LEVEL_LOCKED") return "locked";
    if (code === "LEVEL_CORRUPTION" || code === "EEXIST" || code === "ENOTDIR") return "damaged";
    if (code === "ENOSPC" || code === "EDQUOT") return "full";
    if (code === "LEVEL_IO_ERROR") {
      // The system's own words; there is no number.
      if (/no such file|not a directory|cannot find/i.test(cause.message)) return "damaged";
      return /no space|disk full|quota/i.test(cause.message) ? "full" : "failed";
    }
    if (code.startsWith("LEVEL_")) found = "failed";
  }
  return found;
}
