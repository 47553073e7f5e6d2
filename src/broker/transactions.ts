import { brokerError, quote } from "../errors.js";
import { Delivery } from "../message/delivery.js";
import type { Message, NackOptions } from "../message/message.js";
import { quietRejection, settledAtHandOver } from "../message/message.js";
import { TransactionManager } from "../transaction/transaction-manager.js";
import type { BrokerCore } from "./core.js";
import type { Draft } from "./draft.js";
import type { PublishOptions } from "./options.js";
import { invalid } from "./options.js";
import type { Receipt } from "./receipt.js";

type Operation =
  | { readonly kind: "publish"; readonly draft: Draft | Promise<Draft> }
  | { readonly kind: "ack"; readonly delivery: Delivery }
  | { readonly kind: "nack"; readonly delivery: Delivery; readonly options: NackOptions | undefined }
  | { readonly kind: "reject"; readonly delivery: Delivery; readonly reason: string | undefined };

type SettleOperation = Exclude<Operation, { readonly kind: "publish" }>;

/** What can be staged in the broker's transactions, and what a commit does with it. */
export class Transactions {
  readonly manager: TransactionManager<Operation>;
  readonly #core: BrokerCore;

  constructor(core: BrokerCore, settings: NonNullable<BrokerCore["settings"]["transactions"]>) {
    this.#core = core;
    this.manager = new TransactionManager<Operation>(settings, {
      deadlines: core.timers.deadlines,
      newId: () => core.publisher.newId(),
      unstage: (operation) => {
        if (operation.kind !== "publish") core.tracker.unstage(operation.delivery);
      },
      apply: (operations) => this.#apply(operations),
    });
  }

  publish(id: string, topic: string, data: unknown, options: PublishOptions): Promise<Receipt> {
    return this.#staging(id, () => {
      for (const name of ["confirm", "report"] as const) {
        if (options[name] !== undefined) throw invalid(name, "left out in a transaction", options[name]);
      }
      const messageId = options.id ?? this.#core.publisher.newId();
      const draft = this.#core.drafter.draft(topic, data, { ...options, id: messageId });
      // A refusal that comes later is commit's to report; it must not end the process before.
      if (draft instanceof Promise) draft.catch(() => undefined);
      this.manager.stage(id, { kind: "publish", draft });
      return { id: messageId, seq: 0, matched: 0, duplicate: false };
    });
  }

  ack(id: string, message: Message<unknown>): Promise<void> {
    return this.#settle(id, message, (delivery) => ({ kind: "ack", delivery }));
  }

  nack(id: string, message: Message<unknown>, options: NackOptions | undefined): Promise<void> {
    return this.#settle(id, message, (delivery) => ({ kind: "nack", delivery, options }));
  }

  reject(id: string, message: Message<unknown>, reason: string | undefined): Promise<void> {
    return this.#settle(id, message, (delivery) => ({ kind: "reject", delivery, reason }));
  }

  #settle(id: string, message: Message<unknown>, operationOf: (delivery: Delivery) => SettleOperation): Promise<void> {
    return this.#staging(id, () => {
      if (!(message instanceof Delivery)) {
        if (typeof message === "object" && message !== null) throw settledAtHandOver(message.topic);
        throw brokerError("ERR_INVALID_OPTION", `a transaction settles messages it was given; got ${quote(message)}`);
      }
      this.manager.requireOpen(id);
      this.#core.tracker.stage(message);
      try {
        this.manager.stage(id, operationOf(message));
      } catch (error) {
        this.#core.tracker.unstage(message);
        throw error;
      }
    });
  }

  /** Runs a step that may refuse; a refusal spoils the transaction, and may be left unlooked at until commit. */
  #staging<Result>(id: string, step: () => Result): Promise<Result> {
    try {
      this.manager.requireOpen(id);
      return Promise.resolve(step());
    } catch (error) {
      this.manager.spoil(id, error);
      return quietRejection(error as Error);
    }
  }

  async #apply(operations: readonly Operation[]): Promise<void> {
    const drafts: Draft[] = [];
    for (const operation of operations) {
      if (operation.kind !== "publish") continue;
      drafts.push(operation.draft instanceof Promise ? await operation.draft : operation.draft);
    }
    const settles = operations.filter((one): one is SettleOperation => one.kind !== "publish");
    for (const { delivery } of settles) if (delivery.state !== "staged") throw delivery.settleError();
    const accepted = this.#core.publisher.accept(drafts, true);
    // From here on nothing can fail, and nothing else runs in between.
    for (const operation of settles) this.#carryOut(operation);
    await Promise.all(accepted.flatMap(({ waits }) => waits));
  }

  #carryOut(operation: SettleOperation): void {
    const { tracker } = this.#core;
    const { delivery } = operation;
    tracker.unstage(delivery);
    if (operation.kind === "ack") void tracker.ack(delivery);
    else if (operation.kind === "nack") void tracker.nack(delivery, operation.options);
    else void tracker.reject(delivery, operation.reason);
  }
}
