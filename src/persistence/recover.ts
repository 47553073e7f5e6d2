/** What the two halves of a store know, put together. */
import type { About } from "./about.js";
import type { PayloadCodec } from "./codec.js";
import { decodeDurable } from "./durable-state.js";
import { decodeDeadLetter, decodeDedup, decodeMessage, HandedOutMessage } from "./entry-mapping.js";
import { isDamage, loadBlocks } from "./load-blocks.js";
import { discrepancies, emptyTally, markOf, tallyOf } from "./ledger.js";
import type { Discrepancy, LedgerKind, Tally } from "./ledger.js";
import type { RecoveredState } from "./operations.js";
import type { SideTable } from "./side-table.js";
import type { StoreState } from "./state.js";
import { blockKey, factsKey, keyKind, rangeOf } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";
import type { OperationEntry } from "./wal/entries.js";
import type { WalRecord } from "./wal/scanner.js";

/** A value of the database that could not be read. It stays where it is, and counts as not there. */
export interface DamagedEntry {
  readonly what: LedgerKind;
  /** The key in hex. */
  readonly key: string;
}

/** Values of side tables that stand in the database, until recovery has handed them out. */
export interface LoadedValues {
  readonly delayed: Map<number, Uint8Array>;
  readonly deadLetters: Map<string, Uint8Array>;
  readonly dedup: Map<string, Uint8Array>;
  readonly retained: Map<string, Uint8Array>;
}

export interface LoadResult {
  readonly values: LoadedValues;
  readonly damaged: readonly DamagedEntry[];
  /** Where the database holds something else than it should: values are missing, or out of date. */
  readonly discrepancies: readonly Discrepancy[];
}

/**
 * Fills a new state with what the database has: all but the messages in blocks. Rejects with `DamagedValue` when the
 * database itself cannot go on reading.
 */
export async function loadDatabase(
  database: KeyValueStore,
  sealer: Sealer,
  state: StoreState,
  about: About,
  mayWrite: boolean,
): Promise<LoadResult> {
  const values: LoadedValues = { delayed: new Map(), deadLetters: new Map(), dedup: new Map(), retained: new Map() };
  const damaged: DamagedEntry[] = [];
  const found: Record<LedgerKind, Tally> = {
    block: emptyTally,
    durable: emptyTally,
    delayed: emptyTally,
    "dead-letter": emptyTally,
    dedup: emptyTally,
    retained: emptyTally,
  };
  const each = async (
    kind: number,
    what: DamagedEntry["what"],
    take: (key: Buffer, value: Buffer, mark: number) => void,
  ): Promise<void> => {
    for await (const entries of database.entries(rangeOf(kind))) {
      for (const [key, sealed] of entries) {
        try {
          const mark = markOf(sealed);
          const value = sealer.openNow(key, sealed) ?? (await sealer.open(key, sealed));
          take(key, value, mark);
          found[what] = tallyOf([mark], found[what]);
        } catch (error) {
          if (!isDamage(error)) throw error;
          damaged.push({ what, key: key.toString("hex") });
        }
      }
    }
  };
  state.raiseLastSeq(about.seq);
  state.raiseFloor(about.floor ?? 0);
  await each(keyKind.durable, "durable", (_key, value) => {
    state.loadDurable(decodeDurable(value));
  });
  const leftovers: Change[] = [];
  const blocks = await loadBlocks(database, sealer, state, about.generation, about.ledger?.block);
  found.block = blocks.tally;
  for (const key of blocks.damaged) damaged.push({ what: "block", key: key.toString("hex") });
  for (const { generation, ordinal, topic, facts } of blocks.leftovers) {
    leftovers.push(
      { key: factsKey(generation, ordinal), value: undefined },
      { key: blockKey(sealer.nameInKeys(topic), facts.firstSeq), value: undefined },
    );
  }
  if (mayWrite && leftovers.length > 0) await database.batch(leftovers);
  await each(keyKind.delayed, "delayed", (key, value, mark) => {
    const { seq } = decodeMessage(value);
    state.delayed.load(seq, key, mark);
    values.delayed.set(seq, value);
  });
  await each(keyKind.deadLetter, "dead-letter", (key, value, mark) => {
    const { id } = decodeDeadLetter(value);
    state.deadLetters.load(id, key, mark);
    values.deadLetters.set(id, value);
  });
  await each(keyKind.dedup, "dedup", (key, value, mark) => {
    const { dedupId, at } = decodeDedup(value);
    state.dedup.load(dedupId, key, mark, at);
    values.dedup.set(dedupId, value);
  });
  await each(keyKind.retained, "retained", (key, value, mark) => {
    const { topic } = decodeMessage(value);
    state.retained.load(topic, key, mark);
    values.retained.set(topic, value);
  });
  const isDamaged = (kind: LedgerKind): number => damaged.filter(({ what }) => what === kind).length;
  const { ledger } = about;
  return {
    values,
    damaged,
    discrepancies: ledger === undefined ? [] : discrepancies(ledger, found, isDamaged),
  };
}

/** Applies what the log has beyond the checkpoint. Tells what a lost database must have had. */
export class LogReplayer {
  readonly #state: StoreState;
  readonly #takesDurables: boolean;
  /** The highest message number of a checkpoint that the log tells of. */
  checkpointSeq = 0;
  firstLsn = Infinity;

  /** @param takesDurables whether durables are taken from checkpoint records, the database having lost them */
  constructor(state: StoreState, takesDurables: boolean) {
    this.#state = state;
    this.#takesDurables = takesDurables;
  }

  take(records: readonly WalRecord[]): void {
    for (const { lsn, entry, bytes } of records) {
      this.firstLsn = Math.min(this.firstLsn, lsn);
      this.#state.apply(lsn, entry, bytes, false);
      // The message itself may be lost: its number must not go to another, which would count as settled.
      if (entry.type === "settle") this.#state.raiseLastSeq(entry.seq);
      else if (entry.type === "transaction") this.#raiseToSettled(entry.operations);
      if (entry.type !== "checkpoint") continue;
      this.checkpointSeq = Math.max(this.checkpointSeq, entry.seq);
      this.#state.raiseLastSeq(entry.seq);
      if (this.#takesDurables) this.#state.mergeDurables(entry.data);
    }
  }

  #raiseToSettled(operations: readonly OperationEntry[]): void {
    for (const operation of operations) if (operation.type === "settle") this.#state.raiseLastSeq(operation.seq);
  }
}

/** What the caller is told, made from the state and what the database had. */
export function recoveredState(state: StoreState, values: LoadedValues, payloads: PayloadCodec): RecoveredState {
  state.pruneDedup();
  // What is below a durable's beginning is not its own: where the messages there are lost, or were not imported, what comes is.
  for (const { start } of state.durables) state.raiseLastSeq(start);
  const merged = <Key>(table: SideTable<Key>, loaded: ReadonlyMap<Key, Uint8Array>): Uint8Array[] => {
    const found: Uint8Array[] = [];
    for (const [key, value] of table) {
      const bytes = value ?? loaded.get(key);
      if (bytes !== undefined) found.push(bytes);
    }
    return found;
  };
  const message = (bytes: Uint8Array): HandedOutMessage => new HandedOutMessage(decodeMessage(bytes), payloads);
  return {
    lastSeq: state.lastSeq,
    durables: [...state.durables].map((durable) => durable.recovered()),
    delayed: merged(state.delayed, values.delayed)
      .map(message)
      .sort((a, b) => a.seq - b.seq),
    dedup: merged(state.dedup, values.dedup).map(decodeDedup),
    deadLetters: merged(state.deadLetters, values.deadLetters).map((bytes) => {
      const { id, facts, entry } = decodeDeadLetter(bytes);
      return { id, facts, message: new HandedOutMessage(entry, payloads) };
    }),
    retained: merged(state.retained, values.retained).map(message),
  };
}
