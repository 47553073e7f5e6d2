import type { PublishedMessage } from "../message/message.js";
import type { ExpressLane, ExpressQueue, PromptConsumer } from "./express-lane.js";
import type { DispatchHost, QueueConsumer } from "./ports.js";
import type { QueueFacts, QueueSettings } from "./queue-facts.js";
import { QueueCounters, Slowness } from "./queue-facts.js";
import type { Runnable } from "./scheduler.js";

/**
 * A queue but for what waits in it: its bounds and figures, whom it serves and when, and its side of the express lane.
 *
 * Whatever puts something into the queue itself, or looks at what waits there, begins with `leaveLane`.
 */
export abstract class ServedQueue implements ExpressQueue, QueueFacts, Runnable {
  readonly name: string;
  readonly patterns: readonly string[];
  /** The group whose members share it; null for a subscription of its own. */
  readonly group: string | null;
  readonly shard: number;
  readonly settings: QueueSettings;
  readonly slowness = new Slowness();
  readonly consumers: QueueConsumer[] = [];
  readonly isDurable: boolean = false;
  isScheduled = false;
  /** True until the last consumer has gone (for good, where nothing keeps the queue). */
  isOpen = true;

  express: PromptConsumer | null = null;
  expressEpoch = 0;
  /** Handed out and not decided. */
  inFlight = 0;
  /** Given back, waiting for their backoff to end. */
  delayed = 0;
  /** Handlers running for messages that need no acknowledgement. */
  running = 0;

  protected readonly host: DispatchHost;
  /** What was counted, but for what the express lane has still to tell: `counters`, `queued` and `queuedBytes` are up to date. */
  protected readonly counted = new QueueCounters();
  protected countedMessages = 0;
  protected countedBytes = 0;
  /** True where taking a message is nothing but taking it: no keys, no copies, nobody to tell. */
  protected readonly isPlain: boolean;
  /** True where somebody sees each hand-over, who should find in the message whose it is. */
  protected readonly isObserved: boolean;
  protected readonly maxMessages: number;
  protected readonly maxBytes: number;
  readonly #lane: ExpressLane;
  #nextConsumer = 0;

  constructor(
    name: string,
    patterns: readonly string[],
    group: string | null,
    shard: number,
    settings: QueueSettings,
    host: DispatchHost,
  ) {
    this.name = name;
    this.patterns = patterns;
    this.group = group;
    this.shard = shard;
    this.settings = settings;
    this.host = host;
    this.#lane = host.lane;
    this.isObserved = host.onDeliver !== null || host.around !== null;
    this.isPlain = !settings.isOrderedByKey && host.copyPayload === null && !this.isObserved;
    this.maxMessages = settings.maxMessages;
    this.maxBytes = settings.maxBytes;
  }

  /** True where nothing is in turn in the queue itself. */
  protected abstract get isEmpty(): boolean;
  /** Publishers that are held back. */
  abstract get held(): number;
  abstract takeOver(message: PublishedMessage): void;

  get counters(): QueueCounters {
    this.#lane.settle();
    return this.counted;
  }

  /** Messages that wait to be taken, those of held publishers included. */
  get queued(): number {
    this.#lane.settle();
    return this.countedMessages;
  }

  get queuedBytes(): number {
    this.#lane.settle();
    return this.countedBytes;
  }

  /** Messages that fit before the queue is full, by what it has counted. */
  get messagesLeft(): number {
    return this.maxMessages - this.countedMessages - this.delayed;
  }

  get bytesLeft(): number {
    return this.maxBytes - this.countedBytes;
  }

  /** True where messages wait in the queue itself, and not in the express lane. */
  get hasOwn(): boolean {
    return this.countedMessages > 0 && (this.expressEpoch !== this.#lane.epoch || !this.isEmpty);
  }

  /** Messages have entered the express lane for this queue. */
  countTaken(messages: number, bytes: number): void {
    this.counted.routed += messages;
    this.countedMessages += messages;
    this.countedBytes += bytes;
  }

  /** Messages have been handed to its consumer from the express lane. */
  countHanded(messages: number, bytes: number): void {
    this.countedMessages -= messages;
    this.countedBytes -= bytes;
    this.counted.handedOver += messages;
    this.counted.delivered += messages;
    this.consumers[0]?.countHanded(messages);
  }

  /** True where nothing is left to do. */
  get isIdle(): boolean {
    return this.queued === 0 && this.inFlight === 0 && this.delayed === 0 && this.running === 0;
  }

  /** True where one more message of so many bytes stays within the bounds, after `others` that are not here yet. */
  hasRoom(bytes: number, others = 0): boolean {
    this.#lane.settle();
    return (
      this.countedMessages + this.delayed + others < this.maxMessages &&
      (this.countedBytes + bytes <= this.maxBytes || this.countedMessages + others === 0)
    );
  }

  /** The express lane has gone on to another queue. */
  served(): void {
    if (this.countedMessages === 0) this.settled();
  }

  /** Finds out whether the express lane may serve its consumer. */
  chooseWay(): void {
    const only = this.consumers.length === 1 ? (this.consumers[0] as QueueConsumer) : null;
    this.express = this.isPlain && !this.isDurable ? (only?.prompt ?? null) : null;
    this.#lane.interrupt();
  }

  /** Has what the express lane has for it put into the queue itself. */
  protected leaveLane(): void {
    if (this.expressEpoch === this.#lane.epoch) this.#lane.spill();
  }

  protected scheduleSoon(): void {
    if (!this.isScheduled && this.consumers.length > 0) this.host.scheduler.schedule(this);
  }

  runSlice(limit: number): number {
    const { consumers } = this;
    const done = consumers.length === 1 ? (consumers[0] as QueueConsumer).pump(limit) : this.#serveMembers(limit);
    if (this.countedMessages === 0) this.settled();
    return done;
  }

  #serveMembers(limit: number): number {
    const { consumers } = this;
    // Members take turns, message by message, among those with free capacity.
    let done = 0;
    let refused = 0;
    while (done < limit && refused < consumers.length && this.countedMessages > 0) {
      if (this.#nextConsumer >= consumers.length) this.#nextConsumer = 0;
      const consumer = consumers[this.#nextConsumer] as QueueConsumer;
      this.#nextConsumer += 1;
      if (consumer.pump(1) === 1) {
        done += 1;
        refused = 0;
      } else refused += 1;
    }
    return done;
  }

  hasWork(): boolean {
    if (this.isEmpty) return false;
    for (const consumer of this.consumers) if (consumer.isReady()) return true;
    return false;
  }

  /** Has the queue served soon, where there is something to serve. */
  wakeUp(): void {
    if (this.countedMessages > 0 && !this.isScheduled) this.host.scheduler.schedule(this);
  }

  addConsumer(consumer: QueueConsumer): void {
    this.leaveLane();
    this.consumers.push(consumer);
    this.chooseWay();
    this.wakeUp();
  }

  /** Removes a consumer; what it had in flight is delivered again to others, or dropped where the queue goes. */
  removeConsumer(consumer: QueueConsumer): void {
    this.leaveLane();
    const index = this.consumers.indexOf(consumer);
    if (index >= 0) this.consumers.splice(index, 1);
    this.chooseWay();
  }

  /** Something has left: wakes the consumers that had no capacity, and tells when nothing is left. */
  settled(): void {
    if (this.countedMessages > 0) {
      if (!this.isScheduled) this.host.scheduler.schedule(this);
    } else if (this.inFlight === 0 && this.running === 0) this.host.quiet(this);
  }
}
