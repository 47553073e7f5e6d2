/**
 * The form of entries as bytes, described in docs/format/wal.md. A change to it is a new format version or a
 * new record type, never a new meaning of old bytes.
 */
import { brokerError } from "../../errors.js";
import { noHeaders } from "../../message/headers.js";
import { ByteReader, MalformedBytes } from "./byte-reader.js";
import type { ByteWriter } from "./byte-writer.js";
import type {
  MessageFacts,
  MessageToWrite,
  OperationEntry,
  PayloadWriter,
  PublishEntry,
  SettleEntry,
  SettleOutcome,
  SubscriptionEntry,
  TransactionEntry,
  WalEntry,
} from "./entries.js";
import { recordFlag, recordType } from "./record.js";

const publishFlag = {
  key: 1,
  headers: 2,
  expiresAt: 4,
  deliverAt: 8,
  dedupId: 16,
  replyTo: 32,
  correlationId: 64,
  retain: 128,
} as const;

const outcomes: readonly SettleOutcome[] = ["ack", "reject", "dead", "expired", "attempt"];
const changes: readonly SubscriptionEntry["change"][] = ["created", "changed", "deleted"];
const settleFlag = { retryAt: 1, reason: 2 } as const;

/** Writes the entry's body and returns its record type. Throws `ERR_INVALID_MESSAGE` for what has no form. */
export function encodeEntry(out: ByteWriter, entry: WalEntry): number {
  switch (entry.type) {
    case "publish":
      encodePublish(out, entry);
      return recordType.publish;
    case "settle":
      encodeSettle(out, entry);
      return recordType.settle;
    case "transaction":
      encodeTransaction(out, entry);
      return recordType.transaction;
    case "subscription":
      out.uint8(indexOf(changes, entry.change));
      out.string(entry.name);
      out.varint(entry.patterns.length);
      for (const pattern of entry.patterns) out.string(pattern);
      out.varint(entry.position);
      out.block(entry.options);
      return recordType.subscription;
    case "checkpoint":
      out.varint(entry.lsn);
      out.varint(entry.seq);
      out.block(entry.data);
      return recordType.checkpoint;
    case "extension":
      out.string(entry.name);
      out.block(entry.data);
      return recordType.extension;
  }
}

function encodePublish(out: ByteWriter, entry: PublishEntry): void {
  encodeFacts(out, entry, byteOf(entry.codec, 255, "codec"));
  out.raw(entry.data);
}

/** Writes the body of a publish record whose payload is not bytes yet, and returns its type. Throws as `encodeEntry`. */
export function encodeMessage(out: ByteWriter, message: MessageToWrite, payloads: PayloadWriter): number {
  const start = out.length;
  encodeFacts(out, message, 0);
  const codec = payloads.write(out, message.data);
  out.bytes[start + codecOffset] = codec;
  return recordType.publish;
}

/** Where the codec's number is in the body of a publish record. */
const codecOffset = 2;

function encodeFacts(out: ByteWriter, message: MessageFacts, codec: number): void {
  const { key, headers, expiresAt, deliverAt, dedupId, replyTo, correlationId } = message;
  const hasHeaders = headers !== undefined && headers !== noHeaders;
  let flags = message.retain === true ? publishFlag.retain : 0;
  if (key !== undefined) flags |= publishFlag.key;
  if (hasHeaders) flags |= publishFlag.headers;
  if (expiresAt !== undefined) flags |= publishFlag.expiresAt;
  if (deliverAt !== undefined) flags |= publishFlag.deliverAt;
  if (dedupId !== undefined) flags |= publishFlag.dedupId;
  if (replyTo !== undefined) flags |= publishFlag.replyTo;
  if (correlationId !== undefined) flags |= publishFlag.correlationId;
  out.uint8(flags);
  out.uint8(byteOf(message.priority, 9, "priority"));
  out.uint8(codec);
  out.varint(message.seq);
  out.varint(message.timestamp);
  out.string(message.topic);
  out.string(message.id);
  if (key !== undefined) out.string(key);
  if (hasHeaders) encodeHeaders(out, headers);
  if (expiresAt !== undefined) out.varint(expiresAt);
  if (deliverAt !== undefined) out.varint(deliverAt);
  if (dedupId !== undefined) out.string(dedupId);
  if (replyTo !== undefined) out.string(replyTo);
  if (correlationId !== undefined) out.string(correlationId);
}

function encodeHeaders(out: ByteWriter, headers: Readonly<Record<string, string>>): void {
  const names = Object.keys(headers);
  out.varint(names.length);
  for (const name of names) {
    out.string(name);
    out.string(headers[name] as string);
  }
}

function encodeSettle(out: ByteWriter, entry: SettleEntry): void {
  const { retryAt, reason } = entry;
  out.uint8(indexOf(outcomes, entry.outcome));
  out.uint8((retryAt === undefined ? 0 : settleFlag.retryAt) | (reason === undefined ? 0 : settleFlag.reason));
  out.string(entry.durable);
  out.varint(entry.seq);
  out.varint(entry.deliveryCount);
  if (retryAt !== undefined) out.varint(retryAt);
  if (reason !== undefined) out.string(reason);
}

function encodeTransaction(out: ByteWriter, entry: TransactionEntry): void {
  out.string(entry.id);
  out.varint(entry.timestamp);
  out.varint(entry.operations.length);
  for (const operation of entry.operations) {
    // Type and length in front, in five bytes that are filled in once the operation is written.
    const start = out.length;
    out.reserve(5);
    out.length += 5;
    const type = encodeEntry(out, operation);
    out.bytes[start] = type;
    out.bytes.writeUInt32LE(out.length - start - 5, start + 1);
  }
}

function indexOf<Value extends string>(values: readonly Value[], value: Value): number {
  const index = values.indexOf(value);
  if (index < 0) throw brokerError("ERR_INVALID_MESSAGE", `The log has no form for "${value}"`, { value });
  return index;
}

function byteOf(value: number, highest: number, what: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= highest) return value;
  throw brokerError("ERR_INVALID_MESSAGE", `The ${what} must be a whole number from 0 to ${highest}, and is ${value}`, {
    value,
  });
}

/** Reads bodies of records. One decoder serves a whole log. */
export class EntryDecoder {
  readonly #in = new ByteReader();

  /**
   * The entry of a record's body, or undefined for a type that is not known and may be passed over.
   *
   * Throws `MalformedBytes` when the body is not what the type says, and `ERR_STORE_FAILED` for a type that
   * only a newer version knows and that may not be passed over.
   */
  decode(type: number, flags: number, bytes: Buffer, start: number, end: number): WalEntry | undefined {
    this.#in.reset(bytes, start, end);
    if (flags > recordFlag.mayIgnore) throw unknownFlags(flags);
    if (type === recordType.publish) return this.#publish();
    const entry = this.#other(type);
    if (entry !== undefined) {
      this.#in.finish();
      return entry;
    }
    if ((flags & recordFlag.mayIgnore) !== 0) return undefined;
    throw brokerError(
      "ERR_STORE_FAILED",
      `The log holds records of type ${type}, which this version does not know: a newer version of inproc-broker wrote it; open it with that version or a later one`,
      { recordType: type },
    );
  }

  #other(type: number): WalEntry | undefined {
    switch (type) {
      case recordType.settle:
        return this.#settle();
      case recordType.transaction:
        return this.#transaction();
      case recordType.subscription:
        return this.#subscription();
      case recordType.checkpoint:
        return {
          type: "checkpoint",
          lsn: this.#in.varint(),
          seq: this.#in.varint(),
          data: this.#in.block(),
        };
      case recordType.extension:
        return { type: "extension", name: this.#in.string(), data: this.#in.block() };
      default:
        return undefined;
    }
  }

  #publish(): PublishEntry {
    const input = this.#in;
    const flags = input.uint8();
    const priority = input.uint8();
    if (priority > 9) throw new MalformedBytes(`the priority is ${priority}`);
    // Members in the order of the bytes: an object literal is evaluated from top to bottom.
    return {
      type: "publish",
      codec: input.uint8(),
      priority,
      retain: (flags & publishFlag.retain) !== 0,
      seq: input.varint(),
      timestamp: input.varint(),
      topic: input.string(),
      id: input.string(),
      key: (flags & publishFlag.key) !== 0 ? input.string() : undefined,
      headers: (flags & publishFlag.headers) !== 0 ? this.#headers() : undefined,
      expiresAt: (flags & publishFlag.expiresAt) !== 0 ? input.varint() : undefined,
      deliverAt: (flags & publishFlag.deliverAt) !== 0 ? input.varint() : undefined,
      dedupId: (flags & publishFlag.dedupId) !== 0 ? input.string() : undefined,
      replyTo: (flags & publishFlag.replyTo) !== 0 ? input.string() : undefined,
      correlationId: (flags & publishFlag.correlationId) !== 0 ? input.string() : undefined,
      data: input.rest(),
    };
  }

  #headers(): Record<string, string> {
    const count = this.#in.count();
    const headers: Record<string, string> = {};
    for (let index = 0; index < count; index++) {
      const name = this.#in.string();
      const value = this.#in.string();
      // A plain assignment to "__proto__" would be lost.
      if (name === "__proto__")
        Object.defineProperty(headers, name, { value, enumerable: true, writable: true, configurable: true });
      else headers[name] = value;
    }
    return headers;
  }

  #settle(): SettleEntry {
    const input = this.#in;
    const outcome = pick(outcomes, input.uint8());
    const flags = input.uint8();
    if (flags > 3) throw new MalformedBytes(`the flags of a settle are ${flags}`);
    return {
      type: "settle",
      outcome,
      durable: input.string(),
      seq: input.varint(),
      deliveryCount: input.varint(),
      retryAt: (flags & settleFlag.retryAt) !== 0 ? input.varint() : undefined,
      reason: (flags & settleFlag.reason) !== 0 ? input.string() : undefined,
    };
  }

  #subscription(): SubscriptionEntry {
    const input = this.#in;
    const change = pick(changes, input.uint8());
    const name = input.string();
    const patterns = Array.from({ length: input.count() }, () => input.string());
    return { type: "subscription", change, name, patterns, position: input.varint(), options: input.block() };
  }

  #transaction(): TransactionEntry {
    const input = this.#in;
    const id = input.string();
    const timestamp = input.varint();
    const operations = Array.from({ length: input.count() }, () => this.#operation());
    return { type: "transaction", id, timestamp, operations };
  }

  #operation(): OperationEntry {
    const input = this.#in;
    const type = input.uint8();
    const length = input.uint8() + input.uint8() * 0x100 + input.uint8() * 0x10000 + input.uint8() * 0x1000000;
    if (type === recordType.transaction || type === recordType.checkpoint) {
      throw new MalformedBytes(`a transaction holds a record of type ${type}`);
    }
    return input.within(length, () => {
      const entry = type === recordType.publish ? this.#publish() : this.#other(type);
      if (entry === undefined) throw new MalformedBytes(`a transaction holds a record of type ${type}`);
      return entry as OperationEntry;
    });
  }
}

function unknownFlags(flags: number): Error {
  return (flags & recordFlag.encrypted) !== 0
    ? brokerError("ERR_WRONG_KEY", "The log holds encrypted records, and no key was given", { flags })
    : brokerError(
        "ERR_STORE_FAILED",
        `The log holds records with flags ${flags}, which this version does not know: a newer version of inproc-broker wrote it; open it with that version or a later one`,
        { flags },
      );
}

function pick<Value>(values: readonly Value[], index: number): Value {
  const value = values[index];
  if (value === undefined) throw new MalformedBytes(`${index} is none of the ${values.length} choices`);
  return value;
}
