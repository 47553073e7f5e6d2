import type { History } from "./history.js";
import type { Retention } from "./retention.js";
import type { Slices } from "./slices.js";
import type { StoreState } from "./state.js";
import type { Block } from "./store/block.js";

/**
 * Blocks that a sweep looks at of those in which some messages have expired and others have not: each has to be read, whatever
 * comes of it. What has waited longest comes first, and the rest the next time.
 */
const partlyExpiredBlocks = 256;

export interface ExpirySweepOptions {
  readonly state: StoreState;
  readonly retention: Retention;
  readonly history: History;
  readonly slices: Slices;
}

/**
 * Chooses the blocks in which a checkpoint looks for what durables have to be told of, since it has expired.
 *
 * A block says when its first and its last message expire, and not which. So each remembers when somebody may next have to be
 * told of one: at first when its first expires, and after each look the first of those that are left.
 */
export class ExpirySweep {
  readonly #options: ExpirySweepOptions;
  readonly #due = new Set<Block>();

  constructor(options: ExpirySweepOptions) {
    this.#options = options;
  }

  /**
   * Chooses the blocks. False where nobody has to be told of anything.
   *
   * @param isThorough every block in which anything has expired, whoever was told before
   */
  begin(isThorough: boolean): boolean {
    const { state, retention } = this.#options;
    this.#due.clear();
    if (!retention.tellsExpired || state.durables.size === 0) return false;
    const partly: Block[] = [];
    for (const block of state.blocks()) {
      if (block.topic.durables.length === 0) continue;
      if (retention.isWorthRemoving(block.facts, isThorough)) this.#due.add(block);
      else if (block.nextExpiry <= retention.now) partly.push(block);
    }
    partly.sort((a, b) => a.nextExpiry - b.nextExpiry);
    for (const block of partly.slice(0, partlyExpiredBlocks)) this.#due.add(block);
    return this.#due.size > 0 || state.index.mayHaveExpired(retention.now);
  }

  /** Whether a block is among those that are looked at. */
  isDue(block: Block): boolean {
    return this.#due.has(block);
  }

  /** After durables were told: finds out when the blocks have to be looked at again. */
  async end(): Promise<void> {
    const { retention, history, slices } = this.#options;
    for (const block of this.#due) {
      // What has expired to the last message is removed, as soon as nobody waits for any.
      if (block.isDamaged || retention.isExpired(block.facts.lastExpiry)) continue;
      const entries = (await history.entries(block)) ?? [];
      let next = Infinity;
      for (const { seq, timestamp, expiresAt = Infinity } of entries) {
        if (expiresAt < next && !retention.isSpent(block.topic, seq, expiresAt, timestamp)) next = expiresAt;
      }
      block.nextExpiry = next;
      await slices.next();
    }
    this.#due.clear();
  }
}
