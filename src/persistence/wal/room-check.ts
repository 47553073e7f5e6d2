import type { Clock } from "../../platform/clock.js";
import type { Reserve } from "./reserve.js";

/** What the look for room needs of the log. */
export interface RoomCheckHost {
  readonly clock: Pick<Clock, "schedule">;
  /** How often, in milliseconds, to look. */
  readonly everyMs: number;
  /** Whether it still matters. */
  isFull(): boolean;
  /** There is room, and the reserve is made again. */
  found(): void;
}

/** While the disk is full: looks now and then whether the reserve can be made again. */
export class RoomCheck {
  readonly #host: RoomCheckHost;
  readonly #reserve: Reserve;
  #cancel: (() => void) | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(host: RoomCheckHost, reserve: Reserve) {
    this.#host = host;
    this.#reserve = reserve;
  }

  /** Resolves when no look is under way. */
  get idle(): Promise<void> {
    return this.#last;
  }

  later(): void {
    this.#cancel ??= this.#host.clock.schedule(this.#host.everyMs, () => {
      this.#cancel = undefined;
      void this.now();
    });
  }

  /** One look, after those before it; the next is `later`. Never rejects. */
  now(): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (!this.#host.isFull()) return;
      // Whatever goes wrong here is not the log's: it only means that the disk counts as full for longer.
      const hasReserve = await this.#fill().catch(() => false);
      if (!this.#host.isFull()) return;
      if (hasReserve) this.#host.found();
      else this.later();
    });
    return this.#last;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async #fill(): Promise<boolean> {
    return (await this.#reserve.hasRoom()) && (await this.#reserve.fill());
  }
}
