import { nodeEventLoop } from "../platform/event-loop.js";
import { afterRealTime } from "../platform/real-time.js";
import type { PendingTimer } from "./test-clock.js";

/** A call of the broker that waits for something. */
export interface TimeWait {
  /** What waits, for people: `fetch from orders`. */
  readonly what: string;
  /** What time does to it: `ends with what there is by then`. */
  readonly then: string;
  /** Milliseconds it may take; Infinity: time alone does not end it. */
  readonly ms: number;
}

/** What the waits need of the kit. */
export interface TimeWaitHost {
  /** False on the machine's clock, which nobody has to move. */
  readonly standsStill: boolean;
  /** Real milliseconds without anything happening, after which somebody is told. */
  readonly patienceMs: number;
  now(): number;
  /** Differs where anything has happened, or time has moved. */
  progress(): string;
  /** Whether something would happen if time moved, and nothing is at work meanwhile. */
  needsTime(): boolean;
  /** Whether messages would come if time moved. */
  bringsMessages(): boolean;
  /** Who would have to move time, and what would happen then: lines for people. */
  standstill(): string[];
}

interface OpenWait extends TimeWait {
  /** In milliseconds since 1970. */
  readonly at: number;
  isTold: boolean;
}

const unheard = "INPROC_BROKER_TIME_STANDS_STILL";

/**
 * The calls of the application that wait while time stands still: a `fetch`, a request, a publish to be confirmed, an iteration. The
 * broker would wait for ever with them, and so would the test; so where nothing has happened for a while, and nobody has moved time, a
 * warning says who waits, until when, and what to call.
 *
 * It is no failure: a consumer that fetches in a loop waits at the end of every test.
 */
export class TimeWaits {
  readonly #host: TimeWaitHost;
  readonly #open = new Set<OpenWait>();
  #stopLooking: (() => void) | null = null;

  constructor(host: TimeWaitHost) {
    this.#host = host;
  }

  /** Knows of a call until it is over; resolves and rejects as it does. */
  watch<Value>(wait: TimeWait, call: Promise<Value>): Promise<Value> {
    if (!this.#host.standsStill) return call;
    const open: OpenWait = { ...wait, at: this.#host.now() + wait.ms, isTold: false };
    this.#open.add(open);
    const over = (): void => {
      this.#open.delete(open);
      if (this.#open.size === 0) this.end();
    };
    call.then(over, over);
    if (this.#stopLooking === null) this.#look();
    return call;
  }

  /** What time ends, of these calls. */
  agenda(now: number): PendingTimer[] {
    return [...this.#open]
      .filter(({ at }) => at < Infinity)
      .map(({ at, what, then }) => ({ at, inMs: at - now, what: `${what} ${then}` }));
  }

  /**
   * Resolves or rejects as the call does; rejects with `error()` where nothing has happened for so many real milliseconds, nobody has moved
   * time, and something waits for that.
   */
  async unlessStuck<Value>(call: Promise<Value>, patienceMs: number, error: () => Error): Promise<Value> {
    if (!this.#host.standsStill) return call;
    let stop = (): void => undefined;
    const stuck = new Promise<never>((_resolve, reject) => {
      const look = (before: string): void => {
        stop = afterRealTime(patienceMs, () => {
          const progress = this.#host.progress();
          if (progress === before && this.#host.needsTime()) reject(error());
          else look(progress);
        });
      };
      look(this.#host.progress());
    });
    try {
      return await Promise.race([call, stuck]);
    } finally {
      stop();
    }
  }

  /** Forgets what waits: the broker has ended, or nothing is left. */
  end(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
    this.#open.clear();
  }

  #look(): void {
    const before = this.#host.progress();
    const waiting = [...this.#open];
    this.#stopLooking = afterRealTime(
      this.#host.patienceMs,
      () => {
        this.#stopLooking = null;
        if (this.#host.progress() === before && this.#host.needsTime()) this.#tell(waiting);
        if (this.#open.size > 0) this.#look();
      },
      { keepsAlive: false },
    );
  }

  #tell(waiting: readonly OpenWait[]): void {
    const mayEnd = (one: OpenWait): boolean => one.at < Infinity || this.#host.bringsMessages();
    const stuck = waiting.filter((one) => this.#open.has(one) && !one.isTold && mayEnd(one));
    if (stuck.length === 0) return;
    for (const one of stuck) one.isTold = true;
    const lines = stuck.map(({ what }) => `  ${what}`);
    const text = `nothing has happened for ${this.#host.patienceMs} real milliseconds, and these wait:`;
    nodeEventLoop.warn([text, ...lines, ...this.#host.standstill()].join("\n"), unheard);
  }
}
