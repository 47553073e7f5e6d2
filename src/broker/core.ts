import { AckTracker } from "../delivery/ack-tracker.js";
import type { DeadLetterManager } from "../delivery/dead-letters.js";
import { DedupWindow } from "../delivery/dedup.js";
import { DelayedMessages } from "../delivery/delayed-messages.js";
import { Timers } from "../delivery/timers.js";
import { ExpressLane } from "../dispatch/express-lane.js";
import { HeldPublishers } from "../dispatch/held-publishers.js";
import { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DispatchHost, ProcessContext } from "../dispatch/ports.js";
import type { QueueFacts } from "../dispatch/queue-facts.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import { queueFull } from "../dispatch/queue-facts.js";
import { Router } from "../dispatch/router.js";
import { Scheduler } from "../dispatch/scheduler.js";
import { brokerError, quote } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import type { Delivery, FlightOutcome } from "../message/delivery.js";
import { idNonce, MessageIds } from "../message/id.js";
import type { Message, MessageOrigin, ReplyOptions } from "../message/message.js";
import type { PublishedMessage } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import { Events } from "../observe/events.js";
import type { ErrorContext } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import type { EventLoop } from "../platform/event-loop.js";
import type { Random } from "../platform/random.js";
import type { TraceChannel } from "../platform/tracing.js";
import { openTraceChannel } from "../platform/tracing.js";
import { Confirms } from "./confirms.js";
import type { Draft } from "./draft.js";
import { Drafter } from "./draft.js";
import { asSeenBy, Observers } from "./observers.js";
import type { PublishOptions } from "./options.js";
import type { Accepted } from "./publisher.js";
import { Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import { failureHeader, Requests } from "./requests.js";
import { RetainedMessages } from "./retained.js";
import { keptShapes } from "./kept-shapes.js";
import type { Settings } from "./settings.js";
import { StoreLink } from "./store-link.js";
import { SubscriptionRegistry } from "./subscription-registry.js";
import type { TopicFacts } from "./topic-facts.js";
import { topicFactsOf } from "./topic-facts.js";
import { TurnStamp } from "./turn-stamp.js";
import { Undertaker } from "./undertaker.js";

/** What a publish looks like to those who watch the `publish` channel. */
export interface PublishContext {
  /** As given, before any check. */
  readonly topic: string;
  /** As given, before plugins and schemas. */
  readonly data: unknown;
  /** As given; undefined where there were none. */
  readonly options: PublishOptions | undefined;
}

/** What the core is made with. */
export interface CoreParts {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly random: Random;
  readonly loop: EventLoop;
}

/**
 * The parts of a broker, joined: each mechanism declares what it needs of the others as an interface of its own, and
 * this is where those needs are met. It decides nothing that a part could decide.
 */
export class BrokerCore {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly loop: EventLoop;
  readonly startedAt: number;
  readonly events: Events;
  readonly timers: Timers;
  readonly scheduler: Scheduler;
  readonly stamps: TurnStamp;
  readonly origin: MessageOrigin;
  /** Kept, and never read: see `keptShapes`. */
  readonly shapes: readonly object[];
  readonly memory: MemoryBudget;
  readonly lane: ExpressLane;
  readonly heldPublishers: HeldPublishers;
  readonly router: Router<TopicFacts>;
  readonly tracker: AckTracker;
  readonly dedup: DedupWindow<Receipt>;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly observers: Observers;
  readonly undertaker: Undertaker;
  readonly confirms: Confirms;
  readonly drafter: Drafter;
  readonly publisher: Publisher;
  readonly requests: Requests;
  readonly registry: SubscriptionRegistry;
  readonly dispatch: DispatchHost;
  /** What joins the broker to its store; null without one. */
  readonly store: StoreLink | null;
  readonly publishChannel: TraceChannel<PublishContext>;
  /** Aborted when the broker closes. */
  readonly abort = new AbortController();
  #onQuiet: (() => void) | null = null;

  constructor(parts: CoreParts) {
    const { settings, clock, random, loop } = parts;
    this.settings = settings;
    this.clock = clock;
    this.loop = loop;
    this.startedAt = clock.monotonic();
    this.events = new Events(loop);
    this.timers = new Timers(clock);
    this.scheduler = new Scheduler(loop, settings.shards + 1, {
      onLook: () => {
        this.stamps.forget();
      },
      onTurnEnd: () => {
        this.stamps.forget();
        this.tracker.startTimers();
      },
    });
    this.memory = new MemoryBudget(settings.memoryMaxBytes);
    this.heldPublishers = new HeldPublishers(() => loop.hold());
    const processChannel = openTraceChannel<ProcessContext>("inproc-broker:process");
    // Beside the shards, so that it takes turns with them.
    this.lane = new ExpressLane(this.scheduler, this.memory, processChannel, settings.shards);
    this.publishChannel = openTraceChannel("inproc-broker:publish");

    const ids = new MessageIds(idNonce(random));
    const origin: MessageOrigin = {
      ids,
      signal: this.abort.signal,
      reply: (request, data, options) => this.reply(request, data, options),
    };
    this.origin = origin;
    this.shapes = keptShapes(origin);
    this.stamps = new TurnStamp(clock, origin, () => this.scheduler.watchTurn());
    this.observers = new Observers(settings.plugins, this.events, clock, this.stamps);
    const hold = (): (() => void) => loop.hold();
    this.confirms = new Confirms(this.timers.deadlines, hold);
    this.requests = new Requests(ids.nonce, this.timers.deadlines, hold);
    this.router = new Router<TopicFacts>({
      shards: settings.shards,
      limits: settings.limits,
      maxTopics: settings.limits.maxTopics,
      topicIdleMs: settings.limits.topicIdle,
      now: () => clock.now(),
      attach: topicFactsOf(settings, this.requests),
      // A durable may ask for more than is stored, where fewer topics are than when it was made.
      admits: settings.persistence === null ? null : (queue, { isStored }) => isStored || !queue.isDurable,
      isTransient: (topic) => topic.startsWith(this.requests.prefix),
      isKept: (topic) => this.retained.has(topic),
    });
    this.retained = new RetainedMessages(settings.limits.maxRetained, this.memory);
    this.dedup = new DedupWindow<Receipt>(settings.dedup, () => clock.monotonic());
    this.delayed = new DelayedMessages(this.timers.dates, (message) => this.#release(message));
    this.undertaker = new Undertaker(this, hold);
    this.tracker = new AckTracker(
      {
        random,
        now: () => clock.now(),
        watchTurn: clock.readOncePerTurn === true ? () => this.scheduler.watchTurn() : null,
        giveUp: (delivery, reason, history) => this.undertaker.giveUp(delivery, reason, history),
        onSettle: this.observers.onSettle,
        backoffFailed: (error, delivery) =>
          this.fail(error, { during: "backoff", subscription: delivery.source.name, message: delivery }),
        together: (run) => (this.store === null ? run() : this.store.writer.together(run)),
        redelivering: (delivery, delay, reason) => this.observers.tellRedelivery(delivery, delay, reason),
      },
      this.timers.deadlines,
    );
    this.dispatch = this.#dispatchHost(processChannel);
    this.registry = new SubscriptionRegistry({
      settings,
      router: this.router,
      dispatch: this.dispatch,
      durables: () => this.store?.durables,
      tracker: this.tracker,
      retained: this.retained,
      accepts: (queue, message) => this.accepts(queue, message),
      hold,
      changed: () => this.#onQuiet?.(),
    });
    this.drafter = new Drafter(settings, this.router, {
      date: () => clock.now(),
      deadline: () => clock.monotonic(),
    });
    this.publisher = new Publisher(
      {
        settings,
        router: this.router,
        memory: this.memory,
        lane: this.lane,
        timers: this.timers,
        dedup: this.dedup,
        delayed: this.delayed,
        retained: this.retained,
        stamps: this.stamps,
        heldPublishers: this.heldPublishers,
        accepts: (queue, message) => this.accepts(queue, message),
        slow: (queue) => this.observers.tellSlow(queue),
        confirmed: (confirmation, message, signal) => this.confirms.reached(confirmation, message, signal),
        pluginFailed: (_plugin, error) => this.fail(error, { during: "plugin" }),
        notRetained: (error, message) => this.fail(error, { during: "delayed-delivery", message }),
        scheduledExpired: (message) => this.events.emit("expire", { message, subscription: undefined }),
      },
      this.drafter,
    );
    this.store = settings.persistence === null ? null : new StoreLink(this, settings.persistence, random);
  }

  /** Null where none are kept. */
  get deadLetters(): DeadLetterManager | null {
    return this.undertaker.letters;
  }

  /** Somebody may wait for there being nothing left to do. */
  tellQuiet(): void {
    this.#onQuiet?.();
  }

  /** Calls `onQuiet` whenever there may be nothing left to do; null: stops. */
  watchQuiet(onQuiet: (() => void) | null): void {
    this.#onQuiet = onQuiet;
  }

  /** A failure that has nobody else to go to. */
  fail(error: unknown, context: ErrorContext): void {
    this.events.emit("error", error, context);
  }

  /** Publishes an answer. */
  async reply(request: Message, data: unknown, options: ReplyOptions = {}, isFailure = false): Promise<void> {
    const { replyTo, correlationId } = request;
    if (replyTo === undefined) {
      throw brokerError(
        "ERR_INVALID_MESSAGE",
        `the message on ${JSON.stringify(request.topic)} asks for no answer: it was published, not requested`,
        { topic: request.topic },
      );
    }
    checkCallOptions("reply", options, ["headers"]);
    const headers = isFailure ? { ...options.headers, [failureHeader]: "true" } : options.headers;
    const draft = await this.drafter.draft(replyTo, data, { headers, correlationId });
    const accepted = draft.isStored ? await this.#accept([draft]) : [this.publisher.acceptOne(draft, true)];
    const waits = accepted.flatMap((one) => one.waits);
    if (waits.length > 0) await Promise.all(waits);
  }

  async #accept(drafts: readonly Draft[]): Promise<Accepted[]> {
    return (this.store as StoreLink).publisher.accept(drafts);
  }

  /** Gives up on a message that the process ended with before it could be dead-lettered. */
  giveUpRecovered(delivery: Delivery): FlightOutcome {
    return this.undertaker.giveUp(delivery, "max-deliveries", []);
  }

  /** False where it is not kept as a dead letter, and so must not be given up on. */
  giveUpUnreadable(delivery: Delivery, error: Error): boolean {
    return this.undertaker.unreadable(delivery, error);
  }

  #release(message: PublishedMessage): void {
    try {
      if (this.store?.publisher.isScheduled(message) === true) this.store.publisher.release(message);
      else this.publisher.release(message);
    } catch (error) {
      this.memory.release(message);
      this.fail(error, { during: "delayed-delivery", message });
    }
    this.#onQuiet?.();
  }

  /** Asks a queue's filter. */
  accepts(queue: QueueFacts, message: PublishedMessage): boolean {
    const filter = queue instanceof DurableQueue ? queue.filter : queue.settings.filter;
    if (filter === null) return true;
    const report = (error: unknown): void =>
      this.fail(error, { during: "filter", subscription: queue.name, message: asSeenBy(queue, message) });
    try {
      const answer: unknown = filter(message);
      if (typeof answer !== "object" || !isLate(answer, report)) return Boolean(answer);
      // A promise is no answer, and taken for one it would be a yes to everything.
      throw brokerError(
        "ERR_INVALID_OPTION",
        `the filter of ${quote(queue.name)} must answer at once, not with a promise`,
        {
          option: "filter",
        },
      );
    } catch (error) {
      report(error);
      return false;
    }
  }

  #dispatchHost(processChannel: TraceChannel<ProcessContext>): DispatchHost {
    const { settings } = this;
    return {
      scheduler: this.scheduler,
      lane: this.lane,
      memory: this.memory,
      heldPublishers: this.heldPublishers,
      deadlines: this.timers.deadlines,
      dates: this.timers.dates,
      tracker: this.tracker,
      processChannel,
      copyPayload: settings.payloads === "clone" ? (data) => structuredClone(data) : null,
      around: this.observers.around,
      onDeliver: this.observers.onDeliver,
      dropped: (queue, message, reason, from) => this.undertaker.dropped(queue, message, reason, from),
      expired: (queue, delivery) => this.undertaker.expired(queue, delivery),
      failed: (queue, error, message, during) =>
        this.fail(error, { during, subscription: queue.name, message: asSeenBy(queue, message) }),
      undone: (queue, message, error) => this.undertaker.undone(queue, message, error),
      slow: (queue) => this.observers.tellSlow(queue),
      quiet: (queue) => {
        if (this.registry.isAwaited && queue.isIdle) this.registry.tellIdle(queue);
        this.#onQuiet?.();
      },
      overflowed: (queue) => {
        const error = queueFull(queue, queue.patterns.join(", "));
        void Promise.resolve().then(() => this.registry.closeBehind(queue, error));
      },
    };
  }
}
