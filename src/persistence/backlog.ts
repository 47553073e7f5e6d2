/** What durables have still to settle. */
import { unknownDurable } from "./durable-state.js";
import type { Topic } from "./durable.js";
import type { History } from "./history.js";
import { isConsumed } from "./need.js";
import type { AttemptState, PendingMessage, PendingPage, StoredMessage } from "./operations.js";
import type { BacklogStats } from "./reports.js";
import type { ExpirySweep } from "./expiry-sweep.js";
import type { Retention } from "./retention.js";
import type { StoreState } from "./state.js";

export interface BacklogParts {
  readonly state: StoreState;
  readonly history: History;
  readonly retention: Retention;
  readonly sweep: ExpirySweep;
  /** Throws when the store was closed meanwhile. */
  readonly requireOpen: () => void;
}

/** Which of a durable's expired messages are asked for. */
export interface ExpiredRange {
  readonly afterSeq: number;
  readonly throughSeq: number;
}

/**
 * The next messages that a durable has to settle, above `afterSeq`, in the order of their numbers. Memory is bounded
 * by the page. Messages whose retry is not due are in it, with their `retryAt`. Expired ones are not, unless they are asked
 * for.
 *
 * @param maxBytes the page ends when its payloads reach this
 * @param withExpired expired ones too, as far as they have not been removed; who only reads history never gets them
 */
export async function pendingPage(
  parts: BacklogParts,
  name: string,
  afterSeq: number,
  limit: number,
  maxBytes: number,
  withExpired: boolean,
): Promise<PendingPage> {
  const { state, history, retention, requireOpen } = parts;
  const messages: PendingMessage[] = [];
  let throughSeq = afterSeq;
  let bytes = 0;
  for (;;) {
    requireOpen();
    const durable = state.durables.get(name);
    if (durable === undefined) throw unknownDurable(name);
    const isLeftOut = (expiresAt: number | undefined): boolean =>
      (durable.isReader || !withExpired) && retention.isExpired(expiresAt);
    const plan = history.plan({
      topics: durable.topics,
      wants: (topic, seq) => durable.isPending(topic, seq) && !isConsumed(state.consumed, seq),
      skips: ({ facts }) => isLeftOut(facts.expiresAt),
      afterSeq: Math.max(throughSeq, durable.floor),
      throughSeq: Infinity,
      limit: Math.min(limit - messages.length, 1024),
    });
    for await (const found of history.fetch(plan.places)) {
      for (const message of found) {
        // It may have been settled while it was read.
        if (isLeftOut(message.expiresAt) || durable.settled.has(message.seq)) continue;
        if (message.timestamp < durable.notBefore) continue;
        messages.push(pendingMessage(message, durable.attempts.get(message.seq)));
        bytes += message.payloadBytes;
        if (bytes >= maxBytes) return { messages, throughSeq: message.seq, hasMore: true };
      }
    }
    throughSeq = Math.max(throughSeq, plan.throughSeq);
    if (plan.isEnd || messages.length >= limit) return { messages, throughSeq, hasMore: !plan.isEnd };
  }
}

function pendingMessage(message: StoredMessage, attempt: AttemptState | undefined): PendingMessage {
  if (attempt === undefined) return { message, deliveryCount: 0, retryAt: undefined, isDriven: false };
  const { deliveryCount, retryAt } = attempt;
  return { message, deliveryCount, retryAt, isDriven: deliveryCount === 0 };
}

/** Messages of a page of what has expired, and the bytes of their payloads at which it ends. */
const expiredMessages = 256;
const expiredBytes = 1024 * 1024;

/**
 * The next messages that a durable has to settle and that have expired, above `afterSeq` and through `throughSeq`: of the
 * log all, and of the blocks those that the sweep looks at. Memory is bounded by the page.
 */
export async function expiredPage(
  { state, history, retention, sweep, requireOpen }: BacklogParts,
  name: string,
  { afterSeq, throughSeq }: ExpiredRange,
): Promise<PendingPage> {
  requireOpen();
  const messages: PendingMessage[] = [];
  const durable = state.durables.get(name);
  // It was made in this turn, or has gone meanwhile.
  if (durable === undefined) return { messages, throughSeq, hasMore: false };
  const plan = history.plan({
    topics: durable.topics,
    wants: (topic, seq) => durable.isPending(topic, seq) && !isConsumed(state.consumed, seq),
    skips: (block) => !sweep.isDue(block),
    expiredBy: retention.now,
    afterSeq: Math.max(afterSeq, durable.floor),
    throughSeq,
    limit: expiredMessages,
    seesUnsynced: true,
  });
  let bytes = 0;
  for await (const found of history.fetch(plan.places)) {
    for (const message of found) {
      if (!retention.isExpired(message.expiresAt) || durable.settled.has(message.seq)) continue;
      if (message.timestamp < durable.notBefore) continue;
      messages.push(pendingMessage(message, durable.attempts.get(message.seq)));
      bytes += message.payloadBytes;
      if (bytes >= expiredBytes) return { messages, throughSeq: message.seq, hasMore: true };
    }
  }
  return { messages, throughSeq: plan.throughSeq, hasMore: !plan.isEnd };
}

/**
 * How much a durable has still to settle, also by what is on its way into the log. Costs by the number of its messages; expired
 * ones count until they are settled or removed.
 */
export function backlogOf(
  { state }: Pick<BacklogParts, "state">,
  name: string,
  unwritten?: { readonly settled: ReadonlySet<number>; readonly position: number },
): BacklogStats {
  const durable = state.durables.get(name);
  if (durable === undefined) throw unknownDurable(name);
  let messages = 0;
  let oldest = Infinity;
  const { settled, position } = unwritten ?? { settled: new Set<number>(), position: 0 };
  const isLeft = (topic: Topic, seq: number): boolean =>
    seq >= position && durable.isPending(topic, seq) && !isConsumed(state.consumed, seq) && !settled.has(seq);
  const count = (seq: number): void => {
    messages++;
    if (seq < oldest) oldest = seq;
  };
  for (const block of state.blocks()) {
    const { topic, lastSeq } = block;
    if (block.isDamaged || lastSeq <= durable.floor || !durable.topics.has(topic)) continue;
    for (const seq of block.seqs()) if (isLeft(topic, seq)) count(seq);
  }
  state.index.scan(durable.floor, (seq, _lsn, topic) => {
    if (durable.topics.has(topic) && isLeft(topic, seq)) count(seq);
    return true;
  });
  // The durable's own floor is moved at checkpoints.
  const floor = Math.max(durable.floor, Math.min(oldest - 1, state.lastSeq));
  return { messages, attempted: durable.attempts.size, floor };
}
