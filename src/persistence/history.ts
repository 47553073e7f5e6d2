import { Heap } from "mnemonist";
import { LRUCache } from "lru-cache";
import type { PayloadCodec } from "./codec.js";
import { HandedOutMessage, operationsOf } from "./entry-mapping.js";
import { LargeRecord } from "./large-record.js";
import { indexFlag } from "./log-index.js";
import type { StoredMessage } from "./operations.js";
import type { Generation, StoreState } from "./state.js";
import { OpenBlock } from "./store/block.js";
import type { Block } from "./store/block.js";
import { blockKey } from "./store/keys.js";
import type { KeyValueStore } from "./store/level-store.js";
import { DamagedValue } from "./store/damaged-value.js";
import type { Sealer } from "./store/sealer.js";
import type { Topic } from "./durable.js";
import { MalformedBytes } from "./wal/byte-reader.js";
import type { PublishEntry } from "./wal/entries.js";
import type { WalRecord } from "./wal/scanner.js";

/** Where a message is: in a block, or in the log. */
export interface Place {
  readonly seq: number;
  readonly block: Block | undefined;
  /** In the block. */
  readonly at: number;
  /** In the log. */
  readonly lsn: number;
}

/** Which messages a reader wants, as far as their number and topic tell. */
export interface Selection {
  /** Topics that come into question. */
  readonly topics: ReadonlySet<Topic>;
  readonly wants: (topic: Topic, seq: number, isUnclaimed: boolean) => boolean;
  readonly afterSeq: number;
  readonly throughSeq: number;
  readonly limit: number;
  /** Blocks that need not be looked at; by default none. */
  readonly skips?: ((block: Block) => boolean) | undefined;
  /** Also messages that readers do not see yet, since they are not on the disk. */
  readonly seesUnsynced?: boolean | undefined;
  /** Of the log, only messages that have expired by then; of blocks, `skips` knows. */
  readonly expiredBy?: number | undefined;
}

export interface Plan {
  readonly places: readonly Place[];
  /** Everything through it was looked at. */
  readonly throughSeq: number;
  /** Nothing more is there at this moment. */
  readonly isEnd: boolean;
}

interface LogSource {
  /** The records with the given numbers. */
  readThese(lsns: readonly number[]): AsyncGenerator<readonly WalRecord[], void, undefined>;
  /** Everything through it is on the disk. */
  readonly syncedLsn: number;
}

export interface HistoryOptions {
  readonly state: StoreState;
  readonly database: () => KeyValueStore;
  readonly sealer: Sealer;
  readonly payloads: PayloadCodec;
  readonly log: LogSource;
  /** Memory for blocks that were read, in bytes. */
  readonly cacheBytes: number;
  /** Told once of each block that cannot be read. */
  readonly onDamage: (block: Block, cause: unknown) => void;
}

/** How many blocks are read ahead. */
const readAhead = 4;

/**
 * Reads messages back. What to read is decided in memory, from numbers alone (`plan`); then only what is wanted is read
 * (`fetch`). Memory in use is bounded by the page and the cache, however long the history is.
 */
export class History {
  readonly #options: HistoryOptions;
  readonly #cache: LRUCache<Block, OpenBlock>;
  readonly #large = new LargeRecord();
  readonly #loading = new Map<Block, Promise<OpenBlock | undefined>>();

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#cache = new LRUCache<Block, OpenBlock>({
      maxSize: Math.max(1, options.cacheBytes),
      sizeCalculation: ({ raw }) => raw.length + 1,
    });
  }

  /** The next wanted messages, in the order of their numbers over all topics. */
  plan(selection: Selection): Plan {
    const { topics, afterSeq, throughSeq, limit, seesUnsynced } = selection;
    const places: Place[] = [];
    const { generations, index } = this.#options.state;
    if (topics.size === 0 || limit <= 0) return { places, throughSeq: afterSeq, isEnd: topics.size === 0 };
    for (let at = firstAbove(generations, afterSeq); at < generations.length; at++) {
      const generation = generations[at] as Generation;
      if (generation.firstSeq > throughSeq) break;
      mergeBlocks(generation, selection, places);
      if (places.length >= limit) return { places, throughSeq: places.at(-1)?.seq ?? afterSeq, isEnd: false };
    }
    const { syncedLsn } = this.#options.log;
    let seen = Math.max(afterSeq, Math.min(throughSeq, generations.at(-1)?.lastSeq ?? 0));
    let isEnd = true;
    const visit = (seq: number, lsn: number, topic: Topic, _expiresAt: number, flags: number): boolean => {
      if (seq > throughSeq) return false;
      // What comes after a message that is not to be seen yet is not seen either: else it would be passed over.
      if ((flags & indexFlag.needsSync) !== 0 && lsn > syncedLsn && seesUnsynced !== true) return false;
      if (topics.has(topic) && selection.wants(topic, seq, (flags & indexFlag.isUnclaimed) !== 0)) {
        if (places.length === limit) {
          isEnd = false;
          return false;
        }
        places.push({ seq, block: undefined, at: 0, lsn });
      }
      seen = seq;
      return true;
    };
    index.scan(afterSeq, visit, selection.expiredBy);
    return { places, throughSeq: seen, isEnd };
  }

  /**
   * The messages at the places, in order, and as many at a time as lie together. A message that is not there any more,
   * or cannot be read, is left out.
   */
  async *fetch(places: readonly Place[]): AsyncGenerator<StoredMessage[], void, undefined> {
    const blocks = [...new Set(places.map(({ block }) => block).filter((block) => block !== undefined))];
    const loads: Promise<OpenBlock | undefined>[] = [];
    /** Those that have come up, which they do in the order of `blocks`. */
    const opened = new Map<Block, OpenBlock | undefined>();
    const { payloads } = this.#options;
    let at = 0;
    let messages: StoredMessage[] = [];
    for (; at < places.length; at++) {
      const place = places[at] as Place;
      const { block } = place;
      if (block === undefined) break;
      let open = opened.get(block);
      if (open === undefined && !opened.has(block)) {
        const index = opened.size;
        while (loads.length < Math.min(index + readAhead, blocks.length)) {
          const load = this.open(blocks[loads.length] as Block);
          load.catch(() => undefined); // whoever comes to it sees it
          loads.push(load);
        }
        open = await loads[index];
        opened.set(block, open);
      }
      if (open !== undefined) messages.push(new HandedOutMessage(open.message(place.at), payloads));
      if (messages.length >= 256) {
        yield messages;
        messages = [];
      }
    }
    if (messages.length > 0) yield messages;
    if (at < places.length) yield* this.#fetchFromLog(places.slice(at));
  }

  async *#fetchFromLog(all: readonly Place[]): AsyncGenerator<StoredMessage[], void, undefined> {
    const { payloads, state, log } = this.#options;
    const known = this.#large.take(all).map((entry) => new HandedOutMessage(entry, payloads));
    this.#large.forgetBefore(state.index.firstSeq);
    if (known.length > 0) yield known;
    const places = all.slice(known.length);
    if (places.length === 0) return;
    const wanted = new Set(places.map(({ seq }) => seq));
    const lsns = [...new Set(places.map(({ lsn }) => lsn))];
    const lastSeq = places.at(-1)?.seq ?? 0;
    let messages: StoredMessage[] = [];
    for await (const records of log.readThese(lsns)) {
      for (const { lsn, entry } of records) {
        const operations = operationsOf(entry);
        for (const operation of operations) {
          if (operation.type !== "publish" || !wanted.delete(operation.seq)) continue;
          messages.push(new HandedOutMessage(operation, payloads));
        }
        this.#large.keep(lsn, operations, lastSeq);
      }
      yield messages;
      messages = [];
    }
    if (wanted.size === 0) return;
    // A checkpoint has moved them into blocks meanwhile, or removed them.
    const moved: Place[] = [];
    const topics = new Set(state.topics);
    for (const seq of wanted) {
      const [place] = this.plan({
        topics,
        wants: () => true,
        afterSeq: seq - 1,
        throughSeq: seq,
        limit: 1,
      }).places;
      if (place?.block !== undefined) moved.push(place);
    }
    if (moved.length > 0) yield* this.fetch(moved);
  }

  /** A block's messages; undefined when it is gone or cannot be read. */
  open(block: Block): Promise<OpenBlock | undefined> {
    const cached = this.#cache.get(block);
    if (cached !== undefined) return Promise.resolve(cached);
    let loading = this.#loading.get(block);
    if (loading === undefined) {
      loading = this.#load(block).finally(() => this.#loading.delete(block));
      this.#loading.set(block, loading);
    }
    return loading;
  }

  /** The entries of a whole block, for rewriting it. */
  async entries(block: Block): Promise<PublishEntry[] | undefined> {
    const open = await this.open(block);
    return open === undefined ? undefined : Array.from({ length: block.facts.count }, (_, at) => open.message(at));
  }

  async #load(block: Block): Promise<OpenBlock | undefined> {
    const { sealer, database } = this.#options;
    const key = blockKey(sealer.nameInKeys(block.topic.name), block.firstSeq);
    try {
      const value = await database().get(key);
      if (value === undefined) {
        if (this.#isKnown(block)) this.#damaged(block, new DamagedValue("the block is not in the database"));
        return undefined;
      }
      const raw = await sealer.open(key, value);
      // An older block under the same key, that came back with the loss of a table.
      if (raw.length !== block.facts.rawBytes) throw new DamagedValue("the block is not the one that was stored");
      const open = new OpenBlock(block.topic.name, raw, block.facts.count);
      this.#cache.set(block, open);
      return open;
    } catch (cause) {
      if (!(cause instanceof DamagedValue || cause instanceof MalformedBytes)) throw cause;
      this.#damaged(block, cause);
      return undefined;
    }
  }

  #isKnown(block: Block): boolean {
    return this.#options.state.generations.some(({ blocks }) => blocks.includes(block));
  }

  #damaged(block: Block, cause: unknown): void {
    if (block.isDamaged) return;
    block.isDamaged = true;
    this.#options.onDamage(block, cause);
  }
}

/** The first generation with numbers above `seq`. */
function firstAbove(generations: readonly Generation[], seq: number): number {
  let low = 0;
  let high = generations.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((generations[middle] as Generation).lastSeq > seq) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Goes through the wanted messages of one block. */
class BlockCursor {
  readonly block: Block;
  readonly #selection: Selection;
  readonly #seqs: Float64Array;
  at = 0;
  /** Infinity at the end. */
  seq = Infinity;

  constructor(block: Block, selection: Selection) {
    this.block = block;
    this.#selection = selection;
    this.#seqs = block.seqs();
    this.#seek();
  }

  next(): void {
    this.at++;
    this.#seek();
  }

  #seek(): void {
    const { afterSeq, throughSeq, wants } = this.#selection;
    const { topic, facts } = this.block;
    const seqs = this.#seqs;
    for (; this.at < seqs.length; this.at++) {
      const seq = seqs[this.at] as number;
      if (seq > throughSeq) break;
      if (seq <= afterSeq || !wants(topic, seq, facts.isUnclaimed)) continue;
      this.seq = seq;
      return;
    }
    this.seq = Infinity;
  }
}

/** Appends a generation's wanted messages to `places`, in order, up to the limit: a merge of its blocks. */
function mergeBlocks(generation: Generation, selection: Selection, places: Place[]): void {
  const { topics, afterSeq, throughSeq, limit, skips } = selection;
  // By the cursor's next message. The first one's changes in place, and `replace` puts it where it belongs then.
  const heap = new Heap<BlockCursor>((a, b) => a.seq - b.seq);
  const { blocks } = generation;
  let next = 0;
  while (places.length < limit) {
    // A block joins when its first message may be the next one.
    for (; next < blocks.length; next++) {
      const block = blocks[next] as Block;
      if (block.firstSeq > Math.min(throughSeq, heap.peek()?.seq ?? Infinity)) break;
      if (block.lastSeq <= afterSeq || block.isDamaged || !topics.has(block.topic)) continue;
      if (skips?.(block) === true) continue;
      const cursor = new BlockCursor(block, selection);
      if (cursor.seq !== Infinity) heap.push(cursor);
    }
    const first = heap.peek();
    if (first === undefined) return;
    places.push({ seq: first.seq, block: first.block, at: first.at, lsn: 0 });
    first.next();
    if (first.seq === Infinity) heap.pop();
    else heap.replace(first);
  }
}
