import { brokerError } from "../errors.js";
import { Durable } from "./durable.js";
import type { AttemptState, DurableOperation } from "./operations.js";
import { SeqSet } from "./seq-set.js";
import type { TopicTable } from "./topics.js";
import { ByteReader } from "./wal/byte-reader.js";
import { ByteWriter } from "./wal/byte-writer.js";

/** The durables of a store, and the one place that changes them. */
export class DurableTable {
  readonly #byName = new Map<string, Durable>();
  readonly #topics: TopicTable;

  constructor(topics: TopicTable) {
    this.#topics = topics;
  }

  get size(): number {
    return this.#byName.size;
  }

  get(name: string): Durable | undefined {
    return this.#byName.get(name);
  }

  apply({ change, name, patterns, position, options }: Omit<DurableOperation, "type">): void {
    const old = this.#byName.get(name);
    if (change === "deleted") {
      if (old !== undefined) this.#remove(old);
      return;
    }
    const before = Math.max(1, position);
    if (change === "changed" && old !== undefined) {
      const former = [...old.former, { before, patterns: old.patterns }];
      const { start, floor, settled, attempts } = old;
      this.put(
        new Durable({ name, patterns, options: withFacts(options, old), start, floor, settled, attempts, former }),
      );
      return;
    }
    this.put(new Durable({ name, patterns, options, start: before - 1, floor: before - 1 }));
  }

  /** Puts a durable there, in place of one of its name. */
  put(durable: Durable): void {
    const old = this.#byName.get(durable.name);
    if (old !== undefined) this.#remove(old);
    this.#byName.set(durable.name, durable);
    this.#topics.addDurable(durable);
  }

  #remove(durable: Durable): void {
    this.#byName.delete(durable.name);
    this.#topics.removeDurable(durable);
  }

  [Symbol.iterator](): IterableIterator<Durable> {
    return this.#byName.values();
  }
}

/** What the store itself keeps in the options stays, whatever they are changed to. */
function withFacts(options: unknown, { isReader, notBefore }: Durable): unknown {
  if (!isReader && notBefore === 0) return options;
  return { ...(options as object | null | undefined), isReader, notBefore };
}

/** A durable as bytes; described in docs/format/store.md. */
export function encodeDurable(durable: Durable): Uint8Array {
  const out = new ByteWriter(256);
  out.string(durable.name);
  encodePatterns(out, durable.patterns);
  out.string(JSON.stringify(durable.options ?? null));
  out.varint(durable.start);
  out.varint(durable.floor);
  durable.settled.encode(out);
  out.varint(durable.attempts.size);
  for (const [seq, { deliveryCount, retryAt, reason }] of durable.attempts) {
    out.varint(seq);
    out.varint(deliveryCount);
    out.varint(retryAt === undefined ? 0 : retryAt + 1);
    out.string(reason ?? "");
  }
  out.varint(durable.former.length);
  for (const { before, patterns } of durable.former) {
    out.varint(before);
    encodePatterns(out, patterns);
  }
  return new Uint8Array(out.bytes.subarray(0, out.length));
}

export function decodeDurable(bytes: Uint8Array): Durable {
  const input = new ByteReader();
  input.reset(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.byteLength);
  const name = input.string();
  const patterns = decodePatterns(input);
  const options = JSON.parse(input.string()) as unknown;
  const start = input.varint();
  const floor = input.varint();
  const settled = SeqSet.decode(input);
  const attempts = new Map<number, AttemptState>();
  for (let left = input.count(); left > 0; left--) {
    const seq = input.varint();
    const deliveryCount = input.varint();
    const retryAt = input.varint();
    const reason = input.string();
    attempts.set(seq, {
      deliveryCount,
      retryAt: retryAt === 0 ? undefined : retryAt - 1,
      reason: reason === "" ? undefined : reason,
    });
  }
  const former = Array.from({ length: input.count() }, () => ({
    before: input.varint(),
    patterns: decodePatterns(input),
  }));
  input.finish();
  return new Durable({ name, patterns, options, start, floor, settled, attempts, former });
}

function encodePatterns(out: ByteWriter, patterns: readonly string[]): void {
  out.varint(patterns.length);
  for (const pattern of patterns) out.string(pattern);
}

function decodePatterns(input: ByteReader): string[] {
  return Array.from({ length: input.count() }, () => input.string());
}

export function unknownDurable(name: string): Error {
  return brokerError("ERR_INVALID_OPTION", `The store has no durable ${JSON.stringify(name)}`, { durable: name });
}
