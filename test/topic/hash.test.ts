import { describe, expect, it } from "vitest";
import { topicHash } from "../../src/topic/hash.js";

/** The fold undoes itself: what is left is the hash as the algorithm's authors define it. */
const unfolded = (topic: string): number => {
  const hash = topicHash(topic);
  return (hash ^ (hash >>> 16)) >>> 0;
};

describe("topicHash", () => {
  // From the test vectors that come with the FNV reference code.
  it.each([
    ["", 0x811c9dc5],
    ["a", 0xe40c292c],
    ["b", 0xe70c2de5],
    ["foobar", 0xbf9cf968],
  ])("is FNV-1a for %j, folded", (topic, expected) => {
    expect(unfolded(topic)).toBe(expected);
  });

  it("is an unsigned 32-bit number for any string", () => {
    for (const topic of ["", "orders.eu.created", "注文.\u{1F600}", "x".repeat(1024)]) {
      const hash = topicHash(topic);
      expect(hash).toBe(hash >>> 0);
      expect(topicHash(topic)).toBe(hash);
    }
  });

  const letters = "abcdefghijklmnopqrstuvwxyz";
  it.each<[string, (index: number) => string]>([
    ["a number at the end", (index) => `orders.${index}`],
    ["a number in the middle", (index) => `tenant.${index}.created`],
    ["a padded number", (index) => `sensor.${String(index).padStart(8, "0")}.temperature`],
    ["a number of steps of 16", (index) => `device-${index * 16}`],
    ["hexadecimal digits", (index) => `session.${(index * 2654435761).toString(16)}`],
    [
      "letters",
      (index) =>
        `eu.${letters[index % 26]!}${letters[Math.floor(index / 26) % 26]!}${letters[Math.floor(index / 676) % 26]!}`,
    ],
    ["two numbers", (index) => `a.${index % 100}.b.${Math.floor(index / 100)}`],
  ])("spreads topics with %s evenly over 16 shards", (_, topicOf) => {
    const topics = 16_000;
    const shards = new Array<number>(16).fill(0);
    for (let index = 0; index < topics; index += 1) shards[topicHash(topicOf(index)) & 15]! += 1;
    // Chi-squared with 15 degrees of freedom: chance alone exceeds 37.7 once in a thousand.
    const expected = topics / 16;
    const chiSquared = shards.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chiSquared).toBeLessThan(37.7);
  });

  it("parts topics that differ in one character only", () => {
    const shards = new Set(["a", "q", "A", "Q", "1", "5"].map((letter) => topicHash(`tenant.${letter}`) & 15));
    expect(shards.size).toBeGreaterThan(2);
  });
});
