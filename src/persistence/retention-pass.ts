import type { WorkOptions } from "../platform/progress.js";
import { removalOf, sealBlock } from "./block-writer.js";
import type { History } from "./history.js";
import type { Retention } from "./retention.js";
import type { Slices } from "./slices.js";
import type { Generation, StoreState } from "./state.js";
import { BlockBuilder } from "./store/block-builder.js";
import type { Block } from "./store/block.js";
import { factsKey } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";

export interface RetentionPassOptions {
  readonly state: StoreState;
  readonly database: () => KeyValueStore;
  readonly sealer: Sealer;
  readonly history: History;
  readonly retention: Retention;
  readonly slices: Slices;
  /** A block is full at this many bytes. */
  readonly blockBytes: number;
  /** Resolves when everything that was applied is on the disk. */
  readonly syncApplied: () => Promise<void>;
  /** The database's own entry, for when these blocks have made room for those. */
  readonly tallyChange: (gone: readonly Block[], made: readonly Block[]) => { change: Change; confirm: () => void };
}

/** What the pass over the blocks did. */
export interface RetentionResult {
  readonly removedBlocks: number;
  readonly rewrittenBlocks: number;
  /** Bytes of values that were removed or replaced. */
  readonly freedBytes: number;
}

/** Blocks that a pass rewrites, so that it ends: the next pass goes on. */
const rewritesPerPass = 64;

/** A batch of which nobody knows whether the database has it: it was refused after it was handed over. */
interface Doubt {
  readonly gone: readonly Block[];
  readonly made: readonly Block[];
  readonly confirm: readonly (() => void)[];
  /** Those may go on who have not found one of the blocks, and wait for what became of them. */
  readonly known: () => void;
  /** They fail: the database cannot say what became of them. */
  readonly unknown: (error: unknown) => void;
}

/** Goes over the blocks in the database: removes what is not kept, rewrites those of which little is. One at a time. */
export class RetentionPass {
  readonly #options: RetentionPassOptions;
  #doubt: Doubt | undefined;

  constructor(options: RetentionPassOptions) {
    this.#options = options;
  }

  /**
   * Removes blocks that are not kept any more, and rewrites those of which less than half is kept.
   *
   * @param thorough rewrites all there are to rewrite, unless its signal ends that
   */
  async run(thorough?: WorkOptions): Promise<RetentionResult> {
    const isThorough = thorough !== undefined;
    const { state, retention, sealer, slices } = this.#options;
    const gone: Block[] = [];
    const sparse: Block[] = [];
    state.raiseFloor(retention.floor());
    const { floor } = state;
    for (const block of [...state.blocks()]) {
      const kept = retention.keptOf(block, floor);
      if (kept === 0) gone.push(block);
      else if (!block.isDamaged && this.#isSparse(block, kept, isThorough)) sparse.push(block);
      if (slices.isOver) await slices.next();
    }
    const rewritten = isThorough ? sparse : sparse.slice(0, rewritesPerPass);
    if (gone.length + rewritten.length === 0) return { removedBlocks: 0, rewrittenBlocks: 0, freedBytes: 0 };
    // The acknowledgements that decided must be on the disk before what they settled is not.
    await this.#options.syncApplied();
    const total = gone.length + rewritten.length;
    let removedBlocks = 0;
    let rewrittenBlocks = 0;
    let freedBytes = 0;
    const isOver = (): boolean => {
      thorough?.onProgress?.({ done: removedBlocks + rewrittenBlocks, total, unit: "blocks" });
      return thorough?.signal?.aborted === true;
    };
    for (let at = 0; at < gone.length && !isOver(); at += 500) {
      const part = gone.slice(at, at + 500);
      await this.#exchange(
        part,
        [],
        part.flatMap((block) => removalOf(block, sealer)),
      );
      for (const block of part) freedBytes += block.facts.storedBytes;
      removedBlocks += part.length;
    }
    for (const group of groupsOf(rewritten)) {
      if (isOver()) break;
      freedBytes += await this.#rewrite(group, floor);
      rewrittenBlocks += group.length;
    }
    isOver();
    return { removedBlocks, rewrittenBlocks, freedBytes };
  }

  /** Whether rewriting a block is worth it. For messages that expired among others it is done once, when the last has. */
  #isSparse({ facts }: Block, kept: number, isThorough: boolean): boolean {
    const { retention } = this.#options;
    if (retention.isWorthRemoving(facts, isThorough)) return true;
    return kept < facts.count / (isThorough ? 1 : 2);
  }

  /** Writes what is kept of blocks of one topic and generation into new ones, in one batch. */
  async #rewrite(group: readonly Block[], floor: number): Promise<number> {
    const { history, retention, sealer, slices } = this.#options;
    const first = group[0] as Block;
    const { topic, generation } = first;
    let builder = new BlockBuilder(first.facts.isUnclaimed);
    const readable: Block[] = [];
    const made: Block[] = [];
    const puts: Change[] = [];
    let ordinal = this.#lastOrdinalOf(generation) + 1;
    const finish = async (): Promise<void> => {
      const block = await sealBlock(sealer, builder, topic, generation, ordinal++);
      builder = new BlockBuilder(first.facts.isUnclaimed);
      made.push(block.block);
      for (const change of block.changes) puts.push(change);
    };
    for (const block of group) {
      const entries = await history.entries(block);
      if (entries === undefined) continue;
      readable.push(block);
      const sizes = block.logSizes();
      for (const [at, entry] of entries.entries()) {
        if (retention.isSpent(topic, entry.seq, entry.expiresAt, entry.timestamp)) continue;
        if (retention.need(topic, entry.seq, block.facts.isUnclaimed, floor) === "gone") continue;
        // One from before that was kept has the mean, which need not be whole.
        builder.add(entry, Math.round(sizes[at] as number));
        if (builder.bytes >= this.#options.blockBytes) await finish();
      }
      await slices.next();
    }
    if (builder.count > 0) await finish();
    if (readable.length === 0) return 0;
    const kept = new Set(puts.map(({ key }) => key.toString("latin1")));
    const removals = readable.flatMap((block) => removalOf(block, sealer));
    await this.#exchange(readable, made, [...removals.filter(({ key }) => !kept.has(key.toString("latin1"))), ...puts]);
    return readable.reduce((sum, { facts }) => sum + facts.storedBytes, 0);
  }

  #lastOrdinalOf(generation: number): number {
    const { blocks } = this.#options.state.generations.find(({ number }) => number === generation) as Generation;
    return blocks.reduce((last, { ordinal }) => Math.max(last, ordinal), -1);
  }

  /** Puts blocks in the place of others, in the database and then in memory. */
  async #exchange(gone: readonly Block[], made: readonly Block[], changes: readonly Change[]): Promise<void> {
    const { database, state, history, tallyChange } = this.#options;
    const tally = tallyChange(gone, made);
    const pages = state.pages.without([...gone, ...made]);
    const isKnown = new Promise<void>((known, unknown) => {
      this.#doubt = { gone, made, confirm: [tally.confirm, pages.confirm], known, unknown };
    });
    history.exchanging(isKnown);
    await database().batch([...changes, ...pages.changes, tally.change]);
    this.#settle();
  }

  /** After a batch that failed: finds out whether the database has it even so. */
  async resolveDoubt(): Promise<void> {
    const doubt = this.#doubt;
    const first = doubt?.gone[0];
    if (doubt === undefined || first === undefined) return;
    const isDone = (await this.#options.database().get(factsKey(first.generation, first.ordinal))) === undefined;
    if (isDone) this.#settle();
    else this.#doubt = undefined;
    doubt.known();
    // They may have been refused before.
    this.#options.history.exchanging(Promise.resolve());
  }

  /** The database cannot say now: who waits for that is refused, and reads again later. A next `resolveDoubt` may find out. */
  leaveDoubt(error: unknown): void {
    this.#doubt?.unknown(error);
  }

  #settle(): void {
    if (this.#doubt === undefined) return;
    const { gone, made, confirm, known } = this.#doubt;
    const { state } = this.#options;
    for (const one of confirm) one();
    for (const block of made) state.addBlocks(block.generation, [block]);
    for (const block of gone) state.removeBlocks(block.generation, new Set([block]));
    this.#doubt = undefined;
    known();
  }
}

/** Blocks that can be rewritten together. */
function groupsOf(blocks: readonly Block[]): Block[][] {
  const groups = new Map<string, Block[]>();
  for (const block of blocks) {
    const name = `${block.generation} ${block.facts.isUnclaimed} ${block.topic.name}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [block]);
    else group.push(block);
  }
  return [...groups.values()];
}
