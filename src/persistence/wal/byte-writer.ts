import { brokerError, quote } from "../../errors.js";

/** A lone half of a surrogate pair: UTF-8 has no bytes for it, so such a string is kept as UTF-16. */
const loneSurrogate = /\p{Surrogate}/u;

/** Up to this length a loop over the characters beats the call into native code, as long as they are ASCII. */
const shortString = 63;

/**
 * A growing buffer that records are written straight into, without a buffer of their own.
 *
 * `length` may be set back to take back what was written last; that is how a record that turns out to be
 * invalid leaves no trace.
 */
export class ByteWriter {
  /** The memory; valid up to `length`. Replaced when it grows. */
  bytes: Buffer;
  length = 0;

  constructor(initialBytes = 4096) {
    // Memory of its own costs as much as what is written into a small one.
    this.bytes = initialBytes <= 1024 ? Buffer.allocUnsafe(initialBytes) : Buffer.allocUnsafeSlow(initialBytes);
  }

  /** Makes room for `count` more bytes; afterwards `bytes[length … length + count)` may be written. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }

  uint8(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** A whole number from 0 to 2^53 - 1, seven bits a byte, lowest first (LEB128). */
  varint(value: number): void {
    this.reserve(8);
    const { bytes } = this;
    let at = this.length;
    let rest = value;
    if (rest >= 0x10000000) {
      // Bit operations end at 32 bits: the low 28 bits first, then what is above them.
      if (!Number.isSafeInteger(rest)) throw notANumber(value);
      const high = Math.floor(rest / 0x10000000);
      rest -= high * 0x10000000;
      bytes[at++] = (rest & 127) | 128;
      bytes[at++] = ((rest >>> 7) & 127) | 128;
      bytes[at++] = ((rest >>> 14) & 127) | 128;
      bytes[at++] = (rest >>> 21) | 128;
      rest = high;
    } else if (!(rest >= 0) || rest !== Math.floor(rest)) {
      throw notANumber(value);
    }
    while (rest >= 128) {
      bytes[at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.length = at;
  }

  /** A string: its length in bytes times two, plus one when the bytes are UTF-16; then UTF-8 (or UTF-16) bytes. */
  string(value: string): void {
    const count = value.length;
    if (count <= shortString) {
      this.reserve(1 + count);
      const { bytes } = this;
      const start = this.length + 1;
      let index = 0;
      for (; index < count; index++) {
        const code = value.charCodeAt(index);
        if (code > 127) break;
        bytes[start + index] = code;
      }
      if (index === count) {
        bytes[start - 1] = count << 1;
        this.length = start + count;
        return;
      }
    }
    this.#longString(value);
  }

  #longString(value: string): void {
    const isWide = loneSurrogate.test(value);
    const byteLength = isWide ? value.length * 2 : Buffer.byteLength(value);
    this.varint(byteLength * 2 + (isWide ? 1 : 0));
    this.reserve(byteLength);
    this.bytes.write(value, this.length, byteLength, isWide ? "utf16le" : "utf8");
    this.length += byteLength;
  }

  /** Bytes without a length. */
  raw(value: Uint8Array): void {
    this.reserve(value.length);
    this.bytes.set(value, this.length);
    this.length += value.length;
  }

  /** Bytes after their length. */
  block(value: Uint8Array): void {
    this.varint(value.length);
    this.raw(value);
  }
}

/** How many bytes a number from 0 takes as a varint. */
export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) count++;
  return count;
}

function notANumber(value: number): Error {
  return brokerError("ERR_INVALID_MESSAGE", `The log takes whole numbers from 0 to 2^53 - 1, and got ${quote(value)}`, {
    value,
  });
}
