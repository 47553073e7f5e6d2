/** A store as lines of JSON: docs/format/export.md. */
import { matchesPattern } from "../topic/grammar.js";
import type { Durable } from "./durable.js";
import { exportVersion, messageFields } from "./export-format.js";
import type { Waiting, WaitingState } from "./export-format.js";
import type { StoredMessage } from "./operations.js";
import type { ReadableStore } from "./read-store.js";
import { replay } from "./replay.js";
import type { ReplayOptions } from "./replay.js";

/** What of a store is exported. Durables always are. */
export interface ExportSelection extends ReplayOptions {
  /** Topics. By default all. */
  readonly patterns?: readonly string[] | undefined;
}

/**
 * The store as lines, each with its line break: durables, then messages by number, then the rest. Memory in use is
 * bounded but for delayed and retained messages. With a selection, dedup ids are left out.
 */
export async function* exportLines(
  store: ReadableStore,
  selection: ExportSelection,
): AsyncGenerator<string, void, undefined> {
  const { patterns = [">"], from, to, limit } = selection;
  const { recovered, loaded } = store;
  const { durables } = loaded.state;
  const isWhole = [selection.patterns, from, to, limit].every((one) => one === undefined);
  const isChosen = ({ topic }: { topic: string }): boolean =>
    patterns.some((pattern) => matchesPattern(pattern, topic));
  let count = 0;
  const line = (fields: Record<string, unknown>): string => {
    count++;
    return `${JSON.stringify(fields)}\n`;
  };
  yield line({ kind: "store", version: exportVersion, lastSeq: recovered.lastSeq });
  for (const { name, patterns: own, options, start } of durables) {
    yield line({ kind: "durable", name, patterns: own, options: options ?? null, start });
  }
  const retained = recovered.retained.filter(isChosen);
  const toClear = new Set<string>();
  for await (const message of merged(store, patterns, selection, [
    ...recovered.delayed.filter(isChosen),
    ...retained,
  ])) {
    if (message.retain) toClear.add(message.topic);
    const waiting = message.deliverAt === undefined ? waitingFor(store, [...durables], message) : undefined;
    yield line({ kind: "message", ...messageFields(message, waiting) });
  }
  for (const { topic } of retained) toClear.delete(topic);
  for (const topic of toClear) yield line({ kind: "retained-cleared", topic });
  for (const { id, facts, message } of recovered.deadLetters) {
    if (isChosen(message)) yield line({ kind: "dead-letter", id, facts, message: messageFields(message, undefined) });
  }
  const dedup = [...recovered.dedup].sort((a, b) => a.at - b.at || (a.dedupId < b.dedupId ? -1 : 1));
  if (isWhole) for (const record of dedup) yield line({ kind: "dedup", ...record });
  yield line({ kind: "end", lines: count });
}

/** History with the messages that are not in it (delayed, or kept as a topic's last one alone), by number. */
async function* merged(
  { loaded, history, retention }: ReadableStore,
  patterns: readonly string[],
  selection: ExportSelection,
  others: readonly StoredMessage[],
): AsyncGenerator<StoredMessage, void, undefined> {
  const rest = [...others].sort((a, b) => a.seq - b.seq);
  let next = 0;
  for await (const page of replay({ state: loaded.state, history, retention }, patterns, selection, "kept")) {
    for (const message of page) {
      for (; next < rest.length && (rest[next]?.seq ?? 0) < message.seq; next++) yield rest[next] as StoredMessage;
      if (rest[next]?.seq === message.seq) next++;
      yield message;
    }
  }
  yield* rest.slice(next);
}

function waitingFor(
  { loaded }: ReadableStore,
  durables: readonly Durable[],
  { topic: name, seq }: StoredMessage,
): Waiting {
  const { consumed } = loaded.state;
  const isConsumed = consumed !== undefined && (seq <= consumed.floor || consumed.settled.has(seq));
  const waiting = new Map<string, WaitingState>();
  for (const durable of durables) {
    const matches = durable.patterns.some((pattern) => matchesPattern(pattern, name));
    const isPending = seq > durable.floor && !durable.settled.has(seq) && durable.wasMatched(name, seq);
    if (!matches || !isPending || isConsumed) continue;
    const attempt = durable.attempts.get(seq);
    const redelivered = attempt?.deliveryCount === 0 ? true : undefined;
    waiting.set(durable.name, { ...(attempt ?? { deliveryCount: 0 }), redelivered });
  }
  return waiting;
}
