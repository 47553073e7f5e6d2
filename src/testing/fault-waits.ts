import type { Clock } from "../index.js";
import type { PendingTimer } from "./test-clock.js";

interface Wait {
  readonly at: number;
  readonly what: string;
  readonly isDisks: boolean;
  /** Ends the wait before its time. */
  readonly release: () => void;
}

/** What faults hold back until time moves. */
export class FaultWaits {
  readonly #clock: Pick<Clock, "now" | "schedule">;
  readonly #waits = new Set<Wait>();

  constructor(clock: Pick<Clock, "now" | "schedule">) {
    this.#clock = clock;
  }

  /** Resolves after so long, by the broker's clock. Who asks for the agenda is told `what` it leads to. */
  wait(ms: number, what: string, isDisks = false): Promise<void> {
    return new Promise((resolve) => {
      const release = (): void => {
        this.#waits.delete(wait);
        cancel();
        resolve();
      };
      const wait: Wait = { at: this.#clock.now() + ms, what, isDisks, release };
      this.#waits.add(wait);
      const cancel = this.#clock.schedule(ms, release);
    });
  }

  agenda(now: number): PendingTimer[] {
    return [...this.#waits].map(({ at, what }) => ({ at, inMs: at - now, what }));
  }

  /** Lets everything go on, or what a slow disk holds back. */
  release(which: "all" | "disk"): void {
    for (const { isDisks, release } of [...this.#waits]) if (which === "all" || isDisks) release();
  }
}
