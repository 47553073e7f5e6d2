import type { DataOf, TopicName } from "../message/typed-topics.js";
import type { Message, NackOptions } from "../message/message.js";
import type { PublishOptions } from "./options.js";
import type { Receipt } from "./receipt.js";

/** How to begin a transaction. */
export interface TransactionOptions {
  /** Its name, for use where the object cannot travel; default one of its own. */
  readonly id?: string | undefined;
  /** Milliseconds until it is rolled back by itself; default the broker's `transactions.timeout`. */
  readonly timeout?: number | undefined;
}

/**
 * Publishes and settles that become visible together, or not at all.
 *
 * Its methods may be left unawaited: whatever one of them refuses makes `commit` roll back and reject with that error.
 *
 * @example
 * ```ts
 * await broker.transaction(async (tx) => {
 *   tx.publish("invoices.created", invoice);
 *   tx.ack(msg);
 * });
 * ```
 */
export interface Transaction<Topics> extends AsyncDisposable {
  /** What `commitTransaction`, `rollbackTransaction` and the publish option `transaction` know it by. */
  readonly id: string;
  /**
   * Stages a message. `confirm` and `report` are refused here: nothing is delivered before commit.
   * The receipt's `seq` and `matched` are 0, since neither is known yet.
   */
  publish<Topic extends TopicName<Topics>>(
    topic: Topic,
    data: DataOf<Topics, Topic>,
    options?: PublishOptions,
  ): Promise<Receipt>;
  /** Stages the acknowledgement of a delivery. Until the end of the transaction nobody else can settle it. */
  ack(message: Message<unknown>): Promise<void>;
  /** Stages a nack. */
  nack(message: Message<unknown>, options?: NackOptions): Promise<void>;
  /** Stages a reject. */
  reject(message: Message<unknown>, reason?: string): Promise<void>;
  /**
   * Makes everything visible as one, after checking all of it (limits, memory, deliveries still held). On any failure
   * everything is rolled back and this rejects with the reason. A repeat rejects with `ERR_TRANSACTION_SETTLED`.
   */
  commit(): Promise<void>;
  /** Drops what was staged; deliveries are their consumers' again. */
  rollback(): Promise<void>;
  /** Rolls back, unless it is over. */
  [Symbol.asyncDispose](): Promise<void>;
}
