import type { DeadLetterReason } from "../delivery/dead-letter.js";
import type { AckMode } from "../dispatch/consumer.js";
import type { OverflowPolicy } from "../dispatch/queue-facts.js";
import type { RateLimit } from "../dispatch/token-bucket.js";
import type { Backoff } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import type { Priority } from "../message/priority.js";
import type { Clock } from "../platform/clock.js";
import type { Random } from "../platform/random.js";
import type { Plugin } from "./plugin.js";
import type { StandardSchema } from "./schema.js";
import type { Durability, HistoryPoint, Persistence } from "./store-port.js";

/** What a consumer may do to a message's data. */
export type PayloadMode =
  /** Everyone shares the publisher's object; nobody should change it. The fastest. */
  | "reference"
  /** Everyone gets a copy of his own (structured clone). */
  | "clone"
  /** Everyone shares one object, frozen all the way down. */
  | "freeze";

/** The bounds of a subscription's queue. */
export interface SubscriptionDefaults {
  /** Messages that may wait; default 1,024. */
  readonly maxMessages?: number | undefined;
  /** Bytes that may wait; default 16 MiB. */
  readonly maxBytes?: number | undefined;
  /** What happens to a message that finds the queue full; default `"wait"`: its publisher is held back. */
  readonly overflow?: OverflowPolicy | undefined;
}

/** How deliveries are acknowledged. */
export interface AckOptions {
  /** Milliseconds a consumer has to settle a delivery; default 30,000. */
  readonly timeout?: number | undefined;
  /** Hand-overs of a message to a subscription before it is given up; default 5. */
  readonly maxDeliveries?: number | undefined;
  /** How long a message waits before it is delivered again; default `exponentialBackoff()`. */
  readonly backoff?: Backoff | undefined;
}

/** Bounds of the broker as a whole. What would exceed one is refused before anything changes. */
export interface LimitOptions {
  /** Topics known at once; absent: no limit, since memory is bounded without it. */
  readonly maxTopics?: number | undefined;
  /** Milliseconds without a publish after which a topic makes room for another under `maxTopics`; default 60,000. */
  readonly topicIdle?: number | undefined;
  /** Default 1,000,000. */
  readonly maxSubscriptions?: number | undefined;
  /** UTF-16 code units; default 1,024. */
  readonly maxTopicLength?: number | undefined;
  /** Tokens of a topic or pattern; default 32. */
  readonly maxTokens?: number | undefined;
  /** Bytes of data, headers and key together; default 8 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Messages that wait for their `delay` or `deliverAt`; default 1,000,000. */
  readonly maxDelayed?: number | undefined;
  /** Topics with a retained message; default 10,000. */
  readonly maxRetained?: number | undefined;
  /** Publishers held back at once by full queues; default 65,536. */
  readonly maxWaitingPublishers?: number | undefined;
}

/** How what waits is ordered, besides by priority. */
export interface PriorityOptions {
  /** Milliseconds of waiting that lift a message by one priority, so that a low one is not starved. Absent: never. */
  readonly aging?: number | undefined;
}

/** Settings of an `InProcBroker`. All durations are milliseconds. */
export interface BrokerOptions {
  /** Partitions of the topic space, a power of two; default 16. */
  readonly shards?: number | undefined;
  /** The bounds of every subscription that names none of its own. */
  readonly subscription?: SubscriptionDefaults | undefined;
  /** Bytes of messages held at once; default 512 MiB. A publish beyond it is refused with `ERR_MEMORY_LIMIT`. */
  readonly memory?:
    | {
        /** Default 512 MiB. A message counts once, however many queues hold it. */
        readonly maxBytes?: number | undefined;
        /** What happens to a publish beyond it; `"reject"` is the one policy there is. */
        readonly onLimit?: "reject" | undefined;
      }
    | undefined;
  /** Time to live of messages that name none; absent: they do not expire. */
  readonly ttl?:
    | {
        /** Milliseconds from publish; of a delayed message, from when it is due. */
        readonly default?: number | undefined;
      }
    | undefined;
  /** Acknowledgement for every subscription; absent: at most once, unless a subscription asks. */
  readonly ack?: AckOptions | undefined;
  /** How long and how many a `dedupId` is remembered; default 120,000 ms and 100,000. */
  readonly dedup?:
    | {
        /** Milliseconds; default 120,000. */
        readonly window?: number | undefined;
        /** Default 100,000; beyond it the oldest is forgotten. */
        readonly maxEntries?: number | undefined;
      }
    | undefined;
  /** Turns transactions on; `{}` takes the defaults. */
  readonly transactions?:
    | {
        /** Milliseconds until one is rolled back by itself; default 30,000. */
        readonly timeout?: number | undefined;
        /** Open at once; default 10,000. */
        readonly maxOpen?: number | undefined;
        /** In one transaction; default 100,000. */
        readonly maxOperations?: number | undefined;
      }
    | undefined;
  /** Keeps what is given up on; `{}` takes the defaults. Absent: it is dropped, counted and told by a `drop` event. */
  readonly deadLetter?:
    | {
        /** Where dead letters are published too; default `"dlq"`. */
        readonly topic?: string | undefined;
        /** Default 10,000; beyond it the oldest goes. */
        readonly maxMessages?: number | undefined;
        /** Default 64 MiB. */
        readonly maxBytes?: number | undefined;
        /** Default 14 days. */
        readonly maxAge?: number | undefined;
        /** What is kept; default all. Leave `expired` or `overflow` out where those losses are wanted, and many. */
        readonly reasons?: readonly DeadLetterReason[] | undefined;
      }
    | undefined;
  /** Ordering of what waits: absent, priorities are strict. */
  readonly priority?: PriorityOptions | undefined;
  /** Bounds on numbers and sizes; each has a default. */
  readonly limits?: LimitOptions | undefined;
  /** Validators by topic or pattern. */
  readonly schemas?: Readonly<Record<string, StandardSchema>> | undefined;
  /**
   * A store: messages of its topics survive a crash, and durable subscriptions, `from` in the past and `replay` work.
   * `levelPersistence({ path })` of `inproc-broker/persistence` makes one.
   */
  readonly persistence?: Persistence | undefined;
  /** What sees messages pass, and may alter or veto a publish; called in this order. */
  readonly plugins?: readonly Plugin[] | undefined;
  /** Default `"reference"`. */
  readonly payloads?: PayloadMode | undefined;
  /** Where time comes from; default the machine's. A test passes one that it moves. */
  readonly clock?: Clock | undefined;
  /** Where chance comes from (jitter, ids); default `Math.random`. A test passes one with a seed. */
  readonly random?: Random | undefined;
}

/** Settings of one subscription. */
export interface SubscribeOptions<Received extends Message<unknown> = Message> extends SubscriptionDefaults {
  /** Its name in statistics, events and dead letters; default a number of its own. */
  readonly name?: string | undefined;
  /** Members of a group compete: each message goes to one of them. */
  readonly group?: string | undefined;
  /**
   * A position that survives a restart, under this name. Subscriptions of one name share it and compete. Needs the broker
   * option `persistence`, and patterns within its `topics`.
   */
  readonly durable?: string | undefined;
  /**
   * Where to begin; default `"new"`. `"last"`: the retained messages first. In the past (needs `persistence`): `"oldest"`,
   * a message number, or a time; one that is still to come means `"new"`. A durable that exists goes on where it stopped,
   * whatever this says.
   */
  readonly from?: "new" | "last" | "oldest" | HistoryPoint | undefined;
  /** When a delivery counts as done. */
  readonly ack?: AckMode | undefined;
  /** Milliseconds to settle a delivery; default the broker's `ack.timeout` (30,000). */
  readonly ackTimeout?: number | undefined;
  /** Hand-overs of a message before it is given up; default the broker's `ack.maxDeliveries` (5). */
  readonly maxDeliveries?: number | undefined;
  /** Wait before a message is delivered again; default the broker's `ack.backoff`. */
  readonly backoff?: Backoff | undefined;
  /** Deliveries it may hold unsettled; default 64. */
  readonly maxInFlight?: number | undefined;
  /** Handlers running at once; default 1. */
  readonly concurrency?: number | undefined;
  /** Parallel across keys, one at a time within a key, in order, also through redelivery. */
  readonly orderBy?: "key" | undefined;
  /** Messages it returns false for are not for this subscription. Called while publishing; keep it cheap. */
  readonly filter?: ((message: Received) => boolean) | undefined;
  /** How fast messages are handed to it; what waits for that stays in the queue, within its bounds. */
  readonly rateLimit?: RateLimit | undefined;
  /** How what waits here is ordered; default as the broker's `priority`. */
  readonly priority?: PriorityOptions | undefined;
  /** Milliseconds after which the subscription ends, unless it is renewed. */
  readonly ttl?: number | undefined;
  /**
   * Milliseconds between automatic renewals of `ttl`, for as long as the consumer makes progress or has nothing to do.
   * Absent: only `subscription.heartbeat()` renews.
   */
  readonly heartbeat?: number | undefined;
  /** Ends the subscription; an iteration over it ends without an error. */
  readonly signal?: AbortSignal | undefined;
}

/** Settings of one publish. */
export interface PublishOptions {
  /** Kept where given; else made, sorting by time. */
  readonly id?: string | undefined;
  /** What `orderBy: "key"` goes by. */
  readonly key?: string | undefined;
  /** Strings by name; several values of one name are joined with `, `, as in HTTP. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>> | undefined;
  /** 0 (lowest) to 9 (highest), or a name: `lowest` 0, `low` 2, `normal` 4, `high` 7, `highest` 9. Default 4. */
  readonly priority?: Priority | undefined;
  /** Milliseconds until it expires, counted from publish, also where it is delayed; default the broker's `ttl.default`. */
  readonly ttl?: number | undefined;
  /** When it expires, in milliseconds since 1970 or a Date. */
  readonly expiresAt?: number | Date | undefined;
  /** Milliseconds until it is delivered. */
  readonly delay?: number | undefined;
  /** When it is delivered, in milliseconds since 1970 or a Date. */
  readonly deliverAt?: number | Date | undefined;
  /** A second publish under the same id within the window is not delivered. */
  readonly dedupId?: string | undefined;
  /**
   * Resolves only once so many subscriptions have acknowledged it. Where none would get it, it is not published:
   * `ERR_NO_RESPONDERS` at once.
   */
  readonly confirm?: number | undefined;
  /** Milliseconds to wait for `confirm`; default 5,000, then `ERR_TIMEOUT`. */
  readonly confirmTimeout?: number | undefined;
  /** What has to have happened before the promise resolves; default the store's. Without a store, `"memory"` is the one there is. */
  readonly durability?: Durability | undefined;
  /** Keeps it as the topic's last message, from when it is delivered; `null` data clears that. */
  readonly retain?: boolean | undefined;
  /** Adds to the receipt what became of it in each subscription. */
  readonly report?: boolean | undefined;
  /** Stages it in an open transaction. */
  readonly transaction?: string | undefined;
  /** The topic answers go to. */
  readonly replyTo?: string | undefined;
  /** Links an answer to its request; `request` sets it. */
  readonly correlationId?: string | undefined;
  /** Ends the wait for a full queue or for confirms: rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}
