import type { Block } from "./store/block.js";
import { comparePlaces, encodePage, placeAfter } from "./store/fact-page.js";
import type { EncodedPage, FactsPlace } from "./store/fact-page.js";
import { pageKey } from "./store/keys.js";
import type { Change } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";

/** A page is full at this many blocks, … */
const pageBlocks = 256;
/** … or at this many bytes. */
const pageBytes = 64 * 1024;

/** Pages that are written in one batch. */
const pagesTogether = 8;

/** A value of the database that has the facts of all blocks from one place up to another. */
interface FactPage {
  readonly from: FactsPlace;
  /** The first place behind it. */
  readonly to: FactsPlace;
  readonly blocks: readonly Block[];
}

/** Pages that can be written. */
export interface PageChanges {
  readonly changes: readonly Change[];
  /** To be called before the changes are written: whether or not that is reported to have succeeded, they may be there. */
  readonly expect: () => void;
  /** To be called once they are: lets go of memory. */
  readonly confirm: () => void;
}

/**
 * Which facts stand in pages. Each block's facts stand by themselves as well: pages are there to be read fast, and what one
 * does not have, or cannot tell any more, is read from there.
 *
 * A page tells of every block between its two places. So the batch that adds a block there, or removes one, removes the
 * page; what was in it waits for the next time that pages are written.
 */
export class FactPages {
  /** By place; they do not overlap. */
  #pages: FactPage[] = [];
  readonly #unpaged = new Set<Block>();
  /** Keys of pages that are of no use. */
  #stale: readonly Buffer[] = [];

  /** Blocks whose facts are in no page. */
  get unpaged(): number {
    return this.#unpaged.size;
  }

  /** There are pages in the database that are of no use. */
  get hasStale(): boolean {
    return this.#stale.length > 0;
  }

  /** Takes over a page that the database has, in the order of places; its blocks are not to be added. */
  load(from: FactsPlace, to: FactsPlace, blocks: readonly Block[]): void {
    this.#pages.push({ from, to, blocks });
  }

  /** Pages in the database that cannot be relied on: they are removed when others are written. */
  giveUp(keys: readonly Buffer[]): void {
    this.#stale = keys;
  }

  added(block: Block): void {
    this.#unpaged.add(block);
  }

  removed(block: Block): void {
    this.#unpaged.delete(block);
  }

  /** What the batch that adds or removes these blocks has to do, too. Call `confirm` when it is done. */
  without(blocks: readonly Block[]): { readonly changes: readonly Change[]; readonly confirm: () => void } {
    const gone = new Set<FactPage>();
    for (const block of blocks) {
      const page = this.#pages[this.#endingAfter(block)];
      if (page !== undefined && comparePlaces(page.from, block) <= 0) gone.add(page);
    }
    return {
      changes: [...gone].map(({ from }) => ({ key: pageKey(from), value: undefined })),
      confirm: () => {
        if (gone.size === 0) return;
        this.#pages = this.#pages.filter((page) => !gone.has(page));
        for (const page of gone) for (const block of page.blocks) this.#unpaged.add(block);
      },
    };
  }

  /**
   * Puts facts that are in no page into pages, some at a time: what is yielded has to be written before the next are asked
   * for. A page in front of them of which little is left is written anew with them.
   */
  *fill(sealer: Sealer): Generator<PageChanges, void, undefined> {
    const waiting = [...this.#unpaged].sort(comparePlaces);
    let pages: FactPage[] = [];
    let replaced: FactPage[] = [];
    for (let at = 0; at < waiting.length;) {
      const next = this.#endingAfter(waiting[at] as Block);
      const behind = this.#pages[next];
      let end = at;
      while (end < waiting.length && (behind === undefined || isBefore(waiting[end] as Block, behind.from))) end++;
      const before = this.#pages[next - 1];
      const isJoined = before !== undefined && isSparse(before);
      if (isJoined) replaced.push(before);
      const joined = isJoined ? before.blocks : [];
      let from = (isJoined ? before.from : before?.to) ?? { generation: 0, ordinal: 0 };
      let taken = -joined.length;
      for (const blocks of partsOf([...joined, ...waiting.slice(at, end)])) {
        taken += blocks.length;
        const to = (at + taken === end ? behind?.from : undefined) ?? placeAfter(blocks.at(-1) as Block);
        pages.push({ from, to, blocks });
        from = to;
        if (taken > 0 && pages.length >= pagesTogether) break;
      }
      at += taken;
      if (pages.length < pagesTogether) continue;
      yield this.#changesOf(sealer, pages, replaced);
      pages = [];
      replaced = [];
    }
    if (pages.length + this.#stale.length > 0) yield this.#changesOf(sealer, pages, replaced);
  }

  #changesOf(sealer: Sealer, pages: readonly FactPage[], replaced: readonly FactPage[]): PageChanges {
    // A key may be given up and taken again: the put comes last.
    const changes: Change[] = this.#stale.map((key) => ({ key, value: undefined }));
    for (const { from } of replaced) changes.push({ key: pageKey(from), value: undefined });
    const encoded = pages.map(({ to, blocks }) => encodePage(to, blocks));
    for (const [index, { from }] of pages.entries()) {
      const key = pageKey(from);
      changes.push({ key, value: sealer.sealPlain(key, (encoded[index] as EncodedPage).bytes) });
    }
    return {
      changes,
      expect: () => {
        this.#stale = [];
        this.#pages = [...this.#pages.filter((page) => !replaced.includes(page)), ...pages];
        this.#pages.sort((a, b) => comparePlaces(a.from, b.from));
        for (const { blocks } of pages) for (const block of blocks) this.#unpaged.delete(block);
      },
      confirm: () => {
        for (const [index, page] of pages.entries()) {
          const { bytes, starts } = encoded[index] as EncodedPage;
          for (const [at, { facts }] of page.blocks.entries()) facts.moveTo(bytes, starts[at] as number);
        }
      },
    };
  }

  /** The first page that ends behind a place. */
  #endingAfter(place: FactsPlace): number {
    let low = 0;
    let high = this.#pages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (comparePlaces((this.#pages[middle] as FactPage).to, place) > 0) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function isBefore(place: FactsPlace, other: FactsPlace): boolean {
  return comparePlaces(place, other) < 0;
}

/** Whether a page is less than half full. */
function isSparse({ blocks }: FactPage): boolean {
  if (blocks.length >= pageBlocks / 2) return false;
  return blocks.reduce((sum, { facts }) => sum + facts.encodedBytes, 0) < pageBytes / 2;
}

/** Splits blocks into those of a page each. */
function* partsOf(blocks: readonly Block[]): IterableIterator<readonly Block[]> {
  let from = 0;
  let bytes = 0;
  for (const [at, { facts }] of blocks.entries()) {
    const length = facts.encodedBytes;
    if (at > from && (at - from === pageBlocks || bytes + length > pageBytes)) {
      yield blocks.slice(from, at);
      from = at;
      bytes = 0;
    }
    bytes += length;
  }
  if (from < blocks.length) yield blocks.slice(from);
}
