import { expect } from "vitest";
import type { WalEntry } from "../../src/persistence/wal/entries.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import type { FaultyFileSystemOptions } from "../support/faulty-file-system.js";
import { fullEntries, openTestWal, plain, publishEntry, settleEntry } from "../persistence/wal/fixture.js";
import type { OpenedWal } from "../persistence/wal/fixture.js";

/** What a run of the workload knows at its end. */
export interface Run {
  readonly disk: FaultyFileSystem;
  /** Everything that was given a number, by number; a number that is given out again replaces the older entry. */
  readonly appended: Map<number, WalEntry[]>;
  /** What was acknowledged as being on the disk. */
  readonly acknowledged: Set<number>;
  /** What a checkpoint, stored elsewhere, covers. */
  checkpointLsn: number;
}

export const smallLog = { segmentBytes: 1500, reserveBytes: 200, bufferBytes: 100_000 };

/**
 * Opens a log, and appends every kind of record, alone and in groups, at every level, with rotations, removals
 * and a reopening on the way. Stops, as a broker would, at the first failure.
 */
export async function runWorkload(options: FaultyFileSystemOptions): Promise<Run> {
  const disk = new FaultyFileSystem(options);
  const run: Run = { disk, appended: new Map(), acknowledged: new Set(), checkpointLsn: 0 };
  try {
    for (let session = 0; session < 2; session++) {
      const wal = await openTestWal(disk, { ...smallLog, checkpointLsn: run.checkpointLsn });
      try {
        await oneSession(wal, run, session);
      } finally {
        await wal.writer.close().catch(() => undefined);
      }
    }
  } catch {
    // What was acknowledged until then is what counts.
  }
  return run;
}

async function oneSession(wal: OpenedWal, run: Run, session: number): Promise<void> {
  const { writer } = wal;
  const append = (entry: WalEntry): number => {
    const lsn = writer.append(entry);
    run.appended.set(lsn, [...(run.appended.get(lsn) ?? []), entry]);
    return lsn;
  };
  const store = async (entry: WalEntry, level: "os" | "group" | "always"): Promise<void> => {
    const lsn = append(entry);
    await writer.commit(lsn, level);
    if (level !== "os") run.acknowledged.add(lsn);
  };
  const together = async (entries: WalEntry[]): Promise<void> => {
    // Each is looked at by itself: a full disk refuses some and keeps others.
    const outcomes = await Promise.allSettled(entries.map((entry) => store(entry, "group")));
    const failed = outcomes.find(({ status }) => status === "rejected");
    if (failed?.status === "rejected" && writer.state === "failed") throw failed.reason as Error;
  };
  for (const entry of fullEntries()) await store(entry, "group");
  await store(publishEntry(session), "os");
  await together(Array.from({ length: 5 }, (_, seq) => (seq % 2 === 0 ? publishEntry(seq) : settleEntry(seq))));
  await store(publishEntry(10, { data: Buffer.alloc(700, 1) }), "always");
  await store(publishEntry(11, { data: Buffer.alloc(900, 2) }), "group");
  await store(publishEntry(15, { data: Buffer.alloc(800, 4) }), "os");
  await store(publishEntry(16, { data: Buffer.alloc(800, 5) }), "group");
  // A checkpoint: stored elsewhere first, then said in the log, then the segments go.
  await writer.flush();
  const lsn = writer.lastLsn - 2;
  run.checkpointLsn = lsn;
  await store({ type: "checkpoint", lsn, seq: 1, data: Buffer.alloc(0) }, "group");
  await writer.removeThrough(lsn);
  await together([publishEntry(12, { data: Buffer.alloc(600, 3) }), settleEntry(12)]);
  append(publishEntry(13));
  await writer.rotate();
  await store(settleEntry(13), "always");
  append(publishEntry(14));
}

/** Opens what a crash left, and compares it with what the run was promised; then writes on, and looks again. */
export async function checkRecovery(run: Run, disk: FaultyFileSystem, hint: string): Promise<void> {
  const options = { ...smallLog, checkpointLsn: run.checkpointLsn };
  const first = await openTestWal(disk, options);
  compare(run, first, hint);
  const entry = publishEntry(99);
  const lsn = first.writer.append(entry);
  await first.writer.commit(lsn, "group");
  await first.writer.close();
  expect(disk.openFiles, hint).toBe(0);
  const second = await openTestWal(disk.crash({ keep: "none" }), options);
  const expected = [...first.records, { lsn, entry }];
  expect(plain(second.records), hint).toEqual(plain(expected));
  expect(second.report.cutBytes, hint).toBe(0);
}

function compare(run: Run, wal: OpenedWal, hint: string): void {
  let last = 0;
  const found = new Set<number>();
  for (const { lsn, entry } of wal.records) {
    expect(lsn, hint).toBeGreaterThan(last);
    last = lsn;
    found.add(lsn);
    const candidates = (run.appended.get(lsn) ?? []).map((one) => JSON.stringify(plain(one)));
    expect(candidates, hint).toContain(JSON.stringify(plain({ ...entry })));
  }
  const missing = [...run.acknowledged].filter((lsn) => lsn > run.checkpointLsn && !found.has(lsn));
  expect(missing, `${hint}: acknowledged and gone; ${JSON.stringify(wal.report)}`).toEqual([]);
  const lost = wal.report.quarantined.filter(({ wasSynced }) => wasSynced);
  expect(lost, hint).toEqual([]);
}
