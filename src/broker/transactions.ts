import { checkNackOptions } from "../delivery/ack-tracker.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { brokerError, quote } from "../errors.js";
import { Delivery } from "../message/delivery.js";
import type { Message, NackOptions } from "../message/message.js";
import { quietRejection, settledAtHandOver } from "../message/message.js";
import type { Applied } from "../transaction/transaction-manager.js";
import { TransactionManager } from "../transaction/transaction-manager.js";
import { invalid } from "./checks.js";
import type { BrokerCore } from "./core.js";
import type { Draft } from "./draft.js";
import type { PublishOptions } from "./options.js";
import { expiredAlready } from "./publish-errors.js";
import type { Accepted } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import type { StoreLink } from "./store-link.js";

/** What the transactions need of the broker beyond its core. */
export interface TransactionsHost {
  /** Throws where the broker takes nothing any more. */
  requireOpen(): void;
  /** Counts a commit that waits for a schema, so that `idle` and `close` wait for it. */
  deciding<Result>(pending: Promise<Result>): Promise<Result>;
}

interface PublishOperation {
  readonly kind: "publish";
  readonly draft: Draft | Promise<Draft>;
  /** Bytes that count as held while it is staged. */
  reservedBytes: number;
}

type Operation =
  | PublishOperation
  | { readonly kind: "ack"; readonly delivery: Delivery }
  | { readonly kind: "nack"; readonly delivery: Delivery; readonly options: NackOptions | undefined }
  | { readonly kind: "reject"; readonly delivery: Delivery; readonly reason: string | undefined };

type SettleOperation = Exclude<Operation, PublishOperation>;

/** True where the settle is for the store to keep. */
function isKept({ delivery }: SettleOperation): boolean {
  return delivery.source.isDurable;
}

/** What can be staged in the broker's transactions, and what a commit does with it. */
export class Transactions {
  readonly manager: TransactionManager<Operation>;
  readonly #core: BrokerCore;
  readonly #host: TransactionsHost;

  constructor(core: BrokerCore, settings: NonNullable<BrokerCore["settings"]["transactions"]>, host: TransactionsHost) {
    this.#core = core;
    this.#host = host;
    this.manager = new TransactionManager<Operation>(settings, {
      deadlines: core.timers.deadlines,
      newId: () => core.publisher.newId(),
      unstage: (operation) => {
        if (operation.kind === "publish") this.#unreserve(operation);
        else core.tracker.unstage(operation.delivery);
      },
      apply: (operations) => this.#apply(operations),
    });
  }

  publish(id: string, topic: string, data: unknown, options: PublishOptions): Promise<Receipt> {
    return this.#staging(id, () => {
      for (const name of ["confirm", "report"] as const) {
        if (options[name] !== undefined) throw invalid(name, "left out in a transaction", options[name]);
      }
      const { drafter, publisher, memory } = this.#core;
      const messageId = options.id ?? publisher.newId();
      const draft = drafter.draft(topic, data, { ...options, id: messageId });
      // A refusal that comes later is commit's to report; it must not end the process before.
      if (draft instanceof Promise) draft.catch(() => undefined);
      const bytes = draft instanceof Promise ? drafter.measure(topic, data, null) : draft.bytes;
      publisher.requireMemory(topic, bytes);
      this.manager.stage(id, { kind: "publish", draft, reservedBytes: bytes });
      memory.reserve(bytes);
      return { id: messageId, seq: 0, matched: 0, duplicate: false };
    });
  }

  ack(id: string, message: Message<unknown>): Promise<void> {
    return this.#settle(id, message, (delivery) => ({ kind: "ack", delivery }));
  }

  nack(id: string, message: Message<unknown>, options: NackOptions | undefined): Promise<void> {
    return this.#settle(id, message, (delivery) => {
      if (options !== undefined) checkNackOptions(options);
      return { kind: "nack", delivery, options };
    });
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
      if (message.source.settler !== this.#core.tracker) {
        throw brokerError("ERR_INVALID_OPTION", "a transaction settles messages of its own broker; this is another's");
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
      this.#host.requireOpen();
      this.manager.requireOpen(id);
      return Promise.resolve(step());
    } catch (error) {
      this.manager.spoil(id, error);
      return quietRejection(error as Error);
    }
  }

  async #apply(operations: readonly Operation[]): Promise<Applied> {
    const publishes = operations.filter((one): one is PublishOperation => one.kind === "publish");
    const settles = operations.filter((one): one is SettleOperation => one.kind !== "publish");
    const checked = this.#drafts(publishes);
    // Without an asynchronous schema nothing comes between the call of commit and its effect.
    const drafts = checked instanceof Promise ? await checked : checked;
    this.#refuseExpired(drafts);
    const { store } = this.#core;
    if (store !== null && (drafts.some(({ isStored }) => isStored) || settles.some(isKept))) {
      const accepted = await this.#applyStored(store, publishes, drafts, settles);
      return { settled: Promise.all(accepted.flatMap(({ waits }) => waits)) };
    }
    for (const { delivery } of settles) if (delivery.state !== "staged") throw delivery.settleError();
    for (const operation of publishes) this.#unreserve(operation);
    const accepted = this.#core.publisher.accept(drafts, true);
    // From here on nothing can fail, and nothing else runs in between.
    for (const operation of settles) this.#carryOut(operation);
    return { settled: Promise.all(accepted.flatMap(({ waits }) => waits)) };
  }

  /**
   * The same with one record in the store for all of it. The settles are decided before the record is written, as any
   * settle; where the store refuses it, those deliveries come again.
   */
  #applyStored(
    store: StoreLink,
    publishes: readonly PublishOperation[],
    drafts: readonly Draft[],
    settles: readonly SettleOperation[],
  ): Promise<Accepted[]> {
    const { writer, publisher } = store;
    for (const operation of publishes) this.#unreserve(operation);
    let isDecided = false;
    const accepted = publisher.acceptWith(drafts, (append, steps) => {
      for (const { delivery } of settles) if (delivery.state !== "staged") throw delivery.settleError();
      writer.requireRoom(steps);
      isDecided = true;
      return writer.together(() => {
        // First, since a dead letter is published too, and whoever hears of a settle may publish.
        for (const operation of settles) this.#carryOut(operation);
        return append();
      }, true);
    });
    return accepted.catch((error: unknown) => {
      if (isDecided) for (const operation of settles) this.#bringBack(operation);
      throw error;
    });
  }

  /** A delivery that was decided in a transaction which the store then refused comes again, once. */
  #bringBack({ kind, delivery }: SettleOperation): void {
    const { source, message, deliveryCount } = delivery;
    // What was given back is on its way already.
    if (kind === "nack" && deliveryCount < source.settings.maxDeliveries) return;
    this.#core.undertaker.withdraw(delivery);
    const queue = source as DeliveryQueue;
    if (queue.isOpen && queue.consumers.length > 0) queue.restore(message, deliveryCount + 1, 0);
  }

  #drafts(publishes: readonly PublishOperation[]): Draft[] | Promise<Draft[]> {
    const drafts = publishes.map(({ draft }) => draft);
    if (!drafts.some((draft) => draft instanceof Promise)) return drafts as Draft[];
    return this.#host.deciding(Promise.all(drafts.map((draft) => Promise.resolve(draft)))).then((ready) => {
      this.#host.requireOpen();
      return ready;
    });
  }

  /** Time may have gone by since they were staged. */
  #refuseExpired(drafts: readonly Draft[]): void {
    const now = this.#core.timers.dates.now();
    for (const draft of drafts) if (draft.expiresAtMs !== 0 && draft.expiresAtMs <= now) throw expiredAlready(draft);
  }

  #unreserve(operation: PublishOperation): void {
    this.#core.memory.unreserve(operation.reservedBytes);
    operation.reservedBytes = 0;
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
