import { DurableQueue } from "../dispatch/durable-queue.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { Delivery, deliveryOver } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import type { CloseResult } from "./broker.js";
import type { BrokerCore } from "./core.js";

/** Drops everything that the broker holds, and keeps its subscriptions. Returns how many copies and scheduled messages. */
export function purge(core: BrokerCore): number {
  const { registry, delayed, memory, tracker, retained, dedup, publisher, store } = core;
  let purged = 0;
  for (const { consumer } of registry.subscriptions()) {
    for (const delivery of consumer.flights()) {
      tracker.forget(delivery);
      void (delivery.source as DeliveryQueue).finish(delivery, "purged");
      purged += 1;
    }
  }
  for (const queue of registry.queues) {
    purged += queue.purge();
    if (queue instanceof DurableQueue) store?.durables.empty(queue);
  }
  for (const { topic } of retained.matching(() => true, -Infinity)) store?.tell([{ type: "retained-cleared", topic }]);
  for (const message of delayed.clear()) {
    if (store?.publisher.isScheduled(message) === true) void store.publisher.forget(message).catch(() => undefined);
    memory.release(message);
    publisher.counters.scheduledCancelled += 1;
    purged += 1;
  }
  retained.clear();
  if (store?.writer.isOpen === true && dedup.size > 0) store.tell([{ type: "dedup-cleared" }]);
  dedup.clear();
  return purged;
}

/** Empties every queue, ends every subscription, and returns what was left in them; durables' messages stay in the store. */
export function takeUnfinished(core: BrokerCore, error: Error): CloseResult {
  const { registry, delayed, memory, tracker } = core;
  const undelivered: Message[] = [];
  const unacked: Message[] = [];
  const subscriptions = [...registry.subscriptions()];
  for (const { consumer } of subscriptions) {
    for (const delivery of consumer.flights()) {
      unacked.push(delivery);
      tracker.forget(delivery);
      void (delivery.source as DeliveryQueue).finish(delivery, "closed");
    }
  }
  for (const queue of registry.queues) {
    const items = queue instanceof DurableQueue ? queue.park() : queue.clear("closed", error);
    for (const item of items) {
      undelivered.push(item instanceof Delivery ? item : deliveryOver(item, queue, "dropped"));
    }
  }
  for (const subscription of subscriptions) void registry.remove(subscription);
  for (const message of delayed.clear()) {
    memory.release(message);
    undelivered.push(message);
  }
  return { undelivered, unacked };
}
