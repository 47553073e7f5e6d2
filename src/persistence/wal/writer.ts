import { brokerError } from "../../errors.js";
import type { Checksum } from "../../platform/checksum.js";
import type { Clock } from "../../platform/clock.js";
import type { FileSystem } from "../../platform/file-system.js";
import type { SegmentAppender } from "./appender.js";
import type { Batch } from "./batch.js";
import { encodeSyncMark, encodeVoid } from "./batch.js";
import { DroppedNumbers } from "./dropped-numbers.js";
import type { Durability } from "./durability.js";
import { carriesMessages } from "./entries.js";
import type { MessageToWrite, PayloadWriter, WalEntry } from "./entries.js";
import { encodeEntry, encodeMessage } from "./entry-codec.js";
import { GroupCommit } from "./group-commit.js";
import { sealBytes } from "./log-cipher.js";
import type { LogCipher } from "./log-cipher.js";
import { beginRecord, endRecord, maxBodyBytes, recordFlag, recordHeadBytes } from "./record.js";
import { bufferError, closedError, failedError, fullError, tooLargeError } from "./refusals.js";
import { noteClosed } from "./renewal.js";
import type { Reserve } from "./reserve.js";
import { RoomCheck } from "./room-check.js";
import { DiskFull } from "./segment.js";
import type { Segment } from "./segment.js";
import { SyncTimes } from "./sync-times.js";
import type { SyncMs } from "./sync-times.js";

/** `open`: takes everything. `full`: takes what carries no messages. `failed`: takes nothing. */
export type WalState = "open" | "full" | "failed" | "closing" | "closed";

export interface WalWriterOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly crc32: Checksum;
  /** Where the checksums of the log's records start. */
  readonly salt: number;
  readonly clock: Pick<Clock, "now" | "monotonic" | "schedule">;
  readonly afterTurn: (run: () => void) => void;
  /** The longest time, in milliseconds, that a record of level `interval` stays unsynced. */
  readonly intervalMs: number;
  /** Bytes of records that wait for the write before them; above it, `append` refuses messages. */
  readonly bufferBytes: number;
  /** While the disk is full: how often, in milliseconds, to look whether there is room again. */
  readonly fullCheckMs: number;
  /** Told of each change of state, with the error that appends now get, if any. Must not throw. */
  readonly onStateChange?: ((state: WalState, error: Error | undefined) => void) | undefined;
  /**
   * Told when everything through `lsn` was written, or refused by a full disk (see `wasDropped`), before those who
   * wait for it. Must not throw.
   */
  readonly onWritten?: ((lsn: number) => void) | undefined;
  /** Encrypts the bodies of records. */
  readonly cipher?: LogCipher | undefined;
}

/** The log in numbers. */
export interface WalStats {
  readonly state: WalState;
  /** The last number given out, the last one in the page cache, and the last one on the disk. */
  readonly lastLsn: number;
  readonly writtenLsn: number;
  readonly syncedLsn: number;
  readonly segments: number;
  /** Bytes of all segments. */
  readonly bytes: number;
  /** Bytes of records that are not written yet. */
  readonly bufferedBytes: number;
  readonly groups: number;
  readonly syncs: number;
  /** With the write, where they are one call. */
  readonly syncMs: SyncMs;
  /** Records that a full disk made the log drop after `append`; whoever waited for them was told. */
  readonly droppedRecords: number;
}

/**
 * The one writer of a log.
 *
 * | state   | entered                              | append                                              | left by                                  |
 * |---------|--------------------------------------|-----------------------------------------------------|------------------------------------------|
 * | open    | at first; there is room again        | everything                                          | no room → full; failure → failed; close  |
 * | full    | a write found no room                | what carries no messages; the rest: ERR_STORE_FULL  | the reserve could be made again → open; failure → failed; close |
 * | failed  | a write, sync or rotation failed     | ERR_STORE_FAILED                                    | close                                    |
 * | closing | close                                | ERR_BROKER_CLOSED                                   | all is written and synced → closed       |
 * | closed  |                                      | ERR_BROKER_CLOSED                                   | never                                    |
 *
 * Entering `full`, the half-written group is cut off the file, the reserve is given up, and the records that
 * carry messages are taken out of the group: those who wait for them get `ERR_STORE_FULL`. What is left of
 * the group goes into the room of the reserve. Each later group is treated the same way. If there is no room
 * even so, the whole group is refused. A number that was given out and not written is named by a `void`
 * record, so that a reader sees no gap. `full` ends when the reserve file could be written again, which is
 * tried at an interval and after segments were removed.
 *
 * A sync that fails for want of room is a failure like any other: what it left on the disk is not known.
 */
export class WalWriter {
  readonly #options: WalWriterOptions;
  readonly #appender: SegmentAppender;
  readonly #reserve: Reserve;
  readonly #segments: Segment[];
  readonly #salt: number;
  readonly #groups: GroupCommit;
  #state: WalState;
  #failure: Error | undefined;
  #lastLsn: number;
  #lastRecordBytes = 0;
  /** The last sync mark says that everything through this number is on the disk. */
  #markedLsn = 0;
  /** Numbers given out and not written, because the disk was full. */
  readonly #dropped = new DroppedNumbers();
  /** The first number that the next write has to declare void. */
  #voidFrom: number | undefined;
  #cancelInterval: (() => void) | undefined;
  readonly #roomCheck: RoomCheck;
  #closing: Promise<void> | undefined;
  #groupCount = 0;
  readonly #syncTimes = new SyncTimes();
  /** When the last look was whether the file has its name. */
  #lookedAt: number;

  /**
   * @param segments every segment, oldest first; the last is the appender's. All of it is on the disk.
   * @param lastLsn the last number given out
   * @param hasReserve whether the reserve could be made; without it the log opens `full`
   */
  constructor(
    options: WalWriterOptions,
    appender: SegmentAppender,
    reserve: Reserve,
    segments: Segment[],
    lastLsn: number,
    hasReserve: boolean,
  ) {
    this.#options = options;
    this.#appender = appender;
    this.#reserve = reserve;
    this.#segments = segments;
    this.#salt = options.salt;
    this.#lastLsn = lastLsn;
    this.#lookedAt = options.clock.monotonic();
    const steps = {
      write: (batch: Batch) => this.#write(batch),
      written: (lsn: number) => options.onWritten?.(lsn),
      sync: () => this.#sync(),
      rotate: (firstLsn: number) => this.#rotate(firstLsn),
      syncLater: () => this.#syncLater(),
      fail: (cause: unknown) => this.#fail(cause),
    };
    this.#groups = new GroupCommit(steps, lastLsn, {
      bufferBytes: options.bufferBytes,
      afterTurn: options.afterTurn,
      now: () => options.clock.monotonic(),
    });
    const room = {
      clock: options.clock,
      everyMs: options.fullCheckMs,
      isFull: () => this.#state === "full",
      found: () => this.#transition("open", undefined),
    };
    this.#roomCheck = new RoomCheck(room, reserve);
    this.#state = hasReserve ? "open" : "full";
    if (!hasReserve) this.#roomCheck.later();
  }

  get state(): WalState {
    return this.#state;
  }

  /** The last number given out; 0 when there is none. */
  get lastLsn(): number {
    return this.#lastLsn;
  }

  /** Bytes of the record that was appended last, head and all. */
  get lastRecordBytes(): number {
    return this.#lastRecordBytes;
  }

  /** Everything through it is in the files, and can be read. */
  get writtenLsn(): number {
    return this.#groups.writtenLsn;
  }

  get syncedLsn(): number {
    return this.#groups.syncedLsn;
  }

  /**
   * Adds a record to the log, and returns its number. It is written soon, whether or not anybody waits for it:
   * call `commit` with the number, in the same turn of the event loop, to learn when.
   *
   * Throws, and changes nothing: `ERR_STORE_FULL` (the disk is full, and the entry carries messages),
   * `ERR_STORE_FAILED` (for good), `ERR_QUEUE_FULL` (the buffer is full: wait for `ready`),
   * `ERR_INVALID_MESSAGE` and `ERR_MESSAGE_TOO_LARGE` (the entry), `ERR_BROKER_CLOSED`.
   */
  append(entry: WalEntry): number {
    return this.#append(entry, null, carriesMessages(entry));
  }

  /** The same for a message by itself, whose payload becomes bytes in the log's buffer. Throws what `payloads` throws, too. */
  appendMessage(message: MessageToWrite, payloads: PayloadWriter): number {
    return this.#append(message, payloads, true);
  }

  #append(entry: WalEntry | MessageToWrite, payloads: PayloadWriter | null, hasMessages: boolean): number {
    if (this.#state !== "open" && this.#state !== "full") throw this.#refusal();
    if (hasMessages && this.#state === "full") throw this.#fullError();
    const batch = this.#groups.current;
    // What carries no messages settles them, and may use the buffer twice over: refusing it helps nobody.
    if (batch.length >= this.#options.bufferBytes * (hasMessages ? 1 : 2)) throw bufferError(this.#options.bufferBytes);
    const { out } = batch;
    const { cipher, crc32 } = this.#options;
    const start = beginRecord(out);
    const lsn = this.#lastLsn + 1;
    try {
      if (cipher !== undefined) {
        out.reserve(sealBytes);
        out.length += sealBytes;
      }
      const type =
        payloads === null ? encodeEntry(out, entry as WalEntry) : encodeMessage(out, entry as MessageToWrite, payloads);
      if (out.length - start - recordHeadBytes > maxBodyBytes) throw tooLargeError(out.length - start);
      cipher?.seal(type, lsn, out.bytes, start + recordHeadBytes, out.length);
      endRecord(out, start, type, cipher === undefined ? 0 : recordFlag.encrypted, lsn, this.#salt, crc32);
    } catch (error) {
      out.length = start;
      throw error;
    }
    batch.add(lsn, hasMessages);
    this.#lastLsn = lsn;
    this.#lastRecordBytes = out.length - start;
    this.#groups.kick();
    return lsn;
  }

  /**
   * Resolves when the record `lsn`, which `append` returned, has reached the level; what was appended before
   * it has reached it too. The promise is shared by all who wait for the same group.
   *
   * Rejects with `ERR_STORE_FULL` when a full disk refused the record (the log goes on without it), and with
   * `ERR_STORE_FAILED` when a write or sync failed (the record may be in the log or not).
   */
  commit(lsn: number, level: Durability): Promise<void> {
    if (level === "memory") return done;
    if (this.#dropped.has(lsn)) return Promise.reject(this.#fullError());
    if (level === "group" || level === "always") {
      if (lsn <= this.#groups.syncedLsn) return done;
      return this.#groups.promise(lsn, level === "always" ? "sync-now" : "sync");
    }
    if (lsn > this.#groups.writtenLsn) {
      return this.#groups.promise(lsn, level === "interval" ? "write-then-sync-later" : "write");
    }
    if (level === "interval" && lsn > this.#groups.syncedLsn) this.#syncLater();
    return done;
  }

  /** Whether a full disk refused the record `lsn` after `append` had taken it. */
  wasDropped(lsn: number): boolean {
    return this.#dropped.count > 0 && this.#dropped.has(lsn);
  }

  /** Bytes of all segments. */
  get bytes(): number {
    let sum = 0;
    for (const segment of this.#segments) sum += segment.bytes;
    return sum;
  }

  /**
   * Undefined while `append` takes messages; otherwise a promise that there is room in the buffer again. Others
   * wait for the same promise: ask again after it.
   */
  ready(): Promise<void> | undefined {
    return this.#groups.ready();
  }

  /**
   * Resolves when everything appended so far is on the disk, whatever level it was committed with. Rejects
   * with `ERR_STORE_FULL` when a full disk refused some of it meanwhile, and with `ERR_STORE_FAILED`.
   */
  flush(): Promise<void> {
    if (this.#groups.syncedLsn >= this.#lastLsn && this.#failure === undefined) return done;
    return this.#groups.flush();
  }

  /** Ends the last segment, unless it is empty, and starts the next: what was appended so far is sealed and synced. */
  rotate(): Promise<void> {
    if (this.#state !== "open" && this.#state !== "full") return Promise.reject(this.#refusal());
    return this.#groups.rotate();
  }

  /**
   * Removes the segments that hold nothing above `lsn`, oldest first, except the last segment. A crash on the
   * way leaves a log without its oldest segments, never one with a hole.
   *
   * @returns how many were removed
   */
  async removeThrough(lsn: number): Promise<number> {
    const { fileSystem, directory } = this.#options;
    let count = 0;
    for (;;) {
      const oldest = this.#segments[0];
      if (oldest === undefined || this.#segments.length === 1 || oldest.lastLsn > lsn) break;
      this.#segments.shift();
      try {
        await fileSystem.remove(`${directory}/${oldest.name}`);
        await fileSystem.syncDirectory(directory);
      } catch (cause) {
        this.#segments.unshift(oldest);
        throw brokerError(
          "ERR_STORE_FAILED",
          `Could not remove ${oldest.name}: the log goes on, and is larger than it need be`,
          { file: oldest.name },
          cause,
        );
      }
      count++;
    }
    if (count > 0 && this.#state === "full") await this.#roomCheck.now();
    return count;
  }

  /**
   * Writes and syncs what was appended, and closes the file. A repeat gives the same promise. Rejects when
   * something that was appended could not be written; the file is closed even so.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  stats(): WalStats {
    return {
      state: this.#state,
      lastLsn: this.#lastLsn,
      writtenLsn: this.#groups.writtenLsn,
      syncedLsn: this.#groups.syncedLsn,
      segments: this.#segments.length,
      bytes: this.bytes,
      bufferedBytes: this.#groups.current.length,
      groups: this.#groupCount,
      syncs: this.#syncTimes.count,
      syncMs: this.#syncTimes.ms,
      droppedRecords: this.#dropped.count,
    };
  }

  // The steps of a group, one at a time, called by the group commit.

  async #write(batch: Batch): Promise<void> {
    this.#groupCount++;
    if (this.#options.clock.monotonic() - this.#lookedAt >= lookMs) await this.#requireFile();
    if (this.#state === "full" && !this.#dropMessages(batch)) return;
    try {
      // A full disk has no room for a new segment; what may still be written goes on in the old one.
      await this.#put(batch, this.#state !== "full");
      return;
    } catch (cause) {
      if (!(cause instanceof DiskFull)) throw cause;
    }
    if (this.#state !== "full") {
      if (this.#state === "open") this.#transition("full", this.#fullError());
      await this.#reserve.release().catch(() => undefined);
      if (!this.#dropMessages(batch)) return;
      try {
        await this.#put(batch, false);
        return;
      } catch (cause) {
        if (!(cause instanceof DiskFull)) throw cause;
      }
    }
    this.#dropAll(batch);
  }

  /** Files that were removed take writes and syncs as before: nobody would notice until the next opening. */
  async #requireFile(): Promise<void> {
    await this.#appender.requireFile();
    this.#lookedAt = this.#options.clock.monotonic();
  }

  /** Appends the group, with a sync mark and what is void before it. */
  async #put(batch: Batch, mayRotate: boolean): Promise<void> {
    const syncedLsn = this.#groups.syncedLsn;
    const voidFrom = this.#voidFrom;
    const firstLsn = voidFrom ?? batch.firstLsn;
    batch.prepend((out) => {
      const { crc32 } = this.#options;
      if (syncedLsn > this.#markedLsn) encodeSyncMark(out, firstLsn - 1, syncedLsn, this.#salt, crc32);
      if (voidFrom !== undefined) encodeVoid(out, batch.firstLsn - 1, batch.firstLsn - voidFrom, this.#salt, crc32);
    });
    const startedAt = this.#options.clock.monotonic();
    const { bytes, start, end, lastLsn, waitsForDiskOnly, marks } = batch;
    await this.#appender.append(bytes, start, end, firstLsn, lastLsn, mayRotate, waitsForDiskOnly, marks);
    if (waitsForDiskOnly && this.#appender.isSynced) this.#noteSync(startedAt);
    this.#markedLsn = syncedLsn;
    this.#voidFrom = undefined;
  }

  async #sync(): Promise<void> {
    this.#cancelInterval?.();
    this.#cancelInterval = undefined;
    if (this.#appender.isSynced) return;
    const startedAt = this.#options.clock.monotonic();
    await this.#appender.datasync();
    this.#noteSync(startedAt);
  }

  #noteSync(startedAt: number): void {
    this.#syncTimes.add(this.#options.clock.monotonic() - startedAt);
  }

  async #rotate(firstLsn: number): Promise<void> {
    try {
      await this.#appender.rotate(this.#voidFrom ?? firstLsn);
    } catch (cause) {
      if (!(cause instanceof DiskFull)) throw cause; // the segment just goes on
    }
  }

  #syncLater(): void {
    this.#cancelInterval ??= this.#options.clock.schedule(this.#options.intervalMs, () => {
      this.#cancelInterval = undefined;
      this.#groups.syncSoon();
    });
  }

  #fail(cause: unknown): Error {
    const failure = failedError(this.#options.directory, cause);
    this.#failure = failure;
    this.#stopTimers();
    if (this.#state !== "closing") this.#transition("failed", failure);
    return failure;
  }

  // What a full disk costs.

  /** Takes the messages out of a group. False when nothing is left of it. */
  #dropMessages(batch: Batch): boolean {
    if (batch.messageCount === 0) return true;
    const { dropped, kept } = batch.dropMessages(this.#fullError(), this.#salt, this.#options.crc32);
    for (const range of dropped) this.#dropped.add(range);
    if (kept > 0) return true;
    this.#voidFrom ??= batch.firstLsn;
    return false;
  }

  #dropAll(batch: Batch): void {
    batch.reject(this.#fullError());
    this.#dropped.add({ from: batch.firstLsn, to: batch.lastLsn });
    this.#voidFrom ??= batch.firstLsn;
  }

  async #close(): Promise<void> {
    const hadFailed = this.#state === "failed";
    this.#transition("closing", undefined);
    this.#stopTimers();
    await this.#roomCheck.idle;
    let problem: unknown;
    if (!hadFailed) await this.flush().catch((error: unknown) => (problem = error));
    await this.#groups.idle();
    this.#stopTimers();
    await this.#appender.close();
    const { fileSystem, directory } = this.#options;
    const last = this.#segments.at(-1);
    if (!hadFailed && problem === undefined && this.#appender.isSynced && last !== undefined) {
      await noteClosed(fileSystem, directory, { ...last, salt: this.#salt });
    }
    this.#transition("closed", undefined);
    if (problem !== undefined) throw problem as Error;
  }

  #stopTimers(): void {
    this.#cancelInterval?.();
    this.#cancelInterval = undefined;
    this.#roomCheck.stop();
  }

  #transition(to: WalState, error: Error | undefined): void {
    if (!stepsFrom[this.#state].includes(to)) throw new Error(`log: no step from ${this.#state} to ${to}`);
    this.#state = to;
    if (to === "full") this.#roomCheck.later();
    this.#options.onStateChange?.(to, error);
  }

  #refusal(): Error {
    if (this.#state === "failed" && this.#failure !== undefined) return this.#failure;
    return closedError(this.#options.directory);
  }

  #fullError(): Error {
    return fullError(this.#options.directory);
  }
}

/** Between two looks at whether the file that is written has its name, while the log is in use. */
const lookMs = 1000;

const done: Promise<void> = Promise.resolve();

const stepsFrom: Readonly<Record<WalState, readonly WalState[]>> = {
  open: ["full", "failed", "closing"],
  full: ["open", "failed", "closing"],
  failed: ["closing"],
  closing: ["closed"],
  closed: [],
};
