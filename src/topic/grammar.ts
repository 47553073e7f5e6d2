import { brokerError, quote } from "../errors.js";
import type { BrokerError } from "../errors.js";

/** How topics and patterns are spelled. Every symbol is one ASCII character, and no two are the same. */
export interface Dialect {
  /** Stands between two tokens. */
  readonly separator: string;
  /** In a pattern: any one token. */
  readonly one: string;
  /** In a pattern, as the last token: all tokens from here on. */
  readonly rest: string;
  /** How many tokens `rest` stands for at least. */
  readonly restMinimum: 0 | 1;
  /**
   * Topics whose first token begins with this are for the system: a wildcard as a pattern's first token does not
   * match them, as with `$SYS` in MQTT.
   */
  readonly systemPrefix?: string;
}

/** The library's own dialect: `orders.*.created`, `orders.>`; `a.>` does not match `a`. */
export const standardDialect: Dialect = Object.freeze({
  separator: ".",
  one: "*",
  rest: ">",
  restMinimum: 1,
});

/** How long topics and patterns may be. */
export interface TopicLimits {
  /** UTF-16 code units, as `length` counts them. */
  readonly maxTopicLength: number;
  /** Tokens in a topic or a pattern. */
  readonly maxTokens: number;
}

export const defaultTopicLimits: TopicLimits = Object.freeze({ maxTopicLength: 1024, maxTokens: 32 });

/**
 * Throws `ERR_INVALID_TOPIC` unless `topic` is a name that a message can be published to: one or more tokens
 * joined by the separator, none of them empty, without white space, control characters, lone surrogates or
 * wildcards, within the limits. Case counts; no other characters are reserved.
 */
export function checkTopic(
  topic: unknown,
  limits: TopicLimits = defaultTopicLimits,
  dialect: Dialect = standardDialect,
): asserts topic is string {
  if (typeof topic !== "string") throw notString("topic", topic);
  const { length } = topic;
  if (length === 0) throw empty("topic");
  if (length > limits.maxTopicLength) throw tooLong("topic", topic, limits);
  const separator = dialect.separator.charCodeAt(0);
  const one = dialect.one.charCodeAt(0);
  const rest = dialect.rest.charCodeAt(0);
  let tokenStart = 0;
  let tokens = 1;
  for (let index = 0; index < length; index += 1) {
    const unit = topic.charCodeAt(index);
    if (unit === separator) {
      if (index === tokenStart) throw emptyToken("topic", topic, index, tokens, dialect);
      tokenStart = index + 1;
      tokens += 1;
      if (tokens > limits.maxTokens) throw tooManyTokens("topic", topic, limits);
    } else if (unit === one || unit === rest) {
      throw wildcardInTopic(topic, index, tokens);
    } else if (unit <= 0x20 || (unit >= 0x7f && isForbidden(topic, index, unit))) {
      throw forbidden("topic", topic, index, tokens);
    }
  }
  if (tokenStart === length) throw emptyToken("topic", topic, length, tokens, dialect);
}

/**
 * Throws `ERR_INVALID_PATTERN` unless `pattern` can be subscribed to: a topic in which any token may be the
 * one-token wildcard, and the last the rest wildcard. A wildcard is a whole token, never a part of one.
 *
 * The same loop as `checkTopic`, but for wildcards, and apart from it: a topic that is seen for the first time pays for it.
 */
export function checkPattern(
  pattern: unknown,
  limits: TopicLimits = defaultTopicLimits,
  dialect: Dialect = standardDialect,
): asserts pattern is string {
  if (typeof pattern !== "string") throw notString("pattern", pattern);
  const { length } = pattern;
  if (length === 0) throw empty("pattern");
  if (length > limits.maxTopicLength) throw tooLong("pattern", pattern, limits);
  const separator = dialect.separator.charCodeAt(0);
  const one = dialect.one.charCodeAt(0);
  const rest = dialect.rest.charCodeAt(0);
  let tokenStart = 0;
  let tokens = 1;
  for (let index = 0; index < length; index += 1) {
    const unit = pattern.charCodeAt(index);
    if (unit === separator) {
      if (index === tokenStart) throw emptyToken("pattern", pattern, index, tokens, dialect);
      tokenStart = index + 1;
      tokens += 1;
      if (tokens > limits.maxTokens) throw tooManyTokens("pattern", pattern, limits);
    } else if (unit === one || unit === rest) {
      const isWholeToken =
        index === tokenStart && (index + 1 === length || pattern.charCodeAt(index + 1) === separator);
      if (!isWholeToken) throw partialWildcard(pattern, index, tokens);
      if (unit === rest && index + 1 !== length) throw restNotLast(pattern, index, tokens);
    } else if (unit <= 0x20 || (unit >= 0x7f && isForbidden(pattern, index, unit))) {
      throw forbidden("pattern", pattern, index, tokens);
    }
  }
  if (tokenStart === length) throw emptyToken("pattern", pattern, length, tokens, dialect);
}

/** Whether a valid pattern has no wildcard: it matches the one topic of that name. */
export function isLiteral(pattern: string, dialect: Dialect = standardDialect): boolean {
  return !pattern.includes(dialect.one) && !pattern.includes(dialect.rest);
}

/** The part of a topic before its first separator. */
export function firstToken(topic: string, dialect: Dialect = standardDialect): string {
  return topic.slice(0, tokenEnd(topic, 0, dialect.separator));
}

/** Whether every topic that `pattern` matches is matched by `cover` too, both valid patterns. */
export function coversPattern(cover: string, pattern: string): boolean {
  const { separator, one, rest } = standardDialect;
  const covering = cover.split(separator);
  const covered = pattern.split(separator);
  for (let index = 0; index < covering.length; index += 1) {
    const token = covered[index];
    if (token === undefined) return false;
    if (covering[index] === rest) return true;
    if (token === rest || (covering[index] !== one && covering[index] !== token)) return false;
  }
  return covering.length === covered.length;
}

/** Whether some topic is matched by both of two valid patterns. */
export function patternsOverlap(pattern: string, other: string): boolean {
  const { separator, one, rest } = standardDialect;
  const left = pattern.split(separator);
  const right = other.split(separator);
  for (let index = 0; index < left.length && index < right.length; index += 1) {
    const [a, b] = [left[index], right[index]];
    if (a === rest || b === rest) return true;
    if (a !== b && a !== one && b !== one) return false;
  }
  return left.length === right.length;
}

/**
 * Whether a valid pattern matches a valid topic. This defines what matching means; `PatternTrie` finds the same
 * among many patterns at once.
 */
export function matchesPattern(pattern: string, topic: string, dialect: Dialect = standardDialect): boolean {
  const { separator, one, rest, restMinimum, systemPrefix } = dialect;
  if (systemPrefix !== undefined && topic.startsWith(systemPrefix)) {
    const first = firstToken(pattern, dialect);
    if (first === one || first === rest) return false;
  }
  let patternStart = 0;
  let topicStart = 0;
  for (;;) {
    const patternEnd = tokenEnd(pattern, patternStart, separator);
    const topicEnd = tokenEnd(topic, topicStart, separator);
    const token = pattern.slice(patternStart, patternEnd);
    if (token === rest) return true;
    if (token !== one && token !== topic.slice(topicStart, topicEnd)) return false;
    const isPatternDone = patternEnd === pattern.length;
    if (topicEnd === topic.length) {
      return isPatternDone || (restMinimum === 0 && pattern.slice(patternEnd + 1) === rest);
    }
    if (isPatternDone) return false;
    patternStart = patternEnd + 1;
    topicStart = topicEnd + 1;
  }
}

function tokenEnd(text: string, start: number, separator: string): number {
  const end = text.indexOf(separator, start);
  return end < 0 ? text.length : end;
}

/** Of the units from U+007F on: controls, white space of any script, and halves of surrogate pairs. */
function isForbidden(text: string, index: number, unit: number): boolean {
  if (unit < 0xa1) return true;
  if (unit < 0x1680) return false;
  if (unit >= 0xd800 && unit <= 0xdbff) return !isLowSurrogate(text.charCodeAt(index + 1));
  if (isLowSurrogate(unit)) {
    const previous = index === 0 ? 0 : text.charCodeAt(index - 1);
    return previous < 0xd800 || previous > 0xdbff;
  }
  return (
    unit === 0x1680 ||
    (unit >= 0x2000 && unit <= 0x200a) ||
    unit === 0x2028 ||
    unit === 0x2029 ||
    unit === 0x202f ||
    unit === 0x205f ||
    unit === 0x3000 ||
    unit === 0xfeff
  );
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

type Kind = "topic" | "pattern";

function invalid(kind: Kind, message: string, facts: Record<string, unknown>): BrokerError {
  return brokerError(kind === "topic" ? "ERR_INVALID_TOPIC" : "ERR_INVALID_PATTERN", message, facts);
}

function notString(kind: Kind, value: unknown): BrokerError {
  return invalid(kind, `A ${kind} must be a string, got ${quote(value)}.`, { type: typeof value });
}

function empty(kind: Kind): BrokerError {
  const advice = kind === "pattern" ? " To match every topic use the rest wildcard." : "";
  return invalid(kind, `A ${kind} must not be empty.${advice}`, { [kind]: "" });
}

// The value itself stays out of the facts here: it may be of any size.
function tooLong(kind: Kind, value: string, { maxTopicLength }: TopicLimits): BrokerError {
  return invalid(
    kind,
    `The ${kind} ${quote(value)} is ${value.length} characters long, the limit is ${maxTopicLength}. ` +
      "Shorten it, or raise limits.maxTopicLength.",
    { length: value.length, limit: maxTopicLength },
  );
}

function tooManyTokens(kind: Kind, value: string, { maxTokens }: TopicLimits): BrokerError {
  return invalid(
    kind,
    `The ${kind} ${quote(value)} has more than ${maxTokens} tokens. Use fewer, or raise limits.maxTokens.`,
    { [kind]: value, limit: maxTokens },
  );
}

function emptyToken(kind: Kind, value: string, index: number, token: number, dialect: Dialect): BrokerError {
  const separator = quote(dialect.separator);
  return invalid(
    kind,
    `The ${kind} ${quote(value)} has an empty token: number ${token}, at index ${index}. ` +
      `Put a name there or remove the ${separator} beside it.`,
    { [kind]: value, index, token },
  );
}

function wildcardInTopic(topic: string, index: number, token: number): BrokerError {
  const wildcard = quote(topic.charAt(index));
  return invalid(
    "topic",
    `The topic ${quote(topic)} has the wildcard ${wildcard} in token ${token}, at index ${index}. ` +
      "Publish to a name without wildcards; only patterns have them.",
    { topic, index, token },
  );
}

function partialWildcard(pattern: string, index: number, token: number): BrokerError {
  const wildcard = quote(pattern.charAt(index));
  return invalid(
    "pattern",
    `The pattern ${quote(pattern)} has the wildcard ${wildcard} inside token ${token}, at index ${index}. ` +
      "A wildcard must be a whole token: use it alone, or leave it out.",
    { pattern, index, token },
  );
}

function restNotLast(pattern: string, index: number, token: number): BrokerError {
  const wildcard = quote(pattern.charAt(index));
  return invalid(
    "pattern",
    `The pattern ${quote(pattern)} has the wildcard ${wildcard} as token ${token}, at index ${index}, ` +
      "where more tokens follow. Put it last, or use the one-token wildcard.",
    { pattern, index, token },
  );
}

function forbidden(kind: Kind, value: string, index: number, token: number): BrokerError {
  const unit = value.charCodeAt(index);
  const code = `U+${unit.toString(16).toUpperCase().padStart(4, "0")}`;
  const isSurrogate = unit >= 0xd800 && unit <= 0xdfff;
  const name = isSurrogate
    ? "half a surrogate pair"
    : /\s/.test(value.charAt(index))
      ? "white space"
      : "a control character";
  return invalid(
    kind,
    `The ${kind} ${quote(value)} has ${name} (${code}) in token ${token}, at index ${index}. ` +
      `Remove it${isSurrogate ? "" : ', or use a character such as "-" or "_"'}.`,
    { [kind]: value, index, token, character: code },
  );
}
