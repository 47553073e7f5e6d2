import { DurableQueue } from "../dispatch/durable-queue.js";
import type { Process } from "../dispatch/handler-consumer.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { quote } from "../errors.js";
import { invalid } from "./checks.js";
import type { SubscribeOptions } from "./options.js";
import type { subscribeSettings } from "./subscribe-settings.js";

/** A subscription that has been checked and not made yet. */
export interface PreparedSubscription {
  readonly patterns: readonly string[];
  readonly process: Process | null;
  readonly options: SubscribeOptions<never>;
  readonly settings: ReturnType<typeof subscribeSettings>;
}

/** Members of a group, or of a durable, share one queue, so what they ask of it must agree. */
export function requireSameSettings(queue: DeliveryQueue, prepared: PreparedSubscription): void {
  const { options, settings } = prepared;
  if (queue instanceof DurableQueue) {
    const isSame = queue.patterns.length === prepared.patterns.length && queue.patterns.every(isAsked);
    if (!isSame) {
      throw invalid(
        "pattern",
        `${queue.patterns.join(", ")}, as durable ${quote(queue.durable)} has it while somebody is connected to it`,
        prepared.patterns.join(", "),
      );
    }
    if (options.filter !== undefined && options.filter !== queue.filter) {
      throw invalid("filter", "the same function for every consumer of a durable (or left out)", options.filter);
    }
  }
  function isAsked(pattern: string): boolean {
    return prepared.patterns.includes(pattern);
  }
  const asked = [
    ["maxMessages", options.maxMessages, settings.queue.maxMessages, queue.settings.maxMessages],
    ["maxBytes", options.maxBytes, settings.queue.maxBytes, queue.settings.maxBytes],
    ["overflow", options.overflow, settings.queue.overflow, queue.settings.overflow],
    ["maxDeliveries", options.maxDeliveries, settings.queue.maxDeliveries, queue.settings.maxDeliveries],
    ["orderBy", options.orderBy, settings.queue.isOrderedByKey, queue.settings.isOrderedByKey],
  ] as const;
  for (const [name, given, wanted, present] of asked) {
    if (given !== undefined && wanted !== present) {
      throw invalid(name, `${quote(present)}, as the first member of ${quote(queue.name)} has it (or left out)`, given);
    }
  }
}
