import type { TimerEntry } from "../collections/timer-queue.js";
import type { TimerTask } from "../message/delivery.js";
import { sequenceIn } from "../message/id.js";
import type { PublishedMessage } from "../message/message.js";
import type { TimerLine } from "./timers.js";

/** A message whose time has not come. */
class DelayedMessage implements TimerTask {
  readonly message: PublishedMessage;
  readonly line: TimerLine;
  /** When it is due, in its line's time. */
  readonly dueAt: number;
  readonly due: TimerEntry<TimerTask>;
  /** When it expires; null: it does not. */
  readonly expiry: TimerEntry<TimerTask> | null;
  readonly #owner: DelayedMessages;

  constructor(message: PublishedMessage, line: TimerLine, dueAt: number, dates: TimerLine, owner: DelayedMessages) {
    this.message = message;
    this.line = line;
    this.dueAt = dueAt;
    this.#owner = owner;
    this.due = line.at(dueAt, this);
    this.expiry = message.expiresAtMs === 0 ? null : dates.at(message.expiresAtMs, this);
  }

  onTimer(): void {
    this.#owner.release(this);
  }
}

/**
 * Messages that wait for their time before they are routed: to the subscriptions that are there then.
 *
 * A delay counts on the monotonic clock, a date on the wall clock; so setting the wall clock moves dates and nothing
 * else. Each is delivered once: it leaves the table in the step that routes it. One that expires before its time leaves
 * the table when it expires.
 *
 * A message that was given no id is kept by its number, which its id encodes: that text is made only for who reads it.
 */
export class DelayedMessages {
  readonly #byKey = new Map<string | number, DelayedMessage>();
  readonly #dates: TimerLine;
  readonly #deliver: (message: PublishedMessage) => void;

  /** @param deliver - takes a message whose time has come, or has passed */
  constructor(dates: TimerLine, deliver: (message: PublishedMessage) => void) {
    this.#dates = dates;
    this.#deliver = deliver;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** True where a message with the same id waits. */
  has(message: PublishedMessage): boolean {
    const id = message.extras?.id;
    return id !== undefined && this.#find(id) !== undefined;
  }

  /** Keeps a message until `dueAt`. Its id must not be waiting already. */
  add(message: PublishedMessage, line: TimerLine, dueAt: number): void {
    this.#byKey.set(keyOf(message), new DelayedMessage(message, line, dueAt, this.#dates, this));
  }

  /** Takes a message out before its time; undefined where none with that id waits. */
  cancel(id: string): PublishedMessage | undefined {
    const delayed = this.#find(id);
    if (delayed === undefined) return undefined;
    this.#remove(delayed);
    return delayed.message;
  }

  /** @internal A message's time has come, or it has expired. */
  release(delayed: DelayedMessage): void {
    this.#remove(delayed);
    this.#deliver(delayed.message);
  }

  /** Takes everything out. */
  clear(): PublishedMessage[] {
    const all = [...this.#byKey.values()];
    for (const delayed of all) this.#remove(delayed);
    return all.map(({ message }) => message);
  }

  *messages(): IterableIterator<DelayedMessage> {
    yield* this.#byKey.values();
  }

  #find(id: string): DelayedMessage | undefined {
    const named = this.#byKey.get(id);
    if (named !== undefined) return named;
    const numbered = this.#byKey.get(sequenceIn(id));
    return numbered?.message.id === id ? numbered : undefined;
  }

  #remove(delayed: DelayedMessage): void {
    delayed.line.cancel(delayed.due);
    if (delayed.expiry !== null) this.#dates.cancel(delayed.expiry);
    this.#byKey.delete(keyOf(delayed.message));
  }
}

function keyOf(message: PublishedMessage): string | number {
  return message.extras?.id ?? message.seq;
}
