import { matchesPattern } from "../topic/grammar.js";
import { PatternTrie } from "../topic/pattern-trie.js";
import { Topic } from "./durable.js";
import type { Durable } from "./durable.js";

/**
 * The topics that have messages, and which durables match each: found through the trie when a topic or a durable
 * comes, so that neither a publish nor an acknowledgement matches patterns.
 */
export class TopicTable {
  readonly #byName = new Map<string, Topic>();
  readonly #trie = new PatternTrie<Durable>();

  get size(): number {
    return this.#byName.size;
  }

  /** The topic, made when it is new. Call `release` when it may have lost its last message. */
  of(name: string): Topic {
    let topic = this.#byName.get(name);
    if (topic === undefined) {
      topic = new Topic(name);
      this.#trie.match(name, topic.durables);
      for (const durable of topic.durables) durable.topics.add(topic);
      this.#byName.set(name, topic);
    }
    return topic;
  }

  release(topic: Topic): void {
    if (topic.inLog > 0 || topic.blocks > 0) return;
    for (const durable of topic.durables) durable.topics.delete(topic);
    this.#byName.delete(topic.name);
  }

  addDurable(durable: Durable): void {
    for (const pattern of durable.patterns) this.#trie.add(pattern, durable);
    for (const topic of this.#byName.values()) {
      if (!durable.patterns.some((pattern) => matchesPattern(pattern, topic.name))) continue;
      topic.durables.push(durable);
      durable.topics.add(topic);
    }
  }

  removeDurable(durable: Durable): void {
    for (const pattern of durable.patterns) this.#trie.remove(pattern, durable);
    for (const topic of durable.topics) topic.durables = topic.durables.filter((other) => other !== durable);
    durable.topics.clear();
  }

  /** Topics that one of the patterns matches. */
  matching(patterns: readonly string[]): Set<Topic> {
    const found = new Set<Topic>();
    for (const topic of this.#byName.values()) {
      if (patterns.some((pattern) => matchesPattern(pattern, topic.name))) found.add(topic);
    }
    return found;
  }

  [Symbol.iterator](): IterableIterator<Topic> {
    return this.#byName.values();
  }
}
