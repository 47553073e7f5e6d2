/** The two compressors on the same blocks. */

import { zlibCompressor } from "../../dist/platform/compressor.js";
import { fflateCompressor } from "../../dist/persistence/store/fflate-compressor.js";
import { spread } from "../harness.mjs";

const SIZES = [4, 16, 32, 64];

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-gzip",
  group: "Store: gzip of blocks, MB/s",
  kind: "figures",
  async measure({ rounds }) {
    const results = [];
    for (const kib of SIZES) {
      const block = Buffer.from(
        Array.from({ length: kib * 24 }, (_, i) =>
          JSON.stringify({ id: i * 7919, name: `order ${i % 977}`, note: "x".repeat(i % 200) }),
        ).join(""),
      ).subarray(0, kib * 1024);
      for (const [label, compressor] of [
        ["node:zlib", zlibCompressor],
        ["fflate", fflateCompressor],
      ]) {
        const samples = { compress: [], decompress: [] };
        const small = await compressor.compress(block);
        for (let round = -1; round < Math.min(rounds, 5); round++) {
          const compress = await rate(block.length, () => compressor.compress(block));
          const decompress = await rate(block.length, () => compressor.decompress(small, block.length));
          if (round < 0) continue;
          samples.compress.push(compress);
          samples.decompress.push(decompress);
        }
        results.push({ kib, label, ratio: block.length / small.length, ...samples });
      }
    }
    return {
      columns: ["block", "by", "compress", "decompress", "ratio"],
      rows: results.map(({ kib, label, ratio, compress, decompress }) => ({
        cells: [
          `${kib} KiB`,
          label,
          spread(compress).median.toFixed(0),
          spread(decompress).median.toFixed(0),
          ratio.toFixed(1),
        ],
      })),
      data: results,
    };
  },
};

/** Two at a time, as a checkpoint has them in flight. */
async function rate(bytes, run) {
  const count = 100;
  const start = performance.now();
  for (let n = 0; n < count; n += 2) await Promise.all([run(), run()]);
  return (bytes * count) / (performance.now() - start) / 1000;
}
