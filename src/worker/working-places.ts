import type { RemoteMessage } from "./wire-message.js";

/**
 * The numbers of the deliveries that a pool's handlers are working on, where the pool's thread sees them when this one has died: what is left
 * here did it. 0: nobody is at work in that place.
 *
 * There are as many places as handlers may run at once. A handler whose delivery was taken back may still run, or hang; its place goes to the
 * next one.
 */
export class WorkingPlaces {
  readonly #numbers: Int32Array;
  readonly #holders: (RemoteMessage | null)[];

  constructor(numbers: Int32Array) {
    this.#numbers = numbers;
    this.#holders = Array.from(numbers, () => null);
  }

  /** A handler begins with a delivery. Returns what is called when it has ended. */
  enter(message: RemoteMessage): () => void {
    const free = this.#holders.indexOf(null);
    const place = free === -1 ? this.#holders.findIndex((holder) => holder?.state !== "inFlight") : free;
    if (place === -1) return () => undefined;
    this.#holders[place] = message;
    Atomics.store(this.#numbers, place, message.number);
    return () => {
      if (this.#holders[place] !== message) return;
      this.#holders[place] = null;
      Atomics.store(this.#numbers, place, 0);
    };
  }
}
