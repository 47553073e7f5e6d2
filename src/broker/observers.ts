import type { Decision } from "../delivery/ack-tracker.js";
import type { DispatchHost } from "../dispatch/ports.js";
import type { DropReason, QueueFacts } from "../dispatch/queue-facts.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import type { Delivery } from "../message/delivery.js";
import { deliveryOver } from "../message/delivery.js";
import type { Message } from "../message/message.js";
import { PublishedMessage } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import type { Events } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import { openTraceChannel } from "../platform/tracing.js";
import type { Plugin } from "./plugin.js";
import type { TurnStamp } from "./turn-stamp.js";

/** What a decision looks like to those who watch the `settle` channel. */
export interface SettleContext {
  /** The delivery that was decided. */
  readonly message: Message;
  /** How. */
  readonly decision: Decision;
  /** The subscription or group it was delivered to. */
  readonly subscription: string;
}

/** Milliseconds between two slow-consumer events of one subscription. */
const slowEventIntervalMs = 1_000;

/**
 * Tells those who watch: listeners of the broker's events, plugins, the `settle` channel. What one of them throws is an
 * `error` event, and nothing more.
 */
export class Observers {
  /** Runs a handler within every plugin's `around`; null where there is none. */
  readonly around: DispatchHost["around"];
  /** Tells the plugins of a hand-over; null where none asks. */
  readonly onDeliver: DispatchHost["onDeliver"];
  /** Tells of a decision. */
  readonly onSettle: (delivery: Delivery, decision: Decision) => void;
  readonly #plugins: readonly Plugin[];
  readonly #events: Events;
  readonly #clock: Clock;
  readonly #stamps: TurnStamp;

  constructor(plugins: readonly Plugin[], events: Events, clock: Clock, stamps: TurnStamp) {
    this.#plugins = plugins;
    this.#events = events;
    this.#clock = clock;
    this.#stamps = stamps;
    const aroundHooks = plugins.filter((plugin) => plugin.around !== undefined);
    const deliverHooks = plugins.filter((plugin) => plugin.onDeliver !== undefined);
    this.around =
      aroundHooks.length === 0 ? null : (message, queue, run) => runAround(aroundHooks, message, queue.name, run);
    this.onDeliver =
      deliverHooks.length === 0
        ? null
        : (message, queue) => this.#callHooks(deliverHooks, (plugin) => plugin.onDeliver?.(message, queue.name));
    this.onSettle = this.#settleObserver();
  }

  /** A delivery that was given back, or timed out, comes again. */
  tellRedelivery(message: Delivery, delay: number, reason: string | undefined): void {
    if (!this.#events.has("redeliver")) return;
    const { deliveryCount } = message;
    this.#events.emit("redeliver", { message, subscription: message.source.name, deliveryCount, delay, reason });
  }

  /** A queue is at its bound: told once in a while. */
  tellSlow(queue: QueueFacts): void {
    const told = queue.slowness;
    told.occurrences += 1;
    // A flood asks for every message: one look at the clock a turn is enough.
    const { current } = this.#stamps;
    if (current !== null && told.stamp === current) return;
    told.stamp = current;
    const now = this.#clock.monotonic();
    if (now - told.toldAt < slowEventIntervalMs) return;
    const { occurrences } = told;
    told.toldAt = now;
    told.occurrences = 0;
    const { name: subscription, queued, queuedBytes } = queue;
    this.#events.emit("slow-consumer", { subscription, queued, queuedBytes, occurrences });
  }

  /** A subscription does not get a message that it matched. */
  tellDrop(message: Message, reason: DropReason | "expired", subscription: string): void {
    this.#callHooks(this.#plugins, (plugin) => plugin.onDrop?.(message, reason, subscription));
    if (reason !== "expired" && this.#events.has("drop")) {
      this.#events.emit("drop", { message, subscription, reason });
    }
  }

  #settleObserver(): (delivery: Delivery, decision: Decision) => void {
    const hooks = this.#plugins.filter((plugin) => plugin.onSettle !== undefined);
    const channel = openTraceChannel<SettleContext>("inproc-broker:settle");
    return (delivery, decision) => {
      if (channel.isActive) {
        const context = { message: delivery, decision, subscription: delivery.source.name };
        channel.trace(context, () => undefined);
      }
      if (hooks.length > 0) {
        this.#callHooks(hooks, (plugin) => plugin.onSettle?.(delivery, decision, delivery.source.name));
      }
    };
  }

  #callHooks(plugins: readonly Plugin[], call: (plugin: Plugin) => unknown): void {
    const report = (error: unknown): void => this.#events.emit("error", error, { during: "plugin" });
    for (const plugin of plugins) {
      try {
        isLate(call(plugin), report);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** The message under the name of the subscription it was meant for: one object may wait for several of them. */
export function asSeenBy(queue: QueueFacts, message: Message): Message {
  return message instanceof PublishedMessage ? deliveryOver(message, queue as DeliveryQueue, "settled") : message;
}

/** Runs a handler within every plugin's `around`, the first plugin outermost. */
function runAround(plugins: readonly Plugin[], message: Message, subscription: string, run: () => unknown): unknown {
  return plugins.reduceRight<() => unknown>(
    (inner, plugin) => () => plugin.around?.(message, subscription, inner),
    run,
  )();
}
