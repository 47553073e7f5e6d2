import { Ring } from "../collections/ring.js";
import type { HeldPublisher } from "./held-publisher.js";
import type { HeldPublishers } from "./held-publishers.js";

/** The publishers that one queue holds back, in the order in which they go on. */
export class HeldLine {
  /** Bytes of their messages. */
  bytes = 0;
  readonly #line = new Ring<HeldPublisher>();
  readonly #all: HeldPublishers;

  /** @param all - counts them over all queues */
  constructor(all: HeldPublishers) {
    this.#all = all;
  }

  get length(): number {
    return this.#line.length;
  }

  /** The one that goes on next. */
  get first(): HeldPublisher | undefined {
    return this.#line.peek();
  }

  add(held: HeldPublisher): void {
    this.#line.push(held);
    this.bytes += held.bytes;
    this.#all.add();
  }

  /** Takes out one that gives up, where it is still here. */
  withdraw(publisher: HeldPublisher): void {
    if (this.#line.retain((held) => held !== publisher) === 0) return;
    this.bytes -= publisher.bytes;
    this.#all.remove();
  }

  /** Lets the first go on. */
  letGo(): void {
    const held = this.#line.shift() as HeldPublisher;
    this.bytes -= held.bytes;
    this.#all.remove();
    held.stopListening?.();
    held.resolve?.(held.result as never);
  }

  /** Lets all of them go on, or has them fail where there is an error for them. */
  end(error: unknown): void {
    if (error === undefined) {
      while (this.length > 0) this.letGo();
      return;
    }
    for (const held of this.#line) {
      this.#all.remove();
      held.stopListening?.();
      held.reject?.(error);
    }
    this.#line.clear();
    this.bytes = 0;
  }
}
