import { matchesPattern } from "../index.js";
import { brokerError } from "./wire-error.js";

/** What a worker may do. An absent list allows everything, an empty one nothing. */
export interface Allow {
  /** Patterns of the topics it may publish to and send requests to. Answers to what it was asked are always allowed. */
  readonly publish?: readonly string[];
  /** Patterns it may subscribe to; a narrower pattern is within a wider one: `orders.eu.*` within `orders.>`. */
  readonly subscribe?: readonly string[];
}

/** Throws `ERR_INVALID_TOPIC` where a worker may not publish to `topic`. */
export function requirePublish(allow: Allow, topic: unknown): void {
  const patterns = allow.publish;
  if (patterns === undefined || typeof topic !== "string" || isAllowed(patterns, topic)) return;
  throw brokerError(
    "ERR_INVALID_TOPIC",
    `this worker may not publish to ${JSON.stringify(topic)}; exposeBroker allows it ${list(patterns)}`,
    { topic, allowed: [...patterns] },
  );
}

/** Throws `ERR_INVALID_PATTERN` where a worker may not subscribe to `pattern`. */
export function requireSubscribe(allow: Allow, pattern: unknown): void {
  const patterns = allow.subscribe;
  if (patterns === undefined || typeof pattern !== "string") return;
  if (patterns.some((allowed) => coversPattern(allowed, pattern))) return;
  throw brokerError(
    "ERR_INVALID_PATTERN",
    `this worker may not subscribe to ${JSON.stringify(pattern)}; exposeBroker allows it ${list(patterns)}`,
    { pattern, allowed: [...patterns] },
  );
}

/**
 * Throws `ERR_INVALID_TOPIC` where a worker may not have answers sent to `replyTo`: whoever answers publishes there for it, so it must be
 * a topic that it may publish to, or hear.
 */
export function requireReplyTo(allow: Allow, replyTo: unknown): void {
  if (typeof replyTo !== "string" || isAllowed(allow.subscribe, replyTo)) return;
  requirePublish(allow, replyTo);
}

/** Whether a worker may be told of an event: one about a message says what is in it. */
export function mayHear(allow: Allow, event: unknown): boolean {
  if (allow.subscribe === undefined || typeof event !== "object" || event === null) return true;
  const { topic, message } = event as { readonly topic?: unknown; readonly message?: { readonly topic?: unknown } };
  const about = topic ?? message?.topic;
  return typeof about !== "string" || isAllowed(allow.subscribe, about);
}

function isAllowed(patterns: readonly string[] | undefined, topic: string): boolean {
  return patterns === undefined || patterns.some((pattern) => matchesPattern(pattern, topic));
}

/** Whether every topic that `asked` matches is matched by `allowed` too. */
export function coversPattern(allowed: string, asked: string): boolean {
  const wide = allowed.split(".");
  const narrow = asked.split(".");
  for (const [index, token] of wide.entries()) {
    const other = narrow[index];
    if (other === undefined) return false;
    if (token === ">") return true;
    if (other === ">") return false;
    if (token !== "*" && token !== other) return false;
  }
  return wide.length === narrow.length;
}

function list(patterns: readonly string[]): string {
  return patterns.length === 0 ? "nothing" : patterns.map((pattern) => JSON.stringify(pattern)).join(", ");
}
