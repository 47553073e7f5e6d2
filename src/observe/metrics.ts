import type { DeadLetterStats } from "../delivery/dead-letter.js";
import type { DropReason } from "../dispatch/queue-facts.js";

/**
 * What a broker did and holds, as plain data.
 *
 * Two sums hold at any instant. Of messages: `published = routedMessages + unrouted + scheduled + scheduledExpired +
 * scheduledCancelled`. Of copies, one for each subscription or group a message was meant for:
 * `routed = delivered + queued + inFlight + delayed + expired + deadLettered + (all of dropped)`.
 */
export interface MetricsSnapshot {
  /** Milliseconds since the broker was made. */
  readonly uptime: number;

  /** Messages accepted. */
  readonly published: number;
  /** Of these: went to at least one subscription. */
  readonly routedMessages: number;
  /** Of these: nobody subscribed. */
  readonly unrouted: number;
  /** Of these: wait for their `delay` or `deliverAt`. */
  readonly scheduled: number;
  /** Of these: expired before their time came. */
  readonly scheduledExpired: number;
  /** Of these: taken back by `cancel`. */
  readonly scheduledCancelled: number;
  /** Publishes refused with an error; nothing was accepted. */
  readonly refused: number;
  /** Publishes under a `dedupId` that was there already. */
  readonly duplicates: number;

  /** Copies meant for subscriptions and groups. */
  readonly routed: number;
  /** Of these: acknowledged, or handed over where nothing is acknowledged. */
  readonly delivered: number;
  /** Of these: wait to be taken. */
  readonly queued: number;
  /** Of these: handed out and not settled. */
  readonly inFlight: number;
  /** Of these: given back, waiting for their backoff. */
  readonly delayed: number;
  /** Of these: expired before they were handed out. */
  readonly expired: number;
  /** Of these: given up on and kept. */
  readonly deadLettered: number;
  /** Of these: not delivered, by reason. */
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>;

  /** Hand-overs to consumers, repeated ones included. */
  readonly handedOver: number;
  /** Repeated hand-overs. */
  readonly redelivered: number;
  /** Deliveries given back by a nack, or by a handler that threw. */
  readonly nacked: number;
  /** Deliveries taken back after the ack timeout. */
  readonly timedOut: number;
  /** Handlers that threw or rejected. */
  readonly handlerErrors: number;
  /** Settles that came too late or twice. */
  readonly refusedSettles: number;
  /** Answers that came when nobody waited any more. */
  readonly lateReplies: number;

  /** Topics in use. */
  readonly topics: number;
  /** Subscriptions, each member of a group counted. */
  readonly subscriptions: number;
  /** Topics with a retained message. */
  readonly retained: number;
  /** Publishers held back by full queues. */
  readonly waitingPublishers: number;
  /** Bytes of messages held, each message counted once. */
  readonly memoryBytes: number;
  /** The broker option `memory.maxBytes`. */
  readonly memoryMaxBytes: number;
  /** Requests that wait for an answer. */
  readonly pendingRequests: number;
  /** `dedupId`s remembered. */
  readonly dedupEntries: number;
  /** Transactions. */
  readonly transactions: {
    /** Open now. */
    readonly open: number;
    /** Ever committed. */
    readonly committed: number;
    /** Ever rolled back, by a call, a throw or a failed commit. */
    readonly rolledBack: number;
    /** Ever rolled back because their time was over. */
    readonly timedOut: number;
  };
  /** The store's; undefined without the broker option `persistence`, and until it is open. */
  readonly store: StoreMetricsView | undefined;
  /** Undefined without the broker option `deadLetter`. */
  readonly deadLetters: DeadLetterStats | undefined;
}

// The broker's port (`StoreMetrics`) has the same shape; it is above this layer, so its type may not be named here.
/** A store's figures. Those of its disk are a second old at most, where somebody asks each second: nobody waits for the disk. */
export interface StoreMetricsView {
  /** `open`; `full`: no messages, but settles; `failed`: nothing; `closing`, `closed`. */
  readonly state: string;
  /** Durable subscriptions, connected or not, and subscriptions that began in the past. */
  readonly durables: number;
  /** Messages kept. */
  readonly messages: number;
  /** The log's files. */
  readonly segments: number;
  /** Bytes of them. */
  readonly logBytes: number;
  /** Bytes of the log and of the database's blocks. */
  readonly liveBytes: number;
  /** Bytes of all of the store's files, with what is no longer needed; as of the last look at the disk. */
  readonly totalBytes: number;
  /** Bytes that this process may still write on the store's disk; as of the same look. */
  readonly freeBytes: number;
  /** Bytes that wait to be written. */
  readonly bufferedBytes: number;
  /** Syncs of the disk. */
  readonly syncs: number;
  /** Milliseconds of all of them. */
  readonly syncMs: number;
  /** Checkpoints. */
  readonly checkpoints: number;
  /** Checkpoints that failed; each is tried again. */
  readonly failedCheckpoints: number;
}

/** The broker's figures. */
export interface Metrics {
  /** All of them, as plain data of this instant. */
  snapshot(): MetricsSnapshot;
  /** The same in the Prometheus text format 0.0.4, under names that begin with `inproc_broker_`. */
  prometheus(): string;
}

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  /** Undefined: the broker has no such thing. */
  readonly read: (
    snapshot: MetricsSnapshot,
  ) => number | readonly (readonly [label: string, value: number])[] | undefined;
}

const families: readonly Family[] = [
  counter("published", "Messages accepted.", (s) => s.published),
  counter("routed_messages", "Messages that went to at least one subscription.", (s) => s.routedMessages),
  counter("unrouted", "Messages nobody subscribed to.", (s) => s.unrouted),
  counter("scheduled_expired", "Messages that expired before their time came.", (s) => s.scheduledExpired),
  counter("scheduled_cancelled", "Messages taken back before their time came.", (s) => s.scheduledCancelled),
  counter("refused", "Publishes refused with an error.", (s) => s.refused),
  counter("duplicates", "Publishes whose dedupId was known.", (s) => s.duplicates),
  counter("routed", "Copies meant for subscriptions and groups.", (s) => s.routed),
  counter("delivered", "Copies done with.", (s) => s.delivered),
  counter("handed_over", "Hand-overs, repeated ones included.", (s) => s.handedOver),
  counter("redelivered", "Repeated hand-overs.", (s) => s.redelivered),
  counter("nacked", "Deliveries given back.", (s) => s.nacked),
  counter("ack_timeouts", "Deliveries taken back after the ack timeout.", (s) => s.timedOut),
  counter("handler_errors", "Handlers that threw.", (s) => s.handlerErrors),
  counter("expired", "Copies that expired.", (s) => s.expired),
  counter("dead_lettered", "Copies that were dead-lettered.", (s) => s.deadLettered),
  counter("dropped", "Copies dropped, by reason.", (s) =>
    Object.entries(s.dropped).map(([reason, value]) => [`reason="${reason}"`, value] as const),
  ),
  counter("refused_settles", "Settles that came too late or twice.", (s) => s.refusedSettles),
  counter("late_replies", "Answers nobody waited for any more.", (s) => s.lateReplies),
  counter("transactions_committed", "Transactions committed.", (s) => s.transactions.committed),
  counter("transactions_rolled_back", "Transactions rolled back.", (s) => s.transactions.rolledBack),
  counter("transactions_timed_out", "Transactions timed out.", (s) => s.transactions.timedOut),
  gauge("uptime_seconds", "Seconds since the broker was made.", (s) => s.uptime / 1000),
  gauge("queued", "Copies that wait.", (s) => s.queued),
  gauge("in_flight", "Copies handed out and not settled.", (s) => s.inFlight),
  gauge("delayed", "Copies that wait for their backoff.", (s) => s.delayed),
  gauge("scheduled", "Messages that wait for their time.", (s) => s.scheduled),
  gauge("waiting_publishers", "Publishers held back by full queues.", (s) => s.waitingPublishers),
  gauge("topics", "Topics known.", (s) => s.topics),
  gauge("subscriptions", "Subscriptions.", (s) => s.subscriptions),
  gauge("retained", "Retained messages.", (s) => s.retained),
  gauge("memory_bytes", "Bytes of messages held.", (s) => s.memoryBytes),
  gauge("memory_max_bytes", "Bytes of messages that may be held.", (s) => s.memoryMaxBytes),
  gauge("pending_requests", "Requests that wait for an answer.", (s) => s.pendingRequests),
  gauge("dedup_entries", "Values of dedupId that are remembered.", (s) => s.dedupEntries),
  gauge("transactions_open", "Transactions open.", (s) => s.transactions.open),
  gauge("dead_letters", "Dead letters kept.", (s) => s.deadLetters?.count ?? 0),
  counter("store_syncs", "Syncs of the store's log.", (s) => s.store?.syncs),
  counter("store_sync_seconds", "Seconds spent in syncs.", (s) =>
    s.store === undefined ? undefined : s.store.syncMs / 1000,
  ),
  counter("store_checkpoints", "Checkpoints.", (s) => s.store?.checkpoints),
  counter("store_checkpoints_failed", "Checkpoints that failed.", (s) => s.store?.failedCheckpoints),
  gauge("store_up", "1 while the store takes messages.", (s) =>
    s.store === undefined ? undefined : Number(s.store.state === "open"),
  ),
  gauge("store_durables", "Durable subscriptions.", (s) => s.store?.durables),
  gauge("store_messages", "Messages kept.", (s) => s.store?.messages),
  gauge("store_segments", "Files of the log.", (s) => s.store?.segments),
  gauge("store_log_bytes", "Bytes of the log.", (s) => s.store?.logBytes),
  gauge("store_live_bytes", "Bytes of the log and of blocks.", (s) => s.store?.liveBytes),
  gauge("store_total_bytes", "Bytes of the store's files.", (s) => s.store?.totalBytes),
  gauge("store_free_bytes", "Bytes left on the store's disk.", (s) => s.store?.freeBytes),
  gauge("store_buffered_bytes", "Bytes that wait to be written.", (s) => s.store?.bufferedBytes),
];

/** A snapshot in the Prometheus text exposition format (prometheus.io/docs/instrumenting/exposition_formats). */
export function prometheusText(snapshot: MetricsSnapshot): string {
  const lines: string[] = [];
  for (const { name, type, help, read } of families) {
    const value = read(snapshot);
    if (value === undefined) continue;
    const full = `inproc_broker_${name}${type === "counter" ? "_total" : ""}`;
    lines.push(`# HELP ${full} ${help}`, `# TYPE ${full} ${type}`);
    if (typeof value === "number") lines.push(`${full} ${sampleValue(value)}`);
    else for (const [label, labelled] of value) lines.push(`${full}{${label}} ${sampleValue(labelled)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** A limit may be Infinity, which the format spells in its own way. */
function sampleValue(value: number): string {
  return value === Infinity ? "+Inf" : String(value);
}

function counter(name: string, help: string, read: Family["read"]): Family {
  return { name, type: "counter", help, read };
}

function gauge(name: string, help: string, read: Family["read"]): Family {
  return { name, type: "gauge", help, read };
}
