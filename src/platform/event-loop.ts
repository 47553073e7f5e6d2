import { performance } from "node:perf_hooks";
import * as timers from "node:timers";

/** The event loop of the thread: when its turn ends, how long the turn has lasted, what keeps it alive. */
export interface EventLoop {
  /** Runs `run` after I/O has had its chance, in the loop's next turn. */
  afterTurn(run: () => void): void;
  /** Real milliseconds from an arbitrary start, for budgets; not moved by a test's clock. */
  elapsed(): number;
  /** Keeps the process alive until the returned function is called: for as long as somebody awaits a result. */
  hold(): () => void;
  /** Tells the developer of a failure that nobody listens for. */
  warn(message: string, code: string): void;
}

/** The loop, with the budgets of its turns in the time of `clock` where that keeps one. */
export function eventLoopOf(clock: { turnTime?(): number }): EventLoop {
  return clock.turnTime === undefined ? nodeEventLoop : { ...nodeEventLoop, elapsed: () => clock.turnTime?.() ?? 0 };
}

const longestTimerMs = 2 ** 31 - 1;

/**
 * The loop's own functions, from where fake timers do not reach, whether a test puts them in place before or after this module is
 * loaded: a test that stops time must not stop the deliveries, which wait for no time.
 */
const { setImmediate, setInterval } = timers;
const monotonic = performance.now.bind(performance);

let holders = 0;
/** What keeps the process alive while there are holders; kept without a hold between them, since each request is one. */
let anchor: ReturnType<typeof setInterval> | undefined;

export const nodeEventLoop: EventLoop = {
  afterTurn: (run) => {
    setImmediate(run);
  },
  elapsed: monotonic,
  hold() {
    holders += 1;
    if (anchor === undefined) anchor = setInterval(() => undefined, longestTimerMs);
    else if (holders === 1) anchor.ref();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      holders -= 1;
      if (holders === 0) anchor?.unref();
    };
  },
  warn: (message, code) => process.emitWarning(message, { type: "InProcBrokerWarning", code }),
};
