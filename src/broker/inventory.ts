import { DurableQueue } from "../dispatch/durable-queue.js";
import { Subscription } from "../dispatch/subscription.js";
import { brokerError, quote } from "../errors.js";
import type { Message, MessageRecord } from "../message/message.js";
import { messageRecord } from "../message/message.js";
import { count } from "./checks.js";
import type { BrokerCore } from "./core.js";

/** A topic in use. */
export interface TopicInfo {
  /** Its name. */
  readonly topic: string;
  /** Messages published to it since it came into use. */
  readonly published: number;
  /** Subscriptions and groups that match it. */
  readonly subscriptions: number;
}

/** A subscription, or the queue that members of a group share. */
export interface SubscriptionInfo {
  /** What `broker.peek` and dead letters call it: the group's name, the one given, or a number of its own. */
  readonly name: string;
  /** What it subscribed to, without repeats. */
  readonly patterns: readonly string[];
  /** Undefined where it competes with nobody. */
  readonly group: string | undefined;
  /** Subscriptions that share it: 1, or the members of the group. */
  readonly consumers: number;
  /** Messages that wait to be taken, those of held publishers included. */
  readonly queued: number;
  /** Handed out and not settled. */
  readonly inFlight: number;
  /** Given back, waiting for their backoff. */
  readonly delayed: number;
  /** The durable's name; undefined for a subscription that ends with its process. */
  readonly durable: string | undefined;
  /**
   * Messages that a durable has still to settle, those that are queued, in flight or delayed included; counted in the store,
   * at a cost that grows with their number. Undefined for others, and until the store is open.
   */
  readonly backlog: number | undefined;
}

/** The topics in use. */
export function topicsOf(core: BrokerCore): TopicInfo[] {
  return [...core.router.topics()].map((route) => ({
    topic: route.topic,
    published: route.published,
    subscriptions: route.matched,
  }));
}

/** The queues; with `topic`, those that a message published to it would go to. */
export function subscriptionsOf(core: BrokerCore, topic: string | undefined): SubscriptionInfo[] {
  const { registry, router, store } = core;
  const route = topic === undefined ? null : router.route(topic);
  const queues = route === null ? registry.queues : [...route.targets, ...route.choices.flat()];
  return [...queues].map((queue) => ({
    name: queue.name,
    patterns: queue.patterns,
    group: queue.group ?? undefined,
    consumers: queue.consumers.length,
    queued: queue.queued,
    inFlight: queue.inFlight,
    delayed: queue.delayed,
    durable: queue instanceof DurableQueue && !queue.isHistory ? queue.durable : undefined,
    backlog: queue instanceof DurableQueue ? store?.durables.backlogOf(queue.durable) : undefined,
  }));
}

/** The first `limit` messages that wait in a queue. Throws `ERR_INVALID_OPTION` where nobody has that name. */
export function peekAt(
  core: BrokerCore,
  subscription: Subscription<Message<unknown>> | string,
  limit: number,
): MessageRecord[] {
  count("limit", limit, 10);
  const queue =
    subscription instanceof Subscription ? subscription.consumer.queue : core.registry.queueNamed(subscription);
  if (queue === undefined) {
    throw brokerError("ERR_INVALID_OPTION", `there is no subscription or group named ${quote(subscription)}`, {
      subscription,
    });
  }
  const records: MessageRecord[] = [];
  for (const message of queue.waitingMessages()) {
    if (records.length >= limit) break;
    records.push({ ...messageRecord(message), subscription: queue.name, deliveryId: "" });
  }
  return records;
}
