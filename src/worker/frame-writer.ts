import type { Transferable } from "node:worker_threads";
import type { Link } from "./link.js";
import { PackedValues } from "./packed-values.js";
import { batchTag, framesAt, maxRecordKeys, numbersAt, textAt } from "./protocol.js";

/** What became of a frame that could not be sent: something in it cannot be cloned. */
export type RefusedFrame = (frame: readonly unknown[], error: unknown) => void;

/** Elements of a batch after which it goes without waiting for the end of the turn: the other side can begin. */
const fullBatch = 1_024;
/** The same for the numbers packed beside it, which cost less than half of an element. */
const fullPacked = 2_048;

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
  #batch: unknown[] = emptyBatch();
  #starts: number[] = [];
  #transfers: { readonly frame: number; readonly what: Transferable }[] = [];
  #isArmed = false;
  #packed: PackedValues | null = null;
  /** Batches sent, for statistics. */
  batches = 0;

  constructor(link: Link, refused: RefusedFrame) {
    this.#link = link;
    this.#refused = refused;
  }

  /** The packed values of the batch being written. */
  get packed(): PackedValues {
    // More than a batch has, and one record.
    this.#packed ??= new PackedValues(fullPacked + maxRecordKeys);
    return this.#packed;
  }

  /** Writes a frame. `transfer`: what in it moves to the other side instead of being copied. */
  write(frame: readonly unknown[], transfer?: readonly Transferable[]): void {
    this.begin();
    for (const value of frame) this.#batch.push(value);
    if (transfer !== undefined) this.transfer(transfer);
    this.end();
  }

  /** Writes a frame that another needs, which is written next and goes with it. */
  writeAhead(frame: readonly unknown[]): void {
    const batch = this.begin();
    for (const value of frame) batch.push(value);
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
    const packed = this.#packed;
    if (this.#batch.length >= fullBatch || (packed !== null && packed.count >= fullPacked)) this.flush();
    else if (!this.#isArmed) {
      this.#isArmed = true;
      void soon.then(() => this.flush());
    }
  }

  /** Sends what there is. */
  flush(): void {
    this.#isArmed = false;
    const batch = this.#batch;
    if (batch.length === framesAt) return;
    const packed = this.#packed;
    if (packed !== null && packed.count > 0) {
      batch[numbersAt] = packed.takeNumbers();
      batch[textAt] = packed.takeText();
    }
    const starts = this.#starts;
    const transfers = this.#transfers;
    this.#batch = emptyBatch();
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
          this.#link.send([...batch.slice(0, framesAt), ...frame], what);
        } catch (error) {
          this.#refused(frame, error);
        }
      }
    }
  }
}

function emptyBatch(): unknown[] {
  return [batchTag, null, ""];
}
