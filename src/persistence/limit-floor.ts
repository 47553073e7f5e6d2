/** Where the limits of bytes and count let go, worked out from numbers in memory alone. */
import { indexFlag } from "./log-index.js";
import type { LogIndex } from "./log-index.js";
import { needOf } from "./need.js";
import type { Durable, Topic } from "./durable.js";
import type { RetentionSettings } from "./retention-settings.js";
import type { Block } from "./store/block.js";

/** What of a store's state tells where its limits let go. */
export interface LimitedState {
  readonly index: LogIndex;
  /** Oldest first; the numbers of two do not overlap. */
  readonly generations: readonly GenerationOfBlocks[];
  readonly consumed: Durable;
  readonly retention: RetentionSettings;
  /** Everything through it was beyond the limits before. */
  readonly floor: number;
  blockTotals(): { readonly messages: number; readonly logBytes: number };
}

interface GenerationOfBlocks {
  readonly blocks: readonly Block[];
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/**
 * The highest number that the limits of bytes and count have let go of; what is above it is within them. The newest message
 * always is.
 *
 * It costs nothing while all there is fits. Otherwise it goes from the newest message back, as far as the limits reach: over
 * 4,096 messages of the log, and over the blocks of a checkpoint, in a step each where the policy counts them all; only
 * where the limit is crossed, and where settles decide what counts, it looks at numbers. Publishing pays nothing for it.
 *
 * Bytes are those that a message took in the log, wherever it is now, so that a checkpoint changes nothing.
 *
 * What is settled and expires counts until it is removed where the policy is `limits`, which keeps what is settled; under the
 * others, what has been settled does not.
 *
 * @param syncedLsn messages that readers do not see yet do not count; by default all do
 */
export function limitFloor(state: LimitedState, syncedLsn = Infinity): number {
  const { index, generations, retention, consumed, floor } = state;
  const { policy, maxMessages, maxBytes } = retention;
  const inBlocks = state.blockTotals();
  const fits = index.size + inBlocks.messages <= maxMessages && index.bytes + inBlocks.logBytes <= maxBytes;
  if (fits || policy === "interest") return floor;
  const countsAll = policy === "limits" && consumed.floor === 0 && consumed.settled.size === 0;
  const counts = (topic: Topic, seq: number, isUnclaimed: boolean): boolean => {
    const need = needOf(policy, consumed, topic, seq, isUnclaimed);
    return policy === "until-settled" ? need === "history" : need !== "gone";
  };
  const room = new Room(maxMessages, maxBytes);
  let found: number | undefined;
  index.scanBack(
    syncedLsn,
    (seq, topic, flags, bytes) => {
      if (!countsAll && !counts(topic, seq, (flags & indexFlag.isUnclaimed) !== 0)) return true;
      if (room.takes(1, bytes)) return true;
      found = seq;
      return false;
    },
    (count, bytes) => countsAll && room.takes(count, bytes),
  );
  for (let at = generations.length - 1; at >= 0 && found === undefined; at--) {
    const generation = generations[at] as GenerationOfBlocks;
    if (generation.lastSeq <= floor) break;
    found = floorWithin(generation, room, countsAll ? undefined : counts);
  }
  return Math.max(floor, found ?? 0);
}

/** What is left of the limits. */
class Room {
  messages: number;
  bytes: number;
  /** Nothing was taken so far. */
  isUntouched = true;

  constructor(messages: number, bytes: number) {
    this.messages = messages;
    this.bytes = bytes;
  }

  /** False, and nothing is taken, where that many do not fit; one message always does, as the first. */
  takes(count: number, bytes: number): boolean {
    const fits = count <= this.messages && bytes <= this.bytes;
    if (!fits && !(this.isUntouched && count === 1)) return false;
    this.isUntouched = this.isUntouched && count === 0;
    this.messages -= count;
    this.bytes -= bytes;
    return true;
  }
}

type Counts = (topic: Topic, seq: number, isUnclaimed: boolean) => boolean;

/** Takes a generation's messages, newest first; the number of the first that does not fit, or undefined: all do. */
function floorWithin(generation: GenerationOfBlocks, room: Room, counts: Counts | undefined): number | undefined {
  const parts = generation.blocks.map((block) => new CountedBlock(block, counts));
  const above = (seq: number): { count: number; bytes: number } => {
    const sum = { count: 0, bytes: 0 };
    for (const part of parts) part.addAbove(seq, sum);
    return sum;
  };
  const { firstSeq, lastSeq } = generation;
  const all = above(firstSeq - 1);
  if (room.takes(all.count, all.bytes)) return undefined;
  // The lowest number above which everything fits: it is the last one that does not.
  let low = firstSeq - 1;
  let high = room.isUntouched ? newestOf(parts) - 1 : lastSeq;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { count, bytes } = above(middle);
    if (count <= room.messages && bytes <= room.bytes) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The highest number that counts; there may be a block for each of very many topics. */
function newestOf(parts: readonly CountedBlock[]): number {
  return parts.reduce((highest, { newest }) => Math.max(highest, newest), 0);
}

/** A block whose messages count, all or some. */
class CountedBlock {
  readonly #block: Block;
  readonly #counts: Counts | undefined;
  /** Those that count, ascending, and what each takes together with all that come after it. */
  #counted: { readonly seqs: Float64Array; readonly bytesFrom: Float64Array } | undefined;

  constructor(block: Block, counts: Counts | undefined) {
    this.#block = block;
    this.#counts = counts;
  }

  /** The highest number that counts; 0 when none does. */
  get newest(): number {
    return this.#counts === undefined ? this.#block.lastSeq : (this.#open().seqs.at(-1) ?? 0);
  }

  /** Adds how many that count have a higher number, and what they take. */
  addAbove(seq: number, sum: { count: number; bytes: number }): void {
    const { firstSeq, lastSeq, facts } = this.#block;
    if (lastSeq <= seq) return;
    if (firstSeq > seq && this.#counts === undefined) {
      sum.count += facts.count;
      sum.bytes += facts.logBytes;
      return;
    }
    const { seqs, bytesFrom } = this.#open();
    let low = 0;
    let high = seqs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((seqs[middle] as number) > seq) high = middle;
      else low = middle + 1;
    }
    sum.count += seqs.length - low;
    sum.bytes += bytesFrom[low] ?? 0;
  }

  #open(): { readonly seqs: Float64Array; readonly bytesFrom: Float64Array } {
    if (this.#counted !== undefined) return this.#counted;
    const { topic, facts } = this.#block;
    const counts = this.#counts;
    const seqs = this.#block.seqs();
    const sizes = this.#block.logSizes();
    let length = 0;
    for (let index = 0; index < seqs.length; index++) {
      const seq = seqs[index] as number;
      if (counts?.(topic, seq, facts.isUnclaimed) === false) continue;
      seqs[length] = seq;
      sizes[length++] = sizes[index] as number;
    }
    for (let index = length - 2; index >= 0; index--) {
      sizes[index] = (sizes[index] as number) + (sizes[index + 1] as number);
    }
    this.#counted = { seqs: seqs.subarray(0, length), bytesFrom: sizes.subarray(0, length) };
    return this.#counted;
  }
}
