import type { TimerEntry } from "../collections/timer-queue.js";
import type { Delivery, Settler, TimerTask } from "../message/delivery.js";
import type { Message, PublishedMessage } from "../message/message.js";
import type { TraceChannel } from "../platform/tracing.js";
import type { ExpressLane, PromptConsumer } from "./express-lane.js";
import type { HeldPublishers } from "./held-publishers.js";
import type { MemoryBudget } from "./memory-budget.js";
import type { DropReason, QueueFacts } from "./queue-facts.js";
import type { Scheduler } from "./scheduler.js";

/** Deadlines in one time base; `Timers` has two. */
interface TimerPort {
  now(): number;
  after(delayMs: number, task: TimerTask): TimerEntry<TimerTask>;
  at(deadline: number, task: TimerTask): TimerEntry<TimerTask>;
  cancel(entry: TimerEntry<TimerTask>): void;
}

/** What keeps account of deliveries in flight; the ack tracker. */
export interface DeliveryTracker extends Settler {
  /** The ack timeout of a delivery in flight begins; a repeat does nothing. */
  begin(delivery: Delivery, ackTimeoutMs: number): void;
  /** Takes a delivery away from a consumer that goes; it is delivered again at once, to whoever is there. */
  takeBack(delivery: Delivery): void;
  /** Forgets a delivery in flight whose queue goes with it. */
  forget(delivery: Delivery): void;
}

/** One taker of a queue's messages, as its queue sees it. */
export interface QueueConsumer {
  /** Itself, where it takes whatever comes, at once and without acknowledgement; null where it may not. */
  readonly prompt: PromptConsumer | null;
  /** So many messages were handed to it. */
  countHanded(messages: number): void;
  /** True where deliveries to it stay in flight until they are settled. */
  readonly acknowledges: boolean;
  /** True where a message that is settled at its hand-over has its key until the consumer is done with it (`releaseKey`). */
  readonly holdsKeys: boolean;
  /** True where it goes on taking messages unless it is stopped: a handler, or somebody who waits for one. */
  readonly isTaking: boolean;
  /** It takes nothing any more, and goes once what it has is done. */
  readonly isClosed: boolean;
  /** Would it take one now? */
  isReady(): boolean;
  /** Takes up to `limit` messages for as long as it is ready; returns how many. */
  pump(limit: number): number;
  beginFlight(delivery: Delivery): void;
  endFlight(delivery: Delivery): void;
  /** Messages it has in flight or is working on. */
  busyWith(): Iterable<Message>;
}

/** What a handler's run looks like to those who watch it: plugins and the `process` channel. */
export interface ProcessContext {
  /** The message the handler works on. */
  readonly message: Message;
  /** The subscription or group it was handed to. */
  readonly subscription: string;
}

/** What the queues need of the broker around them. */
export interface DispatchHost {
  readonly scheduler: Scheduler;
  readonly lane: ExpressLane;
  readonly memory: MemoryBudget;
  readonly heldPublishers: HeldPublishers;
  readonly deadlines: TimerPort;
  readonly dates: TimerPort;
  readonly tracker: DeliveryTracker;
  readonly processChannel: TraceChannel<ProcessContext>;
  /** A copy for a consumer of its own; null where consumers share the publisher's object. */
  readonly copyPayload: ((data: unknown) => unknown) | null;
  /** Runs a handler within what plugins put around it; null where none does. */
  readonly around: ((message: Message, queue: QueueFacts, run: () => unknown) => unknown) | null;
  /** Told of every hand-over; null while nobody asks. */
  readonly onDeliver: ((message: Message, queue: QueueFacts) => void) | null;
  dropped(queue: QueueFacts, message: PublishedMessage, reason: DropReason, from: Delivery | null): void;
  expired(queue: QueueFacts, delivery: Delivery): void;
  /** A user's callback threw. */
  failed(queue: QueueFacts, error: unknown, message: Message, during: "handler" | "filter"): void;
  /** A handler threw on a message that nothing will deliver again: the last chance to keep it. */
  undone(queue: QueueFacts, message: Message, error: unknown): void;
  slow(queue: QueueFacts): void;
  /** The queue has nothing queued, in flight or running any more; messages may be in their backoff. */
  quiet(queue: QueueFacts): void;
  /** The queue is full and its policy is to close. */
  overflowed(queue: QueueFacts): void;
}
