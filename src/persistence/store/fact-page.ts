/** The facts about many blocks in one value, so that opening reads hundreds of values in place of a hundred thousand. */
import type { Tally } from "../ledger.js";
import { ByteReader } from "../wal/byte-reader.js";
import { ByteWriter } from "../wal/byte-writer.js";
import { PackedFacts } from "./block-facts.js";

/** Where a block's facts stand among all facts: by generation, and within one by ordinal. */
export interface FactsPlace {
  readonly generation: number;
  readonly ordinal: number;
}

/** Facts as a page has them. */
export interface PagedFacts extends FactsPlace {
  readonly topic: string;
  readonly facts: PackedFacts;
  /** The checksum of the facts as they stand by themselves. */
  readonly mark: number;
}

/** A block whose facts go into a page. */
export interface PagedBlock extends FactsPlace {
  readonly facts: PackedFacts;
  readonly mark: number;
}

export function comparePlaces(a: FactsPlace, b: FactsPlace): number {
  return a.generation - b.generation || a.ordinal - b.ordinal;
}

/** The place right behind one. */
export function placeAfter({ generation, ordinal }: FactsPlace): FactsPlace {
  return { generation, ordinal: ordinal + 1 };
}

export interface EncodedPage {
  readonly bytes: Buffer;
  /** Where in them the facts of each block begin. */
  readonly starts: readonly number[];
}

/**
 * @param to the facts of all blocks that lie before it, from the page's own place on, are in it
 */
export function encodePage(to: FactsPlace, blocks: readonly PagedBlock[]): EncodedPage {
  const out = new ByteWriter(64 * blocks.length + 32);
  const starts: number[] = [];
  out.varint(to.generation);
  out.varint(to.ordinal);
  out.varint(blocks.length);
  for (const { generation, ordinal, facts, mark } of blocks) {
    const { encoded } = facts;
    out.varint(generation);
    out.varint(ordinal);
    out.varint(mark);
    out.varint(encoded.length);
    starts.push(out.length);
    out.raw(encoded);
  }
  return { bytes: Buffer.from(out.bytes.subarray(0, out.length)), starts };
}

/** A page as it was read: its blocks' facts are still bytes. */
export interface ReadPage {
  readonly to: FactsPlace;
  readonly tally: Tally;
  readonly bytes: Buffer;
}

/** Looks a page through. Throws `MalformedBytes`. */
export function readPage(bytes: Buffer): ReadPage {
  const input = new ByteReader();
  input.reset(bytes, 0, bytes.length);
  const to = { generation: input.varint(), ordinal: input.varint() };
  const count = input.count();
  let sum = 0;
  for (let left = count; left > 0; left--) {
    input.varint();
    input.varint();
    sum = (sum + input.varint()) >>> 0;
    input.skip(input.varint());
  }
  input.finish();
  return { to, tally: { count, sum }, bytes };
}

/** Calls `take` for each block of a page that was looked through. The facts go on using its memory. Throws `MalformedBytes`. */
export function unpackPage<Taken>({ bytes }: ReadPage, take: (facts: PagedFacts) => Taken): Taken[] {
  const input = new ByteReader();
  const facts = new ByteReader();
  input.reset(bytes, 0, bytes.length);
  input.varint();
  input.varint();
  const taken: Taken[] = [];
  for (let left = input.count(); left > 0; left--) {
    const generation = input.varint();
    const ordinal = input.varint();
    const mark = input.varint();
    const length = input.varint();
    const start = bytes.length - input.remaining;
    input.skip(length);
    facts.reset(bytes, start, start + length);
    const topic = facts.string();
    taken.push(take({ generation, ordinal, topic, mark, facts: new PackedFacts(bytes, start, start + length, facts) }));
  }
  return taken;
}
