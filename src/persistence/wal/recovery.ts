/** Reading a log as a whole: what is in it, what is damaged, and what has to be done before it is written again. */
import { brokerError } from "../../errors.js";
import type { Checksum } from "../../platform/checksum.js";
import type { FileSystem } from "../../platform/file-system.js";
import type { LogCipher } from "./log-cipher.js";
import { maxLsn, recordHeadBytes } from "./record.js";
import { SegmentScanner } from "./scanner.js";
import type { Damage, DamageReason, WalRecord } from "./scanner.js";
import { lossSinceClosed } from "./renewal.js";
import { decodeSegmentHeader, idOfSegment, placeBytes, segmentHeaderBytes } from "./segment.js";
import type { ReadHeader, Segment } from "./segment.js";

/**
 * What to do about damage that is not simply a write cut short at the end:
 *
 * - `quarantine`: set the damaged bytes aside, go on with the next valid record.
 * - `truncate-tail`: end the log where the damage begins; what comes after is set aside.
 * - `fail`: refuse to open. Damage behind everything that is known to have been synced does not count: a power
 *   cut may leave it, nothing there was acknowledged as being on the disk, and it is cut. In a log that was closed in
 *   order all of it is known to have been synced.
 */
export type RecoveryPolicy = "truncate-tail" | "quarantine" | "fail";

/** A stretch of the log that could not be read, and what it cost. */
export interface DamagedRange extends Damage {
  readonly file: string;
  /**
   * True when the lost records were on the disk once, so that somebody may have been told so; false when
   * they may just as well be part of a write that a power cut interrupted.
   */
  readonly wasSynced: boolean;
}

export interface ScanLogOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly crc32: Checksum;
  readonly policy: RecoveryPolicy;
  /** Records through this number are in a checkpoint: they are not handed out, and not missed. Absent: unknown. */
  readonly checkpointLsn?: number | undefined;
  /** How much of a file is in memory at a time (a record larger than that is, in whole). */
  readonly chunkBytes: number;
  /** Called with the records in their order, some hundreds at a time; awaited. */
  readonly onRecords: (records: readonly WalRecord[]) => void | Promise<void>;
  readonly cipher?: LogCipher | undefined;
  /** All of it was on the disk once, since the log was closed in order: what is damaged was lost after that. */
  readonly wasClosed?: boolean | undefined;
}

/** The end of a segment that holds no records and has to go. */
export interface Cut {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  readonly reason: DamageReason;
}

/** What a scan found, and what is to be done. */
export interface LogScan {
  /** The segments to keep, oldest first. */
  readonly segments: Segment[];
  /** The last number given out, as far as the log tells; 0 when there is none. */
  readonly lastLsn: number;
  /** False when the last segment has damage, or was not read to its end: the next record goes into a new one. */
  readonly mayContinue: boolean;
  /** No file has a higher id. */
  readonly highestId: number;
  readonly salt: number | undefined;
  readonly records: number;
  readonly bytes: number;
  readonly cut: Cut | undefined;
  readonly damage: readonly DamagedRange[];
  /** Segments behind the end of the log, with their length (`truncate-tail`). */
  readonly beyond: readonly { readonly name: string; readonly bytes: number }[];
  /** Files of unfinished rotations. */
  readonly leftovers: readonly string[];
  readonly warnings: readonly string[];
}

/** A segment's file, of which only the header was read; undefined when both copies of it are damaged. */
interface FoundSegment {
  readonly id: number;
  readonly name: string;
  readonly bytes: number;
  readonly header: ReadHeader | undefined;
}

/** The files of a log. */
export interface FoundLog {
  /** Oldest first. */
  readonly segments: readonly FoundSegment[];
  /** Files of unfinished rotations. */
  readonly leftovers: readonly string[];
}

/**
 * Looks for a log's files, and whether they can be read at all. A directory that does not exist is an empty log.
 *
 * Throws `ERR_STORE_FAILED` for a log that a newer version wrote, `ERR_WRONG_KEY` for an encrypted one, and
 * `ERR_INVALID_OPTION` for one that is not encrypted where a key was given.
 */
export async function findLog(
  options: Pick<ScanLogOptions, "fileSystem" | "directory" | "crc32" | "cipher">,
): Promise<FoundLog> {
  const { fileSystem, directory, crc32 } = options;
  const names = await fileSystem.list(directory).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  });
  const found: FoundSegment[] = [];
  for (const name of names) {
    const id = idOfSegment(name);
    if (id !== undefined) found.push(await readHeader(fileSystem, directory, name, id, crc32));
  }
  const headers = found.flatMap(({ header }) => header ?? []);
  if (options.cipher !== undefined && headers.length > 0 && headers.every(({ keyId }) => keyId === 0)) {
    throw plainLog(directory);
  }
  for (const { name, header } of found) {
    if (header === undefined || header.keyId === 0) continue;
    if (options.cipher === undefined) throw noKey(name, header.keyId);
    await options.cipher.prepare(header.keyId, header.keyCheck, name);
  }
  return { segments: found, leftovers: names.filter((name) => name.endsWith(".wal.tmp")) };
}

/**
 * What is missing of a log as a whole, in words; undefined where nothing is, as far as that can be told. Every store has a log.
 */
export async function missingOf(
  { fileSystem, directory, checkpointLsn }: Pick<ScanLogOptions, "fileSystem" | "directory" | "checkpointLsn">,
  { segments }: FoundLog,
): Promise<string | undefined> {
  if (checkpointLsn !== undefined && segments.length === 0) {
    return `the log in ${directory} is gone: what no checkpoint has of it is lost`;
  }
  return lossSinceClosed(fileSystem, directory, segments);
}

/**
 * Reads a log without changing anything.
 *
 * Throws `ERR_STORE_CORRUPT` under the policy `fail`, after the records before the damage were handed out.
 */
export async function scanLog(options: ScanLogOptions, { segments, leftovers }: FoundLog): Promise<LogScan> {
  const scan = new LogScanner(options, segments);
  for (let index = 0; index < segments.length; index++) await scan.segment(index);
  return scan.result(leftovers);
}

async function readHeader(
  fileSystem: FileSystem,
  directory: string,
  name: string,
  id: number,
  crc32: Checksum,
): Promise<FoundSegment> {
  const file = await fileSystem.openForRead(`${directory}/${name}`);
  try {
    const bytes = Buffer.alloc(segmentHeaderBytes);
    let filled = 0;
    while (filled < bytes.length) {
      const read = await file.read(bytes, filled, bytes.length, filled).catch(() => 0);
      if (read === 0) break;
      filled += read;
    }
    const header = decodeSegmentHeader(bytes.subarray(0, filled), name, crc32);
    return { id, name, bytes: file.size, header: filled < bytes.length ? undefined : header };
  } finally {
    await file.close();
  }
}

/** One pass over a log: the numbers go on from segment to segment, and so does what is known of them. */
class LogScanner {
  readonly #options: ScanLogOptions;
  readonly #found: readonly FoundSegment[];
  readonly #checkpointLsn: number;
  readonly #salt: number | undefined;
  readonly #keyId: number;
  readonly #segments: Segment[] = [];
  readonly #damage: (Damage & { file: string; isLastSegment: boolean })[] = [];
  readonly #beyond: { name: string; bytes: number }[] = [];
  readonly #warnings: string[] = [];
  #expectLsn: number;
  #syncedLsn = 0;
  #records = 0;
  #bytes = 0;
  #cut: Cut | undefined;
  #mayContinue = false;
  /** Set where the log ends, by the policy, though files go on. */
  #end: { readonly lastLsn: number; readonly isBeforeSegment: boolean } | undefined;

  constructor(options: ScanLogOptions, found: readonly FoundSegment[]) {
    this.#options = options;
    this.#found = found;
    this.#checkpointLsn = options.checkpointLsn ?? 0;
    this.#salt = found.findLast(({ header }) => header !== undefined)?.header?.salt;
    this.#keyId = found.findLast(({ header }) => header !== undefined)?.header?.keyId ?? 0;
    const first = found[0]?.header?.firstLsn ?? 1;
    this.#expectLsn = options.checkpointLsn === undefined ? first : Math.min(first, options.checkpointLsn + 1);
  }

  async segment(index: number): Promise<void> {
    const found = this.#found[index] as FoundSegment;
    const { fileSystem, directory } = this.#options;
    if (found.header?.intactCopies === 1) {
      this.#warnings.push(`${found.name}: one of the two copies of the header is damaged; nothing is lost`);
    }
    if (found.header !== undefined && found.header.id !== found.id) {
      this.#warnings.push(`${found.name} says that it is segment ${found.header.id}`);
    }
    const file = await fileSystem.openForRead(`${directory}/${found.name}`);
    try {
      await this.#scan(index, found, file);
    } finally {
      await file.close();
    }
  }

  async #scan(index: number, found: FoundSegment, file: Awaited<ReturnType<FileSystem["openForRead"]>>): Promise<void> {
    const { crc32, chunkBytes } = this.#options;
    const { header, name } = found;
    const isLast = index === this.#found.length - 1;
    const nextFirst = this.#found[index + 1]?.header?.firstLsn;
    const headerLost = header === undefined;
    if (header !== undefined && header.firstLsn > this.#expectLsn) {
      this.#note(name, isLast, {
        reason: "missing",
        offset: 0,
        bytes: 0,
        fromLsn: this.#expectLsn,
        toLsn: header.firstLsn - 1,
      });
      this.#expectLsn = header.firstLsn;
    }
    const segment: Segment = {
      id: found.id,
      name,
      firstLsn: header?.firstLsn ?? this.#expectLsn,
      createdAt: header?.createdAt ?? 0,
      salt: header?.salt ?? this.#salt ?? 0,
      keyId: header?.keyId ?? this.#keyId,
      keyCheck: header?.keyCheck ?? new Uint8Array(12),
      lastLsn: this.#expectLsn - 1,
      bytes: found.bytes,
      places: [],
    };
    const damageBefore = this.#damage.length;
    const endedBefore = this.#end !== undefined;
    const scanner = new SegmentScanner({
      file,
      crc32,
      chunkBytes,
      salt: segment.salt,
      offset: headerLost ? 0 : segmentHeaderBytes,
      expectLsn: this.#expectLsn,
      highestLsn: nextFirst === undefined ? maxLsn : nextFirst - 1,
      skipThroughLsn: this.#checkpointLsn,
      headerLost,
      open: this.#options.cipher?.opener(segment.keyId),
    });
    let endOffset = found.bytes;
    for await (const item of scanner.items()) {
      if (item.kind === "records") await this.#hand(segment, item.records, { lsn: item.nextLsn, offset: item.offset });
      else if (item.kind === "damage") this.#note(name, isLast, item.damage);
      else if (item.bytes > 0) endOffset = this.#tail(found, isLast, nextFirst, scanner.expectLsn, item);
    }
    if (scanner.unreadableBlocks > 0) {
      this.#warnings.push(`${name}: the disk could not read ${scanner.unreadableBlocks} blocks`);
    }
    if (scanner.ignoredRecords > 0) {
      this.#warnings.push(`${name}: passed over ${scanner.ignoredRecords} records of a newer version, which allows it`);
    }
    this.#bytes += found.bytes;
    this.#syncedLsn = Math.max(this.#syncedLsn, scanner.syncedLsn);
    this.#expectLsn = Math.max(this.#expectLsn, scanner.expectLsn);
    if (endedBefore || this.#end?.isBeforeSegment === true) {
      this.#beyond.push({ name, bytes: found.bytes });
      return;
    }
    segment.lastLsn = this.#end?.lastLsn ?? this.#expectLsn - 1;
    segment.bytes = this.#end === undefined ? endOffset : (this.#cut?.offset ?? endOffset);
    this.#segments.push(segment);
    this.#mayContinue =
      this.#damage.length === damageBefore && header?.intactCopies === 2 && segment.bytes >= segmentHeaderBytes;
  }

  async #hand(segment: Segment, records: readonly WalRecord[], place: Segment["places"][number]): Promise<void> {
    if (this.#end !== undefined) return;
    if (place.offset - (segment.places.at(-1)?.offset ?? 0) >= placeBytes) segment.places.push(place);
    this.#records += records.length;
    await this.#options.onRecords(records);
  }

  /** What comes after the last valid record of a segment; returns where the segment ends from now on. */
  #tail(
    found: FoundSegment,
    isLast: boolean,
    nextFirst: number | undefined,
    expectLsn: number,
    tail: { offset: number; bytes: number; reason: "clean" | "torn" | "checksum" },
  ): number {
    const { offset, bytes } = tail;
    const reason = tail.reason === "clean" ? "torn" : tail.reason;
    if (isLast && found.header !== undefined) {
      // The ordinary case: the process or the power went in the middle of a write.
      this.#cut ??= { file: found.name, offset, bytes, reason };
      return offset;
    }
    // A segment before the last one was synced in whole; and one without a header may have held anything.
    const atMost = Math.floor(Math.max(0, bytes - segmentHeaderBytes) / (recordHeadBytes + 1));
    const toLsn = nextFirst === undefined ? (isLast ? expectLsn + atMost - 1 : expectLsn - 1) : nextFirst - 1;
    this.#note(found.name, isLast, {
      reason: found.header === undefined && offset === 0 ? "header" : reason,
      offset,
      bytes,
      fromLsn: expectLsn,
      toLsn,
    });
    this.#expectLsn = Math.max(expectLsn, toLsn + 1);
    return found.bytes;
  }

  #note(file: string, isLastSegment: boolean, damage: Damage): void {
    if (damage.toLsn >= damage.fromLsn && damage.toLsn <= this.#checkpointLsn) {
      this.#warnings.push(
        `${file}: records ${damage.fromLsn} to ${damage.toLsn} are damaged or not there; they are from before the last checkpoint, and not needed any more`,
      );
      return;
    }
    if (this.#end !== undefined) return;
    this.#damage.push({ ...damage, file, isLastSegment });
    if (this.#options.policy === "quarantine") return;
    // The log ends here. What follows is read on, to learn what it was.
    const isBeforeSegment = damage.offset < segmentHeaderBytes;
    this.#end = { lastLsn: damage.fromLsn - 1, isBeforeSegment };
    if (isBeforeSegment) return;
    const { offset, reason } = damage;
    const size = this.#found.find(({ name }) => name === file)?.bytes ?? offset;
    this.#cut = { file, offset, bytes: size - offset, reason };
  }

  result(leftovers: readonly string[]): LogScan {
    const end = this.#end;
    const highestSeen = this.#expectLsn - 1;
    const damage = this.#damage.map(({ isLastSegment, ...one }) => ({
      ...one,
      toLsn: end === undefined ? one.toLsn : Math.max(one.toLsn, highestSeen),
      wasSynced:
        !isLastSegment ||
        this.#options.wasClosed === true ||
        syncedFirst.has(one.reason) ||
        this.#syncedLsn >= one.fromLsn,
    }));
    const proven = damage.find(({ wasSynced }) => wasSynced);
    if (this.#options.policy === "fail" && proven !== undefined) throw corrupt(this.#options.directory, proven);
    const lastLsn = Math.max(end === undefined ? highestSeen : end.lastLsn, this.#checkpointLsn);
    return {
      segments: this.#segments,
      lastLsn,
      // A log that ends before its checkpoint must not give the numbers between out again.
      mayContinue: this.#mayContinue && (end?.lastLsn ?? highestSeen) === lastLsn,
      highestId: this.#found.at(-1)?.id ?? 0,
      salt: this.#salt,
      records: this.#records,
      bytes: this.#bytes,
      cut: this.#cut,
      damage,
      beyond: this.#beyond,
      leftovers,
      warnings: this.#warnings,
    };
  }
}

function noKey(file: string, keyId: number): Error {
  return brokerError("ERR_WRONG_KEY", `${file} is encrypted with key ${keyId}, and no key was given`, { file, keyId });
}

function plainLog(directory: string): Error {
  const text = `The log in ${directory} is not encrypted, and does not become so: write its messages into a new store`;
  return brokerError("ERR_INVALID_OPTION", text, { option: "encryption", directory });
}

/** Damage that an interrupted write cannot cause. */
const syncedFirst: ReadonlySet<DamageReason> = new Set<DamageReason>(["missing", "header", "undecodable"]);

function corrupt(directory: string, range: DamagedRange): Error {
  return brokerError(
    "ERR_STORE_CORRUPT",
    `${range.file} is damaged at byte ${range.offset} (${range.reason}): records ${range.fromLsn} to ${range.toLsn} cannot be read. Nothing was changed. Open with recovery "quarantine" to go on with what is intact, or restore a backup`,
    { directory, ...range },
  );
}
