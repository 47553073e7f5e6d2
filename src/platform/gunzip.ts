import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";

/** Undoes a compression, part by part. Rejects when the bytes are not what they should be, or end early. */
export type Decompress = (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** Plain gzip of one member or several, on Node's thread pool. */
export const gunzip: Decompress = (source) => {
  const out = createGunzip();
  // A failure reaches whoever reads: the pipeline destroys `out` with it.
  pipeline(Readable.from(source), out, () => undefined);
  return out as AsyncIterable<Uint8Array>;
};
