import { InProcBroker, TimeoutError } from "../index.js";
import { afterRealTime } from "../platform/real-time.js";
import { copyOf } from "./copy.js";
import type { HistoryEntry, HistoryKind } from "./history.js";
import { isEntry } from "./history.js";
import type { Kit } from "./kit.js";
import { showEntries } from "./show.js";
import { listed, standstill } from "./standstill.js";

/** What `t.idle` waits for. */
export interface KitIdleOptions {
  /** A topic or pattern; absent: everything. */
  readonly topic?: string | undefined;
  /** Also waits for messages that are published with a `delay` or `deliverAt`; default false. */
  readonly includeScheduled?: boolean | undefined;
  /** Also waits for messages in their backoff; default true. */
  readonly includeRetries?: boolean | undefined;
  /** Real milliseconds after which it rejects with `ERR_TIMEOUT`; default the kit's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** Resolves once nothing is left to do; on timeout says what is, and who would have to move time. */
export async function whenIdle(kit: Kit, options: KitIdleOptions): Promise<void> {
  const { topic, includeScheduled = false, includeRetries = true, timeoutMs = kit.settings.timeoutMs } = options;
  const { broker } = kit;
  const timeout = new AbortController();
  const cancel = afterRealTime(timeoutMs, () => {
    const what = `not idle after ${timeoutMs} real milliseconds${topic === undefined ? "" : ` (${topic})`}`;
    timeout.abort(timedOut(kit, `${what}; outstanding:\n${outstanding(kit, broker)}`));
  });
  const wait = (): Promise<void> =>
    // Not the kit's own, which tells of those who wait for time.
    InProcBroker.prototype.idle.call(broker, {
      ...(topic === undefined ? {} : { topic }),
      scheduled: includeScheduled,
      retries: includeRetries,
      signal: timeout.signal,
    });
  try {
    await wait();
    // What a fault holds back is on its way too.
    while (kit.publishing.held > 0) {
      await activity(kit, timeout.signal);
      await wait();
    }
  } finally {
    cancel();
  }
}

/** Resolves to the first entry, past or to come, that is of that kind and topic and satisfies the predicate. */
export async function whenEntry(
  kit: Kit,
  kind: HistoryKind,
  pattern: string,
  predicate: (entry: HistoryEntry) => boolean,
  timeoutMs: number,
): Promise<HistoryEntry> {
  const isWanted = (entry: HistoryEntry): boolean => isEntry(entry, kind, pattern) && predicate(entry);
  const past = kit.history.slice().find(isWanted);
  if (past !== undefined) return { ...past, data: copyOf(past.data) };
  return new Promise((resolve, reject) => {
    const cancel = afterRealTime(timeoutMs, () => {
      stopWatching();
      const there = kit.history.slice().filter((entry) => isEntry(entry, kind, ">"));
      const what = `nothing ${kind} on ${pattern} after ${timeoutMs} real milliseconds\n`;
      reject(timedOut(kit, what + showEntries(`${kind} so far`, there)));
    });
    const stopWatching = kit.history.watch((entry) => {
      if (!isWanted(entry)) return;
      cancel();
      stopWatching();
      resolve({ ...entry, data: copyOf(entry.data) });
    });
  });
}

/** Resolves and rejects as the call does; after so many real milliseconds it rejects with `error()`. */
export async function inTime<Value>(call: Promise<Value>, timeoutMs: number, error: () => Error): Promise<Value> {
  let cancel = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    cancel = afterRealTime(timeoutMs, () => reject(error()));
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    cancel();
  }
}

/** Resolves once something happens; rejects with the signal's reason. */
export function activity(kit: Kit, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      stopWatching();
      reject(signal.reason);
    };
    const stopWatching = kit.history.watch(() => {
      stopWatching();
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** An `ERR_TIMEOUT` that says who would have to move time, and what would happen then. */
export function timedOut(kit: Kit, text: string): TimeoutError {
  const { clock, faults, settings } = kit;
  const lines = [text, ...(clock.mode === "real" ? [] : standstill(kit))];
  if (!faults.isEmpty || !faults.disk.isEmpty) lines.push(`  faults are in force, from seed ${settings.seed}.`);
  return new TimeoutError("ERR_TIMEOUT", lines.join("\n"), { facts: { pending: clock.pending().slice(0, listed) } });
}

/** What is left to do, subscription by subscription. */
function outstanding(kit: Kit, broker: InProcBroker<never>): string {
  const lines: string[] = [];
  for (const { name, queued, inFlight, delayed } of broker.subscriptions()) {
    const running = [...kit.ledger.messages()].filter((one) => (one.deliveries.get(name)?.running ?? 0) > 0);
    if (queued + inFlight + delayed + running.length === 0) continue;
    lines.push(
      `  ${name}: ${queued} queued, ${inFlight} in flight, ${delayed} in backoff, ${running.length} in a handler` +
        (running.length === 0 ? "" : ` (${running.map(({ topic, id }) => `${topic} ${id}`).join(", ")})`),
    );
  }
  const { scheduled } = broker.metrics.snapshot();
  if (scheduled > 0) lines.push(`  ${scheduled} scheduled for later`);
  if (kit.publishing.held > 0) lines.push(`  ${kit.publishing.held} publishes held back by faults`);
  return lines.length === 0 ? "  (nothing any more)" : lines.join("\n");
}
