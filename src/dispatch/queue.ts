import type { Attempt, DeliverySource, FlightOutcome } from "../message/delivery.js";
import { Delivery } from "../message/delivery.js";
import type { Message, PublishedMessage } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import { HeldLine } from "./held-line.js";
import { HeldPublisher, promiseOf } from "./held-publisher.js";
import type { MemoryBudget } from "./memory-budget.js";
import type { DeliveryTracker, DispatchHost, QueueConsumer } from "./ports.js";
import type { DropReason, QueueSettings } from "./queue-facts.js";
import { ServedQueue } from "./served-queue.js";
import type { Item } from "./waiting-items.js";
import { WaitingItems } from "./waiting-items.js";

/** What became of a message that was offered: in the queue; full, and nothing has changed; dropped and counted. */
export type Offer = "queued" | "full" | "dropped";

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
export class DeliveryQueue extends ServedQueue implements DeliverySource {
  readonly settler: DeliveryTracker;
  /** Itself, as the targets of every route that leads to it alone. */
  readonly alone: readonly DeliveryQueue[] = [this];

  readonly #memory: MemoryBudget;
  readonly #waiting: WaitingItems;
  readonly #delayedDeliveries = new Set<Delivery>();
  /** Made for the first of them. */
  #held: HeldLine | null = null;

  constructor(
    name: string,
    patterns: readonly string[],
    group: string | null,
    shard: number,
    settings: QueueSettings,
    host: DispatchHost,
  ) {
    super(name, patterns, group, shard, settings, host);
    this.settler = host.tracker;
    this.#memory = host.memory;
    this.#waiting = new WaitingItems(settings.agingMs, settings.isOrderedByKey);
  }

  protected override get isEmpty(): boolean {
    return this.#waiting.isEmpty;
  }

  override takeOver(message: PublishedMessage): void {
    this.#waiting.push(message);
    this.scheduleSoon();
  }

  override get held(): number {
    return this.#held === null ? 0 : this.#held.length;
  }

  /** True where a store has more for it than is here. */
  get isBehind(): boolean {
    return false;
  }

  /** Resolves once more of what a store has is here; null where there is nothing to wait for. */
  whenFilled(): Promise<void> | null {
    return null;
  }

  /**
   * Takes a message that has room here (the caller has asked, for every queue the message goes to, and holds its memory for
   * each of them) and that nothing sets apart. The short way in.
   */
  put(message: PublishedMessage): void {
    this.leaveLane();
    this.counted.routed += 1;
    this.countedMessages += 1;
    this.countedBytes += message.bytes;
    this.#waiting.push(message);
    this.scheduleSoon();
  }

  /** Takes a message, or says that there is no room and changes nothing. Drop policies make room. */
  offer(message: PublishedMessage): Offer {
    this.leaveLane();
    if (!this.isOpen) {
      // Whoever was called on the message's way here (a filter, a listener) has ended this subscription meanwhile.
      this.host.dropped(this, message, "unsubscribed", null);
      return "dropped";
    }
    if (!this.hasRoom(message.bytes)) {
      const { overflow } = this.settings;
      this.host.slow(this);
      if (overflow === "wait" || overflow === "error") return "full";
      if (overflow === "close") {
        this.counted.routed += 1;
        this.#countDrop(message, "overflow", null);
        this.host.overflowed(this);
        return "dropped";
      }
      const shed: Item[] = [];
      const isFitting = this.#shedFor(message, overflow, shed);
      this.counted.routed += 1;
      if (isFitting) this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
      // Told only now: whoever hears of it may publish, a dead letter for one, and must not take the room that was made.
      for (const item of shed) this.host.dropped(this, messageOf(item), "overflow", deliveryOf(item));
      if (!isFitting) this.#countDrop(message, "overflow", null);
      return isFitting ? "queued" : "dropped";
    }
    this.counted.routed += 1;
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
    this.counted.routed += 1;
    if (signal?.aborted === true) {
      this.#countDrop(message, "aborted", null);
      return Promise.reject(signal.reason);
    }
    const held = new HeldPublisher(message.bytes, result);
    const promise = promiseOf<Result>(held);
    if (signal === undefined) this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
    else held.stopListening = this.#enqueueWithdrawable(message, signal, held);
    this.#held ??= new HeldLine(this.host.heldPublishers);
    this.#held.add(held);
    return promise;
  }

  /** Puts a message at the end although the queue may be full: dead letters that are driven again, retained messages. */
  offerExtra(message: PublishedMessage): void {
    this.counted.routed += 1;
    this.#enqueue(message, message.expiresAtMs === 0 ? message : this.#expiring(message));
  }

  /**
   * Hands the next message to `consumer`, which must be ready for it: as a delivery in flight where the consumer
   * acknowledges, as settled where it does not.
   */
  take(consumer: QueueConsumer): Message | undefined {
    for (;;) {
      const item = this.#waiting.next();
      if (item === undefined) return undefined;
      if (item instanceof Delivery && item.timer !== null && item.message.expiresAtMs <= this.host.dates.now()) {
        this.#cancelDate(item);
        this.expire(item);
        this.#waiting.closePlace(item);
        continue;
      }
      if (!this.#waiting.acquire(item)) continue;
      this.countedMessages -= 1;
      this.countedBytes -= item.bytes;
      if (this.#held !== null) this.#releaseHeld();
      return this.#handOver(item, consumer);
    }
  }

  /** The same for a consumer without acknowledgement, which handles most messages of most brokers: the short way out. */
  takeSettled(consumer: QueueConsumer): Message | undefined {
    if (!this.isPlain) return this.take(consumer);
    const item = this.#waiting.peek();
    if (item === undefined) return undefined;
    if (item instanceof Delivery || item.extras?.onAcked !== undefined) return this.take(consumer);
    this.#waiting.shift();
    this.countedMessages -= 1;
    this.countedBytes -= item.bytes;
    this.counted.handedOver += 1;
    this.counted.delivered += 1;
    this.#memory.release(item);
    if (this.#held !== null) this.#releaseHeld();
    return item;
  }

  /** A handler is done with a message that was settled when it was handed over: the next of its key has its turn. */
  releaseKey(message: Message): void {
    this.#waiting.release(message);
  }

  /** A delivery in flight is done with. `outcome` names the counter it goes to. */
  finish(delivery: Delivery, outcome: FlightOutcome): Promise<void> {
    this.#leaveFlight(delivery);
    if (outcome === "delivered") {
      this.counted.delivered += 1;
      delivery.message.extras?.onAcked?.(this.name);
    } else if (outcome === "deadLettered" || outcome === "expired") this.counted[outcome] += 1;
    else this.counted.dropped[outcome] = (this.counted.dropped[outcome] ?? 0) + 1;
    this.host.memory.release(delivery.message);
    this.#waiting.release(delivery);
    if (outcome === "unsubscribed" || outcome === "purged" || outcome === "closed") {
      this.host.dropped(this, delivery.message, outcome, delivery);
    }
    this.settled();
    return fulfilled;
  }

  /** A delivery in flight comes back, to be delivered again after `delayMs`. */
  giveBack(delivery: Delivery, delayMs: number, history: readonly Attempt[], isNewAttempt: boolean): Promise<void> {
    // Its backoff, or who heard of its settle, has ended the subscription.
    if (!this.isOpen) return this.finish(delivery, "unsubscribed");
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
    this.counted.routed += 1;
    const delivery = new Delivery(message, this, message.data, deliveryCount, null);
    if (delayMs > 0 && this.#waiting.acquire(delivery)) {
      this.#memory.hold(message);
      this.#delay(delivery, delayMs);
      return;
    }
    this.#watchExpiry(delivery);
    if (delayMs <= 0) this.#enqueue(message, delivery);
    else {
      // Parked behind another message of its key, which comes first whatever its own delay says.
      this.countedMessages += 1;
      this.countedBytes += message.bytes;
      this.#memory.hold(message);
    }
  }

  #delay(delivery: Delivery, delayMs: number): void {
    delivery.moveTo("delayed");
    this.delayed += 1;
    this.#delayedDeliveries.add(delivery);
    const { expiresAtMs } = delivery.message;
    const untilExpiry = expiresAtMs === 0 ? Infinity : expiresAtMs - this.host.dates.now();
    delivery.timer = this.host.deadlines.after(Math.max(0, Math.min(delayMs, untilExpiry)), delivery);
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
    this.counted.expired += 1;
    this.#leaveQueue(delivery);
    this.host.expired(this, delivery);
    this.settled();
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
    this.leaveLane();
    const items: Item[] = [];
    for (const item of this.#waiting) {
      if (item instanceof Delivery) {
        this.#cancelDate(item);
        item.moveTo("dropped");
      }
      items.push(item);
      this.host.memory.release(messageOf(item));
    }
    for (const delivery of this.#delayedDeliveries) {
      if (delivery.timer !== null) this.host.deadlines.cancel(delivery.timer);
      delivery.timer = null;
      delivery.moveTo("dropped");
      items.push(delivery);
      this.host.memory.release(delivery.message);
    }
    this.#waiting.clear();
    this.#delayedDeliveries.clear();
    this.countedMessages = 0;
    this.countedBytes = 0;
    this.delayed = 0;
    this.#held?.end(error);
    return items;
  }

  /** Moves what waits or is delayed to other queues of its group; what none of them wants stays. */
  moveTo(choose: (item: PublishedMessage | Delivery) => DeliveryQueue | undefined): void {
    const rest: Item[] = [];
    for (const item of this.takeAll()) {
      const queue = choose(item);
      if (queue === undefined) rest.push(item);
      else {
        this.counted.routed -= 1;
        queue.#adopt(item);
      }
    }
    for (const item of rest) this.#enqueue(messageOf(item), this.#renewed(item));
  }

  /** What waits, in the order it would be handed out, then what is delayed. Changes nothing. */
  *waitingMessages(): IterableIterator<PublishedMessage | Delivery> {
    this.leaveLane();
    yield* this.#waiting;
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
    this.counted.routed += 1;
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
    this.leaveLane();
    this.countedMessages += 1;
    this.countedBytes += message.bytes;
    this.host.memory.hold(message);
    this.#waiting.push(item);
    if (!this.isScheduled && this.consumers.length > 0) this.host.scheduler.schedule(this);
  }

  /** Queues a message that goes again when `signal` aborts; returns what stops listening to that. */
  #enqueueWithdrawable(message: PublishedMessage, signal: AbortSignal, publisher: HeldPublisher): () => void {
    const item = this.#expiring(message);
    this.#enqueue(message, item);
    const stopListening = (): void => signal.removeEventListener("abort", onAbort);
    const onAbort = (): void => {
      this.#held?.withdraw(publisher);
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
    if (expiresAtMs !== 0) delivery.timer = this.host.dates.at(expiresAtMs, delivery);
  }

  #cancelDate(delivery: Delivery): void {
    if (delivery.timer !== null) this.host.dates.cancel(delivery.timer);
    delivery.timer = null;
  }

  /** A delivery that comes back goes before the others of its priority, behind those that came back and are older. */
  #putBack(delivery: Delivery): void {
    this.leaveLane();
    this.countedMessages += 1;
    this.countedBytes += delivery.bytes;
    if (delivery.message.expiresAtMs !== 0) {
      if (delivery.message.expiresAtMs <= this.host.dates.now()) {
        this.#waiting.putBack(delivery);
        this.expire(delivery);
        return;
      }
      this.#watchExpiry(delivery);
    }
    this.#waiting.putBack(delivery);
    if (this.consumers.length > 0) this.host.scheduler.schedule(this);
  }

  #handOver(item: Item, consumer: QueueConsumer): Message {
    const counters = this.counted;
    counters.handedOver += 1;
    if (item.deliveryCount > 1) counters.redelivered += 1;
    const copy = this.host.copyPayload;
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
      this.host.memory.release(published);
      if (!consumer.holdsKeys) this.#waiting.release(item);
      const needsOwn = this.isObserved || copy !== null || this.host.processChannel.isActive;
      if (item instanceof Delivery || needsOwn) {
        const delivery = this.#deliveryFor(item, copy);
        delivery.moveTo("settled");
        message = delivery;
      } else message = item;
      published.extras?.onAcked?.(this.name);
    }
    this.host.onDeliver?.(message, this);
    return message;
  }

  #deliveryFor(item: Item, copy: ((data: unknown) => unknown) | null): Delivery {
    if (item instanceof Delivery) {
      this.#cancelDate(item);
      if (copy === null) return item;
      // The copy goes in its place: it waits no longer, whoever may still have a claim on it.
      item.moveTo("settled");
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
    this.countedMessages -= 1;
    this.countedBytes -= delivery.bytes;
    this.host.memory.release(delivery.message);
    this.#waiting.openPlace(this.countedMessages);
    if (this.#held !== null) this.#releaseHeld();
  }

  #dropWaiting(delivery: Delivery, reason: DropReason): void {
    delivery.moveTo("dropped");
    this.#leaveQueue(delivery);
    this.#countDrop(delivery.message, reason, delivery);
    this.settled();
  }

  #countDrop(message: PublishedMessage, reason: DropReason, from: Delivery | null): void {
    const { dropped } = this.counted;
    dropped[reason] = (dropped[reason] ?? 0) + 1;
    this.host.dropped(this, message, reason, from);
  }

  /**
   * Drops from what waits until `message` fits: the lowest priority first. False where `message` itself is the one
   * to drop; then nothing has changed, unless it is larger than the whole queue. What was dropped is counted, added to
   * `shed`, and left for the caller to tell.
   */
  #shedFor(message: PublishedMessage, policy: "drop-oldest" | "drop-newest", shed: Item[]): boolean {
    if (message.bytes > this.maxBytes) return false;
    while (!this.hasRoom(message.bytes)) {
      const victim = this.#waiting.shed(policy, message.priority);
      if (victim === undefined) return false;
      this.#shed(victim, shed);
    }
    return true;
  }

  #shed(item: Item, shed: Item[]): void {
    this.countedMessages -= 1;
    this.countedBytes -= item.bytes;
    if (item instanceof Delivery) {
      this.#cancelDate(item);
      item.moveTo("dropped");
    }
    this.host.memory.release(messageOf(item));
    this.counted.dropped.overflow = (this.counted.dropped.overflow ?? 0) + 1;
    shed.push(item);
    this.#waiting.release(item);
  }

  #releaseHeld(): void {
    const held = this.#held as HeldLine;
    for (let { first } = held; first !== undefined; { first } = held) {
      const others = held.length;
      const isWithin =
        this.countedMessages + this.delayed - others < this.maxMessages &&
        (this.countedBytes - held.bytes + first.bytes <= this.maxBytes || this.countedMessages <= others);
      if (!isWithin) return;
      held.letGo();
    }
  }
}

function messageOf(item: Item): PublishedMessage {
  return item instanceof Delivery ? item.message : item;
}

function deliveryOf(item: Item): Delivery | null {
  return item instanceof Delivery ? item : null;
}
