/**
 * Keys of the database. The first byte says what it is; numbers are big endian, so that the order of keys is the
 * order of numbers; texts have their length in front, so that no topic's keys lie among another's.
 */

export const keyKind = {
  about: 0x61,
  block: 0x62,
  durable: 0x64,
  deadLetter: 0x65,
  facts: 0x66,
  factPage: 0x67,
  retained: 0x72,
  dedup: 0x75,
  delayed: 0x79,
} as const;

export interface KeyRange {
  readonly gte: Buffer;
  readonly lt: Buffer;
}

export function rangeOf(kind: number): KeyRange {
  return { gte: Buffer.from([kind]), lt: Buffer.from([kind + 1]) };
}

/** Format version, checkpoint, keys of encryption. */
export const aboutKey = Buffer.from([keyKind.about]);

/** @param name a topic's name in the form it has in keys (see `Sealer.nameInKeys`) */
export function blockKey(name: Uint8Array, firstSeq: number): Buffer {
  const key = lengthFirst(keyKind.block, name, 8);
  writeUint64(key, firstSeq, 3 + name.length);
  return key;
}

export function factsKey(generation: number, ordinal: number): Buffer {
  return numberedKey(keyKind.facts, generation, ordinal);
}

/** A page of facts, by the first place that it tells of. */
export function pageKey({ generation, ordinal }: { readonly generation: number; readonly ordinal: number }): Buffer {
  return numberedKey(keyKind.factPage, generation, ordinal);
}

/** Of a block's facts or of a page of them. */
export function decodeFactsKey(key: Buffer): { readonly generation: number; readonly ordinal: number } {
  return { generation: key.readUInt32BE(1) * 0x100000000 + key.readUInt32BE(5), ordinal: key.readUInt32BE(9) };
}

export function namedKey(kind: number, name: Uint8Array): Buffer {
  return lengthFirst(kind, name);
}

/** @param part tells things apart that have the number in common */
export function numberedKey(kind: number, number: number, part = 0): Buffer {
  const key = Buffer.alloc(13);
  key[0] = kind;
  writeUint64(key, number, 1);
  key.writeUInt32BE(part, 9);
  return key;
}

/** @param more bytes to come behind the name */
function lengthFirst(kind: number, name: Uint8Array, more = 0): Buffer {
  const key = Buffer.alloc(3 + name.length + more);
  key[0] = kind;
  key.writeUInt16BE(name.length, 1);
  key.set(name, 3);
  return key;
}

function writeUint64(key: Buffer, value: number, at: number): void {
  key.writeUInt32BE(Math.floor(value / 0x100000000), at);
  key.writeUInt32BE(value % 0x100000000, at + 4);
}
