/** A change to a database: a value, or undefined to remove the key. */
interface DatabaseChange {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

/** The database of a store: ordered keys, atomic batches. */
export interface Database {
  get(key: Buffer): Promise<Buffer | undefined>;
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>;
  batch(changes: readonly DatabaseChange[]): Promise<void>;
  entries(range: {
    readonly gte: Buffer;
    readonly lt: Buffer;
  }): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined>;
  compact(): Promise<void>;
  close(): Promise<void>;
}

/** Databases in memory, by path. Each batch is kept, whole, from its call on, as LevelDB's synced batches are. */
export class MemoryDatabases {
  readonly #byPath = new Map<string, Map<string, Buffer>>();

  readonly open = async (path: string): Promise<Database> => {
    let content = this.#byPath.get(path);
    if (content === undefined) {
      content = new Map();
      this.#byPath.set(path, content);
    }
    return databaseOf(content);
  };
}

function databaseOf(content: Map<string, Buffer>): Database {
  return {
    get: async (key) => content.get(textOf(key)),
    getMany: async (keys) => keys.map((key) => content.get(textOf(key))),
    batch: async (changes) => {
      for (const { key, value } of changes) {
        if (value === undefined) content.delete(textOf(key));
        else content.set(textOf(key), Buffer.from(value));
      }
    },
    async *entries({ gte, lt }) {
      await Promise.resolve();
      const from = textOf(gte);
      const to = textOf(lt);
      const found = [...content].filter(([key]) => key >= from && key < to);
      yield found
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => [Buffer.from(key, "latin1"), value] as const);
    },
    compact: async () => undefined,
    close: async () => undefined,
  };
}

/** A key as a text that sorts as its bytes do. */
function textOf(key: Buffer): string {
  return key.toString("latin1");
}
