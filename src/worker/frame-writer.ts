import type { Transferable } from "node:worker_threads";
import type { Link } from "./link.js";
import { batchTag } from "./protocol.js";

/** What became of a frame that could not be sent: something in it cannot be cloned. */
export type RefusedFrame = (frame: readonly unknown[], error: unknown) => void;

/** Elements of a batch after which it goes without waiting for the end of the turn: the other side can begin. */
const fullBatch = 1_024;

/** Running a step from here costs a third of what queueMicrotask does. */
const soon = Promise.resolve();

/**
 * Gathers frames into batches: one message to the other side for all that is written in a turn.
 *
 * A frame that cannot be cloned does not take the others of its batch with it: each is sent apart, and the one is refused.
 */
export class FrameWriter {
  readonly #link: Link;
  readonly #refused: RefusedFrame;
  #batch: unknown[] = [batchTag];
  #starts: number[] = [];
  #transfers: { readonly frame: number; readonly what: Transferable }[] = [];
  #isArmed = false;
  /** Batches sent, for statistics. */
  batches = 0;

  constructor(link: Link, refused: RefusedFrame) {
    this.#link = link;
    this.#refused = refused;
  }

  /** Writes a frame. `transfer`: what in it moves to the other side instead of being copied. */
  write(frame: readonly unknown[], transfer?: readonly Transferable[]): void {
    this.begin();
    for (const value of frame) this.#batch.push(value);
    if (transfer !== undefined) this.transfer(transfer);
    this.end();
  }

  /** Begins a frame whose values the caller pushes onto the batch it returns; `end` ends it. */
  begin(): unknown[] {
    this.#starts.push(this.#batch.length);
    return this.#batch;
  }

  /** True where `batch` is the one being written, and nothing has been written after its element `end`. */
  isLast(batch: readonly unknown[], end: number): boolean {
    return batch === this.#batch && batch.length === end;
  }

  /** Has something of the frame that was begun last moved instead of copied. */
  transfer(what: readonly Transferable[]): void {
    const frame = this.#starts.length - 1;
    for (const one of what) this.#transfers.push({ frame, what: one });
  }

  end(): void {
    if (this.#batch.length >= fullBatch) this.flush();
    else if (!this.#isArmed) {
      this.#isArmed = true;
      void soon.then(() => this.flush());
    }
  }

  /** Sends what there is. */
  flush(): void {
    this.#isArmed = false;
    const batch = this.#batch;
    if (batch.length === 1) return;
    const starts = this.#starts;
    const transfers = this.#transfers;
    this.#batch = [batchTag];
    this.#starts = [];
    if (transfers.length > 0) this.#transfers = [];
    this.batches += 1;
    try {
      this.#link.send(batch, transfers.length === 0 ? [] : transfers.map(({ what }) => what));
    } catch {
      for (const [index, start] of starts.entries()) {
        const frame = batch.slice(start, starts[index + 1]);
        const what = transfers.filter((one) => one.frame === index).map((one) => one.what);
        try {
          this.#link.send([batchTag, ...frame], what);
        } catch (error) {
          this.#refused(frame, error);
        }
      }
    }
  }
}
