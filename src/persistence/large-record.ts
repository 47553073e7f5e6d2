import type { OperationEntry, PublishEntry } from "./wal/entries.js";

/** A record with fewer messages than this is read again for each page. */
const largeRecord = 256;

/**
 * The last large record of the log that was decoded: a page takes what it wants of it, and the next page need not read and
 * decode all of it again. It is let go of with its last message, with the next large one, and when a checkpoint has moved it.
 */
export class LargeRecord {
  #lsn = 0;
  #lastSeq = 0;
  #messages = new Map<number, PublishEntry>();

  /** Keeps a record whose messages were not all wanted. */
  keep(lsn: number, operations: readonly OperationEntry[], takenThroughSeq: number): void {
    if (operations.length < largeRecord) return;
    const messages = new Map<number, PublishEntry>();
    let lastSeq = 0;
    for (const operation of operations) {
      if (operation.type !== "publish") continue;
      messages.set(operation.seq, operation);
      lastSeq = Math.max(lastSeq, operation.seq);
    }
    if (takenThroughSeq >= lastSeq) return;
    this.#lsn = lsn;
    this.#lastSeq = lastSeq;
    this.#messages = messages;
  }

  /** The messages at the first of the places, as far as they are in it; they are in the order of their numbers. */
  take(places: readonly { readonly seq: number; readonly lsn: number }[]): PublishEntry[] {
    const found: PublishEntry[] = [];
    for (const { lsn, seq } of places) {
      const message = lsn === this.#lsn ? this.#messages.get(seq) : undefined;
      if (message === undefined) break;
      found.push(message);
    }
    if (found.at(-1)?.seq === this.#lastSeq) this.#forget();
    return found;
  }

  /** The log has no message before that one. */
  forgetBefore(seq: number): void {
    if (this.#lastSeq < seq) this.#forget();
  }

  #forget(): void {
    this.#lsn = 0;
    this.#lastSeq = 0;
    this.#messages = new Map();
  }
}
