import { expect, it } from "vitest";
import { Durable } from "../../../src/persistence/durable.js";
import type { Topic } from "../../../src/persistence/durable.js";
import { limitFloor } from "../../../src/persistence/limit-floor.js";
import { LogIndex } from "../../../src/persistence/log-index.js";
import type { PackedFacts } from "../../../src/persistence/store/block-facts.js";
import { Block } from "../../../src/persistence/store/block.js";

// The highest number was found by a call with an argument for each block: a RangeError from some 120,000 on.
it("a limit is found among as many blocks as there are topics", () => {
  const blocks = Array.from({ length: 200_000 }, (_, index) => {
    const seq = index + 1;
    const facts = {
      firstSeq: seq,
      lastSeq: seq,
      count: 1,
      logBytes: 10,
      isUnclaimed: true,
      packedSeqs: Buffer.alloc(0),
      packedSizes: Buffer.alloc(0),
    };
    return new Block(1, index, { durables: [] } as unknown as Topic, facts as unknown as PackedFacts, 0);
  });
  const floorOf = (maxBytes: number): number =>
    limitFloor({
      index: new LogIndex(),
      generations: [{ blocks, firstSeq: 1, lastSeq: blocks.length }],
      consumed: new Durable({ name: "", patterns: [], options: null, start: 0, floor: 0 }),
      retention: { policy: "limits", maxAgeMs: Infinity, maxMessages: Infinity, maxBytes },
      floor: 0,
      blockTotals: () => ({ messages: blocks.length, logBytes: 10 * blocks.length }),
    });
  expect(floorOf(1)).toBe(199_999);
  expect(floorOf(35)).toBe(199_997);
  expect(floorOf(2_000_000)).toBe(0);
});
