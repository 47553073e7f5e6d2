/**
 * What the database must hold, kept in its own first entry: for each kind of value how many there are, and the sum of
 * their checksums. LevelDB passes over damage in its files without a word (a record of its journal that cannot be read, a
 * key with a flipped bit), and what is not there has no checksum of its own.
 */

/** Kinds of value that are counted. A block's own bytes are missed when they are read: the facts about it say that there is one. */
const ledgerKinds = ["block", "durable", "delayed", "dead-letter", "dedup", "retained"] as const;

export type LedgerKind = (typeof ledgerKinds)[number];

/** How many values, and the sum of their checksums modulo 2^32. */
export interface Tally {
  readonly count: number;
  readonly sum: number;
}

export type Ledger = Readonly<Record<LedgerKind, Tally>>;

/** A kind of which the database holds something else than it should. */
export interface Discrepancy {
  readonly what: LedgerKind;
  readonly expected: number;
  readonly found: number;
}

export const emptyTally: Tally = { count: 0, sum: 0 };

/** The checksum that a sealed value begins with: it covers key and value, so it stands for both. */
export function markOf(sealed: Buffer): number {
  return sealed.readUInt32LE(0);
}

export function tallyOf(marks: Iterable<number>, from: Tally = emptyTally): Tally {
  let { count, sum } = from;
  for (const mark of marks) {
    count++;
    sum = (sum + mark) >>> 0;
  }
  return { count, sum };
}

export function together(one: Tally, other: Tally): Tally {
  return { count: one.count + other.count, sum: (one.sum + other.sum) >>> 0 };
}

export function without(tally: Tally, marks: Iterable<number>): Tally {
  const { count, sum } = tallyOf(marks);
  return { count: tally.count - count, sum: (tally.sum - sum) >>> 0 };
}

/**
 * Compares what was found intact with what should be there.
 *
 * @param damaged values that were found and cannot be read: they are reported by themselves
 */
export function discrepancies(
  expected: Ledger,
  found: Ledger,
  damaged: (kind: LedgerKind) => number,
): readonly Discrepancy[] {
  return ledgerKinds.flatMap((what) => {
    const [wanted, got] = [expected[what], found[what]];
    if (wanted.count === got.count && wanted.sum === got.sum) return [];
    const unreadable = damaged(what);
    if (unreadable > 0 && wanted.count === got.count + unreadable) return [];
    return [{ what, expected: wanted.count, found: got.count }];
  });
}
