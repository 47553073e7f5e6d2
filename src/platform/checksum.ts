import { crc32 as nativeCrc32 } from "node:zlib";

/**
 * CRC-32 (the one of zlib, gzip and Ethernet) over a range of bytes, continued from `seed`:
 * `crc32(ab, 0, n) === crc32(b, 0, b.length, crc32(a, 0, a.length))` when `ab` is `a` followed by `b`.
 */
export type Checksum = (bytes: Uint8Array, start: number, end: number, seed?: number) => number;

// Eight tables, so that eight bytes cost eight look-ups without a dependency from byte to byte ("slicing by 8").
const tables: readonly Int32Array[] = makeTables();

function makeTables(): Int32Array[] {
  const first = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    first[byte] = crc;
  }
  const all = [first];
  for (let n = 1; n < 8; n++) {
    const previous = all[n - 1] as Int32Array;
    all.push(previous.map((crc) => (crc >>> 8) ^ (first[crc & 255] as number)));
  }
  return all;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** The same function without help from the machine. Right for any input; faster for a short one. */
export const portableCrc32: Checksum = (bytes, start, end, seed = 0) => {
  // The casts are free: `start <= at < end <= bytes.length` holds throughout.
  let crc = ~seed;
  let at = start;
  for (const last = end - 7; at < last; at += 8) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    crc =
      (t7[crc & 255] as number) ^
      (t6[(crc >>> 8) & 255] as number) ^
      (t5[(crc >>> 16) & 255] as number) ^
      (t4[crc >>> 24] as number) ^
      (t3[bytes[at + 4] as number] as number) ^
      (t2[bytes[at + 5] as number] as number) ^
      (t1[bytes[at + 6] as number] as number) ^
      (t0[bytes[at + 7] as number] as number);
  }
  for (; at < end; at++) crc = (t0[(crc ^ (bytes[at] as number)) & 255] as number) ^ (crc >>> 8);
  return ~crc >>> 0;
};

/**
 * Below this many bytes the call into native code costs more than the loop (measured on Node 20: 0.3 µs a
 * call plus 0.3 ns a byte, against 1.5 ns a byte).
 */
const nativeFromBytes = 192;

/** CRC-32 by whichever way is faster for the length. */
export const crc32: Checksum =
  typeof nativeCrc32 === "function"
    ? (bytes, start, end, seed = 0) =>
        end - start < nativeFromBytes
          ? portableCrc32(bytes, start, end, seed)
          : nativeCrc32(new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start), seed)
    : portableCrc32;
