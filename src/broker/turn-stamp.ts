import type { MessageOrigin } from "../message/message.js";
import { Stamp } from "../message/message.js";
import type { Clock } from "../platform/clock.js";

/**
 * Time and origin for the messages of a turn of the event loop: the clock is read once a turn, unless it is one that a
 * test moves.
 */
export class TurnStamp {
  /** The stamp of this turn; null: `take` one. A field, since every publish asks for it. */
  current: Stamp | null = null;
  #last: Stamp | null = null;
  readonly #clock: Clock;
  readonly #origin: MessageOrigin;
  readonly #watchTurn: () => void;

  /** @param watchTurn - has `forget` called when the turn is over, and now and then within a long one */
  constructor(clock: Clock, origin: MessageOrigin, watchTurn: () => void) {
    this.#clock = clock;
    this.#origin = origin;
    this.#watchTurn = watchTurn;
  }

  take(): Stamp {
    const at = this.#clock.now();
    const stamp = this.#last?.at === at ? this.#last : new Stamp(at, this.#origin);
    this.#last = stamp;
    if (this.#clock.readOncePerTurn === true) {
      this.#watchTurn();
      this.current = stamp;
    }
    return stamp;
  }

  forget(): void {
    this.current = null;
  }
}
