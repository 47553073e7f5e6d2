import { encodeDurable } from "./durable-state.js";
import type { Checksum } from "../platform/checksum.js";
import type { History, Place } from "./history.js";
import { operationsOf } from "./entry-mapping.js";
import { indexFlag } from "./log-index.js";
import type { Retention } from "./retention.js";
import type { Generation, StoreState } from "./state.js";
import { Block, BlockBuilder, encodeFacts } from "./store/block.js";
import type { BlockFacts } from "./store/block.js";
import { aboutKey, blockKey, factsKey, keyKind, namedKey } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";
import type { TableChanges } from "./side-table.js";
import type { Topic } from "./durable.js";
import type { PublishEntry } from "./wal/entries.js";
import type { Wal } from "./wal/open.js";

/** What the database says about itself, and about the last checkpoint. */
export interface About {
  /** The format's version. */
  readonly format: number;
  /** Everything through this record is in the database. */
  readonly lsn: number;
  /** The highest message number given out by then. */
  readonly seq: number;
  /** Blocks of a higher generation are leftovers of a checkpoint that did not come to its end. */
  readonly generation: number;
  /** For an encrypted store, in hex: the key's check, and the key that names are hashed with, encrypted. */
  readonly key?: { readonly id: number; readonly check: string; readonly names: string } | undefined;
}

/** JSON, after its checksum: readable whatever the keys and the compression of the store are. */
export function encodeAbout(about: About, crc32: Checksum): Buffer {
  const text = Buffer.from(JSON.stringify(about));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(crc32(text, 0, text.length));
  return Buffer.concat([head, text]);
}

/** Undefined when the bytes are damaged. */
export function decodeAbout(value: Buffer, crc32: Checksum): About | undefined {
  if (value.length < 5 || value.readUInt32LE(0) !== crc32(value, 4, value.length)) return undefined;
  return JSON.parse(value.toString("utf8", 4)) as About;
}

export interface CheckpointerOptions {
  readonly state: StoreState;
  readonly wal: Wal;
  readonly database: () => KeyValueStore;
  readonly sealer: Sealer;
  readonly history: History;
  readonly retention: Retention;
  readonly crc32: Checksum;
  readonly monotonic: () => number;
  /** Lets the event loop turn. */
  readonly breathe: () => Promise<void>;
  /** A block is full at this many bytes. */
  readonly blockBytes: number;
  /** Bytes of unfinished blocks in memory. */
  readonly bufferBytes: number;
  readonly about: About;
  readonly onWritten: (about: About) => void;
}

/** What a checkpoint did. */
export interface CheckpointResult {
  readonly lsn: number;
  /** Messages that went from the log into blocks. */
  readonly moved: number;
  readonly blocks: number;
  readonly removedSegments: number;
  readonly durationMs: number;
}

/** What the pass over the blocks did. */
export interface RetentionResult {
  readonly removedBlocks: number;
  readonly rewrittenBlocks: number;
  /** Bytes of values that were removed or replaced. */
  readonly freedBytes: number;
}

/** How long a slice of work may hold the event loop. */
const sliceMs = 2;
/** Changes that go into the database together, in bytes. */
const batchBytes = 1024 * 1024;
/** Blocks that a pass rewrites, so that it ends: the next pass goes on. */
const rewritesPerPass = 64;

/**
 * Moves what is still needed from the log into blocks, and lets the rest go with the log.
 *
 * | step                                                       | a crash after it                                        |
 * |------------------------------------------------------------|---------------------------------------------------------|
 * | blocks of a new generation go into the database            | they are leftovers: removed at the next opening         |
 * | the log is synced: acknowledgements that decided are there | as before                                               |
 * | durables, side tables and the checkpoint's number, in one  | the log is read from that number on; its segments are   |
 * | batch                                                      | still there, and not read                               |
 * | readers see the blocks in place of the log's messages      | (memory only)                                           |
 * | the log says so, and old segments go                       | as before, with fewer files                             |
 *
 * One at a time; the caller sees to it. What is written and settled while it runs is above its number, and may be in the
 * database even so: applying it again changes nothing.
 */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #about: About;
  #sliceStart = 0;
  /** Keys that a failed checkpoint has left in the database. */
  #leftovers: Buffer[] = [];
  #nextOrdinal = 0;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#about = options.about;
  }

  get about(): About {
    return this.#about;
  }

  /** Rejects when the log or the database failed; then nothing has changed, and it can be tried again. */
  async run(): Promise<CheckpointResult> {
    const { state, monotonic, database } = this.#options;
    const startedAt = monotonic();
    await this.#removeLeftovers();
    await this.#raiseFloors();
    const lsn = state.appliedLsn;
    const lastSeq = state.index.lastSeq;
    const seq = state.lastSeq;
    const durables = this.#durableChanges();
    state.pruneDedup();
    const tables = [state.delayed, state.deadLetters, state.dedup, state.retained].map((table) => table.changes());
    const generation = this.#about.generation + 1;
    this.#nextOrdinal = 0;
    const blocks = await this.#move(lastSeq, generation);
    await this.#syncApplied();
    const about = { ...this.#about, lsn, seq, generation };
    const changes = [...durables.changes, ...(await this.#tableChanges(tables)), this.#aboutChange(about)];
    await database().batch(changes);
    this.#leftovers = [];
    durables.confirm();
    for (const table of tables) table.confirm();
    this.#about = about;
    this.#options.onWritten(about);
    state.addGeneration(generation, blocks, lastSeq);
    const removedSegments = await this.#tellLog(about);
    const moved = blocks.reduce((sum, { facts }) => sum + facts.count, 0);
    return { lsn, moved, blocks: blocks.length, removedSegments, durationMs: monotonic() - startedAt };
  }

  /** Writes what the database says about itself, before there is anything else in it. */
  async writeAbout(): Promise<void> {
    await this.#options.database().batch([this.#aboutChange(this.#about)]);
  }

  #aboutChange(about: About): Change {
    return { key: aboutKey, value: encodeAbout(about, this.#options.crc32) };
  }

  /** Resolves when everything that was applied is on the disk. A full disk that refuses messages is no obstacle. */
  async #syncApplied(): Promise<void> {
    const { wal, state } = this.#options;
    const lsn = state.appliedLsn;
    await wal.writer.flush().catch((error: unknown) => {
      if (wal.writer.syncedLsn < lsn) throw error;
    });
  }

  async #removeLeftovers(): Promise<void> {
    if (this.#leftovers.length === 0) return;
    await this.#options.database().batch(this.#leftovers.map((key) => ({ key, value: undefined })));
    this.#leftovers = [];
  }

  /** Moves each durable's floor to just below its first pending message. */
  async #raiseFloors(): Promise<void> {
    const { state, history } = this.#options;
    for (const durable of [...state.durables]) {
      const { lastSeq } = state;
      const { places } = history.plan({
        topics: durable.topics,
        wants: (topic, seq) => durable.isPending(topic, seq),
        afterSeq: durable.floor,
        throughSeq: Infinity,
        limit: 1,
        seesUnsynced: true,
      });
      durable.raiseFloor(Math.min((places[0]?.seq ?? Infinity) - 1, lastSeq));
      await this.#slice();
    }
    const { consumed, lastSeq } = state;
    if (consumed === undefined) return;
    const { places } = history.plan({
      topics: new Set(state.topics),
      wants: (_topic, seq) => !consumed.settled.has(seq),
      afterSeq: consumed.floor,
      throughSeq: Infinity,
      limit: 1,
      seesUnsynced: true,
    });
    consumed.raiseFloor(Math.min((places[0]?.seq ?? Infinity) - 1, lastSeq));
  }

  #durableChanges(): { readonly changes: readonly Change[]; readonly confirm: () => void } {
    const { state, sealer } = this.#options;
    const keyOf = (name: string): Buffer => namedKey(keyKind.durable, sealer.nameInKeys(name));
    const changes: Change[] = [];
    const names = new Set<string>();
    for (const durable of state.everyDurable()) {
      const key = keyOf(durable.name);
      names.add(durable.name);
      changes.push({ key, value: sealer.sealPlain(key, encodeDurable(durable)) });
    }
    for (const name of state.storedDurables) if (!names.has(name)) changes.push({ key: keyOf(name), value: undefined });
    return {
      changes,
      confirm: () => {
        state.storedDurables.clear();
        for (const name of names) state.storedDurables.add(name);
      },
    };
  }

  async #tableChanges(tables: readonly TableChanges[]): Promise<Change[]> {
    const { sealer } = this.#options;
    const changes: Change[] = [];
    for (const { puts, deletes } of tables) {
      // A key may be given up and taken again: the put comes last.
      for (const key of deletes) changes.push({ key, value: undefined });
      for (const { key, value } of puts) {
        changes.push({ key, value: await sealer.seal(key, value) });
        await this.#slice();
      }
    }
    return changes;
  }

  /** Writes the messages through `lastSeq` that are kept, as blocks; they are not seen by readers yet. */
  async #move(lastSeq: number, generation: number): Promise<Block[]> {
    const { wal, state } = this.#options;
    const writer = new BlockWriter(
      this.#options,
      generation,
      (keys) => this.#leftovers.push(...keys),
      () => this.#nextOrdinal++,
    );
    for (let afterSeq = 0; ;) {
      const { places, throughSeq, isEnd } = this.#planMove(afterSeq, lastSeq);
      const unclaimed = new Map(places.map(({ seq, at }) => [seq, at === 1]));
      const lsns = [...new Set(places.map(({ lsn }) => lsn))];
      for await (const records of wal.reader.readThese(lsns)) {
        for (const { entry } of records) {
          for (const operation of operationsOf(entry)) {
            if (operation.type !== "publish") continue;
            const isUnclaimed = unclaimed.get(operation.seq);
            if (isUnclaimed !== undefined && this.#isKept(operation)) {
              await writer.add(state.topics.of(operation.topic), isUnclaimed, operation);
            }
          }
          if (this.#isSliceOver()) await this.#slice();
        }
      }
      if (isEnd) break;
      afterSeq = throughSeq;
      await this.#slice();
    }
    return writer.finish();
  }

  #isKept({ expiresAt, timestamp, seq, topic: name }: PublishEntry): boolean {
    const { retention, state } = this.#options;
    if (retention.isExpired(expiresAt)) return false;
    if (timestamp >= retention.oldestKept) return true;
    const topic = state.topics.of(name);
    return topic.durables.some((durable) => durable.isPending(topic, seq));
  }

  /** The next messages of the log that are kept. `at` is 1 for those that no durable was there for. */
  #planMove(afterSeq: number, lastSeq: number): { places: Place[]; throughSeq: number; isEnd: boolean } {
    const { state, retention } = this.#options;
    const places: Place[] = [];
    let seen = afterSeq;
    let isEnd = true;
    let count = 0;
    state.index.scan(afterSeq, (seq, lsn, topic, expiresAt, flags) => {
      if (seq > lastSeq) return false;
      if (count++ === 4096) {
        isEnd = false;
        return false;
      }
      seen = seq;
      const isUnclaimed = (flags & indexFlag.isUnclaimed) !== 0;
      if (retention.isExpired(expiresAt) || retention.need(topic, seq, isUnclaimed) === "gone") return true;
      places.push({ seq, block: undefined, at: isUnclaimed ? 1 : 0, lsn });
      return true;
    });
    return { places, throughSeq: seen, isEnd };
  }

  /** The log says what the database has, and lets go of what that covers. Its failure is not the checkpoint's. */
  async #tellLog({ lsn, seq }: About): Promise<number> {
    const { wal, state } = this.#options;
    try {
      const own = wal.writer.append({ type: "checkpoint", lsn, seq, data: state.encodeDurables() });
      await wal.writer.commit(own, "group");
      return await wal.writer.removeThrough(lsn);
    } catch {
      // The next checkpoint says it again; a log that failed has told its writers.
      return 0;
    }
  }

  /**
   * Removes blocks that are not kept any more, and rewrites those of which less than half is kept.
   *
   * @param isThorough rewrites all there are to rewrite
   */
  async retain(isThorough = false): Promise<RetentionResult> {
    const { state, retention, database, sealer } = this.#options;
    const gone: Block[] = [];
    const history: Block[] = [];
    const sparse: Block[] = [];
    for (const block of [...state.blocks()]) {
      const { need, kept } = retention.inspect(block);
      if (need === "gone") gone.push(block);
      else if (!block.isDamaged && this.#isSparse(block, kept, isThorough)) sparse.push(block);
      else if (need === "history") history.push(block);
      if (this.#isSliceOver()) await this.#slice();
    }
    gone.push(...retention.beyondLimits(state, history));
    const rewritten = isThorough ? sparse : sparse.slice(0, rewritesPerPass);
    if (gone.length + rewritten.length === 0) return { removedBlocks: 0, rewrittenBlocks: 0, freedBytes: 0 };
    // The acknowledgements that decided must be on the disk before what they settled is not.
    await this.#syncApplied();
    let freedBytes = 0;
    for (let at = 0; at < gone.length; at += 500) {
      const part = gone.slice(at, at + 500);
      await database().batch(part.flatMap((block) => removalOf(block, sealer)));
      for (const block of part) {
        freedBytes += block.facts.storedBytes;
        state.removeBlocks(block.generation, new Set([block]));
      }
    }
    for (const group of groupsOf(rewritten)) freedBytes += await this.#rewrite(group);
    return { removedBlocks: gone.length, rewrittenBlocks: rewritten.length, freedBytes };
  }

  /** Whether rewriting a block is worth it. For messages that expired among others it is done once, when the last has. */
  #isSparse({ facts }: Block, kept: number, isThorough: boolean): boolean {
    const { retention } = this.#options;
    if (retention.isExpired(isThorough ? facts.firstExpiry : facts.lastExpiry)) return true;
    return kept < facts.count / (isThorough ? 1 : 2);
  }

  /** Writes what is kept of blocks of one topic and generation into new ones, in one batch. */
  async #rewrite(group: readonly Block[]): Promise<number> {
    const { state, history, retention, database, sealer } = this.#options;
    const first = group[0] as Block;
    const { topic, generation } = first;
    const builder = new BlockBuilder(first.facts.isUnclaimed);
    const readable: Block[] = [];
    const made: Block[] = [];
    const puts: Change[] = [];
    let ordinal = Math.max(...this.#ordinalsOf(generation)) + 1;
    const finish = async (): Promise<void> => {
      const block = await sealBlock(sealer, builder, topic, generation, ordinal++);
      made.push(block.block);
      puts.push(...block.changes);
    };
    for (const block of group) {
      const entries = await history.entries(block);
      if (entries === undefined) continue;
      readable.push(block);
      for (const entry of entries) {
        if (retention.isExpired(entry.expiresAt)) continue;
        if (retention.need(topic, entry.seq, block.facts.isUnclaimed) === "gone") continue;
        builder.add(entry);
        if (builder.bytes >= this.#options.blockBytes) await finish();
      }
      await this.#slice();
    }
    if (builder.count > 0) await finish();
    if (readable.length === 0) return 0;
    const kept = new Set(puts.map(({ key }) => key.toString("latin1")));
    const removals = readable.flatMap((block) => removalOf(block, sealer));
    await database().batch([...removals.filter(({ key }) => !kept.has(key.toString("latin1"))), ...puts]);
    state.addBlocks(generation, made);
    state.removeBlocks(generation, new Set(readable));
    return readable.reduce((sum, { facts }) => sum + facts.storedBytes, 0);
  }

  #ordinalsOf(generation: number): number[] {
    const found = this.#options.state.generations.find(({ number }) => number === generation) as Generation;
    return found.blocks.map(({ ordinal }) => ordinal);
  }

  #isSliceOver(): boolean {
    return this.#options.monotonic() - this.#sliceStart >= sliceMs;
  }

  async #slice(): Promise<void> {
    if (!this.#isSliceOver()) return;
    await this.#options.breathe();
    this.#sliceStart = this.#options.monotonic();
  }
}

/** Blocks that can be rewritten together. */
function groupsOf(blocks: readonly Block[]): Block[][] {
  const groups = new Map<string, Block[]>();
  for (const block of blocks) {
    const name = `${block.generation} ${block.facts.isUnclaimed} ${block.topic.name}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [block]);
    else group.push(block);
  }
  return [...groups.values()];
}

function removalOf(block: Block, sealer: Sealer): Change[] {
  return [
    { key: blockKey(sealer.nameInKeys(block.topic.name), block.firstSeq), value: undefined },
    { key: factsKey(block.generation, block.ordinal), value: undefined },
  ];
}

async function sealBlock(
  sealer: Sealer,
  builder: BlockBuilder,
  topic: Topic,
  generation: number,
  ordinal: number,
): Promise<{ block: Block; changes: Change[] }> {
  const { raw, facts: unsized } = builder.finish();
  const key = blockKey(sealer.nameInKeys(topic.name), unsized.firstSeq);
  const value = await sealer.seal(key, raw);
  const facts: BlockFacts = { ...unsized, storedBytes: value.length };
  const aboutIt = factsKey(generation, ordinal);
  return {
    block: new Block(generation, ordinal, topic, facts),
    changes: [
      { key, value },
      { key: aboutIt, value: sealer.sealPlain(aboutIt, encodeFacts(topic.name, facts)) },
    ],
  };
}

/** Sorts messages by topic into blocks, and writes these to the database in batches. Memory is bounded. */
class BlockWriter {
  readonly #options: CheckpointerOptions;
  readonly #generation: number;
  readonly #written: (keys: readonly Buffer[]) => void;
  readonly #nextOrdinal: () => number;
  readonly #builders = new Map<Topic, { claimed: BlockBuilder; unclaimed: BlockBuilder }>();
  #buffered = 0;
  readonly #blocks: Block[] = [];
  #pending: Promise<{ block: Block; changes: Change[] }>[] = [];
  #pendingBytes = 0;

  constructor(
    options: CheckpointerOptions,
    generation: number,
    written: (keys: readonly Buffer[]) => void,
    nextOrdinal: () => number,
  ) {
    this.#options = options;
    this.#generation = generation;
    this.#written = written;
    this.#nextOrdinal = nextOrdinal;
  }

  async add(topic: Topic, isUnclaimed: boolean, entry: PublishEntry): Promise<void> {
    let builders = this.#builders.get(topic);
    if (builders === undefined) {
      builders = { claimed: new BlockBuilder(false), unclaimed: new BlockBuilder(true) };
      this.#builders.set(topic, builders);
    }
    const builder = isUnclaimed ? builders.unclaimed : builders.claimed;
    const before = builder.bytes;
    builder.add(entry);
    this.#buffered += builder.bytes - before;
    if (builder.bytes >= this.#options.blockBytes) this.#seal(topic, builder);
    if (this.#buffered >= this.#options.bufferBytes) this.#sealAll();
    if (this.#pendingBytes >= batchBytes) await this.#write();
  }

  async finish(): Promise<Block[]> {
    this.#sealAll();
    await this.#write();
    return this.#blocks;
  }

  #sealAll(): void {
    for (const [topic, { claimed, unclaimed }] of this.#builders) {
      for (const builder of [claimed, unclaimed]) if (builder.count > 0) this.#seal(topic, builder);
    }
    this.#builders.clear();
  }

  #seal(topic: Topic, builder: BlockBuilder): void {
    this.#buffered -= builder.bytes;
    this.#pendingBytes += builder.bytes;
    const sealing = sealBlock(this.#options.sealer, builder, topic, this.#generation, this.#nextOrdinal());
    sealing.catch(() => undefined); // seen when it is written
    this.#pending.push(sealing);
  }

  async #write(): Promise<void> {
    const sealed = await Promise.all(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    if (sealed.length === 0) return;
    const changes = sealed.flatMap((one) => one.changes);
    this.#written(changes.map(({ key }) => key));
    await this.#options.database().batch(changes);
    for (const { block } of sealed) this.#blocks.push(block);
  }
}
