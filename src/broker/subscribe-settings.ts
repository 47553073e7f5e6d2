import type { ConsumerSettings } from "../dispatch/consumer.js";
import type { QueueSettings } from "../dispatch/queue-facts.js";
import type { RateLimit } from "../dispatch/token-bucket.js";
import {
  checkSignal,
  count,
  dateMs,
  duration,
  invalid,
  moduleDisabled,
  oneOf,
  refuseUnknown,
  requireFunction,
  requireObject,
  requireText,
} from "./checks.js";
import type { SubscribeOptions } from "./options.js";
import type { Settings } from "./settings.js";
import { agingMs, backoff, subscriptionDefaultKeys, subscriptionDefaults } from "./settings.js";
import type { HistoryPoint, StorePoint } from "./store-port.js";

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
  if (from !== "oldest") storePoint("from", from);
}

/** Names of durables that are a subscription's own, and go with it. */
export const historyPrefix = "\0";

/** True for a start that needs history. */
export function isPast(from: unknown): from is "oldest" | HistoryPoint {
  return from === "oldest" || (typeof from === "object" && from !== null);
}

/** A place in history as the store takes it. Throws for what is neither a message number nor a time. */
export function storePoint(name: string, point: unknown): StorePoint {
  requireObject(name, point);
  const { seq, time, ...more } = point as { seq?: unknown; time?: unknown };
  const isOne = (seq === undefined) !== (time === undefined) && Object.keys(more).length === 0;
  if (!isOne) throw invalid(name, "{ seq } or { time }", point);
  if (time !== undefined) return { time: dateMs(`${name}.time`, time) };
  if (Number.isSafeInteger(seq) && (seq as number) >= 0) return { seq: seq as number };
  throw invalid(`${name}.seq`, "a message's number", seq);
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
