import { Heap } from "mnemonist";
import type { Topic } from "./durable.js";
import type { Generation } from "./state.js";
import type { Block } from "./store/block.js";
import type { OpenBlock } from "./store/open-block.js";

/** A block that a plan takes messages from. Who reads them notes here what it has of it. */
export class BlockSource {
  readonly block: Block;
  /** Undefined until it was read, when it cannot be, and once it is not needed any more. */
  open: OpenBlock | undefined = undefined;
  isRead = false;
  /** Its last place in the plan. */
  lastPlace = 0;

  constructor(block: Block) {
    this.block = block;
  }
}

/** Where a message is: in a block, or in the log. */
export interface Place {
  readonly seq: number;
  readonly source: BlockSource | undefined;
  /** In the block. */
  readonly at: number;
  /** In the log. */
  readonly lsn: number;
}

/** Which messages a reader wants, as far as their number and topic tell. */
export interface Selection {
  /** Topics that come into question. */
  readonly topics: ReadonlySet<Topic>;
  readonly wants: (topic: Topic, seq: number, isUnclaimed: boolean) => boolean;
  readonly afterSeq: number;
  readonly throughSeq: number;
  readonly limit: number;
  /** Blocks that need not be looked at; by default none. */
  readonly skips?: ((block: Block) => boolean) | undefined;
  /** Also messages that readers do not see yet, since they are not on the disk. */
  readonly seesUnsynced?: boolean | undefined;
  /** Of the log, only messages that have expired by then; of blocks, `skips` knows. */
  readonly expiredBy?: number | undefined;
}

export interface Plan {
  readonly places: readonly Place[];
  /** Everything through it was looked at. */
  readonly throughSeq: number;
  /** Nothing more is there at this moment. */
  readonly isEnd: boolean;
}

/** The first generation with numbers above `seq`. */
export function firstAbove(generations: readonly Generation[], seq: number): number {
  let low = 0;
  let high = generations.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((generations[middle] as Generation).lastSeq > seq) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Goes through the wanted messages of one block. */
class BlockCursor {
  readonly source: BlockSource;
  readonly #selection: Selection;
  readonly #seqs: Float64Array;
  at = 0;
  /** Infinity at the end. */
  seq = Infinity;

  constructor(block: Block, selection: Selection) {
    this.source = new BlockSource(block);
    this.#selection = selection;
    this.#seqs = block.seqs();
    this.#seek();
  }

  next(): void {
    this.at++;
    this.#seek();
  }

  #seek(): void {
    const { afterSeq, throughSeq, wants } = this.#selection;
    const { topic, facts } = this.source.block;
    const seqs = this.#seqs;
    for (; this.at < seqs.length; this.at++) {
      const seq = seqs[this.at] as number;
      if (seq > throughSeq) break;
      if (seq <= afterSeq || !wants(topic, seq, facts.isUnclaimed)) continue;
      this.seq = seq;
      return;
    }
    this.seq = Infinity;
  }
}

/** Appends a generation's wanted messages to `places`, in order, up to the limit: a merge of its blocks. */
export function mergeBlocks(generation: Generation, selection: Selection, places: Place[]): void {
  const { topics, afterSeq, throughSeq, limit, skips } = selection;
  // By the cursor's next message. The first one's changes in place, and `replace` puts it where it belongs then.
  const heap = new Heap<BlockCursor>((a, b) => a.seq - b.seq);
  const { blocks } = generation;
  let next = 0;
  while (places.length < limit) {
    // A block joins when its first message may be the next one.
    for (; next < blocks.length; next++) {
      const block = blocks[next] as Block;
      if (block.firstSeq > Math.min(throughSeq, heap.peek()?.seq ?? Infinity)) break;
      if (block.lastSeq <= afterSeq || block.isDamaged || !topics.has(block.topic)) continue;
      if (skips?.(block) === true) continue;
      const cursor = new BlockCursor(block, selection);
      if (cursor.seq !== Infinity) heap.push(cursor);
    }
    const first = heap.peek();
    if (first === undefined) return;
    first.source.lastPlace = places.length;
    places.push({ seq: first.seq, source: first.source, at: first.at, lsn: 0 });
    first.next();
    if (first.seq === Infinity) heap.pop();
    else heap.replace(first);
  }
}
