// What a look-up costs that the match cache cannot answer: validation, match, hash.
// Needs the build: npm run build && node bench/micro/topic.mjs
import { checkTopic, defaultTopicLimits, matchesPattern } from "../../dist/topic/grammar.js";
import { topicHash } from "../../dist/topic/hash.js";
import { PatternTrie } from "../../dist/topic/pattern-trie.js";
import { compare, environment } from "./collections-measure.mjs";

const rounds = 100_000;
// Flat strings, as they come from a parser, and too many for the first level of cache.
const topics = Array.from({ length: 20_000 }, (_, index) =>
  Buffer.from(`orders.${index % 1000}.created${index}`).toString("latin1"),
);

const matching = (patternOf, patterns) => {
  const trie = new PatternTrie();
  for (let index = 0; index < patterns; index += 1) trie.add(patternOf(index), index);
  const into = [];
  return () => {
    let found = 0;
    for (let i = 0; i < rounds; i += 1) {
      const topic = topics[i % topics.length];
      checkTopic(topic, defaultTopicLimits);
      into.length = 0;
      found += trie.match(topic, into).length;
    }
    return found;
  };
};
const scanning = (patternOf, patterns) => {
  const all = Array.from({ length: patterns }, (_, index) => patternOf(index));
  return () => {
    let found = 0;
    for (let i = 0; i < rounds / 100; i += 1) {
      const topic = topics[i % topics.length];
      checkTopic(topic, defaultTopicLimits);
      for (const pattern of all) if (matchesPattern(pattern, topic)) found += 1;
    }
    return found * 100;
  };
};
const each = (use) => () => {
  for (let i = 0; i < rounds; i += 1) use(topics[i % topics.length]);
  return rounds;
};

console.log(JSON.stringify(environment()));
compare("parts", rounds, {
  checkTopic: each((topic) => checkTopic(topic, defaultTopicLimits)),
  topicHash: each(topicHash),
  "matchesPattern, one pattern": each((topic) => matchesPattern("orders.*.updated", topic)),
});
const numbered = (index) => `orders.${index}.*`;
const kinds = (index) => (index % 2 === 0 ? `orders.${index >> 1}.>` : `*.${index >> 1}.*`);
compare("check and match, one of the patterns matches", rounds, {
  "1,000 wildcard patterns": matching(numbered, 1000),
  "100,000 wildcard patterns": matching(numbered, 100_000),
});
compare("check and match, two branches all the way", rounds, {
  "2,000 wildcard patterns": matching(kinds, 2000),
  "200,000 wildcard patterns": matching(kinds, 200_000),
});
compare("against a scan of 1,000 patterns (a hundredth of the rounds)", rounds, {
  PatternTrie: matching(numbered, 1000),
  "matchesPattern on each, ns / 100": scanning(numbered, 1000),
});
