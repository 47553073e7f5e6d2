/** What is known of blocks without reading them, and its bytes. Described in docs/format/store.md. */
import { ByteReader, MalformedBytes } from "../wal/byte-reader.js";
import { ByteWriter } from "../wal/byte-writer.js";
import { asBuffer, copyOf } from "./bytes.js";

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
  // Readers of before look at no more of this block than the numbers.
  const numbers = new ByteWriter(facts.packedSeqs.length + facts.packedSizes.length + 8);
  numbers.raw(facts.packedSeqs);
  numbers.varint(facts.logBytes);
  numbers.raw(facts.packedSizes);
  out.block(numbers.bytes.subarray(0, numbers.length));
  return copyOf(out);
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
