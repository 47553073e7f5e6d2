import { TimeoutError } from "../index.js";
import { nextTurn } from "../platform/real-time.js";
import type { Duration } from "./duration.js";
import { durationMs } from "./duration.js";
import type { PendingTimer, TestClock } from "./test-clock.js";
import type { HeapTimer } from "./timer-heap.js";
import { TimerHeap } from "./timer-heap.js";

/** Settings of a virtual clock. */
export interface VirtualClockOptions {
  /** Where it starts, in milliseconds since 1970 or as a Date; default 2030-01-01T00:00:00Z. */
  readonly now?: number | Date | undefined;
}

/** What a clock learns from the broker that it drives. */
export interface ClockAudience {
  /** Grows with everything that happens: while it grows, the broker is not at rest. */
  activity(): number;
  /** True while a handler has not come back, or a publish is held: more may follow from where nobody can look. */
  isWorking(): boolean;
  /** Grows with everything that a store does. */
  storeSteps(): number;
  /** Undefined where no store is at work; else resolves once it waits for nothing but time. */
  stored(): Promise<void> | undefined;
  /** Tells whether anything at all is different from before, for timers that may turn out to be moot. */
  fingerprint(): string;
  /** What the broker's own timers will lead to. */
  agenda(): PendingTimer[];
}

/** 2030-01-01T00:00:00Z. */
const defaultStart = 1_893_456_000_000;
/** Looks at the time of a turn from which the broker may put off the rest of its work to the next turn. */
const deferralCalls = 4;
/** Turns of the event loop in which something happens, without time moving on, before it is called endless. */
const mostTurns = 100_000;

/**
 * A clock that stands still until a test moves it.
 *
 * It needs no broker: anything that takes a `Clock` runs on it.
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * clock.schedule(60_000, () => console.log("a minute later"));
 * await clock.advance("1m");
 * ```
 */
export class VirtualClock implements TestClock {
  readonly mode = "manual" as const;
  readonly #timers = new TimerHeap();
  #start: number;
  #monotonic = 0;
  #lastOrder = 0;
  #turnCalls = 0;
  #audience: ClockAudience | null = null;
  /** The end of the moves that were asked for so far. */
  #moves: Promise<unknown> = Promise.resolve();

  constructor(options: VirtualClockOptions = {}) {
    const { now = defaultStart } = options;
    this.#start = typeof now === "number" ? now : now.getTime();
  }

  now(): number {
    return Math.floor(this.#start + this.#monotonic);
  }

  monotonic(): number {
    return this.#monotonic;
  }

  schedule(delayMs: number, run: () => void): () => void {
    return this.#schedule(delayMs, run, false);
  }

  /** Counts its calls: a budget in a time that does not depend on the machine. */
  turnTime(): number {
    this.#turnCalls += 1;
    return this.#turnCalls;
  }

  advance(duration: Duration): Promise<void> {
    const ms = durationMs("advance's duration", duration);
    return this.#queued(async () => {
      await this.settle();
      const end = this.#monotonic + ms;
      for (;;) {
        const next = this.#timers.peek();
        if (next === undefined || next.dueAt > end) break;
        await this.#step();
      }
      this.#monotonic = end;
      await this.settle();
    });
  }

  runNext(within?: Duration): Promise<number | undefined> {
    const ms = within === undefined ? Infinity : durationMs("runNext's within", within);
    return this.#queued(async () => {
      await this.settle();
      const before = this.#audience?.fingerprint();
      const end = this.#monotonic + ms;
      for (;;) {
        const next = this.#timers.peek();
        if (next === undefined || next.dueAt > end) {
          if (end !== Infinity) this.#monotonic = end;
          return undefined;
        }
        await this.#step();
        if (!next.isBrokers || this.#audience?.fingerprint() !== before) return this.now();
      }
    });
  }

  pending(): PendingTimer[] {
    const own = this.#timers
      .waiting()
      .filter((timer) => !timer.isBrokers)
      .map(({ dueAt }) => {
        const inMs = dueAt - this.#monotonic;
        return { at: this.now() + inMs, inMs, what: "a timer of the application, scheduled on this clock" };
      });
    return [...own, ...(this.#audience?.agenda() ?? [])].sort((a, b) => a.at - b.at);
  }

  /** Milliseconds until the next timer, whoever's; undefined where none waits. @internal */
  get nextTimerInMs(): number | undefined {
    const next = this.#timers.peek();
    return next === undefined ? undefined : next.dueAt - this.#monotonic;
  }

  jump(ms: number): void {
    this.#start += ms;
  }

  async settle(): Promise<void> {
    await nextTurn();
    await this.#rest(-1);
  }

  /** The clock as the broker sees it: its timers are told apart from the application's. @internal */
  forBroker(audience: ClockAudience): TestClock {
    this.#audience = audience;
    const view = Object.create(this, {
      schedule: { value: (delayMs: number, run: () => void) => this.#schedule(delayMs, run, true) },
    }) as TestClock;
    for (const method of ["now", "monotonic", "turnTime"] as const) {
      Object.defineProperty(view, method, { value: () => this[method]() });
    }
    return view;
  }

  #schedule(delayMs: number, run: () => void, isBrokers: boolean): () => void {
    this.#lastOrder += 1;
    const dueAt = this.#monotonic + Math.max(0, delayMs);
    const timer: HeapTimer = { dueAt, order: this.#lastOrder, run, isBrokers, isCancelled: false };
    this.#timers.push(timer);
    return () => this.#timers.cancel(timer);
  }

  async #step(): Promise<void> {
    const timer = this.#timers.shift() as HeapTimer;
    // A timer that has run is not cancelled later: it is no longer in the heap.
    timer.isCancelled = true;
    this.#monotonic = Math.max(this.#monotonic, timer.dueAt);
    const audience = this.#audience;
    const before = audience?.activity() ?? 0;
    const steps = audience?.storeSteps();
    this.#turnCalls = 0;
    timer.run();
    await nextTurn();
    // Promises are followed to their end within a turn; more can follow only from a handler or a store at work, or where the
    // broker has put off the rest of a flood.
    const isBusy = audience?.isWorking() === true || audience?.storeSteps() !== steps;
    if (isBusy || this.#turnCalls >= deferralCalls) await this.#rest(before);
  }

  /** Waits until a whole turn has passed in which nothing happened, and a store has done its work. */
  async #rest(before: number): Promise<void> {
    if (this.#audience === null) return;
    let seen = before;
    for (let turns = 0; turns < mostTurns; turns += 1) {
      await this.#audience.stored();
      const activity = this.#audience.activity();
      if (activity === seen) return;
      seen = activity;
      await nextTurn();
    }
    throw new TimeoutError(
      "ERR_TIMEOUT",
      `the broker does not come to rest: after ${mostTurns} turns of the event loop, without time moving on, it is still ` +
        `busy; does a handler publish what it is subscribed to?`,
    );
  }

  #queued<Result>(move: () => Promise<Result>): Promise<Result> {
    const result = this.#moves.then(move);
    this.#moves = result.catch(() => undefined);
    return result;
  }
}
