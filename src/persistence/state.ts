import { DurableTable, decodeDurable, encodeDurable } from "./durable-state.js";
import { decodeDedup, encodeDedup, encodeMessage, extension, operationsOf, readerOf } from "./entry-mapping.js";
import { FactPages } from "./fact-pages.js";
import { indexFlag, LogIndex } from "./log-index.js";
import { limitFloor } from "./limit-floor.js";
import { isCovered, needOf, visitMessages } from "./need.js";
import type { DurableOperation } from "./operations.js";
import { retentionAsStored } from "./retention-settings.js";
import type { RetentionSettings, StoredRetention } from "./retention-settings.js";
import { SeqSet } from "./seq-set.js";
import { SideTable } from "./side-table.js";
import { copyOf } from "./store/bytes.js";
import type { Block } from "./store/block.js";
import { keyKind, namedKey, numberedKey } from "./store/keys.js";
import { TopicTable } from "./topics.js";
import { Durable } from "./durable.js";
import type { Topic } from "./durable.js";
import { ByteWriter } from "./wal/byte-writer.js";
import type { ExtensionEntry, OperationEntry, PublishEntry, SettleEntry, WalEntry } from "./wal/entries.js";

/** The blocks of one checkpoint. The numbers of two generations do not overlap. */
export interface Generation {
  readonly number: number;
  /** By their first number. */
  blocks: Block[];
  firstSeq: number;
  lastSeq: number;
}

export interface BlockTotals {
  readonly blocks: number;
  readonly messages: number;
  readonly storedBytes: number;
  readonly logBytes: number;
}

export interface StateLimits {
  readonly dedupWindowMs: number;
  readonly dedupMaxEntries: number;
  /** In force until the log says otherwise. */
  readonly retention: RetentionSettings;
  readonly now: () => number;
  readonly nameInKeys: (name: string) => Uint8Array;
}

/**
 * Everything the store knows, in memory, but for the messages themselves. It is a function of the log: `apply` is the
 * one way it changes, on the way in and in recovery alike. Applying what a checkpoint has already seen changes nothing.
 */
export class StoreState {
  readonly topics = new TopicTable();
  readonly durables = new DurableTable(this.topics);
  readonly index = new LogIndex();
  /** Oldest first. */
  readonly generations: Generation[] = [];
  readonly pages = new FactPages();
  readonly delayed = new SideTable<number>();
  readonly deadLetters = new SideTable<string>();
  readonly dedup = new SideTable<string>();
  readonly retained = new SideTable<string>();
  /**
   * What is gone though nothing else says so: for a work queue what any durable has settled; otherwise what was settled
   * by durables that are not there any more, or under another policy. It has the form of a durable without a name and
   * without patterns.
   */
  consumed = new Durable({ name: "", patterns: [], options: null, start: 0, floor: 0 });
  /** Durables that a checkpoint has put into the database, by name. */
  readonly storedDurables = new Set<string>();
  /** Durables that were deleted since the log began to be read. */
  readonly deletedDurables = new Set<string>();
  readonly #limits: StateLimits;
  #retention: RetentionSettings;
  #lastSeq = 0;
  #floor = 0;
  #blockMessages = 0;
  #blockBytes = 0;
  #blockLogBytes = 0;
  /** Everything through it was applied. */
  appliedLsn = 0;
  /** The last one that changed anything: a checkpoint's own record does not. */
  changedLsn = 0;

  constructor(limits: StateLimits) {
    this.#limits = limits;
    this.#retention = limits.retention;
  }

  /** How long messages are kept. */
  get retention(): RetentionSettings {
    return this.#retention;
  }

  /** From here on messages are kept by other rules. What is gone stays gone. */
  changeRetention(retention: RetentionSettings): void {
    this.raiseFloor(limitFloor(this));
    if (retention.policy !== this.#retention.policy) {
      for (const seq of this.#goneAmong(new Set(this.topics), 0)) this.consumed.settled.add(seq);
    }
    this.#retention = retention;
  }

  /** The highest message number given out. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  raiseLastSeq(seq: number): void {
    if (seq > this.#lastSeq) this.#lastSeq = seq;
  }

  /** Everything through it is beyond the limits of bytes and count, also where there is room by now. */
  get floor(): number {
    return this.#floor;
  }

  raiseFloor(seq: number): void {
    if (seq > this.#floor) this.#floor = seq;
  }

  /**
   * @param bytes what the record takes in the log
   * @param needsSync its messages are not to be seen before they are on the disk
   */
  apply(lsn: number, entry: WalEntry, bytes: number, needsSync: boolean): void {
    if (entry.type === "publish") this.#publish(lsn, 0, entry, bytes, needsSync);
    else if (entry.type === "settle") this.#settle(entry);
    else {
      const operations = operationsOf(entry);
      const each = Math.ceil(bytes / Math.max(1, operations.length));
      operations.forEach((operation, part) => this.#apply(lsn, part, operation, each, needsSync));
    }
    this.appliedLsn = lsn;
    if (entry.type !== "checkpoint") this.changedLsn = lsn;
  }

  #apply(lsn: number, part: number, operation: OperationEntry, bytes: number, needsSync: boolean): void {
    switch (operation.type) {
      case "publish":
        this.#publish(lsn, part, operation, bytes, needsSync);
        break;
      case "settle":
        this.#settle(operation);
        break;
      case "subscription": {
        const options = JSON.parse(Buffer.from(operation.options).toString("utf8") || "null") as unknown;
        this.#changeDurable({ ...operation, options });
        break;
      }
      case "extension":
        this.#extension(lsn, part, operation);
        break;
    }
  }

  #settle(entry: SettleEntry): void {
    const durable = this.durables.get(entry.durable);
    if (durable === undefined) return;
    durable.settle(entry);
    if (!this.#isWorkQueue || durable.isReader || entry.outcome === "attempt") return;
    // What a durable only passed over is still there for the others.
    if (entry.outcome !== "ack" || entry.deliveryCount > 0) this.consumed.settle(entry);
  }

  get #isWorkQueue(): boolean {
    return this.#retention.policy === "work-queue";
  }

  /**
   * What is gone stays gone, also where it is still in the files: a durable that comes does not wait for it, and one that
   * goes, or has other patterns, leaves word of what it has settled. Otherwise it would depend on when the last
   * checkpoint was what a durable gets that begins in the past.
   */
  #changeDurable(operation: Omit<DurableOperation, "type">): void {
    const { change, name, patterns, position } = operation;
    const old = this.durables.get(name);
    const isPast = change === "created" && position <= this.#lastSeq;
    const gone = isPast ? this.#goneAmong(this.topics.matching(patterns), position - 1) : undefined;
    if (old !== undefined && this.#retention.policy === "until-settled" && !old.isReader) {
      for (const seq of this.#goneAmong(old.topics, old.start, true)) this.consumed.settled.add(seq);
    }
    if (change === "deleted") this.deletedDurables.add(name);
    else this.deletedDurables.delete(name);
    this.durables.apply(operation);
    if (gone === undefined) return;
    const made = this.durables.get(name);
    made?.settled.addAll(gone);
    // It was not told of what others were told.
    for (const block of this.blocks()) if (made?.topics.has(block.topic) === true) block.resetNextExpiry();
    if (this.#retention.policy === "limits") made?.raiseFloor(limitFloor(this));
  }

  /** The messages above `afterSeq` that are gone and not removed; `isUnclaimedOnly`: of those no durable was there for. */
  #goneAmong(topics: ReadonlySet<Topic>, afterSeq: number, isUnclaimedOnly = false): SeqSet {
    const { consumed } = this;
    const { policy } = this.#retention;
    const gone = new SeqSet();
    if (policy === "limits" && consumed.settled.size === 0) return gone;
    const floor = isUnclaimedOnly ? 0 : limitFloor(this);
    visitMessages(this, topics, afterSeq, (topic, seq, isUnclaimed) => {
      if (isUnclaimedOnly && !isUnclaimed) return;
      const need = needOf(policy, consumed, topic, seq, isUnclaimed);
      if (need === "gone" || (need === "history" && seq <= floor)) gone.add(seq);
    });
    return gone;
  }

  #publish(lsn: number, part: number, entry: PublishEntry, bytes: number, needsSync: boolean): void {
    const { seq, topic: name, dedupId, expiresAt } = entry;
    this.raiseLastSeq(seq);
    if (dedupId !== undefined) {
      const record = { dedupId, seq, id: entry.id, at: entry.timestamp };
      this.#remember(lsn, part, dedupId, encodeDedup(record), entry.timestamp);
    }
    if (entry.deliverAt !== undefined) {
      this.delayed.put(seq, numberedKey(keyKind.delayed, seq), encodeMessage(entry));
      return;
    }
    if (entry.retain) {
      this.retained.put(name, namedKey(keyKind.retained, this.#limits.nameInKeys(name)), encodeMessage(entry));
    }
    this.#enterLog(lsn, seq, name, expiresAt, bytes, needsSync);
  }

  /** The same as `apply` of a message by itself that is neither delayed nor kept by its topic, and has no dedup id. */
  applyMessage(
    lsn: number,
    seq: number,
    topic: string,
    expiresAt: number | undefined,
    bytes: number,
    needsSync: boolean,
  ): void {
    this.raiseLastSeq(seq);
    this.#enterLog(lsn, seq, topic, expiresAt, bytes, needsSync);
    this.appliedLsn = lsn;
    this.changedLsn = lsn;
  }

  #enterLog(
    lsn: number,
    seq: number,
    name: string,
    expiresAt: number | undefined,
    bytes: number,
    needsSync: boolean,
  ): void {
    // A log that was pieced together after damage may hold a number twice; the first one counts.
    if (seq <= this.index.lastSeq || seq <= (this.generations.at(-1)?.lastSeq ?? 0)) return;
    const topic = this.topics.of(name);
    let flags = needsSync ? indexFlag.needsSync : 0;
    if (!isCovered(topic, seq)) flags |= indexFlag.isUnclaimed;
    this.index.push(seq, lsn, topic, expiresAt ?? 0, flags, bytes);
  }

  #extension(lsn: number, part: number, { name, data }: ExtensionEntry): void {
    if (name === extension.deadLetterAdded) {
      const copy = new Uint8Array(data);
      this.deadLetters.put(readerOf(copy).string(), numberedKey(keyKind.deadLetter, lsn, part), copy);
    } else if (name === extension.deadLetterRemoved) {
      this.deadLetters.remove(readerOf(data).string());
    } else if (name === extension.dedup) {
      const record = decodeDedup(data);
      this.#remember(lsn, part, record.dedupId, new Uint8Array(data), record.at);
    } else if (name === extension.dedupCleared) {
      this.dedup.clear();
    } else if (name === extension.delayedRemoved) {
      this.delayed.remove(readerOf(data).varint());
    } else if (name === extension.retainedCleared) {
      this.retained.remove(readerOf(data).string());
    } else if (name === extension.retention) {
      this.changeRetention(retentionAsStored(JSON.parse(readerOf(data).string()) as StoredRetention));
    }
  }

  #remember(lsn: number, part: number, dedupId: string, value: Uint8Array, at: number): void {
    this.dedup.put(dedupId, numberedKey(keyKind.dedup, lsn, part), value, at);
    if (this.dedup.size > this.#limits.dedupMaxEntries) this.pruneDedup();
  }

  /** Forgets dedup ids that are out of the window. */
  pruneDedup(): void {
    this.dedup.prune(this.#limits.now() - this.#limits.dedupWindowMs, this.#limits.dedupMaxEntries);
  }

  /** Adds a checkpoint's blocks in place of what the index had through `lastSeq`. */
  addGeneration(number: number, blocks: Block[], lastSeq: number): void {
    this.addBlocks(number, blocks);
    for (const topic of this.index.dropThrough(lastSeq)) this.topics.release(topic);
  }

  /** @param arePaged the facts about them stand in pages */
  addBlocks(number: number, blocks: Block[], arePaged = false): void {
    if (blocks.length === 0) return;
    for (const block of blocks) {
      const { topic, facts } = block;
      if (!arePaged) this.pages.added(block);
      topic.blocks++;
      this.#blockMessages += facts.count;
      this.#blockBytes += facts.storedBytes;
      this.#blockLogBytes += facts.logBytes;
    }
    let generation = this.generations.find((one) => one.number === number);
    if (generation === undefined) {
      generation = { number, blocks: [], firstSeq: Infinity, lastSeq: 0 };
      this.generations.push(generation);
      this.generations.sort((a, b) => a.number - b.number);
    }
    generation.blocks = generation.blocks.concat(blocks);
    generation.blocks.sort((a, b) => a.firstSeq - b.firstSeq);
    for (const { firstSeq, lastSeq } of blocks) {
      generation.firstSeq = Math.min(generation.firstSeq, firstSeq);
      generation.lastSeq = Math.max(generation.lastSeq, lastSeq);
    }
  }

  removeBlocks(number: number, gone: ReadonlySet<Block>): void {
    const at = this.generations.findIndex((one) => one.number === number);
    const generation = this.generations[at];
    if (generation === undefined) return;
    generation.blocks = generation.blocks.filter((block) => !gone.has(block));
    if (generation.blocks.length === 0) this.generations.splice(at, 1);
    for (const block of gone) {
      const { topic, facts } = block;
      this.pages.removed(block);
      topic.blocks--;
      this.#blockMessages -= facts.count;
      this.#blockBytes -= facts.storedBytes;
      this.#blockLogBytes -= facts.logBytes;
    }
    for (const { topic } of gone) this.topics.release(topic);
  }

  /** Every block, oldest generation first. */
  *blocks(): IterableIterator<Block> {
    for (const { blocks } of this.generations) yield* blocks;
  }

  /** How many blocks there are, the messages in them, and the bytes they take in the database, and took in the log. */
  blockTotals(): BlockTotals {
    let blocks = 0;
    for (const generation of this.generations) blocks += generation.blocks.length;
    return { blocks, messages: this.#blockMessages, storedBytes: this.#blockBytes, logBytes: this.#blockLogBytes };
  }

  /** The durables, and what is consumed in their form. */
  everyDurable(): Durable[] {
    const { floor, settled } = this.consumed;
    const hasConsumed = this.#isWorkQueue || settled.size > 0 || floor > 0;
    return hasConsumed ? [...this.durables, this.consumed] : [...this.durables];
  }

  /** Takes over a durable that the database has. */
  loadDurable(durable: Durable): void {
    if (durable.name !== "") this.durables.put(durable);
    else this.consumed = durable;
    this.storedDurables.add(durable.name);
  }

  /** The durables as bytes, for the log's checkpoint record: what is left of them if the database is lost. */
  encodeDurables(): Uint8Array {
    const out = new ByteWriter(1024);
    const durables = this.everyDurable();
    out.varint(durables.length);
    for (const durable of durables) out.block(encodeDurable(durable));
    return copyOf(out);
  }

  /**
   * Takes durables from a checkpoint record, when the database that had them is lost: those that the log has not
   * told of, and positions that are further than the log knows.
   */
  mergeDurables(bytes: Uint8Array): void {
    const input = readerOf(bytes);
    for (let left = input.count(); left > 0; left--) {
      const stored = decodeDurable(input.block());
      const known = stored.name === "" ? this.consumed : this.durables.get(stored.name);
      if (known === undefined) {
        if (stored.name !== "" && !this.deletedDurables.has(stored.name)) this.durables.put(stored);
        continue;
      }
      known.settled.addAll(stored.settled);
      for (const [seq, attempt] of stored.attempts) if (!known.attempts.has(seq)) known.attempts.set(seq, attempt);
      if (known.start === stored.start) known.raiseFloor(stored.floor);
    }
  }
}
