import type { PublishedMessage } from "../message/message.js";

/**
 * The bytes of every message the broker holds, each counted once however many queues hold it.
 *
 * Whoever puts a message somewhere calls `hold`, and `release` when it leaves. The publisher asks `hasRoom` before
 * anything changes, so the limit holds at any instant.
 */
export class MemoryBudget {
  readonly maxBytes: number;
  usedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  hasRoom(bytes: number): boolean {
    return this.usedBytes + bytes <= this.maxBytes;
  }

  /** Counts bytes that are no message yet, until `unreserve`. */
  reserve(bytes: number): void {
    this.usedBytes += bytes;
  }

  unreserve(bytes: number): void {
    this.usedBytes -= bytes;
  }

  hold(message: PublishedMessage): void {
    if (message.holders === 0) this.usedBytes += message.bytes;
    message.holders += 1;
  }

  /** The same as so many calls of `hold`. */
  holdFor(message: PublishedMessage, holders: number): void {
    if (message.holders === 0) this.usedBytes += message.bytes;
    message.holders += holders;
  }

  release(message: PublishedMessage): void {
    message.holders -= 1;
    if (message.holders === 0) this.usedBytes -= message.bytes;
  }
}
