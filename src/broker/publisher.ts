import type { Timers } from "../delivery/timers.js";
import type { ExpressLane } from "../dispatch/express-lane.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import type { Route, Router } from "../dispatch/router.js";
import type { MessageExtras, Stamp } from "../message/message.js";
import { MessageTraits, PublishedMessage } from "../message/message.js";
import { defaultPriority, priorityNumber } from "../message/priority.js";
import type { Confirmation } from "./confirms.js";
import type { Draft, Drafter } from "./draft.js";
import type { PublishOptions } from "./options.js";
import type { PlannerHost } from "./plan.js";
import { Batch, Plan, Planner } from "./plan.js";
import type { Plugin } from "./plugin.js";
import { PublishAudience } from "./publish-audience.js";
import { noMemory } from "./publish-errors.js";
import type { Receipt, SubscriptionReport } from "./receipt.js";
import { receiptOf } from "./receipt.js";
import type { TopicFacts } from "./topic-facts.js";
import type { TurnStamp } from "./turn-stamp.js";

/** What accepting a message led to. */
export interface Accepted {
  readonly receipt: Receipt;
  /** What the publish has to wait for: room in full queues, confirms. */
  readonly waits: readonly Promise<unknown>[];
}

/** Counters of publishing. */
export interface PublishCounters {
  published: number;
  routedMessages: number;
  unrouted: number;
  scheduledExpired: number;
  scheduledCancelled: number;
  refused: number;
  duplicates: number;
  lateReplies: number;
}

/** What the publisher needs of the broker around it. */
export interface PublisherHost extends PlannerHost {
  readonly timers: Timers;
  readonly stamps: TurnStamp;
  readonly lane: ExpressLane;
  /** Waits for confirms within their time. */
  confirmed(confirmation: Confirmation, message: PublishedMessage, signal: AbortSignal | undefined): Promise<void>;
  pluginFailed(plugin: Plugin, error: unknown): void;
  scheduledExpired(message: PublishedMessage): void;
  /** A delayed message was published, and could not be retained. */
  notRetained(error: unknown, message: PublishedMessage): void;
}

const nothing: readonly never[] = [];

/**
 * The second half of a message's way in: from a draft into the queues.
 *
 * `accept` first plans all of its drafts against the broker as it is (duplicates, expiry, limits, memory, room), then
 * carries the plans out. It is synchronous, and nothing can fail once the first plan is carried out: all or nothing.
 */
export class Publisher {
  readonly counters: PublishCounters = {
    published: 0,
    routedMessages: 0,
    unrouted: 0,
    scheduledExpired: 0,
    scheduledCancelled: 0,
    refused: 0,
    duplicates: 0,
    lateReplies: 0,
  };
  readonly #host: PublisherHost;
  readonly #router: Router<TopicFacts>;
  readonly #memory: MemoryBudget;
  readonly #lane: ExpressLane;
  readonly #drafter: Drafter;
  readonly #planner: Planner;
  readonly #stamps: TurnStamp;
  /** True where nothing sets a message apart but what its publisher says of it. */
  readonly isTransparent: boolean;
  readonly #audience: PublishAudience;
  #lastSeq = 0;

  constructor(host: PublisherHost, drafter: Drafter) {
    this.#host = host;
    this.#router = host.router;
    this.#memory = host.memory;
    this.#lane = host.lane;
    this.#drafter = drafter;
    this.#planner = new Planner(host, (draft, confirmation) => this.#messageOf(draft, confirmation));
    this.#stamps = host.stamps;
    this.#audience = new PublishAudience(host.settings.plugins, (plugin, error) => host.pluginFailed(plugin, error));
    this.isTransparent = drafter.isTransparent && !this.#audience.hearsPublishes && !host.router.limitsTopics;
  }

  /** The id of a message that is not published yet. */
  newId(): string {
    const { at, origin } = this.#stamp();
    this.#lastSeq += 1;
    return origin.ids.idOf(at, this.#lastSeq);
  }

  /** Throws `ERR_MEMORY_LIMIT` where so many bytes more would be too many. */
  requireMemory(topic: string, bytes: number): void {
    if (!this.#memory.hasRoom(bytes)) throw noMemory(this.#memory, topic, bytes);
  }

  /** The short way, for a message without options where nothing sets it apart; null: take another way. */
  acceptPlain(topic: string, data: unknown): Receipt | null {
    if (!this.isTransparent || data === undefined) return null;
    return this.#acceptPlain(topic, data, defaultPriority, null);
  }

  /** The same for a message with a priority or a key, and nothing else. */
  acceptSimple(topic: string, data: unknown, options: PublishOptions): Receipt | null {
    if (!this.isTransparent || data === undefined || !isSimple(options)) return null;
    const { key, priority } = options;
    return this.#acceptPlain(
      topic,
      data,
      priority === undefined ? defaultPriority : priorityNumber(priority),
      key === undefined ? null : { key },
    );
  }

  #acceptPlain(topic: string, data: unknown, priority: number, extras: MessageExtras | null): Receipt | null {
    const route = this.#router.route(topic);
    if (!route.isPlain || !route.attachment.isDirect) return null;
    const bytes = this.#drafter.measure(topic, data, extras);
    const { targets } = route;
    const matched = targets.length;
    const lane = this.#lane;
    if (priority === defaultPriority && lane.admits(targets, bytes)) {
      if (!this.#memory.hasRoom(bytes)) throw noMemory(this.#memory, topic, bytes);
      const message = this.#plainMessage(topic, data, priority, bytes, extras);
      this.#countRouted(route, matched);
      lane.put(message);
      return receiptOf(message, matched, false);
    }
    for (let index = 0; index < matched; index += 1) {
      if (!(targets[index] as DeliveryQueue).hasRoom(bytes)) return null;
    }
    if (matched > 0 && !this.#memory.hasRoom(bytes)) throw noMemory(this.#memory, topic, bytes);
    const message = this.#plainMessage(topic, data, priority, bytes, extras);
    this.#countRouted(route, matched);
    if (matched > 0) this.#memory.holdFor(message, matched);
    for (let index = 0; index < matched; index += 1) (targets[index] as DeliveryQueue).put(message);
    return receiptOf(message, matched, false);
  }

  /**
   * The short way into one queue that is full and holds its publishers back: what a publisher meets that is faster than
   * its consumer. Null: take the long way.
   */
  acceptHeld(topic: string, data: unknown): Promise<Receipt> | null {
    if (!this.isTransparent || data === undefined) return null;
    const route = this.#router.route(topic);
    if (!route.isPlain || !route.attachment.isDirect || route.targets.length !== 1) return null;
    const queue = route.targets[0] as DeliveryQueue;
    const { heldPublishers, settings } = this.#host;
    if (queue.settings.overflow !== "wait" || heldPublishers.count >= settings.limits.maxWaitingPublishers) return null;
    const bytes = this.#drafter.measure(topic, data, null);
    if (!this.#memory.hasRoom(bytes)) throw noMemory(this.#memory, topic, bytes);
    const message = this.#plainMessage(topic, data, defaultPriority, bytes, null);
    this.#countRouted(route, 1);
    this.#host.slow(queue);
    return queue.offerHeld<Receipt>(message, undefined, receiptOf(message, 1, false));
  }

  /**
   * Accepts drafts as one: all of them, or throws and nothing has changed.
   *
   * @param mayWait - false: throws `ERR_QUEUE_FULL` where the publisher would be held back
   */
  accept(drafts: readonly Draft[], mayWait: boolean): Accepted[] {
    const batch = new Batch();
    return this.#carryOutAll(drafts.map((draft) => this.#planner.plan(draft, mayWait, batch)));
  }

  /** The same for one draft. */
  acceptOne(draft: Draft, mayWait: boolean): Accepted {
    const plan = this.#planner.plan(draft, mayWait, null);
    if (!(plan instanceof Plan)) return this.#duplicate(plan);
    if (plan.isKept) this.#host.memory.hold(plan.message);
    const accepted = this.#carryOut(plan);
    this.#finish(plan);
    return accepted;
  }

  /** The first half of `accept`, for who has to wait in between. A receipt stands for a duplicate. */
  plan(drafts: readonly Draft[], mayWait: boolean): (Plan | Receipt)[] {
    const batch = drafts.length === 1 ? null : new Batch();
    return drafts.map((draft) => this.#planner.plan(draft, mayWait, batch));
  }

  /** The second half: routed as things are now, whatever they were when it was planned. */
  carryOut(planned: readonly (Plan | Receipt)[]): Accepted[] {
    return this.#carryOutAll(planned.map((plan) => (plan instanceof Plan ? this.#planner.replanned(plan) : plan)));
  }

  /** Gives planned messages new numbers, where others have taken higher ones meanwhile. */
  renumber(planned: readonly (Plan | Receipt)[]): void {
    for (const plan of planned) if (plan instanceof Plan) plan.message.seq = this.nextSeq();
  }

  /** Numbers from here on are higher. */
  raiseSeq(seq: number): void {
    this.#lastSeq = Math.max(this.#lastSeq, seq);
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** A number that no message has had. */
  nextSeq(): number {
    this.#lastSeq += 1;
    return this.#lastSeq;
  }

  /** Routes a message whose time has come. */
  release(message: PublishedMessage): void {
    const { timers, memory } = this.#host;
    if (message.expiresAtMs !== 0 && message.expiresAtMs <= timers.dates.now()) {
      this.expireScheduled(message);
      return;
    }
    this.#routeExtra(message, this.#host.router.routeAgain(message.topic));
    memory.release(message);
  }

  /** Publishes what nobody waits for: a full queue takes it beyond its bounds. Throws `ERR_MEMORY_LIMIT`. */
  publishExtra(draft: Draft): PublishedMessage {
    if (!this.#host.memory.hasRoom(draft.bytes)) throw noMemory(this.#memory, draft.topic, draft.bytes);
    const route = this.#host.router.route(draft.topic);
    const message = this.#messageOf(draft, null);
    this.counters.published += 1;
    this.#routeExtra(message, route);
    return message;
  }

  /** Puts a message into one queue, whatever else its topic matches. Throws `ERR_MEMORY_LIMIT`. */
  deliverTo(queue: DeliveryQueue, draft: Draft): PublishedMessage {
    if (!this.#host.memory.hasRoom(draft.bytes)) throw noMemory(this.#memory, draft.topic, draft.bytes);
    this.counters.published += 1;
    this.counters.routedMessages += 1;
    const message = this.#messageOf(draft, null);
    queue.offerExtra(message);
    return message;
  }

  /** Takes a message that has left the table of those that wait for their time: it has expired. */
  expireScheduled(message: PublishedMessage): void {
    this.counters.scheduledExpired += 1;
    this.#memory.release(message);
    this.#host.scheduledExpired(message);
  }

  /** Routes a message that nobody waits for, and that is accepted already. */
  routeAccepted(message: PublishedMessage): void {
    this.#routeExtra(message, this.#router.routeAgain(message.topic));
  }

  /** Delivers history again: it keeps its number. Resolves once every queue has it within its bounds. */
  async offerAgain(message: PublishedMessage, signal: AbortSignal | undefined): Promise<void> {
    const route = this.#router.routeAgain(message.topic);
    const targets = this.#planner.targetsOf(route, message, null);
    this.counters.published += 1;
    this.#countRouted(route, targets.length);
    const waits: Promise<unknown>[] = [];
    for (const queue of targets)
      if (queue.offerAgain(message) === "full") waits.push(queue.offerHeld(message, signal, undefined));
    this.#audience.published(message, targets.length);
    if (waits.length > 0) await Promise.all(waits);
  }

  /** Counts a message that is on its way to so many queues. */
  countPublished(route: Route<TopicFacts>, matched: number): void {
    this.counters.published += 1;
    this.#countRouted(route, matched);
  }

  /** A message of a draft, with a number of its own. */
  messageOf(draft: Draft): PublishedMessage {
    return this.#messageOf(draft, null);
  }

  /** There was room when it was published, and others may have taken it since. */
  #retainLate(message: PublishedMessage): void {
    const { retained } = this.#host;
    try {
      if (message.data !== null) retained.requireRoom(message.topic, 1);
      retained.keep(message);
    } catch (error) {
      this.#host.notRetained(error, message);
    }
  }

  #routeExtra(message: PublishedMessage, route: Route<TopicFacts>): void {
    const targets = this.#planner.targetsOf(route, message, null);
    this.#countRouted(route, targets.length);
    for (const queue of targets) if (queue.offer(message) === "full") queue.offerExtra(message);
    if (message.extras?.isToRetain === true) this.#retainLate(message);
    this.#audience.published(message, targets.length);
  }

  #carryOutAll(plans: readonly (Plan | Receipt)[]): Accepted[] {
    // Held from before the first is carried out, so that whoever hears of it cannot take the memory of the next.
    for (const plan of plans) if (plan instanceof Plan && plan.isKept) this.#host.memory.hold(plan.message);
    const accepted = plans.map((plan) => (plan instanceof Plan ? this.#carryOut(plan) : this.#duplicate(plan)));
    for (const plan of plans) if (plan instanceof Plan) this.#finish(plan);
    return accepted;
  }

  /** Carries out a plan. Nothing here can fail. */
  #carryOut(plan: Plan): Accepted {
    const { draft, message, targets, route, confirmation } = plan;
    const { timers, memory, delayed, retained, dedup } = this.#host;
    const matched = targets.length;
    let waits: Promise<unknown>[] | null = null;
    const report: SubscriptionReport[] | null = draft.wantsReport
      ? (plan.filtered ?? nothing).map((subscription) => ({ subscription, outcome: "filtered" }))
      : null;
    this.counters.published += 1;
    if (draft.due !== null) {
      memory.hold(message);
      delayed.add(message, timers[draft.due.on], draft.due.at);
    } else if (route.attachment.inbox !== null) {
      this.counters.unrouted += 1;
      if (!route.attachment.inbox.answer(message)) this.counters.lateReplies += 1;
    } else {
      this.#countRouted(route, matched);
      for (let index = 0; index < matched; index += 1) {
        const queue = targets[index] as DeliveryQueue;
        const offer = queue.offer(message);
        if (offer === "full") (waits ??= []).push(queue.offerHeld(message, draft.signal, undefined));
        report?.push({ subscription: queue.name, outcome: offer === "full" ? "waiting" : offer });
      }
    }
    // What is delayed is retained when its time has come.
    if (draft.isRetained && draft.due === null) retained.keep(message);
    if (confirmation !== null) (waits ??= []).push(this.#host.confirmed(confirmation, message, draft.signal));
    const receipt: Receipt =
      report === null
        ? receiptOf(message, matched, false)
        : { id: message.id, seq: message.seq, matched, duplicate: false, report };
    if (draft.dedupId !== undefined) {
      const { id, seq } = message;
      dedup.remember(draft.dedupId, { id, seq, matched, duplicate: false });
    }
    return { receipt, waits: waits ?? nothing };
  }

  /** Everything of the same call is carried out: lets go of what held its memory meanwhile, and tells the plugins. */
  #finish(plan: Plan): void {
    const { draft, message, targets } = plan;
    if (plan.isKept) this.#host.memory.release(message);
    if (draft.due !== null) {
      if (this.#audience.hearsSchedules) this.#audience.scheduled(message, this.#dateOf(draft.due));
    } else if (this.#audience.hearsPublishes) this.#audience.published(message, targets.length);
  }

  #dateOf(due: NonNullable<Draft["due"]>): number {
    const { timers } = this.#host;
    return timers.dates.now() + (due.at - timers[due.on].now());
  }

  #duplicate(first: Receipt): Accepted {
    this.counters.duplicates += 1;
    const { id, seq, matched } = first;
    return { receipt: { id, seq, matched, duplicate: true }, waits: nothing };
  }

  #stamp(): Stamp {
    return this.#stamps.current ?? this.#stamps.take();
  }

  #plainMessage(
    topic: string,
    data: unknown,
    priority: number,
    bytes: number,
    extras: MessageExtras | null,
  ): PublishedMessage {
    this.counters.published += 1;
    this.#lastSeq += 1;
    return new PublishedMessage(
      topic,
      data,
      this.#lastSeq,
      bytes,
      MessageTraits.of(this.#stamp(), priority, 0, extras),
    );
  }

  #messageOf(draft: Draft, confirmation: Confirmation | null): PublishedMessage {
    const { topic, data, priority, bytes, expiresAtMs } = draft;
    const extras =
      confirmation === null
        ? draft.extras
        : { ...draft.extras, onAcked: (subscription: string) => confirmation.add(subscription) };
    this.#lastSeq += 1;
    const traits = MessageTraits.of(this.#stamp(), priority, expiresAtMs, extras);
    return new PublishedMessage(topic, data, this.#lastSeq, bytes, traits);
  }

  #countRouted(route: Route<TopicFacts>, matched: number): void {
    route.published += 1;
    if (matched === 0) this.counters.unrouted += 1;
    else this.counters.routedMessages += 1;
  }
}

/** True for options of which only `priority` and `key` are given, and the key is a text. */
function isSimple(options: PublishOptions): boolean {
  if (typeof options !== "object" || options === null || Array.isArray(options)) return false;
  for (const name in options) {
    if (name === "priority") continue;
    if (name !== "key" || !(options.key === undefined || typeof options.key === "string")) return false;
  }
  return true;
}
