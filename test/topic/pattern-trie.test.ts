import { describe, expect, it } from "vitest";
import { PatternTrie } from "../../src/topic/pattern-trie.js";

const matchesOf = <T>(trie: PatternTrie<T>, topic: string): T[] => trie.match(topic, []).sort();

describe("PatternTrie", () => {
  it("finds literal and wildcard patterns", () => {
    const trie = new PatternTrie<string>();
    for (const pattern of ["a.b", "a.*", "a.>", "*.b", ">", "*", "a", "a.b.c", "a.b.>"]) {
      expect(trie.add(pattern, pattern)).toBe(true);
    }
    expect(matchesOf(trie, "a.b")).toEqual(["*.b", ">", "a.*", "a.>", "a.b"].sort());
    expect(matchesOf(trie, "a")).toEqual(["*", ">", "a"].sort());
    expect(matchesOf(trie, "a.b.c")).toEqual([">", "a.>", "a.b.>", "a.b.c"].sort());
    expect(matchesOf(trie, "x.y.z")).toEqual([">"]);
  });

  it("appends to what the caller passes", () => {
    const trie = new PatternTrie<string>();
    trie.add("a.*", "x");
    const into = ["x"];
    expect(trie.match("a.b", into)).toBe(into);
    expect(into).toEqual(["x", "x"]);
  });

  it("gives a value once, under however many patterns it was added", () => {
    const trie = new PatternTrie<string>();
    for (const pattern of ["a.b", "a.*", "a.>", ">"]) trie.add(pattern, "x");
    trie.add("*.b", "y");
    for (let round = 0; round < 3; round += 1) expect(matchesOf(trie, "a.b")).toEqual(["x", "y"]);
    for (const pattern of ["a.b", "a.*", "a.>"]) trie.remove(pattern, "x");
    expect(matchesOf(trie, "a.b")).toEqual(["x", "y"]);
    trie.remove(">", "x");
    expect(matchesOf(trie, "a.b")).toEqual(["y"]);
  });

  it("knows a pair once", () => {
    const trie = new PatternTrie<string>();
    expect([trie.add("a.*", "x"), trie.add("a.*", "x"), trie.add("a.*", "y"), trie.add("a", "x")]).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(trie.size).toBe(3);
    expect([trie.remove("a.*", "x"), trie.remove("a.*", "x"), trie.remove("b.*", "y")]).toEqual([true, false, false]);
    expect(trie.remove("a.*", "unknown")).toBe(false);
    expect(trie.size).toBe(2);
    expect([...trie]).toEqual([
      ["a", "x"],
      ["a.*", "y"],
    ]);
    expect(trie.isEmpty).toBe(false);
    trie.remove("a", "x");
    trie.remove("a.*", "y");
    expect([trie.isEmpty, [...trie], trie.match("a", [])]).toEqual([true, [], []]);
  });

  it("has no tokens that mean something to JavaScript", () => {
    const trie = new PatternTrie<string>();
    for (const token of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      expect(trie.match(token, [])).toEqual([]);
      trie.add(`${token}.*`, token);
      expect(trie.match(`${token}.__proto__`, [])).toEqual([token]);
      trie.add(token, token);
      expect(trie.match(token, [])).toEqual([token]);
    }
    expect(trie.match("valueOf.a", [])).toEqual([]);
  });

  it("removing a pattern leaves those that share its path", () => {
    const trie = new PatternTrie<string>();
    const patterns = ["a.*.c", "a.*.c.>", "a.*", "a.b.*", "a.>", "*.*.c"];
    for (const pattern of patterns) trie.add(pattern, pattern);
    for (const [index, pattern] of patterns.entries()) {
      trie.remove(pattern, pattern);
      const left = patterns.slice(index + 1);
      expect([...trie].map(([each]) => each).sort()).toEqual([...left].sort());
      expect(matchesOf(trie, "a.b.c")).toEqual(left.filter((each) => !["a.*.c.>", "a.*"].includes(each)).sort());
    }
  });

  it("matches patterns of many tokens", () => {
    const trie = new PatternTrie<string>();
    const stars = new Array(32).fill("*").join(".");
    const rest = [...new Array(31).fill("a"), ">"].join(".");
    trie.add(stars, "stars");
    trie.add(rest, "rest");
    expect(matchesOf(trie, new Array(32).fill("a").join("."))).toEqual(["rest", "stars"]);
    expect(matchesOf(trie, new Array(31).fill("a").join("."))).toEqual([]);
    expect(matchesOf(trie, new Array(33).fill("a").join("."))).toEqual(["rest"]);
  });

  it("can be matched again while the caller handles a match", () => {
    const trie = new PatternTrie<string>();
    trie.add("a.*", "x");
    trie.add("a.>", "x");
    trie.add("*.b", "y");
    for (const value of trie.match("a.b", [])) {
      expect(matchesOf(trie, "a.b")).toEqual(["x", "y"]);
      trie.add("a.b", value);
    }
    expect(matchesOf(trie, "a.b")).toEqual(["x", "y"]);
  });

  it("keeps nothing of the patterns that were removed", async () => {
    const { setFlagsFromString } = await import("node:v8");
    const { runInNewContext } = await import("node:vm");
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const trie = new PatternTrie<number>();
    trie.add("keep.*.this", -1);
    const churn = (round: number) => {
      for (let index = 0; index < 20_000; index += 1) {
        const path = `r${round}n${index}.x`;
        for (const pattern of [`${path}.*`, `*.${path}.>`, `${path}.literal`]) {
          trie.add(pattern, index);
          trie.remove(pattern, index);
        }
      }
    };
    churn(0);
    gc();
    const before = process.memoryUsage().heapUsed;
    churn(1);
    gc();
    // A node and its maps take some 300 bytes: 40,000 patterns left behind would be 12 MB and more.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(2 * 2 ** 20);
    expect([...trie]).toEqual([["keep.*.this", -1]]);
  });
});
