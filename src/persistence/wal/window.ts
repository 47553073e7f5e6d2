import type { ReadFile } from "../../platform/file-system.js";

/** The size of a disk's block: how finely a range that cannot be read is taken apart. */
const blockBytes = 4096;

/** How often a block that the disk would not give fails who reads: it may pass. After that it is damage. */
const unreadableTries = 5;

/** Blocks of a file that the disk would not give when they were asked for last. */
export class UnreadableBlocks {
  readonly #tries = new Map<number, number>();

  /** A block was not given once more. True: it is given up, and so are those behind it that are not given either. */
  refused(position: number): boolean {
    const before = this.#tries.get(position - blockBytes) ?? 0;
    const tries = Math.max(before, this.#tries.get(position) ?? 0) + 1;
    this.#tries.set(position, tries);
    return tries > unreadableTries;
  }

  /** The disk gave this part of the file. */
  given(from: number, to: number): void {
    for (const position of this.#tries.keys()) if (position >= from && position < to) this.#tries.delete(position);
  }
}

/**
 * The part of a file that is in memory, moving from front to back.
 *
 * Each move takes fresh memory, since views into the old one may be in somebody's hands.
 */
export class FileWindow {
  readonly #file: ReadFile;
  readonly #chunkBytes: number;
  readonly #unreadable: UnreadableBlocks | undefined;
  /** Where reading ends: the file's size, or less. */
  #limit: number;
  bytes: Buffer = Buffer.alloc(0);
  /** The position in the file of `bytes[0]`. */
  start = 0;
  /** Blocks that the disk would not give; they are zeros in `bytes`. */
  unreadableBlocks = 0;

  /** @param unreadable blocks for which `moveTo` rejects, until they are given up; absent: they are all taken for zeros at once */
  constructor(file: ReadFile, limit: number, chunkBytes: number, unreadable?: UnreadableBlocks) {
    this.#file = file;
    this.#limit = Math.min(limit, file.size);
    this.#chunkBytes = chunkBytes;
    this.#unreadable = unreadable;
  }

  /** The position in the file where reading ends. */
  get limit(): number {
    return this.#limit;
  }

  /** The position in the file where `bytes` ends. */
  get end(): number {
    return this.start + this.bytes.length;
  }

  /**
   * Makes `[position, position + count)` present, and more if that is cheap; less at the end of the file.
   * Never holds more than the file has.
   */
  async moveTo(position: number, count: number): Promise<void> {
    const wanted = Math.min(Math.max(count, this.#chunkBytes), this.#limit - position);
    const next = Buffer.allocUnsafeSlow(Math.max(0, wanted));
    let filled = 0;
    if (position >= this.start && position < this.end) {
      filled = this.bytes.copy(next, 0, position - this.start);
    }
    while (filled < next.length) {
      const read = await this.#read(next, filled, position + filled);
      if (read === 0) break;
      filled += read;
    }
    // A file that got shorter than it said: what is left of it is all there is.
    if (filled < next.length) this.#limit = position + filled;
    this.bytes = next.subarray(0, filled);
    this.start = position;
  }

  async #read(bytes: Buffer, from: number, position: number): Promise<number> {
    try {
      return await this.#readThrough(bytes, from, bytes.length, position);
    } catch {
      // A bad block must not make the good ones beside it unreadable.
      const end = Math.min(bytes.length, from + blockBytes - (position % blockBytes));
      try {
        return await this.#readThrough(bytes, from, end, position);
      } catch (error) {
        if (this.#unreadable?.refused(position - (position % blockBytes)) === false) throw error;
        bytes.fill(0, from, end);
        this.unreadableBlocks++;
        return end - from;
      }
    }
  }

  async #readThrough(bytes: Buffer, from: number, end: number, position: number): Promise<number> {
    const read = await this.#file.read(bytes, from, end, position);
    this.#unreadable?.given(position - (position % blockBytes), position + read);
    return read;
  }
}
