import type { Receipt } from "../index.js";
import { afterRealTime } from "../platform/real-time.js";
import type { Kit } from "./kit.js";
import type { DeliveryOutcome, TrackedMessage } from "./ledger.js";
import { isFinished } from "./ledger.js";
import { activity, timedOut } from "./waits.js";

/** What became of a message in one subscription. */
export interface SendDelivery {
  /** The subscription or group. */
  readonly subscription: string;
  /** How it ended there. */
  readonly outcome: DeliveryOutcome;
  /** Hand-overs. */
  readonly attempts: number;
  /** Why it was given up on, dropped or given back last. */
  readonly reason: string | undefined;
}

/** What became of a message. */
export interface SendResult {
  /**
   * acked: done. delivered: handed over where nothing is acknowledged. failed: the same, and the handler threw.
   * rejected: given up by its consumer. dead: given up after its last attempt. dropped, expired: what they say.
   * unhandled: nobody subscribed. duplicate: its `dedupId` was known. Of several subscriptions, the worst.
   */
  readonly outcome: DeliveryOutcome | "unhandled" | "duplicate";
  /** Hand-overs; of several subscriptions, the most. */
  readonly attempts: number;
  /** What became of it in each subscription. */
  readonly deliveries: readonly SendDelivery[];
  /** What the publish answered. */
  readonly receipt: Receipt;
}

const worstFirst: readonly DeliveryOutcome[] = [
  "dead",
  "rejected",
  "expired",
  "dropped",
  "failed",
  "acked",
  "delivered",
];

/**
 * Waits for the end of a message. Where that takes nothing but time (a backoff, a schedule, an ack timeout after a lost
 * acknowledgement), a manual clock is moved on to it; where a handler is at work, it is waited for.
 */
export async function outcomeOf(kit: Kit, receipt: Receipt, timeoutMs: number): Promise<SendResult> {
  if (receipt.duplicate) return { outcome: "duplicate", attempts: 0, deliveries: [], receipt };
  const timeout = new AbortController();
  const cancel = afterRealTime(timeoutMs, () => {
    const what = `the message ${receipt.id} has not come to its end after ${timeoutMs} real milliseconds:\n`;
    timeout.abort(timedOut(kit, what + whereIs(kit.ledger.get(receipt.seq))));
  });
  try {
    for (;;) {
      await kit.clock.settle();
      const tracked = kit.ledger.get(receipt.seq);
      if (tracked === undefined || isFinished(tracked)) return resultOf(tracked, receipt);
      timeout.signal.throwIfAborted();
      if (kit.settings.mode === "manual" && (await kit.subscriptions.deliverOne())) continue;
      if (kit.clock.mode === "manual" && waitsForTime(tracked)) await kit.clock.runNext();
      else await activity(kit, timeout.signal);
    }
  } finally {
    cancel();
  }
}

function resultOf(tracked: TrackedMessage | undefined, receipt: Receipt): SendResult {
  const deliveries = [...(tracked?.deliveries.values() ?? [])].map(({ subscription, outcome, attempts, reason }) => ({
    subscription,
    outcome: outcome ?? "delivered",
    attempts,
    reason,
  }));
  const outcomes = deliveries.map(({ outcome }) => outcome);
  return {
    outcome: worstFirst.find((one) => outcomes.includes(one)) ?? "unhandled",
    attempts: Math.max(0, ...deliveries.map(({ attempts }) => attempts)),
    deliveries,
    receipt,
  };
}

function waitsForTime({ scheduledFor, deliveries }: TrackedMessage): boolean {
  if (scheduledFor !== undefined) return true;
  const open = [...deliveries.values()].filter(({ where, running }) => where !== "done" || running > 0);
  return (
    open.length > 0 &&
    open.every((one) => one.running === one.held && (one.held > 0 || one.where === "in backoff" || one.isAckLost))
  );
}

function whereIs(tracked: TrackedMessage | undefined): string {
  if (tracked === undefined) return "  it is not known any more";
  const lines = [...tracked.deliveries.values()].map(
    ({ subscription, where, attempts, running }) =>
      `  ${subscription}: ${where}${running > 0 ? ", its handler has not come back" : ""}, ${attempts} attempts`,
  );
  const missing = (tracked.matched ?? 0) - tracked.deliveries.size;
  if (missing > 0) lines.push(`  ${missing} of ${tracked.matched} subscriptions have not taken it`);
  return lines.join("\n");
}
