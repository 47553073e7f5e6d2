/** Reading LevelDB's files: the formats of its doc/log_format.md and doc/table_format.md, and of the manifest's entries. */
import type { FileSystem } from "../../platform/file-system.js";
import { crc32c } from "./crc32c.js";

/** @param room memory that may be used for it */
export async function readWhole(fileSystem: FileSystem, path: string, room?: ArrayBuffer): Promise<Buffer> {
  const file = await fileSystem.openForRead(path);
  try {
    const hasRoom = room !== undefined && room.byteLength >= file.size;
    const bytes = hasRoom ? Buffer.from(room, 0, file.size) : Buffer.allocUnsafeSlow(file.size);
    let filled = 0;
    while (filled < bytes.length) {
      const read = await file.read(bytes, filled, bytes.length, filled);
      if (read === 0) break;
      filled += read;
    }
    return bytes.subarray(0, filled);
  } finally {
    await file.close();
  }
}

/** A checksum as LevelDB stores it. */
export function storedSum(bytes: Buffer, start: number, end: number): number {
  const crc = crc32c(bytes, start, end);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const logBlockBytes = 32 * 1024;
const logHeadBytes = 7;

/**
 * The records of a file in LevelDB's log format, or what is wrong with it.
 *
 * @param mayEndWrong the last record may have any damage: a write that power interrupted
 */
export function recordsOf(bytes: Buffer, mayEndWrong: boolean): Buffer[] | string {
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  let damagedAt: number | undefined;
  for (let at = 0; at < bytes.length;) {
    const left = logBlockBytes - (at % logBlockBytes);
    if (left < logHeadBytes) {
      at += left;
      continue;
    }
    if (at + logHeadBytes > bytes.length) break;
    const length = bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6] ?? 0;
    const end = at + logHeadBytes + length;
    if (type === 0 && length === 0 && bytes.readUInt32LE(at) === 0) {
      // Room that was set aside and not used.
      at += left;
      continue;
    }
    const isInside = length <= left - logHeadBytes;
    if (isInside && end > bytes.length) {
      // Cut short; unless all of it is there, and its length is wrong.
      const isWhole = bytes.readUInt32LE(at) === storedSum(bytes, at + 6, bytes.length);
      if (!isWhole) break;
      damagedAt ??= at;
      break;
    }
    if (!isInside || type > 4 || bytes.readUInt32LE(at) !== storedSum(bytes, at + 6, end)) {
      damagedAt ??= at;
      // The next block begins with a record of its own.
      at += left;
      continue;
    }
    if (damagedAt !== undefined) return `damaged at byte ${damagedAt}`;
    // 1: a record in one piece; 2, 3, 4: its first piece, one between, its last.
    const beginsOne = type === 1 || type === 2;
    if (beginsOne !== (parts.length === 0)) return `a record that is not whole, at byte ${at}`;
    parts.push(bytes.subarray(at + logHeadBytes, end));
    if (type === 1 || type === 4) {
      records.push(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
      parts = [];
    }
    at = end;
  }
  if (damagedAt === undefined || (mayEndWrong && isLastRecord(bytes, damagedAt))) return records;
  return `damaged at byte ${damagedAt}`;
}

/** Records as a file in LevelDB's log format. */
export function logOf(records: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (const record of records) {
    let at = 0;
    do {
      const left = logBlockBytes - (length % logBlockBytes);
      if (left < logHeadBytes) {
        parts.push(Buffer.alloc(left));
        length += left;
        continue;
      }
      const end = Math.min(record.length, at + left - logHeadBytes);
      const part = Buffer.alloc(logHeadBytes + end - at);
      const isFirst = at === 0;
      const isLast = end === record.length;
      part.writeUInt16LE(end - at, 4);
      part[6] = isFirst ? (isLast ? 1 : 2) : isLast ? 4 : 3;
      part.set(record.subarray(at, end), logHeadBytes);
      part.writeUInt32LE(storedSum(part, 6, part.length), 0);
      parts.push(part);
      length += part.length;
      at = end;
    } while (at < record.length);
  }
  return Buffer.concat(parts);
}

/** Whether nothing that is a record follows in the same block. */
function isLastRecord(bytes: Buffer, from: number): boolean {
  const end = Math.min(bytes.length, from - (from % logBlockBytes) + logBlockBytes);
  for (let at = from + 1; at + logHeadBytes <= end; at++) {
    const through = at + logHeadBytes + bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6] ?? 0;
    if (type < 1 || type > 4 || through > end) continue;
    if (bytes.readUInt32LE(at) === storedSum(bytes, at + 6, through)) return false;
  }
  return true;
}

export const footerBytes = 48;
export const magic = Buffer.from("57fb808b247547db", "hex");

export interface Handle {
  readonly offset: number;
  readonly size: number;
}

export function isBlock(bytes: Buffer, handle: Handle | undefined): boolean {
  if (handle === undefined) return false;
  const end = handle.offset + handle.size + 1;
  if (end + 4 > bytes.length - footerBytes) return false;
  return bytes.readUInt32LE(end) === storedSum(bytes, handle.offset, end);
}

/**
 * The entries of a block, or undefined where LevelDB could not walk it. Blocks are not compressed: this library does not
 * use LevelDB's compression.
 */
export function entriesOf(bytes: Buffer, { offset, size }: Handle): { key: Buffer; value: Buffer }[] | undefined {
  const blockEnd = offset + size;
  if (size < 8 || blockEnd >= bytes.length || bytes[blockEnd] !== 0) return undefined;
  const restarts = bytes.readUInt32LE(blockEnd - 4);
  const end = blockEnd - 4 - 4 * restarts;
  if (restarts === 0 || end < offset) return undefined;
  const starts = new Set<number>();
  for (let at = end; at < blockEnd - 4; at += 4) starts.add(offset + bytes.readUInt32LE(at));
  const input = new Varints(bytes, offset, end);
  const found: { key: Buffer; value: Buffer }[] = [];
  let key: Buffer = Buffer.alloc(0);
  while (input.at < end) {
    const isStart = starts.delete(input.at);
    const [shared, own, valueBytes] = [input.next(), input.next(), input.next()];
    const valueAt = input.at + own;
    // A key ends with eight bytes of LevelDB's own: its number, and whether it was removed.
    const isSound =
      shared <= key.length && (!isStart || shared === 0) && shared + own >= 8 && valueAt + valueBytes <= end;
    if (!isSound) return undefined;
    key = Buffer.concat([key.subarray(0, shared), bytes.subarray(input.at, valueAt)]);
    if ((key[key.length - 8] ?? 2) > 1) return undefined;
    found.push({ key, value: bytes.subarray(valueAt, valueAt + valueBytes) });
    input.at = valueAt + valueBytes;
  }
  return starts.size === 0 ? found : undefined;
}

/** LevelDB's order: by key; of one key the newest first. */
export function compareKeys(a: Buffer, b: Buffer): number {
  const byKey = Buffer.compare(a.subarray(0, -8), b.subarray(0, -8));
  return byKey !== 0 ? byKey : Number(b.readBigUInt64LE(b.length - 8) - a.readBigUInt64LE(a.length - 8));
}

/** Varints, seven bits a byte. NaN once they run over the end. */
export class Varints {
  readonly #bytes: Buffer;
  readonly #end: number;
  at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.at = start;
    this.#end = end;
  }

  next(): number {
    let value = 0;
    for (let scale = 1; this.at < this.#end; scale *= 128) {
      const byte = this.#bytes[this.at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return NaN;
  }

  /** A length, and as many bytes; it may run over the end. */
  block(): Buffer {
    const length = this.next();
    const start = this.at;
    this.at += length;
    return this.#bytes.subarray(start, this.at);
  }

  handle(): Handle | undefined {
    const [offset, size] = [this.next(), this.next()];
    return Number.isSafeInteger(offset) && Number.isSafeInteger(size) ? { offset, size } : undefined;
  }
}

export function tableName(number: number): string {
  return `${String(number).padStart(6, "0")}.ldb`;
}

/** A table that is in use. */
export interface LiveTable {
  readonly level: number;
  readonly number: number;
  readonly bytes: number;
  /** Its first and its last key, as the database's user knows them. */
  readonly first: Buffer;
  readonly last: Buffer;
}

/** Which files are in use, as the manifest tells it, edit by edit. */
export class LiveFiles {
  /** By number. */
  readonly tables = new Map<number, LiveTable>();
  /** Journals from this number on. */
  firstLog = 0;
  /** The number that the next file gets, whatever it is. */
  nextFile = 0;

  /** False when the edit cannot be read. */
  apply(edit: Buffer): boolean {
    const input = new Varints(edit, 0, edit.length);
    while (input.at < edit.length) {
      const tag = input.next();
      if (tag === 1) input.block();
      else if (tag === 2) this.firstLog = input.next();
      else if (tag === 3) this.nextFile = input.next();
      else if (tag === 4 || tag === 9) input.next();
      else if (tag === 5) {
        input.next();
        input.block();
      } else if (tag === 6) {
        input.next();
        this.tables.delete(input.next());
      } else if (tag === 7) {
        const [level, number, bytes] = [input.next(), input.next(), input.next()];
        const [first, last] = [input.block(), input.block()];
        if (first.length < 8 || last.length < 8) return false;
        this.tables.set(number, { level, number, bytes, first: first.subarray(0, -8), last: last.subarray(0, -8) });
      } else return false;
    }
    return input.at === edit.length;
  }
}
