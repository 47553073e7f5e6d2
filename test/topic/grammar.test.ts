import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BrokerError } from "../../src/errors.js";
import {
  checkPattern,
  checkTopic,
  coversPattern,
  patternsOverlap,
  defaultTopicLimits,
  firstToken,
  isLiteral,
  matchesPattern,
  standardDialect,
} from "../../src/topic/grammar.js";
import type { Dialect } from "../../src/topic/grammar.js";

const mqtt: Dialect = { separator: "/", one: "+", rest: "#", restMinimum: 0, systemPrefix: "$" };

function refusal(check: () => void): BrokerError {
  try {
    check();
  } catch (error) {
    if (error instanceof BrokerError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
const topicRefusal = (topic: unknown): BrokerError =>
  refusal(() => {
    checkTopic(topic, defaultTopicLimits);
  });
const patternRefusal = (pattern: unknown): BrokerError =>
  refusal(() => {
    checkPattern(pattern, defaultTopicLimits);
  });

const plain = [
  "a",
  "orders.eu.created",
  "Orders.EU",
  "__proto__",
  "constructor.prototype",
  "toString",
  "hasOwnProperty.valueOf",
  "$SYS.load",
  "a-b_c:d/e#+@",
  "0.1",
  "größe.naïve",
  "注文.作成",
  "заказ",
  "emoji.\u{1F600}",
  "\u{10FFFF}",
];

describe("checkTopic", () => {
  it.each(plain)("takes %j", (topic) => {
    checkTopic(topic, defaultTopicLimits);
    checkPattern(topic, defaultTopicLimits);
    expect(isLiteral(topic)).toBe(true);
  });

  it.each([
    [undefined, "must be a string, got undefined"],
    [null, "must be a string, got null"],
    [42, "must be a string, got 42"],
    [["a"], "must be a string, got an array of 1"],
    [{ toString: () => "a" }, "must be a string, got an object"],
    [new String("a"), "must be a string, got an object"],
    ["", "must not be empty"],
  ])("refuses %j", (topic, text) => {
    expect(topicRefusal(topic)).toMatchObject({ code: "ERR_INVALID_TOPIC" });
    expect(topicRefusal(topic).message).toContain(text);
    expect(patternRefusal(topic)).toMatchObject({ code: "ERR_INVALID_PATTERN" });
    expect(patternRefusal(topic).message).toContain(text);
  });

  it.each([
    [".", 1, 0],
    [".a", 1, 0],
    ["a.", 2, 2],
    ["orders..created", 2, 7],
    ["a.b.c..", 4, 6],
  ])("finds the empty token of %j", (value, token, index) => {
    for (const error of [topicRefusal(value), patternRefusal(value)]) {
      expect(error.facts).toMatchObject({ token, index });
      expect(error.message).toContain(`empty token: number ${token}, at index ${index}.`);
      expect(error.message).toContain(JSON.stringify(value));
    }
  });

  it("refuses every Unicode white space and control character, and only those", () => {
    const space = /[\s\p{White_Space}\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/u;
    for (let unit = 0; unit <= 0xffff; unit += 1) {
      const character = String.fromCharCode(unit);
      if (character === "." || character === "*" || character === ">") continue;
      const value = `a.b${character}c`;
      let isRefused = false;
      try {
        checkTopic(value);
      } catch {
        isRefused = true;
      }
      if (isRefused !== space.test(character)) {
        throw new Error(`U+${unit.toString(16)} is ${isRefused ? "refused" : "accepted"}`);
      }
    }
  });

  it.each([
    ["orders. created", 7, 2, "U+0020", "white space"],
    ["a\tb", 1, 1, "U+0009", "white space"],
    ["a.b\u0000", 3, 2, "U+0000", "a control character"],
    ["a.\u007f", 2, 2, "U+007F", "a control character"],
    ["a\u0085b", 1, 1, "U+0085", "a control character"],
    ["a\u00a0", 1, 1, "U+00A0", "white space"],
    ["a\u2028", 1, 1, "U+2028", "white space"],
    ["\ufeffa", 0, 1, "U+FEFF", "white space"],
    ["a.\ud83d", 2, 2, "U+D83D", "half a surrogate pair"],
    ["\ude00.a", 0, 1, "U+DE00", "half a surrogate pair"],
    ["\ude00\ud83d", 0, 1, "U+DE00", "half a surrogate pair"],
    ["\u{1f600}\ude00", 2, 1, "U+DE00", "half a surrogate pair"],
  ])("names the character that %j may not have", (value, index, token, character, name) => {
    for (const error of [topicRefusal(value), patternRefusal(value)]) {
      expect(error.facts).toMatchObject({ index, token, character });
      expect(error.message).toContain(`has ${name} (${character}) in token ${token}, at index ${index}.`);
    }
  });

  it.each([
    ["*", 0, 1],
    ["orders.>", 7, 2],
    ["orders.e*u.created", 8, 2],
    ["a>", 1, 1],
  ])("refuses the wildcard in topic %j", (topic, index, token) => {
    const error = topicRefusal(topic);
    expect(error.code).toBe("ERR_INVALID_TOPIC");
    expect(error.facts).toMatchObject({ topic, index, token });
    expect(error.message).toContain("Publish to a name without wildcards");
  });

  it("holds the limits to the character and the token", () => {
    const limits = { maxTopicLength: 10, maxTokens: 3 };
    checkTopic("a.b.cdefgh", limits);
    expect(
      refusal(() => {
        checkTopic("a.b.cdefghi", limits);
      }),
    ).toMatchObject({ facts: { length: 11, limit: 10 } });
    expect(
      refusal(() => {
        checkPattern("a.b.c.>", limits);
      }),
    ).toMatchObject({ code: "ERR_INVALID_PATTERN", facts: { limit: 3 } });
    checkTopic(new Array(32).fill("a").join("."));
    expect(topicRefusal(new Array(33).fill("a").join(".")).message).toContain("more than 32 tokens");
  });

  it("refuses a huge topic by its length alone and does not carry it along", () => {
    const huge = "a ".repeat(2 ** 19);
    const error = topicRefusal(huge);
    expect(error.facts).toEqual({ length: 2 ** 20, limit: 1024 });
    expect(error.message.length).toBeLessThan(300);
    expect(patternRefusal("a.".repeat(10_000) + "a").facts).toEqual({ length: 20_001, limit: 1024 });
  });
});

describe("checkPattern", () => {
  it.each(["*", ">", "a.*", "a.>", "*.*.*", "*.a.>", "__proto__.>", "a.*.b"])("takes %j", (pattern) => {
    checkPattern(pattern, defaultTopicLimits);
    expect(isLiteral(pattern)).toBe(false);
  });

  it.each([
    ["a*", 1, 1, "inside token 1"],
    ["a.*b", 2, 2, "inside token 2"],
    ["**", 0, 1, "inside token 1"],
    ["a.>>", 2, 2, "inside token 2"],
    ["a.b>", 3, 2, "inside token 2"],
    ["*>", 0, 1, "inside token 1"],
    [">.a", 0, 1, "Put it last"],
    ["a.>.b", 2, 2, "Put it last"],
    ["a.>.>", 2, 2, "Put it last"],
  ])("refuses %j", (pattern, index, token, text) => {
    const error = patternRefusal(pattern);
    expect(error.code).toBe("ERR_INVALID_PATTERN");
    expect(error.facts).toMatchObject({ pattern, index, token });
    expect(error.message).toContain(text);
    expect(error.message).toContain(JSON.stringify(pattern));
  });

  it("goes by the dialect", () => {
    checkPattern("a.b/+/#", defaultTopicLimits, mqtt);
    checkTopic("a.*/>", defaultTopicLimits, mqtt);
    expect(() => {
      checkTopic("a/+", defaultTopicLimits, mqtt);
    }).toThrow('wildcard "+"');
    expect(() => {
      checkPattern("a//b", defaultTopicLimits, mqtt);
    }).toThrow('remove the "/"');
    expect(() => {
      checkPattern("a/#/b", defaultTopicLimits, mqtt);
    }).toThrow("Put it last");
    expect(isLiteral("a.*", mqtt)).toBe(true);
    expect(isLiteral("a/#", mqtt)).toBe(false);
  });
});

describe("matchesPattern", () => {
  it.each([
    ["a", "a", true],
    ["a", "A", false],
    ["a", "a.b", false],
    ["a.b", "a", false],
    ["a.b", "a.b", true],
    ["*", "a", true],
    ["*", "a.b", false],
    ["a.*", "a.b", true],
    ["a.*", "a", false],
    ["*.b", "a.b", true],
    ["a.*.c", "a.b.c", true],
    ["a.*.c", "a.b.d", false],
    [">", "a", true],
    [">", "a.b.c", true],
    ["a.>", "a", false],
    ["a.>", "a.b", true],
    ["a.>", "a.b.c", true],
    ["a.>", "ab.c", false],
    ["*.>", "a", false],
    ["*.>", "$SYS.a", true],
    ["__proto__", "__proto__", true],
    ["*.constructor", "a.constructor", true],
    ["toString.>", "a.b", false],
  ])("%s against %s: %s", (pattern, topic, expected) => {
    expect(matchesPattern(pattern, topic)).toBe(expected);
    expect(matchesPattern(pattern, topic, standardDialect)).toBe(expected);
  });

  // The examples of MQTT 5.0, section 4.7.
  it.each([
    ["sport/tennis/player1/#", "sport/tennis/player1", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true],
    ["sport/#", "sport", true],
    ["#", "sport/tennis", true],
    ["sport/tennis/+", "sport/tennis/player1", true],
    ["sport/tennis/+", "sport/tennis/player1/ranking", false],
    ["sport/+", "sport", false],
    ["+/tennis/#", "sport/tennis", true],
    ["#", "$SYS/monitor", false],
    ["+/monitor/Clients", "$SYS/monitor/Clients", false],
    ["$SYS/#", "$SYS/monitor", true],
    ["$SYS/monitor/+", "$SYS/monitor/Clients", true],
    ["a/+", "a/$b", true],
  ])("in MQTT's dialect, %s against %s: %s", (pattern, topic, expected) => {
    expect(matchesPattern(pattern, topic, mqtt)).toBe(expected);
  });
});

describe("firstToken", () => {
  it("is the part before the first separator", () => {
    expect([firstToken("orders.eu.created"), firstToken("orders"), firstToken("a.b/c", mqtt)]).toEqual([
      "orders",
      "orders",
      "a.b",
    ]);
  });
});

describe("patternsOverlap", () => {
  it.each([
    ["a.b", "a.b", true],
    ["a.b", "a.c", false],
    ["a.*", "*.b", true],
    ["a.*", "a", false],
    ["a.>", "a", false],
    ["a.>", "a.b.c", true],
    ["a.>", "*.b.>", true],
    ["a.>", "b.>", false],
    [">", "x", true],
    ["*", "a.b", false],
  ])("%s and %s: %s", (left, right, overlaps) => {
    expect(patternsOverlap(left, right)).toBe(overlaps);
    expect(patternsOverlap(right, left)).toBe(overlaps);
  });
});

describe("coversPattern", () => {
  it.each([
    [">", "a", true],
    [">", "a.*.>", true],
    ["a.>", "a.b", true],
    ["a.>", "a.*", true],
    ["a.>", "a.>", true],
    ["a.>", "a", false],
    ["a.>", "*.b", false],
    ["a.*", "a.b", true],
    ["a.*", "a.*", true],
    ["a.*", "a.>", false],
    ["a.*", "a.b.c", false],
    ["a.*.c", "a.b.c", true],
    ["a.b", "a.b", true],
    ["a.b", "a.*", false],
    ["*", ">", false],
  ])("%s covers %s: %s", (cover, pattern, isCovered) => {
    expect(coversPattern(cover, pattern)).toBe(isCovered);
  });

  it("covers all that it matches, and nothing it does not match", () => {
    const token = fc.constantFrom("a", "b", "*");
    const pattern = fc
      .tuple(fc.array(token, { minLength: 1, maxLength: 3 }), fc.boolean())
      .map(([tokens, hasRest]) => [...tokens, ...(hasRest ? [">"] : [])].join("."));
    const topic = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 5 }).map((one) => one.join("."));
    fc.assert(
      fc.property(pattern, pattern, topic, (cover, covered, name) => {
        if (coversPattern(cover, covered) && matchesPattern(covered, name))
          expect(matchesPattern(cover, name)).toBe(true);
      }),
    );
  });
});
