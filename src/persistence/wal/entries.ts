/** What the broker writes into the log. `entry-codec.ts` gives it its form as bytes. */
import type { ByteWriter } from "./byte-writer.js";

/** The facts of a message that was accepted. */
export interface MessageFacts {
  /** The message's number in the whole broker. */
  readonly seq: number;
  /** When it was published, in milliseconds since 1970. */
  readonly timestamp: number;
  readonly topic: string;
  readonly id: string;
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** 0 to 9. */
  readonly priority: number;
  /** Milliseconds since 1970, as all dates here. */
  readonly expiresAt?: number | undefined;
  readonly deliverAt?: number | undefined;
  readonly dedupId?: string | undefined;
  readonly replyTo?: string | undefined;
  readonly correlationId?: string | undefined;
  /** The topic keeps this message for later subscribers. */
  readonly retain?: boolean | undefined;
}

/** A message was accepted. */
export interface PublishEntry extends MessageFacts {
  readonly type: "publish";
  readonly retain: boolean;
  /** Which codec made `data`; 0 to 255, given meaning by the store. */
  readonly codec: number;
  /** The payload. Decoded, it is a view into the memory the log was read into: copy it to keep it for long. */
  readonly data: Uint8Array;
}

/** A message with its payload as the publisher gave it. */
export interface MessageToWrite extends MessageFacts {
  readonly data: unknown;
}

/** Makes bytes of payloads. */
export interface PayloadWriter {
  /** Writes a payload at the writer's end and returns its codec's number. */
  write(out: ByteWriter, data: unknown): number;
}

/** What became of a message for one durable subscription. */
export type SettleOutcome = "ack" | "reject" | "dead" | "expired" | "attempt";

export interface SettleEntry {
  readonly type: "settle";
  /** The durable subscription's name. */
  readonly durable: string;
  readonly seq: number;
  readonly outcome: SettleOutcome;
  readonly deliveryCount: number;
  /** For `attempt`: when it is due again. */
  readonly retryAt?: number | undefined;
  readonly reason?: string | undefined;
}

/** A durable subscription was created, changed or deleted. */
export interface SubscriptionEntry {
  readonly type: "subscription";
  readonly change: "created" | "changed" | "deleted";
  readonly name: string;
  readonly patterns: readonly string[];
  /** Its options in a form of the store's choosing (JSON). */
  readonly options: Uint8Array;
  /** It gets messages with a seq from here on. */
  readonly position: number;
}

/** Everything through `lsn` is in a checkpoint. */
interface CheckpointEntry {
  readonly type: "checkpoint";
  readonly lsn: number;
  /** The highest message number given out so far. */
  readonly seq: number;
  readonly data: Uint8Array;
}

/** Something this layer knows nothing of; the name says whose it is. */
export interface ExtensionEntry {
  readonly type: "extension";
  readonly name: string;
  readonly data: Uint8Array;
}

export type OperationEntry = PublishEntry | SettleEntry | SubscriptionEntry | ExtensionEntry;

/** Several operations that happened together: all are in the log, or none is. */
export interface TransactionEntry {
  readonly type: "transaction";
  readonly id: string;
  readonly timestamp: number;
  readonly operations: readonly OperationEntry[];
}

export type WalEntry = OperationEntry | CheckpointEntry | TransactionEntry;

/** True for what a full disk refuses: it carries messages. The rest is small, and makes room in the end. */
export function carriesMessages(entry: WalEntry): boolean {
  return (
    entry.type === "publish" ||
    (entry.type === "transaction" && entry.operations.some((operation) => operation.type === "publish"))
  );
}
