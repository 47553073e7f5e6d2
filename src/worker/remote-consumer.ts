import type { Transferable } from "node:worker_threads";
import type { Message } from "../index.js";
import { toBuffers } from "./buffers.js";
import type { TimedDeadlines } from "./deadlines.js";
import type { DeliveryWriter } from "./delivery-writer.js";
import { NumberedItems } from "./numbered-items.js";
import { tell } from "./protocol.js";
import type { WireDecision } from "./protocol.js";
import type { FrameWriter } from "./frame-writer.js";
import { brokerError, textOf } from "./wire-error.js";

/** What hands messages to a remote consumer: a subscription of the broker, or a pool. */
export interface Source {
  pause(): void;
  resume(): void;
}

/** What a remote consumer needs of its session. */
export interface ConsumerHost {
  readonly writer: FrameWriter;
  readonly deliveries: DeliveryWriter;
  /** Milliseconds, read at most once a batch. */
  now(): number;
  /** The same, read now. */
  readonly deadlines: TimedDeadlines;
  /** An ack timeout has passed: the client may hang. */
  suspect(): void;
}

/** A delivery that the client has and nobody has decided. */
interface Flight {
  readonly message: Message;
  /** When its ack timeout should have passed, in milliseconds of `now`. */
  dueAt: number;
  isWatched: boolean;
}

/** Milliseconds after an ack timeout at which it is looked for. */
const graceMs = 5;

/**
 * A client's subscription, on the broker's side: sends as many deliveries as the client has granted, and knows those that
 * are not decided.
 *
 * | credits | source | a message |
 * |---|---|---|
 * | above 0, client answers | runs | is sent at once |
 * | 0, or the client is suspected, or it paused | paused | waits in the source, within its bounds |
 *
 * A source that hands over although it is paused (a subscription that drains) is paused again: it is ahead by one.
 */
export class RemoteConsumer {
  readonly id: number;
  readonly acknowledges: boolean;
  readonly isTransferred: boolean;
  /** Deliveries sent, ever; their numbers go from 1. */
  sent = 0;
  readonly #host: ConsumerHost;
  readonly #ackTimeoutMs: number;
  readonly #flights = new NumberedItems<Flight>();
  /** Requests that wait for the client's answer. */
  readonly #answers = new NumberedItems<{ resolve: (data: unknown) => void; reject: (error: unknown) => void }>();
  #source: Source | null = null;
  #credits: number;
  #isPaused = false;
  #isSuspended = false;
  #isRunning = true;
  #sweep: (() => void) | null = null;
  /** Told of each delivery that is decided or taken back; a pool's. */
  onSettled:
    ((message: Message, decision: WireDecision | "failed" | "lost", reason: string | undefined) => void) | null = null;
  /** Given what was not decided when the consumer ends, by number; a pool's. */
  onEnd: ((left: readonly (readonly [number: number, message: Message])[]) => void) | null = null;
  /** Told when more may be sent; a pool's. */
  onRoom: (() => void) | null = null;

  constructor(
    id: number,
    host: ConsumerHost,
    settings: { acknowledges: boolean; ackTimeoutMs: number; credits: number; isTransferred: boolean },
  ) {
    this.id = id;
    this.#host = host;
    this.acknowledges = settings.acknowledges;
    this.isTransferred = settings.isTransferred;
    this.#ackTimeoutMs = settings.ackTimeoutMs;
    this.#credits = settings.credits;
  }

  /** What the client has granted and not been sent. */
  get credits(): number {
    return this.#credits;
  }

  /** Deliveries that the client has and nobody has decided. */
  get inFlight(): number {
    return this.#flights.size + this.#answers.size;
  }

  /** Begins to take from a source. */
  follow(source: Source): void {
    this.#source = source;
    this.#regulate();
  }

  /** Sends a message. */
  take(message: Message): void {
    const number = this.#next();
    if (this.acknowledges) {
      const dueAt = this.#host.now() + this.#ackTimeoutMs;
      this.#flights.add(number, { message, dueAt, isWatched: false });
      this.#armSweep();
    }
    this.#send(number, message);
  }

  /** Sends a request, and waits for the client's answer. */
  ask(message: Message): Promise<unknown> {
    const number = this.#next();
    return new Promise((resolve, reject) => {
      this.#answers.add(number, { resolve, reject });
      this.#send(number, message);
    });
  }

  grant(credits: number): void {
    this.#credits += credits;
    this.#regulate();
    if (this.#credits > 0) this.onRoom?.();
  }

  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    this.#regulate();
  }

  /** Sends nothing to a client that may hang, until it gives a sign of life. */
  setSuspended(isSuspended: boolean): void {
    this.#isSuspended = isSuspended;
    this.#regulate();
    if (!isSuspended && this.#credits > 0) this.onRoom?.();
  }

  /** The handler has succeeded. */
  acked(number: number): void {
    const flight = this.#flights.take(number);
    if (flight === undefined) return;
    void flight.message.ack();
    this.onSettled?.(flight.message, "ack", undefined);
  }

  /** The handler has failed. */
  failed(number: number, reason: string): void {
    const flight = this.#flights.take(number);
    if (flight === undefined) return;
    void flight.message.nack({ reason });
    this.onSettled?.(flight.message, "failed", reason);
  }

  /** Decides a delivery as its consumer asked. Rejects as the message does. */
  async settle(number: number, decision: WireDecision, argument: unknown): Promise<void> {
    const flight = this.#flights.get(number);
    if (flight === undefined) throw takenBack(number);
    const { message } = flight;
    if (decision === "extend") {
      await message.extend(argument as number);
      flight.dueAt = this.#host.now() + (argument as number);
      return;
    }
    if (decision === "ack") await message.ack();
    else if (decision === "nack") await message.nack(argument as { delay?: number; reason?: string } | undefined);
    else await message.reject(argument as string | undefined);
    this.#flights.take(number);
    this.onSettled?.(message, decision, undefined);
  }

  /** The client has not begun with it, and is alive: its time starts again. */
  keep(number: number): void {
    const flight = this.#flights.get(number);
    if (flight === undefined || this.#ackTimeoutMs === Infinity) return;
    flight.dueAt = this.#host.now() + this.#ackTimeoutMs;
    void flight.message.extend(this.#ackTimeoutMs);
  }

  /** The same for all but some. */
  keepAllBut(numbers: ReadonlySet<number>): void {
    for (const [number] of this.#flights) if (!numbers.has(number)) this.keep(number);
  }

  /** Tells the client the moment the delivery is taken back. */
  watch(number: number): void {
    const flight = this.#flights.get(number);
    if (flight === undefined) this.#tellLost(number);
    else this.#watch(number, flight);
  }

  /** The broker has given up on a message: a delivery of it that is still here has been taken back. */
  givenUp(seq: number): void {
    for (const [number, flight] of this.#flights) {
      if (flight.message.seq === seq && flight.message.signal.aborted) this.#lose(number, flight);
    }
  }

  answer(number: number, hasFailed: boolean, answer: unknown): void {
    const waiting = this.#answers.take(number);
    if (hasFailed) waiting?.reject(answer);
    else waiting?.resolve(answer);
  }

  /** The broker has taken this delivery back; true where it was one of ours. */
  takenBack(message: Message): boolean {
    for (const [number, flight] of this.#flights) {
      if (flight.message !== message) continue;
      this.#lose(number, flight);
      return true;
    }
    return false;
  }

  /** A delivery could not be cloned: nobody on the other side will ever see it. */
  refused(number: number, error: unknown): void {
    this.answer(number, true, error);
    const flight = this.#flights.take(number);
    this.grant(1);
    if (flight === undefined) return;
    const reason = `its data cannot be cloned: ${textOf(error)}`;
    void flight.message.reject(reason);
    this.onSettled?.(flight.message, "reject", reason);
  }

  /** Over. Returns how many were not decided; the subscription they came from gives them back. */
  end(reason: unknown): number {
    this.#sweep?.();
    this.#sweep = null;
    const left = [...this.#flights].map(([number, { message }]) => [number, message] as const);
    this.#flights.clear();
    for (const [, { reject }] of this.#answers) reject(reason);
    this.#answers.clear();
    this.#source = null;
    this.onRoom = null;
    this.onSettled = null;
    this.onEnd?.(left);
    this.onEnd = null;
    return left.length;
  }

  #next(): number {
    this.sent += 1;
    return this.sent;
  }

  #send(number: number, message: Message): void {
    this.#credits -= 1;
    const transfer: readonly Transferable[] | undefined = this.isTransferred ? toBuffers(message.data) : undefined;
    this.#host.deliveries.write(this.id, number, message, transfer);
    if (this.#credits <= 0) this.#regulate();
  }

  #regulate(): void {
    const source = this.#source;
    if (source === null) return;
    const mayRun = this.#credits > 0 && !this.#isPaused && !this.#isSuspended;
    if (mayRun) {
      if (this.#isRunning) return;
      this.#isRunning = true;
      source.resume();
    } else {
      this.#isRunning = false;
      source.pause();
    }
  }

  #armSweep(): void {
    if (this.#sweep !== null || this.#ackTimeoutMs === Infinity || this.#flights.size === 0) return;
    const oldest = this.#flights.first() as Flight;
    const waitMs = Math.max(1, oldest.dueAt - this.#host.now() + graceMs);
    this.#sweep = this.#host.deadlines.after(Math.min(waitMs, 60_000), () => {
      this.#sweep = null;
      this.#lookAtOverdue();
    });
  }

  /** Deliveries do not say that they were taken back, unless one asks: this asks about those whose time is over. */
  #lookAtOverdue(): void {
    const now = this.#host.deadlines.now();
    for (const [number, flight] of this.#flights) {
      if (!flight.isWatched && flight.dueAt <= now) this.#watch(number, flight);
    }
    const oldest = this.#flights.first();
    // Those that are watched tell by themselves.
    if (oldest !== undefined && oldest.isWatched) oldest.dueAt = now + this.#ackTimeoutMs;
    this.#armSweep();
  }

  #watch(number: number, flight: Flight): void {
    if (flight.isWatched) return;
    flight.isWatched = true;
    const { signal } = flight.message;
    if (signal.aborted) this.#lose(number, flight);
    else signal.addEventListener("abort", () => this.#lose(number, flight), { once: true });
  }

  #lose(number: number, flight: Flight): void {
    if (this.#flights.get(number) !== flight) return;
    this.#flights.take(number);
    this.#tellLost(number);
    this.#host.suspect();
    this.onSettled?.(flight.message, "lost", undefined);
  }

  #tellLost(number: number): void {
    this.#host.writer.write([tell.lost, this.id, number]);
  }
}

function takenBack(number: number): Error {
  return brokerError(
    "ERR_DELIVERY_EXPIRED",
    `delivery ${number} was taken back (ack timeout or end of the subscription); ` +
      "raise ackTimeout, or call msg.extend(ms) while the work goes on",
    { deliveryNumber: number },
  );
}
