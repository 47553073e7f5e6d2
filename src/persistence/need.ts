/** Which messages are kept, decided from numbers alone: a function of the log, so that recovery comes to the same. */
import type { Durable, Topic } from "./durable.js";
import { indexFlag } from "./log-index.js";
import type { LogIndex } from "./log-index.js";
import type { RetentionSettings } from "./retention-settings.js";
import type { Block } from "./store/block.js";

/** `waited`: a durable has to settle it. `history`: kept within the limits. `gone`: not there any more, to whoever asks. */
export type Need = "waited" | "history" | "gone";

/**
 * Whether a message that has not expired is kept, as far as its age does not matter. What is gone stays gone, whichever
 * durables come and go: `StoreState` sees to it, so that it does not matter when a checkpoint removes it.
 *
 * @param consumed what is gone though nothing else says so
 */
export function needOf(
  policy: RetentionSettings["policy"],
  consumed: Durable,
  topic: Topic,
  seq: number,
  isUnclaimed: boolean,
): Need {
  if (isConsumed(consumed, seq)) return "gone";
  const { durables } = topic;
  for (let index = 0; index < durables.length; index++) {
    if (durables[index]?.isPending(topic, seq) === true) return "waited";
  }
  if (policy === "limits" || policy === "work-queue") return "history";
  return policy === "until-settled" && isUnclaimed && !isCovered(topic, seq) ? "history" : "gone";
}

/** Whether it is gone for all, also for a durable that has not settled it. */
export function isConsumed({ floor, settled }: Durable, seq: number): boolean {
  return seq <= floor || (settled.size > 0 && settled.has(seq));
}

/** Whether a durable was there for the message when it came, or asked for it later. Who only reads history does not ask. */
export function isCovered(topic: Topic, seq: number): boolean {
  for (const durable of topic.durables) if (!durable.isReader && durable.covers(topic, seq)) return true;
  return false;
}

/** What of a store's state says which messages there are. */
export interface Messages {
  readonly index: LogIndex;
  blocks(): IterableIterator<Block>;
}

/** Calls `visit` for each message of the topics above `afterSeq`, those in blocks first. */
export function visitMessages(
  messages: Messages,
  topics: ReadonlySet<Topic>,
  afterSeq: number,
  visit: (topic: Topic, seq: number, isUnclaimed: boolean) => void,
): void {
  if (topics.size === 0) return;
  for (const block of messages.blocks()) {
    if (block.lastSeq <= afterSeq || !topics.has(block.topic)) continue;
    for (const seq of block.seqs()) if (seq > afterSeq) visit(block.topic, seq, block.facts.isUnclaimed);
  }
  messages.index.scan(afterSeq, (seq, _lsn, topic, _expiresAt, flags) => {
    if (topics.has(topic)) visit(topic, seq, (flags & indexFlag.isUnclaimed) !== 0);
    return true;
  });
}
