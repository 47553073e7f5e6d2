import type { PublishedMessage } from "../message/message.js";
import { matchesPattern } from "../topic/grammar.js";
import { PatternTrie } from "../topic/pattern-trie.js";
import type { StandardSchema } from "./schema.js";
import type { Settings } from "./settings.js";

/** What belongs to a topic besides its subscriptions. */
export interface TopicFacts {
  readonly schema: StandardSchema | null;
  /** Takes the answers to requests; null for every ordinary topic. */
  readonly inbox: Inbox | null;
  /** True where its messages go through the store. */
  readonly isStored: boolean;
  /** True where a message needs nothing but its route: it goes to no inbox and no store. */
  readonly isDirect: boolean;
}

/** Where answers to requests go. */
export interface Inbox {
  /** Takes an answer; false where nobody waits for it any more. */
  answer(message: PublishedMessage): boolean;
}

/** Works out what belongs to a topic: its schema (by exact name or by pattern), and whether it is an inbox. */
export function topicFactsOf(
  settings: Settings,
  requests: Inbox & { readonly prefix: string },
): (topic: string) => TopicFacts {
  const schemas = new PatternTrie<StandardSchema>();
  for (const [pattern, schema] of Object.entries(settings.schemas)) schemas.add(pattern, schema);
  const plain: TopicFacts = { schema: null, inbox: null, isStored: false, isDirect: true };
  const stored: TopicFacts = { schema: null, inbox: null, isStored: true, isDirect: false };
  const inbox: TopicFacts = { schema: null, inbox: requests, isStored: false, isDirect: false };
  const storedPatterns = settings.persistence?.topics ?? [];
  return (topic) => {
    if (topic.startsWith(requests.prefix)) return inbox;
    const isStored = storedPatterns.length > 0 && storedPatterns.some((pattern) => matchesPattern(pattern, topic));
    const facts = isStored ? stored : plain;
    if (schemas.isEmpty) return facts;
    // An exact name says more than a pattern.
    const schema = Object.hasOwn(settings.schemas, topic) ? settings.schemas[topic] : schemas.match(topic, [])[0];
    return schema === undefined ? facts : { ...facts, schema };
  };
}
