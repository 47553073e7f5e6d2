import type { Decision } from "../delivery/ack-tracker.js";
import type { DropReason } from "../dispatch/queue-facts.js";
import type { Message } from "../message/message.js";

/** What is about to be published. A plugin may change it in place. */
export interface PublishDraft {
  /** Where it is published to. */
  topic: string;
  /** Its payload. */
  data: unknown;
  /** A copy of its own, which the plugin may change. */
  headers: Record<string, string>;
  /** What `orderBy: "key"` goes by. */
  key: string | undefined;
  /** 0 (lowest) to 9 (highest). */
  priority: number;
}

/**
 * Sees what passes through the broker, and may alter or veto a publish. The same door serves everyone: a plugin can do
 * nothing to a message that its user could not do with the public API.
 *
 * Every hook is called synchronously. An `onPublish` that throws vetoes: the publish rejects with that error, and nothing
 * has changed. What another hook throws becomes an `error` event and has no other effect.
 *
 * @example
 * ```ts
 * const stamp: Plugin = { name: "stamp", onPublish: (draft) => { draft.headers["sent-by"] = "billing"; } };
 * new InProcBroker({ plugins: [stamp] });
 * ```
 */
export interface Plugin {
  /** For the plugin's own use, and to tell plugins apart. */
  readonly name: string;
  /** Before validation against schemas and limits; so what a plugin makes of a message is checked too. */
  onPublish?(draft: PublishDraft): void;
  /** A message was accepted: `matched` subscriptions get it. */
  onPublished?(message: Message, matched: number): void;
  /** A message was accepted and waits until `deliverAt` (milliseconds since 1970); `onPublished` follows then. */
  onScheduled?(message: Message, deliverAt: number): void;
  /** A message is handed to a consumer. */
  onDeliver?(message: Message, subscription: string): void;
  /** Runs around a handler: call `run` once and return what it returns. For context that a handler should see. */
  around?(message: Message, subscription: string, run: () => unknown): unknown;
  /** A delivery is decided. */
  onSettle?(message: Message, decision: Decision, subscription: string): void;
  /** A message will not reach a subscription that it matched. */
  onDrop?(message: Message, reason: DropReason | "expired", subscription: string): void;
  /** The broker closes; may return a promise, which close waits for within its deadline. */
  close?(): void | Promise<void>;
}
