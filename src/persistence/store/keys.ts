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
  return Buffer.concat([lengthFirst(keyKind.block, name), uint64(firstSeq)]);
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
  uint64(number).copy(key, 1);
  key.writeUInt32BE(part, 9);
  return key;
}

function lengthFirst(kind: number, name: Uint8Array): Buffer {
  const key = Buffer.alloc(3 + name.length);
  key[0] = kind;
  key.writeUInt16BE(name.length, 1);
  key.set(name, 3);
  return key;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(Math.floor(value / 0x100000000), 0);
  bytes.writeUInt32BE(value % 0x100000000, 4);
  return bytes;
}
