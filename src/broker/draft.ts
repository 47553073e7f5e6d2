import type { Router } from "../dispatch/router.js";
import { brokerError, errorText, quote } from "../errors.js";
import { deepFreeze } from "../message/freeze.js";
import type { Headers } from "../message/headers.js";
import { copyHeaders, headerBytes, noHeaders } from "../message/headers.js";
import type { MessageExtras } from "../message/message.js";
import { defaultPriority, priorityNumber } from "../message/priority.js";
import { payloadBytes } from "../message/size.js";
import { isLate } from "../message/thenable.js";
import {
  checkSignal,
  count,
  dateMs,
  delayMs,
  duration,
  invalid,
  moduleDisabled,
  oneOf,
  refuseUnknown,
  requireObject,
  requireText,
} from "./checks.js";
import type { PublishOptions } from "./options.js";
import type { Plugin, PublishDraft } from "./plugin.js";
import { validate } from "./schema.js";
import type { Settings } from "./settings.js";
import type { Durability } from "./store-port.js";
import { durabilities } from "./store-port.js";
import type { TopicFacts } from "./topic-facts.js";

/** A message that has passed every check that concerns nothing but itself. */
export interface Draft {
  readonly topic: string;
  readonly data: unknown;
  readonly bytes: number;
  readonly priority: number;
  readonly extras: MessageExtras | null;
  /** In milliseconds since 1970; 0: never. */
  readonly expiresAtMs: number;
  /** True where that was over when the draft was made. */
  readonly isExpired: boolean;
  /** When it is to be delivered, and by which clock; null: now. */
  readonly due: { readonly on: "deadlines" | "dates"; readonly at: number } | null;
  readonly dedupId: string | undefined;
  readonly isRetained: boolean;
  readonly confirm: { readonly count: number; readonly timeoutMs: number } | null;
  readonly wantsReport: boolean;
  readonly signal: AbortSignal | undefined;
  /** True where it goes through the store. */
  readonly isStored: boolean;
  /** The level that the store has to reach; absent: its own. */
  readonly durability: Durability | undefined;
}

/** A draft that asks for nothing but its delivery. */
export function plainDraft(
  topic: string,
  data: unknown,
  bytes: number,
  priority: number,
  extras: MessageExtras | null,
): Draft {
  return {
    topic,
    data,
    bytes,
    priority,
    extras,
    expiresAtMs: 0,
    isExpired: false,
    due: null,
    dedupId: undefined,
    isRetained: false,
    confirm: null,
    wantsReport: false,
    signal: undefined,
    isStored: false,
    durability: undefined,
  };
}

/** The two time bases, as far as drafts need them. */
export interface DraftTimes {
  /** Milliseconds since 1970. */
  date(): number;
  /** Milliseconds on the monotonic clock. */
  deadline(): number;
}

/**
 * Makes drafts: checks what a caller gave, asks plugins and schemas, and measures. Changes nothing in the broker, so
 * whatever it throws has cost nobody anything.
 */
export class Drafter {
  readonly #settings: Settings;
  readonly #maxMessageBytes: number;
  readonly #router: Router<TopicFacts>;
  readonly #times: DraftTimes;
  readonly #plugins: readonly Plugin[];

  constructor(settings: Settings, router: Router<TopicFacts>, times: DraftTimes) {
    this.#settings = settings;
    this.#maxMessageBytes = settings.limits.maxMessageBytes;
    this.#router = router;
    this.#times = times;
    this.#plugins = settings.plugins.filter((plugin) => plugin.onPublish !== undefined);
  }

  /** True where a publish without options needs no draft: nothing could change or refuse it but its size. */
  get isTransparent(): boolean {
    const { ttlMs, payloads, schemas } = this.#settings;
    return (
      this.#plugins.length === 0 && ttlMs === Infinity && payloads === "reference" && Object.keys(schemas).length === 0
    );
  }

  /** A draft; as a promise where the topic's schema is asynchronous. */
  draft(topic: string, data: unknown, options: PublishOptions): Draft | Promise<Draft> {
    checkPublishOptions(options, this.#settings.persistence !== null);
    const draft: PublishDraft = {
      topic,
      data,
      headers: options.headers === undefined ? noHeaders : copyHeaders(options.headers),
      key: options.key,
      priority: options.priority === undefined ? defaultPriority : priorityNumber(options.priority),
    };
    if (this.#plugins.length > 0) {
      draft.headers = { ...draft.headers };
      for (const plugin of this.#plugins) callOnPublish(plugin, draft);
      draft.headers = copyHeaders(draft.headers);
      draft.priority = priorityNumber(draft.priority);
    }
    const { schema, isStored } = this.#router.route(draft.topic).attachment;
    requireData(draft.topic, draft.data, "publish null where there is nothing to say");
    if (schema === null) return this.#finish(draft, options, isStored);
    const valid = validate(schema, draft.topic, draft.data);
    if (!(valid instanceof Promise)) return this.#finish({ ...draft, data: valid }, options, isStored);
    return valid.then((value: unknown) => this.#finish({ ...draft, data: value }, options, isStored));
  }

  /** Bytes of a payload, and of the key where there is one. Throws `ERR_INVALID_MESSAGE` for what is no data, `ERR_MESSAGE_TOO_LARGE`. */
  measure(topic: string, data: unknown, extras: MessageExtras | null): number {
    let bytes: number;
    try {
      bytes = payloadBytes(data);
    } catch (error) {
      throw brokerError(
        "ERR_INVALID_MESSAGE",
        `the data for ${quote(topic)} cannot be read: ${errorText(error)}; publish plain data`,
        { topic },
        error,
      );
    }
    // What is no data has no bytes, so that only what has none must be asked.
    if (bytes === 0 && (typeof data === "function" || typeof data === "symbol")) {
      throw brokerError("ERR_INVALID_MESSAGE", `the data for ${quote(topic)} is a ${typeof data}; publish plain data`, {
        topic,
      });
    }
    if (extras?.key !== undefined) bytes += extras.key.length;
    if (bytes > this.#maxMessageBytes) throw this.#tooLarge(topic, bytes);
    return bytes;
  }

  #finish(draft: PublishDraft, options: PublishOptions, isStored: boolean): Draft {
    const { topic, key, headers, priority } = draft;
    requireData(topic, draft.data, "its schema made undefined of it");
    if (key !== undefined && typeof key !== "string") throw invalid("key", "a text", key);
    for (const name of ["id", "dedupId", "replyTo", "correlationId"] as const) {
      if (options[name] !== undefined) requireText(name, options[name]);
    }
    const bytes = this.measure(topic, draft.data, null) + headerBytes(headers) + (key?.length ?? 0);
    if (bytes > this.#maxMessageBytes) throw this.#tooLarge(topic, bytes);
    const { confirm, confirmTimeout, durability } = options;
    if (durability !== undefined && durability !== "memory" && !isStored) {
      throw invalid(
        "durability",
        `left out, or "memory": ${quote(topic)} is not within the store's topics`,
        durability,
      );
    }
    const due = this.#dueOf(options);
    // One look: a ttl of a millisecond must not be over because the clock moved on between two.
    const nowMs = this.#mayExpire(options) ? this.#times.date() : 0;
    const expiresAtMs = this.#expiryOf(options, due, nowMs);
    return {
      topic,
      data: this.#ownData(topic, draft.data),
      bytes,
      priority,
      extras: extrasOf(options, headers, key, due !== null && options.retain === true),
      expiresAtMs,
      isExpired: expiresAtMs !== 0 && expiresAtMs <= nowMs,
      due,
      dedupId: options.dedupId,
      isRetained: options.retain === true,
      confirm:
        confirm === undefined
          ? null
          : { count: count("confirm", confirm, 1), timeoutMs: duration("confirmTimeout", confirmTimeout, 5_000) },
      wantsReport: options.report === true,
      signal: options.signal,
      isStored,
      durability,
    };
  }

  #tooLarge(topic: string, bytes: number): Error {
    const maxMessageBytes = this.#maxMessageBytes;
    return brokerError(
      "ERR_MESSAGE_TOO_LARGE",
      `the message for ${quote(topic)} has ${bytes} bytes, more than limits.maxMessageBytes (${maxMessageBytes}); ` +
        `publish a reference to the data instead, or raise the limit`,
      { topic, bytes, maxMessageBytes },
    );
  }

  #ownData(topic: string, data: unknown): unknown {
    const { payloads } = this.#settings;
    if (payloads === "reference") return data;
    try {
      if (payloads === "clone") return structuredClone(data);
      deepFreeze(data);
      return data;
    } catch (error) {
      const done = payloads === "clone" ? "cloned" : "frozen";
      throw brokerError(
        "ERR_INVALID_MESSAGE",
        `the data for ${quote(topic)} cannot be ${done}, which payloads: "${payloads}" asks for: ${errorText(error)}`,
        { topic },
        error,
      );
    }
  }

  #mayExpire({ ttl, expiresAt }: PublishOptions): boolean {
    return ttl !== undefined || expiresAt !== undefined || this.#settings.ttlMs !== Infinity;
  }

  #expiryOf(options: PublishOptions, due: Draft["due"], nowMs: number): number {
    const { ttl, expiresAt } = options;
    if (ttl !== undefined && expiresAt !== undefined) throw invalid("ttl", "given without expiresAt", ttl);
    // 0 stands for "never", so 1970 itself is the millisecond before: long ago in either case.
    if (expiresAt !== undefined) return dateMs("expiresAt", expiresAt) || -1;
    const ttlMs = duration("ttl", ttl, this.#settings.ttlMs);
    if (ttlMs === Infinity) return 0;
    if (ttl !== undefined || due === null) return nowMs + ttlMs;
    // The default is meant for what waits in queues; a delay that is longer must not mean "never".
    return due.on === "dates" ? due.at + ttlMs : nowMs + (due.at - this.#times.deadline()) + ttlMs;
  }

  #dueOf(options: PublishOptions): Draft["due"] {
    const { delay, deliverAt } = options;
    if (delay !== undefined && deliverAt !== undefined) throw invalid("delay", "given without deliverAt", delay);
    if (delay !== undefined) {
      const ms = delayMs("delay", delay);
      return ms === 0 ? null : { on: "deadlines", at: this.#times.deadline() + ms };
    }
    if (deliverAt === undefined) return null;
    const at = dateMs("deliverAt", deliverAt);
    return at <= this.#times.date() ? null : { on: "dates", at };
  }
}

/** A veto that comes later would be none, so a hook that answers with a promise is refused. */
function callOnPublish(plugin: Plugin, draft: PublishDraft): void {
  if (!isLate(plugin.onPublish?.(draft), () => undefined)) return;
  throw brokerError("ERR_INVALID_OPTION", `onPublish of plugin ${quote(plugin.name)} must not be asynchronous`, {
    option: "plugins",
    plugin: plugin.name,
  });
}

function requireData(topic: string, data: unknown, help: string): void {
  if (data !== undefined) return;
  throw brokerError("ERR_INVALID_MESSAGE", `the data for ${quote(topic)} is undefined; ${help}`, { topic });
}

function extrasOf(
  options: PublishOptions,
  headers: Headers,
  key: string | undefined,
  isToRetain: boolean,
): MessageExtras | null {
  const { id, replyTo, correlationId } = options;
  const hasHeaders = options.headers !== undefined || headers !== noHeaders;
  const isNamed = id !== undefined || key !== undefined || replyTo !== undefined || correlationId !== undefined;
  if (!isNamed && !hasHeaders && !isToRetain) return null;
  const extras = { id, headers: hasHeaders ? headers : undefined, key, replyTo, correlationId };
  return isToRetain ? { ...extras, isToRetain } : extras;
}

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

/** Refuses publish options nobody knows, before any of them is used. */
function checkPublishOptions(options: unknown, hasStore: boolean): asserts options is PublishOptions {
  requireObject("publish options", options);
  refuseUnknown("", options, publishKeys);
  const { durability, signal } = options as { durability?: unknown; signal?: unknown };
  if (durability !== undefined && durability !== "memory") {
    oneOf("durability", durability, durabilities);
    if (!hasStore) throw moduleDisabled(`durability ${quote(durability)}`, "persistence");
  }
  checkSignal(signal);
}
