import { InProcBroker } from "../index.js";

/** How far into a window a case goes on real time: what is left is for a machine that is slow. */
const realShare = 0.7;

/** What a case throws that has come too late to see what it had to see in time: neither kept nor broken. */
export class TooLate extends Error {
  /** Its class's. */
  override readonly name = "TooLate";
}

/** Real time, which is a broker's here: timers and clocks are its own business. */
export class Stopwatch {
  readonly #broker = new InProcBroker();

  /** Milliseconds since it was made. */
  elapsed(): number {
    return this.#broker.metrics.snapshot().uptime;
  }

  /** Waits as long as a fetch that finds nothing does. */
  async wait(ms: number): Promise<void> {
    const broker = new InProcBroker();
    await broker.subscribe("nothing").fetch(1, { timeout: ms + 1 });
    await broker.close();
  }
}

/** How the time of the broker under test goes by. */
export interface Passing {
  /** The machine's time; absent where the case moves time. */
  readonly stopwatch: Stopwatch | undefined;
  advance(ms: number): Promise<void>;
}

/**
 * The time until a deadline, for a case that looks on both sides of it. It begins when it is made: make it before the call that sets
 * the deadline.
 *
 * On a clock that the case moves, it looks at the last moment. On real time it looks earlier, and where the machine was so slow that the
 * deadline was over by then, what it saw is void (`TooLate`), and the case is run again.
 */
export class Window {
  readonly #ms: number;
  readonly #passing: Passing;
  readonly #openedAt: number;
  readonly #open: Set<Window>;
  #moved = 0;

  constructor(ms: number, passing: Passing, open: Set<Window>) {
    this.#ms = ms;
    this.#passing = passing;
    this.#open = open;
    this.#openedAt = passing.stopwatch?.elapsed() ?? 0;
    open.add(this);
  }

  /** Whether what is seen now is too late; never so where the case moves time. */
  get isOver(): boolean {
    const { stopwatch } = this.#passing;
    return stopwatch !== undefined && stopwatch.elapsed() - this.#openedAt >= this.#ms;
  }

  /** Goes on by so many milliseconds, by default to the last one before the deadline; on real time by as many as leave some. */
  async near(ms = this.#ms - 1): Promise<void> {
    const isReal = this.#passing.stopwatch !== undefined;
    this.#moved += ms;
    await this.#passing.advance(isReal ? Math.min(ms, this.#ms * realShare) : ms);
  }

  /** What had to be seen before the deadline has been seen. Throws `TooLate` where it was over by then. */
  seen(): void {
    if (this.isOver) throw new TooLate(`the machine was too slow to look within ${this.#ms} ms`);
    this.#open.delete(this);
  }

  /** Goes on until the deadline is over for sure. */
  async end(): Promise<void> {
    await this.#passing.advance(this.#passing.stopwatch === undefined ? this.#ms - this.#moved : this.#ms);
  }
}
