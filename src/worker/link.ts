import type { Transferable } from "node:worker_threads";

/** What a link tells its owner. */
export interface LinkListener {
  /** A batch has come. */
  batch(batch: readonly unknown[]): void;
  /** Nothing will come any more; the other side may be gone. Told once. */
  closed(): void;
}

/** One end of a channel between two threads or processes, in order and without loss while both live. */
export interface Link {
  /** Begins to listen. What came before is delivered. */
  start(listener: LinkListener): void;
  /** Sends a batch. Throws where something in it cannot be cloned; does nothing where nobody listens any more. */
  send(batch: readonly unknown[], transfer: readonly Transferable[]): void;
  /** Says whether this end keeps its event loop alive. */
  hold(isHeld: boolean): void;
  /** Stops listening. Safe to repeat; `closed` is not told for it. */
  close(): void;
}
