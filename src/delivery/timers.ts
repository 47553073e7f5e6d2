import type { TimerEntry } from "../collections/timer-queue.js";
import { TimerQueue } from "../collections/timer-queue.js";
import type { TimerTask } from "../message/delivery.js";
import type { Clock } from "../platform/clock.js";

/** Tasks run in one go before the event loop gets its turn. */
const tasksPerWake = 2_000;

/**
 * Any number of deadlines over one real timer.
 *
 * The real timer is armed for the earliest deadline it has known. A deadline that was cancelled since leaves it
 * armed: it wakes, finds nothing due, and arms again. That makes cancelling free, which nearly every ack timeout is.
 */
export class TimerLine {
  readonly #queue = new TimerQueue<TimerTask>();
  readonly #clock: Clock;
  readonly #read: () => number;
  #armedFor = Infinity;
  #disarm: (() => void) | null = null;

  /** @param read - the time base of the deadlines */
  constructor(clock: Clock, read: () => number) {
    this.#clock = clock;
    this.#read = read;
  }

  /** Deadlines that are neither over nor cancelled. */
  get size(): number {
    return this.#queue.size;
  }

  /** The time, in this line's base. */
  now(): number {
    return this.#read();
  }

  after(delayMs: number, task: TimerTask): TimerEntry<TimerTask> {
    return this.at(this.#read() + delayMs, task);
  }

  at(deadline: number, task: TimerTask): TimerEntry<TimerTask> {
    // A deadline that never comes is kept like any other, so that it can be cancelled like any other.
    const finite = Math.min(deadline, Number.MAX_VALUE);
    const entry = this.#queue.schedule(finite, task);
    if (finite < this.#armedFor) this.#arm(finite);
    return entry;
  }

  cancel(entry: TimerEntry<TimerTask>): void {
    this.#queue.cancel(entry);
  }

  /** Forgets every deadline and leaves no real timer. */
  close(): void {
    this.#queue.clear();
    this.#disarm?.();
    this.#disarm = null;
    this.#armedFor = Infinity;
  }

  #arm(deadline: number): void {
    this.#disarm?.();
    this.#armedFor = deadline;
    this.#disarm = this.#clock.schedule(Math.max(0, deadline - this.#read()), () => this.#wake());
  }

  #wake(): void {
    this.#disarm = null;
    this.#armedFor = Infinity;
    const now = this.#read();
    try {
      for (let ran = 0; ran < tasksPerWake; ran += 1) {
        const deadline = this.#queue.nextDeadline();
        const task = this.#queue.takeDue(now);
        if (task === undefined) break;
        task.onTimer(now - deadline);
      }
    } finally {
      const next = this.#queue.nextDeadline();
      if (next < this.#armedFor) this.#arm(next);
    }
  }
}

/** The broker's time: deadlines on the monotonic clock, dates on the wall clock. */
export class Timers {
  /** For ack timeouts, delays, backoff: what a jump of the wall clock must not move. */
  readonly deadlines: TimerLine;
  /** For `expiresAt` and `deliverAt`: what is due at a date. */
  readonly dates: TimerLine;

  constructor(clock: Clock) {
    this.deadlines = new TimerLine(clock, () => clock.monotonic());
    this.dates = new TimerLine(clock, () => clock.now());
  }

  close(): void {
    this.deadlines.close();
    this.dates.close();
  }
}
