/**
 * inproc-broker: an embeddable message broker for Node.js.
 *
 * @packageDocumentation
 */

export { InProcBroker } from "./broker/in-proc-broker.js";
export type { BrokerState, SubscriptionEntry } from "./broker/in-proc-broker.js";
export type { SubscriptionInfo, TopicInfo } from "./broker/inventory.js";
export type {
  BatchEntry,
  Broker,
  BrokerSubscription,
  CloseOptions,
  CloseResult,
  Handler,
  MessageOf,
} from "./broker/broker.js";
export type { ReplayMessagesOptions, ReplayOptions } from "./broker/history.js";
export type { IdleOptions } from "./broker/idle.js";
export type {
  BackupInfo,
  Durability,
  HistoryPoint,
  Persistence,
  RecoveryReport,
  StoreFigures,
} from "./broker/store-port.js";
export type {
  AckOptions,
  BrokerOptions,
  LimitOptions,
  PayloadMode,
  PriorityOptions,
  PublishOptions,
  SubscribeOptions,
  SubscriptionDefaults,
} from "./broker/options.js";
export type { Plugin, PublishDraft } from "./broker/plugin.js";
export type { Receipt, SubscriptionReport } from "./broker/receipt.js";
export type { RequestManyOptions, RequestOptions } from "./broker/requests.js";
export type { StandardIssue, StandardResult, StandardSchema } from "./broker/schema.js";
export type { Transaction, TransactionOptions } from "./broker/transaction.js";
export type { PublishContext } from "./broker/core.js";
export type { SettleContext } from "./broker/observers.js";
export type { Decision } from "./delivery/ack-tracker.js";
export type {
  DeadLetter,
  DeadLetterChoice,
  DeadLetterFilter,
  DeadLetterListOptions,
  DeadLetterReason,
  DeadLetters,
  DeadLetterStats,
  RedriveOptions,
} from "./delivery/dead-letter.js";
export type { ExponentialBackoffOptions } from "./delivery/retry-policy.js";
export { exponentialBackoff, fixedBackoff } from "./delivery/retry-policy.js";
export type { AckMode } from "./dispatch/consumer.js";
export type { ProcessContext } from "./dispatch/ports.js";
export type { DropReason, OverflowPolicy } from "./dispatch/queue-facts.js";
export type {
  FetchOptions,
  SubscriptionState,
  SubscriptionStats,
  UnsubscribeOptions,
} from "./dispatch/subscription.js";
export { Subscription } from "./dispatch/subscription.js";
export type { RateLimit } from "./dispatch/token-bucket.js";
export type { BrokerErrorCode, ErrorFacts, SchemaIssue, SerializedBrokerError } from "./errors.js";
export {
  BrokerError,
  CapacityError,
  deserializeBrokerError,
  InvalidArgumentError,
  LifecycleError,
  ModuleDisabledError,
  RequestError,
  SchemaError,
  SettleError,
  StoreError,
  TimeoutError,
  TransactionError,
} from "./errors.js";
export type { Attempt, Backoff } from "./message/delivery.js";
export type { MessageFacts } from "./message/facts.js";
export { messageFacts } from "./message/facts.js";
export type { Headers } from "./message/headers.js";
export { messageId } from "./message/id.js";
export { messageRecord } from "./message/message.js";
export type { Message, MessageRecord, NackOptions, ReplyOptions } from "./message/message.js";
export type { Priority } from "./message/priority.js";
export type { AnyTopics, DataOf, TopicName, TopicOf, TopicsMatching } from "./message/typed-topics.js";
export type {
  BrokerEventName,
  BrokerEvents,
  BrokerListener,
  DropEvent,
  ErrorContext,
  ExpireEvent,
  RedeliverEvent,
  SlowConsumerEvent,
  WorkerLostEvent,
} from "./observe/events.js";
export type { Health, HealthCheck, HealthStatus } from "./observe/health.js";
export type { Metrics, MetricsSnapshot, StoreMetricsView } from "./observe/metrics.js";
export type { Clock } from "./platform/clock.js";
export type { Progress, WorkOptions } from "./platform/progress.js";
export type { Random } from "./platform/random.js";
export type { Dialect } from "./topic/grammar.js";
export { matchesPattern } from "./topic/grammar.js";
