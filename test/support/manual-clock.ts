import { TimerQueue } from "../../src/collections/timer-queue.js";
import type { TimerEntry } from "../../src/collections/timer-queue.js";
import type { Clock } from "../../src/platform/clock.js";

interface Scheduled {
  readonly run: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  readonly #timers = new TimerQueue<Scheduled>();
  #now: number;
  #monotonic = 0;

  constructor(now = Date.UTC(2030, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  schedule(delayMs: number, run: () => void): () => void {
    const entry: TimerEntry<Scheduled> = this.#timers.schedule(this.#monotonic + Math.max(0, delayMs), { run });
    return () => {
      this.#timers.cancel(entry);
    };
  }

  /** Timers that are armed. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on, runs what comes due at its time, and lets promises settle between the steps. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settle();
    for (;;) {
      const next = this.#timers.nextDeadline();
      if (next > end) break;
      this.#moveTo(Math.max(next, this.#monotonic));
      this.#timers.takeDue(this.#monotonic)?.run();
      await settle();
    }
    this.#moveTo(end);
    await settle();
  }

  /** Time passes while the event loop is blocked: what comes due meanwhile runs late, with the next `advance`. */
  block(ms: number): void {
    this.#moveTo(this.#monotonic + ms);
  }

  /** Sets the wall clock alone, as an administrator or NTP does. */
  jump(ms: number): void {
    this.#now += ms;
  }

  #moveTo(monotonic: number): void {
    this.#now += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}

/** Lets everything run that is ready, deliveries that wait for the next turn of the event loop included. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
