import { PriorityQueue } from "../collections/priority-queue.js";
import { Ring } from "../collections/ring.js";
import type { Attempt, DeliverySource, FlightOutcome } from "../message/delivery.js";
import { Delivery } from "../message/delivery.js";
import type { Message, PublishedMessage } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import type { ExpressLane, ExpressQueue, PromptConsumer } from "./express-lane.js";
import { HeldPublisher, promiseOf } from "./held-publisher.js";
import { KeyOrder } from "./key-order.js";
import type { MemoryBudget } from "./memory-budget.js";
import type { DeliveryTracker, DispatchHost, QueueConsumer } from "./ports.js";
import type { DropReason, QueueFacts, QueueSettings } from "./queue-facts.js";
import { QueueCounters, Slowness } from "./queue-facts.js";
import type { Runnable } from "./scheduler.js";

/** What became of a message that was offered: in the queue; full, and nothing has changed; dropped and counted. */
export type Offer = "queued" | "full" | "dropped";

type Item = PublishedMessage | Delivery;

/** Empty places are cleared once there are this many, and more of them than messages. */
const emptyPlacesKept = 64;

/**
 * The bounded queue behind a subscription, or behind the members of a group.
 *
 * A message that nothing sets apart waits as itself, shared by every queue it is in. One that can expire, that comes
 * back, or whose publisher is held back waits as a Delivery of this queue, and leaves an empty place when it is
 * dropped from the middle.
 *
 * `overflow: "wait"` takes the message at once, so that order and priority hold among all that wait, and holds back
 * its publisher until the queue is within its bounds again.
 */
export class DeliveryQueue implements DeliverySource, ExpressQueue, QueueFacts, Runnable {
  readonly name: string;
  readonly patterns: readonly string[];
  /** The group whose members share it; null for a subscription of its own. */
  readonly group: string | null;
  readonly shard: number;
  readonly settings: QueueSettings;
  readonly settler: DeliveryTracker;
  readonly slowness = new Slowness();
  readonly consumers: QueueConsumer[] = [];
  /** Itself, as the targets of every route that leads to it alone. */
  readonly alone: readonly DeliveryQueue[] = [this];
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

  readonly #host: DispatchHost;
  readonly #lane: ExpressLane;
  readonly #counters = new QueueCounters();
  #queued = 0;
  #queuedBytes = 0;
  readonly #memory: MemoryBudget;
  /** True where taking a message is nothing but taking it: no keys, no copies, nobody to tell. */
  readonly #isPlain: boolean;
  /** True where somebody sees each hand-over, who should find in the message whose it is. */
  readonly #isObserved: boolean;
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  readonly #waiting: PriorityQueue<Item>;
  readonly #keys: KeyOrder<Item> | null;
  readonly #delayedDeliveries = new Set<Delivery>();
  #held: Ring<HeldPublisher> | null = null;
  #heldBytes = 0;
  #emptyPlaces = 0;
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
    this.settler = host.tracker;
    this.#host = host;
    this.#memory = host.memory;
    this.#lane = host.lane;
    this.#isObserved = host.onDeliver !== null || host.around !== null;
    this.#isPlain = !settings.isOrderedByKey && host.copyPayload === null && !this.#isObserved;
    this.#maxMessages = settings.maxMessages;
    this.#maxBytes = settings.maxBytes;
    this.#waiting = new PriorityQueue<Item>(
      settings.agingMs > 0
        ? { numberOf: seqOf, agingMs: settings.agingMs, timeOf: (item) => item.timestamp }
        : { numberOf: seqOf },
    );
    this.#keys = settings.isOrderedByKey ? new KeyOrder<Item>() : null;
  }

  get counters(): QueueCounters {
    this.#lane.settle();
    return this.#counters;
  }

  /** Messages that wait to be taken, those of held publishers included. */
  get queued(): number {
    this.#lane.settle();
    return this.#queued;
  }

  get queuedBytes(): number {
    this.#lane.settle();
    return this.#queuedBytes;
  }

  /** Messages that fit before the queue is full, by what it has counted. */
  get messagesLeft(): number {
    return this.#maxMessages - this.#queued - this.delayed;
  }

  get bytesLeft(): number {
    return this.#maxBytes - this.#queuedBytes;
  }

  /** True where messages wait in the queue itself, and not in the express lane. */
  get hasOwn(): boolean {
    return this.#queued > 0 && (this.expressEpoch !== this.#lane.epoch || this.#waiting.size > 0);
  }

  /** Messages have entered the express lane for this queue. */
  countTaken(messages: number, bytes: number): void {
    this.#counters.routed += messages;
    this.#queued += messages;
    this.#queuedBytes += bytes;
  }

  /** Messages have been handed to its consumer from the express lane. */
  countHanded(messages: number, bytes: number): void {
    this.#queued -= messages;
    this.#queuedBytes -= bytes;
    this.#counters.handedOver += messages;
    this.#counters.delivered += messages;
    this.consumers[0]?.countHanded(messages);
  }

  /** Takes a message from the express lane that waits here from now on: it is counted, and its memory is held. */
  takeOver(message: PublishedMessage): void {
    this.#waiting.push(message, message.priority);
    this.#scheduleSoon();
  }

  /** The express lane has gone on to another queue. */
  served(): void {
    if (this.#queued === 0) this.settled();
  }

  /** Finds out whether the express lane may serve its consumer. */
  chooseWay(): void {
    const only = this.consumers.length === 1 ? (this.consumers[0] as QueueConsumer) : null;
    this.express = this.#isPlain && !this.isDurable ? (only?.prompt ?? null) : null;
    this.#lane.interrupt();
  }

  #leaveLane(): void {
    if (this.expressEpoch === this.#lane.epoch) this.#lane.spill();
  }

  #scheduleSoon(): void {
    if (!this.isScheduled && this.consumers.length > 0) this.#host.scheduler.schedule(this);
  }

  /** Publishers that are held back. */
  get held(): number {
    return this.#held === null ? 0 : this.#held.length;
  }

  /** True where one more message of so many bytes stays within the bounds, after `others` that are not here yet. */
  hasRoom(bytes: number, others = 0): boolean {
    this.#lane.settle();
    return (
      this.#queued + this.delayed + others < this.#maxMessages &&
      (this.#queuedBytes + bytes <= this.#maxBytes || this.#queued + others === 0)
    );
  }

  /** True where a store has more for it than is here. */
  get isBehind(): boolean {
    return false;
  }

  /** Resolves once more of what a store has is here; null where there is nothing to wait for. */
  whenFilled(): Promise<void> | null {
    return null;
  }

  /** True where nothing is left to do. */
  get isIdle(): boolean {
    return this.queued === 0 && this.inFlight === 0 && this.delayed === 0 && this.running === 0;
  }

  /**
   * Takes a message that has room here (the caller has asked, for every queue the message goes to, and holds its memory for
   * each of them) and that nothing sets apart. The short way in.
   */
  put(message: PublishedMessage): void {
    this.#leaveLane();
    this.#counters.routed += 1;
    this.#queued += 1;
    this.#queuedBytes += message.bytes;
    this.#waiting.push(message, message.priority);
    this.#scheduleSoon();
  }

  /** Takes a message, or says that there is no room and changes nothing. Drop policies make room. */
  offer(message: PublishedMessage): Offer {
    this.#leaveLane();
    if (!this.isOpen) {
      // Whoever was called on the message's way here (a filter, a listener) has ended this subscription meanwhile.
      this.#host.dropped(this, message, "unsubscribed", null);
      return "dropped";
    }
    if (!this.hasRoom(message.bytes)) {
      const { overflow } = this.settings;
      this.#host.slow(this);
      if (overflow === "wait" || overflow === "error") return "full";
      if (overflow === "close") {
        this.#counters.routed += 1;
        this.#countDrop(message, "overflow", null);
        this.#host.overflowed(this);
        return "dropped";
      }
      const shed: Item[] = [];
      const isFitting = this.#shedFor(message, overflow, shed);
      this.#counters.routed += 1;
      if (isFitting) this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
      // Told only now: whoever hears of it may publish, a dead letter for one, and must not take the room that was made.
      for (const item of shed) this.#host.dropped(this, messageOf(item), "overflow", deliveryOf(item));
      if (!isFitting) this.#countDrop(message, "overflow", null);
      return isFitting ? "queued" : "dropped";
    }
    this.#counters.routed += 1;
    this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
    return "queued";
  }

  /** Takes a message of history that is delivered again. */
  offerAgain(message: PublishedMessage): Offer {
    return this.offer(message);
  }

  /**
   * Takes a message although the queue is full, and resolves with `result` once it is within its bounds again.
   * Rejects with the signal's reason when that aborts first: the message is withdrawn from this queue.
   */
  offerHeld<Result>(message: PublishedMessage, signal: AbortSignal | undefined, result: Result): Promise<Result> {
    this.#counters.routed += 1;
    if (signal?.aborted === true) {
      this.#countDrop(message, "aborted", null);
      return Promise.reject(signal.reason);
    }
    const held = new HeldPublisher(message.bytes, result);
    const promise = promiseOf<Result>(held);
    if (signal === undefined) this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
    else held.stopListening = this.#enqueueWithdrawable(message, signal, held);
    this.#held ??= new Ring();
    this.#held.push(held);
    this.#heldBytes += message.bytes;
    this.#host.heldPublishers.add();
    return promise;
  }

  /** Puts a message at the end although the queue may be full: dead letters that are driven again, retained messages. */
  offerExtra(message: PublishedMessage): void {
    this.#counters.routed += 1;
    this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
  }

  /**
   * Hands the next message to `consumer`, which must be ready for it: as a delivery in flight where the consumer
   * acknowledges, as settled where it does not.
   */
  take(consumer: QueueConsumer): Message | undefined {
    for (;;) {
      const item = this.#waiting.shift();
      if (item === undefined) return undefined;
      if (item instanceof Delivery) {
        if (item.state !== "waiting") {
          this.#emptyPlaces -= 1;
          this.#unpark(item);
          continue;
        }
        if (item.timer !== null && item.message.expiresAtMs <= this.#host.dates.now()) {
          this.#cancelDate(item);
          this.expire(item);
          this.#emptyPlaces -= 1;
          this.#unpark(item);
          continue;
        }
      }
      if (this.#keys !== null && !this.#keys.acquire(item)) continue;
      this.#queued -= 1;
      this.#queuedBytes -= item.bytes;
      if (this.#held !== null) this.#releaseHeld();
      return this.#handOver(item, consumer);
    }
  }

  /** The same for a consumer without acknowledgement, which handles most messages of most brokers: the short way out. */
  takeSettled(consumer: QueueConsumer): Message | undefined {
    if (!this.#isPlain) return this.take(consumer);
    const item = this.#waiting.peek();
    if (item === undefined) return undefined;
    if (item instanceof Delivery || item.extras?.onAcked !== undefined) return this.take(consumer);
    this.#waiting.shift();
    this.#queued -= 1;
    this.#queuedBytes -= item.bytes;
    this.#counters.handedOver += 1;
    this.#counters.delivered += 1;
    this.#memory.release(item);
    if (this.#held !== null) this.#releaseHeld();
    return item;
  }

  runSlice(limit: number): number {
    const { consumers } = this;
    const done = consumers.length === 1 ? (consumers[0] as QueueConsumer).pump(limit) : this.#serveMembers(limit);
    if (this.#queued === 0) this.settled();
    return done;
  }

  #serveMembers(limit: number): number {
    const { consumers } = this;
    // Members take turns, message by message, among those with free capacity.
    let done = 0;
    let refused = 0;
    while (done < limit && refused < consumers.length && this.#queued > 0) {
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
    if (this.#waiting.size === 0) return false;
    for (const consumer of this.consumers) if (consumer.isReady()) return true;
    return false;
  }

  /** Has the queue served soon, where there is something to serve. */
  wakeUp(): void {
    if (this.#queued > 0 && !this.isScheduled) this.#host.scheduler.schedule(this);
  }

  addConsumer(consumer: QueueConsumer): void {
    this.#leaveLane();
    this.consumers.push(consumer);
    this.chooseWay();
    this.wakeUp();
  }

  /** Removes a consumer; what it had in flight is delivered again to others, or dropped where the queue goes. */
  removeConsumer(consumer: QueueConsumer): void {
    this.#leaveLane();
    const index = this.consumers.indexOf(consumer);
    if (index >= 0) this.consumers.splice(index, 1);
    this.chooseWay();
  }

  /** A delivery in flight is done with. `outcome` names the counter it goes to. */
  finish(delivery: Delivery, outcome: FlightOutcome): Promise<void> {
    this.#leaveFlight(delivery);
    if (outcome === "delivered") {
      this.#counters.delivered += 1;
      delivery.message.extras?.onAcked?.(this.name);
    } else if (outcome === "deadLettered" || outcome === "expired") this.#counters[outcome] += 1;
    else this.#counters.dropped[outcome] = (this.#counters.dropped[outcome] ?? 0) + 1;
    this.#host.memory.release(delivery.message);
    this.#unpark(delivery);
    if (outcome === "unsubscribed" || outcome === "purged" || outcome === "closed") {
      this.#host.dropped(this, delivery.message, outcome, delivery);
    }
    this.settled();
    return fulfilled;
  }

  /** A delivery in flight comes back, to be delivered again after `delayMs`. */
  giveBack(delivery: Delivery, delayMs: number, history: readonly Attempt[], isNewAttempt: boolean): Promise<void> {
    this.#leaveFlight(delivery);
    const next = new Delivery(
      delivery.message,
      this,
      delivery.message.data,
      isNewAttempt ? delivery.deliveryCount + 1 : delivery.deliveryCount,
      history,
    );
    if (delayMs <= 0) this.#putBack(next);
    else this.#delay(next, delayMs);
    this.settled();
    return fulfilled;
  }

  /** Takes a message that was handed out before, by another queue or process: at the end, or after `delayMs`. */
  restore(message: PublishedMessage, deliveryCount: number, delayMs: number): void {
    this.#counters.routed += 1;
    const delivery = new Delivery(message, this, message.data, deliveryCount, null);
    if (delayMs > 0 && this.#keys?.acquire(delivery) !== false) {
      this.#memory.hold(message);
      this.#delay(delivery, delayMs);
      return;
    }
    this.#watchExpiry(delivery);
    if (delayMs <= 0) this.#enqueue(message, delivery);
    else {
      // Parked behind another message of its key, which comes first whatever its own delay says.
      this.#queued += 1;
      this.#queuedBytes += message.bytes;
      this.#memory.hold(message);
    }
  }

  #delay(delivery: Delivery, delayMs: number): void {
    delivery.moveTo("delayed");
    this.delayed += 1;
    this.#delayedDeliveries.add(delivery);
    const { expiresAtMs } = delivery.message;
    const untilExpiry = expiresAtMs === 0 ? Infinity : expiresAtMs - this.#host.dates.now();
    delivery.timer = this.#host.deadlines.after(Math.max(0, Math.min(delayMs, untilExpiry)), delivery);
  }

  /** The backoff of a delivery is over. */
  wake(delivery: Delivery): void {
    this.delayed -= 1;
    this.#delayedDeliveries.delete(delivery);
    delivery.moveTo("waiting");
    this.#putBack(delivery);
  }

  /** A waiting delivery's time to live has passed. */
  expire(delivery: Delivery): void {
    delivery.moveTo("dropped");
    this.#counters.expired += 1;
    this.#leaveQueue(delivery);
    this.#host.expired(this, delivery);
    this.settled();
  }

  /** Something has left: wakes the consumers that had no capacity, and tells when nothing is left. */
  settled(): void {
    if (this.#queued > 0) {
      if (!this.isScheduled) this.#host.scheduler.schedule(this);
    } else if (this.inFlight === 0 && this.running === 0) this.#host.quiet(this);
  }

  /** Drops everything that waits, and ends the queue. Counters and events tell; so does what it returns. */
  clear(reason: DropReason, error?: unknown): (PublishedMessage | Delivery)[] {
    this.isOpen = false;
    const items = this.takeAll(error);
    for (const item of items) this.#countDrop(messageOf(item), reason, deliveryOf(item));
    this.settled();
    return items;
  }

  /** True where nothing that waits here is lost or late if nobody waits for it. */
  get isKept(): boolean {
    return false;
  }

  /** Drops everything that waits or is delayed; consumers and what they have in flight stay. Returns how many. */
  purge(): number {
    const items = this.takeAll();
    for (const item of items) this.#countDrop(messageOf(item), "purged", deliveryOf(item));
    this.settled();
    return items.length;
  }

  /**
   * Removes and returns everything that waits or is delayed, without counting it anywhere. Publishers that are held back
   * go on, or fail where there is an error for them.
   */
  takeAll(error?: unknown): Item[] {
    this.#leaveLane();
    const items: Item[] = [];
    const remove = (item: Item): void => {
      if (item instanceof Delivery) {
        if (item.state !== "waiting") return;
        if (item.timer !== null) this.#cancelDate(item);
        item.moveTo("dropped");
      }
      items.push(item);
      this.#host.memory.release(messageOf(item));
    };
    for (const item of this.#waiting) remove(item);
    if (this.#keys !== null) for (const item of this.#keys.parked()) remove(item);
    for (const delivery of this.#delayedDeliveries) {
      if (delivery.timer !== null) this.#host.deadlines.cancel(delivery.timer);
      delivery.timer = null;
      delivery.moveTo("dropped");
      items.push(delivery);
      this.#host.memory.release(delivery.message);
    }
    this.#waiting.clear();
    this.#keys?.clear();
    this.#delayedDeliveries.clear();
    this.#queued = 0;
    this.#queuedBytes = 0;
    this.delayed = 0;
    this.#emptyPlaces = 0;
    this.#heldBytes = 0;
    for (const held of this.#held ?? []) {
      if (error === undefined) this.#letGo(held);
      else {
        this.#host.heldPublishers.remove();
        held.stopListening?.();
        held.reject?.(error);
      }
    }
    this.#held = null;
    return items;
  }

  /** Moves what waits or is delayed to other queues of its group; what none of them wants stays. */
  moveTo(choose: (item: PublishedMessage | Delivery) => DeliveryQueue | undefined): void {
    const rest: Item[] = [];
    for (const item of this.takeAll()) {
      const queue = choose(item);
      if (queue === undefined) rest.push(item);
      else {
        this.#counters.routed -= 1;
        queue.#adopt(item);
      }
    }
    for (const item of rest) this.#enqueue(messageOf(item), this.#renewed(item));
  }

  /** What waits, in the order it would be handed out, then what is delayed. Changes nothing. */
  *waitingMessages(): IterableIterator<PublishedMessage | Delivery> {
    this.#leaveLane();
    for (const item of this.#waiting) {
      if (!(item instanceof Delivery) || item.state === "waiting") yield item;
    }
    if (this.#keys !== null) {
      for (const item of this.#keys.parked()) if (!(item instanceof Delivery) || item.state === "waiting") yield item;
    }
    yield* this.#delayedDeliveries;
  }

  /** Everything it has yet to finish: waiting, in flight, and (with `delayed`) in backoff. */
  *unfinished(withDelayed: boolean): IterableIterator<Message> {
    for (const item of this.waitingMessages()) {
      if (withDelayed || !(item instanceof Delivery) || item.state !== "delayed") yield item;
    }
    for (const consumer of this.consumers) yield* consumer.busyWith();
  }

  #adopt(item: Item): void {
    this.#counters.routed += 1;
    this.#enqueue(messageOf(item), this.#renewed(item));
  }

  /** The same message as an item of this queue. */
  #renewed(item: Item): Item {
    if (!(item instanceof Delivery)) return item;
    const delivery = new Delivery(item.message, this, item.message.data, item.deliveryCount, item.history);
    this.#watchExpiry(delivery);
    return delivery;
  }

  #enqueue(message: PublishedMessage, item: Item): void {
    this.#leaveLane();
    this.#queued += 1;
    this.#queuedBytes += message.bytes;
    this.#host.memory.hold(message);
    this.#waiting.push(item, message.priority);
    if (!this.isScheduled && this.consumers.length > 0) this.#host.scheduler.schedule(this);
  }

  /** Queues a message that goes again when `signal` aborts; returns what stops listening to that. */
  #enqueueWithdrawable(message: PublishedMessage, signal: AbortSignal, publisher: HeldPublisher): () => void {
    const item = this.#expiring(message);
    this.#enqueue(message, item);
    const stopListening = (): void => signal.removeEventListener("abort", onAbort);
    const onAbort = (): void => {
      const removed = this.#held?.retain((held) => held !== publisher) ?? 0;
      if (removed > 0) {
        this.#heldBytes -= message.bytes;
        this.#host.heldPublishers.remove();
      }
      if (item.state === "waiting") this.#dropWaiting(item, "aborted");
      publisher.reject?.(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    return stopListening;
  }

  #expiring(message: PublishedMessage): Delivery {
    const delivery = new Delivery(message, this, message.data, 1, null);
    this.#watchExpiry(delivery);
    return delivery;
  }

  #watchExpiry(delivery: Delivery): void {
    const { expiresAtMs } = delivery.message;
    if (expiresAtMs !== 0) delivery.timer = this.#host.dates.at(expiresAtMs, delivery);
  }

  #cancelDate(delivery: Delivery): void {
    if (delivery.timer !== null) this.#host.dates.cancel(delivery.timer);
    delivery.timer = null;
  }

  /** A delivery that comes back goes before the others of its priority, behind those that came back and are older. */
  #putBack(delivery: Delivery): void {
    this.#leaveLane();
    this.#queued += 1;
    this.#queuedBytes += delivery.bytes;
    if (delivery.message.expiresAtMs !== 0) {
      if (delivery.message.expiresAtMs <= this.#host.dates.now()) {
        this.#waiting.putBack(delivery, delivery.priority);
        this.expire(delivery);
        return;
      }
      this.#watchExpiry(delivery);
    }
    this.#waiting.putBack(delivery, delivery.priority);
    if (this.consumers.length > 0) this.#host.scheduler.schedule(this);
  }

  #handOver(item: Item, consumer: QueueConsumer): Message {
    const counters = this.#counters;
    counters.handedOver += 1;
    if (item.deliveryCount > 1) counters.redelivered += 1;
    const copy = this.#host.copyPayload;
    let message: Message;
    if (consumer.acknowledges) {
      const delivery = this.#deliveryFor(item, copy);
      delivery.moveTo("inFlight");
      this.inFlight += 1;
      consumer.beginFlight(delivery);
      message = delivery;
    } else {
      counters.delivered += 1;
      const published = messageOf(item);
      this.#host.memory.release(published);
      const needsOwn = this.#isObserved || copy !== null || this.#host.processChannel.isActive;
      if (item instanceof Delivery || needsOwn) {
        const delivery = this.#deliveryFor(item, copy);
        delivery.moveTo("settled");
        message = delivery;
      } else message = item;
      published.extras?.onAcked?.(this.name);
    }
    this.#host.onDeliver?.(message, this);
    return message;
  }

  #deliveryFor(item: Item, copy: ((data: unknown) => unknown) | null): Delivery {
    if (item instanceof Delivery) {
      this.#cancelDate(item);
      if (copy === null) return item;
      return new Delivery(item.message, this, copy(item.message.data), item.deliveryCount, item.history);
    }
    return new Delivery(item, this, copy === null ? item.data : copy(item.data), 1, null);
  }

  #leaveFlight(delivery: Delivery): void {
    this.inFlight -= 1;
    (delivery.consumer as QueueConsumer | null)?.endFlight(delivery);
  }

  /** Takes a dropped delivery out of the counts; its place in the queue stays, empty. */
  #leaveQueue(delivery: Delivery): void {
    if (delivery.timer !== null) this.#cancelDate(delivery);
    this.#queued -= 1;
    this.#queuedBytes -= delivery.bytes;
    this.#host.memory.release(delivery.message);
    this.#emptyPlaces += 1;
    if (this.#emptyPlaces > emptyPlacesKept && this.#emptyPlaces > this.#queued) this.#closeUp();
    if (this.#held !== null) this.#releaseHeld();
  }

  #closeUp(): void {
    const gone: Delivery[] = [];
    const isHere = (item: Item): boolean => {
      if (!(item instanceof Delivery) || item.state === "waiting") return true;
      gone.push(item);
      return false;
    };
    this.#keys?.retainParked(isHere);
    this.#waiting.retain(isHere);
    this.#emptyPlaces -= gone.length;
    for (const delivery of gone) this.#unpark(delivery);
  }

  #unpark(item: Item): void {
    const next = this.#keys?.release(item);
    if (next !== undefined) this.#waiting.putBack(next, next.priority);
  }

  #dropWaiting(delivery: Delivery, reason: DropReason): void {
    delivery.moveTo("dropped");
    this.#leaveQueue(delivery);
    this.#countDrop(delivery.message, reason, delivery);
    this.settled();
  }

  #countDrop(message: PublishedMessage, reason: DropReason, from: Delivery | null): void {
    const { dropped } = this.#counters;
    dropped[reason] = (dropped[reason] ?? 0) + 1;
    this.#host.dropped(this, message, reason, from);
  }

  /**
   * Drops from what waits until `message` fits: the lowest priority first. False where `message` itself is the one
   * to drop; then nothing has changed, unless it is larger than the whole queue. What was dropped is counted, added to
   * `shed`, and left for the caller to tell.
   */
  #shedFor(message: PublishedMessage, policy: "drop-oldest" | "drop-newest", shed: Item[]): boolean {
    if (message.bytes > this.#maxBytes) return false;
    while (!this.hasRoom(message.bytes)) {
      const lowest = this.#waiting.lowestPriority;
      if (lowest > message.priority) return false;
      if (policy === "drop-newest" && lowest >= message.priority) return false;
      const victim = policy === "drop-oldest" ? this.#waiting.shiftLowest() : this.#waiting.popLowest();
      if (victim === undefined) {
        const parked = policy === "drop-oldest" ? this.#keys?.shedOldest() : undefined;
        if (parked === undefined) return false;
        if (parked instanceof Delivery && parked.state !== "waiting") this.#emptyPlaces -= 1;
        else this.#shed(parked, shed);
      } else if (victim instanceof Delivery && victim.state !== "waiting") {
        this.#emptyPlaces -= 1;
        this.#unpark(victim);
      } else this.#shed(victim, shed);
    }
    return true;
  }

  #shed(item: Item, shed: Item[]): void {
    this.#queued -= 1;
    this.#queuedBytes -= item.bytes;
    if (item instanceof Delivery) {
      this.#cancelDate(item);
      item.moveTo("dropped");
    }
    this.#host.memory.release(messageOf(item));
    this.#counters.dropped.overflow = (this.#counters.dropped.overflow ?? 0) + 1;
    shed.push(item);
    this.#unpark(item);
  }

  #releaseHeld(): void {
    const held = this.#held as Ring<HeldPublisher>;
    for (;;) {
      const first = held.peek();
      if (first === undefined) {
        this.#held = null;
        return;
      }
      const others = held.length;
      const { bytes } = first;
      const isWithin =
        this.#queued + this.delayed - others < this.#maxMessages &&
        (this.#queuedBytes - this.#heldBytes + bytes <= this.#maxBytes || this.#queued <= others);
      if (!isWithin) return;
      held.shift();
      this.#heldBytes -= bytes;
      this.#letGo(first);
    }
  }

  #letGo(held: HeldPublisher): void {
    this.#host.heldPublishers.remove();
    held.stopListening?.();
    held.resolve?.(held.result as never);
  }
}

function seqOf(item: Item): number {
  return item.seq;
}

function messageOf(item: Item): PublishedMessage {
  return item instanceof Delivery ? item.message : item;
}

function deliveryOf(item: Item): Delivery | null {
  return item instanceof Delivery ? item : null;
}
