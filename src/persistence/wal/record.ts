/**
 * The frame of a record in a segment: 16 bytes of head, then the body.
 *
 * ```
 *  0  u32  CRC-32 of everything after it, continued from the segment's salt
 *  4  u32  length of the body in bytes
 *  8  u8   type
 *  9  u8   flags
 * 10  u48  log sequence number
 * 16  …    body
 * ```
 * All numbers are little endian. The format to the byte is in docs/format/wal.md.
 */
import type { Checksum } from "../../platform/checksum.js";
import type { ByteWriter } from "./byte-writer.js";

/** Bytes before the body. */
export const recordHeadBytes = 16;

/** The largest body; a length above it is damage. Keeps a flipped bit from asking for gigabytes. */
export const maxBodyBytes = 2 ** 30;

/** The last log sequence number there can be. */
export const maxLsn = 2 ** 48 - 1;

/** What a record is; 0 is never used, so that a stretch of zeros is no record. */
export const recordType = {
  publish: 1,
  settle: 2,
  transaction: 3,
  subscription: 4,
  checkpoint: 5,
  extension: 6,
  /** Everything through the number in its body was synced when this was written. Takes no number of its own. */
  syncMark: 32,
  /** The numbers that end with its own were given out and never written, since the disk was full. */
  void: 33,
} as const;

export const recordFlag = {
  /** A version that does not know the type may pass over the record. */
  mayIgnore: 1,
  /** The body is encrypted with the segment's key: nonce, tag, then the body. */
  encrypted: 2,
} as const;

/** Begins a record at the writer's end: leaves room for the head and returns where it starts. */
export function beginRecord(out: ByteWriter): number {
  const start = out.length;
  out.reserve(recordHeadBytes + 256);
  out.length = start + recordHeadBytes;
  return start;
}

/** Ends the record that began at `start`: fills in the head. The body is what was written since. */
export function endRecord(
  out: ByteWriter,
  start: number,
  type: number,
  flags: number,
  lsn: number,
  salt: number,
  crc32: Checksum,
): void {
  const { bytes } = out;
  const length = out.length - start - recordHeadBytes;
  const lsnHigh = Math.floor(lsn / 0x100000000);
  const lsnLow = lsn >>> 0;
  bytes[start + 4] = length;
  bytes[start + 5] = length >>> 8;
  bytes[start + 6] = length >>> 16;
  bytes[start + 7] = length >>> 24;
  bytes[start + 8] = type;
  bytes[start + 9] = flags;
  bytes[start + 10] = lsnLow;
  bytes[start + 11] = lsnLow >>> 8;
  bytes[start + 12] = lsnLow >>> 16;
  bytes[start + 13] = lsnLow >>> 24;
  bytes[start + 14] = lsnHigh;
  bytes[start + 15] = lsnHigh >>> 8;
  const crc = crc32(bytes, start + 4, out.length, salt);
  bytes[start] = crc;
  bytes[start + 1] = crc >>> 8;
  bytes[start + 2] = crc >>> 16;
  bytes[start + 3] = crc >>> 24;
}

/** What `RecordFrame.read` found. */
export type FrameOutcome =
  /** A whole record with the right checksum. */
  | "record"
  /** Nothing at all: the file ends exactly here. */
  | "end"
  /** The file ends before the record does, or holds nothing but zeros from here: a write that was cut short. */
  | "torn"
  /** The bytes are there and are not what was written. */
  | "mismatch"
  /** The record goes on beyond the bytes in memory; `neededBytes` from its start are wanted. */
  | "more";

/** One record's frame, read in place. One object serves a whole file, since a file has millions. */
export class RecordFrame {
  readonly #crc32: Checksum;
  readonly #salt: number;
  type = 0;
  flags = 0;
  lsn = 0;
  bodyStart = 0;
  /** Where the body ends, which is where the next record starts. */
  end = 0;
  neededBytes = 0;

  constructor(salt: number, crc32: Checksum) {
    this.#salt = salt;
    this.#crc32 = crc32;
  }

  /**
   * Reads the frame at `start`.
   *
   * @param inMemory where the bytes in `bytes` end
   * @param inFile how many bytes the file has from `start` on; at least `inMemory - start`
   */
  read(bytes: Uint8Array, start: number, inMemory: number, inFile: number): FrameOutcome {
    if (inFile === 0) return "end";
    if (inFile < recordHeadBytes) return "torn";
    if (inMemory - start < recordHeadBytes) {
      this.neededBytes = recordHeadBytes;
      return "more";
    }
    this.readHead(bytes, start);
    const total = this.end - start;
    if (this.end - this.bodyStart > maxBodyBytes) return "mismatch";
    if (total > inFile) return "torn";
    if (total > inMemory - start) {
      this.neededBytes = total;
      return "more";
    }
    return this.#isRight(bytes, start) ? "record" : "mismatch";
  }

  /** Reads the head alone and believes it. */
  readHead(bytes: Uint8Array, start: number): void {
    // The casts are free: the caller made sure of 16 bytes.
    this.type = bytes[start + 8] as number;
    this.flags = bytes[start + 9] as number;
    this.lsn = readUint32(bytes, start + 10) + readUint16(bytes, start + 14) * 0x100000000;
    this.bodyStart = start + recordHeadBytes;
    this.end = this.bodyStart + readUint32(bytes, start + 4);
  }

  #isRight(bytes: Uint8Array, start: number): boolean {
    return this.type !== 0 && this.#crc32(bytes, start + 4, this.end, this.#salt) === readUint32(bytes, start);
  }
}

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (readUint16(bytes, at) | (readUint16(bytes, at + 2) << 16)) >>> 0;
}
