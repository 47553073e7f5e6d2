/**
 * What the store takes and gives: plain data, without a broker behind it.
 *
 * The broker declares the same shapes in its port (`broker/store-port.ts`), and the log in `wal/entries.ts`. They are apart by
 * design: none of the three layers may name another's types, and the log's are what is on the disk, which must not follow a
 * change of the others.
 */
import type { UndecodedPayload } from "../message/undecoded-payload.js";
import type { SettleOutcome } from "./wal/entries.js";

/** What is the same about a message on its way in and on its way out. All dates in milliseconds since 1970. */
export interface MessageFields {
  /** The message's number in the whole broker, from 1; each is higher than the one before. */
  readonly seq: number;
  /** When it was published. */
  readonly timestamp: number;
  /** Where it was published. */
  readonly topic: string;
  /** The message's id, unlike every other's. */
  readonly id: string;
  /** Messages with the same key stay in order. */
  readonly key?: string | undefined;
  /** As its publisher gave them. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** 0 to 9. */
  readonly priority: number;
  /** From then on nobody gets it. Absent: never. */
  readonly expiresAt?: number | undefined;
  /**
   * Set: the message waits. It is in no backlog and in no history until it is published again, with a new `seq` and
   * without this, in one batch with a `delayed-removed` for this one.
   */
  readonly deliverAt?: number | undefined;
  /** Remembered for the dedup window, from the moment the message is in the log. */
  readonly dedupId?: string | undefined;
  /** The topic that an answer goes to. */
  readonly replyTo?: string | undefined;
  /** What it belongs to: an answer has its request's. */
  readonly correlationId?: string | undefined;
}

/** A message to be stored. */
export interface MessageToStore extends MessageFields {
  /** The topic keeps this message as its last one. */
  readonly retain?: boolean | undefined;
  /** What the codec can carry; a `Uint8Array` is stored as it is. */
  readonly data: unknown;
}

/** A message as the store gives it back. */
export interface StoredMessage extends MessageFields {
  /** The topic kept, or keeps, this message as its last one. */
  readonly retain: boolean;
  /** Which codec made `payload`. */
  readonly codec: number;
  /** The payload's bytes; the message's own copy. */
  readonly payload: Uint8Array;
  /** How many bytes `payload` has. */
  readonly payloadBytes: number;
  /**
   * The payload, decoded when first asked for. Throws `ERR_STORE_CORRUPT` when the codec refuses the bytes,
   * `ERR_INVALID_OPTION` when it is another codec's.
   */
  readonly data: unknown;
  /** @internal The payload as it is; stored again as `data`, it stays that. */
  readonly undecoded: UndecodedPayload;
}

/** A message was accepted. */
interface PublishOperation {
  readonly type: "publish";
  readonly message: MessageToStore;
}

/** What became of a message for one durable. A repeat, or one for a message that is not pending, changes nothing. */
export interface SettleOperation {
  readonly type: "settle";
  readonly durable: string;
  readonly seq: number;
  /** `attempt`: not settled, but tried once more. Every other outcome settles it. */
  readonly outcome: SettleOutcome;
  /** 0 with `ack`: the durable did not want it, and never had it; so it uses up nothing of a work queue. */
  readonly deliveryCount: number;
  /** For `attempt`: when it is due again. */
  readonly retryAt?: number | undefined;
  readonly reason?: string | undefined;
}

/**
 * A durable comes, changes or goes.
 *
 * - `created`: it gets messages with a seq from `position` on, of those that are kept at that moment. One that exists is
 *   replaced, position and all.
 * - `changed`: what was published before stays pending only where both the old and the new patterns match; from
 *   `position` on, the new ones count. Position and acknowledgements stay.
 * - `deleted`: what only it was waiting for is freed.
 */
export interface DurableOperation {
  readonly type: "durable";
  readonly change: "created" | "changed" | "deleted";
  readonly name: string;
  readonly patterns: readonly string[];
  /** The first number that is its own: at most the next one. Numbers below it go to no message once the store was opened again. */
  readonly position: number;
  /**
   * JSON; kept and given back. The store looks at `isReader` alone: true for one that reads history. It gets what it has
   * asked for as any other, and what is kept besides does not depend on it. And it adds `notBefore` where one begins in
   * the past: what is older is beyond the limit of age.
   */
  readonly options?: unknown;
}

/** A message was given up on. The record is the caller's; the store keeps it by `id`. */
interface DeadLetterAddedOperation {
  readonly type: "dead-letter-added";
  readonly id: string;
  readonly message: MessageToStore;
  /** JSON: reason, subscription, history and whatever else goes with it. */
  readonly facts: unknown;
}

interface DeadLetterRemovedOperation {
  readonly type: "dead-letter-removed";
  readonly id: string;
}

/** A dedup id is taken though no message is stored under it. A stored message says so itself (`dedupId`). */
interface DedupOperation {
  readonly type: "dedup";
  readonly dedupId: string;
  /** Of the first message under it. */
  readonly seq: number;
  readonly id: string;
  readonly at: number;
}

/** Every dedup id that was taken so far is free. */
interface DedupClearedOperation {
  readonly type: "dedup-cleared";
}

/** A delayed message was delivered or cancelled. */
interface DelayedRemovedOperation {
  readonly type: "delayed-removed";
  readonly seq: number;
}

/** A topic keeps its last message no longer. */
interface RetainedClearedOperation {
  readonly type: "retained-cleared";
  readonly topic: string;
}

export type StoreOperation =
  | PublishOperation
  | SettleOperation
  | DurableOperation
  | DeadLetterAddedOperation
  | DeadLetterRemovedOperation
  | DedupOperation
  | DedupClearedOperation
  | DelayedRemovedOperation
  | RetainedClearedOperation;

/** A failed attempt at a message, and when it may be tried again. */
export interface AttemptState {
  readonly deliveryCount: number;
  readonly retryAt?: number | undefined;
  readonly reason?: string | undefined;
}

/** A message that a durable has not settled. */
export interface PendingMessage {
  readonly message: StoredMessage;
  /** Attempts so far; 0 when it was never tried. */
  readonly deliveryCount: number;
  readonly retryAt: number | undefined;
  /** An attempt with the count 0 was noted: it is delivered again, though not to this durable as far as it counts. */
  readonly isDriven: boolean;
}

/** A page of a durable's backlog. */
export interface PendingPage {
  /** In the order of their numbers. */
  readonly messages: readonly PendingMessage[];
  /** Where the next page starts: ask with this as `afterSeq`. */
  readonly throughSeq: number;
  /** False when there was nothing more at that moment. */
  readonly hasMore: boolean;
}

export interface DedupRecord {
  readonly dedupId: string;
  readonly seq: number;
  readonly id: string;
  readonly at: number;
}

interface DeadLetterRecord {
  readonly id: string;
  readonly message: StoredMessage;
  readonly facts: unknown;
}

/** A durable as recovery found it. */
export interface RecoveredDurable {
  readonly name: string;
  readonly patterns: readonly string[];
  readonly options: unknown;
  /** Everything through this number is settled, or was never its own. */
  readonly floor: number;
  /** Numbers above the floor that are settled, ascending. */
  settled(): IterableIterator<number>;
  readonly attempts: ReadonlyMap<number, AttemptState>;
}

/** What the store knew when it was opened. */
export interface RecoveredState {
  /** The highest message number given out; 0 when there is none. The next one must be above it. */
  readonly lastSeq: number;
  readonly durables: readonly RecoveredDurable[];
  /** Messages whose time has not come, by number. */
  readonly delayed: readonly StoredMessage[];
  /** Inside the window, oldest first. */
  readonly dedup: readonly DedupRecord[];
  /** Oldest first. */
  readonly deadLetters: readonly DeadLetterRecord[];
  /** The last message of each topic that keeps one. */
  readonly retained: readonly StoredMessage[];
}
