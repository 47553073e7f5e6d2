import type { TimerEntry } from "../collections/timer-queue.js";
import type { TimerTask } from "../message/delivery.js";
import type { PublishedMessage } from "../message/message.js";
import type { TimerLine } from "./timers.js";

/** A message whose time has not come. */
export interface DelayedMessage {
  readonly message: PublishedMessage;
  readonly line: TimerLine;
  /** When it is due, in its line's time. */
  readonly dueAt: number;
  readonly due: TimerEntry<TimerTask>;
  /** When it expires; null: it does not. */
  readonly expiry: TimerEntry<TimerTask> | null;
}

/**
 * Messages that wait for their time before they are routed: to the subscriptions that are there then.
 *
 * A delay counts on the monotonic clock, a date on the wall clock; so setting the wall clock moves dates and nothing
 * else. Each is delivered once: it leaves the table in the step that routes it. One that expires before its time leaves
 * the table when it expires.
 */
export class DelayedMessages {
  readonly #byId = new Map<string, DelayedMessage>();
  readonly #dates: TimerLine;
  readonly #deliver: (message: PublishedMessage) => void;

  /** @param deliver - takes a message whose time has come, or has passed */
  constructor(dates: TimerLine, deliver: (message: PublishedMessage) => void) {
    this.#dates = dates;
    this.#deliver = deliver;
  }

  get size(): number {
    return this.#byId.size;
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Keeps a message until `dueAt`. Its id must not be waiting already. */
  add(message: PublishedMessage, line: TimerLine, dueAt: number): void {
    const { id, expiresAtMs } = message;
    const task: TimerTask = {
      onTimer: () => {
        if (this.cancel(id) !== undefined) this.#deliver(message);
      },
    };
    const due = line.at(dueAt, task);
    const expiry = expiresAtMs === 0 ? null : this.#dates.at(expiresAtMs, task);
    this.#byId.set(id, { message, line, dueAt, due, expiry });
  }

  /** Takes a message out before its time; undefined where none with that id waits. */
  cancel(id: string): PublishedMessage | undefined {
    const delayed = this.#byId.get(id);
    if (delayed === undefined) return undefined;
    delayed.line.cancel(delayed.due);
    if (delayed.expiry !== null) this.#dates.cancel(delayed.expiry);
    this.#byId.delete(id);
    return delayed.message;
  }

  /** Takes everything out. */
  clear(): PublishedMessage[] {
    return [...this.#byId.keys()].map((id) => this.cancel(id) as PublishedMessage);
  }

  *messages(): IterableIterator<DelayedMessage> {
    yield* this.#byId.values();
  }
}
