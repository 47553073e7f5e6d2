/** The facts about blocks, as the database has them: most of them in pages, the others one by one. */
import { markOf, tallyOf, together } from "./ledger.js";
import type { Tally } from "./ledger.js";
import type { StoreState } from "./state.js";
import { Block } from "./store/block.js";
import { decodeFacts } from "./store/block-facts.js";
import { comparePlaces, readPage, unpackPage } from "./store/fact-page.js";
import type { FactsPlace, PagedFacts, ReadPage } from "./store/fact-page.js";
import { decodeFactsKey, factsKey, keyKind, rangeOf } from "./store/keys.js";
import type { KeyRange } from "./store/keys.js";
import type { KeyValueStore } from "./store/level-store.js";
import { DamagedValue } from "./store/damaged-value.js";
import type { Sealer } from "./store/sealer.js";
import { MalformedBytes } from "./wal/byte-reader.js";

export interface LoadedBlocks {
  readonly tally: Tally;
  /** Keys of facts that cannot be read. */
  readonly damaged: readonly Buffer[];
  /** Blocks of a checkpoint that did not come to its end. */
  readonly leftovers: readonly PagedFacts[];
}

interface Page extends ReadPage {
  readonly from: FactsPlace;
}

interface FoundFacts {
  readonly blocks: PagedFacts[];
  readonly damaged: Buffer[];
}

/**
 * Fills a new state with its blocks. What pages say is taken when all of it together is what the ledger expects; otherwise
 * (another version has changed the store meanwhile, or something is damaged) all facts are read one by one. So no
 * page can tell of a block that is not there, and a damaged page costs nothing but time.
 */
export async function loadBlocks(
  database: KeyValueStore,
  sealer: Sealer,
  state: StoreState,
  lastGeneration: number,
  expected: Tally | undefined,
): Promise<LoadedBlocks> {
  const { pages, keys } = await readPages(database, sealer);
  const found: FoundFacts = { blocks: [], damaged: [] };
  let from: FactsPlace = { generation: 0, ordinal: 0 };
  for (const page of pages) {
    await readFacts(database, sealer, placesBetween(from, page.from), found);
    from = page.to;
  }
  await readFacts(database, sealer, placesBetween(from, undefined), found);
  const isKept = ({ generation }: PagedFacts): boolean => generation <= lastGeneration;
  let tally = tallyOf(marksOf(found.blocks.filter(isKept)));
  for (const page of pages) tally = together(tally, page.tally);
  const isAsExpected = expected?.count === tally.count && expected.sum === tally.sum;
  if (keys.length > 0 && !isAsExpected) {
    found.blocks.length = 0;
    found.damaged.length = 0;
    await readFacts(database, sealer, rangeOf(keyKind.facts), found);
    tally = tallyOf(marksOf(found.blocks.filter(isKept)));
    pages.length = 0;
  }
  const made = new Map<number, Block[]>();
  const blockOf = ({ generation, ordinal, topic, facts, mark }: PagedFacts): Block => {
    const block = new Block(generation, ordinal, state.topics.of(topic), facts, mark);
    const list = made.get(generation);
    if (list === undefined) made.set(generation, [block]);
    else list.push(block);
    return block;
  };
  for (const page of pages) state.pages.load(page.from, page.to, unpackPage(page, blockOf));
  for (const [generation, blocks] of made) state.addBlocks(generation, blocks, true);
  made.clear();
  found.blocks.filter(isKept).forEach(blockOf);
  for (const [generation, blocks] of made) state.addBlocks(generation, blocks);
  const inUse = new Set(pages.map((page) => `${page.from.generation} ${page.from.ordinal}`));
  state.pages.giveUp(
    keys.filter((key) => {
      const { generation, ordinal } = decodeFactsKey(key);
      return !inUse.has(`${generation} ${ordinal}`);
    }),
  );
  return { tally, damaged: found.damaged, leftovers: found.blocks.filter((one) => !isKept(one)) };
}

/** The pages that can be read, in order, as far as they do not overlap; and the keys of all there are. */
async function readPages(database: KeyValueStore, sealer: Sealer): Promise<{ pages: Page[]; keys: Buffer[] }> {
  const pages: Page[] = [];
  const keys: Buffer[] = [];
  for await (const entries of database.entries(rangeOf(keyKind.factPage))) {
    for (const [key, sealed] of entries) {
      keys.push(key);
      const from = decodeFactsKey(key);
      try {
        const page = { from, ...readPage(sealer.openNow(key, sealed) ?? (await sealer.open(key, sealed))) };
        const before = pages.at(-1);
        if (before === undefined || comparePlaces(before.to, from) <= 0) pages.push(page);
      } catch (error) {
        if (!isDamage(error)) throw error;
      }
    }
  }
  return { pages, keys };
}

/** Facts that lie between two places; undefined: to the end of all. */
function placesBetween(from: FactsPlace, to: FactsPlace | undefined): KeyRange | undefined {
  if (to !== undefined && comparePlaces(from, to) >= 0) return undefined;
  return {
    gte: factsKey(from.generation, from.ordinal),
    lt: to === undefined ? rangeOf(keyKind.facts).lt : factsKey(to.generation, to.ordinal),
  };
}

async function readFacts(
  database: KeyValueStore,
  sealer: Sealer,
  range: KeyRange | undefined,
  { blocks, damaged }: FoundFacts,
): Promise<void> {
  if (range === undefined) return;
  for await (const entries of database.entries(range)) {
    for (const [key, sealed] of entries) {
      try {
        const mark = markOf(sealed);
        const value = sealer.openNow(key, sealed) ?? (await sealer.open(key, sealed));
        blocks.push({ ...decodeFactsKey(key), mark, ...decodeFacts(value) });
      } catch (error) {
        if (!isDamage(error)) throw error;
        damaged.push(key);
      }
    }
  }
}

/** What makes one value unreadable, and no more. */
export function isDamage(error: unknown): boolean {
  return error instanceof DamagedValue || error instanceof MalformedBytes || error instanceof SyntaxError;
}

function* marksOf(marked: Iterable<{ readonly mark: number }>): IterableIterator<number> {
  for (const { mark } of marked) yield mark;
}
