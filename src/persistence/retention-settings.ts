/** How long messages are kept, as it is given and as it is stored. */

/**
 * How long messages are kept that have not expired:
 *
 * | policy       | kept while a durable has to settle it | and besides                                     |
 * |--------------|---------------------------------------|-------------------------------------------------|
 * | `limits`     | yes, whatever the limits              | as history, within age, bytes and count         |
 * | `interest`   | yes                                   | no                                              |
 * | `work-queue` | until the first durable settles it    | while no durable has asked for it               |
 * | (none)       | yes                                   | within the limits, if it came when no durable matched it |
 *
 * Limits count over the whole store. Under `limits` what a durable's backlog alone keeps beyond them is no history: no other
 * reader sees it.
 */
export type RetentionPolicy = "limits" | "interest" | "work-queue";

/** What a store was last opened with, as its database keeps it. No limit is left out. */
export interface StoredRetention {
  /** What the limits mean; `until-settled` is what a store has that was opened without policy and limits. */
  readonly policy: RetentionPolicy | "until-settled";
  /** Milliseconds; absent: no limit, as for the others. */
  readonly maxAge?: number | undefined;
  /** Bytes that messages took in the log. */
  readonly maxBytes?: number | undefined;
  /** A number of messages. */
  readonly maxMessages?: number | undefined;
}

export interface RetentionSettings {
  readonly policy: RetentionPolicy | "until-settled";
  /** Milliseconds; Infinity for no limit, as for the others. */
  readonly maxAgeMs: number;
  /** As messages took them in the log. */
  readonly maxBytes: number;
  readonly maxMessages: number;
}

/** The settings in the form that the database keeps: JSON has no Infinity. */
export function retentionToStore({ policy, maxAgeMs, maxBytes, maxMessages }: RetentionSettings): StoredRetention {
  const limit = (value: number): number | undefined => (value === Infinity ? undefined : value);
  return { policy, maxAge: limit(maxAgeMs), maxBytes: limit(maxBytes), maxMessages: limit(maxMessages) };
}

/** What `retention: "stored"` means for a database; one that says nothing keeps everything. */
export function retentionAsStored(stored: StoredRetention | undefined): RetentionSettings {
  const { policy = "limits", maxAge = Infinity, maxBytes = Infinity, maxMessages = Infinity } = stored ?? {};
  return { policy, maxAgeMs: maxAge, maxBytes, maxMessages };
}

export function isSameRetention(some: RetentionSettings, other: RetentionSettings): boolean {
  return (
    some.policy === other.policy &&
    some.maxAgeMs === other.maxAgeMs &&
    some.maxBytes === other.maxBytes &&
    some.maxMessages === other.maxMessages
  );
}
