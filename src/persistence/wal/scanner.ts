import type { Checksum } from "../../platform/checksum.js";
import type { ReadFile } from "../../platform/file-system.js";
import { ByteReader, MalformedBytes } from "./byte-reader.js";
import { EntryDecoder } from "./entry-codec.js";
import type { WalEntry } from "./entries.js";
import type { BodyOpener } from "./log-cipher.js";
import { recordFlag, RecordFrame, recordHeadBytes, recordType } from "./record.js";
import { FileWindow } from "./window.js";
import type { UnreadableBlocks } from "./window.js";

/** A record of the log, with its number. */
export interface WalRecord {
  readonly lsn: number;
  readonly entry: WalEntry;
  /** What it takes in the file, head and all. */
  readonly bytes: number;
}

/** Why bytes are not records: the three answers of `RecordFrame`, and what only a scan can see. */
export type DamageReason =
  /** The bytes are there and are not what was written. */
  | "checksum"
  /** The file ends in the middle of a record, or in zeros. */
  | "torn"
  /** The records are in order and some are not there. */
  | "missing"
  /** Both copies of the segment's header are damaged. */
  | "header"
  /** The checksum is right and the body is not what its type says. */
  | "undecodable";

/** A stretch of a segment that gave no records, and the numbers that are lost with it. */
export interface Damage {
  readonly reason: DamageReason;
  readonly offset: number;
  readonly bytes: number;
  /** The first and the last number that may have been in it; `toLsn < fromLsn` when none was lost. */
  readonly fromLsn: number;
  readonly toLsn: number;
}

/** What a scan finds, in the order of the file. */
export type ScanItem =
  /** `offset` is where reading went on, and `nextLsn` the number that comes there; records may have been passed over since. */
  | {
      readonly kind: "records";
      readonly records: readonly WalRecord[];
      readonly offset: number;
      readonly nextLsn: number;
    }
  | { readonly kind: "damage"; readonly damage: Damage }
  /** Last: where the good bytes end, and what the rest is. No valid record comes after it. */
  | {
      readonly kind: "tail";
      readonly offset: number;
      readonly bytes: number;
      readonly reason: "clean" | "torn" | "checksum";
    };

export interface ScanOptions {
  readonly file: ReadFile;
  readonly crc32: Checksum;
  readonly salt: number;
  /** Where to start: the end of the header, or a place where a record starts. */
  readonly offset: number;
  /** Where to stop, for a file that is being written. */
  readonly limit?: number | undefined;
  /** The number that the first record must have. */
  readonly expectLsn: number;
  /** No record has a number above it. */
  readonly highestLsn: number;
  /** Records through this number are checked and counted, not decoded. */
  readonly skipThroughLsn: number;
  readonly chunkBytes: number;
  /** Set when the header is lost: everything before the first valid record is. */
  readonly headerLost?: boolean | undefined;
  /** Decrypts a body; undefined from it: the body is not what was sealed. */
  readonly open?: BodyOpener | undefined;
  /** Blocks that the disk would not give end the scan with its error, until they are given up; absent: they are damage at once. */
  readonly unreadable?: UnreadableBlocks | undefined;
  /** Which records to decode; the others are checked and passed over. Absent: all. */
  readonly wants?: ((lsn: number) => boolean) | undefined;
}

/**
 * How much may be checksummed in search of the next valid record, as a multiple of the file: what is left is
 * given up after that. Only bytes made for the purpose come near it.
 */
const searchEffort = 16;

/** Reads one segment from front to back, in bounded memory, and leaves nothing it passes over unmentioned. */
export class SegmentScanner {
  readonly #options: ScanOptions;
  readonly #window: FileWindow;
  readonly #frame: RecordFrame;
  readonly #decoder = new EntryDecoder();
  readonly #body = new ByteReader();
  #expectLsn: number;
  #at: number;
  #searchBudget: number;
  /** The highest number that a sync mark says is on the disk. */
  syncedLsn = 0;
  /** Records that were passed over because their type allows it. */
  ignoredRecords = 0;

  constructor(options: ScanOptions) {
    this.#options = options;
    const { file, limit = file.size, chunkBytes, unreadable } = options;
    this.#window = new FileWindow(file, limit, chunkBytes, unreadable);
    this.#frame = new RecordFrame(options.salt, options.crc32);
    this.#expectLsn = options.expectLsn;
    this.#at = options.offset;
    this.#searchBudget = this.#window.limit * searchEffort;
  }

  /** The number that the next record would have. */
  get expectLsn(): number {
    return this.#expectLsn;
  }

  get unreadableBlocks(): number {
    return this.#window.unreadableBlocks;
  }

  async *items(): AsyncGenerator<ScanItem, void, undefined> {
    await this.#window.moveTo(this.#at, 0);
    /** Where damage began, until the record after it tells what was lost. */
    let damage: { offset: number; reason: DamageReason } | undefined;
    if (this.#options.headerLost === true) {
      damage = { offset: 0, reason: "header" };
      if (!(await this.#search(this.#at))) {
        yield this.#tail(0, "checksum");
        return;
      }
    }
    for (;;) {
      const records: WalRecord[] = [];
      const offset = this.#at;
      const nextLsn = this.#expectLsn;
      const lost = this.#readRecords(records, damage);
      if (lost !== undefined) damage = undefined;
      if (records.length > 0) yield { kind: "records", records, offset, nextLsn };
      if (lost !== undefined) {
        yield { kind: "damage", damage: lost };
        continue;
      }
      const outcome = this.#peek();
      if (outcome === "record") continue;
      if (outcome === "more") {
        await this.#window.moveTo(this.#at, this.#frame.neededBytes);
        continue;
      }
      if (outcome === "end") {
        yield this.#tail(this.#at, "clean");
        return;
      }
      const bad = this.#at;
      const reason = outcome === "torn" || (await this.#isZeroFrom(bad)) ? "torn" : "checksum";
      if (!(await this.#search(bad))) {
        yield this.#tail(bad, reason);
        return;
      }
      damage = { offset: bad, reason: "checksum" };
    }
  }

  #tail(offset: number, reason: "clean" | "torn" | "checksum"): ScanItem {
    return { kind: "tail", offset, bytes: this.#window.limit - offset, reason };
  }

  /** What is at the current position. */
  #peek(): ReturnType<RecordFrame["read"]> | "stale" {
    const { bytes, start, limit } = this.#window;
    const outcome = this.#frame.read(bytes, this.#at - start, bytes.length, limit - this.#at);
    return outcome === "record" && !this.#isNext() ? "stale" : outcome;
  }

  /** Whether the frame's number can come next. */
  #isNext(): boolean {
    const { lsn, type } = this.#frame;
    const number = type === recordType.syncMark ? lsn + 1 : lsn;
    return number >= this.#expectLsn && lsn <= this.#options.highestLsn;
  }

  /**
   * Reads records as long as they are whole, in memory and in order. Returns at the first that is not
   * decodable, or that shows that others are missing before it; what it then returns is what was lost.
   */
  #readRecords(records: WalRecord[], before: { offset: number; reason: DamageReason } | undefined): Damage | undefined {
    const frame = this.#frame;
    const { skipThroughLsn, wants } = this.#options;
    let pending = before;
    while (this.#peek() === "record") {
      const { bytes, start } = this.#window;
      const { lsn, type, end, bodyStart } = frame;
      let first = lsn;
      let entry: WalEntry | undefined;
      try {
        if (type === recordType.syncMark) {
          first = lsn + 1;
          this.#body.reset(bytes, bodyStart, end);
          this.syncedLsn = Math.max(this.syncedLsn, this.#body.varint());
        } else if (type === recordType.void) {
          this.#body.reset(bytes, bodyStart, end);
          first = lsn - this.#body.varint() + 1;
        }
        if (pending !== undefined || first > this.#expectLsn) {
          const damage = this.#damageBefore(pending, first);
          pending = undefined;
          this.#expectLsn = Math.max(this.#expectLsn, first);
          return damage;
        }
        if (type < recordType.syncMark || type > recordType.void) {
          if (lsn > skipThroughLsn && (wants === undefined || wants(lsn))) {
            entry = this.#decode(type, frame.flags, lsn, bytes, bodyStart, end);
            if (entry === undefined) this.ignoredRecords++;
          }
        }
      } catch (error) {
        if (!(error instanceof MalformedBytes)) throw error;
        const damage = { offset: this.#at, bytes: end - (this.#at - start), fromLsn: lsn, toLsn: lsn };
        this.#at = start + end;
        this.#expectLsn = lsn + 1;
        return { reason: "undecodable", ...damage };
      }
      if (entry !== undefined) records.push({ lsn, entry, bytes: end - (this.#at - start) });
      this.#expectLsn = lsn + 1;
      this.#at = start + end;
    }
    return undefined;
  }

  #decode(type: number, flags: number, lsn: number, bytes: Buffer, start: number, end: number): WalEntry | undefined {
    const { open } = this.#options;
    if (open === undefined) return this.#decoder.decode(type, flags, bytes, start, end);
    if ((flags & recordFlag.encrypted) === 0) throw new MalformedBytes("the body is not encrypted, as the log is");
    const plain = open(type, lsn, bytes.subarray(start, end));
    if (plain === undefined) throw new MalformedBytes("the body is not what was encrypted");
    return this.#decoder.decode(type, flags & ~recordFlag.encrypted, plain, 0, plain.length);
  }

  /** What was lost before the record at the current position, whose first number is `first`. */
  #damageBefore(pending: { offset: number; reason: DamageReason } | undefined, first: number): Damage {
    return {
      reason: pending?.reason ?? "missing",
      offset: pending?.offset ?? this.#at,
      bytes: this.#at - (pending?.offset ?? this.#at),
      fromLsn: this.#expectLsn,
      toLsn: first - 1,
    };
  }

  /**
   * Goes to the first valid record behind `offset`; false when there is none. The record that the damaged
   * one's length points at is tried first, so that bytes inside a payload are no candidates for it.
   */
  async #search(offset: number): Promise<boolean> {
    const { limit } = this.#window;
    if (limit - offset >= recordHeadBytes) {
      if (offset < this.#window.start || this.#window.end - offset < recordHeadBytes) {
        await this.#window.moveTo(offset, recordHeadBytes);
      }
      this.#frame.readHead(this.#window.bytes, offset - this.#window.start);
      const next = this.#window.start + this.#frame.end;
      if (next < limit && (await this.#isCandidate(next)) && this.#frame.lsn <= this.#expectLsn + 1) {
        this.#at = next;
        return true;
      }
    }
    for (let at = offset + 1; limit - at >= recordHeadBytes; at++) {
      const { start, end } = this.#window;
      if (at < start || end - at < recordHeadBytes) await this.#window.moveTo(at, recordHeadBytes);
      at = this.#nextPlausible(at);
      if (limit - at < recordHeadBytes || !(await this.#isCandidate(at))) continue;
      this.#at = at;
      return true;
    }
    return false;
  }

  /** The first position from `at` on that looks like a record's head, or where memory ends. Most do not, so this is tight. */
  #nextPlausible(at: number): number {
    const { bytes, start, limit } = this.#window;
    const last = bytes.length - recordHeadBytes;
    for (let index = Math.max(0, at - start); index <= last; index++) {
      this.#frame.readHead(bytes, index);
      if (this.#isPlausible(limit - start - index)) return start + index;
    }
    return Math.max(at, start + last + 1);
  }

  /** Whether the head that was just read could be a record's, with `inFile` bytes left in the file. */
  #isPlausible(inFile: number): boolean {
    const { type, bodyStart, end } = this.#frame;
    return type !== 0 && end - bodyStart + recordHeadBytes <= inFile && this.#isNext();
  }

  async #isCandidate(at: number): Promise<boolean> {
    const window = this.#window;
    if (at < window.start || window.end - at < recordHeadBytes) {
      await window.moveTo(at, recordHeadBytes);
      if (window.end - at < recordHeadBytes) return false;
    }
    this.#frame.readHead(window.bytes, at - window.start);
    const total = this.#frame.end - (at - window.start);
    if (!this.#isPlausible(window.limit - at) || total > this.#searchBudget) return false;
    this.#searchBudget -= total;
    if (window.end - at < total) await window.moveTo(at, total);
    const { bytes, start, limit } = window;
    return this.#frame.read(bytes, at - start, bytes.length, limit - at) === "record";
  }

  /** True when nothing but zeros follows: a file that got its length before its bytes. */
  async #isZeroFrom(offset: number): Promise<boolean> {
    const window = this.#window;
    for (let at = offset; at < window.limit; at = window.end) {
      if (at < window.start || at >= window.end) await window.moveTo(at, 1);
      for (let index = at - window.start; index < window.bytes.length; index++) {
        if (window.bytes[index] !== 0) return false;
      }
    }
    return true;
  }
}
