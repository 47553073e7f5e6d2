/** Segments: the files of the log. Their names, their header, and how one comes into being. */
import { brokerError } from "../../errors.js";
import type { Checksum } from "../../platform/checksum.js";
import type { AppendFile, FileSystem } from "../../platform/file-system.js";
import { readUint16, readUint32 } from "./record.js";

/** The version of the format that this code writes, and the newest that it reads. */
const formatVersion = 1;

/** Bytes before the first record: two copies of the header, so that damage to one loses nothing. */
export const segmentHeaderBytes = 128;

/** How far apart the places of a segment are that reading may start from, at least. */
export const placeBytes = 32 * 1024;

const copyBytes = 64;
const checkedBytes = 60;

/** "IPBWAL", then a line end that a transfer in text mode would change. */
const magic = Buffer.from("IPBWAL\r\n", "latin1");

/** What a segment says about itself. */
export interface SegmentHeader {
  /** Counts segments, from 1; also in the file's name. */
  readonly id: number;
  /** The number that the first record has, or will have. */
  readonly firstLsn: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Where the checksums of the log's records start: bytes that only look like a record have another. */
  readonly salt: number;
  /** The key that the records' bodies are encrypted with; 0: they are not. */
  readonly keyId: number;
  /** Tells the right key from a wrong one without a record: 12 bytes made from it. Zeros without a key. */
  readonly keyCheck: Uint8Array;
}

/** A segment as the open log knows it. */
export interface Segment extends SegmentHeader {
  readonly name: string;
  /** The last number in it; `firstLsn - 1` while it is empty. */
  lastLsn: number;
  /** Its length on disk. */
  bytes: number;
  /** Some places in it, every 32 KiB or further apart, so that reading from the middle need not start at the front. */
  readonly places: { readonly lsn: number; readonly offset: number }[];
}

const segmentName = /^(\d{16})\.wal$/;

export function nameOfSegment(id: number): string {
  return `${String(id).padStart(16, "0")}.wal`;
}

/** The id in a segment's file name, or undefined for any other name. */
export function idOfSegment(name: string): number | undefined {
  const digits = segmentName.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function encodeSegmentHeader(header: SegmentHeader, crc32: Checksum): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  magic.copy(bytes, 0);
  bytes.writeUInt16LE(formatVersion, 8);
  bytes.writeUInt16LE(segmentHeaderBytes, 10);
  writeUint64(bytes, header.id, 16);
  writeUint64(bytes, header.firstLsn, 24);
  writeUint64(bytes, header.createdAt, 32);
  bytes.writeUInt32LE(header.salt, 40);
  bytes.writeUInt32LE(header.keyId, 44);
  bytes.set(header.keyCheck, 48);
  bytes.writeUInt32LE(crc32(bytes, 0, checkedBytes), checkedBytes);
  bytes.copy(bytes, copyBytes, 0, copyBytes);
  return bytes;
}

/** A header as read: `intactCopies` is 1 when one of the two is damaged. */
export interface ReadHeader extends SegmentHeader {
  readonly intactCopies: 1 | 2;
}

/**
 * Reads the header from the first bytes of a file; undefined when neither copy is intact.
 *
 * Throws `ERR_STORE_FAILED` for a segment that a newer version wrote.
 */
export function decodeSegmentHeader(bytes: Buffer, name: string, crc32: Checksum): ReadHeader | undefined {
  const copies = [0, copyBytes].filter((at) => isIntact(bytes, at, crc32));
  const at = copies[0];
  if (at === undefined) return undefined;
  const version = readUint16(bytes, at + 8);
  if (version > formatVersion) {
    throw brokerError(
      "ERR_STORE_FAILED",
      `${name} has format version ${version}; this version of inproc-broker reads up to ${formatVersion}. Open the folder with the version that wrote it, or a later one`,
      { file: name, formatVersion: version, supportedVersion: formatVersion },
    );
  }
  return {
    id: readUint64(bytes, at + 16),
    firstLsn: readUint64(bytes, at + 24),
    createdAt: readUint64(bytes, at + 32),
    salt: readUint32(bytes, at + 40),
    keyId: readUint32(bytes, at + 44),
    keyCheck: new Uint8Array(bytes.subarray(at + 48, at + 60)),
    intactCopies: copies.length === 2 ? 2 : 1,
  };
}

function isIntact(bytes: Buffer, at: number, crc32: Checksum): boolean {
  return (
    bytes.length >= at + copyBytes &&
    bytes.compare(magic, 0, magic.length, at, at + magic.length) === 0 &&
    crc32(bytes, at, at + checkedBytes) === readUint32(bytes, at + checkedBytes)
  );
}

function writeUint64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 0x100000000), at + 4);
}

function readUint64(bytes: Buffer, at: number): number {
  return readUint32(bytes, at) + readUint32(bytes, at + 4) * 0x100000000;
}

/** There was no room for the bytes. None of them is in the log, and the log is as it was before. */
export class DiskFull extends Error {}

/** True for the failures that say "no room": they pass, and nothing is wrong with the file. */
export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}

/**
 * Creates a segment that is either whole or not there: header written and synced under a temporary name,
 * then renamed, then the directory synced.
 *
 * Rejects with `DiskFull` when there was no room; then nothing has changed.
 */
export async function createSegment(
  fileSystem: FileSystem,
  directory: string,
  header: SegmentHeader,
  crc32: Checksum,
): Promise<{ segment: Segment; file: AppendFile }> {
  const name = nameOfSegment(header.id);
  const temporary = `${directory}/${name}.tmp`;
  await fileSystem.remove(temporary);
  let file: AppendFile | undefined;
  try {
    file = await fileSystem.create(temporary);
    await writeAll(file, encodeSegmentHeader(header, crc32), 0, segmentHeaderBytes);
    await file.datasync();
    await fileSystem.rename(temporary, `${directory}/${name}`);
  } catch (error) {
    await file?.close();
    if (!isDiskFull(error)) throw error;
    await fileSystem.remove(temporary);
    throw new DiskFull("there is no room for a new segment", { cause: error });
  }
  try {
    await fileSystem.syncDirectory(directory);
  } catch (error) {
    // The segment is in the directory and perhaps not on the disk: no state to go on from, whatever the cause.
    await file.close();
    throw new Error(`could not sync the directory of ${name}`, { cause: error });
  }
  return {
    segment: { ...header, name, lastLsn: header.firstLsn - 1, bytes: segmentHeaderBytes, places: [] },
    file,
  };
}

/** Writes all of a range, in as many steps as the system wants to take. */
export async function writeAll(file: AppendFile, bytes: Uint8Array, start: number, end: number): Promise<void> {
  for (let at = start; at < end;) at += await file.write(bytes, at, end);
}

/** The same, onto the disk. */
export async function writeAllSynced(file: AppendFile, bytes: Uint8Array, start: number, end: number): Promise<void> {
  for (let at = start; at < end;) at += await file.writeSynced(bytes, at, end);
}

/** Puts on the disk what a file has. */
export async function syncFile(fileSystem: FileSystem, path: string): Promise<void> {
  const file = await fileSystem.openForAppend(path);
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

const copyStepBytes = 1024 * 1024;

/**
 * Copies a part of a file into a new one, which is synced when it resolves: `bytes` from `offset` on, or as many as there are.
 *
 * @param refused makes the rejection of what the disk would not give; absent: the system's own
 */
export async function copyPart(
  fileSystem: FileSystem,
  from: string,
  to: string,
  offset: number,
  bytes: number,
  refused = (cause: unknown): unknown => cause,
): Promise<void> {
  const source = await fileSystem.openForRead(from);
  try {
    const target = await fileSystem.create(to);
    try {
      const length = Math.min(bytes, Math.max(0, source.size - offset));
      const step = Buffer.allocUnsafe(Math.min(copyStepBytes, length));
      while (target.size < length) {
        const end = Math.min(step.length, length - target.size);
        const read = await source.read(step, 0, end, offset + target.size).catch((cause: unknown) => {
          throw refused(cause);
        });
        if (read === 0) break;
        await writeAll(target, step, 0, read);
      }
      await target.datasync();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
