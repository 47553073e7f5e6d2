import { gunzipSync, gzipSync } from "fflate";
import { brokerError } from "../../errors.js";
import type { Compressor } from "../../platform/compressor.js";

/** Gzip in plain JavaScript, for where zlib is absent. It runs on the event loop, 3–6 times slower than zlib. */
export const fflateCompressor: Compressor = {
  name: "gzip",
  async compress(bytes) {
    await Promise.resolve();
    return gzipSync(bytes, { level: 1, mtime: 0 });
  },
  async decompress(bytes, limitBytes) {
    await Promise.resolve();
    const result = gunzipSync(bytes, { out: new Uint8Array(limitBytes + 1) });
    if (result.length > limitBytes) {
      throw brokerError("ERR_STORE_CORRUPT", `A block becomes more than the ${limitBytes} bytes it should have`);
    }
    return result;
  },
};
