import type { PublishedMessage } from "../message/message.js";
import type { StandardSchema } from "./schema.js";

/** What belongs to a topic besides its subscriptions. */
export interface TopicFacts {
  readonly schema: StandardSchema | null;
  /** Takes the answers to requests; null for every ordinary topic. */
  readonly inbox: Inbox | null;
  /** True where its messages go through the store. */
  readonly isStored: boolean;
  /** True where a message needs nothing but its route: it goes to no inbox and no store. */
  readonly isDirect: boolean;
}

/** Where answers to requests go. */
export interface Inbox {
  /** Takes an answer; false where nobody waits for it any more. */
  answer(message: PublishedMessage): boolean;
}
