/** Blocks: messages of one topic, close together in time, stored and removed as one. Described in docs/format/store.md. */
import type { Topic } from "../durable.js";
import { ByteReader } from "../wal/byte-reader.js";
import type { BlockFacts, PackedFacts } from "./block-facts.js";
import { asBuffer } from "./bytes.js";

/** The version of a block's bytes. */
export const blockVersion = 1;

/** What a message has besides what all have. */
export const messageFlag = {
  key: 1,
  headers: 2,
  expiresAt: 4,
  dedupId: 8,
  replyTo: 16,
  correlationId: 32,
  retain: 128,
} as const;

/** A block in the store. */
export class Block {
  readonly generation: number;
  readonly ordinal: number;
  readonly topic: Topic;
  readonly facts: PackedFacts;
  /** For the ledger: the checksum of its facts as stored. */
  readonly mark: number;
  /** It could not be read: nothing of it is handed out, and it is not removed. */
  isDamaged = false;
  /** When a durable may next have to be told that one of its messages has expired, as far as is known; Infinity: never. */
  nextExpiry: number;

  constructor(generation: number, ordinal: number, topic: Topic, facts: PackedFacts, mark: number) {
    this.generation = generation;
    this.ordinal = ordinal;
    this.topic = topic;
    this.facts = facts;
    this.mark = mark;
    this.nextExpiry = firstExpiryOf(facts);
  }

  /** Nobody was told of anything that has expired. */
  resetNextExpiry(): void {
    this.nextExpiry = firstExpiryOf(this.facts);
  }

  get firstSeq(): number {
    return this.facts.firstSeq;
  }

  get lastSeq(): number {
    return this.facts.lastSeq;
  }

  /** The numbers of its messages, ascending. */
  seqs(): Float64Array {
    const { count, packedSeqs, firstSeq } = this.facts;
    const seqs = new Float64Array(count);
    const input = new ByteReader();
    input.reset(asBuffer(packedSeqs), 0, packedSeqs.length);
    let seq = firstSeq;
    for (let index = 0; index < count; index++) {
      if (index > 0) seq += input.varint();
      seqs[index] = seq;
    }
    return seqs;
  }

  /** What each of its messages took in the log, in the order of their numbers. */
  logSizes(): Float64Array {
    const { count, packedSizes, logBytes } = this.facts;
    const sizes = new Float64Array(count);
    if (packedSizes.length === 0) return sizes.fill(logBytes / count);
    const input = new ByteReader();
    input.reset(asBuffer(packedSizes), 0, packedSizes.length);
    for (let index = 0; index < count; index++) sizes[index] = input.varint();
    return sizes;
  }
}

function firstExpiryOf({ firstExpiry }: BlockFacts): number {
  return firstExpiry === 0 ? Infinity : firstExpiry;
}
