import type { Deadlines } from "./deadlines.js";
import { machineDeadlines } from "./deadlines.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask } from "./protocol.js";

interface Waiting {
  readonly ms: number;
  readonly since: number;
  readonly run: () => void;
  readonly keepsAlive: boolean;
  cancel: () => void;
}

/**
 * The deadlines of a client: of its own thread, or, where the broker's side has a clock of its own (`exposeBroker`'s option `clock`), kept
 * over there, so that whoever moves that clock moves these too.
 *
 * asking   what is begun before the broker has said which waits for that
 * machine  timers of this thread
 * broker   each is asked for and told of
 */
export class ClientDeadlines implements Deadlines {
  readonly #writer: FrameWriter;
  #state: "asking" | "machine" | "broker" = "asking";
  readonly #waiting = new Set<Waiting>();
  readonly #asked = new Map<number, () => void>();
  #last = 0;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  after(ms: number, run: () => void, keepsAlive = false): () => void {
    if (ms === Infinity) return () => undefined;
    if (this.#state === "machine") return machineDeadlines.after(ms, run, keepsAlive);
    if (this.#state === "broker") return this.#ask(ms, run);
    const waiting: Waiting = { ms, since: machineDeadlines.now(), run, keepsAlive, cancel: () => undefined };
    this.#waiting.add(waiting);
    waiting.cancel = () => void this.#waiting.delete(waiting);
    return () => waiting.cancel();
  }

  /** The broker has said who keeps the time. */
  begin(isKeptByBroker: boolean): void {
    if (this.#state !== "asking") return;
    this.#state = isKeptByBroker ? "broker" : "machine";
    for (const waiting of this.#waiting) {
      const { ms, since, run, keepsAlive } = waiting;
      const leftMs = isKeptByBroker ? ms : Math.max(0, ms - (machineDeadlines.now() - since));
      waiting.cancel = this.after(leftMs, run, keepsAlive);
    }
    this.#waiting.clear();
  }

  /** One that the broker keeps is over. */
  over(number: number): void {
    const run = this.#asked.get(number);
    this.#asked.delete(number);
    run?.();
  }

  /** The client has ended: the broker's are forgotten. */
  end(): void {
    this.#asked.clear();
    this.#waiting.clear();
    this.#state = "machine";
  }

  #ask(ms: number, run: () => void): () => void {
    this.#last += 1;
    const number = this.#last;
    this.#asked.set(number, run);
    this.#writer.write([ask.deadline, number, ms]);
    return () => {
      if (this.#asked.delete(number)) this.#writer.write([ask.noDeadline, number]);
    };
  }
}
