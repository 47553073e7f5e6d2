import { LRUCache } from "lru-cache";
import { blockKey } from "./store/keys.js";
import type { Block } from "./store/block.js";
import { DamagedValue } from "./store/damaged-value.js";
import type { KeyValueStore } from "./store/level-store.js";
import { OpenBlock } from "./store/open-block.js";
import type { PayloadReader } from "./store/open-block.js";
import type { Sealer } from "./store/sealer.js";
import { MalformedBytes } from "./wal/byte-reader.js";

export interface BlockReaderOptions {
  readonly database: () => KeyValueStore;
  readonly sealer: Sealer;
  readonly payloads: PayloadReader;
  /** Memory for blocks that were read, in bytes. */
  readonly cacheBytes: number;
  /** False for a block that the store has let go of meanwhile. */
  readonly isKnown: (block: Block) => boolean;
  /** Told once of each block that cannot be read. */
  readonly onDamage: (block: Block, cause: unknown) => void;
}

/** What blocks turned out to be: undefined for one that is gone or cannot be read. */
export type FoundBlocks = ReadonlyMap<Block, OpenBlock | undefined>;

/**
 * Reads blocks from the database, several at a time, and keeps those that were read last. A trip to the thread pool costs as
 * much as undoing the compression of a block, so one trip serves them all.
 */
export class BlockReader {
  readonly #options: BlockReaderOptions;
  readonly #cache: LRUCache<Block, OpenBlock>;
  readonly #loading = new Map<Block, Promise<FoundBlocks>>();
  #exchange: Promise<unknown> = Promise.resolve();

  constructor(options: BlockReaderOptions) {
    this.#options = options;
    this.#cache = new LRUCache<Block, OpenBlock>({
      maxSize: Math.max(1, options.cacheBytes),
      sizeCalculation: ({ raw }) => raw.length + 1,
    });
  }

  /**
   * Blocks are on their way out of the database; whoever does not find one there waits until it is known which. Where `done`
   * rejects, the database cannot say: they fail with it, until there is another.
   */
  exchanging(done: Promise<unknown>): void {
    this.#exchange = done;
    // Whoever waits for it sees a failure; nobody may.
    done.catch(() => undefined);
  }

  /** A block's messages; undefined when it is gone or cannot be read. */
  async open(block: Block): Promise<OpenBlock | undefined> {
    return (await this.openAll([block])).get(block);
  }

  /** As `open`, for several. Rejects where the database fails, and where a value is under a key that is not here. */
  async openAll(blocks: readonly Block[]): Promise<FoundBlocks> {
    const found = new Map<Block, OpenBlock | undefined>();
    const waits = new Map<Block, Promise<FoundBlocks>>();
    const missing = new Set<Block>();
    for (const block of blocks) {
      const cached = this.#cache.get(block);
      const loading = this.#loading.get(block);
      if (cached !== undefined) found.set(block, cached);
      else if (loading !== undefined) waits.set(block, loading);
      else missing.add(block);
    }
    if (missing.size > 0) {
      const load = this.#load([...missing]);
      for (const block of missing) {
        this.#loading.set(block, load);
        waits.set(block, load);
      }
    }
    // Together: one that fails must not leave the failure of another to nobody.
    await Promise.all(new Set(waits.values()));
    for (const [block, load] of waits) found.set(block, (await load).get(block));
    return found;
  }

  async #load(blocks: readonly Block[]): Promise<FoundBlocks> {
    const found = new Map<Block, OpenBlock | undefined>();
    try {
      const keys = blocks.map((block) => this.#keyOf(block));
      const values = await this.#valuesOf(keys);
      const opened = await Promise.all(
        blocks.map((block, at) => this.#opened(block, keys[at] as Buffer, values?.[at])),
      );
      for (let at = 0; at < blocks.length; at++) found.set(blocks[at] as Block, opened[at]);
    } finally {
      for (const block of blocks) this.#loading.delete(block);
    }
    return found;
  }

  /** Undefined where the database finds one of them damaged. */
  async #valuesOf(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[] | undefined> {
    try {
      return await this.#options.database().getMany(keys);
    } catch (cause) {
      if (!(cause instanceof DamagedValue)) throw cause;
      return undefined;
    }
  }

  async #opened(block: Block, key: Buffer, given: Buffer | undefined): Promise<OpenBlock | undefined> {
    const { sealer, database, payloads } = this.#options;
    try {
      // By itself where it was not found: the database may have failed over another.
      const value = given ?? (await database().get(key));
      if (value === undefined) throw new DamagedValue("the block is not in the database");
      const raw = await sealer.open(key, value);
      const { count, rawBytes, lastSeq } = block.facts;
      const isOther = raw.length !== rawBytes;
      const open = isOther ? undefined : new OpenBlock(block.topic.name, raw, count, payloads);
      // Another block under the same key: an older one, that came back with the loss of a table, or what was kept of this one.
      if (open?.message(count - 1).seq !== lastSeq) throw new DamagedValue("the block is not the one that was stored");
      this.#cache.set(block, open);
      return open;
    } catch (cause) {
      if (!(cause instanceof DamagedValue || cause instanceof MalformedBytes)) throw cause;
      await this.#exchange;
      if (this.#options.isKnown(block)) this.#damaged(block, cause);
      return undefined;
    }
  }

  #keyOf(block: Block): Buffer {
    return blockKey(this.#options.sealer.nameInKeys(block.topic.name), block.firstSeq);
  }

  #damaged(block: Block, cause: unknown): void {
    if (block.isDamaged) return;
    block.isDamaged = true;
    this.#options.onDamage(block, cause);
  }
}
