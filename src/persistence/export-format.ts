/** The lines of an export: docs/format/export.md describes them. */
import { brokerError, errorText, quote } from "../errors.js";
import { checkPattern, checkTopic } from "../topic/grammar.js";
import { codecId, EncodedPayload } from "./codec.js";
import type { AttemptState, DedupRecord, MessageToStore, StoredMessage } from "./operations.js";

/** The version of the lines that this code writes, and the newest it reads. */
export const exportVersion = 1;

/** What was tried of a message that waits. */
export interface WaitingState extends AttemptState {
  /** It is delivered again though this durable has not had it: a dead letter that was driven. */
  readonly redelivered?: true | undefined;
}

/** For whom a message waits: by the durable's name. */
export type Waiting = ReadonlyMap<string, WaitingState>;

/** A message of a file, ready to be stored but for its number. */
export interface MessageLine {
  /** As in the store it comes from; undefined in lines that were made by hand. */
  readonly seq: number | undefined;
  readonly message: Omit<MessageToStore, "seq" | "id" | "timestamp"> & {
    readonly id: string | undefined;
    readonly timestamp: number | undefined;
  };
  /** Undefined: it is new to every durable that matches it. */
  readonly waiting: Waiting | undefined;
}

export type ExportLine =
  | { readonly kind: "store"; readonly version: number; readonly lastSeq: number }
  | {
      readonly kind: "durable";
      readonly name: string;
      readonly patterns: readonly string[];
      readonly options: unknown;
      readonly start: number;
    }
  | ({ readonly kind: "message" } & MessageLine)
  | { readonly kind: "dead-letter"; readonly id: string; readonly facts: unknown; readonly line: MessageLine }
  | ({ readonly kind: "dedup" } & DedupRecord)
  | { readonly kind: "retained-cleared"; readonly topic: string }
  | { readonly kind: "end"; readonly lines: number };

const codecNames = { [codecId.v8]: "v8", [codecId.custom]: "custom" } as const;

/** A message as the fields of its line. */
export function messageFields(message: StoredMessage, waiting: Waiting | undefined): Record<string, unknown> {
  const { seq, timestamp, topic, id, key, headers, priority, expiresAt, deliverAt, dedupId } = message;
  const { replyTo, correlationId, retain, codec, payload } = message;
  const isJson = codec === codecId.json;
  return {
    seq,
    timestamp,
    topic,
    id,
    key,
    headers,
    priority,
    expiresAt,
    deliverAt,
    dedupId,
    replyTo,
    correlationId,
    retain: retain ? true : undefined,
    waiting: waiting === undefined ? undefined : Object.fromEntries(waiting),
    codec: codec === codecId.v8 || codec === codecId.custom ? codecNames[codec] : undefined,
    data: isJson ? message.data : undefined,
    bytes: isJson ? undefined : Buffer.from(payload).toString("base64"),
  };
}

/** Reads a line. Throws `ERR_INVALID_MESSAGE` for what is no line of an export. */
export function decodeLine(text: string): ExportLine {
  try {
    return decode(text);
  } catch (error) {
    const isOther = error instanceof Error && "code" in error && error.code !== "ERR_INVALID_MESSAGE";
    throw isOther ? refused(errorText(error), error) : error;
  }
}

function decode(text: string): ExportLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refused("it is not JSON", cause);
  }
  const fields = new Fields(value, "the line");
  // A line that somebody wrote by hand is a message.
  const kind = fields.has("kind") ? fields.string("kind") : "message";
  switch (kind) {
    case "store": {
      const version = fields.number("version");
      if (version > exportVersion) {
        throw refused(`it has version ${version}; this version of inproc-broker reads up to ${exportVersion}`);
      }
      return { kind, version, lastSeq: fields.number("lastSeq") };
    }
    case "durable": {
      const patterns = fields.strings("patterns");
      for (const pattern of patterns) checkPattern(pattern, unlimited);
      return {
        kind,
        name: fields.string("name"),
        patterns,
        options: fields.any("options"),
        start: fields.number("start"),
      };
    }
    case "message":
      return { kind, ...messageOf(fields) };
    case "dead-letter": {
      const line = messageOf(new Fields(fields.any("message"), "message"));
      return { kind, id: fields.string("id"), facts: fields.any("facts"), line };
    }
    case "dedup": {
      const [dedupId, id] = [fields.string("dedupId"), fields.string("id")];
      return { kind, dedupId, id, seq: fields.number("seq"), at: fields.number("at") };
    }
    case "retained-cleared":
      return { kind, topic: fields.string("topic") };
    case "end":
      return { kind, lines: fields.number("lines") };
    default:
      throw refused(`its kind is ${quote(kind)}, which this version does not know`);
  }
}

const unlimited = { maxTopicLength: Infinity, maxTokens: Infinity };

function messageOf(fields: Fields): MessageLine {
  const topic = fields.string("topic");
  checkTopic(topic, unlimited);
  const priority = fields.optional("priority", "number") ?? 4;
  if (priority < 0 || priority > 9) throw refused(`"priority" must be 0 to 9; got ${priority}`);
  return {
    seq: fields.optional("seq", "number"),
    message: {
      timestamp: fields.optional("timestamp", "number"),
      topic,
      id: fields.optional("id", "string"),
      key: fields.optional("key", "string"),
      headers: fields.has("headers") ? headersOf(fields.any("headers")) : undefined,
      priority,
      expiresAt: fields.optional("expiresAt", "number"),
      deliverAt: fields.optional("deliverAt", "number"),
      dedupId: fields.optional("dedupId", "string"),
      replyTo: fields.optional("replyTo", "string"),
      correlationId: fields.optional("correlationId", "string"),
      retain: fields.has("retain") && fields.any("retain") === true,
      data: dataOf(fields),
    },
    waiting: fields.has("waiting") ? waitingOf(fields.any("waiting")) : undefined,
  };
}

function dataOf(fields: Fields): unknown {
  if (fields.has("data") === fields.has("bytes")) throw refused('it must have either "data" or "bytes"');
  if (fields.has("data")) return fields.any("data");
  const text = fields.string("bytes");
  const bytes = Buffer.from(text, "base64");
  // Node passes over what is no base64.
  if (bytes.toString("base64").replace(/=+$/, "") !== text.replace(/=+$/, "")) throw refused('"bytes" is not base64');
  const name = fields.optional("codec", "string");
  if (name === undefined) return new EncodedPayload(codecId.bytes, bytes);
  if (name !== "v8" && name !== "custom") throw refused(`"codec" must be "v8" or "custom"; got ${quote(name)}`);
  return new EncodedPayload(codecId[name], bytes);
}

function headersOf(value: unknown): Record<string, string> {
  const fields = new Fields(value, "headers");
  for (const name of fields.names) fields.string(name);
  return value as Record<string, string>;
}

function waitingOf(value: unknown): Waiting {
  const all = new Fields(value, "waiting");
  const waiting = new Map<string, WaitingState>();
  for (const name of all.names) {
    const fields = new Fields(all.any(name), `waiting for ${name}`);
    waiting.set(name, {
      deliveryCount: fields.number("deliveryCount"),
      retryAt: fields.optional("retryAt", "number"),
      reason: fields.optional("reason", "string"),
      redelivered: fields.has("redelivered") && fields.any("redelivered") === true ? true : undefined,
    });
  }
  return waiting;
}

/** An object whose fields are looked at before they are believed. All numbers of the format are whole and not negative. */
class Fields {
  readonly #value: Readonly<Record<string, unknown>>;

  constructor(value: unknown, what: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw refused(`${what} must be an object; got ${quote(value)}`);
    }
    this.#value = value as Readonly<Record<string, unknown>>;
  }

  get names(): string[] {
    return Object.keys(this.#value);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#value, name);
  }

  any(name: string): unknown {
    if (!this.has(name)) throw refused(`"${name}" is missing`);
    return this.#value[name];
  }

  string(name: string): string {
    return this.#typed(name, "string") as string;
  }

  number(name: string): number {
    return this.#typed(name, "number") as number;
  }

  strings(name: string): string[] {
    const value = this.any(name);
    const isList = Array.isArray(value) && value.every((item) => typeof item === "string");
    if (!isList) throw refused(`"${name}" must be a list of strings; got ${quote(value)}`);
    return value;
  }

  optional(name: string, type: "string"): string | undefined;
  optional(name: string, type: "number"): number | undefined;
  optional(name: string, type: "string" | "number"): unknown {
    return this.has(name) ? this.#typed(name, type) : undefined;
  }

  #typed(name: string, type: "string" | "number"): unknown {
    const value = this.any(name);
    const isFine = type === "string" ? typeof value === "string" : Number.isSafeInteger(value) && Number(value) >= 0;
    if (isFine) return value;
    throw refused(`"${name}" must be ${type === "string" ? "a string" : "a whole number from 0"}; got ${quote(value)}`);
  }
}

function refused(why: string, cause?: unknown): Error {
  return brokerError("ERR_INVALID_MESSAGE", why, {}, cause);
}
