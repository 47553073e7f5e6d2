import { AckTracker } from "../delivery/ack-tracker.js";
import type { Decision, GiveUpReason } from "../delivery/ack-tracker.js";
import type { DeadLetter, DeadLetterReason } from "../delivery/dead-letters.js";
import { DeadLetterManager } from "../delivery/dead-letters.js";
import { DedupWindow } from "../delivery/dedup.js";
import { DelayedMessages } from "../delivery/delayed-messages.js";
import { Timers } from "../delivery/timers.js";
import { HeldPublishers } from "../dispatch/held-publishers.js";
import { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DispatchHost, ProcessContext } from "../dispatch/ports.js";
import type { DropReason, QueueFacts } from "../dispatch/queue-facts.js";
import { DurableQueue } from "../dispatch/durable-queue.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { queueFull } from "../dispatch/queue.js";
import { Router } from "../dispatch/router.js";
import { Scheduler } from "../dispatch/scheduler.js";
import { brokerError, errorText, quote } from "../errors.js";
import type { Attempt, Delivery, FlightOutcome } from "../message/delivery.js";
import { deliveryOver } from "../message/delivery.js";
import { idNonce, MessageIds } from "../message/id.js";
import type { Message, MessageOrigin, MessageRecord, ReplyOptions } from "../message/message.js";
import { messageRecord, PublishedMessage } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import { payloadBytes } from "../message/size.js";
import { Events } from "../observe/events.js";
import type { ErrorContext } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import type { EventLoop } from "../platform/event-loop.js";
import type { Random } from "../platform/random.js";
import type { TraceChannel } from "../platform/tracing.js";
import { openTraceChannel } from "../platform/tracing.js";
import { checkPattern, matchesPattern } from "../topic/grammar.js";
import { PatternTrie } from "../topic/pattern-trie.js";
import type { Draft } from "./draft.js";
import { Drafter } from "./draft.js";
import type { PublishOptions } from "./options.js";
import type { Plugin } from "./plugin.js";
import type { Accepted, Confirmation } from "./publisher.js";
import { Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import { failureHeader, Requests } from "./requests.js";
import { RetainedMessages } from "./retained.js";
import type { StandardSchema } from "./schema.js";
import type { Settings } from "./settings.js";
import { StoreLink } from "./store-link.js";
import { SubscriptionRegistry } from "./subscription-registry.js";
import type { TopicFacts } from "./topic-facts.js";
import { TurnStamp } from "./turn-stamp.js";

/** What a publish looks like to those who watch the `publish` channel. */
export interface PublishContext {
  /** As given, before any check. */
  readonly topic: string;
  /** As given, before plugins and schemas. */
  readonly data: unknown;
  /** As given; undefined where there were none. */
  readonly options: PublishOptions | undefined;
}

/** What a decision looks like to those who watch the `settle` channel. */
export interface SettleContext {
  /** The delivery that was decided. */
  readonly message: Message;
  /** How. */
  readonly decision: Decision;
  /** The subscription or group it was delivered to. */
  readonly subscription: string;
}

const noSteps = (): never[] => [];

/** Milliseconds between two slow-consumer events of one subscription. */
const slowEventIntervalMs = 1_000;

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
  readonly memory: MemoryBudget;
  readonly heldPublishers: HeldPublishers;
  readonly router: Router<TopicFacts>;
  readonly tracker: AckTracker;
  readonly dedup: DedupWindow<Receipt>;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly deadLetters: DeadLetterManager | null;
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
  readonly #settleChannel: TraceChannel<SettleContext>;
  readonly #confirmWaiters = new Set<(error: unknown) => void>();
  readonly #redrives = new WeakMap<PublishedMessage, number>();
  #isPublishingDeadLetter = false;
  #onQuiet: (() => void) | null = null;

  constructor(parts: CoreParts) {
    const { settings, clock, random, loop } = parts;
    this.settings = settings;
    this.clock = clock;
    this.loop = loop;
    this.startedAt = clock.monotonic();
    this.events = new Events(loop);
    this.timers = new Timers(clock);
    this.scheduler = new Scheduler(loop, settings.shards, {
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
    this.publishChannel = openTraceChannel("inproc-broker:publish");
    this.#settleChannel = openTraceChannel("inproc-broker:settle");

    const ids = new MessageIds(idNonce(random));
    const origin: MessageOrigin = {
      ids,
      signal: this.abort.signal,
      reply: (request, data, options) => this.reply(request, data, options),
    };
    this.origin = origin;
    this.stamps = new TurnStamp(clock, origin, () => this.scheduler.watchTurn());
    const hold = (): (() => void) => loop.hold();
    this.requests = new Requests(ids.nonce, this.timers.deadlines, hold);
    this.router = new Router<TopicFacts>({
      shards: settings.shards,
      limits: settings.limits,
      maxTopics: settings.limits.maxTopics,
      topicIdleMs: settings.limits.topicIdle,
      now: () => clock.now(),
      attach: topicFacts(settings, this.requests),
      isTransient: (topic) => topic.startsWith(this.requests.prefix),
      isKept: (topic) => this.retained.has(topic),
    });
    this.retained = new RetainedMessages(settings.limits.maxRetained, this.memory);
    this.dedup = new DedupWindow<Receipt>(settings.dedup, () => clock.monotonic());
    this.delayed = new DelayedMessages(this.timers.dates, (message) => this.#release(message));
    this.deadLetters = settings.deadLetter === null ? null : this.#openDeadLetters(settings.deadLetter, hold);
    this.tracker = new AckTracker(
      {
        random,
        now: () => clock.now(),
        watchTurn: clock.readOncePerTurn === true ? () => this.scheduler.watchTurn() : null,
        giveUp: (delivery, reason, history) => this.#giveUp(delivery, reason, history),
        onSettle: this.#settleObserver(),
        backoffFailed: (error, delivery) =>
          this.fail(error, { during: "backoff", subscription: delivery.source.name, message: delivery }),
        together: (run) => (this.store === null ? run() : this.store.writer.together(run)),
        redelivering: (delivery, delay, reason) => this.#tellRedelivery(delivery, delay, reason),
      },
      this.timers.deadlines,
    );
    this.dispatch = this.#dispatchHost();
    this.registry = new SubscriptionRegistry({
      settings,
      router: this.router,
      dispatch: this.dispatch,
      durables: () => this.store?.durables,
      tracker: this.tracker,
      retained: this.retained,
      accepts: (queue, message) => this.#accepts(queue, message),
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
        timers: this.timers,
        dedup: this.dedup,
        delayed: this.delayed,
        retained: this.retained,
        stamps: this.stamps,
        heldPublishers: this.heldPublishers,
        accepts: (queue, message) => this.#accepts(queue, message),
        slow: (queue) => this.#tellSlow(queue),
        confirmed: (confirmation, message, signal) => this.#confirmed(confirmation, message, signal),
        pluginFailed: (_plugin, error) => this.fail(error, { during: "plugin" }),
        scheduledExpired: (message) => this.events.emit("expire", { message, subscription: undefined }),
      },
      this.drafter,
    );
    this.store = settings.persistence === null ? null : new StoreLink(this, settings.persistence, random);
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
    const headers = { ...options.headers, ...(isFailure ? { [failureHeader]: "true" } : {}) };
    const draft = await this.drafter.draft(replyTo, data, {
      headers,
      ...(correlationId === undefined ? {} : { correlationId }),
    });
    const accepted = draft.isStored ? await this.#accept([draft]) : [this.publisher.acceptOne(draft, true)];
    await Promise.all(accepted.flatMap(({ waits }) => waits));
  }

  async #accept(drafts: readonly Draft[]): Promise<Accepted[]> {
    return (this.store as StoreLink).publisher.accept(drafts);
  }

  /** Fails everything that waits for confirms. */
  failConfirms(error: unknown): void {
    for (const fail of [...this.#confirmWaiters]) fail(error);
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

  #accepts(queue: QueueFacts, message: PublishedMessage): boolean {
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

  async #confirmed(
    confirmation: Confirmation,
    message: PublishedMessage,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const release = this.loop.hold();
    let cleanUp = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => reject(signal?.reason);
        const timer = this.timers.deadlines.after(confirmation.timeoutMs, {
          onTimer: () => reject(unconfirmed(confirmation, message)),
        });
        cleanUp = () => {
          this.timers.deadlines.cancel(timer);
          this.#confirmWaiters.delete(reject);
          signal?.removeEventListener("abort", onAbort);
        };
        this.#confirmWaiters.add(reject);
        signal?.addEventListener("abort", onAbort, { once: true });
        // It was on its way into the store when that happened.
        if (signal?.aborted === true) onAbort();
        confirmation.reached.then(resolve, reject);
      });
    } finally {
      cleanUp();
      release();
    }
  }

  #dispatchHost(): DispatchHost {
    const { settings } = this;
    const aroundHooks = settings.plugins.filter((plugin) => plugin.around !== undefined);
    const deliverHooks = settings.plugins.filter((plugin) => plugin.onDeliver !== undefined);
    const processChannel = openTraceChannel<ProcessContext>("inproc-broker:process");
    return {
      scheduler: this.scheduler,
      memory: this.memory,
      heldPublishers: this.heldPublishers,
      deadlines: this.timers.deadlines,
      dates: this.timers.dates,
      tracker: this.tracker,
      processChannel,
      copyPayload: settings.payloads === "clone" ? (data) => structuredClone(data) : null,
      around:
        aroundHooks.length === 0 ? null : (message, queue, run) => runAround(aroundHooks, message, queue.name, run),
      onDeliver:
        deliverHooks.length === 0
          ? null
          : (message, queue) => this.#callHooks(deliverHooks, (plugin) => plugin.onDeliver?.(message, queue.name)),
      dropped: (queue, message, reason, from) => this.#dropped(queue, message, reason, from),
      expired: (queue, delivery) => this.#expired(queue, delivery),
      failed: (queue, error, message, during) =>
        this.fail(error, { during, subscription: queue.name, message: asSeenBy(queue, message) }),
      undone: (queue, message, error) => this.#undone(queue, message, error),
      slow: (queue) => this.#tellSlow(queue),
      quiet: (queue) => {
        if (queue.isIdle) this.registry.tellIdle(queue);
        this.#onQuiet?.();
      },
      overflowed: (queue) => {
        const error = queueFull(queue, queue.patterns.join(", "));
        void Promise.resolve().then(() => this.registry.closeBehind(queue, error));
      },
    };
  }

  #settleObserver(): (delivery: Delivery, decision: Decision) => void {
    const hooks = this.settings.plugins.filter((plugin) => plugin.onSettle !== undefined);
    return (delivery, decision) => {
      if (this.#settleChannel.isActive) {
        const context = { message: delivery, decision, subscription: delivery.source.name };
        this.#settleChannel.trace(context, () => undefined);
      }
      if (hooks.length > 0) {
        this.#callHooks(hooks, (plugin) => plugin.onSettle?.(delivery, decision, delivery.source.name));
      }
    };
  }

  #callHooks(plugins: readonly Plugin[], call: (plugin: Plugin) => unknown): void {
    const report = (error: unknown): void => this.fail(error, { during: "plugin" });
    for (const plugin of plugins) {
      try {
        isLate(call(plugin), report);
      } catch (error) {
        report(error);
      }
    }
  }

  #tellRedelivery(message: Delivery, delay: number, reason: string | undefined): void {
    if (!this.events.has("redeliver")) return;
    const { deliveryCount } = message;
    this.events.emit("redeliver", { message, subscription: message.source.name, deliveryCount, delay, reason });
  }

  #tellSlow(queue: QueueFacts): void {
    const told = queue.slowness;
    told.occurrences += 1;
    // A flood asks for every message: one look at the clock a turn is enough.
    const { current } = this.stamps;
    if (current !== null && told.stamp === current) return;
    told.stamp = current;
    const now = this.clock.monotonic();
    if (now - told.toldAt < slowEventIntervalMs) return;
    const { occurrences } = told;
    told.toldAt = now;
    told.occurrences = 0;
    const { name: subscription, queued, queuedBytes } = queue;
    this.events.emit("slow-consumer", { subscription, queued, queuedBytes, occurrences });
  }

  #dropped(queue: QueueFacts, message: PublishedMessage, reason: DropReason, from: Delivery | null): void {
    this.#tellDrop(from ?? asSeenBy(queue, message), reason, queue.name);
    if (reason === "overflow" && this.#keeps("overflow")) {
      this.#bury(message, recordFor(from ?? message, queue), "overflow", queue, undefined, from?.history ?? []);
    }
  }

  #tellDrop(message: Message, reason: DropReason | "expired", subscription: string): void {
    this.#callHooks(this.settings.plugins, (plugin) => plugin.onDrop?.(message, reason, subscription));
    if (reason !== "expired" && this.events.has("drop")) {
      this.events.emit("drop", { message, subscription, reason });
    }
  }

  #expired(queue: QueueFacts, delivery: Delivery): void {
    this.#tellDrop(delivery, "expired", queue.name);
    if (this.events.has("expire")) this.events.emit("expire", { message: delivery, subscription: queue.name });
    if (this.#keeps("expired")) {
      this.#bury(delivery.message, recordFor(delivery, queue), "expired", queue, undefined, delivery.history ?? []);
    }
  }

  #undone(queue: QueueFacts, message: Message, error: unknown): void {
    if (!this.#keeps("handler-error")) return;
    queue.counters.delivered -= 1;
    queue.counters.deadLettered += 1;
    const published = "message" in message ? (message as Delivery).message : (message as PublishedMessage);
    this.#bury(published, recordFor(message, queue), "handler-error", queue, errorText(error), []);
  }

  #giveUp(delivery: Delivery, reason: GiveUpReason, history: readonly Attempt[]): FlightOutcome {
    const error = history.at(-1)?.reason;
    const queue = delivery.source as unknown as QueueFacts;
    if (this.#keeps(reason)) {
      this.#bury(delivery.message, recordFor(delivery, queue), reason, queue, error, history);
      return "deadLettered";
    }
    this.#tellDrop(delivery, reason, delivery.source.name);
    return reason;
  }

  /** Gives up on a message that the process ended with before it could be dead-lettered. */
  giveUpRecovered(delivery: Delivery): FlightOutcome {
    return this.#giveUp(delivery, "max-deliveries", []);
  }

  /** Asks a queue's filter. */
  accepts(queue: QueueFacts, message: PublishedMessage): boolean {
    return this.#accepts(queue, message);
  }

  #keeps(reason: DeadLetterReason): boolean {
    return this.settings.deadLetter?.reasons.has(reason) === true;
  }

  /** Keeps a message that was given up on, and publishes it to the dead-letter topic. */
  #bury(
    published: PublishedMessage,
    message: MessageRecord,
    reason: DeadLetterReason,
    queue: QueueFacts,
    error: string | undefined,
    history: readonly Attempt[],
  ): void {
    const { topic } = message;
    const redrives = this.#redrives.get(published) ?? 0;
    const facts = { message, reason, topic, subscription: queue.name, error, history, redrives };
    const letter = (this.deadLetters as DeadLetterManager).add(facts, published.bytes);
    if (this.store === null) {
      this.#tellBuried(letter);
      return;
    }
    const { store } = this;
    store.writer.together(() => {
      store.keepDeadLetter(letter, published.bytes);
      this.#tellBuried(letter);
    });
  }

  #tellBuried(letter: DeadLetter): void {
    this.events.emit("dead-letter", letter);
    // A dead letter of the dead-letter topic stays in the list; published there again it would go round for ever. So does
    // one that had to make room for a dead letter: each would push out the next, until nothing else is in that queue.
    if (letter.topic !== this.settings.deadLetter?.topic && !this.#isPublishingDeadLetter)
      this.#publishDeadLetter(letter);
  }

  #publishDeadLetter(letter: DeadLetter): void {
    const { message } = letter;
    const topic = this.settings.deadLetter?.topic as string;
    try {
      const headers = {
        ...message.headers,
        "dead-letter-id": letter.id,
        "dead-letter-reason": letter.reason,
        "dead-letter-topic": letter.topic,
        "dead-letter-subscription": letter.subscription,
        "dead-letter-deliveries": String(message.deliveryCount),
        ...(letter.error === undefined ? {} : { "dead-letter-error": letter.error }),
      };
      const options = { headers, ...(message.key === undefined ? {} : { key: message.key }) };
      const draft = this.drafter.draft(topic, message.data, options);
      if (draft instanceof Promise) {
        draft
          .then((ready) => this.#publishToDeadLetterTopic(ready))
          .catch((error: unknown) => this.fail(error, { during: "dead-letter" }));
      } else this.#publishToDeadLetterTopic(draft);
    } catch (error) {
      this.fail(error, { during: "dead-letter" });
    }
  }

  #publishToDeadLetterTopic(draft: Draft): void {
    if (this.abort.signal.aborted) throw this.abort.signal.reason;
    this.#isPublishingDeadLetter = true;
    try {
      if (draft.isStored) (this.store as StoreLink).publisher.publishExtra(draft, noSteps);
      else this.publisher.publishExtra(draft);
    } finally {
      this.#isPublishingDeadLetter = false;
    }
  }

  #openDeadLetters(settings: NonNullable<Settings["deadLetter"]>, hold: () => () => void): DeadLetterManager {
    return new DeadLetterManager(settings, {
      now: () => this.clock.now(),
      deadlines: this.timers.deadlines,
      matches: matchesPattern,
      checkPattern: (pattern) => checkPattern(pattern, this.settings.limits),
      redrive: (letter) => this.#redrive(letter),
      removed: (letter) => this.store?.forgetDeadLetter(letter.id),
      evicted: (letter) => this.#tellEvicted(letter),
      hold,
    });
  }

  #redrive(letter: DeadLetter): void {
    const { message } = letter;
    const queue = this.registry.queueFor(letter.subscription, message.topic);
    const draft: Draft = {
      topic: message.topic,
      data: message.data,
      bytes: payloadBytes(message.data),
      priority: message.priority,
      extras: {
        id: message.id,
        headers: message.headers,
        key: message.key,
        replyTo: message.replyTo,
        correlationId: message.correlationId,
        replayed: true,
      },
      // What has expired would be dropped at once; whoever drives it again wants it delivered.
      expiresAtMs: 0,
      due: null,
      dedupId: undefined,
      isRetained: false,
      confirm: null,
      wantsReport: false,
      signal: undefined,
      isStored: false,
      durability: undefined,
    };
    this.#redrives.set(this.#driveAgain(letter, draft, queue), letter.redrives + 1);
  }

  /** To the subscription that gave it up, or to its topic where that has gone. */
  #driveAgain(letter: DeadLetter, draft: Draft, queue: DeliveryQueue | undefined): PublishedMessage {
    const { store, publisher } = this;
    if (store !== null && queue instanceof DurableQueue) return store.redriveTo(queue, draft, letter);
    if (store !== null && queue === undefined && this.router.routeAgain(draft.topic).attachment.isStored) {
      return store.redrive(draft, letter);
    }
    const published = queue === undefined ? publisher.publishExtra(draft) : publisher.deliverTo(queue, draft);
    store?.forgetDeadLetter(letter.id);
    return published;
  }

  #tellEvicted(letter: DeadLetter): void {
    this.fail(
      brokerError(
        "ERR_LIMIT_EXCEEDED",
        `dead letter ${letter.id} (${letter.reason} on ${JSON.stringify(letter.topic)}) was let go: deadLetter.maxMessages, maxBytes or maxAge was reached; purge or redrive in time, or raise them`,
        { id: letter.id, topic: letter.topic },
      ),
      { during: "dead-letter" },
    );
  }
}

/** The message under the name of the subscription it was meant for: one object may wait for several of them. */
function asSeenBy(queue: QueueFacts, message: Message): Message {
  return message instanceof PublishedMessage ? deliveryOver(message, queue as DeliveryQueue, "settled") : message;
}

/** Runs a handler within every plugin's `around`, the first plugin outermost. */
function runAround(plugins: readonly Plugin[], message: Message, subscription: string, run: () => unknown): unknown {
  return plugins.reduceRight<() => unknown>(
    (inner, plugin) => () => plugin.around?.(message, subscription, inner),
    run,
  )();
}

/** The facts of a message, under the name of the queue it is given up for. */
function recordFor(message: Message, queue: QueueFacts): MessageRecord {
  return { ...messageRecord(message), subscription: queue.name, deliveryId: "" };
}

/** Works out what belongs to a topic: its schema (by exact name or by pattern), and whether it is an inbox. */
function topicFacts(settings: Settings, requests: Requests): (topic: string) => TopicFacts {
  const schemas = new PatternTrie<StandardSchema>();
  for (const [pattern, schema] of Object.entries(settings.schemas)) schemas.add(pattern, schema);
  const plain: TopicFacts = { schema: null, inbox: null, isStored: false, isDirect: true };
  const stored: TopicFacts = { schema: null, inbox: null, isStored: true, isDirect: false };
  const inbox: TopicFacts = { schema: null, inbox: requests, isStored: false, isDirect: false };
  const storedPatterns = settings.persistence?.topics ?? [];
  return (topic) => {
    if (topic.startsWith(requests.prefix)) return inbox;
    const facts = storedPatterns.some((pattern) => matchesPattern(pattern, topic)) ? stored : plain;
    if (schemas.isEmpty) return facts;
    // An exact name says more than a pattern.
    const schema = Object.hasOwn(settings.schemas, topic) ? settings.schemas[topic] : schemas.match(topic, [])[0];
    return schema === undefined ? facts : { ...facts, schema };
  };
}

function unconfirmed(confirmation: Confirmation, message: PublishedMessage): Error {
  return brokerError(
    "ERR_TIMEOUT",
    `${confirmation.count} of ${confirmation.wanted} subscriptions acknowledged the message on ${JSON.stringify(message.topic)} within ${confirmation.timeoutMs} ms; it stays published`,
    { topic: message.topic, id: message.id, confirmed: confirmation.count, wanted: confirmation.wanted },
  );
}
