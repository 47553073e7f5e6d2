import { UndecodedPayload } from "../../message/undecoded-payload.js";
import type { StoredMessage } from "../operations.js";
import { ByteReader, MalformedBytes } from "../wal/byte-reader.js";
import { blockVersion, messageFlag } from "./block.js";

/** Makes payloads of bytes. */
export interface PayloadReader {
  /** The payload of `bytes[start … end)`. */
  decodePart(codec: number, bytes: Buffer, start: number, end: number): unknown;
}

/** A block in memory: any of its messages can be had without decoding the others. */
export class OpenBlock {
  readonly raw: Buffer;
  readonly payloads: PayloadReader;
  readonly #topic: string;
  readonly #offsets: Uint32Array;
  readonly #firstSeq: number;
  readonly #baseTimestamp: number;
  readonly #in = new ByteReader();

  /** Throws `MalformedBytes` when the bytes are no block of `count` messages. */
  constructor(topic: string, raw: Buffer, count: number, payloads: PayloadReader) {
    this.raw = raw;
    this.payloads = payloads;
    this.#topic = topic;
    const input = this.#in;
    input.reset(raw, 0, raw.length);
    const found = input.uint8();
    if (found !== blockVersion) throw new MalformedBytes(`the block has version ${found}`);
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

  /** The message at a place. */
  message(index: number): BlockMessage {
    const end = this.#offsets[index + 1] as number;
    const input = this.#in;
    input.reset(this.raw, (this.#offsets[index] as number) + 4, end);
    return new BlockMessage(this, input, end, this.#topic, this.#firstSeq, this.#baseTimestamp);
  }
}

/**
 * A message of a block, as it is handed out: all but the payload is its own. The payload stays where it is in the block, and
 * in the block's memory, until it is asked for; so whoever keeps messages for long asks at once.
 */
export class BlockMessage implements StoredMessage {
  readonly seq: number;
  readonly timestamp: number;
  readonly topic: string;
  readonly id: string;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
  readonly priority: number;
  readonly expiresAt: number | undefined;
  readonly deliverAt = undefined;
  readonly dedupId: string | undefined;
  readonly replyTo: string | undefined;
  readonly correlationId: string | undefined;
  readonly retain: boolean;
  readonly codec: number;
  readonly #block: OpenBlock;
  readonly #start: number;
  readonly #end: number;
  #isDecoded: boolean;
  #data: unknown;

  /** Reads the message that `input`, which ends at `end`, stands at. */
  constructor(
    block: OpenBlock,
    input: ByteReader,
    end: number,
    topic: string,
    firstSeq: number,
    baseTimestamp: number,
  ) {
    const flags = input.uint8();
    this.priority = input.uint8();
    this.codec = input.uint8();
    this.seq = firstSeq + input.varint();
    const shift = input.varint();
    this.timestamp = baseTimestamp + (shift % 2 === 0 ? shift / 2 : -(shift + 1) / 2);
    this.topic = topic;
    this.retain = (flags & messageFlag.retain) !== 0;
    this.id = input.string();
    this.key = (flags & messageFlag.key) !== 0 ? input.string() : undefined;
    this.headers = (flags & messageFlag.headers) !== 0 ? decodeHeaders(input) : undefined;
    this.expiresAt = (flags & messageFlag.expiresAt) !== 0 ? input.varint() : undefined;
    this.dedupId = (flags & messageFlag.dedupId) !== 0 ? input.string() : undefined;
    this.replyTo = (flags & messageFlag.replyTo) !== 0 ? input.string() : undefined;
    this.correlationId = (flags & messageFlag.correlationId) !== 0 ? input.string() : undefined;
    this.#block = block;
    this.#start = end - input.remaining;
    this.#end = end;
    this.#isDecoded = false;
    this.#data = undefined;
  }

  get payloadBytes(): number {
    return this.#end - this.#start;
  }

  /** A view into the block: copy it to keep it. */
  get payload(): Uint8Array {
    return this.#block.raw.subarray(this.#start, this.#end);
  }

  get undecoded(): UndecodedPayload {
    return new UndecodedPayload(this.payload, this.codec);
  }

  get data(): unknown {
    if (!this.#isDecoded) {
      const { raw, payloads } = this.#block;
      this.#data = payloads.decodePart(this.codec, raw, this.#start, this.#end);
      this.#isDecoded = true;
    }
    return this.#data;
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
