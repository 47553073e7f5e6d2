import { brokerError, quote } from "../errors.js";
import type { WorkOptions } from "../platform/progress.js";
import { backlogOf, expiredPage, pendingPage } from "./backlog.js";
import type { BacklogParts, ExpiredRange } from "./backlog.js";
import { backUp, folderBytes } from "./backup.js";
import type { BackupResult } from "./backup.js";
import type { CheckpointResult } from "./checkpoint.js";
import type { PayloadCodec } from "./codec.js";
import { DiskUse } from "./disk-use.js";
import { toLogEntry } from "./entry-mapping.js";
import type { History } from "./history.js";
import { openStore } from "./open-store.js";
import type { EngineHands, EngineParts } from "./open-engine.js";
import type {
  DurableOperation,
  MessageToStore,
  PendingPage,
  RecoveredState,
  StoredMessage,
  StoreOperation,
} from "./operations.js";
import { resolveOptions } from "./options.js";
import type { StoreOptions, StoreSettings } from "./options.js";
import { replay } from "./replay.js";
import type { ReplayOptions } from "./replay.js";
import type { BacklogStats, StoreReport, StoreStats } from "./reports.js";
import type { Retention } from "./retention.js";
import { Slices } from "./slices.js";
import type { StoreState } from "./state.js";
import { levels } from "./wal/durability.js";
import type { Durability } from "./wal/durability.js";
import type { OperationEntry, WalEntry } from "./wal/entries.js";
import { Upkeep } from "./upkeep.js";
import type { Wal } from "./wal/open.js";
import type { WalState } from "./wal/writer.js";

export type { BacklogStats, StoreReport, StoreStats } from "./reports.js";

/** What of the store's numbers memory knows: what the broker's port asks for, in the same shape. */
export interface StoreFigures {
  readonly state: WalState;
  readonly durables: number;
  readonly messages: number;
  readonly segments: number;
  readonly logBytes: number;
  readonly liveBytes: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly bufferedBytes: number;
  readonly syncs: number;
  readonly syncMs: number;
  readonly checkpoints: number;
  readonly failedCheckpoints: number;
}

type EngineState = "open" | "closing" | "closed";

/**
 * The store: a log that everything goes through, and a database for what outlives a checkpoint. It knows messages by
 * number, topics and durables by name, and nothing of a broker.
 *
 * | state   | entered  | append                       | reads  | left by                        |
 * |---------|----------|------------------------------|--------|--------------------------------|
 * | open    | `open`   | as the log's state allows    | yes    | close → closing                |
 * | closing | close    | ERR_BROKER_CLOSED            | fail   | all is written → closed        |
 * | closed  |          | ERR_BROKER_CLOSED            | fail   | never                          |
 *
 * While open, a full disk refuses messages (`ERR_STORE_FULL`) and takes what settles them; a failed log refuses
 * everything (`ERR_STORE_FAILED`); reads go on in both. Memory is changed only when a record stands in the log, in the
 * log's order, by the same code that recovery uses.
 */
export class StoreEngine {
  readonly #settings: StoreSettings;
  readonly #store: StoreState;
  readonly #payloads: PayloadCodec;
  readonly #history: History;
  readonly #retention: Retention;
  readonly #wal: Wal;
  readonly #releaseLock: () => Promise<void>;
  readonly #hands: EngineHands;
  readonly #backlog: BacklogParts;
  readonly #upkeep: Upkeep;
  readonly #diskUse: DiskUse;
  #state: EngineState = "open";
  #closing: Promise<void> | undefined;
  #catchingUp: Promise<void> | undefined;
  #lastAppendedSeq: number;
  /** A payload becomes bytes in the log's buffer: the codec, a `toJSON` or a getter, which may call anything, is running. */
  #isEncoding = false;

  /** What the store knew when it was opened. Let go of it (`forgetRecovered`) once it is taken over. */
  recovered: RecoveredState;
  readonly recoveryReport: StoreReport;

  private constructor(parts: EngineParts, releaseLock: () => Promise<void>) {
    this.#settings = parts.settings;
    this.#store = parts.state;
    this.#payloads = parts.payloads;
    this.#history = parts.history;
    this.#retention = parts.retention;
    this.#wal = parts.wal;
    this.#hands = parts.hands;
    this.#releaseLock = releaseLock;
    this.#backlog = {
      state: parts.state,
      history: parts.history,
      retention: parts.retention,
      sweep: parts.sweep,
      requireOpen: () => this.#requireOpen(),
    };
    this.recovered = parts.recovered;
    this.recoveryReport = parts.report;
    this.#lastAppendedSeq = parts.state.lastSeq;
    this.#diskUse = new DiskUse(parts.settings);
    this.#upkeep = new Upkeep(parts, () => this.#requireOpen());
  }

  /**
   * Opens the store in a folder, repairing what a crash left; makes it when there is none.
   *
   * Throws `ERR_STORE_LOCKED` (naming the process that has it), `ERR_WRONG_KEY`, `ERR_STORE_FAILED` (a newer version's
   * store; a folder that cannot be written), `ERR_STORE_FULL` (no room, even without the reserve), `ERR_INVALID_OPTION`, and
   * `ERR_STORE_CORRUPT` under the recovery policy `fail`. Under the other policies damage is set aside and reported.
   */
  static async open(options: StoreOptions): Promise<StoreEngine> {
    const settings = resolveOptions(options);
    const { parts, release } = await openStore(settings);
    const engine = new StoreEngine(parts, release);
    // A database that was lost must not look like one that never had anything.
    if (parts.isRebuilt) {
      await engine.checkpoint().catch(async (error: unknown) => {
        await engine.close().catch(() => undefined);
        throw error;
      });
    }
    await engine.#diskUse.look();
    return engine;
  }

  /** Lets go of the recovered state, which may be large. */
  forgetRecovered(): void {
    this.recovered = { ...this.recovered, durables: [], delayed: [], dedup: [], deadLetters: [], retained: [] };
  }

  /** The highest message number that an append has named; the next must be above it. */
  get lastSeq(): number {
    return this.#lastAppendedSeq;
  }

  /** The level of an append that names none. */
  get durability(): Durability {
    return this.#settings.durability;
  }

  /** `open`, `full` (the disk; messages are refused), `failed` (everything is), or on the way to `closed`. */
  get state(): WalState {
    return this.#state === "open" ? this.#wal.writer.state : this.#state;
  }

  /**
   * Stores operations: one, or several as one, all of them or none, also across a crash. Resolves when they have reached
   * the level; from then on they survive what the level says they survive.
   *
   * Message numbers must ascend from append to append. Operations are in the log in the order of the calls, before the
   * call returns; whatever refuses them does so before anything has changed. Rejects with `ERR_INVALID_MESSAGE` (a payload the codec cannot
   * carry; a call from within the encoding of another), `ERR_QUEUE_FULL` (wait for `ready`), `ERR_STORE_FULL`, `ERR_STORE_FAILED`, `ERR_MESSAGE_TOO_LARGE`,
   * `ERR_BROKER_CLOSED`.
   */
  append(operations: readonly StoreOperation[], durability?: Durability): Promise<void> {
    if (this.#isEncoding) return Promise.reject(nestedError());
    this.#isEncoding = true;
    try {
      const { lsn, level } = this.#append(operations, durability ?? this.#settings.durability);
      return lsn === 0 ? done : this.#wal.writer.commit(lsn, level);
    } catch (error) {
      return Promise.reject(error);
    } finally {
      this.#isEncoding = false;
    }
  }

  /** Throws what `append` would refuse because of what the operations are. For who has to know before; it encodes them all. */
  check(operations: readonly StoreOperation[]): void {
    for (const operation of operations) toLogEntry(operation, this.#payloads);
  }

  #append(operations: readonly StoreOperation[], level: Durability): { lsn: number; level: Durability } {
    if (this.#state !== "open") throw this.#closedError();
    if (!levels.includes(level)) {
      throw brokerError("ERR_INVALID_OPTION", `durability must be one of ${levels.join(", ")}; got ${quote(level)}`, {
        option: "durability",
      });
    }
    const first = operations[0];
    if (first === undefined) return { lsn: 0, level };
    let lastSeq = this.#lastAppendedSeq;
    for (const operation of operations) {
      if (operation.type !== "publish") continue;
      const { seq } = operation.message;
      if (!(seq > lastSeq)) throw seqError(seq, lastSeq);
      lastSeq = seq;
    }
    const needsSync = level === "group" || level === "always";
    if (operations.length === 1 && first.type === "publish" && isPlain(first.message)) {
      const { message } = first;
      const lsn = this.#wal.writer.appendMessage(message, this.#payloads);
      this.#lastAppendedSeq = lastSeq;
      this.#hands.willWriteMessage(lsn, message, this.#wal.writer.lastRecordBytes, needsSync);
      return { lsn, level };
    }
    const entry: WalEntry =
      operations.length === 1
        ? this.#entryOf(first)
        : {
            type: "transaction",
            id: "",
            timestamp: Math.max(0, Math.floor(this.#settings.clock.now())),
            operations: operations.map((operation) => this.#entryOf(operation)),
          };
    const lsn = this.#wal.writer.append(entry);
    this.#lastAppendedSeq = lastSeq;
    this.#hands.willWrite(lsn, entry, this.#wal.writer.lastRecordBytes, needsSync);
    return { lsn, level };
  }

  #entryOf(operation: StoreOperation): OperationEntry {
    return toLogEntry(operation.type === "durable" ? this.#dated(operation) : operation, this.#payloads);
  }

  /** A durable that begins in the past gets what is not too old by now; later nobody could tell. */
  #dated(operation: DurableOperation): DurableOperation {
    const { change, position, options } = operation;
    const notBefore = Math.floor(this.#retention.oldestKept);
    if (change !== "created" || notBefore <= 0 || position > this.#lastAppendedSeq) return operation;
    return { ...operation, options: { ...(options as object | null | undefined), notBefore } };
  }

  /**
   * Undefined while `append` takes messages at full speed; otherwise a promise that it does again. Others wait for the
   * same promise: ask again after it.
   */
  ready(): Promise<void> | undefined {
    const buffer = this.#wal.writer.ready();
    if (buffer !== undefined) return buffer;
    if (this.#wal.writer.bytes < this.#settings.walBytes * mostOfLimit || this.state !== "open") return undefined;
    // The log has outrun the checkpoints. One that fails is told and tried again; it does not hold back publishers.
    this.#catchingUp ??= this.checkpoint()
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => (this.#catchingUp = undefined));
    return this.#catchingUp;
  }

  /** Resolves when everything appended so far is on the disk, whatever its level. Rejects as the log's `flush` does. */
  flush(): Promise<void> {
    // What is encoded is in the log's buffer in part; it may not be written before it is whole.
    if (this.#isEncoding) return Promise.resolve().then(() => this.flush());
    return this.#state === "open" ? this.#wal.writer.flush() : Promise.reject(this.#closedError());
  }

  /**
   * The next messages that a durable has to settle, above `afterSeq`, in the order of their numbers. Memory is bounded
   * by the page. Messages whose retry is not due are in it, with their `retryAt`. Expired ones are not, unless they
   * are asked for.
   *
   * @param maxBytes the page ends when its payloads reach this
   * @param withExpired expired ones too, as far as they have not been removed
   */
  pending(
    name: string,
    afterSeq: number,
    limit: number,
    maxBytes = 4 * 2 ** 20,
    withExpired = false,
  ): Promise<PendingPage> {
    return pendingPage(this.#backlog, name, afterSeq, limit, maxBytes, withExpired);
  }

  /**
   * The next messages that a durable has still to settle although they have expired, as far as this checkpoint's sweep goes.
   * For who is asked by `onExpired`.
   */
  expired(name: string, range: ExpiredRange): Promise<PendingPage> {
    return expiredPage(this.#backlog, name, range);
  }

  /** How much a durable has still to settle. Costs by the number of its messages; expired ones count until they are removed. */
  backlog(name: string): BacklogStats {
    this.#requireOpen();
    return backlogOf(this.#backlog, name, this.#hands.unwrittenOf(name));
  }

  /**
   * History for patterns, in the order of numbers over all topics, without side effects. It ends with what was stored
   * when it began; writing goes on meanwhile. Memory is bounded however long the history is.
   */
  async *replay(
    patterns: readonly string[],
    options: ReplayOptions = {},
  ): AsyncGenerator<StoredMessage, void, undefined> {
    for await (const messages of this.replayPages(patterns, options)) yield* messages;
  }

  /** As `replay`, some hundreds of messages at a time. */
  async *replayPages(
    patterns: readonly string[],
    options: ReplayOptions = {},
  ): AsyncGenerator<readonly StoredMessage[], void, undefined> {
    this.#requireOpen();
    const parts = { state: this.#store, history: this.#history, retention: this.#retention };
    const { clock, machine } = this.#settings;
    // What was read lately comes without a look at the disk, and would come in one turn of the event loop.
    const slices = new Slices(
      () => clock.monotonic(),
      () => new Promise((resolve) => machine.afterTurn(resolve)),
    );
    for await (const page of replay(parts, patterns, options)) {
      yield page;
      await slices.next();
      this.#requireOpen();
    }
  }

  /** Moves what is still needed into the database and lets the log's old segments go. Comes by itself; this does it at once. */
  checkpoint(): Promise<CheckpointResult> {
    return this.#upkeep.checkpoint();
  }

  /**
   * Gives back all the room that can be given back: a checkpoint, blocks without what is settled, the database compacted.
   * Rejects with `ERR_STORE_FULL`, `ERR_STORE_FAILED` or the signal's reason; what was done by then stays done.
   */
  compact(options?: WorkOptions): Promise<void> {
    return this.#upkeep.compact(options);
  }

  /**
   * Copies the store into a folder, or into an archive when the name ends with `.zip`, while it is in use: everything
   * appended before the call is in it. A restore is a copy. Rejects with `ERR_INVALID_OPTION` when the target exists, with
   * `ERR_STORE_FULL` or `ERR_STORE_FAILED` when it cannot be written, and with the signal's reason.
   */
  backup(target: string, options?: WorkOptions): Promise<BackupResult> {
    return this.#upkeep.inTurn(() =>
      backUp({ settings: this.#settings, wal: this.#wal, database: this.#hands.database }, target, options),
    );
  }

  /** Figures at once; those of the disk as of its last look. */
  figures(): StoreFigures {
    const { durables, index } = this.#store;
    const inBlocks = this.#store.blockTotals();
    const { segments, bytes, bufferedBytes, syncs, syncMs } = this.#wal.writer.stats();
    return {
      state: this.state,
      durables: durables.size,
      messages: index.size + inBlocks.messages,
      segments,
      logBytes: bytes,
      liveBytes: inBlocks.storedBytes + bytes,
      ...this.#diskUse.figures(),
      bufferedBytes,
      syncs,
      syncMs: syncMs.total,
      checkpoints: this.#upkeep.checkpoints,
      failedCheckpoints: this.#upkeep.failedCheckpoints,
    };
  }

  async stats(): Promise<StoreStats> {
    const { topics, durables, index } = this.#store;
    const { path, machine } = this.#settings;
    const { blocks, messages, storedBytes } = this.#store.blockTotals();
    const log = this.#wal.writer.stats();
    return {
      lastSeq: this.#lastAppendedSeq,
      topics: topics.size,
      durables: durables.size,
      blocks,
      messagesInBlocks: messages,
      messagesInLog: index.size,
      liveBytes: storedBytes + log.bytes,
      totalBytes: await folderBytes(this.#settings, ["wal", "level"]),
      freeBytes: await machine.fileSystem.freeBytes(path),
      checkpoints: this.#upkeep.checkpoints,
      failedCheckpoints: this.#upkeep.failedCheckpoints,
      lastCheckpoint: this.#upkeep.lastCheckpoint,
      log,
    };
  }

  /**
   * Writes and syncs what was appended, and closes everything. A repeat gives the same promise. Rejects when something
   * that was appended could not be written; everything is closed even so.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#transition("closing");
    const atRest = this.#upkeep.end();
    const problems: unknown[] = [];
    const note = (error: unknown): void => {
      problems.push(error);
    };
    await atRest;
    await this.#wal.writer.close().catch(note);
    await this.#hands.database.close().catch(note);
    await this.#releaseLock().catch(note);
    this.#transition("closed");
    if (problems.length === 1) throw problems[0] as Error;
    if (problems.length > 1) throw new AggregateError(problems, "The store could not be closed cleanly");
  }

  #transition(to: EngineState): void {
    const isStep = (this.#state === "open" && to === "closing") || (this.#state === "closing" && to === "closed");
    if (!isStep) throw new Error(`store: no step from ${this.#state} to ${to}`);
    this.#state = to;
  }

  #requireOpen(): void {
    if (this.#state !== "open") throw this.#closedError();
  }

  #closedError(): Error {
    return brokerError("ERR_BROKER_CLOSED", "The store is closed", { path: this.#settings.path });
  }
}

const done: Promise<void> = Promise.resolve();

/** How many times `walBytes` the log may be before it holds publishers back; what settles its messages comes on top. */
const mostOfLimit = 3;

/** True for a message of which memory keeps no bytes. */
function isPlain({ retain, deliverAt, dedupId }: MessageToStore): boolean {
  return retain !== true && deliverAt === undefined && dedupId === undefined;
}

function nestedError(): Error {
  const text =
    "A codec, a toJSON or a getter wrote to the store while the payload was encoded that it belongs to. Do it before the publish, or in a later turn of the event loop";
  return brokerError("ERR_INVALID_MESSAGE", text, {});
}

function seqError(seq: number, lastSeq: number): Error {
  return brokerError("ERR_INVALID_MESSAGE", `Message numbers must ascend: ${seq} does not come after ${lastSeq}`, {
    seq,
    lastSeq,
  });
}
