import type { MemoryBudget } from "../dispatch/memory-budget.js";
import { brokerError } from "../errors.js";
import type { PublishedMessage } from "../message/message.js";

/** The last message of each topic that was published with `retain: true`. Bounded: one topic too many is refused. */
export class RetainedMessages {
  readonly #byTopic = new Map<string, PublishedMessage>();
  readonly #max: number;
  readonly #memory: MemoryBudget;

  constructor(max: number, memory: MemoryBudget) {
    this.#max = max;
    this.#memory = memory;
  }

  get size(): number {
    return this.#byTopic.size;
  }

  has(topic: string): boolean {
    return this.#byTopic.has(topic);
  }

  /** Throws `ERR_LIMIT_EXCEEDED` where `newTopics` more would be too many. */
  requireRoom(topic: string, newTopics: number): void {
    if (this.#byTopic.has(topic) || this.#byTopic.size + newTopics <= this.#max) return;
    throw brokerError(
      "ERR_LIMIT_EXCEEDED",
      `${this.#byTopic.size} topics have a retained message, as many as limits.maxRetained allows; ` +
        `clear some by publishing null with retain: true, or raise it`,
      { limit: "maxRetained", maxRetained: this.#max, topic },
    );
  }

  /** Keeps the message as its topic's last; one with `null` data clears it. */
  keep(message: PublishedMessage): void {
    const before = this.#byTopic.get(message.topic);
    if (message.data === null) this.#byTopic.delete(message.topic);
    else {
      this.#memory.hold(message);
      this.#byTopic.set(message.topic, message);
    }
    if (before !== undefined) this.#memory.release(before);
  }

  /** Those that are not expired, in the order they were published. Expired ones go. */
  matching(isMatch: (topic: string) => boolean, now: number): PublishedMessage[] {
    const found: PublishedMessage[] = [];
    for (const message of this.#byTopic.values()) {
      if (message.expiresAtMs !== 0 && message.expiresAtMs <= now) {
        this.#byTopic.delete(message.topic);
        this.#memory.release(message);
      } else if (isMatch(message.topic)) found.push(message);
    }
    return found.sort((a, b) => a.seq - b.seq);
  }

  clear(): void {
    for (const message of this.#byTopic.values()) this.#memory.release(message);
    this.#byTopic.clear();
  }
}
