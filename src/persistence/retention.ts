import type { Block } from "./store/block.js";
import type { StoreState } from "./state.js";
import { isCovered } from "./state.js";
import type { Topic } from "./durable.js";

/**
 * How long messages are kept that have not expired:
 *
 * | policy       | kept while a durable has to settle it | and besides                                     |
 * |--------------|---------------------------------------|-------------------------------------------------|
 * | `limits`     | yes, whatever the limits              | as history, within age, bytes and count         |
 * | `interest`   | yes                                   | no                                              |
 * | `work-queue` | until the first durable settles it    | while no durable has asked for it               |
 * | (none)       | yes                                   | within the limits, if it came when no durable matched it |
 */
export type RetentionPolicy = "limits" | "interest" | "work-queue";

/** What a store was last opened with, as its database keeps it. No limit is left out. */
export interface StoredRetention {
  /** What the limits mean; `until-settled` is what a store has that was opened without policy and limits. */
  readonly policy: RetentionPolicy | "until-settled";
  /** Milliseconds; absent: no limit, as for the others. */
  readonly maxAge?: number | undefined;
  /** Bytes, as stored. */
  readonly maxBytes?: number | undefined;
  /** A number of messages. */
  readonly maxMessages?: number | undefined;
}

export interface RetentionSettings {
  readonly policy: RetentionPolicy | "until-settled";
  /** Milliseconds; Infinity for no limit, as for the others. */
  readonly maxAgeMs: number;
  /** As stored. */
  readonly maxBytes: number;
  readonly maxMessages: number;
}

/** The settings in the form that the database keeps: JSON has no Infinity. */
export function retentionToStore({ policy, maxAgeMs, maxBytes, maxMessages }: RetentionSettings): StoredRetention {
  const limit = (value: number): number | undefined => (value === Infinity ? undefined : value);
  return { policy, maxAge: limit(maxAgeMs), maxBytes: limit(maxBytes), maxMessages: limit(maxMessages) };
}

/** What `retention: "stored"` means for a database; one that says nothing keeps everything. */
export function retentionAsStored(stored: StoredRetention | undefined): RetentionSettings {
  const { policy = "limits", maxAge = Infinity, maxBytes = Infinity, maxMessages = Infinity } = stored ?? {};
  return { policy, maxAgeMs: maxAge, maxBytes, maxMessages };
}

/** `waited`: a durable has to settle it. `history`: kept within the limits. `gone`: not there any more, to whoever asks. */
export type Need = "waited" | "history" | "gone";

/**
 * Decides what is kept. The same answer serves readers and removal, so what a reader sees does not depend on whether
 * a checkpoint has come by yet; except that limits by bytes and count fall on whole blocks.
 */
export class Retention {
  readonly #settings: RetentionSettings;
  readonly #now: () => number;
  readonly #state: Pick<StoreState, "consumed">;

  constructor(settings: RetentionSettings, now: () => number, state: Pick<StoreState, "consumed">) {
    this.#settings = settings;
    this.#now = now;
    this.#state = state;
  }

  get settings(): RetentionSettings {
    return this.#settings;
  }

  /** Whether a message that has not expired is kept, as far as its age does not matter. */
  need(topic: Topic, seq: number, isUnclaimed: boolean): Need {
    const { durables } = topic;
    const { policy } = this.#settings;
    if (policy === "work-queue") {
      const { consumed } = this.#state;
      if (consumed !== undefined && (seq <= consumed.floor || consumed.settled.has(seq))) return "gone";
      return isCovered(topic, seq) ? "waited" : "history";
    }
    for (let index = 0; index < durables.length; index++) {
      if (durables[index]?.isPending(topic, seq) === true) return "waited";
    }
    if (policy === "limits") return "history";
    return policy === "until-settled" && isUnclaimed && !isCovered(topic, seq) ? "history" : "gone";
  }

  /** What came before it is beyond the limit of age, if only history keeps it. */
  get oldestKept(): number {
    const { maxAgeMs } = this.#settings;
    return maxAgeMs === Infinity ? 0 : this.#now() - maxAgeMs;
  }

  isExpired(expiresAt: number | undefined): boolean {
    return expiresAt !== undefined && expiresAt !== 0 && expiresAt <= this.#now();
  }

  /** How many of a block's messages are kept, and why: at most `limit` are looked at. */
  inspect(block: Block): { readonly need: Need; readonly kept: number } {
    const { topic, facts } = block;
    if (this.isExpired(facts.expiresAt)) return { need: "gone", kept: 0 };
    const { policy } = this.#settings;
    const isOld = facts.lastTimestamp < this.oldestKept;
    if (policy === "limits" && topic.durables.every(({ floor }) => floor >= facts.lastSeq)) {
      return isOld ? { need: "gone", kept: 0 } : { need: "history", kept: facts.count };
    }
    let need: Need = "gone";
    let kept = 0;
    for (const seq of block.seqs()) {
      const one = this.need(topic, seq, facts.isUnclaimed);
      if (one === "gone" || (one === "history" && isOld)) continue;
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
    const { maxBytes, maxMessages } = this.#settings;
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
