/**
 * What the broker needs of a store, and no more: it knows none by name. `levelPersistence` of `inproc-broker/persistence`
 * is one; its own types have the same shape.
 */
import type { UndecodedPayload } from "../message/undecoded-payload.js";
import type { Clock } from "../platform/clock.js";
import type { WorkOptions } from "../platform/progress.js";
import type { Random } from "../platform/random.js";

/**
 * How far a message must have come before its publish resolves, and what is lost otherwise.
 *
 * - `memory`: at once; lost with the process.
 * - `os`: with the operating system; survives the process, not the machine.
 * - `interval`: as `os`, and on the disk within the store's `interval`.
 * - `group`: on the disk, together with others that come at the same time.
 * - `always`: on the disk, without waiting for others to share the trip.
 */
export type Durability = "memory" | "os" | "interval" | "group" | "always";

export const durabilities: readonly Durability[] = ["memory", "os", "interval", "group", "always"];

/** A store that a broker can be given as its option `persistence`: what `levelPersistence(options)` returns. */
export interface Persistence {
  /** Patterns of the topics that are stored; what is published to others stays in memory. */
  readonly topics: readonly string[];
  /** @internal Opens it for a broker, and repairs what a crash left. */
  open(host: StoreHost): Promise<Store>;
}

/** What a store is told by the broker that opens it. */
interface StoreHost {
  readonly clock: Clock;
  readonly random: Random;
  /** How long and how many dedup ids are remembered. */
  readonly dedup: { readonly window: number; readonly maxEntries: number };
  /** The store takes messages, or does not; with the error that publishes get now. */
  readonly stateChanged: (state: StoreState, error: Error | undefined) => void;
  /** Something the store lives with, and somebody should know of. */
  readonly problem: (problem: StoreTrouble) => void;
  /**
   * Asked before a checkpoint, where something has expired that durables may have to settle. What they still have to settle when
   * it has resolved is kept; the rest of what has expired is removed. Must not wait for what waits for a checkpoint.
   */
  readonly expired: () => Promise<void>;
}

/** `open`; `full`: no messages, but settles; `failed`: nothing, until it is opened again. */
export type StoreState = "open" | "full" | "failed" | "closing" | "closed";

interface StoreTrouble {
  readonly kind: string;
  readonly message: string;
  readonly cause?: unknown;
}

/** The facts of a message, on the way in and on the way out. All dates in milliseconds since 1970. */
export interface StoredFacts {
  readonly seq: number;
  readonly timestamp: number;
  readonly topic: string;
  readonly id: string;
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly priority: number;
  readonly expiresAt?: number | undefined;
  readonly deliverAt?: number | undefined;
  readonly dedupId?: string | undefined;
  readonly replyTo?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly retain?: boolean | undefined;
  /**
   * Of a stored message: decoded when it is read first; throws `ERR_STORE_CORRUPT` where the codec fails, and
   * `ERR_INVALID_OPTION` where it is another one's.
   */
  readonly data: unknown;
  /** Of a stored message: its payload as it is, for who cannot have `data`. As a step's `data` it is stored as it is again. */
  readonly undecoded?: UndecodedPayload;
}

export interface SettleStep {
  readonly type: "settle";
  readonly durable: string;
  readonly seq: number;
  /** `attempt`: handed out once more, and not settled. Every other outcome settles it. */
  readonly outcome: "ack" | "reject" | "dead" | "expired" | "attempt";
  /** Of an `ack`: 0 where the durable does not want it, so that it uses up nothing of a work queue. */
  readonly deliveryCount: number;
  /** Of an `attempt`: when it is due again. */
  readonly retryAt?: number | undefined;
  readonly reason?: string | undefined;
}

/** One change. Several in one `append` are all there after a crash, or none. */
export type StoreStep =
  | { readonly type: "publish"; readonly message: StoredFacts }
  | SettleStep
  | {
      readonly type: "durable";
      readonly change: "created" | "changed" | "deleted";
      readonly name: string;
      readonly patterns: readonly string[];
      readonly position: number;
      readonly options?: unknown;
    }
  | {
      readonly type: "dead-letter-added";
      readonly id: string;
      readonly message: StoredFacts;
      readonly facts: unknown;
    }
  | { readonly type: "dead-letter-removed"; readonly id: string }
  | { readonly type: "delayed-removed"; readonly seq: number }
  | { readonly type: "dedup-cleared" }
  | { readonly type: "retained-cleared"; readonly topic: string };

/** What a store knew when it was opened. */
export interface Recovered {
  readonly lastSeq: number;
  readonly durables: readonly { readonly name: string; readonly patterns: readonly string[] }[];
  readonly delayed: readonly StoredFacts[];
  readonly dedup: readonly {
    readonly dedupId: string;
    readonly seq: number;
    readonly id: string;
    readonly at: number;
  }[];
  readonly deadLetters: readonly { readonly id: string; readonly message: StoredFacts; readonly facts: unknown }[];
  readonly retained: readonly StoredFacts[];
}

/** A message that a durable has still to settle. */
export interface PendingMessage {
  readonly message: StoredFacts;
  /** Hand-overs so far. */
  readonly deliveryCount: number;
  readonly retryAt: number | undefined;
  /** An attempt with the count 0 was noted: it is a dead letter that was driven again. */
  readonly isDriven: boolean;
}

/** A page of what a durable has still to settle. */
interface BacklogPage {
  readonly messages: readonly PendingMessage[];
  /** Everything through it was looked at. */
  readonly throughSeq: number;
  readonly hasMore: boolean;
}

/** A place in history: a message's number, or a time. */
export type HistoryPoint =
  | {
      /** A message's number. */
      readonly seq: number;
    }
  | {
      /** Milliseconds since 1970, or a `Date`. */
      readonly time: number | Date;
    };

/** The same, as the store takes it. */
export type StorePoint = { readonly seq: number } | { readonly time: number };

/** Which part of history. */
export interface HistoryRange {
  /** The first message, included; absent: the oldest. */
  readonly from?: StorePoint | undefined;
  /** The last message, included; absent: the last one there is when the replay begins. */
  readonly to?: StorePoint | undefined;
  /** Messages at most. */
  readonly limit?: number | undefined;
}

/** What opening a store found and did. Plain data. */
export interface RecoveryReport {
  /** `new`, `opened`, or (a loss) `missing`, `broken`. */
  readonly database: string;
  /** Where a broken database was moved to. */
  readonly movedTo: string | undefined;
  /** Set where the database was lost: messages up to this number that were in it are gone. */
  readonly lostThroughSeq: number | undefined;
  /** Values of the database that cannot be read. */
  readonly damaged: readonly {
    /** What it was: a block of messages, a durable, … */
    readonly what: string;
    /** Its key in the database, in hex. */
    readonly key: string;
  }[];
  /** The log: what was read, cut off its end, and set aside. */
  readonly log: {
    /** Files in use. */
    readonly segments: number;
    /** Records read. */
    readonly records: number;
    /** Bytes read. */
    readonly bytes: number;
    /** Bytes cut off the end: a write that was cut short, or what the policy demanded. */
    readonly cutBytes: number;
    /** Damaged ranges that were set aside. */
    readonly quarantined: readonly object[];
  };
  /** Messages in the database. */
  readonly messagesInBlocks: number;
  /** Messages in the log that no checkpoint has moved yet. */
  readonly messagesInLog: number;
  /** In words, what somebody should know. */
  readonly warnings: readonly string[];
  /** Milliseconds. */
  readonly durationMs: number;
}

/** The store in numbers. */
export interface StoreFigures {
  /** Messages in the database. */
  readonly messagesInBlocks: number;
  /** Messages in the log. */
  readonly messagesInLog: number;
  /** Bytes of what is kept. */
  readonly liveBytes: number;
  /** Bytes of all files. */
  readonly totalBytes: number;
  /** Bytes free on the disk. */
  readonly freeBytes: number;
  /** Checkpoints since it was opened. */
  readonly checkpoints: number;
  /** Checkpoints that failed; each is tried again. */
  readonly failedCheckpoints: number;
}

/** Figures that cost no look at the files. */
export interface StoreMetrics {
  /** `open`; `full`: no messages, but settles; `failed`: nothing. */
  readonly state: StoreState;
  /** Durable subscriptions, connected or not, and subscriptions that began in the past. */
  readonly durables: number;
  /** Messages kept. */
  readonly messages: number;
  /** The log's files. */
  readonly segments: number;
  /** Bytes of them. */
  readonly logBytes: number;
  /** Bytes of the log and of the database's blocks. */
  readonly liveBytes: number;
  /** Bytes of all of the store's files, as of the last look at the disk. */
  readonly totalBytes: number;
  /** Bytes that this process may still write on the store's disk, as of the same look. */
  readonly freeBytes: number;
  /** Bytes that wait to be written. */
  readonly bufferedBytes: number;
  /** Syncs of the disk. */
  readonly syncs: number;
  /** Milliseconds of all of them. */
  readonly syncMs: number;
  /** Checkpoints. */
  readonly checkpoints: number;
  /** Checkpoints that failed; each is tried again. */
  readonly failedCheckpoints: number;
}

/** What a backup wrote. */
export interface BackupInfo {
  /** Files of the copy. */
  readonly files: number;
  /** Bytes of the copy. */
  readonly bytes: number;
}

/** An open store. Numbers of messages ascend from append to append. */
export interface Store {
  readonly recovered: Recovered;
  readonly recoveryReport: RecoveryReport;
  readonly state: StoreState;
  /** The level of an append that names none. */
  readonly durability: Durability;
  /** The highest number that an append has named. */
  readonly lastSeq: number;
  forgetRecovered(): void;
  /**
   * Stores steps as one. They are in order before the call returns; the promise resolves when they have reached the level
   * (absent: the store's own), and rejects where they were refused.
   */
  append(steps: readonly StoreStep[], level?: Durability): Promise<void>;
  /** Throws what `append` would reject with because of what the steps are; changes nothing. */
  check(steps: readonly StoreStep[]): void;
  /** Undefined while `append` takes messages; else a promise to wait for before asking again. */
  ready(): Promise<void> | undefined;
  flush(): Promise<void>;
  /** The next of a durable's backlog; with `withExpired` what has expired too, as far as it is still there. */
  pending(
    durable: string,
    afterSeq: number,
    limit: number,
    maxBytes?: number,
    withExpired?: boolean,
  ): Promise<BacklogPage>;
  /** The next of what a durable has to settle although it has expired, above `afterSeq` and through `throughSeq`. For `expired`. */
  expired(durable: string, range: { readonly afterSeq: number; readonly throughSeq: number }): Promise<BacklogPage>;
  backlog(durable: string): { readonly messages: number };
  replayPages(
    patterns: readonly string[],
    range: HistoryRange,
  ): AsyncGenerator<readonly StoredFacts[], void, undefined>;
  figures(): StoreMetrics;
  stats(): Promise<StoreFigures>;
  backup(target: string, options?: WorkOptions): Promise<BackupInfo>;
  compact(options?: WorkOptions): Promise<void>;
  close(): Promise<void>;
}
