import { readUtf8 } from "../../platform/text-bytes.js";

/** Bytes that are not what the format says; the reader of a segment turns it into a damaged range. */
export class MalformedBytes extends Error {}

/**
 * Reads what `ByteWriter` wrote. Nothing it is told by the bytes makes it look outside the range it was given
 * or reserve more memory than the range has.
 */
export class ByteReader {
  #bytes: Buffer = empty;
  #at = 0;
  #end = 0;

  /** Points the reader at `bytes[start … end)`. */
  reset(bytes: Buffer, start: number, end: number): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  uint8(): number {
    if (this.#at >= this.#end) throw new MalformedBytes("a byte is missing");
    return this.#bytes[this.#at++] as number;
  }

  varint(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    const last = Math.min(this.#end, at + 8);
    let value = 0;
    let scale = 1;
    while (at < last) {
      const byte = bytes[at++] as number;
      if (byte < 128) {
        value += byte * scale;
        if (value > Number.MAX_SAFE_INTEGER) break;
        this.#at = at;
        return value;
      }
      value += (byte & 127) * scale;
      scale *= 128;
    }
    throw new MalformedBytes("a number does not end, or is above 2^53 - 1");
  }

  /** A count of things that take at least one byte each. */
  count(): number {
    const value = this.varint();
    if (value > this.remaining) throw new MalformedBytes(`${value} things do not fit in ${this.remaining} bytes`);
    return value;
  }

  string(): string {
    const head = this.varint();
    const isWide = head % 2 === 1;
    const length = (head - (isWide ? 1 : 0)) / 2;
    const start = this.#take(length);
    if (isWide) return this.#bytes.toString("utf16le", start, start + length);
    return length === 0 ? "" : readUtf8(this.#bytes, start, start + length);
  }

  /** Bytes after their length: a view, not a copy. */
  block(): Uint8Array {
    const length = this.varint();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** All that is left: a view, not a copy. */
  rest(): Uint8Array {
    const start = this.#at;
    this.#at = this.#end;
    return this.#bytes.subarray(start, this.#end);
  }

  /** Passes over as many bytes. */
  skip(length: number): void {
    this.#take(length);
  }

  /** Reads a part of `length` bytes with `read`, which must use them up. */
  within<Value>(length: number, read: () => Value): Value {
    const outerEnd = this.#end;
    this.#end = this.#take(length) + length;
    this.#at = this.#end - length;
    const value = read();
    this.finish();
    this.#end = outerEnd;
    return value;
  }

  /** Claims that nothing is left. */
  finish(): void {
    if (this.#at !== this.#end) throw new MalformedBytes(`${this.remaining} bytes are left over`);
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw new MalformedBytes(`${length} bytes do not fit in ${this.#end - start}`);
    this.#at = start + length;
    return start;
  }
}

const empty = Buffer.alloc(0);
