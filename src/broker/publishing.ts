import { brokerError, quote } from "../errors.js";
import type { BatchEntry } from "./broker.js";
import type { BrokerCore } from "./core.js";
import type { Draft } from "./draft.js";
import type { PublishOptions } from "./options.js";
import type { Accepted } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import type { RequestOptions } from "./requests.js";
import { noResponders } from "./requests.js";
import type { StoreLink } from "./store-link.js";
import type { Transactions } from "./transactions.js";

/** What publishing needs of the broker beyond its core. */
export interface PublishingHost {
  /** Throws where the broker takes nothing any more. */
  requireOpen(): void;
  /** Resolves once the store is open; null where there is nothing to wait for. */
  opening(): Promise<void> | null;
  /** Throws `ERR_MODULE_DISABLED` where there are none. */
  transactions(): Transactions;
  /** A publish is decided that had to wait for that. */
  decided(): void;
}

/**
 * The ways of a publish that may have to wait, for a schema or for the store: with options, in a batch, as a request. From
 * what the caller gave to the receipt; the short ways are the publisher's.
 */
export class Publishing {
  readonly #core: BrokerCore;
  readonly #host: PublishingHost;
  /** Publishes that have begun and are not decided: those that wait for a schema. */
  deciding = 0;

  constructor(core: BrokerCore, host: PublishingHost) {
    this.#core = core;
    this.#host = host;
  }

  /** Counts a publish that is not decided yet, so that `idle` and `flush` wait for it. */
  async decide<Result>(pending: Promise<Result>): Promise<Result> {
    this.deciding += 1;
    try {
      return await pending;
    } finally {
      this.deciding -= 1;
      queueMicrotask(() => this.#host.decided());
    }
  }

  /** Publishes all of the entries, or none. */
  async publishBatch(entries: readonly BatchEntry[]): Promise<Receipt[]> {
    const { drafter, publisher } = this.#core;
    try {
      const opening = this.#host.opening();
      if (opening !== null) await opening;
      this.#host.requireOpen();
      if (!Array.isArray(entries)) {
        throw brokerError("ERR_INVALID_OPTION", `publishBatch takes an array; got ${quote(entries)}`);
      }
      const drafts: (Draft | Promise<Draft>)[] = [];
      for (const entry of entries as readonly ({ topic: string; data: unknown } & PublishOptions)[]) {
        if (typeof entry !== "object" || entry === null) {
          throw brokerError(
            "ERR_INVALID_MESSAGE",
            `an entry of a batch is { topic, data, ...options }; got ${quote(entry)}`,
          );
        }
        const { topic, data, ...options } = entry;
        if (options.transaction !== undefined) {
          throw brokerError("ERR_INVALID_OPTION", "a batch is one already; leave transaction out of its entries");
        }
        drafts.push(drafter.draft(topic, data, options));
      }
      const ready = drafts.every((draft): draft is Draft => !(draft instanceof Promise))
        ? drafts
        : await this.decide(Promise.all(drafts.map((draft) => Promise.resolve(draft))));
      this.#host.requireOpen();
      const accepted = await this.#acceptAll(ready);
      await Promise.all(accepted.flatMap(({ waits }) => waits));
      return accepted.map(({ receipt }) => receipt);
    } catch (error) {
      publisher.counters.refused += 1;
      throw error;
    }
  }

  /** Publishes with options, or where something sets the message apart. Throws, or rejects, what refuses it. */
  publishFully(topic: string, data: unknown, options: PublishOptions): Promise<Receipt> {
    if (options.transaction !== undefined) {
      const { transaction, ...rest } = options;
      return this.#host.transactions().publish(transaction, topic, data, rest);
    }
    const stored = this.#core.store?.publisher.plain.accept(topic, data, options) ?? null;
    if (stored !== null) return stored;
    const draft = this.#core.drafter.draft(topic, data, options);
    options.signal?.throwIfAborted();
    if (!(draft instanceof Promise)) return this.#accept(draft);
    return this.decide(draft)
      .then((ready) => {
        this.#host.requireOpen();
        return this.#accept(ready);
      })
      .catch((error: unknown) => {
        this.#core.publisher.counters.refused += 1;
        throw error;
      });
  }

  #accept(draft: Draft): Promise<Receipt> {
    const { publisher, scheduler, store } = this.#core;
    if (store !== null && draft.isStored) return this.#acceptStored(store, draft);
    const { receipt, waits } = publisher.acceptOne(draft, true);
    if (waits.length > 0) return Promise.all(waits).then(() => receipt);
    return scheduler.spend(1) ? scheduler.nextTurn().then(() => receipt) : Promise.resolve(receipt);
  }

  async #acceptStored(store: StoreLink, draft: Draft): Promise<Receipt> {
    let accepted: Accepted;
    try {
      [accepted] = (await store.publisher.accept([draft])) as [Accepted];
    } catch (error) {
      this.#core.publisher.counters.refused += 1;
      throw error;
    }
    if (accepted.waits.length > 0) await Promise.all(accepted.waits);
    return accepted.receipt;
  }

  #acceptAll(drafts: readonly Draft[]): Accepted[] | Promise<Accepted[]> {
    const { publisher, store } = this.#core;
    if (store !== null && drafts.some(({ isStored }) => isStored)) return store.publisher.accept(drafts);
    return publisher.accept(drafts, true);
  }

  /** Publishes a request. Rejects with `ERR_NO_RESPONDERS` where nobody would get it. */
  async ask(topic: string, data: unknown, replyTo: string, options: RequestOptions): Promise<void> {
    const { headers, key } = options;
    const opening = this.#host.opening();
    if (opening !== null) await opening;
    const full: PublishOptions = {
      // Who asked is gone after a crash, so that a request need not wait for the disk.
      ...(this.#core.store === null ? {} : { durability: "memory" }),
      replyTo,
      correlationId: this.#core.publisher.newId(),
      ...(headers === undefined ? {} : { headers }),
      ...(key === undefined ? {} : { key }),
    };
    const { publishChannel } = this.#core;
    const send = (): Promise<Receipt> => this.publishFully(topic, data, full);
    const receipt = await (publishChannel.isActive
      ? publishChannel.trace({ topic, data, options: full }, send)
      : send());
    if (receipt.matched === 0) throw noResponders(topic);
  }
}
