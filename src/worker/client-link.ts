import type { Transferable } from "node:worker_threads";
import type { Link, LinkListener } from "./link.js";

/**
 * The link of a client, from before there is one: what is sent meanwhile waits for it. It keeps the thread alive for as long as somebody
 * holds it.
 */
export class ClientLink implements Link {
  #link: Link | null = null;
  /** What came before there was a link. */
  #unsent: { batch: readonly unknown[]; transfer: readonly Transferable[] }[] = [];
  #holders = 0;
  #isClosed = false;

  /** There is a link: what waited for it goes. */
  attach(link: Link, events: LinkListener): void {
    if (this.#isClosed) {
      link.close();
      return;
    }
    this.#link = link;
    link.start(events);
    link.hold(this.#holders > 0);
    for (const { batch, transfer } of this.#unsent) link.send(batch, transfer);
    this.#unsent = [];
  }

  get isAttached(): boolean {
    return this.#link !== null;
  }

  start(): void {
    // Begins when it is attached.
  }

  send(batch: readonly unknown[], transfer: readonly Transferable[]): void {
    if (this.#link !== null) this.#link.send(batch, transfer);
    // A window's worth of calls at most: none of them is answered before there is a link. What cannot be cloned is refused here and now.
    else this.#unsent.push(structuredClone({ batch, transfer }, { transfer: [...transfer] }));
  }

  hold(): void {
    // By those who call `keepAlive`.
  }

  /** Keeps the thread alive until the returned function is called. */
  keepAlive(): () => void {
    this.#holders += 1;
    if (this.#holders === 1) this.#link?.hold(true);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holders -= 1;
      if (this.#holders === 0 && !this.#isClosed) this.#link?.hold(false);
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#unsent = [];
    this.#link?.close();
  }
}
