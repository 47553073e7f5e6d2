import type { TimerEntry } from "../collections/timer-queue.js";
import type { AckTracker } from "../delivery/ack-tracker.js";
import type { Consumer } from "../dispatch/consumer.js";
import type { Process } from "../dispatch/handler-consumer.js";
import { HandlerConsumer } from "../dispatch/handler-consumer.js";
import type { DispatchHost } from "../dispatch/ports.js";
import { PullConsumer } from "../dispatch/pull-consumer.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import { DeliveryQueue } from "../dispatch/queue.js";
import type { QueueFacts, QueueSettings } from "../dispatch/queue-facts.js";
import { addCounters, QueueCounters } from "../dispatch/queue-facts.js";
import type { Router } from "../dispatch/router.js";
import type { SubscriptionOwner, UnsubscribeOptions } from "../dispatch/subscription.js";
import { Subscription } from "../dispatch/subscription.js";
import { brokerError, quote } from "../errors.js";
import { Delivery } from "../message/delivery.js";
import type { TimerTask } from "../message/delivery.js";
import type { PublishedMessage } from "../message/message.js";
import { checkPattern, coversPattern, matchesPattern } from "../topic/grammar.js";
import { invalid } from "./checks.js";
import type { Durables } from "./durables.js";
import type { SubscribeOptions } from "./options.js";
import type { PreparedSubscription } from "./prepared-subscription.js";
import { requireSameSettings } from "./prepared-subscription.js";
import { QueueDirectory } from "./queue-directory.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";
import { historyPrefix, isPast, subscribeSettings } from "./subscribe-settings.js";
import type { TopicFacts } from "./topic-facts.js";

export interface RegistryHost {
  readonly settings: Settings;
  readonly router: Router<TopicFacts>;
  readonly dispatch: DispatchHost;
  readonly tracker: AckTracker;
  readonly retained: RetainedMessages;
  /** Undefined without a store. */
  durables(): Durables | undefined;
  accepts(queue: DeliveryQueue, message: PublishedMessage): boolean;
  hold(): () => void;
  /** A queue has gone: whoever waits for quiet should look again. */
  changed(): void;
}

/** What belongs to a subscription besides its consumer. */
interface Entry {
  readonly consumer: Consumer;
  readonly ttlMs: number;
  ttlTimer: TimerEntry<TimerTask> | null;
  heartbeatTimer: TimerEntry<TimerTask> | null;
  handedAtBeat: number;
  stopListening: () => void;
}

/**
 * The broker's subscriptions: makes them, finds the queue that members of a group share, and takes them apart without
 * losing what others could still have.
 *
 * Members of one group with the same patterns and filter share a queue. Members that ask for different things have a
 * queue for each kind, and each message still goes to one member: the router chooses a queue, and a queue whose last
 * member leaves hands what it holds to the others that want it.
 */
export class SubscriptionRegistry implements SubscriptionOwner {
  readonly #directory = new QueueDirectory();
  readonly queues: ReadonlySet<DeliveryQueue> = this.#directory.all;
  readonly #retired = new QueueCounters();
  /** Queues that have gone while a delivery of theirs was being decided: it is counted a moment later. */
  readonly #retiring = new Set<DeliveryQueue>();
  readonly #host: RegistryHost;
  readonly #entries = new Map<Subscription, Entry>();
  readonly #idleWaiters = new Map<QueueFacts, (() => void)[]>();
  /** Queues whose last member finishes what is in them and takes nothing new; called when somebody joins it. */
  readonly #drained = new Map<DeliveryQueue, () => void>();

  constructor(host: RegistryHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Counters of the queues that have gone. */
  get retired(): QueueCounters {
    this.#countRetired();
    return this.#retired;
  }

  #countRetired(): void {
    for (const queue of this.#retiring) {
      if (queue.inFlight > 0) continue;
      this.#retiring.delete(queue);
      addCounters(this.#retired, queue.counters);
    }
  }

  subscriptions(): IterableIterator<Subscription> {
    return this.#entries.keys();
  }

  /** Checks everything about a subscription. Throws, and changes nothing. */
  prepare(
    pattern: string | readonly string[],
    process: Process | null,
    options: SubscribeOptions<never>,
  ): PreparedSubscription {
    const { settings } = this.#host;
    const patterns = typeof pattern === "string" ? [pattern] : pattern;
    if (!Array.isArray(patterns) || patterns.length === 0) {
      throw brokerError("ERR_INVALID_PATTERN", `subscribe takes a pattern or an array of them; got ${quote(pattern)}`);
    }
    for (const one of patterns as unknown[]) checkPattern(one, settings.limits);
    const prepared: PreparedSubscription = {
      patterns: [...new Set(patterns as string[])],
      process,
      options,
      settings: subscribeSettings(options, process !== null, settings),
    };
    this.#directory.requireFreeName(prepared);
    if (options.durable !== undefined || isPast(options.from)) this.#requireStored(prepared);
    const shared = this.#directory.sharedBy(prepared);
    if (shared !== undefined) requireSameSettings(shared, prepared);
    return prepared;
  }

  /** Throws where so many subscriptions more would be too many. */
  requireRoom(more: number): void {
    const { maxSubscriptions } = this.#host.settings.limits;
    if (this.#entries.size + more <= maxSubscriptions) return;
    throw brokerError(
      "ERR_LIMIT_EXCEEDED",
      `there are ${this.#entries.size} subscriptions, and limits.maxSubscriptions is ${maxSubscriptions}; end some, or raise it`,
      { limit: "maxSubscriptions", maxSubscriptions },
    );
  }

  add(prepared: PreparedSubscription): Subscription {
    const { dispatch } = this.#host;
    const { options, settings, process } = prepared;
    let queue = this.#directory.sharedBy(prepared);
    const isNew = queue === undefined;
    queue ??= this.#openQueue(prepared);
    const consumer =
      process === null
        ? new PullConsumer(queue, settings.consumer, dispatch)
        : new HandlerConsumer(queue, settings.consumer, dispatch, process);
    const subscription = new Subscription(this, consumer, options.durable, options.group);
    const entry: Entry = {
      consumer,
      ttlMs: options.ttl ?? Infinity,
      ttlTimer: null,
      heartbeatTimer: null,
      handedAtBeat: 0,
      stopListening: () => undefined,
    };
    this.#entries.set(subscription, entry);
    queue.addConsumer(consumer);
    if (isNew) {
      this.#host.router.add(queue);
      if (queue instanceof DurableQueue) this.#host.durables()?.connect(queue, options.from);
      // A durable that exists goes on where it stopped; of a new one, the durables see to it.
      else if (options.from === "last") this.offerRetained(queue);
    } else this.#takeOver(queue);
    this.renew(subscription);
    if (options.heartbeat !== undefined) this.#beat(subscription, entry, options.heartbeat);
    this.#follow(subscription, entry, options.signal);
    return subscription;
  }

  /** Puts the retained messages that a queue asks for into it. */
  offerRetained(queue: DeliveryQueue): void {
    const { retained, dispatch } = this.#host;
    const isMatch = (topic: string): boolean => queue.patterns.some((one) => matchesPattern(one, topic));
    const filter = queue instanceof DurableQueue ? queue.filter : queue.settings.filter;
    for (const message of retained.matching(isMatch, dispatch.dates.now())) {
      if (filter === null || this.#host.accepts(queue, message)) queue.offerExtra(message);
    }
  }

  renew(subscription: Subscription): void {
    const entry = this.#entries.get(subscription);
    if (entry === undefined || entry.ttlMs === Infinity) return;
    const { deadlines } = this.#host.dispatch;
    if (entry.ttlTimer !== null) deadlines.cancel(entry.ttlTimer);
    entry.ttlTimer = deadlines.after(entry.ttlMs, { onTimer: () => void this.remove(subscription) });
  }

  hold(): () => void {
    return this.#host.hold();
  }

  async drain(subscription: Subscription): Promise<void> {
    const entry = this.#entries.get(subscription);
    if (entry === undefined) return;
    const { consumer } = entry;
    const { queue } = consumer;
    const goesAlone = (): boolean => queue.consumers.every((one) => one === consumer || one.isClosed);
    const release = this.#host.hold();
    try {
      if (goesAlone()) {
        if (queue instanceof DurableQueue) queue.stopFilling();
        else this.#host.router.remove(queue);
        const joined = new Promise<void>((resolve) => this.#drained.set(queue, resolve));
        consumer.resume();
        await Promise.race([this.whenIdle(queue), joined, subscription.closed]);
        this.#drained.delete(queue);
      }
      if (!goesAlone()) {
        consumer.close();
        await Promise.race([consumer.whenQuiet(), subscription.closed]);
      }
    } finally {
      release();
    }
    await this.remove(subscription);
  }

  /** Somebody has joined a queue: where its last member was about to go, that one leaves the rest to who has come. */
  #takeOver(queue: DeliveryQueue): void {
    const joined = this.#drained.get(queue);
    if (joined === undefined) return;
    this.#drained.delete(queue);
    if (queue instanceof DurableQueue) queue.goOnFilling();
    else this.#host.router.add(queue);
    joined();
  }

  remove(subscription: Subscription, options: UnsubscribeOptions = {}, error?: unknown): Promise<void> {
    const entry = this.#entries.get(subscription);
    if (entry === undefined) return Promise.resolve();
    this.#entries.delete(subscription);
    const { deadlines } = this.#host.dispatch;
    if (entry.ttlTimer !== null) deadlines.cancel(entry.ttlTimer);
    if (entry.heartbeatTimer !== null) deadlines.cancel(entry.heartbeatTimer);
    entry.stopListening();
    const { consumer } = entry;
    const { queue } = consumer;
    subscription.close(error);
    queue.removeConsumer(consumer);
    if (queue.consumers.length > 0 || this.#directory.siblings(queue).length > 0) {
      for (const delivery of consumer.flights()) this.#host.tracker.takeBack(delivery);
    }
    if (queue instanceof DurableQueue) return this.#leaveDurable(queue, consumer, options.deleteDurable === true);
    if (queue.consumers.length === 0) this.#closeQueue(queue, consumer);
    else queue.wakeUp();
    return Promise.resolve();
  }

  /** Has a queue for a durable that nobody is connected to, so that it counts among those a message is for. */
  park(durable: string, patterns: readonly string[]): void {
    if (this.#directory.named(durable) !== undefined) return;
    const settings = subscribeSettings({ durable }, false, this.#host.settings);
    const queue = this.#openDurable(durable, durable, patterns, settings.queue);
    this.#host.router.add(queue);
  }

  #openDurable(durable: string, name: string, patterns: readonly string[], settings: QueueSettings): DurableQueue {
    const { router } = this.#host;
    const shard = router.shardOf(patterns[0] as string);
    const queue = (this.#host.durables() as Durables).openQueue(durable, name, patterns, shard, settings);
    this.#directory.add(queue);
    return queue;
  }

  /** Patterns must be within what is stored, or the durable would miss what it asked for. */
  #requireStored({ patterns, options }: PreparedSubscription): void {
    const topics = this.#host.settings.persistence?.topics ?? [];
    for (const pattern of patterns) {
      if (topics.some((cover) => coversPattern(cover, pattern))) continue;
      const stored = topics.join(", ");
      throw invalid(
        options.durable === undefined ? "from" : "durable",
        `for stored topics: ${quote(pattern)} matches more than the store's (${stored})`,
        options.durable ?? options.from,
      );
    }
    if (options.durable === undefined && options.group !== undefined) {
      throw invalid("from", `"new" or "last" in a group without durable; give its members a durable`, options.from);
    }
  }

  #leaveDurable(queue: DurableQueue, consumer: Consumer, isDeleted: boolean): Promise<void> {
    const isOwn = queue.durable.startsWith(historyPrefix);
    if (isDeleted) {
      for (const [subscription, entry] of [...this.#entries]) {
        if (entry.consumer.queue === queue) void this.remove(subscription);
      }
    }
    if (queue.consumers.length > 0) {
      queue.wakeUp();
      return Promise.resolve();
    }
    // Another member may have been the last one, and taken it apart.
    if (this.queues.has(queue)) {
      for (const delivery of consumer.flights()) {
        this.#host.tracker.forget(delivery);
        void queue.finish(delivery, "unsubscribed");
      }
      queue.park();
      if (isDeleted || isOwn) this.#retire(queue);
      this.tellIdle(queue);
      this.#host.changed();
    }
    return isDeleted || isOwn ? (this.#host.durables() as Durables).delete(queue.durable) : Promise.resolve();
  }

  #retire(queue: DeliveryQueue): void {
    this.#host.router.remove(queue);
    this.#directory.remove(queue);
    this.#retiring.add(queue);
    this.#countRetired();
  }

  /** Ends the subscription (or the group's members) behind a queue, with an error for whoever waits on them. */
  closeBehind(queue: QueueFacts, error: unknown): void {
    for (const [subscription, { consumer }] of [...this.#entries]) {
      if (consumer.queue === queue) void this.remove(subscription, {}, error);
    }
  }

  /** Resolves once the queue has nothing left to do. */
  whenIdle(queue: QueueFacts): Promise<void> {
    if (queue.isIdle) return Promise.resolve();
    return new Promise((resolve) => {
      const waiters = this.#idleWaiters.get(queue);
      if (waiters === undefined) this.#idleWaiters.set(queue, [resolve]);
      else waiters.push(resolve);
    });
  }

  /** True while somebody waits for a queue to become idle. */
  get isAwaited(): boolean {
    return this.#idleWaiters.size > 0;
  }

  /** A queue has become idle. */
  tellIdle(queue: QueueFacts): void {
    if (this.#idleWaiters.size === 0) return;
    const waiters = this.#idleWaiters.get(queue);
    this.#idleWaiters.delete(queue);
    for (const resolve of waiters ?? []) resolve();
  }

  /** The queue of that name, or of that subscription. */
  queueNamed(name: string): DeliveryQueue | undefined {
    return this.#directory.queueNamed(name);
  }

  /** The queue of that name, of a group the one that asks for this topic; undefined where none of that name does. */
  queueFor(name: string, topic: string): DeliveryQueue | undefined {
    return this.#directory.queueFor(name, topic);
  }

  #openQueue(prepared: PreparedSubscription): DeliveryQueue {
    const { router, dispatch } = this.#host;
    const { group, name, durable, from } = prepared.options;
    if (durable !== undefined || isPast(from)) {
      // The queue that stood in for it while nobody was connected.
      const parked = durable === undefined ? undefined : this.#directory.named(durable);
      if (parked !== undefined) this.#retire(parked);
      const ownName = durable ?? name ?? this.#directory.newName();
      const stored = durable ?? (this.#host.durables() as Durables).newHistoryName();
      return this.#openDurable(stored, ownName, prepared.patterns, prepared.settings.queue);
    }
    const queue = new DeliveryQueue(
      group ?? name ?? this.#directory.newName(),
      prepared.patterns,
      group ?? null,
      router.shardOf(prepared.patterns[0] as string),
      prepared.settings.queue,
      dispatch,
    );
    this.#directory.add(queue);
    return queue;
  }

  #closeQueue(queue: DeliveryQueue, last: Consumer): void {
    this.#host.router.remove(queue);
    this.#directory.remove(queue);
    const siblings = this.#directory.siblings(queue);
    for (const delivery of last.flights()) {
      this.#host.tracker.forget(delivery);
      void queue.finish(delivery, "unsubscribed");
    }
    if (siblings.length > 0) this.#handOn(queue, siblings);
    queue.clear("unsubscribed");
    this.#retiring.add(queue);
    this.#countRetired();
    this.tellIdle(queue);
    this.#host.changed();
  }

  /** Gives what a queue holds to the queues of its group that want it. */
  #handOn(queue: DeliveryQueue, siblings: readonly DeliveryQueue[]): void {
    queue.moveTo((item) => {
      const message = item instanceof Delivery ? item.message : item;
      return siblings.find(
        (one) =>
          one.patterns.some((pattern) => matchesPattern(pattern, message.topic)) &&
          (one.settings.filter === null || this.#host.accepts(one, message)),
      );
    });
  }

  #beat(subscription: Subscription, entry: Entry, everyMs: number): void {
    entry.heartbeatTimer = this.#host.dispatch.deadlines.after(everyMs, {
      onTimer: () => {
        const { consumer } = entry;
        const isFree = consumer.isQuiet && consumer.queue.queued === 0;
        if (isFree || consumer.handed !== entry.handedAtBeat) this.renew(subscription);
        entry.handedAtBeat = consumer.handed;
        this.#beat(subscription, entry, everyMs);
      },
    });
  }

  #follow(subscription: Subscription, entry: Entry, signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const onAbort = (): void => void this.remove(subscription);
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    entry.stopListening = () => signal.removeEventListener("abort", onAbort);
  }
}
