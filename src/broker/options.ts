import type { DeadLetterReason } from "../delivery/dead-letters.js";
import { deadLetterReasons } from "../delivery/dead-letters.js";
import { exponentialBackoff } from "../delivery/retry-policy.js";
import type { AckMode, ConsumerSettings } from "../dispatch/consumer.js";
import type { OverflowPolicy, QueueSettings } from "../dispatch/queue-facts.js";
import type { RateLimit } from "../dispatch/token-bucket.js";
import { brokerError, quote } from "../errors.js";
import type { Backoff } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import type { Priority } from "../message/priority.js";
import type { Clock } from "../platform/clock.js";
import type { Random } from "../platform/random.js";
import { checkPattern, checkTopic } from "../topic/grammar.js";
import type { Plugin } from "./plugin.js";
import type { Durability, HistoryPoint, Persistence } from "./store-port.js";
import { durabilities } from "./store-port.js";
import type { StandardSchema } from "./schema.js";
import { isStandardSchema } from "./schema.js";

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
        /** What is kept; default `max-deliveries`, `rejected` and `handler-error`. */
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
   * a message number, or a time. A durable that exists goes on where it stopped, whatever this says.
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
  /** Keeps it as the topic's last message; `null` data clears that. */
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

/** Options of which each has a value. */
type Complete<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

/** Broker settings, complete and checked. */
export interface Settings {
  readonly shards: number;
  readonly subscription: Complete<SubscriptionDefaults>;
  readonly memoryMaxBytes: number;
  readonly ttlMs: number;
  readonly acknowledges: boolean;
  readonly ack: Complete<AckOptions>;
  readonly dedup: { readonly windowMs: number; readonly maxEntries: number };
  readonly transactions: {
    readonly timeoutMs: number;
    readonly maxOpen: number;
    readonly maxOperations: number;
  } | null;
  readonly deadLetter: {
    readonly topic: string;
    readonly maxMessages: number;
    readonly maxBytes: number;
    readonly maxAgeMs: number;
    readonly reasons: ReadonlySet<DeadLetterReason>;
  } | null;
  readonly agingMs: number;
  readonly limits: Complete<LimitOptions>;
  readonly schemas: Readonly<Record<string, StandardSchema>>;
  readonly plugins: readonly Plugin[];
  readonly payloads: PayloadMode;
  readonly persistence: Persistence | null;
}

const day = 24 * 3600 * 1000;
const mebibyte = 2 ** 20;

const brokerKeys = [
  "shards",
  "subscription",
  "memory",
  "ttl",
  "ack",
  "dedup",
  "transactions",
  "deadLetter",
  "priority",
  "limits",
  "schemas",
  "plugins",
  "payloads",
  "persistence",
  "clock",
  "random",
];

const subscriptionDefaultKeys = ["maxMessages", "maxBytes", "overflow"];

const subscribeKeys = new Set([
  ...subscriptionDefaultKeys,
  "name",
  "group",
  "durable",
  "from",
  "ack",
  "ackTimeout",
  "maxDeliveries",
  "backoff",
  "maxInFlight",
  "concurrency",
  "orderBy",
  "filter",
  "rateLimit",
  "priority",
  "ttl",
  "heartbeat",
  "signal",
]);

const publishKeys = new Set([
  "id",
  "key",
  "headers",
  "priority",
  "ttl",
  "expiresAt",
  "delay",
  "deliverAt",
  "dedupId",
  "confirm",
  "confirmTimeout",
  "durability",
  "retain",
  "report",
  "transaction",
  "replyTo",
  "correlationId",
  "signal",
]);

const overflowPolicies = ["wait", "drop-oldest", "drop-newest", "error", "close"] as const;

/** Checks the broker's options and fills in the defaults. Throws `ERR_INVALID_OPTION`. */
export function brokerSettings(options: BrokerOptions): Settings {
  requireObject("options", options);
  refuseUnknown("", options, new Set(brokerKeys));
  const shards = options.shards ?? 16;
  if (!Number.isInteger(shards) || shards < 1 || shards > 1024 || (shards & (shards - 1)) !== 0) {
    throw invalid("shards", "a power of two from 1 to 1024", shards);
  }
  const limits = section("limits", options.limits, [
    "maxTopics",
    "topicIdle",
    "maxSubscriptions",
    "maxTopicLength",
    "maxTokens",
    "maxMessageBytes",
    "maxDelayed",
    "maxRetained",
    "maxWaitingPublishers",
  ]);
  const topicLimits = {
    maxTopicLength: count("limits.maxTopicLength", limits.maxTopicLength, 1024),
    maxTokens: count("limits.maxTokens", limits.maxTokens, 32),
  };
  const memory = section("memory", options.memory, ["maxBytes", "onLimit"]);
  oneOf("memory.onLimit", memory.onLimit ?? "reject", ["reject"]);
  const ttl = section("ttl", options.ttl, ["default"]);
  const ack = section("ack", options.ack, ["timeout", "maxDeliveries", "backoff"]);
  const dedup = section("dedup", options.dedup, ["window", "maxEntries"]);
  const payloads = options.payloads ?? "reference";
  oneOf("payloads", payloads, ["reference", "clone", "freeze"]);
  const clock: unknown = options.clock;
  if (clock !== undefined) {
    requireObject("clock", clock);
    for (const method of ["now", "monotonic", "schedule"] as const) {
      requireFunction(`clock.${method}`, (clock as Record<string, unknown>)[method]);
    }
  }
  if (options.random !== undefined) requireFunction("random", options.random);
  return {
    shards,
    subscription: subscriptionDefaults(
      "subscription.",
      section("subscription", options.subscription, subscriptionDefaultKeys),
      { maxMessages: 1024, maxBytes: 16 * mebibyte, overflow: "wait" },
    ),
    memoryMaxBytes: count("memory.maxBytes", memory.maxBytes, 512 * mebibyte),
    ttlMs: duration("ttl.default", ttl.default, Infinity),
    acknowledges: options.ack !== undefined,
    ack: {
      timeout: duration("ack.timeout", ack.timeout, 30_000),
      maxDeliveries: count("ack.maxDeliveries", ack.maxDeliveries, 5),
      backoff: backoff("ack.backoff", ack.backoff, exponentialBackoff()),
    },
    dedup: {
      windowMs: duration("dedup.window", dedup.window, 120_000),
      maxEntries: count("dedup.maxEntries", dedup.maxEntries, 100_000),
    },
    transactions: transactionSettings(options.transactions),
    deadLetter: deadLetterSettings(options.deadLetter, topicLimits),
    agingMs: agingMs(options.priority, 0),
    limits: {
      ...topicLimits,
      maxTopics: count("limits.maxTopics", limits.maxTopics, Infinity),
      topicIdle: duration("limits.topicIdle", limits.topicIdle, 60_000),
      maxSubscriptions: count("limits.maxSubscriptions", limits.maxSubscriptions, 1_000_000),
      maxMessageBytes: count("limits.maxMessageBytes", limits.maxMessageBytes, 8 * mebibyte),
      maxDelayed: count("limits.maxDelayed", limits.maxDelayed, 1_000_000),
      maxRetained: count("limits.maxRetained", limits.maxRetained, 10_000),
      maxWaitingPublishers: count("limits.maxWaitingPublishers", limits.maxWaitingPublishers, 65_536),
    },
    schemas: checkSchemas(options.schemas, topicLimits),
    plugins: checkPlugins(options.plugins),
    payloads,
    persistence: checkPersistence(options.persistence),
  };
}

/** Checks a subscription's options and fills in the broker's defaults. */
export function subscribeSettings(
  options: SubscribeOptions<never>,
  isPush: boolean,
  broker: Settings,
): { queue: QueueSettings; consumer: ConsumerSettings } {
  requireObject("subscribe options", options);
  refuseUnknown("", options, subscribeKeys);
  checkHistory(options, broker.persistence !== null);
  for (const name of ["name", "group"] as const) {
    if (options[name] !== undefined) requireText(name, options[name]);
  }
  const isKept = options.durable !== undefined || isPast(options.from);
  if (isKept && options.overflow !== undefined && options.overflow !== "wait") {
    throw invalid("overflow", "left out: what does not fit stays in the store", options.overflow);
  }
  const bounds = subscriptionDefaults("", options, broker.subscription);
  const acknowledges = broker.acknowledges || options.durable !== undefined;
  const ack = options.ack ?? (acknowledges ? (isPush ? "auto" : "manual") : "none");
  oneOf("ack", ack, ["none", "auto", "manual"]);
  if (options.orderBy !== undefined) oneOf("orderBy", options.orderBy, ["key"]);
  if (options.filter !== undefined) requireFunction("filter", options.filter);
  if (options.ttl !== undefined) duration("ttl", options.ttl, 0);
  if (options.heartbeat !== undefined) {
    duration("heartbeat", options.heartbeat, 0);
    if (options.ttl === undefined) throw invalid("heartbeat", "given together with ttl", options.heartbeat);
  }
  checkSignal(options.signal);
  return {
    queue: {
      maxMessages: bounds.maxMessages,
      maxBytes: bounds.maxBytes,
      overflow: isKept ? "wait" : bounds.overflow,
      isOrderedByKey: options.orderBy === "key",
      agingMs: agingMs(options.priority, broker.agingMs),
      filter: (options.filter as QueueSettings["filter"] | undefined) ?? null,
      maxDeliveries: count("maxDeliveries", options.maxDeliveries, broker.ack.maxDeliveries),
      backoff: backoff("backoff", options.backoff, broker.ack.backoff),
    },
    consumer: {
      ack,
      ackTimeoutMs: duration("ackTimeout", options.ackTimeout, broker.ack.timeout),
      maxInFlight: count("maxInFlight", options.maxInFlight, 64),
      concurrency: count("concurrency", options.concurrency, 1),
      rateLimit: rateLimit(options.rateLimit),
    },
  };
}

/** Refuses publish options nobody knows, before any of them is used. */
export function checkPublishOptions(options: unknown, hasStore: boolean): asserts options is PublishOptions {
  requireObject("publish options", options);
  refuseUnknown("", options, publishKeys);
  const { durability, signal } = options as { durability?: unknown; signal?: unknown };
  if (durability !== undefined && durability !== "memory") {
    oneOf("durability", durability, durabilities);
    if (!hasStore) throw moduleDisabled(`durability ${quote(durability)}`, "persistence");
  }
  checkSignal(signal);
}

/** What to write, where an empty object would not do. */
const howToEnable: Readonly<Record<string, string>> = {
  persistence: 'persistence: levelPersistence({ path: "./data" }), from "inproc-broker/persistence"',
};

/** The error of a feature whose option was not given. */
export function moduleDisabled(feature: string, option: string): Error {
  return brokerError(
    "ERR_MODULE_DISABLED",
    `${feature} needs the broker option ${quote(option)}: pass it to InProcBroker.open or new InProcBroker, as ${howToEnable[option] ?? `${option}: {}`}`,
    { option },
  );
}

/** Milliseconds since 1970 of a date given either way. */
export function dateMs(name: string, value: unknown): number {
  const ms =
    typeof value === "object" && value !== null && "getTime" in value && typeof value.getTime === "function"
      ? (value.getTime as () => unknown)()
      : value;
  if (typeof ms !== "number" || !Number.isFinite(ms)) {
    throw invalid(name, "a date: milliseconds since 1970, or a Date", value);
  }
  return ms;
}

export function duration(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !(value > 0)) throw invalid(name, "more than 0 milliseconds", value);
  return value;
}

/** A duration that may be nothing. */
export function delayMs(name: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value === Infinity) {
    throw invalid(name, "0 or more milliseconds", value);
  }
  return value;
}

export function count(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (value === Infinity) return Infinity;
  if (!Number.isInteger(value) || (value as number) < 1) throw invalid(name, "an integer from 1", value);
  return value as number;
}

/** Ids and names are kept in tables that are bounded by count, so they must be bounded too. */
const maxTextLength = 1_024;

export function requireText(name: string, value: unknown): asserts value is string {
  if (typeof value !== "string" || value === "") throw invalid(name, "a text that is not empty", value);
  if (value.length > maxTextLength) {
    throw invalid(name, `at most ${maxTextLength} characters, of which this has ${value.length}`, value);
  }
}

export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== "function") throw invalid(name, "a function", value);
}

export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid("signal", "an AbortSignal", signal);
}

export function invalid(name: string, wanted: string, value: unknown): Error {
  return brokerError("ERR_INVALID_OPTION", `option ${name} must be ${wanted}; got ${quote(value)}`, {
    option: name,
  });
}

function requireObject(name: string, value: unknown): asserts value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(name, "an object", value);
  }
}

function refuseUnknown(prefix: string, options: object, known: ReadonlySet<string>): void {
  for (const name in options) {
    if (known.has(name)) continue;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `there is no option ${quote(prefix + name)}; known are ${[...known].join(", ")}`,
      { option: prefix + name },
    );
  }
}

function checkHistory(options: { durable?: unknown; from?: unknown }, hasStore: boolean): void {
  const { durable, from } = options;
  if (durable !== undefined) {
    if (!hasStore) throw moduleDisabled("a durable subscription", "persistence");
    requireText("durable", durable);
    if (durable.startsWith(historyPrefix)) throw invalid("durable", "a name without a control character", durable);
  }
  if (from === undefined || from === "new" || from === "last") return;
  if (!isPast(from)) throw invalid("from", '"new", "last", "oldest", { seq } or { time }', from);
  if (!hasStore) throw moduleDisabled("a subscription that starts in the past", "persistence");
  if (from !== "oldest") checkHistoryPoint("from", from);
}

/** Names of durables that are a subscription's own, and go with it. */
export const historyPrefix = "\0";

/** True for a start that needs history. */
export function isPast(from: unknown): from is "oldest" | HistoryPoint {
  return from === "oldest" || (typeof from === "object" && from !== null);
}

/** Throws for what is neither a message number nor a time. */
export function checkHistoryPoint(name: string, point: unknown): asserts point is HistoryPoint {
  requireObject(name, point);
  const { seq, time, ...more } = point as { seq?: unknown; time?: unknown };
  const isOne = (seq === undefined) !== (time === undefined) && Object.keys(more).length === 0;
  if (!isOne) throw invalid(name, "{ seq } or { time }", point);
  if (seq !== undefined && !(Number.isSafeInteger(seq) && (seq as number) >= 0)) {
    throw invalid(`${name}.seq`, "a message's number", seq);
  }
  if (time !== undefined && !Number.isFinite(time)) throw invalid(`${name}.time`, "milliseconds since 1970", time);
}

function checkPersistence(persistence: unknown): Persistence | null {
  if (persistence === undefined) return null;
  const { topics, open } = Object(persistence) as { topics?: unknown; open?: unknown };
  if (Array.isArray(topics) && typeof open === "function") return persistence as Persistence;
  throw invalid(
    "persistence",
    'a store, such as levelPersistence({ path }) of "inproc-broker/persistence"',
    persistence,
  );
}

function section<Section extends object>(
  name: string,
  value: Section | undefined,
  known: readonly string[],
): Partial<Section> {
  if (value === undefined) return {};
  requireObject(name, value);
  refuseUnknown(`${name}.`, value, new Set(known));
  return value;
}

function subscriptionDefaults(
  prefix: string,
  given: SubscriptionDefaults,
  defaults: Complete<SubscriptionDefaults>,
): Complete<SubscriptionDefaults> {
  const overflow = given.overflow ?? defaults.overflow;
  oneOf(`${prefix}overflow`, overflow, overflowPolicies);
  return {
    maxMessages: count(`${prefix}maxMessages`, given.maxMessages, defaults.maxMessages),
    maxBytes: count(`${prefix}maxBytes`, given.maxBytes, defaults.maxBytes),
    overflow,
  };
}

function agingMs(options: PriorityOptions | undefined, fallback: number): number {
  const { aging } = section("priority", options, ["aging"]);
  if (aging === Infinity) return 0;
  return duration("priority.aging", aging, fallback);
}

function transactionSettings(options: BrokerOptions["transactions"]): Settings["transactions"] {
  if (options === undefined) return null;
  const given = section("transactions", options, ["timeout", "maxOpen", "maxOperations"]);
  return {
    timeoutMs: duration("transactions.timeout", given.timeout, 30_000),
    maxOpen: count("transactions.maxOpen", given.maxOpen, 10_000),
    maxOperations: count("transactions.maxOperations", given.maxOperations, 100_000),
  };
}

function deadLetterSettings(
  options: BrokerOptions["deadLetter"],
  limits: { maxTopicLength: number; maxTokens: number },
): Settings["deadLetter"] {
  if (options === undefined) return null;
  const given = section("deadLetter", options, ["topic", "maxMessages", "maxBytes", "maxAge", "reasons"]);
  const topic = given.topic ?? "dlq";
  checkTopic(topic, limits);
  const reasons = given.reasons ?? ["max-deliveries", "rejected", "handler-error"];
  if (!Array.isArray(reasons)) throw invalid("deadLetter.reasons", "an array", reasons);
  for (const reason of reasons) oneOf("deadLetter.reasons", reason, deadLetterReasons);
  return {
    topic,
    maxMessages: count("deadLetter.maxMessages", given.maxMessages, 10_000),
    maxBytes: count("deadLetter.maxBytes", given.maxBytes, 64 * mebibyte),
    maxAgeMs: duration("deadLetter.maxAge", given.maxAge, 14 * day),
    reasons: new Set(reasons),
  };
}

function checkSchemas(
  schemas: BrokerOptions["schemas"],
  limits: { maxTopicLength: number; maxTokens: number },
): Readonly<Record<string, StandardSchema>> {
  if (schemas === undefined) return {};
  requireObject("schemas", schemas);
  for (const [pattern, schema] of Object.entries(schemas)) {
    checkPattern(pattern, limits);
    if (!isStandardSchema(schema)) {
      throw invalid(`schemas[${quote(pattern)}]`, "a Standard Schema validator (zod, valibot, arktype, …)", schema);
    }
  }
  return schemas;
}

const pluginHooks = [
  "onPublish",
  "onPublished",
  "onScheduled",
  "onDeliver",
  "around",
  "onSettle",
  "onDrop",
  "close",
] as const satisfies readonly (keyof Plugin)[];

function checkPlugins(plugins: BrokerOptions["plugins"]): readonly Plugin[] {
  if (plugins === undefined) return [];
  if (!Array.isArray(plugins)) throw invalid("plugins", "an array", plugins);
  const given: readonly Plugin[] = plugins;
  for (const plugin of given) {
    requireObject("plugins", plugin);
    requireText("plugin.name", plugin.name);
    for (const hook of pluginHooks) {
      const given = (plugin as unknown as Readonly<Record<string, unknown>>)[hook];
      if (given !== undefined) requireFunction(`plugins: ${hook} of ${quote(plugin.name)}`, given);
    }
  }
  return given;
}

function rateLimit(limit: unknown): RateLimit | null {
  if (limit === undefined) return null;
  requireObject("rateLimit", limit);
  refuseUnknown("rateLimit.", limit, new Set(["perSecond", "burst"]));
  const { perSecond, burst } = limit as Partial<RateLimit>;
  if (typeof perSecond !== "number" || !(perSecond > 0) || perSecond === Infinity) {
    throw invalid("rateLimit.perSecond", "more than 0 messages a second, and not without end", perSecond);
  }
  return burst === undefined ? { perSecond } : { perSecond, burst: count("rateLimit.burst", burst, 1) };
}

function backoff(name: string, value: unknown, fallback: Backoff): Backoff {
  if (value === undefined) return fallback;
  requireFunction(name, value);
  return value as Backoff;
}

function oneOf(name: string, value: unknown, known: readonly string[]): void {
  if (!known.includes(value as string)) {
    throw invalid(name, `one of ${known.map((one) => JSON.stringify(one)).join(", ")}`, value);
  }
}
