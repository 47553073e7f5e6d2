import { addCounters, QueueCounters } from "../dispatch/queue-facts.js";
import type { Health, HealthCheck } from "../observe/health.js";
import { shareCheck, worst } from "../observe/health.js";
import type { MetricsSnapshot } from "../observe/metrics.js";
import type { BrokerCore } from "./core.js";

interface TransactionFigures {
  readonly openCount: number;
  readonly committed: number;
  readonly rolledBack: number;
  readonly timedOut: number;
}

/** Every figure of the broker, of this instant. */
export function metricsSnapshot(core: BrokerCore, transactions: TransactionFigures | null): MetricsSnapshot {
  const { publisher, registry, retained, memory } = core;
  const sums = new QueueCounters();
  addCounters(sums, registry.retired);
  let queued = 0;
  let inFlight = 0;
  let delayed = 0;
  for (const queue of registry.queues) {
    addCounters(sums, queue.counters);
    queued += queue.queued;
    inFlight += queue.inFlight;
    delayed += queue.delayed;
  }
  const { published, routedMessages, unrouted, scheduledExpired, scheduledCancelled } = publisher.counters;
  const { refused, duplicates, lateReplies } = publisher.counters;
  return {
    uptime: core.clock.monotonic() - core.startedAt,
    published,
    routedMessages,
    unrouted,
    scheduled: core.delayed.size + (core.store?.publisher.releasing ?? 0),
    scheduledExpired,
    scheduledCancelled,
    refused,
    duplicates,
    ...plain(sums),
    queued,
    inFlight,
    delayed,
    refusedSettles: core.tracker.refused,
    lateReplies,
    topics: countOf(core.router.topics()),
    subscriptions: registry.size,
    retained: retained.size,
    waitingPublishers: core.heldPublishers.count,
    memoryBytes: memory.usedBytes,
    memoryMaxBytes: memory.maxBytes,
    pendingRequests: core.requests.size,
    dedupEntries: core.dedup.size,
    transactions: {
      open: transactions?.openCount ?? 0,
      committed: transactions?.committed ?? 0,
      rolledBack: transactions?.rolledBack ?? 0,
      timedOut: transactions?.timedOut ?? 0,
    },
    store: core.store?.figures,
    deadLetters: core.deadLetters?.stats(),
  };
}

/** How the broker is. */
export function brokerHealth(core: BrokerCore, state: "opening" | "open" | "draining" | "closed"): Health {
  const { registry, memory } = core;
  const full = [...registry.queues].filter((queue) => !queue.hasRoom(1)).map((queue) => queue.name);
  const checks: HealthCheck[] = [
    {
      name: "lifecycle",
      status: state === "open" ? "healthy" : state === "closed" ? "unhealthy" : "degraded",
      detail: state,
    },
    shareCheck("memory", memory.usedBytes, memory.maxBytes, "bytes"),
    {
      name: "consumers",
      status: full.length === 0 ? "healthy" : "degraded",
      detail: full.length === 0 ? "every queue has room" : `full: ${full.slice(0, 10).join(", ")}`,
    },
  ];
  const store = core.store?.figures;
  if (store !== undefined) {
    checks.push({
      name: "store",
      status: store.state === "open" ? "healthy" : store.state === "full" ? "degraded" : "unhealthy",
      detail: store.state === "full" ? "the disk is full: publishes are refused, settles work" : store.state,
    });
  }
  return {
    status: worst(checks),
    uptime: core.clock.monotonic() - core.startedAt,
    topics: countOf(core.router.topics()),
    subscriptions: registry.size,
    memoryBytes: memory.usedBytes,
    checks,
  };
}

function countOf(items: Iterable<unknown>): number {
  let count = 0;
  for (const _ of items) count += 1;
  return count;
}

/** Counters as plain data. */
function plain(counters: QueueCounters): Readonly<QueueCounters> {
  return Object.fromEntries(Object.entries(counters)) as unknown as QueueCounters;
}
