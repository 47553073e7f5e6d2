import type { Message, PublishedMessage } from "../message/message.js";
import type { MemoryBudget } from "./memory-budget.js";
import type { Runnable, Scheduler } from "./scheduler.js";

/** A consumer that takes whatever comes, at once and without acknowledgement. */
export interface PromptConsumer {
  /** Has the message worked on; nothing that fails comes back. */
  handle(message: Message): void;
}

/** A queue, as the lane sees it. */
export interface ExpressQueue {
  /** Its consumer, where the lane may serve it; null: messages have to come to the queue itself. */
  readonly express: PromptConsumer | null;
  /** The lane's `epoch` of the last time that a message for it entered the lane. */
  expressEpoch: number;
  /** True where messages wait in the queue itself. */
  readonly hasOwn: boolean;
  /** What fits before it is full, by what it has counted. */
  readonly messagesLeft: number;
  readonly bytesLeft: number;
  /** Messages for it are in the lane. */
  countTaken(messages: number, bytes: number): void;
  /** Messages from the lane were handed to its consumer. */
  countHanded(messages: number, bytes: number): void;
  /** Has a message from the lane wait in the queue itself. It is counted, and its memory is held. */
  takeOver(message: PublishedMessage): void;
  /** Its turn is over. */
  served(): void;
}

/** Messages to the same queues in a row that are handed to one of them before the next has its turn: a slice's worth. */
const mostInRun = 64;
/** Messages, and hand-overs of them, that wait in the lane at most: what a spill has to move at once. */
const mostMessages = 4_096;
const mostDeliveries = 16_384;
/** Slices that are smaller come of handlers that are slow: those must not stand in each other's way. */
const leastSlice = 16;

/**
 * Where messages wait for handlers that keep up: one line for all the queues that are empty otherwise, so that a message to
 * ten of them has one place and not ten, and is counted once and not ten times.
 *
 * Messages to the same queues one after the other are a run. A run is handed to its first queue, then to the next. What the
 * queues count (`routed`, `queued`, `delivered` …) is brought up to date for a run at a time, and at once where somebody looks:
 * `settle`.
 *
 * It is no more than a short cut. A queue is served from here as long as it has nothing of its own waiting and a single
 * consumer that takes whatever comes. Whatever else is to be done with it (a message that has to wait, a look at what does,
 * a consumer that comes or goes) has the lane moved into the queues first: `spill`.
 */
export class ExpressLane implements Runnable {
  readonly shard: number;
  isScheduled = false;
  /** Changes when the lane has become empty. A queue that was marked with it has messages here. */
  epoch = 1;

  readonly #scheduler: Scheduler;
  readonly #memory: MemoryBudget;
  readonly #channel: { readonly isActive: boolean };

  readonly #messages: (PublishedMessage | undefined)[] = [];
  /** Where the next message goes. */
  #end = 0;
  /** The queues of each run that is complete, and where it ends in `#messages`. */
  readonly #runTargets: (readonly ExpressQueue[])[] = [];
  readonly #runEnds: number[] = [];
  #runs = 0;

  /** The queues of the run that still grows; null where none does. */
  #open: readonly ExpressQueue[] | null = null;
  /** Where that run has to end. */
  #openLimit = 0;
  #openBytesLimit = 0;
  /** Bytes of its messages, and how many of them its queues have counted; and the first message that they have not. */
  #openBytes = 0;
  #countedBytes = 0;
  #uncounted = 0;
  #deliveries = 0;

  /** The run that is being served, where it begins, and which of its queues has its turn. */
  #run = 0;
  #start = 0;
  #turn = 0;
  /** The message that queue gets next, and the first that it got and has not counted. */
  #next = 0;
  #handed = 0;
  #handedBytes = 0;
  /** True where what is being served may not simply go on. */
  #isInterrupted = false;

  /** @param channel - watches handlers at work; what goes through here is not seen, so that nothing does while it is active */
  constructor(scheduler: Scheduler, memory: MemoryBudget, channel: { readonly isActive: boolean }, shard: number) {
    this.#scheduler = scheduler;
    this.#memory = memory;
    this.#channel = channel;
    this.shard = shard;
  }

  /** True where a message of so many bytes for these queues may be `put` here now: it fits, and finds all of them ready. */
  admits(targets: readonly ExpressQueue[], bytes: number): boolean {
    if (targets === this.#open && this.#end < this.#openLimit && this.#openBytes + bytes <= this.#openBytesLimit)
      return true;
    return this.#openRun(targets, bytes);
  }

  /** Takes the message that was asked for, and holds its memory. */
  put(message: PublishedMessage): void {
    this.#messages[this.#end] = message;
    this.#end += 1;
    this.#openBytes += message.bytes;
    this.#memory.hold(message);
    if (!this.isScheduled) this.#scheduler.schedule(this);
  }

  /** Brings what the queues count up to date. */
  settle(): void {
    if (this.#uncounted !== this.#end) this.#countTaken();
    if (this.#handed !== this.#next) this.#countHanded();
  }

  /** What is being served may not simply go on: a consumer has paused, or is busy. */
  interrupt(): void {
    this.#isInterrupted = true;
  }

  /** Moves everything into the queues it is for. */
  spill(): void {
    this.settle();
    this.#closeRun();
    const messages = this.#messages;
    let start = this.#start;
    for (let run = this.#run; run < this.#runs; run += 1) {
      const targets = this.#runTargets[run] as readonly ExpressQueue[];
      const end = this.#runEnds[run] as number;
      const isServed = run === this.#run;
      for (let turn = isServed ? this.#turn : 0; turn < targets.length; turn += 1) {
        const from = isServed && turn === this.#turn ? this.#next : start;
        for (let index = from; index < end; index += 1) {
          const message = messages[index] as PublishedMessage;
          this.#memory.hold(message);
          (targets[turn] as ExpressQueue).takeOver(message);
        }
      }
      // Those that the last of their queues has had are let go already.
      const isLast = isServed && this.#turn === targets.length - 1;
      for (let index = isLast ? this.#next : start; index < end; index += 1) {
        this.#memory.release(messages[index] as PublishedMessage);
      }
      start = end;
    }
    messages.fill(undefined, 0, this.#end);
    this.#empty();
    this.#isInterrupted = true;
  }

  runSlice(limit: number): number {
    if (limit < leastSlice || this.#channel.isActive) {
      this.spill();
      return 0;
    }
    let done = 0;
    while (done < limit) {
      if (this.#run === this.#runs) {
        if (this.#open === null) break;
        this.#closeRun();
      }
      done += this.#serve(limit - done);
    }
    return done;
  }

  hasWork(): boolean {
    return this.#end > 0;
  }

  /** Hands messages of the first run to the queue whose turn it is; returns how many. */
  #serve(limit: number): number {
    const targets = this.#runTargets[this.#run] as readonly ExpressQueue[];
    const runEnd = this.#runEnds[this.#run] as number;
    const queue = targets[this.#turn] as ExpressQueue;
    const isLast = this.#turn === targets.length - 1;
    const begin = this.#next;
    let index = begin;
    const consumer = queue.express;
    if (consumer !== null && !queue.hasOwn) {
      const messages = this.#messages;
      const memory = this.#memory;
      const end = Math.min(runEnd, begin + limit);
      this.#isInterrupted = false;
      while (index < end) {
        const message = messages[index] as PublishedMessage;
        index += 1;
        this.#next = index;
        this.#handedBytes += message.bytes;
        if (isLast) {
          messages[index - 1] = undefined;
          memory.release(message);
        }
        consumer.handle(message);
        if (this.#isInterrupted) break;
      }
      // Whatever was here has gone into the queues.
      if (this.#next !== index) return index - begin;
      if (this.#handed !== index) this.#countHanded();
      if (index < runEnd && queue.express !== null && !queue.hasOwn) return index - begin;
    }
    for (let rest = index; rest < runEnd; rest += 1) {
      const message = this.#messages[rest] as PublishedMessage;
      if (isLast) this.#messages[rest] = undefined;
      else this.#memory.hold(message);
      queue.takeOver(message);
    }
    if (isLast) this.#endRun(runEnd);
    else {
      this.#turn += 1;
      this.#next = this.#start;
      this.#handed = this.#start;
    }
    queue.served();
    return index - begin;
  }

  #openRun(targets: readonly ExpressQueue[], bytes: number): boolean {
    this.#closeRun();
    const count = targets.length;
    if (count === 0) return false;
    if (this.#end >= mostMessages || this.#deliveries >= mostDeliveries) this.spill();
    let messagesLeft = mostInRun;
    // Not Infinity, which would make a fraction of what is a whole number nearly always.
    let bytesLeft = (targets[0] as ExpressQueue).bytesLeft;
    for (let index = 0; index < count; index += 1) {
      const queue = targets[index] as ExpressQueue;
      if (queue.express === null || queue.hasOwn) return false;
      messagesLeft = Math.min(messagesLeft, queue.messagesLeft);
      bytesLeft = Math.min(bytesLeft, queue.bytesLeft);
    }
    if (messagesLeft <= 0 || bytes > bytesLeft) return false;
    for (let index = 0; index < count; index += 1) (targets[index] as ExpressQueue).expressEpoch = this.epoch;
    this.#open = targets;
    this.#openLimit = this.#end + messagesLeft;
    this.#openBytesLimit = bytesLeft;
    this.#openBytes = 0;
    this.#countedBytes = 0;
    return true;
  }

  #closeRun(): void {
    const open = this.#open;
    if (open === null) return;
    if (this.#uncounted !== this.#end) this.#countTaken();
    this.#open = null;
    const start = this.#runs === 0 ? 0 : (this.#runEnds[this.#runs - 1] as number);
    if (start === this.#end) return;
    this.#runTargets[this.#runs] = open;
    this.#runEnds[this.#runs] = this.#end;
    this.#runs += 1;
    this.#deliveries += (this.#end - start) * open.length;
  }

  #endRun(end: number): void {
    if (this.#run + 1 === this.#runs && this.#open === null) {
      this.#empty();
      return;
    }
    this.#run += 1;
    this.#start = end;
    this.#turn = 0;
    this.#next = end;
    this.#handed = end;
  }

  #countTaken(): void {
    const targets = this.#open as readonly ExpressQueue[];
    const messages = this.#end - this.#uncounted;
    const bytes = this.#openBytes - this.#countedBytes;
    this.#uncounted = this.#end;
    this.#countedBytes = this.#openBytes;
    for (let index = 0; index < targets.length; index += 1) {
      (targets[index] as ExpressQueue).countTaken(messages, bytes);
    }
  }

  #countHanded(): void {
    const targets = this.#runTargets[this.#run] as readonly ExpressQueue[];
    const messages = this.#next - this.#handed;
    const bytes = this.#handedBytes;
    this.#handed = this.#next;
    this.#handedBytes = 0;
    (targets[this.#turn] as ExpressQueue).countHanded(messages, bytes);
  }

  #empty(): void {
    this.#end = 0;
    this.#runs = 0;
    this.#run = 0;
    this.#start = 0;
    this.#turn = 0;
    this.#next = 0;
    this.#handed = 0;
    this.#uncounted = 0;
    this.#deliveries = 0;
    this.#open = null;
    this.epoch += 1;
  }
}
