import type { Checksum } from "../../platform/checksum.js";
import type { FileSystem } from "../../platform/file-system.js";
import type { LogCipher } from "./log-cipher.js";
import { SegmentScanner } from "./scanner.js";
import type { Damage, WalRecord } from "./scanner.js";
import { segmentHeaderBytes } from "./segment.js";
import type { Segment } from "./segment.js";
import { UnreadableBlocks } from "./window.js";

export interface WalReaderOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly crc32: Checksum;
  /** How much of a file is in memory at a time. */
  readonly chunkBytes: number;
  /** Told, once, of bytes that cannot be read; the reader goes on with the next valid record when it resolves. Must not throw. */
  readonly onDamage: (damage: Damage & { readonly file: string }) => Promise<void> | void;
  /** Damage that was told already. */
  readonly known?: readonly FileRange[] | undefined;
  readonly cipher?: LogCipher | undefined;
}

/** Bytes of a segment. */
interface FileRange {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

/** A gap of so many stretches costs as much to read as opening the file again does. */
const stretchesReadOn = 4;

/** Damage that is remembered as told. */
const toldRanges = 1000;

/**
 * Reads an open log, while it is written, and after it failed. Any number of reads at once; each holds one
 * chunk of one file in memory.
 */
export class WalReader {
  readonly #options: WalReaderOptions;
  readonly #segments: readonly Segment[];
  readonly #writtenLsn: () => number;
  readonly #told: FileRange[];
  readonly #unreadable = new WeakMap<Segment, UnreadableBlocks>();

  /** @param segments the writer's own list, which grows and shrinks */
  constructor(options: WalReaderOptions, segments: readonly Segment[], writtenLsn: () => number) {
    this.#options = options;
    this.#segments = segments;
    this.#writtenLsn = writtenLsn;
    this.#told = [...(options.known ?? [])];
  }

  /** The lowest number that is still in the log. */
  get firstLsn(): number {
    return this.#segments[0]?.firstLsn ?? 1;
  }

  /**
   * The records from `fromLsn` to `throughLsn`, both included, in order and some hundreds at a time; by default
   * all that were written when the call was made.
   *
   * Records whose segment was removed, before or meanwhile, are passed over: a checkpoint has them.
   */
  async *read(
    fromLsn: number = this.firstLsn,
    throughLsn: number = this.#writtenLsn(),
  ): AsyncGenerator<readonly WalRecord[], void, undefined> {
    const last = Math.min(throughLsn, this.#writtenLsn());
    yield* this.#readAll(fromLsn, last);
  }

  /**
   * The records with the given numbers, which ascend, in order. Costs by what lies around them: a stretch of the log
   * without any of them is not read. Records that are gone are passed over.
   */
  async *readThese(lsns: readonly number[]): AsyncGenerator<readonly WalRecord[], void, undefined> {
    const wanted = new Set(lsns);
    const wants = (lsn: number): boolean => wanted.has(lsn);
    for (let index = 0; index < lsns.length;) {
      const from = lsns[index] as number;
      let through = from;
      // What lies within a few stretches is read on; behind a larger gap reading starts anew.
      for (index++; index < lsns.length; index++) {
        const lsn = lsns[index] as number;
        if (lsn > through + 1 && this.#stretch(lsn) > this.#stretch(through) + stretchesReadOn) break;
        through = lsn;
      }
      yield* this.#readAll(from, Math.min(through, this.#writtenLsn()), wants);
    }
  }

  /** Numbers the places that reading can start from, over all segments. */
  #stretch(lsn: number): number {
    let before = 0;
    for (const { firstLsn, lastLsn, places } of this.#segments) {
      if (lsn > lastLsn) {
        before += places.length + 1;
        continue;
      }
      if (lsn < firstLsn) return before;
      return before + firstBeyond(places, lsn);
    }
    return before;
  }

  async *#readAll(
    fromLsn: number,
    last: number,
    wants?: (lsn: number) => boolean,
  ): AsyncGenerator<readonly WalRecord[], void, undefined> {
    let next = fromLsn;
    for (;;) {
      const segment = this.#segments.find(({ lastLsn }) => lastLsn >= next);
      if (segment === undefined || segment.firstLsn > last || next > last) return;
      const end = segment.lastLsn;
      for await (const records of this.#readSegment(segment, next, last, wants)) yield records;
      next = end + 1;
    }
  }

  async *#readSegment(
    segment: Segment,
    fromLsn: number,
    throughLsn: number,
    wants: ((lsn: number) => boolean) | undefined,
  ): AsyncGenerator<readonly WalRecord[], void, undefined> {
    const { fileSystem, directory, crc32, chunkBytes, cipher } = this.#options;
    const place = segment.places[firstBeyond(segment.places, fromLsn) - 1];
    const beyond = segment.places[firstBeyond(segment.places, throughLsn)];
    const lastLsn = beyond === undefined ? segment.lastLsn : beyond.lsn - 1;
    const end = beyond?.offset ?? segment.bytes;
    const file = await fileSystem.openForRead(`${directory}/${segment.name}`).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    });
    if (file === undefined) return;
    const unreadable = this.#unreadable.get(segment) ?? new UnreadableBlocks();
    this.#unreadable.set(segment, unreadable);
    try {
      const scanner = new SegmentScanner({
        file,
        crc32,
        chunkBytes,
        salt: segment.salt,
        offset: place?.offset ?? segmentHeaderBytes,
        limit: end,
        expectLsn: place?.lsn ?? segment.firstLsn,
        highestLsn: lastLsn,
        skipThroughLsn: fromLsn - 1,
        open: cipher?.opener(segment.keyId),
        wants,
        unreadable,
      });
      for await (const item of scanner.items()) {
        if (item.kind === "damage") await this.#tell({ ...item.damage, file: segment.name });
        if (item.kind === "tail" && item.bytes > 0) {
          const { offset, reason } = item;
          await this.#tell({
            file: segment.name,
            reason: reason === "clean" ? "checksum" : reason,
            offset,
            bytes: item.bytes,
            fromLsn: scanner.expectLsn,
            toLsn: lastLsn,
          });
        }
        if (item.kind !== "records") {
          if (scanner.expectLsn > throughLsn) return;
          continue;
        }
        const { records } = item;
        const lastRead = records.at(-1)?.lsn ?? 0;
        if (lastRead <= throughLsn) {
          yield records;
          if (lastRead === throughLsn) return;
          continue;
        }
        const wanted = records.filter(({ lsn }) => lsn <= throughLsn);
        if (wanted.length > 0) yield wanted;
        return;
      }
    } finally {
      await file.close();
    }
  }

  /** Once, however often it is read. Where a read begins or ends inside of it, it seems smaller than it is. */
  async #tell(damage: Damage & { readonly file: string }): Promise<void> {
    const { file, offset, bytes } = damage;
    const isKnown = this.#told.some(
      (told) => told.file === file && offset <= told.offset + told.bytes && told.offset <= offset + bytes,
    );
    if (isKnown) return;
    this.#told.push({ file, offset, bytes });
    if (this.#told.length > toldRanges) this.#told.shift();
    await this.#options.onDamage(damage);
  }
}

/** The first of a segment's places behind a record. */
function firstBeyond(places: Segment["places"], lsn: number): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((places[middle]?.lsn ?? 0) <= lsn) low = middle + 1;
    else high = middle;
  }
  return low;
}
