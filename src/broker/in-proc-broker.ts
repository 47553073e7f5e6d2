import type { DeadLetters } from "../delivery/dead-letter.js";
import type { Process } from "../dispatch/handler-consumer.js";
import type { Subscription } from "../dispatch/subscription.js";
import { brokerError, errorText, quote } from "../errors.js";
import { checkCallOptions } from "../message/call-options.js";
import type { Delivery } from "../message/delivery.js";
import type { Message, MessageRecord, NackOptions } from "../message/message.js";
import { fulfilled, messageRecord, quietRejection } from "../message/message.js";
import type { AnyTopics, DataOf, TopicName } from "../message/typed-topics.js";
import type { BrokerEventName, BrokerListener, ErrorContext, WorkerLostEvent } from "../observe/events.js";
import type { Health } from "../observe/health.js";
import type { Metrics } from "../observe/metrics.js";
import { prometheusText } from "../observe/metrics.js";
import { systemClock } from "../platform/clock.js";
import { eventLoopOf } from "../platform/event-loop.js";
import type { WorkOptions } from "../platform/progress.js";
import { systemRandom } from "../platform/random.js";
import { checkPattern, matchesPattern } from "../topic/grammar.js";
import type { BatchEntry, Broker, CloseOptions, CloseResult, Handler, MessageOf } from "./broker.js";
import { checkSignal, checkWork, count, delayMs, duration, invalid, moduleDisabled, requireText } from "./checks.js";
import { endParts } from "./closing.js";
import { BrokerCore } from "./core.js";
import { purge, takeUnfinished } from "./emptying.js";
import type { ReplayMessagesOptions, ReplayOptions } from "./history.js";
import { HistoryReader } from "./history.js";
import type { IdleOptions } from "./idle.js";
import { IdleWatch } from "./idle.js";
import type { SubscriptionInfo, TopicInfo } from "./inventory.js";
import { peekAt, subscriptionsOf, topicsOf } from "./inventory.js";
import type { BrokerOptions, PublishOptions, SubscribeOptions } from "./options.js";
import type { PreparedSubscription } from "./prepared-subscription.js";
import { needsWait, notSync, tooManyHeld } from "./publish-errors.js";
import { Publishing } from "./publishing.js";
import type { Receipt } from "./receipt.js";
import type { RequestManyOptions, RequestOptions } from "./requests.js";
import { requestOptionNames } from "./requests.js";
import { brokerSettings } from "./settings.js";
import { brokerHealth, metricsSnapshot } from "./snapshot.js";
import type { StoreLink } from "./store-link.js";
import type { BackupInfo, RecoveryReport, StoreFigures } from "./store-port.js";
import type { Transaction, TransactionOptions } from "./transaction.js";
import { Transactions } from "./transactions.js";

/**
 * opening   its store is being opened: publishes and subscriptions wait for that
 * open      takes everything
 * draining  close has begun: settles and answers still work, everything else is refused
 * closed    over: only figures can be read
 */
export type BrokerState = "opening" | "open" | "draining" | "closed";

/** One subscription of a `subscribeBatch`. */
export interface SubscriptionEntry<Topics = AnyTopics> extends SubscribeOptions<MessageOf<Topics, string>> {
  /** One pattern, or several. */
  readonly pattern: string | readonly string[];
  /** Absent: a subscription to pull from. */
  readonly handler?: Handler<MessageOf<Topics, string>> | undefined;
}

const emptyOptions = {};

/**
 * A message broker inside this process.
 *
 * @typeParam Topics - payloads by topic, for typed publishes and subscriptions; absent: any topic, any payload
 *
 * @example
 * ```ts
 * import { InProcBroker } from "inproc-broker";
 *
 * await using broker = await InProcBroker.open({ ack: { maxDeliveries: 3 }, deadLetter: {} });
 * broker.subscribe("orders.*", async (msg) => ship(msg.data), { group: "shipping", concurrency: 4 });
 * await broker.publish("orders.created", { id: 7 });
 * ```
 */
export class InProcBroker<Topics = AnyTopics> implements Broker<Topics> {
  /** The broker's figures. */
  readonly metrics: Metrics;
  readonly #core: BrokerCore;
  readonly #transactions: Transactions | null;
  readonly #publishing: Publishing;
  readonly #idle: IdleWatch;
  #state: BrokerState = "open";
  /** Without a store it was ready from the start. */
  #opening: Promise<void> = fulfilled;
  /** Somebody asked for `ready()`, and gets what kept the store from opening. */
  #isAwaited = false;
  #closing: Promise<CloseResult> | null = null;

  /** Throws `ERR_INVALID_OPTION` for a value out of range, and for an option nobody knows. */
  constructor(options: BrokerOptions = {}) {
    const settings = brokerSettings(options);
    this.#core = new BrokerCore({
      settings,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
      loop: eventLoopOf(options.clock ?? systemClock),
    });
    this.#transactions =
      settings.transactions === null
        ? null
        : new Transactions(this.#core, settings.transactions, {
            requireOpen: () => this.#requireOpen(),
            deciding: (pending) => this.#publishing.decide(pending),
          });
    const { store } = this.#core;
    this.#publishing = new Publishing(this.#core, {
      requireOpen: () => this.#requireOpen(),
      opening: () => (this.#state === "opening" ? this.#opening : null),
      transactions: () => this.#requireTransactions(),
      decided: () => this.#idle.look(),
    });
    this.#idle = new IdleWatch(this.#core, () => this.#publishing.deciding + (store?.publisher.inFlight ?? 0));
    if (store !== null) {
      this.#state = "opening";
      this.#opening = this.#open(store);
      this.#opening.catch(() => undefined);
    }
    this.metrics = {
      snapshot: () => metricsSnapshot(this.#core, this.#transactions?.manager ?? null),
      prometheus: () => prometheusText(this.metrics.snapshot()),
    };
  }

  /** Makes a broker and waits until it is ready. */
  static async open<Topics = AnyTopics>(options: BrokerOptions = {}): Promise<InProcBroker<Topics>> {
    const broker = new InProcBroker<Topics>(options);
    await broker.ready();
    return broker;
  }

  /**
   * Resolves once the broker takes operations: in memory at once, with a store when that is open and what it had is there
   * again. Rejects with what kept the store from opening (`ERR_STORE_LOCKED`, `ERR_WRONG_KEY`, …), and with
   * `ERR_BROKER_CLOSED` after close.
   */
  ready(): Promise<void> {
    this.#isAwaited = true;
    if (this.#state === "open" || this.#state === "opening") return this.#opening;
    return this.#opening.then(() => Promise.reject(closedError()));
  }

  /** `"open"` from the start, with a store after `"opening"`; `close()` makes it `"draining"`, then `"closed"`. */
  get state(): BrokerState {
    return this.#state;
  }

  /**
   * Publishes a message to every subscription and group that matches its topic.
   *
   * Resolves once every matching queue has it within its bounds (`overflow: "wait"` holds back this promise, and nothing
   * else), and `confirm` is met where it was asked for. Everything is checked before anything changes: a rejection with
   * `ERR_INVALID_*`, `ERR_SCHEMA`, `ERR_MESSAGE_TOO_LARGE`, `ERR_MESSAGE_EXPIRED`, `ERR_QUEUE_FULL`, `ERR_MEMORY_LIMIT` or
   * `ERR_LIMIT_EXCEEDED` means that nobody got it. After `ERR_TIMEOUT` of a confirm it stays published.
   *
   * On a topic that is stored it resolves once the message has reached its `durability` too, and becomes visible to
   * subscriptions then; `ERR_STORE_FULL` and `ERR_STORE_FAILED` mean that nobody got it.
   *
   * @example
   * ```ts
   * const { id, matched } = await broker.publish("orders.created", order, { key: order.customer, ttl: 60_000 });
   * ```
   */
  publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt> {
    const { publishChannel } = this.#core;
    if (!publishChannel.isActive) return this.#publish(topic, data, options);
    return publishChannel.trace({ topic, data, options }, () => this.#publish(topic, data, options));
  }

  /**
   * Publishes without a promise and without waiting: the at-most-once fast path. Throws what `publish` would reject with,
   * and `ERR_QUEUE_FULL` where it would wait for a full queue. Takes no `confirm`, `transaction` or asynchronous schema, and
   * no topic that is stored (`ERR_INVALID_OPTION`), since it could not wait for the store; `ERR_NOT_READY` while that opens.
   */
  publishSync<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Receipt {
    const { publisher, drafter, publishChannel } = this.#core;
    try {
      this.#requireReady();
      if (!publishChannel.isActive) {
        const receipt =
          options === undefined ? publisher.acceptPlain(topic, data) : publisher.acceptSimple(topic, data, options);
        if (receipt !== null) return receipt;
      }
      const given = options ?? emptyOptions;
      for (const name of ["confirm", "transaction"] as const) {
        if ((given as PublishOptions)[name] !== undefined) throw notSync(name);
      }
      const publishNow = (): Receipt => {
        const draft = drafter.draft(topic, data, given);
        if (draft instanceof Promise) {
          draft.catch(() => undefined);
          throw notSync("an asynchronous schema");
        }
        if (draft.isStored) throw needsWait(topic);
        return publisher.acceptOne(draft, false).receipt;
      };
      return publishChannel.isActive ? publishChannel.trace({ topic, data, options }, publishNow) : publishNow();
    } catch (error) {
      publisher.counters.refused += 1;
      throw error;
    }
  }

  /**
   * Publishes several messages, to any topics: all of them, or none. Receipts come in the order of the entries.
   * Rejects with what `publish` would reject with for the first that is refused.
   */
  publishBatch(entries: readonly BatchEntry<Topics>[]): Promise<Receipt[]> {
    const { publishChannel } = this.#core;
    if (!publishChannel.isActive || !Array.isArray(entries)) return this.#publishing.publishBatch(entries);
    // A trace for each message; what the first of them starts publishes them all.
    let batch: Promise<Receipt[]> | null = null;
    const publishAll = (): Promise<Receipt[]> => (batch ??= this.#publishing.publishBatch(entries));
    const given = entries as readonly ({ topic: string; data: unknown } & PublishOptions)[];
    for (const [index, entry] of given.entries()) {
      const { topic, data, ...options } = { ...entry };
      void publishChannel.trace({ topic, data, options }, () => publishAll().then((receipts) => receipts[index]));
    }
    return publishAll();
  }

  /**
   * Resolves once everything published so far has reached the store's durability level; in memory, once it is decided.
   */
  async flush(): Promise<void> {
    this.#requireOpen();
    const { store } = this.#core;
    if (store === null) return this.#idle.whenDecided();
    await this.#opening;
    await store.flush();
  }

  /** Takes back a message that waits for its `delay` or `deliverAt`. Resolves to false where none with that id waits. */
  async cancel(id: string): Promise<boolean> {
    this.#requireOpen();
    const { delayed, memory, publisher, store } = this.#core;
    const message = delayed.cancel(id);
    if (message === undefined) return false;
    memory.release(message);
    publisher.counters.scheduledCancelled += 1;
    this.#idle.look();
    if (store?.publisher.isScheduled(message) === true) await store.publisher.forget(message);
    return true;
  }

  /**
   * Empties the broker and keeps its subscriptions: drops what is queued, in backoff, in flight, scheduled or retained,
   * and forgets every `dedupId`. Publishers that are held back go on. Dead letters stay; `deadLetters.purge()` is for those.
   *
   * Each copy dropped is counted under `purged`, each scheduled message as cancelled. A delivery that was in flight can no
   * longer be settled: that rejects with `ERR_DELIVERY_EXPIRED`. What a handler is doing goes on.
   *
   * With a store, durables go on after what they had, and retained and scheduled messages are removed from it. Its history
   * stays, and so do the dedup ids in it: this process takes them again, and one that opens the store later, within their
   * window, knows them.
   *
   * @returns how many copies and scheduled messages were dropped
   */
  purge(): number {
    this.#requireReady();
    const purged = purge(this.#core);
    this.#idle.look();
    return purged;
  }

  /**
   * Subscribes to a pattern, or to several without getting a message twice. With a handler, messages are pushed into it;
   * without one, iterate over the subscription or `fetch` from it.
   *
   * Throws `ERR_INVALID_PATTERN`, `ERR_INVALID_OPTION`, `ERR_LIMIT_EXCEEDED`, `ERR_MODULE_DISABLED`.
   *
   * @example
   * ```ts
   * broker.subscribe(["orders.*", "refunds.>"], async (msg) => bill(msg.data), { group: "billing", concurrency: 8 });
   * for await (const msg of broker.subscribe("logs.>", { signal })) console.log(msg.topic, msg.data);
   * ```
   */
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  subscribe(
    pattern: string | readonly string[],
    handlerOrOptions?: Handler<never> | SubscribeOptions<never>,
    options?: SubscribeOptions<never>,
  ): Subscription<never> {
    this.#requireOpen();
    const hasHandler = typeof handlerOrOptions === "function";
    if (!hasHandler && handlerOrOptions !== undefined && options !== undefined) {
      throw brokerError("ERR_INVALID_OPTION", `a handler must be a function; got ${quote(handlerOrOptions)}`);
    }
    const prepared = hasHandler
      ? this.#prepare(pattern, handlerOrOptions, options)
      : this.#prepare(pattern, undefined, handlerOrOptions === undefined ? options : handlerOrOptions);
    this.#core.registry.requireRoom(1);
    return this.#core.registry.add(prepared) as Subscription<never>;
  }

  /** Makes several subscriptions: all of them, or none. */
  subscribeBatch(entries: readonly SubscriptionEntry<Topics>[]): Subscription<MessageOf<Topics, string>>[] {
    this.#requireOpen();
    const { registry } = this.#core;
    if (!Array.isArray(entries)) {
      throw brokerError("ERR_INVALID_OPTION", `subscribeBatch takes an array; got ${quote(entries)}`);
    }
    const prepared = (entries as readonly SubscriptionEntry<Topics>[]).map((entry) => {
      if (typeof entry !== "object" || (entry as unknown) === null) {
        throw brokerError(
          "ERR_INVALID_OPTION",
          `an entry of a batch is { pattern, handler, ...options }; got ${quote(entry)}`,
        );
      }
      const { pattern, handler, ...options } = entry;
      return this.#prepare(pattern, handler, options);
    });
    registry.requireRoom(prepared.length);
    const names = prepared.flatMap(({ options: { name, group } }) =>
      group === undefined && name !== undefined ? [name] : [],
    );
    if (new Set(names).size < names.length) {
      throw brokerError("ERR_INVALID_OPTION", "two subscriptions of a batch have the same name; give each its own");
    }
    return prepared.map((one) => registry.add(one)) as unknown as Subscription<MessageOf<Topics, string>>[];
  }

  /**
   * Asks, and resolves to the data of the first answer.
   *
   * Rejects with `ERR_NO_RESPONDERS` at once where nobody subscribed, `ERR_TIMEOUT` after `timeout` (default 5,000 ms), and
   * `ERR_REMOTE` where the responder threw; its error is the `cause`.
   *
   * @example
   * ```ts
   * const sum = await broker.request<number>("math.add", { a: 1, b: 2 }, { timeout: 1_000 });
   * ```
   */
  async request<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestOptions = {},
  ): Promise<Answer> {
    this.#requireOpen();
    checkCallOptions("request", options, requestOptionNames);
    checkSignal(options.signal);
    const timeoutMs = duration("timeout", options.timeout, 5_000);
    const answer = await this.#core.requests.one(topic, timeoutMs, options.signal, (replyTo) =>
      this.#publishing.ask(topic, data, replyTo, options),
    );
    return answer.data as Answer;
  }

  /**
   * Asks, and yields the data of every answer until `max` have come or `timeout` (default 1,000 ms) is over, whichever is
   * first. Throws `ERR_NO_RESPONDERS` where nobody subscribed; the end of the time is no error.
   */
  async *requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options: RequestManyOptions = {},
  ): AsyncGenerator<Answer, void, undefined> {
    this.#requireOpen();
    checkCallOptions("requestMany", options, [...requestOptionNames, "max"]);
    checkSignal(options.signal);
    const timeoutMs = duration("timeout", options.timeout, 1_000);
    const max = count("max", options.max, Infinity);
    const answers = this.#core.requests.many(topic, max, timeoutMs, options.signal, (replyTo) =>
      this.#publishing.ask(topic, data, replyTo, options),
    );
    for await (const answer of answers) yield answer.data as Answer;
  }

  /**
   * Answers requests: what the handler returns is the answer, what it throws reaches the requester as `ERR_REMOTE`.
   * Several responders each answer; put them into a `group` to share the work. Runs up to 64 handlers at once by default.
   */
  respond<const Pattern extends string>(
    pattern: Pattern,
    handler: Handler<MessageOf<Topics, Pattern>>,
    options: SubscribeOptions<MessageOf<Topics, Pattern>> = {},
  ): Subscription<MessageOf<Topics, Pattern>> {
    const respondTo: Handler<MessageOf<Topics, Pattern>> = async (message) => {
      const request = message as Message<unknown>;
      try {
        const answer = await handler(message);
        if (request.replyTo !== undefined) await request.reply(answer === undefined ? null : answer);
      } catch (error) {
        if (request.replyTo === undefined) throw error;
        // What cannot travel is told by its text, or the requester would wait for its whole time.
        await this.#core
          .reply(request, error ?? null, {}, true)
          .catch(() => this.#core.reply(request, errorText(error), {}, true));
      }
    };
    return this.subscribe(pattern, respondTo, { ack: "none", concurrency: 64, ...options });
  }

  /** Acknowledges the delivery with that `deliveryId`. Rejects with `ERR_ALREADY_SETTLED` or `ERR_DELIVERY_EXPIRED`. */
  ack(deliveryId: string): Promise<void> {
    return this.#settle(deliveryId, (delivery) => delivery.ack());
  }

  /** Gives the delivery with that `deliveryId` back. */
  nack(deliveryId: string, options?: NackOptions): Promise<void> {
    return this.#settle(deliveryId, (delivery) => delivery.nack(options));
  }

  /** Gives up on the message of the delivery with that `deliveryId`. */
  reject(deliveryId: string, reason?: string): Promise<void> {
    return this.#settle(deliveryId, (delivery) => delivery.reject(reason));
  }

  /** Gives the delivery with that `deliveryId` `ms` milliseconds from now. */
  extend(deliveryId: string, ms: number): Promise<void> {
    return this.#settle(deliveryId, (delivery) => delivery.extend(ms));
  }

  /**
   * Runs `work` in a transaction: commits when it returns, rolls back when it throws.
   * Resolves to what `work` returned once everything is visible. Needs the broker option `transactions`.
   */
  async transaction<Result>(
    work: (tx: Transaction<Topics>) => Result | Promise<Result>,
    options: TransactionOptions = {},
  ): Promise<Result> {
    if (typeof work !== "function") {
      throw brokerError("ERR_INVALID_OPTION", `a transaction takes a function; got ${quote(work)}`);
    }
    const tx = this.beginTransaction(options);
    let result: Result;
    try {
      result = await work(tx);
    } catch (error) {
      // A transaction that is over already (timeout, explicit rollback) has nothing left to undo.
      await tx[Symbol.asyncDispose]();
      throw error;
    }
    await tx.commit();
    return result;
  }

  /**
   * Begins a transaction. Throws `ERR_TRANSACTION_EXISTS` where its id is taken, `ERR_MODULE_DISABLED` without the broker
   * option `transactions`.
   */
  beginTransaction(options: TransactionOptions = {}): Transaction<Topics> {
    this.#requireOpen();
    const transactions = this.#requireTransactions();
    checkCallOptions("a transaction", options, ["id", "timeout"]);
    const id = transactions.manager.begin(options.id, options.timeout);
    return {
      id,
      publish: (topic, data, given = {}) => {
        const { publishChannel } = this.#core;
        const stage = (): Promise<Receipt> => transactions.publish(id, topic, data, given);
        return publishChannel.isActive
          ? publishChannel.trace({ topic, data, options: { ...given, transaction: id } }, stage)
          : stage();
      },
      ack: (message) => transactions.ack(id, message),
      nack: (message, given) => transactions.nack(id, message, given),
      reject: (message, reason) => transactions.reject(id, message, reason),
      commit: () => this.commitTransaction(id),
      rollback: () => this.rollbackTransaction(id),
      [Symbol.asyncDispose]: () => {
        if (transactions.manager.isOpen(id)) transactions.manager.rollback(id);
        return fulfilled;
      },
    };
  }

  /** Commits the transaction with that id; see `Transaction.commit`. */
  async commitTransaction(id: string): Promise<void> {
    this.#requireOpen();
    if (this.#state === "opening") await this.#opening;
    await this.#requireTransactions().manager.commit(id);
  }

  /** Rolls the transaction with that id back; see `Transaction.rollback`. */
  async rollbackTransaction(id: string): Promise<void> {
    this.#requireNotClosed();
    this.#requireTransactions().manager.rollback(id);
  }

  /** What was given up on. Throws `ERR_MODULE_DISABLED` without the broker option `deadLetter`. */
  get deadLetters(): DeadLetters {
    const { deadLetters } = this.#core;
    if (deadLetters === null) throw moduleDisabled("deadLetters", "deadLetter");
    return deadLetters;
  }

  /** The retained messages of the topics that match, in the order they were published. */
  retained(pattern = ">"): MessageRecord[] {
    this.#requireNotClosed();
    const { retained, settings, clock } = this.#core;
    checkPattern(pattern, settings.limits);
    return retained.matching((topic) => matchesPattern(pattern, topic), clock.now()).map(messageRecord);
  }

  /**
   * Resolves once there is nothing to do: nothing queued, in flight, running or due, in what `topic` (a topic or pattern;
   * default everything) covers. Exact: it counts, and never polls. What is scheduled for later counts as done, unless
   * `scheduled` asks for it; a message in its backoff does not, unless `retries` is false.
   *
   * Rejects with `ERR_TIMEOUT` after `timeout` milliseconds (default: none), and says what is outstanding. While its store is being
   * opened it waits for that first.
   */
  idle(options: IdleOptions = {}): Promise<void> {
    if (this.#state === "open") return this.#idle.wait(options);
    return this.#state === "opening" ? this.#opening.then(() => this.idle(options)) : Promise.reject(closedError());
  }

  /**
   * The topics in use: published to lately, or subscribed to by name. Beyond 1,024 of them, a topic without a subscription of
   * its own counts from the second message on, unless `limits.maxTopics` is set.
   */
  topics(): TopicInfo[] {
    return topicsOf(this.#core);
  }

  /** The subscriptions; with `topic`, those that would receive a message published to it. */
  subscriptions(options: { readonly topic?: string | undefined } = {}): SubscriptionInfo[] {
    checkCallOptions("subscriptions", options, ["topic"]);
    return subscriptionsOf(this.#core, options.topic);
  }

  /** The first `limit` messages that wait in a subscription, in the order it would get them. Changes nothing. */
  peek(subscription: Subscription<Message<unknown>> | string, limit = 10): MessageRecord[] {
    this.#requireNotClosed();
    return peekAt(this.#core, subscription, limit);
  }

  /**
   * Reads history: what the store keeps of the topics that match, in the order of publishing over all of them. Without side
   * effects: nothing is delivered or settled. It ends with what was stored when it began; memory is bounded however long
   * the history is. Throws `ERR_MODULE_DISABLED` without the broker option `persistence`.
   *
   * @example
   * ```ts
   * for await (const msg of broker.replay("orders.>", { from: { time: Date.now() - 3600_000 } })) audit(msg);
   * ```
   */
  replay<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options: ReplayOptions = {},
  ): AsyncGenerator<MessageOf<Topics, Pattern>, void, undefined> {
    this.#requireOpen();
    const link = this.#requireStore("replay");
    const reader = new HistoryReader(this.#core, link);
    const patterns = reader.check(pattern, options);
    return reader.read(patterns, options, this.#opening) as AsyncGenerator<never, void, undefined>;
  }

  /**
   * History as an array, at most `limit` (default 1,000) messages of it. Rejects with `ERR_MODULE_DISABLED` without the broker
   * option `persistence`.
   */
  async recoverMessages<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options: ReplayOptions = {},
  ): Promise<MessageOf<Topics, Pattern>[]> {
    this.#requireOpen();
    const reader = new HistoryReader(this.#core, this.#requireStore("recoverMessages"));
    const patterns = reader.check(pattern, options);
    await this.#opening;
    return (await reader.collect(patterns, { ...options, limit: options.limit ?? 1_000 })) as MessageOf<
      Topics,
      Pattern
    >[];
  }

  /**
   * Delivers history to the subscriptions of today, marked as `redelivered`. Each message waits until full queues have room
   * for it; nothing is stored again. Resolves to how many. Rejects with `ERR_MODULE_DISABLED` without the broker option
   * `persistence`, and with the signal's reason where that ends it.
   */
  async replayMessages(pattern: string | readonly string[], options: ReplayMessagesOptions = {}): Promise<number> {
    this.#requireOpen();
    const reader = new HistoryReader(this.#core, this.#requireStore("replayMessages"));
    const patterns = reader.check(pattern, options, ["rate", "onProgress"]);
    await this.#opening;
    return this.#publishing.decide(reader.replay(patterns, options));
  }

  /** What opening the store found and did; undefined without a store, and until it is open. */
  get recoveryReport(): RecoveryReport | undefined {
    return this.#core.store?.recoveryReport;
  }

  /**
   * Copies the store into a folder, or into an archive where the name ends with `.zip`, while it is in use: everything
   * acknowledged before the call is in it. A restore is a copy back. Rejects with `ERR_INVALID_OPTION` where the target exists,
   * with `ERR_STORE_FULL` where there is no room for the copy, with `ERR_STORE_FAILED`, with the signal's reason, and with
   * `ERR_MODULE_DISABLED` without the broker option `persistence`; nothing is left of the copy then, and the store goes on.
   */
  async backup(target: string, options: WorkOptions = {}): Promise<BackupInfo> {
    this.#requireOpen();
    const link = this.#requireStore("backup");
    requireText("target", target);
    if (target.includes("\0")) throw invalid("target", "a path", target);
    checkWork(options);
    await this.#opening;
    await link.publisher.whenThrough();
    return link.store.backup(target, options);
  }

  /**
   * Gives back the disk space of what is settled, expired or beyond retention. That happens by itself; this does it at once.
   * Rejects with `ERR_STORE_FULL`, `ERR_STORE_FAILED`, the signal's reason (what was done by then stays done), and with
   * `ERR_MODULE_DISABLED` without the broker option `persistence`.
   */
  async compact(options: WorkOptions = {}): Promise<void> {
    this.#requireOpen();
    const link = this.#requireStore("compact");
    checkWork(options);
    await this.#opening;
    await link.store.compact(options);
  }

  /** The store in numbers; its files are looked at for it. Rejects with `ERR_MODULE_DISABLED` without one. */
  async storeStats(): Promise<StoreFigures> {
    this.#requireOpen();
    const link = this.#requireStore("storeStats");
    await this.#opening;
    return link.store.stats();
  }

  /** How the broker is; the worst of its checks. */
  health(): Health {
    return brokerHealth(this.#core, this.#state);
  }

  /**
   * Listens to an event. Listeners are called synchronously, and one that throws becomes an `error` event.
   * Errors that nobody listens for become process warnings, one a second at most.
   *
   * @example
   * ```ts
   * broker.on("dead-letter", (letter) => log.warn(`${letter.topic}: ${letter.reason}`));
   * ```
   */
  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#core.events.on(name, listener);
    return this;
  }

  /** Listens to the next event of that name, and to no more. */
  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#core.events.once(name, listener);
    return this;
  }

  /** Stops listening. Does nothing where `listener` was not added by `on`. */
  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this {
    this.#core.events.off(name, listener);
    return this;
  }

  /**
   * Tells an `error` event, as the broker does of its own: a warning of the process where nobody listens. For what is built on a
   * broker (a worker pool, a gateway) and fails with nobody to answer to. Does nothing once the broker is closed.
   *
   * @example
   * ```ts
   * upstream.on("error", (error) => broker.reportError(error, { during: "plugin" }));
   * ```
   */
  reportError(error: unknown, context: ErrorContext): void {
    if (this.#state !== "closed") this.#core.fail(error, context);
  }

  /**
   * Tells a `worker-lost` event. For what lends a broker to workers, as `exposeBroker` and `workerPool` of `inproc-broker/worker` do: they
   * call it. Returns whether anybody listens. Does nothing once the broker is closed.
   *
   * @example
   * ```ts
   * broker.on("worker-lost", ({ worker, reason, returned }) => log.warn(`a ${worker} is lost (${reason}); ${returned} came back`));
   * ```
   */
  reportWorkerLost(event: WorkerLostEvent): boolean {
    const { events } = this.#core;
    if (this.#state === "closed" || !events.has("worker-lost")) return false;
    events.emit("worker-lost", event);
    return true;
  }

  /**
   * Ends the broker: refuses what is new, waits until what is queued, in flight and in backoff is done, or until `timeout`,
   * and returns what is left. A durable's backlog is waited for while a handler takes it; what stays in the store is there the next
   * time, and `undelivered` has of it what was in memory. Then every waiter is rejected with `ERR_BROKER_CLOSED`, every iteration ends, and no timer is
   * left. A repeat returns the same result; every other operation throws `ERR_BROKER_CLOSED`.
   */
  close(options: CloseOptions = {}): Promise<CloseResult> {
    if (this.#closing !== null) return this.#closing;
    try {
      checkCallOptions("close", options, ["drain", "timeout"]);
      const { drain = true, timeout = 5_000 } = options;
      if (typeof drain !== "boolean") throw invalid("drain", "true or false", drain);
      this.#closing = this.#close(drain, timeout === Infinity ? timeout : delayMs("timeout", timeout));
      return this.#closing;
    } catch (error) {
      // Nothing has begun: the next call may do better.
      return Promise.reject(error);
    }
  }

  /** `close()` with its defaults: what `await using` calls. What was left undone is not told; call `close()` to know. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #publish(topic: string, data: unknown, options: PublishOptions | undefined): Promise<Receipt> {
    const { publisher, scheduler } = this.#core;
    try {
      if (this.#state !== "open") return this.#publishLater(topic, data, options);
      const receipt =
        options === undefined ? publisher.acceptPlain(topic, data) : publisher.acceptSimple(topic, data, options);
      if (receipt !== null) {
        // A publisher that never lets go of the thread would keep I/O waiting; it gets its answer a turn later.
        return scheduler.spend(1) ? scheduler.nextTurn().then(() => receipt) : Promise.resolve(receipt);
      }
      const held = options === undefined ? publisher.acceptHeld(topic, data) : null;
      if (held !== null) return held;
      return this.#publishing.publishFully(topic, data, options ?? emptyOptions);
    } catch (error) {
      publisher.counters.refused += 1;
      return Promise.reject(error);
    }
  }

  /** Waits for the store; refuses where the broker is closed. */
  #publishLater(topic: string, data: unknown, options: PublishOptions | undefined): Promise<Receipt> {
    if (this.#state !== "opening") throw closedError();
    if (this.#publishing.deciding >= this.#core.settings.limits.maxWaitingPublishers)
      throw tooManyHeld(topic, this.#publishing.deciding);
    return this.#publishing.decide(
      this.#opening.then(
        () => this.#publish(topic, data, options),
        (error: unknown) => {
          this.#core.publisher.counters.refused += 1;
          throw error;
        },
      ),
    );
  }

  async #open(store: StoreLink): Promise<void> {
    try {
      await store.open();
    } catch (error) {
      if (this.#state === "opening") await this.#fail(error);
      throw error;
    }
    if (this.#state !== "opening") throw closedError();
    this.#state = "open";
    store.begin();
  }

  /** The store cannot be opened: nothing will ever work. */
  async #fail(error: unknown): Promise<void> {
    const { registry } = this.#core;
    for (const queue of registry.queues) registry.closeBehind(queue, error);
    // Whoever waits for ready() is told; without a listener, the warning would say it twice.
    if (!this.#isAwaited || this.#core.events.has("error")) this.#core.fail(error, { during: "store" });
    await this.close({ drain: false });
  }

  #prepare(
    pattern: string | readonly string[],
    handler: Handler<never> | undefined,
    options: SubscribeOptions<never> = {},
  ): PreparedSubscription {
    if (handler !== undefined && typeof handler !== "function") {
      throw brokerError("ERR_INVALID_OPTION", `a handler must be a function; got ${quote(handler)}`);
    }
    return this.#core.registry.prepare(pattern, (handler as Process | undefined) ?? null, options);
  }

  #settle(deliveryId: string, decide: (delivery: Delivery) => Promise<void>): Promise<void> {
    if (this.#state === "closed") return quietRejection(closedError());
    let delivery: Delivery;
    try {
      delivery = this.#core.tracker.find(deliveryId);
    } catch (error) {
      return quietRejection(error as Error);
    }
    return decide(delivery);
  }

  /** Takes operations, or will once its store is open. */
  #requireOpen(): void {
    if (this.#state !== "open" && this.#state !== "opening") throw closedError();
  }

  #requireReady(): void {
    if (this.#state === "opening") throw notReady();
    this.#requireOpen();
  }

  #requireStore(what: string): StoreLink {
    const { store } = this.#core;
    if (store === null) throw moduleDisabled(what, "persistence");
    return store;
  }

  /** For what may still be looked at, or undone, while the broker drains. */
  #requireNotClosed(): void {
    if (this.#state === "closed") throw closedError();
  }

  #requireTransactions(): Transactions {
    if (this.#transactions === null) throw moduleDisabled("transactions", "transactions");
    return this.#transactions;
  }

  async #close(drain: boolean, timeoutMs: number): Promise<CloseResult> {
    const core = this.#core;
    const deadline = core.clock.monotonic() + timeoutMs;
    this.#state = "draining";
    core.deadLetters?.refuse("redrive", closedError());
    if (drain && timeoutMs > 0) await this.#idle.whenDrained(timeoutMs);
    this.#state = "closed";
    const closed = closedError();
    this.#transactions?.manager.close();
    // Before the queues are emptied, which would look like peace.
    this.#idle.fail(closed);
    const result = takeUnfinished(core, closed);
    const failures = await endParts(core, closed, deadline);
    if (failures.length > 0) throw new AggregateError(failures, "plugins or the store failed while the broker closed");
    return result;
  }
}

function closedError(): Error {
  return brokerError("ERR_BROKER_CLOSED", "the broker is closed (or closing); open a new one with InProcBroker.open");
}

function notReady(): Error {
  return brokerError("ERR_NOT_READY", "the broker's store is being opened; await broker.ready(), or InProcBroker.open");
}
