import type { PublishedMessage } from "../message/message.js";

/** What became of a message in one subscription at the time of its publish. */
export interface SubscriptionReport {
  /** Its name, or its group's. */
  readonly subscription: string;
  /**
   * queued: in its queue. waiting: in its queue beyond the bound, which the publish waits for.
   * dropped: its overflow policy dropped it. filtered: its filter did not want it.
   */
  readonly outcome: "queued" | "waiting" | "dropped" | "filtered";
}

/** What a publish answers. */
export interface Receipt {
  /** The message's id: the given one, or one that sorts by time. */
  readonly id: string;
  /** The broker's sequence number; 0 while the message is staged in a transaction. */
  readonly seq: number;
  /**
   * Subscriptions and groups it went to; 0 also while it is delayed or staged, and for a duplicate of a message that was
   * published before the store was opened: the store keeps its id and seq.
   */
  readonly matched: number;
  /** True where its `dedupId` was known: this is the first one's receipt, and nothing was delivered. */
  readonly duplicate: boolean;
  /** With `report: true`: what became of it in each subscription. */
  readonly report?: readonly SubscriptionReport[];
}

/** The receipt of a message: plain data, so that it can be copied and sent, and keeps no payload in memory. */
export function receiptOf(message: PublishedMessage, matched: number, duplicate: boolean): Receipt {
  return { id: message.id, seq: message.seq, matched, duplicate };
}
