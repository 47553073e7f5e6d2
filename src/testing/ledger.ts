import type { Message } from "../index.js";
import type { PendingTimer } from "./test-clock.js";

/** How a message ended in one subscription. */
export type DeliveryOutcome = "acked" | "delivered" | "failed" | "rejected" | "dead" | "dropped" | "expired";

/** Where a message is in one subscription. */
export interface DeliveryState {
  readonly subscription: string;
  /** kept: in the store, since its broker has ended; it comes again to whoever subscribes to its durable. */
  where: "in flight" | "in backoff" | "kept" | "done";
  outcome: DeliveryOutcome | undefined;
  attempts: number;
  reason: string | undefined;
  /** True where a fault lost its acknowledgement: nothing but the ack timeout ends it. */
  isAckLost: boolean;
  /** Handlers of this subscription that have not come back from it. */
  running: number;
  /** Of these: how many a fault holds back until time moves. */
  held: number;
  /** When its backoff or its ack timeout is over, in milliseconds since 1970; Infinity: never. */
  dueAt: number;
}

/** What is known of a message. */
export interface TrackedMessage {
  readonly seq: number;
  readonly id: string;
  readonly topic: string;
  /** A copy from the time of publishing. */
  readonly data: unknown;
  /** In milliseconds since 1970; Infinity: never. */
  readonly expiresAt: number;
  /** When it is due, in milliseconds since 1970, while it is scheduled. */
  scheduledFor: number | undefined;
  /** Subscriptions and groups it went to; undefined while it is scheduled. */
  matched: number | undefined;
  readonly deliveries: Map<string, DeliveryState>;
  /** What led to it; null but in inline mode. */
  readonly cause: Cause | null;
}

/** In inline mode: what a publish of the application led to, down to a handler. */
export interface Cause {
  /** The subscriptions whose handlers are on the way to it, outermost first. */
  readonly handlers: readonly string[];
  /** Deliveries that one of those could not wait for, since they come to itself: the publish at the root waits for them. */
  readonly left: Promise<void>[];
}

/**
 * Where every message is, as the kit's plugin was told. Finished messages are forgotten, the oldest first, beyond a number
 * of them.
 */
export class Ledger {
  readonly #limit: number;
  readonly #bySeq = new Map<number, TrackedMessage>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(message: Message, data: unknown, cause: Cause | null): TrackedMessage {
    const known = this.#bySeq.get(message.seq);
    if (known !== undefined) return known;
    const { seq, id, topic } = message;
    const tracked: TrackedMessage = {
      seq,
      id,
      topic,
      data,
      expiresAt: message.expiresAt ?? Infinity,
      scheduledFor: undefined,
      matched: undefined,
      deliveries: new Map(),
      cause,
    };
    this.#bySeq.set(seq, tracked);
    if (this.#bySeq.size > this.#limit) this.#forgetOne();
    return tracked;
  }

  get(seq: number): TrackedMessage | undefined {
    return this.#bySeq.get(seq);
  }

  byId(id: string): TrackedMessage | undefined {
    for (const tracked of this.#bySeq.values()) if (tracked.id === id) return tracked;
    return undefined;
  }

  messages(): IterableIterator<TrackedMessage> {
    return this.#bySeq.values();
  }

  clear(): void {
    this.#bySeq.clear();
  }

  /** The broker has ended: what no durable has in the store will not come any more. */
  end(isDurable: (subscription: string) => boolean): void {
    for (const { deliveries } of this.#bySeq.values()) {
      for (const state of deliveries.values()) {
        state.running = 0;
        state.held = 0;
        if (state.where === "done") continue;
        state.dueAt = Infinity;
        state.where = isDurable(state.subscription) ? "kept" : "done";
        if (state.where === "done") state.outcome = "dropped";
        state.reason = "the broker ended";
      }
    }
  }

  /** A broker has begun, on a store that knows messages up to `lastSeq`, and these of them to be scheduled. */
  begin(lastSeq: number, scheduled: ReadonlySet<number>): void {
    for (const tracked of this.#bySeq.values()) {
      // Its number will be another message's.
      if (tracked.seq > lastSeq) this.#bySeq.delete(tracked.seq);
      if (tracked.scheduledFor === undefined || scheduled.has(tracked.seq)) continue;
      tracked.scheduledFor = undefined;
      tracked.matched ??= 0;
    }
  }

  /** What the messages wait for time for. */
  agenda(now: number): PendingTimer[] {
    const agenda: PendingTimer[] = [];
    const add = (at: number, what: string): void => void agenda.push({ at, inMs: at - now, what });
    for (const { topic, scheduledFor, deliveries } of this.#bySeq.values()) {
      if (scheduledFor !== undefined) add(scheduledFor, `the scheduled message on ${topic} is delivered`);
      for (const { subscription, where, dueAt, attempts, reason } of deliveries.values()) {
        if (where === "done" || dueAt === Infinity) continue;
        const why = reason === undefined ? "" : ` (after ${JSON.stringify(reason)})`;
        if (where === "in backoff") add(dueAt, `delivery ${attempts + 1} of ${topic} to ${subscription}${why}`);
        else add(dueAt, `the ack timeout of ${topic} in ${subscription}`);
      }
    }
    return agenda;
  }

  /** What expires where nothing takes it in time: what waits for a consumer, or in a backoff. */
  expiries(now: number): PendingTimer[] {
    const agenda: PendingTimer[] = [];
    for (const { topic, expiresAt, matched = 0, deliveries } of this.#bySeq.values()) {
      if (expiresAt === Infinity || expiresAt < now) continue;
      const isQueued = deliveries.size < matched;
      const isLate = [...deliveries.values()].some(({ where, dueAt }) => where === "in backoff" && dueAt > expiresAt);
      if (!isQueued && !isLate) continue;
      agenda.push({
        at: expiresAt,
        inMs: expiresAt - now,
        what: `the message on ${topic} expires where it still waits`,
      });
    }
    return agenda;
  }

  #forgetOne(): void {
    for (const tracked of this.#bySeq.values()) {
      if (!isFinished(tracked)) continue;
      this.#bySeq.delete(tracked.seq);
      return;
    }
  }
}

/** Whether a message has come to its end everywhere. */
export function isFinished({ matched, deliveries }: TrackedMessage): boolean {
  if (matched === undefined || deliveries.size < matched) return false;
  for (const { where, running } of deliveries.values()) if (where !== "done" || running > 0) return false;
  return true;
}
