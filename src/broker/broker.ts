import type { Subscription } from "../dispatch/subscription.js";
import type { Message, NackOptions } from "../message/message.js";
import type { AnyTopics, DataOf, TopicName, TopicsMatching } from "../message/typed-topics.js";
import type { BrokerEventName, BrokerListener } from "../observe/events.js";
import type { PublishOptions, SubscribeOptions } from "./options.js";
import type { Receipt } from "./receipt.js";
import type { RequestManyOptions, RequestOptions } from "./requests.js";

/** What a subscription to `Pattern` receives: one member of a union for each topic of the map it can match. */
export type MessageOf<Topics, Pattern extends string> =
  TopicsMatching<Topics, Pattern> extends infer Topic
    ? Topic extends string
      ? Message<DataOf<Topics, Topic>, Topic>
      : never
    : never;

/** What takes messages: returns (or resolves) for success, throws (or rejects) for failure. */
export type Handler<Received extends Message<unknown> = Message> = (message: Received) => unknown;

/** One message of a batch. */
export type BatchEntry<Topics = AnyTopics> = {
  [Topic in TopicName<Topics>]: { readonly topic: Topic; readonly data: DataOf<Topics, Topic> } & PublishOptions;
}[TopicName<Topics>];

/** How to end a broker. */
export interface CloseOptions {
  /** Wait for what is queued, in flight and in backoff; default true. */
  readonly drain?: boolean;
  /** Milliseconds that may take; default 5,000. */
  readonly timeout?: number;
}

/** What a broker could not finish before it closed. A message that two subscriptions were to get is there twice. */
export interface CloseResult {
  /** Queued, in backoff, or waiting for their `delay`. */
  readonly undelivered: readonly Message[];
  /** Handed to a consumer, and not settled. */
  readonly unacked: readonly Message[];
}

/**
 * What every implementation can do: the in-process broker, its client in a worker, and later the distributed engines.
 * A program written against it runs on any of them.
 */
export interface Broker<Topics = AnyTopics> extends AsyncDisposable {
  publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt>;
  publishBatch(entries: readonly BatchEntry<Topics>[]): Promise<Receipt[]>;
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  subscribe<const Pattern extends string>(
    pattern: Pattern | readonly Pattern[],
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  request<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: RequestOptions,
  ): Promise<Answer>;
  requestMany<Answer = unknown, Topic extends TopicName<Topics> = TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: RequestManyOptions,
  ): AsyncIterableIterator<Answer>;
  respond<const Pattern extends string>(
    pattern: Pattern,
    handler: Handler<MessageOf<Topics, Pattern>>,
    options?: SubscribeOptions<MessageOf<Topics, Pattern>>,
  ): Subscription<MessageOf<Topics, Pattern>>;
  ack(deliveryId: string): Promise<void>;
  nack(deliveryId: string, options?: NackOptions): Promise<void>;
  reject(deliveryId: string, reason?: string): Promise<void>;
  extend(deliveryId: string, ms: number): Promise<void>;
  flush(): Promise<void>;
  close(options?: CloseOptions): Promise<CloseResult>;
  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): this;
}
