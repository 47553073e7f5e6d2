/**
 * Time, as the broker sees it. Every module takes its time from here, so that a test can move it.
 */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970; may jump. For stamps and for what is due at a date. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. For timeouts and delays. */
  monotonic(): number;
  /**
   * Runs `run` once, about `delayMs` from now. It may run early: whoever schedules looks at the time again.
   *
   * @returns a function that cancels it; calling it late or twice does nothing.
   */
  schedule(delayMs: number, run: () => void): () => void;
  /**
   * True where `now()` may be read once a turn of the event loop instead of once a message. Absent means
   * false: a clock that a test moves must be read each time.
   */
  readonly readOncePerTurn?: boolean;
  /**
   * Milliseconds from an arbitrary start, for the budget of a turn of the event loop: what is left of a flood when it is
   * spent goes on in the next turn. Absent: real time. A clock that a test moves counts its calls instead, so that the
   * order of events does not depend on how fast the machine is.
   */
  turnTime?(): number;
}

/**
 * The longest a timer of ours sleeps. A longer delay wakes early, and the timer service arms again: so a delay
 * beyond 2^31 - 1 ms (24.8 days), where Node.js fires at once, works, and a date is noticed within a minute
 * after the wall clock was set or the machine was suspended.
 */
const longestTimerMs = 60_000;

/**
 * The machine's clock. Its timers do not keep the process alive: what somebody awaits does (see
 * `EventLoop.hold`), and a delay of 60 days that nobody awaits must not.
 */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(delayMs, run) {
    const timer = setTimeout(run, Math.min(Math.max(0, Math.ceil(delayMs)), longestTimerMs));
    timer.unref();
    return () => clearTimeout(timer);
  },
  readOncePerTurn: true,
};
