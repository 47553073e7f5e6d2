/** CRC-32C (Castagnoli), which LevelDB's files have; the store's own have that of zlib. Sixteen bytes at a time. */

/** Sixteen tables of 256: the n-th for a byte that n more bytes follow. */
const tables = makeTables();

function makeTables(): Int32Array {
  const all = new Int32Array(16 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
    all[byte] = crc;
  }
  for (let at = 256; at < all.length; at++) {
    const crc = i(all, at - 256);
    all[at] = (crc >>> 8) ^ i(all, crc & 255);
  }
  return all;
}

const isLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** The checksum of `bytes[start … end)`, unsigned. */
export function crc32c(bytes: Uint8Array, start: number, end: number): number {
  const t = tables;
  let crc = -1;
  let at = start;
  if (isLittleEndian && end - start >= 20) {
    // Whole words are read where they are aligned.
    const aligned = Math.min(end, at + ((4 - ((bytes.byteOffset + at) & 3)) & 3));
    for (; at < aligned; at++) crc = (crc >>> 8) ^ i(t, (crc ^ i(bytes, at)) & 255);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (end - at) >> 2);
    const count = words.length & ~3;
    for (let index = 0; index < count; index += 4) {
      const w0 = i(words, index) ^ crc;
      const w1 = i(words, index + 1);
      const w2 = i(words, index + 2);
      const w3 = i(words, index + 3);
      crc =
        i(t, 0xf00 | (w0 & 255)) ^
        i(t, 0xe00 | ((w0 >>> 8) & 255)) ^
        i(t, 0xd00 | ((w0 >>> 16) & 255)) ^
        i(t, 0xc00 | (w0 >>> 24)) ^
        i(t, 0xb00 | (w1 & 255)) ^
        i(t, 0xa00 | ((w1 >>> 8) & 255)) ^
        i(t, 0x900 | ((w1 >>> 16) & 255)) ^
        i(t, 0x800 | (w1 >>> 24)) ^
        i(t, 0x700 | (w2 & 255)) ^
        i(t, 0x600 | ((w2 >>> 8) & 255)) ^
        i(t, 0x500 | ((w2 >>> 16) & 255)) ^
        i(t, 0x400 | (w2 >>> 24)) ^
        i(t, 0x300 | (w3 & 255)) ^
        i(t, 0x200 | ((w3 >>> 8) & 255)) ^
        i(t, 0x100 | ((w3 >>> 16) & 255)) ^
        i(t, w3 >>> 24);
    }
    at += count * 4;
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ i(t, (crc ^ i(bytes, at)) & 255);
  return ~crc >>> 0;
}

/** The item at an index that is within the bounds. */
function i(array: Uint8Array | Int32Array, index: number): number {
  return array[index] as number;
}
