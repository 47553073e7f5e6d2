import { decodeAbout, encodeAbout } from "./about.js";
import type { About } from "./about.js";
import { BlockWriter } from "./block-writer.js";
import { encodeDurable } from "./durable-state.js";
import type { Checksum } from "../platform/checksum.js";
import type { WorkOptions } from "../platform/progress.js";
import type { Topic } from "./durable.js";
import type { History } from "./history.js";
import { operationsOf } from "./entry-mapping.js";
import { indexFlag } from "./log-index.js";
import type { Retention } from "./retention.js";
import { retentionToStore } from "./retention-settings.js";
import { emptyTally, markOf, tallyOf, without } from "./ledger.js";
import type { Ledger, Tally } from "./ledger.js";
import { RetentionPass } from "./retention-pass.js";
import type { RetentionResult } from "./retention-pass.js";
import { Slices } from "./slices.js";
import type { StoreState } from "./state.js";
import type { Block } from "./store/block.js";
import { aboutKey, keyKind, namedKey } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";
import type { TableChanges } from "./side-table.js";
import type { PublishEntry } from "./wal/entries.js";
import type { Wal } from "./wal/open.js";

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
}

/** A message of the log that is kept. */
interface Moved {
  readonly seq: number;
  readonly lsn: number;
  readonly topic: Topic;
  readonly isUnclaimed: boolean;
  /** What it takes in the log. */
  readonly bytes: number;
}

/** Fewer blocks than this are read one by one. */
const pagedFromBlocks = 64;
/** Batches of pages that are written after one checkpoint: the next goes on. */
const pageBatches = 16;

/** What a checkpoint did. */
export interface CheckpointResult {
  readonly lsn: number;
  /** Messages that went from the log into blocks. */
  readonly moved: number;
  readonly blocks: number;
  readonly removedSegments: number;
  readonly durationMs: number;
}

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
  readonly #slices: Slices;
  readonly #pass: RetentionPass;
  #about: About;
  /** Keys that a failed checkpoint has left in the database. */
  #leftovers: Buffer[] = [];
  #nextOrdinal = 0;
  /** A last batch of which nobody knows whether the database has it: it was refused after it was handed over. */
  #doubt: { readonly generation: number; readonly settle: () => void } | undefined;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#about = options.about;
    this.#slices = new Slices(options.monotonic, options.breathe);
    this.#pass = new RetentionPass({
      ...options,
      slices: this.#slices,
      syncApplied: () => this.#syncApplied(),
      tallyChange: (gone, made) => this.#tallyChange(gone, made),
    });
  }

  get about(): About {
    return this.#about;
  }

  /** About how many bytes a checkpoint would move from the log into the database, before compression. */
  async bytesToMove(): Promise<number> {
    const { wal, state, retention } = this.#options;
    let kept = 0;
    const floor = retention.floor();
    for (let afterSeq = 0; ;) {
      const { moved, throughSeq, isEnd } = this.#planMove(afterSeq, Infinity, floor);
      kept += moved.length;
      if (isEnd) return kept === 0 ? 0 : Math.ceil((wal.writer.bytes / state.index.size) * kept);
      afterSeq = throughSeq;
      await this.#slices.next();
    }
  }

  /** Rejects when the log or the database failed; then nothing has changed, and it can be tried again. */
  async run(): Promise<CheckpointResult> {
    const { state, monotonic, database, retention } = this.#options;
    const startedAt = monotonic();
    await this.resolveDoubt();
    await this.#removeLeftovers();
    await this.#raiseFloors();
    const lsn = state.appliedLsn;
    const lastSeq = state.index.lastSeq;
    const seq = state.lastSeq;
    state.raiseFloor(retention.floor());
    const { floor } = state;
    const settings = retentionToStore(state.retention);
    const durables = this.#durableChanges();
    state.pruneDedup();
    const tables = [state.delayed, state.deadLetters, state.dedup, state.retained].map((table) => table.changes());
    const generation = this.#about.generation + 1;
    this.#nextOrdinal = 0;
    const blocks = await this.#move(lastSeq, generation, floor);
    await this.#syncApplied();
    const changes = [...durables.changes, ...(await this.#tableChanges(tables))];
    const tableTally = tables.map(({ kept, puts }) => tallyOf(marksOf(puts), kept));
    const [delayed = emptyTally, deadLetters = emptyTally, dedup = emptyTally, retained = emptyTally] = tableTally;
    const ledger: Ledger = {
      block: tallyOf(marksOf(blocks), tallyOf(marksOf(state.blocks()))),
      durable: durables.tally,
      delayed,
      "dead-letter": deadLetters,
      dedup,
      retained,
    };
    const about = { ...this.#about, lsn, seq, generation, floor, ledger, retention: settings };
    changes.push(this.#aboutChange(about));
    const settle = (): void => {
      this.#doubt = undefined;
      this.#leftovers = [];
      durables.confirm();
      for (const table of tables) table.confirm();
      this.#about = about;
      state.addGeneration(generation, blocks, lastSeq);
    };
    this.#doubt = { generation, settle };
    await database().batch(changes);
    settle();
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
    const oldestSeq = Math.min(state.index.firstSeq, state.generations[0]?.firstSeq ?? Infinity);
    for (const durable of [...state.durables]) {
      // One that was changed meanwhile shares with the new one what it has settled, and has no topics any more.
      if (state.durables.get(durable.name) !== durable) continue;
      const { lastSeq } = state;
      durable.forgetFormer(oldestSeq);
      const { places } = history.plan({
        topics: durable.topics,
        wants: (topic, seq) => durable.isPending(topic, seq),
        afterSeq: durable.floor,
        throughSeq: Infinity,
        limit: 1,
        seesUnsynced: true,
      });
      durable.raiseFloor(Math.min((places[0]?.seq ?? Infinity) - 1, lastSeq));
      await this.#slices.next();
    }
    const { consumed, lastSeq } = state;
    if (consumed.settled.size === 0) return;
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

  /** Goes over the blocks: see `RetentionPass`. */
  retain(thorough?: WorkOptions): Promise<RetentionResult> {
    return this.#pass.run(thorough);
  }

  /** Puts the facts about blocks into pages, where there is enough of them; `isThorough`: all there are. */
  async writePages(isThorough = false): Promise<void> {
    const { state, sealer, database } = this.#options;
    const { pages } = state;
    if (pages.unpaged < pagedFromBlocks && !pages.hasStale) return;
    let batches = 0;
    for (const { changes, expect, confirm } of pages.fill(sealer)) {
      expect();
      await database().batch(changes);
      confirm();
      if (!isThorough && ++batches === pageBatches) break;
      await this.#slices.next();
    }
  }

  /**
   * After a checkpoint that failed, once the database is open again: what it has of the checkpoint all the same must not be
   * taken for leftovers, since it counts on it from then on.
   */
  async resolveDoubt(): Promise<void> {
    const { database, crc32 } = this.#options;
    if (this.#doubt !== undefined) {
      const value = await database().get(aboutKey);
      const found = value === undefined ? undefined : decodeAbout(value, crc32);
      if (found?.generation === this.#doubt.generation) this.#doubt.settle();
      this.#doubt = undefined;
    }
    await this.#pass.resolveDoubt();
  }

  /** It cannot be resolved while the database fails: nobody who reads waits for that. */
  leaveDoubt(error: unknown): void {
    this.#pass.leaveDoubt(error);
  }

  #tallyChange(gone: readonly Block[], made: readonly Block[]): { change: Change; confirm: () => void } {
    const { ledger } = this.#about;
    if (ledger === undefined) throw new Error("store: blocks without a ledger");
    const block = tallyOf(marksOf(made), without(ledger.block, marksOf(gone)));
    const { floor } = this.#options.state;
    const about: About = { ...this.#about, floor, ledger: { ...ledger, block } };
    return { change: this.#aboutChange(about), confirm: () => void (this.#about = about) };
  }

  #durableChanges(): { readonly changes: readonly Change[]; readonly tally: Tally; readonly confirm: () => void } {
    const { state, sealer } = this.#options;
    const keyOf = (name: string): Buffer => namedKey(keyKind.durable, sealer.nameInKeys(name));
    const changes: Change[] = [];
    const names = new Set<string>();
    const marks: number[] = [];
    for (const durable of state.everyDurable()) {
      const key = keyOf(durable.name);
      names.add(durable.name);
      const value = sealer.sealPlain(key, encodeDurable(durable));
      changes.push({ key, value });
      marks.push(markOf(value));
    }
    for (const name of state.storedDurables) if (!names.has(name)) changes.push({ key: keyOf(name), value: undefined });
    // Whether or not the batch is reported to have succeeded, these may be there from now on.
    for (const name of names) state.storedDurables.add(name);
    return {
      changes,
      tally: tallyOf(marks),
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
      for (const put of puts) {
        const value = await sealer.seal(put.key, put.value);
        put.mark = markOf(value);
        changes.push({ key: put.key, value });
        await this.#slices.next();
      }
    }
    return changes;
  }

  /** Writes the messages through `lastSeq` that are kept, as blocks; they are not seen by readers yet. */
  async #move(lastSeq: number, generation: number, floor: number): Promise<Block[]> {
    const { wal } = this.#options;
    const writer = new BlockWriter(
      this.#options,
      generation,
      (keys) => {
        for (const key of keys) this.#leftovers.push(key);
      },
      () => this.#nextOrdinal++,
    );
    for (let afterSeq = 0; ;) {
      const { moved, throughSeq, isEnd } = this.#planMove(afterSeq, lastSeq, floor);
      const bySeq = new Map(moved.map((one) => [one.seq, one]));
      const lsns = [...new Set(moved.map(({ lsn }) => lsn))];
      for await (const records of wal.reader.readThese(lsns)) {
        for (const { entry } of records) {
          for (const operation of operationsOf(entry)) {
            if (operation.type !== "publish") continue;
            const one = bySeq.get(operation.seq);
            if (one === undefined || !this.#isKept(one.topic, operation)) continue;
            const adding = writer.add(one.topic, one.isUnclaimed, operation, one.bytes);
            if (adding !== undefined) await adding;
          }
          if (this.#slices.isOver) await this.#slices.next();
        }
      }
      if (isEnd) break;
      afterSeq = throughSeq;
      await this.#slices.next();
    }
    return writer.finish();
  }

  #isKept(topic: Topic, { expiresAt, timestamp, seq }: PublishEntry): boolean {
    const { retention } = this.#options;
    if (retention.isSpent(topic, seq, expiresAt, timestamp)) return false;
    return timestamp >= retention.oldestKept || retention.isWaited(topic.name, seq, timestamp);
  }

  /** The next messages of the log that are kept. */
  #planMove(afterSeq: number, lastSeq: number, floor: number): { moved: Moved[]; throughSeq: number; isEnd: boolean } {
    const { state, retention } = this.#options;
    const moved: Moved[] = [];
    let seen = afterSeq;
    let isEnd = true;
    let count = 0;
    state.index.scan(afterSeq, (seq, lsn, topic, expiresAt, flags, bytes) => {
      if (seq > lastSeq) return false;
      if (count++ === 4096) {
        isEnd = false;
        return false;
      }
      seen = seq;
      const isUnclaimed = (flags & indexFlag.isUnclaimed) !== 0;
      // Its timestamp is known only when it is read.
      if (retention.isSpent(topic, seq, expiresAt, Infinity)) return true;
      if (retention.need(topic, seq, isUnclaimed, floor) === "gone") return true;
      moved.push({ seq, lsn, topic, isUnclaimed, bytes });
      return true;
    });
    return { moved, throughSeq: seen, isEnd };
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
}

function* marksOf(marked: Iterable<{ readonly mark: number }>): IterableIterator<number> {
  for (const { mark } of marked) yield mark;
}
