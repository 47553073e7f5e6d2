import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BrokerError } from "../../src/errors.js";
import { checkPattern, checkTopic, isLiteral, matchesPattern, standardDialect } from "../../src/topic/grammar.js";
import type { Dialect } from "../../src/topic/grammar.js";
import { topicHash } from "../../src/topic/hash.js";
import { PatternTrie } from "../../src/topic/pattern-trie.js";

const mqtt: Dialect = { separator: "/", one: "+", rest: "#", restMinimum: 0, systemPrefix: "$" };
const strictMqtt: Dialect = { ...mqtt, restMinimum: 1 };
const dialects: [string, Dialect][] = [
  ["the standard dialect", standardDialect],
  ["MQTT's dialect", mqtt],
  ["a dialect with $ and a minimum", strictMqtt],
];

/** Few and short tokens, so that random patterns and topics meet; some that are names in JavaScript. */
const token = fc.constantFrom("a", "b", "ab", "__proto__", "constructor", "$S", "ü\u{1F600}");

const topicIn = ({ separator }: Dialect) =>
  fc.array(token, { minLength: 1, maxLength: 5 }).map((tokens) => tokens.join(separator));

const patternIn = ({ separator, one, rest }: Dialect) =>
  fc
    .tuple(
      fc.array(fc.oneof(token, token, fc.constant(one)), { maxLength: 4 }),
      fc.oneof(token, fc.constantFrom(one, rest)),
    )
    .map(([tokens, last]) => [...tokens, last].join(separator));

/** What matching means, said in another way: through a regular expression. */
function matchesByRegExp(pattern: string, topic: string, dialect: Dialect): boolean {
  const { separator, one, rest, restMinimum, systemPrefix } = dialect;
  const escape = (text: string) =>
    text.replace(/[^\w]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
  const any = `[^${escape(separator)}]+`;
  const tokens = pattern.split(separator);
  if (systemPrefix !== undefined && topic.startsWith(systemPrefix) && [one, rest].includes(tokens[0]!)) return false;
  const more = `(?:${escape(separator)}${any})`;
  let source = "";
  for (const [index, each] of tokens.entries()) {
    if (each === rest) {
      if (index === 0) source = `${any}${more}*`;
      else source += `${more}${restMinimum === 0 ? "*" : "+"}`;
    } else {
      source += (index === 0 ? "" : escape(separator)) + (each === one ? any : escape(each));
    }
  }
  return new RegExp(`^${source}$`, "u").test(topic);
}

describe.each(dialects)("in %s", (_, dialect) => {
  const topic = topicIn(dialect);
  const pattern = patternIn(dialect);

  it("matchesPattern agrees with a regular expression", () => {
    fc.assert(
      fc.property(pattern, topic, (p, t) => {
        checkPattern(p, undefined, dialect);
        checkTopic(t, undefined, dialect);
        expect(matchesPattern(p, t, dialect)).toBe(matchesByRegExp(p, t, dialect));
        expect(matchesPattern(t, t, dialect)).toBe(true);
        expect(isLiteral(t, dialect)).toBe(true);
        if (isLiteral(p, dialect)) expect(matchesPattern(p, t, dialect)).toBe(p === t);
      }),
      { numRuns: 1000 },
    );
  });

  it("PatternTrie finds what matchesPattern finds, while pairs come and go", () => {
    const value = fc.integer({ min: 0, max: 5 });
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ action: fc.constant("add" as const), pattern, value }) },
      { weight: 2, arbitrary: fc.record({ action: fc.constant("remove" as const), pattern, value }) },
      {
        weight: 3,
        arbitrary: fc.record({ action: fc.constant("remove one" as const), index: fc.nat() }),
      },
      { weight: 4, arbitrary: fc.record({ action: fc.constant("match" as const), topic }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), topic, (steps, lastTopic) => {
        const trie = new PatternTrie<number>(dialect);
        let pairs: [string, number][] = [];
        const check = (t: string) => {
          const expected = new Set(pairs.filter(([p]) => matchesPattern(p, t, dialect)).map(([, v]) => v));
          expect(trie.match(t, []).sort()).toEqual([...expected].sort());
        };
        const remove = (p: string, v: number) => {
          const before = pairs.length;
          pairs = pairs.filter(([q, w]) => q !== p || w !== v);
          expect(trie.remove(p, v)).toBe(pairs.length < before);
        };
        for (const each of steps) {
          if (each.action === "match") check(each.topic);
          else if (each.action === "remove one") {
            const pair = pairs[each.index % pairs.length];
            if (pair !== undefined) remove(...pair);
          } else if (each.action === "remove") remove(each.pattern, each.value);
          else {
            const isNew = !pairs.some(([p, v]) => p === each.pattern && v === each.value);
            expect(trie.add(each.pattern, each.value)).toBe(isNew);
            if (isNew) pairs.push([each.pattern, each.value]);
          }
          expect(trie.size).toBe(pairs.length);
        }
        check(lastTopic);
        expect([...trie].map(String).sort()).toEqual(pairs.map(String).sort());
        for (const [p, v] of pairs) expect(trie.remove(p, v)).toBe(true);
        expect(trie.isEmpty).toBe(true);
        expect(trie.match(lastTopic, [])).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

describe("checkTopic and checkPattern", () => {
  const anything = fc.oneof(
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.string({ unit: fc.constantFrom("a", ".", "*", ">", " ", "\ud83d", "\ude00", "ü"), maxLength: 8 }),
    fc.anything(),
  );

  it("throw their one error for anything that is not valid, and a valid topic is a valid pattern", () => {
    const accepts = (check: (value: unknown) => void, code: string, value: unknown): boolean => {
      try {
        check(value);
        return true;
      } catch (error) {
        expect(error).toBeInstanceOf(BrokerError);
        expect((error as BrokerError).code).toBe(code);
        return false;
      }
    };
    fc.assert(
      fc.property(anything, (value) => {
        const isTopic = accepts(
          (each) => {
            checkTopic(each);
          },
          "ERR_INVALID_TOPIC",
          value,
        );
        const isPattern = accepts(
          (each) => {
            checkPattern(each);
          },
          "ERR_INVALID_PATTERN",
          value,
        );
        const tokens = typeof value === "string" ? value.split(".") : [""];
        const isPlain = (each: string) => /^[^\s\p{Cc}\p{Cs}*>]+$/u.test(each);
        expect(isTopic).toBe(tokens.every(isPlain));
        expect(isPattern).toBe(
          tokens.every((each, index) => isPlain(each) || each === "*" || (each === ">" && index === tokens.length - 1)),
        );
      }),
      { numRuns: 2000 },
    );
  });
});

describe("topicHash", () => {
  it("is an unsigned 32-bit number that depends on the topic alone", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (topic) => {
        const hash = topicHash(topic);
        expect(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 32).toBe(true);
        expect(topicHash(topic.slice(0, 1) + topic.slice(1))).toBe(hash);
      }),
    );
  });
});
