/** Blocks: messages of one topic, close together in time, stored and removed as one. Described in docs/format/store.md. */
import type { Topic } from "../durable.js";
import { ByteReader, MalformedBytes } from "../wal/byte-reader.js";
import { ByteWriter, varintBytes } from "../wal/byte-writer.js";

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

/** What is known of a block without reading it. */
export interface BlockFacts {
  /** No durable was there for its messages when they came. */
  readonly isUnclaimed: boolean;
  readonly count: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Bytes of its messages, and what they take as stored. */
  readonly rawBytes: number;
  readonly storedBytes: number;
  /** What its messages took in the log: what a limit of bytes counts. Of a block from before that was kept, its raw bytes. */
  readonly logBytes: number;
  readonly firstTimestamp: number;
  readonly lastTimestamp: number;
  /** When the last of its messages expires; 0 when one never does. */
  readonly expiresAt: number;
  /** When the first and the last of those that expire do; 0 when none does. */
  readonly firstExpiry: number;
  readonly lastExpiry: number;
  /** The numbers of its messages, as differences. */
  readonly packedSeqs: Uint8Array;
  /** What each of its messages took in the log; empty where all took the same. */
  readonly packedSizes: Uint8Array;
}

/** A block in the store. */
export class Block {
  readonly generation: number;
  readonly ordinal: number;
  readonly topic: Topic;
  readonly facts: BlockFacts;
  /** For the ledger: the checksum of its facts as stored. */
  readonly mark: number;
  /** It could not be read: nothing of it is handed out, and it is not removed. */
  isDamaged = false;
  /** When a durable may next have to be told that one of its messages has expired, as far as is known; Infinity: never. */
  nextExpiry: number;

  constructor(generation: number, ordinal: number, topic: Topic, facts: BlockFacts, mark: number) {
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

/** Used for all facts: what is written is copied out. */
const factsWriter = new ByteWriter(512);

export function encodeFacts(topic: string, facts: BlockFacts): Uint8Array {
  const { packedSeqs, packedSizes, logBytes } = facts;
  const out = factsWriter;
  out.length = 0;
  out.string(topic);
  out.uint8(facts.isUnclaimed ? 1 : 0);
  out.varint(facts.count);
  out.varint(facts.firstSeq);
  out.varint(facts.lastSeq - facts.firstSeq);
  out.varint(facts.rawBytes);
  out.varint(facts.storedBytes);
  out.varint(facts.firstTimestamp);
  out.varint(facts.lastTimestamp);
  out.varint(facts.expiresAt);
  out.varint(facts.firstExpiry);
  out.varint(facts.lastExpiry);
  // A block of bytes, of which readers of before look at no more than the numbers.
  out.varint(packedSeqs.length + varintBytes(logBytes) + packedSizes.length);
  out.raw(packedSeqs);
  out.varint(logBytes);
  out.raw(packedSizes);
  return Buffer.from(out.bytes.subarray(0, out.length));
}

export function decodeFacts(bytes: Uint8Array): { readonly topic: string; readonly facts: BlockFacts } {
  const input = new ByteReader();
  input.reset(asBuffer(bytes), 0, bytes.length);
  const topic = input.string();
  const isUnclaimed = input.uint8() === 1;
  const count = input.varint();
  const firstSeq = input.varint();
  const upToNumbers = {
    isUnclaimed,
    count,
    firstSeq,
    lastSeq: firstSeq + input.varint(),
    rawBytes: input.varint(),
    storedBytes: input.varint(),
    firstTimestamp: input.varint(),
    lastTimestamp: input.varint(),
    expiresAt: input.varint(),
    firstExpiry: input.varint(),
    lastExpiry: input.varint(),
  };
  const numbers = new Uint8Array(input.block());
  input.finish();
  return { topic, facts: { ...upToNumbers, ...decodeNumbers(numbers, count, upToNumbers.rawBytes) } };
}

/** The seqs of a block's messages; behind them, but in a block from before that was kept, what they took in the log. */
function decodeNumbers(
  numbers: Uint8Array,
  count: number,
  rawBytes: number,
): Pick<BlockFacts, "packedSeqs" | "packedSizes" | "logBytes"> {
  let end = 0;
  for (let left = count - 1; left > 0; end++) {
    const byte = numbers[end];
    if (byte === undefined) throw new MalformedBytes("the block's facts have too few numbers");
    if (byte < 128) left--;
  }
  const packedSeqs = numbers.subarray(0, end);
  if (end === numbers.length) return { packedSeqs, packedSizes: noBytes, logBytes: rawBytes };
  const input = new ByteReader();
  input.reset(asBuffer(numbers), end, numbers.length);
  const logBytes = input.varint();
  return { packedSeqs, packedSizes: input.rest(), logBytes };
}

export const noBytes = new Uint8Array(0);

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What was written so far, in memory of its own. */
export function copyOf(out: ByteWriter): Uint8Array {
  return new Uint8Array(out.bytes.subarray(0, out.length));
}
