import type { Checksum } from "../../platform/checksum.js";
import { ByteWriter } from "./byte-writer.js";
import type { LsnRange } from "./dropped-numbers.js";
import { beginRecord, endRecord, RecordFrame, recordType } from "./record.js";

/** What a waiter waits for: its record in the page cache, or on the disk. */
export type Milestone = "written" | "synced";

/** Room in front of the records for those that are made when the batch is written: a sync mark and a void. */
const headroomBytes = 64;

/** How far apart the places of a batch are that are noted, so that reading may start in its middle. */
const markBytes = 32 * 1024;

/** Where a record starts in the batch's bytes. */
export interface RecordMark {
  readonly lsn: number;
  readonly at: number;
}

class Deferred {
  readonly promise: Promise<void>;
  resolve: () => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** The promises of one kind of record: one for each milestone, shared by all who wait, made when first asked for. */
class Waiters {
  written: Deferred | undefined;
  synced: Deferred | undefined;

  promise(milestone: Milestone): Promise<void> {
    return (this[milestone] ??= new Deferred()).promise;
  }

  resolve(milestone: Milestone): void {
    this[milestone]?.resolve();
  }

  reject(error: unknown): void {
    this.written?.reject(error);
    this.synced?.reject(error);
  }

  clear(): void {
    this.written = undefined;
    this.synced = undefined;
  }
}

/**
 * Records that are written by one write and synced by one sync, and those who wait for them.
 *
 * Records are of two kinds: those that carry messages, which a full disk refuses, and the rest. Each kind has
 * its own promises, so that a full disk can refuse one kind and keep the other.
 */
export class Batch {
  #out: ByteWriter;
  readonly #initialBytes: number;
  /** For each record, 1 when it carries messages. */
  #kinds: Uint8Array = new Uint8Array(1024);
  #messageCount = 0;
  /** Why the records that carry messages, and why the others, will not be written; undefined while they may be. */
  #refusal: Error | undefined;
  #otherRefusal: Error | undefined;
  readonly #prefix = new ByteWriter(512);
  #marks: RecordMark[] = [];
  /** Where the record begins that will be marked, at the earliest. */
  #markFrom = headroomBytes + markBytes;
  readonly #messages = new Waiters();
  readonly #others = new Waiters();
  /** Where the records to write start in `bytes`. */
  #start = headroomBytes;
  firstLsn = 0;
  /** `firstLsn - 1` while the batch is empty. */
  lastLsn = -1;
  /** Somebody waits for the disk. */
  wantsSync = false;
  /** Somebody asked for a sync within the interval. */
  wantsIntervalSync = false;
  /** Somebody will not wait for the end of the turn. */
  isUrgent = false;
  /** Somebody asked for the segment to end after this batch. */
  wantsRotation = false;

  constructor(initialBytes: number) {
    this.#initialBytes = initialBytes;
    this.#out = new ByteWriter(initialBytes);
    this.#out.length = headroomBytes;
  }

  /** Empties the batch for records from `firstLsn` on. Memory that one giant record took is given back. */
  reset(firstLsn: number, keepBytes: number): void {
    if (this.#out.bytes.length > keepBytes * 2) this.#out = new ByteWriter(this.#initialBytes);
    this.#out.length = headroomBytes;
    this.#start = headroomBytes;
    this.#forgetMarks();
    this.#messageCount = 0;
    this.#refusal = undefined;
    this.#otherRefusal = undefined;
    this.#messages.clear();
    this.#others.clear();
    this.firstLsn = firstLsn;
    this.lastLsn = firstLsn - 1;
    this.wantsSync = false;
    this.wantsIntervalSync = false;
    this.wantsRotation = false;
    this.isUrgent = false;
  }

  /** Where the next record is encoded; `add` claims what was written there. */
  get out(): ByteWriter {
    return this.#out;
  }

  get bytes(): Buffer {
    return this.#out.bytes;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#out.length;
  }

  /** Bytes of records. */
  get length(): number {
    return this.#out.length - this.#start;
  }

  get isEmpty(): boolean {
    return this.#out.length === this.#start;
  }

  /** Somebody waits for the disk, and nobody for less. */
  get waitsForDiskOnly(): boolean {
    return this.wantsSync && this.#messages.written === undefined && this.#others.written === undefined;
  }

  get hasWork(): boolean {
    return !this.isEmpty || this.wantsSync || this.wantsRotation;
  }

  /** Records in the batch that carry messages. */
  get messageCount(): number {
    return this.#messageCount;
  }

  /** Claims the record that was just encoded. */
  add(lsn: number, hasMessages: boolean): void {
    const index = lsn - this.firstLsn;
    if (index >= this.#kinds.length) {
      const larger = new Uint8Array(this.#kinds.length * 2);
      larger.set(this.#kinds);
      this.#kinds = larger;
    }
    this.#kinds[index] = hasMessages ? 1 : 0;
    if (hasMessages) this.#messageCount++;
    this.lastLsn = lsn;
    if (this.#out.length < this.#markFrom) return;
    this.#marks.push({ lsn: lsn + 1, at: this.#out.length });
    this.#markFrom = this.#out.length + markBytes;
  }

  /** Records within the batch, some way apart. The last may be the first of the next batch. */
  get marks(): readonly RecordMark[] {
    return this.#marks;
  }

  #forgetMarks(): void {
    if (this.#marks.length > 0) this.#marks = [];
    this.#markFrom = headroomBytes + markBytes;
  }

  /** The promise, shared with others, that the record `lsn` reaches the milestone. */
  promise(lsn: number, milestone: Milestone): Promise<void> {
    return this.#promise(this.#hasMessages(lsn), milestone);
  }

  /** The promise that everything in the batch reaches the disk; rejects when a full disk refused some of it. */
  wholePromise(): Promise<void> {
    return this.#promise(this.#messageCount > 0 || this.#refusal !== undefined, "synced");
  }

  #promise(hasMessages: boolean, milestone: Milestone): Promise<void> {
    const refusal = hasMessages ? this.#refusal : this.#otherRefusal;
    if (refusal !== undefined) return Promise.reject(refusal);
    return (hasMessages ? this.#messages : this.#others).promise(milestone);
  }

  resolve(milestone: Milestone): void {
    this.#messages.resolve(milestone);
    this.#others.resolve(milestone);
  }

  /** Tells all who wait, or come to wait until the batch is used again. */
  reject(error: Error): void {
    this.#refusal ??= error;
    this.#otherRefusal = error;
    this.#messages.reject(error);
    this.#others.reject(error);
  }

  /** Puts records that exist only now in front of the others: made by `encode`, at most once a batch. */
  prepend(encode: (out: ByteWriter) => void): void {
    const prefix = this.#prefix;
    prefix.length = 0;
    encode(prefix);
    if (prefix.length > headroomBytes) throw new Error("the records in front of a batch outgrew their room");
    this.#start = headroomBytes - prefix.length;
    this.#out.bytes.set(prefix.bytes.subarray(0, prefix.length), this.#start);
  }

  /**
   * Takes the records that carry messages out, rejects those who wait for them, and puts a `void` record
   * where they were, so that the numbers still have no unexplained gap.
   *
   * @returns the numbers that were dropped, and how many records stay
   */
  dropMessages(error: Error, salt: number, crc32: Checksum): { dropped: LsnRange[]; kept: number } {
    const from = this.#out;
    this.#out = new ByteWriter(this.#initialBytes);
    this.#out.length = headroomBytes;
    this.#start = headroomBytes;
    this.#forgetMarks();
    const dropped: LsnRange[] = [];
    let open: LsnRange | undefined;
    let kept = 0;
    const close = (): void => {
      if (open !== undefined) encodeVoid(this.#out, open.to, open.to - open.from + 1, salt, crc32);
      open = undefined;
    };
    const frame = new RecordFrame(salt, crc32);
    for (let at = headroomBytes; at < from.length; at = frame.end) {
      frame.readHead(from.bytes, at);
      if (this.#hasMessages(frame.lsn)) {
        if (open === undefined) dropped.push((open = { from: frame.lsn, to: frame.lsn }));
        open.to = frame.lsn;
      } else {
        close();
        this.#out.raw(from.bytes.subarray(at, frame.end));
        kept++;
      }
    }
    close();
    this.#messageCount = 0;
    this.#refusal = error;
    this.#messages.reject(error);
    return { dropped, kept };
  }

  #hasMessages(lsn: number): boolean {
    return lsn >= this.firstLsn && this.#kinds[lsn - this.firstLsn] === 1;
  }
}

/** Says that the `count` numbers that end with `lsn` were never written. */
export function encodeVoid(out: ByteWriter, lsn: number, count: number, salt: number, crc32: Checksum): void {
  const start = beginRecord(out);
  out.varint(count);
  endRecord(out, start, recordType.void, 0, lsn, salt, crc32);
}

/** Says that everything through `syncedLsn` is on the disk; has the number of the record before it. */
export function encodeSyncMark(out: ByteWriter, lsn: number, syncedLsn: number, salt: number, crc32: Checksum): void {
  const start = beginRecord(out);
  out.varint(syncedLsn);
  endRecord(out, start, recordType.syncMark, 0, lsn, salt, crc32);
}
