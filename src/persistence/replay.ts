import type { History } from "./history.js";
import type { StoredMessage } from "./operations.js";
import type { Retention } from "./retention.js";
import type { StoreState } from "./state.js";

/** A place in history: a message number, or a time in milliseconds since 1970. */
export type HistoryPoint =
  | {
      /** A message's number. */
      readonly seq: number;
    }
  | {
      /** Milliseconds since 1970. */
      readonly time: number;
    };

/** What of history is read. */
export interface ReplayOptions {
  /** The first message, included. By default the oldest. */
  readonly from?: HistoryPoint | undefined;
  /** The last message, included. By default the last one that was stored when the replay began. */
  readonly to?: HistoryPoint | undefined;
  /** How many messages at most. By default all. */
  readonly limit?: number | undefined;
}

/** `history`: what the retention promises. `kept`: also what is kept for durables alone, expired or not, for an export. */
export type ReplayScope = "history" | "kept";

/** Messages that are looked up at a time. */
const pageMessages = 2048;

/**
 * History, in the order of numbers over all topics. What has expired (of what is `kept`: unless a durable has still to be told),
 * and what is not kept any more, is left out, whether or not a checkpoint has removed it yet. The limits of bytes and count are those of the moment in which it begins.
 */
export async function* replay(
  parts: { readonly state: StoreState; readonly history: History; readonly retention: Retention },
  patterns: readonly string[],
  { from, to, limit = Infinity }: ReplayOptions,
  scope: ReplayScope = "history",
): AsyncGenerator<StoredMessage[], void, undefined> {
  const { state, history, retention } = parts;
  const fromTime = from !== undefined && "time" in from ? from.time : 0;
  const toTime = to !== undefined && "time" in to ? to.time : Infinity;
  const throughSeq = Math.min(to !== undefined && "seq" in to ? to.seq : Infinity, state.lastSeq);
  const floor = retention.floor();
  const isKept = scope === "kept";
  const firstSeq = from !== undefined && "seq" in from ? from.seq : 1;
  let afterSeq = Math.max(firstSeq - 1, isKept ? 0 : retention.hiddenThrough(floor));
  let left = limit;
  while (left > 0) {
    const {
      places,
      throughSeq: seen,
      isEnd,
    } = history.plan({
      topics: state.topics.matching(patterns),
      wants: (topic, seq, isUnclaimed) =>
        isKept
          ? retention.need(topic, seq, isUnclaimed, floor) !== "gone"
          : retention.shows(topic, seq, isUnclaimed, floor),
      skips: ({ facts, topic: { durables } }) =>
        facts.lastTimestamp < fromTime ||
        facts.firstTimestamp > toTime ||
        (retention.isExpired(facts.expiresAt) && !(isKept && durables.length > 0)),
      afterSeq,
      throughSeq,
      limit: Math.min(pageMessages, left),
    });
    for await (const messages of history.fetch(places)) {
      const { oldestKept } = retention;
      const wanted = messages.filter(({ timestamp, expiresAt, topic, seq }) => {
        if (timestamp < fromTime || timestamp > toTime) return false;
        if (retention.isExpired(expiresAt)) return isKept && retention.isToBeTold(topic, seq, timestamp, expiresAt);
        if (retention.isOfNobody(topic, seq, timestamp)) return false;
        if (!retention.isTooOld(topic, seq, timestamp, oldestKept)) return true;
        return isKept && retention.isWaited(topic, seq, timestamp);
      });
      if (wanted.length === 0) continue;
      left -= wanted.length;
      yield wanted;
    }
    if (isEnd) return;
    afterSeq = seen;
  }
}
