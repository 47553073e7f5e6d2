/** Blocks: messages of one topic, close together in time, stored and removed as one. Described in docs/format/store.md. */
import type { PublishEntry } from "../wal/entries.js";
import type { Topic } from "../durable.js";
import { noBytes } from "./block-facts.js";
import type { BlockFacts, PackedFacts } from "./block-facts.js";
import { asBuffer, copyOf } from "./bytes.js";
import { ByteReader, MalformedBytes } from "../wal/byte-reader.js";
import { ByteWriter } from "../wal/byte-writer.js";

const version = 1;

const flag = {
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

  constructor(generation: number, ordinal: number, topic: Topic, facts: PackedFacts, mark: number) {
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

/** Gathers messages of one topic, in ascending order, until they make a block. */
export class BlockBuilder {
  // There may be as many of them as topics.
  readonly #out = new ByteWriter(512);
  readonly #seqs = new ByteWriter(16);
  readonly #sizes = new ByteWriter(16);
  readonly isUnclaimed: boolean;
  #count = 0;
  #logBytes = 0;
  #firstSize = 0;
  #isOfOneSize = true;
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
    return this.#out.bytes.length + this.#seqs.bytes.length + this.#sizes.bytes.length;
  }

  /** @param logBytes what the message took in the log */
  add(entry: PublishEntry, logBytes: number): void {
    const out = this.#out;
    if (this.#count === 0) this.#firstSize = logBytes;
    else if (logBytes !== this.#firstSize) this.#isOfOneSize = false;
    this.#sizes.varint(logBytes);
    this.#logBytes += logBytes;
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
    head.uint8(version);
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
      logBytes: this.#logBytes,
      firstTimestamp: this.#firstTimestamp,
      lastTimestamp: this.#lastTimestamp,
      expiresAt: this.#everExpires ? this.#lastExpiry : 0,
      firstExpiry: this.#firstExpiry === Infinity ? 0 : this.#firstExpiry,
      lastExpiry: this.#lastExpiry,
      packedSeqs: copyOf(this.#seqs),
      packedSizes: this.#isOfOneSize ? noBytes : copyOf(this.#sizes),
    };
    this.#out.length = 0;
    this.#seqs.length = 0;
    this.#sizes.length = 0;
    this.#count = 0;
    this.#logBytes = 0;
    this.#isOfOneSize = true;
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
  let flags = entry.retain ? flag.retain : 0;
  if (key !== undefined) flags |= flag.key;
  if (headers !== undefined) flags |= flag.headers;
  if (expiresAt !== undefined) flags |= flag.expiresAt;
  if (dedupId !== undefined) flags |= flag.dedupId;
  if (replyTo !== undefined) flags |= flag.replyTo;
  if (correlationId !== undefined) flags |= flag.correlationId;
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

/** A block in memory: any of its messages can be had without decoding the others. */
export class OpenBlock {
  readonly raw: Buffer;
  readonly #topic: string;
  readonly #offsets: Uint32Array;
  readonly #firstSeq: number;
  readonly #baseTimestamp: number;
  readonly #in = new ByteReader();

  /** Throws `MalformedBytes` when the bytes are no block of `count` messages. */
  constructor(topic: string, raw: Buffer, count: number) {
    this.raw = raw;
    this.#topic = topic;
    const input = this.#in;
    input.reset(raw, 0, raw.length);
    const found = input.uint8();
    if (found !== version) throw new MalformedBytes(`the block has version ${found}`);
    if (input.varint() !== count) throw new MalformedBytes("the block has another number of messages");
    this.#firstSeq = input.varint();
    this.#baseTimestamp = input.varint();
    this.#offsets = new Uint32Array(count + 1);
    let at = raw.length - input.remaining;
    for (let index = 0; index < count; index++) {
      this.#offsets[index] = at;
      if (at + 4 > raw.length) throw new MalformedBytes("the block ends early");
      at += 4 + raw.readUInt32LE(at);
    }
    this.#offsets[count] = at;
    if (at !== raw.length) throw new MalformedBytes("the block has another length");
  }

  /** The message at a place; its data is a view into the block. */
  message(index: number): PublishEntry {
    const input = this.#in;
    input.reset(this.raw, (this.#offsets[index] as number) + 4, this.#offsets[index + 1] as number);
    const flags = input.uint8();
    const priority = input.uint8();
    const codec = input.uint8();
    const seq = this.#firstSeq + input.varint();
    const shift = input.varint();
    return {
      type: "publish",
      codec,
      priority,
      retain: (flags & flag.retain) !== 0,
      seq,
      timestamp: this.#baseTimestamp + (shift % 2 === 0 ? shift / 2 : -(shift + 1) / 2),
      topic: this.#topic,
      id: input.string(),
      key: (flags & flag.key) !== 0 ? input.string() : undefined,
      headers: (flags & flag.headers) !== 0 ? decodeHeaders(input) : undefined,
      expiresAt: (flags & flag.expiresAt) !== 0 ? input.varint() : undefined,
      deliverAt: undefined,
      dedupId: (flags & flag.dedupId) !== 0 ? input.string() : undefined,
      replyTo: (flags & flag.replyTo) !== 0 ? input.string() : undefined,
      correlationId: (flags & flag.correlationId) !== 0 ? input.string() : undefined,
      data: input.rest(),
    };
  }
}

function decodeHeaders(input: ByteReader): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let left = input.count(); left > 0; left--) {
    const name = input.string();
    const value = input.string();
    // A plain assignment to "__proto__" would be lost.
    Object.defineProperty(headers, name, { value, enumerable: true, writable: true, configurable: true });
  }
  return headers;
}
