import type { Clock } from "../index.js";
import { brokerError } from "./wire-error.js";

/** What ends a wait after its time. */
export interface Deadlines {
  /**
   * Runs `run` after so many milliseconds; Infinity: never. Returns what cancels it.
   *
   * @param keepsAlive - whether the thread lives until then; default false
   */
  after(ms: number, run: () => void, keepsAlive?: boolean): () => void;
}

/** Deadlines, and the time that they are counted in. */
export interface TimedDeadlines extends Deadlines {
  /** Milliseconds from an arbitrary start. */
  now(): number;
}

/** Beyond this many milliseconds a timer of Node.js fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Those of the machine. */
export const machineDeadlines: TimedDeadlines = {
  now: () => performance.now(),
  after(ms, run, keepsAlive = false) {
    if (ms === Infinity) return () => undefined;
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const sleepMs = Math.min(leftMs, longestTimerMs);
      timer = setTimeout(() => (leftMs > sleepMs ? arm(leftMs - sleepMs) : run()), sleepMs);
      if (!keepsAlive) timer.unref();
    };
    arm(ms);
    return () => clearTimeout(timer);
  },
};

/** Those of the clock that somebody has given; the machine's where nobody has. Throws `ERR_INVALID_OPTION`. */
export function deadlinesOf(clock: Clock | undefined): TimedDeadlines {
  if (clock === undefined) return machineDeadlines;
  if (typeof (clock as Partial<Clock> | null)?.schedule !== "function") {
    throw brokerError("ERR_INVALID_OPTION", "option clock must be a Clock: now(), monotonic() and schedule()", {
      option: "clock",
    });
  }
  return {
    now: () => clock.monotonic(),
    after(ms, run) {
      if (ms === Infinity) return () => undefined;
      const dueAt = clock.monotonic() + ms;
      let cancel: () => void;
      const arm = (): void => {
        // A clock may wake early.
        cancel = clock.schedule(dueAt - clock.monotonic(), () => (clock.monotonic() < dueAt ? arm() : run()));
      };
      arm();
      return () => cancel();
    },
  };
}
