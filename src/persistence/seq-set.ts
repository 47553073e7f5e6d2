import type { ByteReader } from "./wal/byte-reader.js";
import { MalformedBytes } from "./wal/byte-reader.js";
import type { ByteWriter } from "./wal/byte-writer.js";

const chunkBits = 12;
const chunkSize = 1 << chunkBits;
const chunkBytes = chunkSize / 8;

/**
 * A set of message numbers, most of them close together: a bit each, in chunks of 4,096 that exist where there are
 * members. A million numbers in a row take 160 KiB.
 */
export class SeqSet {
  /** By number / 4,096. */
  readonly #chunks = new Map<number, Uint8Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(seq: number): boolean {
    const chunk = this.#chunks.get(Math.floor(seq / chunkSize));
    if (chunk === undefined) return false;
    const bit = seq % chunkSize;
    return ((chunk[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
  }

  /** False when it is in there already. */
  add(seq: number): boolean {
    const index = Math.floor(seq / chunkSize);
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = new Uint8Array(chunkBytes);
      this.#chunks.set(index, chunk);
    }
    const bit = seq % chunkSize;
    const mask = 1 << (bit & 7);
    const byte = chunk[bit >> 3] as number;
    if ((byte & mask) !== 0) return false;
    chunk[bit >> 3] = byte | mask;
    this.#size++;
    return true;
  }

  /** Adds all of another set. */
  addAll(other: SeqSet): void {
    for (const seq of other) this.add(seq);
  }

  /** Forgets every number up to `seq`, except that those in its own chunk may stay. */
  dropThrough(seq: number): void {
    const keepFrom = Math.floor((seq + 1) / chunkSize);
    for (const [index, chunk] of this.#chunks) {
      if (index >= keepFrom) continue;
      this.#size -= countBits(chunk);
      this.#chunks.delete(index);
    }
  }

  /** Ascending. */
  *[Symbol.iterator](): IterableIterator<number> {
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const chunk = this.#chunks.get(index);
      if (chunk === undefined) continue;
      for (let bit = 0; bit < chunkSize; bit++) {
        if (((chunk[bit >> 3] as number) & (1 << (bit & 7))) !== 0) yield index * chunkSize + bit;
      }
    }
  }

  encode(out: ByteWriter): void {
    const indexes = [...this.#chunks.keys()].sort((a, b) => a - b);
    out.varint(indexes.length);
    let before = 0;
    for (const index of indexes) {
      const chunk = this.#chunks.get(index) as Uint8Array;
      const count = countBits(chunk);
      out.varint(index - before);
      before = index;
      // Few members: their places; many: the bits. 0 members says that bits follow.
      if (count * 2 < chunkBytes) {
        out.varint(count);
        for (let bit = 0; bit < chunkSize; bit++) {
          if (((chunk[bit >> 3] as number) & (1 << (bit & 7))) !== 0) out.varint(bit);
        }
      } else {
        out.varint(0);
        out.raw(chunk);
      }
    }
  }

  static decode(input: ByteReader): SeqSet {
    const set = new SeqSet();
    const chunks = input.count();
    let index = 0;
    for (let n = 0; n < chunks; n++) {
      index += input.varint();
      const count = input.count();
      const chunk = new Uint8Array(chunkBytes);
      set.#chunks.set(index, chunk);
      if (count === 0) for (let at = 0; at < chunkBytes; at++) chunk[at] = input.uint8();
      for (let member = 0; member < count; member++) {
        const bit = input.varint();
        if (bit >= chunkSize) throw new MalformedBytes(`${bit} is outside of its chunk`);
        chunk[bit >> 3] = (chunk[bit >> 3] as number) | (1 << (bit & 7));
      }
      set.#size += countBits(chunk);
    }
    return set;
  }
}

function countBits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) {
    let rest = byte;
    while (rest !== 0) {
      rest &= rest - 1;
      count++;
    }
  }
  return count;
}
