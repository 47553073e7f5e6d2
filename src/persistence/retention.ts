import type { Topic } from "./durable.js";
import { isConsumed, isCovered, needOf } from "./need.js";
import type { Need } from "./need.js";
import { limitFloor } from "./limit-floor.js";
import type { RetentionSettings } from "./retention-settings.js";
import type { StoreState } from "./state.js";
import type { Block } from "./store/block.js";

/**
 * Decides what is kept, and what of it history shows. The same answer serves readers and removal, so what a reader sees does
 * not depend on whether a checkpoint has come by yet.
 */
export class Retention {
  readonly #state: StoreState;
  readonly #now: () => number;
  readonly #syncedLsn: () => number;
  /** What has expired is kept for a durable until that has settled it: somebody has to be told first. */
  readonly tellsExpired: boolean;

  /** @param syncedLsn what is in the log through it is on the disk */
  constructor(state: StoreState, now: () => number, syncedLsn: () => number, tellsExpired = false) {
    this.#state = state;
    this.#now = now;
    this.#syncedLsn = syncedLsn;
    this.tellsExpired = tellsExpired;
  }

  get settings(): RetentionSettings {
    return this.#state.retention;
  }

  /** What bytes and count have let go of at this moment: everything through this number, but for what a durable waits for. */
  floor(): number {
    return limitFloor(this.#state, this.#syncedLsn());
  }

  /** Whether a message that has not expired is kept, as far as its age does not matter. */
  need(topic: Topic, seq: number, isUnclaimed: boolean, floor: number): Need {
    const { consumed, retention } = this.#state;
    const need = needOf(retention.policy, consumed, topic, seq, isUnclaimed);
    return need === "history" && seq <= floor ? "gone" : need;
  }

  /**
   * Whether history shows a message that has not expired. It shows what is kept; but under the policy `limits`, which
   * promises how much history there is, not what a durable's backlog alone keeps beyond them.
   */
  shows(topic: Topic, seq: number, isUnclaimed: boolean, floor: number): boolean {
    // What needs no look at the durables.
    if (this.settings.policy === "limits") return seq > floor && !isConsumed(this.#state.consumed, seq);
    return this.need(topic, seq, isUnclaimed, floor) !== "gone";
  }

  /** Through it history shows nothing, so that there is nothing to look at. */
  hiddenThrough(floor: number): number {
    return this.settings.policy === "limits" ? floor : 0;
  }

  /** Whether a message's age keeps it out of history, where it is shown otherwise. */
  isTooOld(topicName: string, seq: number, timestamp: number, oldestKept: number): boolean {
    if (timestamp >= oldestKept) return false;
    return this.settings.policy === "limits" || !this.isWaited(topicName, seq, timestamp);
  }

  /**
   * Whether only the numbers say that a durable waits for it: one that began in the past, and got nothing as old. Where
   * nothing but a durable keeps messages, it is gone.
   */
  isOfNobody(topicName: string, seq: number, timestamp: number): boolean {
    const { policy } = this.settings;
    if (policy === "limits" || policy === "work-queue") return false;
    const { topics } = this.#state;
    const topic = topics.of(topicName);
    const { durables } = topic;
    const isOfNobody =
      durables.some(({ notBefore }) => timestamp < notBefore) &&
      !durables.some((durable) => durable.isWaiting(topic, seq, timestamp)) &&
      (policy === "interest" || isCovered(topic, seq));
    topics.release(topic);
    return isOfNobody;
  }

  /** Whether a durable has still to settle it. */
  isWaited(topicName: string, seq: number, timestamp: number): boolean {
    const { topics } = this.#state;
    const topic = topics.of(topicName);
    const found = topic.durables.some((durable) => durable.isWaiting(topic, seq, timestamp));
    topics.release(topic);
    return found;
  }

  /** Whether a durable has still to be told that it has expired. */
  isToBeTold(topicName: string, seq: number, timestamp: number, expiresAt: number | undefined): boolean {
    const { topics } = this.#state;
    const topic = topics.of(topicName);
    const isSpent = this.isSpent(topic, seq, expiresAt, timestamp);
    topics.release(topic);
    return this.isExpired(expiresAt) && !isSpent;
  }

  /** What came before it is beyond the limit of age, if only history keeps it. */
  get oldestKept(): number {
    const { maxAgeMs } = this.settings;
    return maxAgeMs === Infinity ? 0 : this.#now() - maxAgeMs;
  }

  get now(): number {
    return this.#now();
  }

  isExpired(expiresAt: number | undefined): boolean {
    return expiresAt !== undefined && expiresAt !== 0 && expiresAt <= this.#now();
  }

  /**
   * Whether a message has expired and can be removed.
   *
   * @param timestamp its own, or a later one
   */
  isSpent(topic: Topic, seq: number, expiresAt: number | undefined, timestamp: number): boolean {
    if (!this.isExpired(expiresAt)) return false;
    if (!this.tellsExpired || isConsumed(this.#state.consumed, seq)) return true;
    return !topic.durables.some((durable) => !durable.isReader && durable.isWaiting(topic, seq, timestamp));
  }

  /** Whether a pass removes what has expired in a block: once its last has, of those that expire; a thorough pass at once. */
  isWorthRemoving({ firstExpiry, lastExpiry }: Block["facts"], isThorough: boolean): boolean {
    return this.isExpired(isThorough ? firstExpiry : lastExpiry);
  }

  /** How many of a block's messages are kept. */
  keptOf(block: Block, floor: number): number {
    const { topic, facts } = block;
    const isExpired = this.isExpired(facts.expiresAt);
    if (isExpired && !this.tellsExpired) return 0;
    const { consumed } = this.#state;
    const { policy } = this.settings;
    const isOld = facts.lastTimestamp < this.oldestKept;
    const isUntouched = policy === "limits" && consumed.settled.size === 0 && consumed.floor === 0;
    if (isUntouched && topic.durables.every(({ floor: own }) => own >= facts.lastSeq)) {
      if (isExpired || isOld || facts.lastSeq <= floor) return 0;
      if (facts.firstSeq > floor) return facts.count;
    }
    let kept = 0;
    for (const seq of block.seqs()) {
      if (isExpired && this.isSpent(topic, seq, facts.expiresAt, facts.lastTimestamp)) continue;
      const need = this.need(topic, seq, facts.isUnclaimed, floor);
      if (need === "gone" || (need === "history" && isOld)) continue;
      if (isOld && !topic.durables.some((durable) => durable.isWaiting(topic, seq, facts.lastTimestamp))) continue;
      kept++;
    }
    return kept;
  }
}
