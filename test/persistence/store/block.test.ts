import { describe, expect, it } from "vitest";
import type { Topic } from "../../../src/persistence/durable.js";
import { BlockBuilder } from "../../../src/persistence/store/block-builder.js";
import { Block } from "../../../src/persistence/store/block.js";
import { decodeFacts, encodeFacts } from "../../../src/persistence/store/block-facts.js";
import type { PublishEntry } from "../../../src/persistence/wal/entries.js";

const entry = (seq: number): PublishEntry => ({
  type: "publish",
  seq,
  timestamp: 1_700_000_000_000 + seq,
  topic: "a",
  id: `message-${seq}`,
  key: undefined,
  headers: undefined,
  priority: 4,
  expiresAt: undefined,
  deliverAt: undefined,
  dedupId: undefined,
  replyTo: undefined,
  correlationId: undefined,
  retain: false,
  codec: 1,
  data: Buffer.from(JSON.stringify({ seq })),
});

/** A block of messages that took so many bytes in the log, as it comes back from its facts. */
function blockOf(seqs: readonly number[], sizes: readonly number[]): Block {
  const builder = new BlockBuilder(true);
  for (const [at, seq] of seqs.entries()) builder.add(entry(seq), sizes[at] ?? 0);
  const { topic, facts } = decodeFacts(encodeFacts("a", { ...builder.finish().facts, storedBytes: 10 }));
  return new Block(1, 0, { name: topic } as Topic, facts, 0);
}

describe("the facts of a block", () => {
  const seqs = [7, 8, 200, 30_000];

  it.each([
    { case: "of different sizes", sizes: [100, 90, 70_000, 1] },
    { case: "of one size", sizes: [130, 130, 130, 130] },
  ])("tell what each of its messages took in the log: $case", ({ sizes }) => {
    const block = blockOf(seqs, sizes);
    expect([...block.seqs()]).toEqual(seqs);
    expect([...block.logSizes()]).toEqual(sizes);
    expect(block.facts.logBytes).toBe(sizes.reduce((sum, size) => sum + size));
  });

  it("take one number for messages of one size", () => {
    expect(blockOf(seqs, [130, 130, 130, 130]).facts.packedSizes).toHaveLength(0);
  });

  it("tell the mean of its raw bytes where an earlier version wrote them, which did not keep it", () => {
    const builder = new BlockBuilder(true);
    for (const seq of seqs) builder.add(entry(seq), 130);
    const { facts } = builder.finish();
    const encoded = encodeFacts("a", { ...facts, storedBytes: 10 });
    // They ended with a block of the numbers alone: here seven bytes, and their count in front.
    const withoutSizes = Buffer.from(encoded.subarray(0, encoded.length - 2));
    expect(withoutSizes[withoutSizes.length - facts.packedSeqs.length - 1]).toBe(facts.packedSeqs.length + 2);
    withoutSizes[withoutSizes.length - facts.packedSeqs.length - 1] = facts.packedSeqs.length;
    const block = new Block(1, 0, { name: "a" } as Topic, decodeFacts(withoutSizes).facts, 0);
    expect([...block.seqs()]).toEqual(seqs);
    expect([...block.logSizes()]).toEqual(seqs.map(() => facts.rawBytes / 4));
  });

  it("are damaged where there are fewer numbers than messages", () => {
    const builder = new BlockBuilder(true);
    for (const seq of [1, 2, 3]) builder.add(entry(seq), 10);
    const { facts } = builder.finish();
    const encoded = encodeFacts("a", { ...facts, storedBytes: 10, count: 9 });
    expect(() => decodeFacts(encoded)).toThrow("too few numbers");
  });
});
