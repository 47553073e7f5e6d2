import type { ByteWriter } from "../wal/byte-writer.js";

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What was written so far, in memory of its own. */
export function copyOf(out: ByteWriter): Uint8Array {
  return new Uint8Array(out.bytes.subarray(0, out.length));
}
