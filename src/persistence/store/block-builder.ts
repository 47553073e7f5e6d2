import { ByteWriter } from "../wal/byte-writer.js";
import type { PublishEntry } from "../wal/entries.js";
import { blockVersion, messageFlag } from "./block.js";
import { noBytes } from "./block-facts.js";
import type { BlockFacts } from "./block-facts.js";
import { copyOf } from "./bytes.js";

/** The facts of a block that is not stored yet: `storedBytes` is still to be set. */
export type UnsizedFacts = Omit<BlockFacts, "storedBytes"> & { storedBytes: number };

/** Gathers messages of one topic, in ascending order, until they make a block. */
export class BlockBuilder {
  // There may be as many of them as topics, most with one message.
  readonly #out = new ByteWriter(512);
  /** From the second message on. */
  #seqs: ByteWriter | undefined;
  /** From the first message on that has another size than those before it. */
  #sizes: ByteWriter | undefined;
  readonly isUnclaimed: boolean;
  #count = 0;
  #logBytes = 0;
  #firstSize = 0;
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
    return this.#out.bytes.length + (this.#seqs?.bytes.length ?? 0) + (this.#sizes?.bytes.length ?? 0);
  }

  /** @param logBytes what the message took in the log */
  add(entry: PublishEntry, logBytes: number): void {
    const out = this.#out;
    this.#addSize(logBytes);
    const { seq, timestamp } = entry;
    if (this.#count === 0) {
      this.#firstSeq = seq;
      this.#baseTimestamp = timestamp;
    } else {
      this.#seqs ??= new ByteWriter(64);
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

  #addSize(logBytes: number): void {
    if (this.#count === 0) this.#firstSize = logBytes;
    else if (logBytes !== this.#firstSize && this.#sizes === undefined) {
      this.#sizes = new ByteWriter(128);
      for (let before = this.#count; before > 0; before--) this.#sizes.varint(this.#firstSize);
    }
    this.#sizes?.varint(logBytes);
    this.#logBytes += logBytes;
  }

  /** The block's bytes and facts, but for the size it has once stored, which is 0. The builder is of no use any more. */
  finish(): { readonly raw: Buffer; readonly facts: UnsizedFacts } {
    const out = this.#out;
    const head = headWriter;
    head.length = 0;
    head.uint8(blockVersion);
    head.varint(this.#count);
    head.varint(this.#firstSeq);
    head.varint(this.#baseTimestamp);
    const raw = Buffer.allocUnsafe(head.length + out.length);
    head.bytes.copy(raw, 0, 0, head.length);
    out.bytes.copy(raw, head.length, 0, out.length);
    const facts = {
      isUnclaimed: this.isUnclaimed,
      count: this.#count,
      firstSeq: this.#firstSeq,
      lastSeq: this.#lastSeq,
      rawBytes: raw.length,
      storedBytes: 0,
      logBytes: this.#logBytes,
      firstTimestamp: this.#firstTimestamp,
      lastTimestamp: this.#lastTimestamp,
      expiresAt: this.#everExpires ? this.#lastExpiry : 0,
      firstExpiry: this.#firstExpiry === Infinity ? 0 : this.#firstExpiry,
      lastExpiry: this.#lastExpiry,
      packedSeqs: this.#seqs === undefined ? noBytes : copyOf(this.#seqs),
      packedSizes: this.#sizes === undefined ? noBytes : copyOf(this.#sizes),
    };
    return { raw, facts };
  }
}

/** Used for all blocks: what is written is copied out. */
const headWriter = new ByteWriter(64);

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
