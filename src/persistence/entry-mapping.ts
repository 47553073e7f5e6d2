/** Between what the store is told and what stands in the log. The forms of extensions are in docs/format/store.md. */
import { brokerError } from "../errors.js";
import { UndecodedPayload } from "../message/undecoded-payload.js";
import type { PayloadCodec } from "./codec.js";
import type { DedupRecord, MessageToStore, StoredMessage, StoreOperation } from "./operations.js";
import { retentionToStore } from "./retention-settings.js";
import type { RetentionSettings } from "./retention-settings.js";
import { copyOf } from "./store/bytes.js";
import { ByteReader } from "./wal/byte-reader.js";
import { ByteWriter } from "./wal/byte-writer.js";
import type { ExtensionEntry, OperationEntry, PublishEntry, WalEntry } from "./wal/entries.js";
import { encodeEntry, EntryDecoder } from "./wal/entry-codec.js";
import { recordType } from "./wal/record.js";

/** Names of extension records. */
export const extension = {
  deadLetterAdded: "dead-letter-added",
  deadLetterRemoved: "dead-letter-removed",
  dedup: "dedup",
  dedupCleared: "dedup-cleared",
  delayedRemoved: "delayed-removed",
  retainedCleared: "retained-cleared",
  retention: "retention",
} as const;

/** Makes log entries. Throws `ERR_INVALID_MESSAGE` for what the codec or the log cannot carry. */
export function toLogEntry(operation: StoreOperation, codec: PayloadCodec): OperationEntry {
  switch (operation.type) {
    case "publish":
      return publishEntry(operation.message, codec);
    case "settle":
      return operation;
    case "durable": {
      const { change, name, patterns, position, options } = operation;
      if (name === "") throw brokerError("ERR_INVALID_OPTION", "A durable needs a name", { option: "durable" });
      const entry = { type: "subscription", change, name, patterns, position: Math.max(1, position) } as const;
      return { ...entry, options: Buffer.from(jsonOf(options, "a durable's options")) };
    }
    case "dead-letter-added":
      return made(extension.deadLetterAdded, (out) => {
        out.string(operation.id);
        out.string(jsonOf(operation.facts, "a dead letter's facts"));
        encodeEntry(out, publishEntry(operation.message, codec));
      });
    case "dead-letter-removed":
      return made(extension.deadLetterRemoved, (out) => out.string(operation.id));
    case "dedup":
      return { type: "extension", name: extension.dedup, data: encodeDedup(operation) };
    case "dedup-cleared":
      return made(extension.dedupCleared, () => undefined);
    case "delayed-removed":
      return made(extension.delayedRemoved, (out) => out.varint(operation.seq));
    case "retained-cleared":
      return made(extension.retainedCleared, (out) => out.string(operation.topic));
  }
}

/** How long messages are kept from this record on. */
export function retentionEntry(retention: RetentionSettings): ExtensionEntry {
  return made(extension.retention, (out) => out.string(JSON.stringify(retentionToStore(retention))));
}

function publishEntry(message: MessageToStore, codec: PayloadCodec): PublishEntry {
  const { codec: codecNumber, payload } = codec.encode(message.data);
  // These are looked at again once they are written; the caller's bytes may have changed by then.
  const isKept = message.retain === true || message.deliverAt !== undefined;
  return {
    type: "publish",
    seq: message.seq,
    timestamp: message.timestamp,
    topic: message.topic,
    id: message.id,
    key: message.key,
    headers: message.headers,
    priority: message.priority,
    expiresAt: message.expiresAt,
    deliverAt: message.deliverAt,
    dedupId: message.dedupId,
    replyTo: message.replyTo,
    correlationId: message.correlationId,
    retain: message.retain === true,
    codec: codecNumber,
    data: isKept ? new Uint8Array(payload) : payload,
  };
}

/** A message that the store has given out, to be stored once more as it is. */
export function entryOf(message: StoredMessage): PublishEntry {
  const { seq, timestamp, topic, id, key, headers, priority, expiresAt, deliverAt } = message;
  const { dedupId, replyTo, correlationId, retain, codec, payload } = message;
  const facts = { seq, timestamp, topic, id, key, headers, priority, expiresAt, deliverAt };
  return { type: "publish", ...facts, dedupId, replyTo, correlationId, retain, codec, data: payload };
}

function made(name: string, write: (out: ByteWriter) => void): ExtensionEntry {
  const out = new ByteWriter(256);
  write(out);
  return { type: "extension", name, data: copyOf(out) };
}

function jsonOf(value: unknown, what: string): string {
  try {
    return JSON.stringify(value ?? null);
  } catch (cause) {
    throw brokerError("ERR_INVALID_MESSAGE", `The store takes JSON for ${what}`, {}, cause);
  }
}

export function encodeDedup({ dedupId, seq, id, at }: DedupRecord): Uint8Array {
  const out = new ByteWriter(64);
  out.string(dedupId);
  out.varint(seq);
  out.string(id);
  out.varint(at);
  return copyOf(out);
}

export function decodeDedup(bytes: Uint8Array): DedupRecord {
  const input = readerOf(bytes);
  return { dedupId: input.string(), seq: input.varint(), id: input.string(), at: input.varint() };
}

/** A message by itself, in the form of a publish record's body. */
export function encodeMessage(entry: PublishEntry): Uint8Array {
  const out = new ByteWriter(entry.data.length + 128);
  encodeEntry(out, entry);
  return copyOf(out);
}

const decoder = new EntryDecoder();

export function decodeMessage(bytes: Uint8Array): PublishEntry {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return decoder.decode(recordType.publish, 0, buffer, 0, buffer.length) as PublishEntry;
}

export function decodeDeadLetter(bytes: Uint8Array): { id: string; facts: unknown; entry: PublishEntry } {
  const input = readerOf(bytes);
  const id = input.string();
  const facts = JSON.parse(input.string()) as unknown;
  return { id, facts, entry: decodeMessage(input.rest()) };
}

export function readerOf(bytes: Uint8Array): ByteReader {
  const input = new ByteReader();
  input.reset(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.byteLength);
  return input;
}

/** The operations of an entry: a transaction's, or the entry itself. */
export function operationsOf(entry: WalEntry): readonly OperationEntry[] {
  if (entry.type === "transaction") return entry.operations;
  return entry.type === "checkpoint" ? [] : [entry];
}

/**
 * A message as it is handed out: its data is decoded when it is asked for. Until then it keeps what it was read with in
 * memory, so that whoever keeps messages for long asks at once.
 */
export class HandedOutMessage implements StoredMessage {
  readonly seq: number;
  readonly timestamp: number;
  readonly topic: string;
  readonly id: string;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
  readonly priority: number;
  readonly expiresAt: number | undefined;
  readonly deliverAt: number | undefined;
  readonly dedupId: string | undefined;
  readonly replyTo: string | undefined;
  readonly correlationId: string | undefined;
  readonly retain: boolean;
  readonly codec: number;
  /** A view into what it was read with: copy it to keep it. */
  readonly payload: Uint8Array;
  readonly #payloads: PayloadCodec;
  #data: unknown;
  #isDecoded = false;

  constructor(entry: PublishEntry, payloads: PayloadCodec) {
    this.seq = entry.seq;
    this.timestamp = entry.timestamp;
    this.topic = entry.topic;
    this.id = entry.id;
    this.key = entry.key;
    this.headers = entry.headers;
    this.priority = entry.priority;
    this.expiresAt = entry.expiresAt;
    this.deliverAt = entry.deliverAt;
    this.dedupId = entry.dedupId;
    this.replyTo = entry.replyTo;
    this.correlationId = entry.correlationId;
    this.retain = entry.retain;
    this.codec = entry.codec;
    this.payload = entry.data;
    this.#payloads = payloads;
  }

  get payloadBytes(): number {
    return this.payload.length;
  }

  get undecoded(): UndecodedPayload {
    return new UndecodedPayload(this.payload, this.codec);
  }

  get data(): unknown {
    if (!this.#isDecoded) {
      this.#data = this.#payloads.decode(this.codec, this.payload);
      this.#isDecoded = true;
    }
    return this.#data;
  }
}
