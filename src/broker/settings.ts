import type { DeadLetterReason } from "../delivery/dead-letter.js";
import { deadLetterReasons } from "../delivery/dead-letter.js";
import { exponentialBackoff } from "../delivery/retry-policy.js";
import { quote } from "../errors.js";
import type { Backoff } from "../message/delivery.js";
import { checkPattern, checkTopic } from "../topic/grammar.js";
import {
  count,
  duration,
  invalid,
  oneOf,
  refuseUnknown,
  requireFunction,
  requireObject,
  requireText,
  section,
} from "./checks.js";
import type {
  AckOptions,
  BrokerOptions,
  LimitOptions,
  PayloadMode,
  PriorityOptions,
  SubscriptionDefaults,
} from "./options.js";
import type { Plugin } from "./plugin.js";
import type { StandardSchema } from "./schema.js";
import { isStandardSchema } from "./schema.js";
import type { Persistence } from "./store-port.js";

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

/** The options that a subscription has a value of its own for. */
export const subscriptionDefaultKeys = ["maxMessages", "maxBytes", "overflow"];

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

/** The bounds of a queue, each as given or as `defaults` have it. */
export function subscriptionDefaults(
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

/** Milliseconds of waiting that lift a message by one priority; 0: never. */
export function agingMs(options: PriorityOptions | undefined, fallback: number): number {
  const { aging } = section("priority", options, ["aging"]);
  if (aging === Infinity) return 0;
  return duration("priority.aging", aging, fallback);
}

/** A wait before redelivery, as given or as `fallback`. */
export function backoff(name: string, value: unknown, fallback: Backoff): Backoff {
  if (value === undefined) return fallback;
  if (typeof value === "function") return value as Backoff;
  throw invalid(name, "a function from the delivery count to milliseconds, such as exponentialBackoff()", value);
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
  const reasons = given.reasons ?? deadLetterReasons;
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
