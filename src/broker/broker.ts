import type { Subscription } from "../dispatch/subscription.js";
import type { Message, NackOptions } from "../message/message.js";
import type { AnyTopics, DataOf, TopicName, TopicOf, TopicsMatching } from "../message/typed-topics.js";
import type { BrokerEventName, BrokerListener, ErrorContext, WorkerLostEvent } from "../observe/events.js";
import type { PublishOptions, SubscribeOptions } from "./options.js";
import type { Receipt } from "./receipt.js";
import type { RequestManyOptions, RequestOptions } from "./requests.js";

/** What a subscription to `Pattern` receives: one member of a union for each topic of the map it can match. */
export type MessageOf<Topics, Pattern extends string> = Pattern extends string
  ? MessagesOf<Topics, Pattern, TopicsMatching<Topics, Pattern>>
  : never;

type MessagesOf<Topics, Pattern extends string, Key> = Key extends string
  ? Message<DataOf<Topics, Key>, TopicOf<Key, Pattern>>
  : never;

/** What takes messages: returns (or resolves) for success, throws (or rejects) for failure. */
export type Handler<Received extends Message<unknown> = Message> = (message: Received) => unknown;

/**
 * A subscription of any implementation of `Broker`: what a `Subscription` can do, whatever it is made of. In a worker it is
 * the client's own class.
 */
export type BrokerSubscription<Received extends Message<unknown> = Message> = Pick<
  Subscription<Received>,
  Exclude<keyof Subscription, "consumer" | "close" | "whenFilled">
> &
  Partial<Pick<Subscription, "whenFilled">>;

/** One message of a batch. */
export type BatchEntry<Topics = AnyTopics> = {
  [Topic in TopicName<Topics>]: {
    /** Where it is published to. */
    readonly topic: Topic;
    /** Its payload. */
    readonly data: DataOf<Topics, Topic>;
  } & PublishOptions;
}[TopicName<Topics>];

/** How to end a broker. */
export interface CloseOptions {
  /** Wait for what is queued, in flight and in backoff; default true. */
  readonly drain?: boolean | undefined;
  /** Milliseconds that may take; default 5,000. With 0 nothing is waited for, as without `drain`. */
  readonly timeout?: number | undefined;
}

/**
 * What a broker could not finish before it closed. A message that two subscriptions were to get is there twice. With a store,
 * what durables have in flight and what is delayed is here too, and comes again; the rest of a durable's backlog is not here.
 */
export interface CloseResult {
  /** Queued, in backoff, or waiting for their `delay`. Of a durable, what of its backlog was in memory: it is in the store as well. */
  readonly undelivered: readonly Message[];
  /** Handed to a consumer, and not settled. A durable's come again. */
  readonly unacked: readonly Message[];
}

/**
 * What every implementation can do: the in-process broker, its client in a worker, and later the distributed engines.
 * A program written against it runs on any of them.
 */
export interface Broker<Topics = AnyTopics> extends AsyncDisposable {
  /**
   * Publishes a message to every subscription and group that matches its topic. Resolves once every matching queue has it
   * within its bounds (and `confirm` is met); a refusal means that nobody got it.
   */
  publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt>;
  /** Publishes several messages, to any topics: all of them, or none. Receipts come in the order of the entries. */
  publishBatch(entries: readonly BatchEntry<Topics>[]): Promise<Receipt[]>;
  /** Subscribes without a handler: iterate over the subscription, or `fetch` from it. */
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): BrokerSubscription<MessageOf<Topics, Pattern>>;
  /** Subscribes with a handler that messages are pushed into. */
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): BrokerSubscription<MessageOf<Topics, Pattern>>;
  /** Asks, and resolves to the data of the first answer. Rejects with `ERR_NO_RESPONDERS`, `ERR_TIMEOUT` or `ERR_REMOTE`. */
  request<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: RequestOptions,
  ): Promise<Answer>;
  /** Asks, and yields the data of every answer until `max` have come or the time is over. */
  requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: RequestManyOptions,
  ): AsyncIterableIterator<Answer>;
  /** Answers requests: what the handler returns is the answer, what it throws reaches the requester as `ERR_REMOTE`. */
  respond<const Pattern extends string>(
    pattern: Pattern,
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): BrokerSubscription<MessageOf<Topics, Pattern>>;
  /** Acknowledges the delivery with that `deliveryId`. Rejects with `ERR_ALREADY_SETTLED` or `ERR_DELIVERY_EXPIRED`. */
  ack(deliveryId: string): Promise<void>;
  /** Gives the delivery with that `deliveryId` back, to be delivered again. Rejects as `ack` does. */
  nack(deliveryId: string, options?: NackOptions): Promise<void>;
  /** Gives up on the message of the delivery with that `deliveryId`. Rejects as `ack` does. */
  reject(deliveryId: string, reason?: string): Promise<void>;
  /** Gives the delivery with that `deliveryId` `ms` milliseconds from now. Rejects as `ack` does. */
  extend(deliveryId: string, ms: number): Promise<void>;
  /** Resolves once everything published so far has reached the level of durability it asked for. */
  flush(): Promise<void>;
  /**
   * Refuses what is new, finishes what it can within the time, and returns what is left. A repeat returns the same result; every
   * other operation fails with `ERR_BROKER_CLOSED`.
   */
  close(options?: CloseOptions): Promise<CloseResult>;
  /** Listens to an event. */
  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
  /** Listens to the next event of that name, and to no more. */
  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
  /** Stops listening. Does nothing where `listener` was not added. */
  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
  /** Tells an `error` event, for what is built on the broker; absent where an implementation has none of its own. */
  reportError?(error: unknown, context: ErrorContext): void;
  /**
   * Tells a `worker-lost` event, for what lends the broker to workers; absent where an implementation has none of its own. Returns whether
   * anybody listens.
   */
  reportWorkerLost?(event: WorkerLostEvent): boolean;
}
