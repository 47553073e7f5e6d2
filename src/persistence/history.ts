import { BlockReader } from "./block-reader.js";
import type { PayloadCodec } from "./codec.js";
import type { Topic } from "./durable.js";
import { entryOf, HandedOutMessage, operationsOf } from "./entry-mapping.js";
import { firstAbove, mergeBlocks } from "./history-plan.js";
import type { Place, Plan, Selection, BlockSource } from "./history-plan.js";
import { LargeRecord } from "./large-record.js";
import { indexFlag } from "./log-index.js";
import type { StoredMessage } from "./operations.js";
import type { Generation, StoreState } from "./state.js";
import type { Block } from "./store/block.js";
import type { KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";
import type { PublishEntry } from "./wal/entries.js";
import type { WalRecord } from "./wal/scanner.js";

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

/** Blocks that are read together, and their bytes: while one lot is worked on, the next is on its way. */
const lotBlocks = 16;
const lotBytes = 1024 * 1024;

/** Messages that are handed out together, and the bytes of their payloads. */
const handfulMessages = 256;
const handfulBytes = 1024 * 1024;

/**
 * Reads messages back. What to read is decided in memory, from numbers alone (`plan`); then only what is wanted is read
 * (`fetch`). Memory in use is bounded by the page and the cache, however long the history is.
 */
export class History {
  readonly #options: HistoryOptions;
  readonly #blocks: BlockReader;
  readonly #large = new LargeRecord();

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#blocks = new BlockReader({ ...options, isKnown: (block) => this.#isKnown(block) });
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
        places.push({ seq, source: undefined, at: 0, lsn });
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
    const lots = lotsOf(places);
    let lot = 0;
    let next = this.#read(lots[0]);
    let messages: StoredMessage[] = [];
    let bytes = 0;
    let at = 0;
    for (; at < places.length; at++) {
      const { source, at: atInBlock } = places[at] as Place;
      if (source === undefined) break;
      while (!source.isRead) {
        await next;
        next = this.#read(lots[++lot]);
      }
      const { open, block } = source;
      if (open === undefined && !block.isDamaged) break;
      // With many topics a page has many blocks, each for a while.
      if (source.lastPlace === at) source.open = undefined;
      if (open === undefined) continue;
      const message = open.message(atInBlock);
      messages.push(message);
      bytes += message.payloadBytes;
      if (messages.length < handfulMessages && bytes < handfulBytes) continue;
      yield messages;
      messages = [];
      bytes = 0;
    }
    if (messages.length > 0) yield messages;
    const left = places.slice(at);
    if (left[0]?.source === undefined) yield* this.#fetchFromLog(left);
    else yield* this.#fetchMoved(left);
  }

  /** The same for places of which the first one's block is gone: what is still kept of it is in another one by now. */
  async *#fetchMoved(places: readonly Place[]): AsyncGenerator<StoredMessage[], void, undefined> {
    const inBlocks = places.filter(({ source }) => source !== undefined).map(({ seq }) => seq);
    yield* this.fetch([...this.#placesInBlocks(inBlocks), ...places.slice(inBlocks.length)]);
  }

  /** Where messages are that are in blocks by now; those that are not are left out. */
  #placesInBlocks(seqs: readonly number[]): readonly Place[] {
    const wanted = new Set(seqs);
    const places: Place[] = [];
    const selection = {
      topics: new Set(this.#options.state.topics),
      wants: (_topic: Topic, seq: number) => wanted.has(seq),
      afterSeq: (seqs[0] ?? 0) - 1,
      throughSeq: seqs.at(-1) ?? 0,
      limit: seqs.length,
    };
    const { generations } = this.#options.state;
    for (const generation of generations.slice(firstAbove(generations, selection.afterSeq))) {
      if (generation.firstSeq > selection.throughSeq) break;
      mergeBlocks(generation, selection, places);
    }
    return places;
  }

  /** Whoever waits for it sees a failure. */
  #read(lot: readonly BlockSource[] | undefined): Promise<void> {
    const reading = this.#readLot(lot ?? []);
    reading.catch(() => undefined);
    return reading;
  }

  async #readLot(lot: readonly BlockSource[]): Promise<void> {
    const found = await this.#blocks.openAll(lot.map(({ block }) => block));
    for (const source of lot) {
      source.open = found.get(source.block);
      source.isRead = true;
    }
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
    let at = 0;
    // A checkpoint has moved them into blocks meanwhile, or removed them: the log goes from the front, while it is read.
    const movedBefore = (seq: number): readonly Place[] => {
      const from = at;
      while (at < places.length && (places[at] as Place).seq < seq) at++;
      return at === from ? [] : this.#placesInBlocks(places.slice(from, at).map((place) => place.seq));
    };
    for await (const records of log.readThese(lsns)) {
      for (const { lsn, entry } of records) {
        const operations = operationsOf(entry);
        for (const operation of operations) {
          if (operation.type !== "publish" || !wanted.delete(operation.seq)) continue;
          const moved = movedBefore(operation.seq);
          at++;
          if (moved.length > 0) {
            if (messages.length > 0) yield messages;
            messages = [];
            yield* this.fetch(moved);
          }
          messages.push(new HandedOutMessage(operation, payloads));
        }
        this.#large.keep(lsn, operations, lastSeq);
      }
      yield messages;
      messages = [];
    }
    const moved = movedBefore(Infinity);
    if (moved.length > 0) yield* this.fetch(moved);
  }

  /** Blocks leave the database, and what is kept of them comes back in others: `done` when memory knows, too, or that they stay. */
  exchanging(done: Promise<unknown>): void {
    this.#blocks.exchanging(done);
  }

  /** The entries of a whole block, for rewriting it; undefined when it is gone or cannot be read. */
  async entries(block: Block): Promise<PublishEntry[] | undefined> {
    const open = await this.#blocks.open(block);
    if (open === undefined) return undefined;
    return Array.from({ length: block.facts.count }, (_, at) => entryOf(open.message(at)));
  }

  #isKnown(block: Block): boolean {
    return this.#options.state.generations.some(({ blocks }) => blocks.includes(block));
  }
}

/** The blocks of a plan in the order in which they are needed, in lots that are read together. */
function lotsOf(places: readonly Place[]): BlockSource[][] {
  const lots: BlockSource[][] = [];
  let lot: BlockSource[] = [];
  let bytes = 0;
  const seen = new Set<BlockSource>();
  for (const { source } of places) {
    if (source === undefined) break;
    if (seen.has(source)) continue;
    seen.add(source);
    const { rawBytes } = source.block.facts;
    if (lot.length === lotBlocks || (lot.length > 0 && bytes + rawBytes > lotBytes)) {
      lots.push(lot);
      lot = [];
      bytes = 0;
    }
    lot.push(source);
    bytes += rawBytes;
  }
  if (lot.length > 0) lots.push(lot);
  return lots;
}
