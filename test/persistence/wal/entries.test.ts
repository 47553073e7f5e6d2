import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MalformedBytes } from "../../../src/persistence/wal/byte-reader.js";
import { ByteWriter } from "../../../src/persistence/wal/byte-writer.js";
import { carriesMessages } from "../../../src/persistence/wal/entries.js";
import type { OperationEntry, WalEntry } from "../../../src/persistence/wal/entries.js";
import { encodeEntry, EntryDecoder } from "../../../src/persistence/wal/entry-codec.js";
import { recordFlag } from "../../../src/persistence/wal/record.js";
import { fullEntries, plain, publishEntry, settleEntry } from "./fixture.js";

const anyString = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.string({ maxLength: 20 }),
  fc.constantFrom("", "\ud800", "a\udfffb", "é".repeat(70), "__proto__", "x".repeat(63), "x".repeat(64)),
);
const anyNumber = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc.constantFrom(2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
const anyBytes = fc.uint8Array({ maxLength: 300 });
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined });

const publish = fc.record({
  type: fc.constant("publish" as const),
  seq: anyNumber,
  timestamp: anyNumber,
  topic: anyString,
  id: anyString,
  key: maybe(anyString),
  headers: maybe(fc.dictionary(anyString, anyString, { maxKeys: 5 })),
  priority: fc.nat(9),
  expiresAt: maybe(anyNumber),
  deliverAt: maybe(anyNumber),
  dedupId: maybe(anyString),
  replyTo: maybe(anyString),
  correlationId: maybe(anyString),
  retain: fc.boolean(),
  codec: fc.nat(255),
  data: anyBytes,
});
const settle = fc.record({
  type: fc.constant("settle" as const),
  durable: anyString,
  seq: anyNumber,
  outcome: fc.constantFrom("ack" as const, "reject" as const, "dead" as const, "expired" as const, "attempt" as const),
  deliveryCount: anyNumber,
  retryAt: maybe(anyNumber),
  reason: maybe(anyString),
});
const subscription = fc.record({
  type: fc.constant("subscription" as const),
  change: fc.constantFrom("created" as const, "changed" as const, "deleted" as const),
  name: anyString,
  patterns: fc.array(anyString, { maxLength: 4 }),
  options: anyBytes,
  position: anyNumber,
});
const extension = fc.record({ type: fc.constant("extension" as const), name: anyString, data: anyBytes });
const operation: fc.Arbitrary<OperationEntry> = fc.oneof(publish, settle, subscription, extension);
const transaction = fc.record({
  type: fc.constant("transaction" as const),
  id: anyString,
  timestamp: anyNumber,
  operations: fc.array(operation, { maxLength: 6 }),
});
const checkpoint = fc.record({
  type: fc.constant("checkpoint" as const),
  lsn: anyNumber,
  seq: anyNumber,
  data: anyBytes,
});
const anyEntry: fc.Arbitrary<WalEntry> = fc.oneof(operation, transaction, checkpoint);

const decoder = new EntryDecoder();

function encode(entry: WalEntry): { type: number; bytes: Buffer } {
  const out = new ByteWriter(8);
  const type = encodeEntry(out, entry);
  return { type, bytes: Buffer.from(out.bytes.subarray(0, out.length)) };
}

describe("entries", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        const { type, bytes } = encode(entry);
        const framed = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after")]);
        expect(plain(decoder.decode(type, 0, framed, 6, 6 + bytes.length))).toEqual(plain(entry));
      }),
    );
  });

  it("come back as they were, one of each kind with every member", () => {
    for (const entry of fullEntries()) {
      const { type, bytes } = encode(entry);
      expect(plain(decoder.decode(type, 0, bytes, 0, bytes.length))).toEqual(plain(entry));
    }
  });

  it("never read beyond their bytes, nor take memory for lengths that bytes only claim", () => {
    fc.assert(
      fc.property(anyEntry, fc.nat(), fc.nat(255), fc.nat(), (entry, at, byte, cut) => {
        const { type, bytes } = encode(entry);
        if (bytes.length > 0) bytes[at % bytes.length] = byte;
        const end = bytes.length === 0 ? 0 : cut % (bytes.length + 1);
        try {
          decoder.decode(type, 0, bytes, 0, end);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedBytes);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("of an unknown type are passed over when they allow it, and refused otherwise", () => {
    expect(decoder.decode(30, recordFlag.mayIgnore, Buffer.from("new"), 0, 3)).toBeUndefined();
    expect(() => decoder.decode(30, 0, Buffer.from("new"), 0, 3)).toThrow(/newer version/);
    expect(() => decoder.decode(1, 128, Buffer.from("new"), 0, 3)).toThrow(/newer version/);
    expect(() => decoder.decode(1, recordFlag.encrypted, Buffer.from("new"), 0, 3)).toThrow(
      expect.objectContaining({ code: "ERR_WRONG_KEY" }) as Error,
    );
  });

  it("with a number that is none are refused", () => {
    for (const seq of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
      expect(() => encode(publishEntry(0, { seq }))).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_MESSAGE" }) as Error,
      );
    }
    expect(() => encode(publishEntry(1, { priority: 10 }))).toThrow(/priority/);
  });

  it("count as carrying messages only when they do", () => {
    expect(carriesMessages(publishEntry(1))).toBe(true);
    expect(carriesMessages(settleEntry(1))).toBe(false);
    const acks = { type: "transaction" as const, id: "t", timestamp: 1, operations: [settleEntry(1)] };
    expect(carriesMessages(acks)).toBe(false);
    expect(carriesMessages({ ...acks, operations: [settleEntry(1), publishEntry(2)] })).toBe(true);
  });
});
