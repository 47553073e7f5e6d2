/** Blocks: messages of one topic, close together in time, stored and removed as one. Described in docs/format/store.md. */
import type { PublishEntry } from "../wal/entries.js";
import type { Topic } from "../durable.js";
import { ByteReader } from "../wal/byte-reader.js";
import { ByteWriter } from "../wal/byte-writer.js";

export const blockVersion = 1;

/** What a message in a block has, besides what each has. */
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
  readonly firstTimestamp: number;
  readonly lastTimestamp: number;
  /** When the last of its messages expires; 0 when one never does. */
  readonly expiresAt: number;
  /** When the first and the last of those that expire do; 0 when none does. */
  readonly firstExpiry: number;
  readonly lastExpiry: number;
  /** The numbers of its messages, as differences. */
  readonly packedSeqs: Uint8Array;
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

  constructor(generation: number, ordinal: number, topic: Topic, facts: BlockFacts, mark: number) {
    this.generation = generation;
    this.ordinal = ordinal;
    this.topic = topic;
    this.facts = facts;
    this.mark = mark;
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
}

export function encodeFacts(topic: string, facts: BlockFacts): Uint8Array {
  const out = new ByteWriter(128);
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
  out.block(facts.packedSeqs);
  return copyOf(out);
}

export function decodeFacts(bytes: Uint8Array): { readonly topic: string; readonly facts: BlockFacts } {
  const input = new ByteReader();
  input.reset(asBuffer(bytes), 0, bytes.length);
  const topic = input.string();
  const isUnclaimed = input.uint8() === 1;
  const count = input.varint();
  const firstSeq = input.varint();
  const facts: BlockFacts = {
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
    packedSeqs: new Uint8Array(input.block()),
  };
  input.finish();
  return { topic, facts };
}

/** Gathers messages of one topic, in ascending order, until they make a block. */
export class BlockBuilder {
  // There may be as many of them as topics.
  readonly #out = new ByteWriter(512);
  readonly #seqs = new ByteWriter(16);
  readonly isUnclaimed: boolean;
  #count = 0;
  #firstSeq = 0;
  #lastSeq = 0;
  #baseTimestamp = 0;
  #firstTimestamp = Infinity;
  #lastTimestamp = 0;
  #firstExpiry = Infinity;
  #lastExpiry = 0;
  #everExpires = true;

  constructor(isUnclaimed: boolean) {
    this.isUnclaimed = isUnclaimed;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#out.length;
  }

  /** Bytes of memory that it holds. */
  get memory(): number {
    return this.#out.bytes.length + this.#seqs.bytes.length;
  }

  add(entry: PublishEntry): void {
    const out = this.#out;
    const { seq, timestamp } = entry;
    if (this.#count === 0) {
      this.#firstSeq = seq;
      this.#baseTimestamp = timestamp;
    } else {
      this.#seqs.varint(seq - this.#lastSeq);
    }
    this.#lastSeq = seq;
    this.#count++;
    this.#firstTimestamp = Math.min(this.#firstTimestamp, timestamp);
    this.#lastTimestamp = Math.max(this.#lastTimestamp, timestamp);
    if (entry.expiresAt === undefined) this.#everExpires = false;
    else {
      this.#firstExpiry = Math.min(this.#firstExpiry, entry.expiresAt);
      this.#lastExpiry = Math.max(this.#lastExpiry, entry.expiresAt);
    }
    // The length goes in front, in four bytes that are filled in afterwards.
    const start = out.length;
    out.reserve(4);
    out.length += 4;
    encodeMessage(out, entry, seq - this.#firstSeq, timestamp - this.#baseTimestamp);
    out.bytes.writeUInt32LE(out.length - start - 4, start);
  }

  /** The block's bytes and facts, but for the size it has once stored. The builder starts anew. */
  finish(): { raw: Buffer; facts: Omit<BlockFacts, "storedBytes"> } {
    const head = new ByteWriter(32);
    head.uint8(blockVersion);
    head.varint(this.#count);
    head.varint(this.#firstSeq);
    head.varint(this.#baseTimestamp);
    const raw = Buffer.concat([head.bytes.subarray(0, head.length), this.#out.bytes.subarray(0, this.#out.length)]);
    const facts = {
      isUnclaimed: this.isUnclaimed,
      count: this.#count,
      firstSeq: this.#firstSeq,
      lastSeq: this.#lastSeq,
      rawBytes: raw.length,
      firstTimestamp: this.#firstTimestamp,
      lastTimestamp: this.#lastTimestamp,
      expiresAt: this.#everExpires ? this.#lastExpiry : 0,
      firstExpiry: this.#firstExpiry === Infinity ? 0 : this.#firstExpiry,
      lastExpiry: this.#lastExpiry,
      packedSeqs: copyOf(this.#seqs),
    };
    this.#out.length = 0;
    this.#seqs.length = 0;
    this.#count = 0;
    this.#firstTimestamp = Infinity;
    this.#lastTimestamp = 0;
    this.#firstExpiry = Infinity;
    this.#lastExpiry = 0;
    this.#everExpires = true;
    return { raw, facts };
  }
}

function encodeMessage(out: ByteWriter, entry: PublishEntry, seqOffset: number, timestampOffset: number): void {
  const { key, headers, expiresAt, dedupId, replyTo, correlationId } = entry;
  let flags = entry.retain ? messageFlag.retain : 0;
  if (key !== undefined) flags |= messageFlag.key;
  if (headers !== undefined) flags |= messageFlag.headers;
  if (expiresAt !== undefined) flags |= messageFlag.expiresAt;
  if (dedupId !== undefined) flags |= messageFlag.dedupId;
  if (replyTo !== undefined) flags |= messageFlag.replyTo;
  if (correlationId !== undefined) flags |= messageFlag.correlationId;
  out.uint8(flags);
  out.uint8(entry.priority);
  out.uint8(entry.codec);
  out.varint(seqOffset);
  out.varint(timestampOffset >= 0 ? timestampOffset * 2 : -timestampOffset * 2 - 1);
  out.string(entry.id);
  if (key !== undefined) out.string(key);
  if (headers !== undefined) {
    const names = Object.keys(headers);
    out.varint(names.length);
    for (const name of names) {
      out.string(name);
      out.string(headers[name] as string);
    }
  }
  if (expiresAt !== undefined) out.varint(expiresAt);
  if (dedupId !== undefined) out.string(dedupId);
  if (replyTo !== undefined) out.string(replyTo);
  if (correlationId !== undefined) out.string(correlationId);
  out.raw(entry.data);
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What was written so far, in memory of its own. */
export function copyOf(out: ByteWriter): Uint8Array {
  return new Uint8Array(out.bytes.subarray(0, out.length));
}
