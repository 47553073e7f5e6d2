import type { MessagePort, Transferable } from "node:worker_threads";
import type { Link, LinkListener } from "./link.js";
import { batchTag } from "./protocol.js";

/** A link over a MessagePort of its own. Closing it closes the port, which the other side notices. */
export class MessagePortLink implements Link {
  readonly #port: MessagePort;
  #isClosed = false;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  start(listener: LinkListener): void {
    this.#port.on("message", (batch: unknown) => {
      if (Array.isArray(batch) && batch[0] === batchTag && !this.#isClosed) listener.batch(batch);
    });
    this.#port.once("close", () => {
      if (this.#isClosed) return;
      this.#isClosed = true;
      listener.closed();
    });
  }

  send(batch: readonly unknown[], transfer: readonly Transferable[]): void {
    this.#port.postMessage(batch, transfer);
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.#port.ref();
    else this.#port.unref();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#port.close();
  }
}
