import type { Checksum } from "../../platform/checksum.js";
import type { AppendFile, FileSystem } from "../../platform/file-system.js";
import { keyOf } from "./log-cipher.js";
import type { LogCipher } from "./log-cipher.js";
import type { RecordMark } from "./batch.js";
import {
  createSegment,
  DiskFull,
  isDiskFull,
  placeBytes,
  segmentHeaderBytes,
  writeAll,
  writeAllSynced,
} from "./segment.js";
import type { Segment } from "./segment.js";

export interface AppenderOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly salt: number;
  readonly crc32: Checksum;
  readonly now: () => number;
  readonly cipher?: LogCipher | undefined;
}

/** The file that is written has lost its name: what goes into it is not there after the next opening. */
export class FileGone extends Error {
  readonly path: string;

  constructor(path: string) {
    super(`${path} is gone: somebody removed or renamed the store's folder, or this file, while it was in use`);
    this.path = path;
  }
}

/**
 * Appends to the last segment, and starts the next one when it is full. One call at a time.
 *
 * Any rejection but `DiskFull` is final: the caller must not append again, since what the file holds is no
 * longer known.
 */
export class SegmentAppender {
  readonly #options: AppenderOptions;
  /** Every segment, oldest first; the last one is appended to. Shared with readers, which look and do not touch. */
  readonly #segments: Segment[];
  #file: AppendFile;
  #hasUnsynced = false;

  constructor(options: AppenderOptions, segments: Segment[], file: AppendFile) {
    this.#options = options;
    this.#segments = segments;
    this.#file = file;
  }

  get #active(): Segment {
    const active = this.#segments.at(-1);
    if (active === undefined) throw new Error("a log has at least one segment");
    return active;
  }

  /** True when everything that was written, and taken back, is on the disk. */
  get isSynced(): boolean {
    return !this.#hasUnsynced;
  }

  /**
   * Writes whole records, numbered `firstLsn` to `lastLsn`; they are in the page cache when it resolves. With `mayBeSynced`
   * they are on the disk, too, unless something before them is not: `isSynced` tells.
   *
   * @param marks where some of them start in `bytes`
   */
  async append(
    bytes: Uint8Array,
    start: number,
    end: number,
    firstLsn: number,
    lastLsn: number,
    mayRotate: boolean,
    mayBeSynced: boolean,
    marks: readonly RecordMark[],
  ): Promise<void> {
    const length = end - start;
    if (mayRotate && this.#active.bytes + length > this.#options.segmentBytes) await this.rotate(firstLsn);
    const active = this.#active;
    const offset = active.bytes;
    // A synced write says nothing of what was written before it.
    const isSynced = mayBeSynced && !this.#hasUnsynced;
    this.#hasUnsynced = true;
    try {
      await (isSynced ? writeAllSynced : writeAll)(this.#file, bytes, start, end);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      // Also where the file has not grown that one knows of: a write that was refused may have left some of it even so.
      await this.#file.truncate(offset);
      throw new DiskFull("the disk is full", { cause: error });
    }
    this.#hasUnsynced = !isSynced;
    notePlace(active, firstLsn, offset);
    for (const { lsn, at } of marks) if (at < end) notePlace(active, lsn, offset + at - start);
    active.bytes = offset + length;
    active.lastLsn = lastLsn;
  }

  /** Rejects with `FileGone` where the last segment is not under its name any more: writing to it would go on all the same. */
  async requireFile(): Promise<void> {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${this.#active.name}`;
    if ((await fileSystem.stat(path)) === undefined) throw new FileGone(path);
  }

  /** Resolves when everything appended is on the disk. */
  async datasync(): Promise<void> {
    if (!this.#hasUnsynced) return;
    await this.#file.datasync();
    this.#hasUnsynced = false;
  }

  /**
   * Starts a new segment, unless the last one is still empty. The old one is synced before the new one
   * exists, so that only the last segment of a log can end in the middle of a record.
   */
  async rotate(firstLsn: number): Promise<void> {
    const old = this.#active;
    if (old.bytes <= segmentHeaderBytes) return;
    await this.datasync();
    const { fileSystem, directory, salt, crc32, now, cipher } = this.#options;
    const header = { id: old.id + 1, firstLsn, createdAt: now(), salt, ...keyOf(cipher) };
    const created = await createSegment(fileSystem, directory, header, crc32);
    const oldFile = this.#file;
    this.#segments.push(created.segment);
    this.#file = created.file;
    await oldFile.close();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function notePlace({ places }: Segment, lsn: number, offset: number): void {
  if (offset - (places.at(-1)?.offset ?? 0) >= placeBytes) places.push({ lsn, offset });
}
