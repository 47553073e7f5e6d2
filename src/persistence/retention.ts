import type { Topic } from "./durable.js";
import { needOf } from "./need.js";
import type { Need } from "./need.js";
import type { RetentionSettings } from "./retention-settings.js";
import type { StoreState } from "./state.js";
import type { Block } from "./store/block.js";

/**
 * Decides what is kept. The same answer serves readers and removal, so what a reader sees does not depend on whether
 * a checkpoint has come by yet; except that limits by bytes and count fall on whole blocks.
 */
export class Retention {
  readonly #state: Pick<StoreState, "consumed" | "retention">;
  readonly #now: () => number;

  constructor(state: Pick<StoreState, "consumed" | "retention">, now: () => number) {
    this.#state = state;
    this.#now = now;
  }

  get settings(): RetentionSettings {
    return this.#state.retention;
  }

  /** Whether a message that has not expired is kept, as far as its age does not matter. */
  need(topic: Topic, seq: number, isUnclaimed: boolean): Need {
    const { consumed, retention } = this.#state;
    return needOf(retention.policy, consumed, topic, seq, isUnclaimed);
  }

  /** What came before it is beyond the limit of age, if only history keeps it. */
  get oldestKept(): number {
    const { maxAgeMs } = this.settings;
    return maxAgeMs === Infinity ? 0 : this.#now() - maxAgeMs;
  }

  isExpired(expiresAt: number | undefined): boolean {
    return expiresAt !== undefined && expiresAt !== 0 && expiresAt <= this.#now();
  }

  /** How many of a block's messages are kept, and why: at most `limit` are looked at. */
  inspect(block: Block): { readonly need: Need; readonly kept: number } {
    const { topic, facts } = block;
    if (this.isExpired(facts.expiresAt)) return { need: "gone", kept: 0 };
    const { policy } = this.settings;
    const isOld = facts.lastTimestamp < this.oldestKept;
    const isUntouched = policy === "limits" && this.#state.consumed.settled.size === 0;
    if (isUntouched && topic.durables.every(({ floor }) => floor >= facts.lastSeq)) {
      return isOld ? { need: "gone", kept: 0 } : { need: "history", kept: facts.count };
    }
    let need: Need = "gone";
    let kept = 0;
    for (const seq of block.seqs()) {
      const one = this.need(topic, seq, facts.isUnclaimed);
      if (one === "gone" || (one === "history" && isOld)) continue;
      if (isOld && !topic.durables.some((durable) => durable.isWaiting(topic, seq, facts.lastTimestamp))) continue;
      kept++;
      if (need !== "waited") need = one;
    }
    return { need, kept };
  }

  /** Of blocks that only history keeps, oldest first, those that are beyond the limits of bytes and count. */
  beyondLimits(state: StoreState, history: readonly Block[]): Block[] {
    let bytes = 0;
    let messages = state.index.size;
    for (const { facts } of state.blocks()) {
      bytes += facts.storedBytes;
      messages += facts.count;
    }
    const { maxBytes, maxMessages } = this.settings;
    const beyond: Block[] = [];
    for (const block of history) {
      if (bytes <= maxBytes && messages <= maxMessages) break;
      // The block that crosses the limit stays: rather a block too much than messages too few.
      if (bytes - block.facts.storedBytes < maxBytes && messages - block.facts.count < maxMessages) break;
      bytes -= block.facts.storedBytes;
      messages -= block.facts.count;
      beyond.push(block);
    }
    return beyond;
  }
}
