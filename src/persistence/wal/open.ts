/** Opening a log: recovery, then the one writer and its reader. */
import { brokerError } from "../../errors.js";
import { crc32 as defaultCrc32 } from "../../platform/checksum.js";
import type { Checksum } from "../../platform/checksum.js";
import type { Clock } from "../../platform/clock.js";
import type { AppendFile, FileSystem } from "../../platform/file-system.js";
import { SegmentAppender } from "./appender.js";
import { keyOf } from "./log-cipher.js";
import type { LogCipher } from "./log-cipher.js";
import { findLog, missingOf, scanLog } from "./recovery.js";
import type { Cut, FoundLog, LogScan, RecoveryPolicy } from "./recovery.js";
import { WalReader } from "./reader.js";
import { forgetClosed, renewSegment, wasClosed } from "./renewal.js";
import { Quarantine, repairLog } from "./repair.js";
import type { QuarantineLimits, QuarantinedRange, RepairResult } from "./repair.js";
import { Reserve } from "./reserve.js";
import type { Damage, WalRecord } from "./scanner.js";
import { createSegment, DiskFull, syncFile } from "./segment.js";
import type { Segment } from "./segment.js";
import { WalWriter } from "./writer.js";
import type { WalState } from "./writer.js";

/** Damage that a reader came upon in a log that is open. */
export interface DamageInUse extends Damage {
  /** The segment's name. */
  readonly file: string;
  /** Where the bytes are kept, inside the log's directory; undefined where they could not be copied. */
  readonly copy: string | undefined;
}

export interface WalOptions {
  readonly fileSystem: FileSystem;
  /** The log's own directory; made when it does not exist. */
  readonly directory: string;
  readonly clock: Pick<Clock, "now" | "monotonic" | "schedule">;
  /** Runs something in the event loop's next turn. */
  readonly afterTurn: (run: () => void) => void;
  /** A source of randomness, in [0, 1). */
  readonly random: () => number;
  readonly crc32?: Checksum | undefined;
  /** Called with what the log holds above `checkpointLsn`, in order, before the promise resolves; awaited. */
  readonly onRecords: (records: readonly WalRecord[]) => void | Promise<void>;
  /** Records through this number are in a checkpoint: they are not handed out, and not missed. Absent: unknown. */
  readonly checkpointLsn?: number | undefined;
  /** @default "quarantine" */
  readonly recovery?: RecoveryPolicy | undefined;
  /** @default 256 MiB in 64 files */
  readonly quarantine?: QuarantineLimits | undefined;
  /** A segment ends before it gets larger than this; a larger record has one to itself. @default 64 MiB */
  readonly segmentBytes?: number | undefined;
  /** Records that may wait for the write before them. Memory in use is up to twice this. @default 8 MiB */
  readonly bufferBytes?: number | undefined;
  /** See the durability `interval`. @default 100 ms */
  readonly intervalMs?: number | undefined;
  /** Room kept back for acknowledgements on a full disk; 0 for none. @default 4 MiB */
  readonly reserveBytes?: number | undefined;
  /** @default 1,000 ms */
  readonly fullCheckMs?: number | undefined;
  /** How much of a file is in memory at a time, while reading. @default 256 KiB */
  readonly chunkBytes?: number | undefined;
  readonly onStateChange?: ((state: WalState, error: Error | undefined) => void) | undefined;
  /** See `WalWriterOptions.onWritten`. */
  readonly onWritten?: ((lsn: number) => void) | undefined;
  /** Encrypts the bodies of records. A log that has encrypted records cannot be opened without it. */
  readonly cipher?: LogCipher | undefined;
  /** Told, once, of damage that reading comes upon after recovery, and that recovery did not report. */
  readonly onDamage?: ((damage: DamageInUse) => void) | undefined;
}

/** What opening a log found and did. Plain data. */
export interface RecoveryReport {
  /** Segments that are in use. */
  readonly segments: number;
  /** Records handed out. */
  readonly records: number;
  /** Bytes read. */
  readonly bytes: number;
  /** Bytes written anew, since the log was not closed in order: at most the last segment. */
  readonly renewedBytes: number;
  /** The last number in the log; the next record has the one after it. */
  readonly lastLsn: number;
  /** Bytes cut off the end of the log: a write that was cut short, or what the policy demanded. */
  readonly cutBytes: number;
  readonly cut: Cut | undefined;
  readonly quarantined: readonly QuarantinedRange[];
  readonly durationMs: number;
  readonly warnings: readonly string[];
}

/** An open log. */
export interface Wal {
  readonly writer: WalWriter;
  readonly reader: WalReader;
  readonly report: RecoveryReport;
  /** The files of the log, oldest first; the last one is being written. */
  readonly segments: readonly Readonly<Segment>[];
}

const defaultLimits: QuarantineLimits = { maxBytes: 256 * 2 ** 20, maxFiles: 64 };

/**
 * Opens the log in a directory, repairing what a crash left. One process at a time, which the caller sees to.
 *
 * What it hands out is on the disk when it resolves, also what was only in the page cache when a process was
 * killed or a sync had failed: unless the log was closed in order, its last segment is written anew, and that before
 * anything is read from it. Throws `ERR_STORE_CORRUPT` under the policy `fail`, `ERR_STORE_FAILED` for a log of a newer version
 * or a directory that cannot be written, `ERR_STORE_FULL` when there is no room for an empty segment, and
 * `ERR_WRONG_KEY` for an encrypted log.
 */
export async function openWal(options: WalOptions): Promise<Wal> {
  const { fileSystem, directory, clock, onRecords, checkpointLsn, cipher } = options;
  const crc32 = options.crc32 ?? defaultCrc32;
  const chunkBytes = options.chunkBytes ?? 256 * 1024;
  const segmentBytes = options.segmentBytes ?? 64 * 2 ** 20;
  const startedAt = clock.monotonic();
  const policy = options.recovery ?? "quarantine";
  const scanOptions = { fileSystem, directory, crc32, policy, checkpointLsn, chunkBytes, onRecords, cipher };
  const reserve = new Reserve(fileSystem, directory, options.reserveBytes ?? 4 * 2 ** 20);
  const found = await findLog(scanOptions);
  const isClosed = await wasClosedInOrder(options, found);
  const missing = await missingOf(scanOptions, found);
  if (missing !== undefined && policy === "fail") throw incomplete(missing, directory);
  const renewed = await renewLast(options, found, isClosed, reserve, async () => {
    // What is refused is left as it was: look before anything is written.
    if (policy === "fail") await scanLog({ ...scanOptions, onRecords: () => undefined }, found);
  });
  const scan = await scanLog({ ...scanOptions, wasClosed: isClosed }, found);
  const salt = scan.salt ?? Math.floor(options.random() * 2 ** 32);
  const segments = scan.segments;
  let repair: RepairResult;
  let file: AppendFile;
  try {
    await fileSystem.makeDirectory(directory);
    await forgetClosed(fileSystem, directory);
    repair = await repairLog(fileSystem, directory, scan, options.quarantine ?? defaultLimits);
    // A process may have died between naming a segment and syncing the name.
    await fileSystem.syncDirectory(directory);
    file = await openLastSegment(options, scan, renewed.mayContinue ? segmentBytes : 0, salt, crc32, reserve);
  } catch (cause) {
    throw openFailure(directory, cause);
  }
  const warnings = [...renewed.warnings, ...scan.warnings, ...repair.warnings];
  if (missing !== undefined) warnings.unshift(missing);
  for (const { file, offset, reason, fromLsn, toLsn } of repair.quarantined) {
    const lost = toLsn < fromLsn ? "no record is lost" : `records ${fromLsn} to ${toLsn} are lost`;
    warnings.push(`${file} is damaged at byte ${offset} (${reason}): ${lost}`);
  }
  const hasReserve = await reserve.fill().catch((error: unknown) => {
    warnings.push(`there is no reserve for a full disk: ${String(error)}`);
    return true;
  });
  const report: RecoveryReport = {
    segments: segments.length,
    records: scan.records,
    bytes: scan.bytes,
    renewedBytes: renewed.bytes,
    lastLsn: scan.lastLsn,
    cutBytes: scan.cut?.bytes ?? 0,
    cut: scan.cut,
    quarantined: repair.quarantined,
    durationMs: clock.monotonic() - startedAt,
    warnings,
  };
  const appenderOptions = { fileSystem, directory, segmentBytes, salt, crc32, now: () => clock.now(), cipher };
  const writer = new WalWriter(
    {
      fileSystem,
      directory,
      crc32,
      clock,
      salt,
      afterTurn: options.afterTurn,
      intervalMs: options.intervalMs ?? 100,
      bufferBytes: options.bufferBytes ?? 8 * 2 ** 20,
      fullCheckMs: options.fullCheckMs ?? 1000,
      onStateChange: options.onStateChange,
      onWritten: options.onWritten,
      cipher,
    },
    new SegmentAppender(appenderOptions, segments, file),
    reserve,
    segments,
    scan.lastLsn,
    hasReserve,
  );
  const quarantine = new Quarantine(fileSystem, directory, options.quarantine ?? defaultLimits, []);
  // Kept before a checkpoint can come to remove the segment.
  const onDamage = async (damage: Damage & { readonly file: string }): Promise<void> => {
    const { file: name, offset, bytes } = damage;
    const copy = bytes === 0 ? undefined : (await quarantine.copy(name, offset, bytes)).copy;
    options.onDamage?.({ ...damage, copy });
  };
  const readerOptions = { fileSystem, directory, crc32, chunkBytes, onDamage, cipher, known: scan.damage };
  const reader = new WalReader(readerOptions, segments, () => writer.writtenLsn);
  return { writer, reader, report, segments };
}

function incomplete(missing: string, directory: string): Error {
  const text = `${missing}. Nothing was changed. Open with recovery "quarantine" to go on with what is there, or restore a backup`;
  return brokerError("ERR_STORE_CORRUPT", text, { path: directory });
}

async function wasClosedInOrder({ fileSystem, directory }: WalOptions, { segments }: FoundLog): Promise<boolean> {
  const last = segments.at(-1);
  if (last?.header === undefined) return false;
  return wasClosed(fileSystem, directory, { name: last.name, bytes: last.bytes, salt: last.header.salt });
}

interface RenewalResult {
  /** Bytes written anew. */
  readonly bytes: number;
  readonly warnings: readonly string[];
  /** Whether the last segment may be appended to. */
  readonly mayContinue: boolean;
}

/** Writes the last segment anew, unless the log was closed in order. Where there is no room, it is left, and ended. */
async function renewLast(
  { fileSystem, directory }: WalOptions,
  { segments }: FoundLog,
  isClosed: boolean,
  reserve: Reserve,
  beforeWriting: () => Promise<void>,
): Promise<RenewalResult> {
  const last = segments.at(-1);
  if (last === undefined || isClosed) return { bytes: 0, warnings: [], mayContinue: true };
  const { bytes } = last;
  await beforeWriting();
  try {
    const warning = await renewSegment(fileSystem, directory, last).catch(async (error: unknown) => {
      if (!(error instanceof DiskFull)) throw error;
      await reserve.release();
      return renewSegment(fileSystem, directory, last);
    });
    return warning === undefined
      ? { bytes, warnings: [], mayContinue: true }
      : { bytes: 0, warnings: [warning], mayContinue: true };
  } catch (cause) {
    if (!(cause instanceof DiskFull)) throw openFailure(directory, cause);
    // A store that opens is worth more than a copy: what was acknowledged has been synced once already.
    await syncFile(fileSystem, `${directory}/${last.name}`).catch((error: unknown) => {
      throw openFailure(directory, error);
    });
    const warning = `${last.name} could not be written anew, since the disk is full: what of it was never acknowledged may be gone after the next power cut`;
    return { bytes: 0, warnings: [warning], mayContinue: false };
  }
}

/** The file that records are appended to from now on: the last segment, if it may go on, or a new one. */
async function openLastSegment(
  options: WalOptions,
  scan: LogScan,
  segmentBytes: number,
  salt: number,
  crc32: Checksum,
  reserve: Reserve,
): Promise<AppendFile> {
  const { fileSystem, directory, clock, cipher } = options;
  const key = keyOf(cipher);
  const last = scan.segments.at(-1);
  if (last !== undefined && scan.mayContinue && last.bytes < segmentBytes && last.keyId === key.keyId) {
    const file = await fileSystem.openForAppend(`${directory}/${last.name}`);
    try {
      // What survived in the page cache alone is handed out, and must not be lost after that.
      await file.datasync();
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }
  if (last !== undefined) await syncFile(fileSystem, `${directory}/${last.name}`);
  const header = { id: scan.highestId + 1, firstLsn: scan.lastLsn + 1, createdAt: clock.now(), salt, ...key };
  const create = (): ReturnType<typeof createSegment> => createSegment(fileSystem, directory, header, crc32);
  const { segment, file } = await create().catch(async (error: unknown) => {
    if (!(error instanceof DiskFull)) throw error;
    await reserve.release();
    return create();
  });
  scan.segments.push(segment);
  return file;
}

function openFailure(directory: string, cause: unknown): Error {
  return cause instanceof DiskFull
    ? brokerError(
        "ERR_STORE_FULL",
        `There is no room for a log in ${directory} (${cause.message})`,
        { directory },
        cause,
      )
    : brokerError("ERR_STORE_FAILED", `The log in ${directory} could not be opened for writing`, { directory }, cause);
}
