import type { Kit } from "./kit.js";
import type { StrictOptions } from "./options.js";
import { showData, showEntry } from "./show.js";

/** What a test leaves behind that a strict one should not, a line each. */
export function leftovers(kit: Kit, strict: Readonly<Record<keyof StrictOptions, boolean>>): string[] {
  const { broker, clock, history } = kit;
  const figures = broker.metrics.snapshot();
  const lines: string[] = [];
  if (strict.unhandled) {
    for (const entry of history.slice()) {
      if (entry.kind !== "published" || entry.matched !== 0 || kit.isInternal(entry.topic)) continue;
      lines.push(`nobody subscribed to ${entry.topic} ${showData(entry.data)}`);
    }
  }
  for (const { name, queued, inFlight } of strict.unfinished ? broker.subscriptions() : []) {
    if (queued > 0) lines.push(`${queued} messages are queued for ${name}`);
    if (inFlight > 0) lines.push(`${inFlight} deliveries to ${name} are not acknowledged`);
  }
  if (strict.timers) {
    const { scheduled, delayed, pendingRequests, transactions } = figures;
    // Calls that wait, and the broker's own deadlines, are said elsewhere, or end with the broker.
    const others = new Set([...kit.timeWaits.agenda(clock.now()), ...kit.ownAgenda()].map(({ what }) => what));
    const pending = clock.pending().filter(({ what }) => !what.startsWith("the ack timeout") && !others.has(what));
    if (pending.length === 0 && scheduled > 0) lines.push(`${scheduled} messages are scheduled`);
    if (pending.length === 0 && delayed > 0) lines.push(`${delayed} messages are in backoff`);
    for (const { inMs, what } of pending) lines.push(`a timer is pending: in ${inMs} ms, ${what}`);
    if (pendingRequests > 0) lines.push(`${pendingRequests} requests wait for an answer`);
    if (transactions.open > 0) lines.push(`${transactions.open} transactions are open`);
  }
  if (strict.subscriptions) {
    for (const { name, patterns, consumers } of broker.subscriptions()) {
      const more = consumers === 1 ? "" : ` (${consumers} members)`;
      lines.push(`the subscription ${name} to ${patterns.join(", ")} is open${more}`);
    }
  }
  if (strict.errors && !kit.hasErrorListener) {
    for (const entry of history.slice()) if (entry.kind === "error" && isLost(kit, entry)) lines.push(showEntry(entry));
  }
  return lines;
}

/** Whether an error is all that is left: what failed will not be tried again. */
function isLost(
  kit: Kit,
  { seq, reason, subscription }: { seq: number; reason?: string; subscription?: string },
): boolean {
  if (reason !== "handler" || subscription === undefined) return true;
  return kit.ledger.get(seq)?.deliveries.get(subscription)?.outcome === "failed";
}
