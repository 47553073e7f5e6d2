import { LRUCache } from "lru-cache";
import { Ring } from "../collections/ring.js";
import { brokerError, errorText, quote } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import type { Attempt, Delivery, FlightOutcome, Settler } from "../message/delivery.js";
import { settleRefused } from "../message/delivery.js";
import type { NackOptions } from "../message/message.js";
import { fulfilled, quietRejection } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import type { TimerLine } from "./timers.js";

/** Why a message was given up on by a consumer. */
export type GiveUpReason = "rejected" | "max-deliveries";

/** What the ack tracker needs of the broker around it. */
export interface AckHost {
  readonly random: () => number;
  /** Wall-clock time, for the history. */
  now(): number;
  /** Has `startTimers` called at the end of the turn; null where a timer must start at once, for a clock that a test moves. */
  readonly watchTurn: (() => void) | null;
  /** Keeps or drops a message that was given up on, and says which. */
  giveUp(delivery: Delivery, reason: GiveUpReason, history: readonly Attempt[]): FlightOutcome;
  /** Runs both halves of giving up; a store keeps them as one. */
  together<Result>(run: () => Result): Result;
  /** Told of every decision; null while nobody asks. */
  readonly onSettle: ((delivery: Delivery, decision: Decision) => void) | null;
  /** A subscription's backoff threw, or returned nonsense. */
  backoffFailed(error: unknown, delivery: Delivery): void;
  redelivering(delivery: Delivery, delayMs: number, reason: string | undefined): void;
}

/** How a delivery was decided. */
export type Decision = "ack" | "nack" | "reject" | "timeout";

/** The entries of a history that are kept: the first says how it began, the last ones how it ended. */
const historyKept = 20;
/** Ids of deliveries that were taken back, kept to tell "too late" from "twice". */
const lostIdsKept = 10_000;
/** Milliseconds until the next delivery where a subscription's backoff fails. */
const fallbackBackoffMs = 1_000;
/** A timeout that fires this late, in milliseconds, was held up by a blocked event loop. */
const lateMs = 20;

/**
 * Decides deliveries: once each, by acknowledgement, by the consumer giving them back or up, or by time.
 *
 * It keeps nothing for a delivery but its timer; a delivery is found by id only from when somebody has read that id.
 * Nearly every delivery is settled in the turn of the event loop in which it was handed out. So a timer starts at the end
 * of that turn, and most never do; a timeout lasts longer by up to a turn, never shorter.
 *
 * Timeouts are in event-loop time: where a blocked loop made one late, the consumer gets one more round to settle
 * before the delivery is taken back, since it had no chance to.
 */
export class AckTracker implements Settler {
  readonly #host: AckHost;
  readonly #deadlines: TimerLine;
  readonly #known = new Map<string, Delivery>();
  /** Made for the first of them: it takes its memory at once, and most brokers lose none. */
  #lostIds: LRUCache<string, true> | null = null;
  readonly #spared = new WeakSet<Delivery>();
  /** Deliveries whose timers start at the end of the turn, and beside each its timeout. */
  readonly #starting = new Ring<Delivery>();
  readonly #startingMs = new Ring<number>();
  #lastId = 0;
  /** Settles that came too late or twice. */
  refused = 0;

  constructor(host: AckHost, deadlines: TimerLine) {
    this.#host = host;
    this.#deadlines = deadlines;
  }

  begin(delivery: Delivery, ackTimeoutMs: number): void {
    if (delivery.timeout !== "none") return;
    if (this.#host.watchTurn === null || ackTimeoutMs === Infinity) {
      this.#start(delivery, ackTimeoutMs);
      return;
    }
    delivery.timeout = "pending";
    this.#forgetSettled();
    if (this.#starting.length === 0) this.#host.watchTurn();
    this.#starting.push(delivery);
    this.#startingMs.push(ackTimeoutMs);
  }

  /**
   * Lets go of what was settled meanwhile, at either end: with a consumer that is done with one before it begins the next,
   * or with several that take turns, that is nearly all. The others would stay, with their messages, until the turn ends.
   */
  #forgetSettled(): void {
    const deliveries = this.#starting;
    for (let last = deliveries.peekLast(); last !== undefined && !isUndecided(last); last = deliveries.peekLast()) {
      deliveries.pop();
      this.#startingMs.pop();
    }
    for (let first = deliveries.peek(); first !== undefined && !isUndecided(first); first = deliveries.peek()) {
      deliveries.shift();
      this.#startingMs.shift();
    }
  }

  /** The turn is over: starts the timers of what it left unsettled. */
  startTimers(): void {
    for (let left = this.#starting.length; left > 0; left -= 1) {
      const delivery = this.#starting.shift() as Delivery;
      const ackTimeoutMs = this.#startingMs.shift() as number;
      if (isUndecided(delivery) && delivery.timeout === "pending") this.#start(delivery, ackTimeoutMs);
    }
  }

  ack(delivery: Delivery): Promise<void> {
    if (delivery.state !== "inFlight") return this.#refuse(delivery);
    this.#decide(delivery);
    const kept = delivery.source.finish(delivery, "delivered");
    this.#host.onSettle?.(delivery, "ack");
    return kept;
  }

  nack(delivery: Delivery, options: NackOptions | undefined): Promise<void> {
    if (options !== undefined) {
      try {
        checkNackOptions(options);
      } catch (error) {
        return quietRejection(error as Error);
      }
    }
    if (delivery.state !== "inFlight") return this.#refuse(delivery);
    this.#decide(delivery);
    delivery.source.counters.nacked += 1;
    this.#host.onSettle?.(delivery, "nack");
    const reason = reasonText(options?.reason);
    return this.#tryAgain(delivery, this.#remember(delivery, "nacked", reason), options?.delay, reason);
  }

  reject(delivery: Delivery, reason: string | undefined): Promise<void> {
    if (delivery.state !== "inFlight") return this.#refuse(delivery);
    this.#decide(delivery);
    this.#host.onSettle?.(delivery, "reject");
    return this.#giveUp(delivery, "rejected", this.#remember(delivery, "rejected", reasonText(reason)));
  }

  extend(delivery: Delivery, ms: number): Promise<void> {
    if (!(typeof ms === "number" && ms > 0)) {
      return quietRejection(
        brokerError("ERR_INVALID_OPTION", `extend takes more than 0 milliseconds; got ${quote(ms)}`, {
          option: "ms",
        }),
      );
    }
    if (delivery.state !== "inFlight" && delivery.state !== "staged") return this.#refuse(delivery);
    // A new deadline has a round of its own to be late in.
    this.#spared.delete(delivery);
    this.#start(delivery, ms);
    return fulfilled;
  }

  timedOut(delivery: Delivery, late: number): void {
    if (late > lateMs && !this.#spared.has(delivery)) {
      this.#spared.add(delivery);
      delivery.timer = this.#deadlines.after(1, delivery);
      return;
    }
    this.#lose(delivery);
    delivery.source.counters.timedOut += 1;
    this.#host.onSettle?.(delivery, "timeout");
    const reason = "ack timeout";
    void this.#tryAgain(delivery, this.#remember(delivery, "timed-out", reason), undefined, reason);
  }

  takeBack(delivery: Delivery): void {
    this.#lose(delivery);
    const history = this.#remember(delivery, "returned", undefined);
    void delivery.source.giveBack(delivery, 0, history, true);
    this.#host.redelivering(delivery, 0, "its consumer has gone");
  }

  forget(delivery: Delivery): void {
    this.#lose(delivery);
  }

  identify(delivery: Delivery): string {
    if (delivery.knownAs !== null) return delivery.knownAs;
    this.#lastId += 1;
    const id = `${delivery.message.seq}-${delivery.deliveryCount}-${this.#lastId}`;
    delivery.knownAs = id;
    if (delivery.state === "inFlight" || delivery.state === "staged") this.#known.set(id, delivery);
    else if (delivery.state === "lost") this.#rememberLost(id);
    return id;
  }

  /** The delivery in flight with that id. Throws as a late settle does where there is none. */
  find(deliveryId: string): Delivery {
    const delivery = this.#known.get(deliveryId);
    if (delivery !== undefined) return delivery;
    this.refused += 1;
    const wasLost = typeof deliveryId === "string" && this.#lostIds?.peek(deliveryId) === true;
    throw wasLost
      ? brokerError(
          "ERR_DELIVERY_EXPIRED",
          `delivery ${quote(deliveryId)} was taken back (ack timeout or end of the subscription); raise ackTimeout, or extend it in time`,
          { deliveryId },
        )
      : brokerError(
          "ERR_ALREADY_SETTLED",
          `no delivery ${quote(deliveryId)} is in flight: it was settled already, or this broker never made it`,
          { deliveryId },
        );
  }

  /** Settles inside a transaction: undecided until `unstage`, but nobody else may settle it. */
  stage(delivery: Delivery): void {
    if (delivery.state !== "inFlight") {
      this.refused += 1;
      throw delivery.settleError();
    }
    delivery.moveTo("staged");
  }

  /** Gives a staged delivery back to its consumer's hands, to be settled now or later. */
  unstage(delivery: Delivery): void {
    if (delivery.state === "staged") delivery.moveTo("inFlight");
  }

  #start(delivery: Delivery, ackTimeoutMs: number): void {
    if (delivery.timer !== null) this.#deadlines.cancel(delivery.timer);
    delivery.timer = ackTimeoutMs === Infinity ? null : this.#deadlines.after(ackTimeoutMs, delivery);
    delivery.timeout = "started";
  }

  #decide(delivery: Delivery): void {
    delivery.moveTo("settled");
    this.#stop(delivery);
  }

  #lose(delivery: Delivery): void {
    delivery.moveTo("lost");
    if (delivery.knownAs !== null) this.#rememberLost(delivery.knownAs);
    this.#stop(delivery);
  }

  #rememberLost(deliveryId: string): void {
    this.#lostIds ??= new LRUCache<string, true>({ max: lostIdsKept });
    this.#lostIds.set(deliveryId, true);
  }

  #stop(delivery: Delivery): void {
    if (delivery.timer !== null) {
      this.#deadlines.cancel(delivery.timer);
      delivery.timer = null;
    }
    if (delivery.knownAs !== null) this.#known.delete(delivery.knownAs);
  }

  #tryAgain(
    delivery: Delivery,
    history: readonly Attempt[],
    delay: number | undefined,
    reason: string | undefined,
  ): Promise<void> {
    const { maxDeliveries } = delivery.source.settings;
    if (delivery.deliveryCount >= maxDeliveries) return this.#giveUp(delivery, "max-deliveries", history);
    const delayMs = delay ?? this.#backoffMs(delivery);
    const kept = delivery.source.giveBack(delivery, delayMs, history, true);
    this.#host.redelivering(delivery, delayMs, reason);
    return kept;
  }

  /** A backoff is the user's code: what it throws, and what is no number of milliseconds, must not lose the message. */
  #backoffMs(delivery: Delivery): number {
    const { backoff } = delivery.source.settings;
    try {
      const ms = backoff(delivery.deliveryCount, this.#host.random);
      isLate(ms, (error) => this.#host.backoffFailed(error, delivery));
      if (Number.isFinite(ms)) return Math.max(0, ms);
      throw brokerError("ERR_INVALID_OPTION", `a backoff must return a number of milliseconds; got ${quote(ms)}`);
    } catch (error) {
      this.#host.backoffFailed(error, delivery);
      return fallbackBackoffMs;
    }
  }

  #giveUp(delivery: Delivery, reason: GiveUpReason, history: readonly Attempt[]): Promise<void> {
    delivery.history = history;
    return this.#host.together(() => delivery.source.finish(delivery, this.#host.giveUp(delivery, reason, history)));
  }

  #remember(delivery: Delivery, outcome: Attempt["outcome"], reason: string | undefined): readonly Attempt[] {
    const attempt: Attempt = {
      deliveryCount: delivery.deliveryCount,
      outcome,
      at: this.#host.now(),
      ...(reason === undefined ? {} : { reason }),
    };
    const history = delivery.history ?? [];
    return history.length < historyKept ? [...history, attempt] : [history[0] as Attempt, ...history.slice(2), attempt];
  }

  #refuse(delivery: Delivery): Promise<never> {
    this.refused += 1;
    return settleRefused(delivery);
  }
}

/** Throws `ERR_INVALID_OPTION` for a delay that is none, and for an option that does not exist. */
export function checkNackOptions(options: NackOptions): void {
  checkCallOptions("nack", options, ["delay", "reason"]);
  const { delay } = options;
  if (delay === undefined || (Number.isFinite(delay) && delay >= 0)) return;
  throw brokerError("ERR_INVALID_OPTION", `delay must be 0 or more milliseconds; got ${quote(delay)}`, {
    option: "delay",
  });
}

/** A reason goes into histories, events and the store, so that it is a text whatever was given. */
function reasonText(reason: unknown): string | undefined {
  return reason === undefined || typeof reason === "string" ? reason : errorText(reason);
}

function isUndecided({ state }: Delivery): boolean {
  return state === "inFlight" || state === "staged";
}
