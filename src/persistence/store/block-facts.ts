/** What is known of blocks without reading them, and its bytes. Described in docs/format/store.md. */
import { ByteReader, MalformedBytes } from "../wal/byte-reader.js";
import { ByteWriter, varintBytes } from "../wal/byte-writer.js";

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

/** Used for all facts: what is written is copied out. */
const factsWriter = new ByteWriter(512);

export function encodeFacts(topic: string, facts: BlockFacts): Buffer {
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

/** Facts as they are kept in memory: what is asked for often in fields, the numbers of its messages in the bytes they came in. */
export class PackedFacts implements BlockFacts {
  readonly isUnclaimed: boolean;
  readonly count: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly logBytes: number;
  readonly firstTimestamp: number;
  readonly lastTimestamp: number;
  readonly expiresAt: number;
  readonly firstExpiry: number;
  readonly lastExpiry: number;
  /** Holds the encoded facts, and perhaps those of many other blocks. */
  #bytes: Buffer;
  #start: number;
  readonly #length: number;
  /** From `#start`. */
  readonly #seqsAt: number;
  readonly #seqsEnd: number;
  readonly #sizesAt: number;

  /** Reads what stands behind the topic, up to `end`. Throws `MalformedBytes`. */
  constructor(bytes: Buffer, start: number, end: number, input: ByteReader) {
    this.#bytes = bytes;
    this.#start = start;
    this.#length = end - start;
    this.isUnclaimed = input.uint8() === 1;
    this.count = input.varint();
    this.firstSeq = input.varint();
    this.lastSeq = this.firstSeq + input.varint();
    this.rawBytes = input.varint();
    this.storedBytes = input.varint();
    this.firstTimestamp = input.varint();
    this.lastTimestamp = input.varint();
    this.expiresAt = input.varint();
    this.firstExpiry = input.varint();
    this.lastExpiry = input.varint();
    const numbers = input.varint();
    const seqsAt = end - input.remaining;
    if (numbers !== input.remaining) throw new MalformedBytes("the block's facts have another length");
    let seqsEnd = seqsAt;
    for (let left = this.count - 1; left > 0; seqsEnd++) {
      if (seqsEnd === end) throw new MalformedBytes("the block's facts have too few numbers");
      if ((bytes[seqsEnd] as number) < 128) left--;
    }
    this.#seqsAt = seqsAt - start;
    this.#seqsEnd = seqsEnd - start;
    input.reset(bytes, seqsEnd, end);
    // A block from before sizes were kept ends here: its raw bytes count.
    this.logBytes = seqsEnd === end ? this.rawBytes : input.varint();
    this.#sizesAt = end - input.remaining - start;
  }

  get packedSeqs(): Uint8Array {
    return this.#bytes.subarray(this.#start + this.#seqsAt, this.#start + this.#seqsEnd);
  }

  get packedSizes(): Uint8Array {
    return this.#bytes.subarray(this.#start + this.#sizesAt, this.#start + this.#length);
  }

  /** How long `encoded` is. */
  get encodedBytes(): number {
    return this.#length;
  }

  /** As `encodeFacts` made them. */
  get encoded(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#start + this.#length);
  }

  /** The same bytes stand there too: those that it has been read from are let go of. */
  moveTo(bytes: Buffer, start: number): void {
    this.#bytes = bytes;
    this.#start = start;
  }
}

/** What `encodeFacts` wrote, which takes up all of `bytes[start … end)`. Its memory is kept. Throws `MalformedBytes`. */
export function decodeFacts(
  bytes: Buffer,
  start = 0,
  end = bytes.length,
): { readonly topic: string; readonly facts: PackedFacts } {
  const input = new ByteReader();
  input.reset(bytes, start, end);
  return { topic: input.string(), facts: new PackedFacts(bytes, start, end, input) };
}

export const noBytes = new Uint8Array(0);
