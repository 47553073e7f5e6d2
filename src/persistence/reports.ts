/** What the store tells about itself. Plain data. */
import type { CheckpointResult } from "./checkpoint.js";
import type { Discrepancy } from "./ledger.js";
import type { DatabaseFinding } from "./open-database.js";
import type { DamagedEntry } from "./recover.js";
import type { RecoveryReport as LogReport } from "./wal/open.js";
import type { WalStats } from "./wal/writer.js";

/** What opening the store found and did. Plain data. */
export interface StoreReport {
  readonly database: DatabaseFinding;
  /** Where a broken database was moved to. */
  readonly movedTo: string | undefined;
  /** The database was lost: messages up to this number that were in it are gone. Undefined: nothing was lost that way. */
  readonly lostThroughSeq: number | undefined;
  /** Values of the database that cannot be read. */
  readonly damaged: readonly DamagedEntry[];
  /** Where the database holds something else than it should: values were lost, or old ones came back. */
  readonly discrepancies: readonly Discrepancy[];
  readonly log: LogReport;
  /** Messages in blocks, and in the log. */
  readonly messagesInBlocks: number;
  readonly messagesInLog: number;
  readonly warnings: readonly string[];
  readonly durationMs: number;
}

/** The store in numbers. */
export interface StoreStats {
  readonly lastSeq: number;
  readonly topics: number;
  readonly durables: number;
  readonly blocks: number;
  readonly messagesInBlocks: number;
  readonly messagesInLog: number;
  /** Bytes that blocks and the log take; what is not live any more is in `totalBytes`. */
  readonly liveBytes: number;
  /** Bytes of all files. */
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly checkpoints: number;
  readonly failedCheckpoints: number;
  readonly lastCheckpoint: CheckpointResult | undefined;
  readonly log: WalStats;
}

/** How much a durable has still to settle. */
export interface BacklogStats {
  readonly messages: number;
  readonly attempted: number;
  readonly floor: number;
}
