import type { MemoryBudget } from "../dispatch/memory-budget.js";
import { brokerError, quote } from "../errors.js";
import type { Draft } from "./draft.js";
import type { Settings } from "./settings.js";

/** The error of a message that does not fit into memory. */
export function noMemory({ usedBytes, maxBytes }: MemoryBudget, topic: string, bytes: number): Error {
  return brokerError(
    "ERR_MEMORY_LIMIT",
    `the message for ${quote(topic)} (${bytes} bytes) would exceed memory.maxBytes: ${usedBytes} of ${maxBytes} are in use; ` +
      `wait for consumers to catch up, or raise it`,
    { topic, bytes, usedBytes, maxBytes },
  );
}

export function expiredAlready(draft: Draft): Error {
  return brokerError(
    "ERR_MESSAGE_EXPIRED",
    `the message for ${quote(draft.topic)} had expired before it was published (expiresAt ${draft.expiresAtMs}); give it a later expiresAt, or a ttl`,
    { topic: draft.topic, expiresAt: draft.expiresAtMs },
  );
}

export function nobodyConfirms(topic: string, wanted: number): Error {
  return brokerError(
    "ERR_NO_RESPONDERS",
    `confirm: ${wanted} asks for acknowledgements of ${quote(topic)}, and 0 subscriptions would get it, so it was not published; subscribe first, or leave confirm out`,
    { topic, wanted, matched: 0 },
  );
}

export function idTaken(id: string): Error {
  return brokerError(
    "ERR_INVALID_MESSAGE",
    `a delayed message with the id ${quote(id)} waits already; cancel it first, or use another id`,
    { id },
  );
}

export function tooManyDelayed(settings: Settings): Error {
  const { maxDelayed } = settings.limits;
  return brokerError(
    "ERR_LIMIT_EXCEEDED",
    `${maxDelayed} messages wait for their time, as many as limits.maxDelayed allows; cancel some, or raise it`,
    { limit: "maxDelayed", maxDelayed },
  );
}

export function tooManyHeld(topic: string, held: number): Error {
  return brokerError(
    "ERR_QUEUE_FULL",
    `${held} publishers wait for full queues, as many as limits.maxWaitingPublishers allows, so ${quote(topic)} was not published; await each publish`,
    { topic, held, limit: "maxWaitingPublishers" },
  );
}

/** The error of a way in that cannot wait for the store. */
export function needsWait(topic: string): Error {
  return brokerError(
    "ERR_INVALID_OPTION",
    `${quote(topic)} is stored, and publishSync cannot wait for the store; use publish (durability: "memory" is its fastest), ` +
      `or leave the topic out of the store's topics`,
    { topic },
  );
}

/** The error of what publishSync was asked for and cannot wait for. */
export function notSync(what: string): Error {
  return brokerError("ERR_INVALID_OPTION", `publishSync cannot wait, so it does not take ${what}; use publish`, {
    option: what,
  });
}
