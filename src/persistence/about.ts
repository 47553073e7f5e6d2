import type { Checksum } from "../platform/checksum.js";
import type { Ledger } from "./ledger.js";
import type { StoredRetention } from "./retention-settings.js";

/** What the database says about itself, and about the last checkpoint. */
export interface About {
  /** The format's version. */
  readonly format: number;
  /** Everything through this record is in the database. */
  readonly lsn: number;
  /** The highest message number given out by then. */
  readonly seq: number;
  /** Blocks of a higher generation are leftovers of a checkpoint that did not come to its end. */
  readonly generation: number;
  /** Everything through it was beyond the limits of bytes and count; absent: nothing was. */
  readonly floor?: number | undefined;
  /** What the database must hold. */
  readonly ledger?: Ledger | undefined;
  /** What the store was last opened with. */
  readonly retention?: StoredRetention | undefined;
  /** For an encrypted store, in hex: the key's check, and the key that names are hashed with, encrypted. */
  readonly key?: { readonly id: number; readonly check: string; readonly names: string } | undefined;
}

/** JSON, after its checksum: readable whatever the keys and the compression of the store are. */
export function encodeAbout(about: About, crc32: Checksum): Buffer {
  const text = Buffer.from(JSON.stringify(about));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(crc32(text, 0, text.length));
  return Buffer.concat([head, text]);
}

/** Undefined when the bytes are damaged. */
export function decodeAbout(value: Buffer, crc32: Checksum): About | undefined {
  if (value.length < 5 || value.readUInt32LE(0) !== crc32(value, 4, value.length)) return undefined;
  return JSON.parse(value.toString("utf8", 4)) as About;
}
