import { brokerError } from "../errors.js";
import type { Random } from "../platform/random.js";
import type { ErrorContext, Events } from "../observe/events.js";
import type { Clock } from "../platform/clock.js";
import type { Settings } from "./options.js";
import type { Publisher } from "./publisher.js";
import type { RetainedMessages } from "./retained.js";
import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { Timers } from "../delivery/timers.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { Persistence, RecoveryReport, Store } from "./store-port.js";
import { StoredPublisher } from "./stored-publisher.js";
import { StoreWriter } from "./store-writer.js";

/** What the link needs of the broker: the core. */
export interface StoreLinkHost {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly publisher: Publisher;
  readonly memory: MemoryBudget;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly timers: Timers;
  readonly events: Events;
  fail(error: unknown, context: ErrorContext): void;
  /** Somebody may wait for there being nothing left to do. */
  tellQuiet(): void;
}

/**
 * What joins a broker to its store: opens and closes it, and has the parts that are there only with one.
 */
export class StoreLink {
  readonly writer = new StoreWriter();
  readonly publisher: StoredPublisher;
  readonly #core: StoreLinkHost;
  readonly #persistence: Persistence;
  readonly #random: Random;
  #store: Store | null = null;
  #opening: Promise<void> | null = null;
  #isClosed = false;

  constructor(core: StoreLinkHost, persistence: Persistence, random: Random) {
    this.#core = core;
    this.#persistence = persistence;
    this.#random = random;
    this.publisher = new StoredPublisher({
      settings: core.settings,
      publisher: core.publisher,
      writer: this.writer,
      memory: core.memory,
      delayed: core.delayed,
      retained: core.retained,
      timers: core.timers,
      quiet: () => core.tellQuiet(),
      failed: (error, message) => core.fail(error, { during: "store", message }),
    });
  }

  /** The open store. Throws `ERR_NOT_READY` before. */
  get store(): Store {
    if (this.#store !== null) return this.#store;
    throw brokerError(
      "ERR_NOT_READY",
      "the store is being opened; await broker.ready(), or InProcBroker.open(options)",
    );
  }

  get recoveryReport(): RecoveryReport | undefined {
    return this.#store?.recoveryReport;
  }

  /** Opens the store and takes over what it has. Rejects as the store's opening does. */
  open(): Promise<void> {
    this.#opening = this.#open();
    return this.#opening;
  }

  async #open(): Promise<void> {
    const core = this.#core;
    const { clock, settings, events } = core;
    const store = await this.#persistence.open({
      clock,
      random: this.#random,
      dedup: { window: settings.dedup.windowMs, maxEntries: settings.dedup.maxEntries },
      stateChanged: (_state, error) => {
        if (error !== undefined) core.fail(error, { during: "store" });
      },
      problem: ({ message, cause }) =>
        core.fail(brokerError("ERR_STORE_FAILED", message, {}, cause), { during: "store" }),
    });
    if (this.#isClosed) {
      await store.close();
      return;
    }
    this.#store = store;
    core.publisher.raiseSeq(store.lastSeq);
    this.writer.open(store);
    store.forgetRecovered();
    events.emit("recovered", store.recoveryReport);
  }

  /** Lets in what waited for the store. */
  begin(): void {
    this.publisher.opened();
  }

  /** Everything published and settled so far is on the disk, or as far as its level goes. */
  async flush(): Promise<void> {
    await this.publisher.whenThrough();
    await this.store.flush();
  }

  /** Refuses what is not stored yet, writes what is appended, and closes the store. */
  async close(error: Error): Promise<void> {
    this.#isClosed = true;
    this.publisher.close(error);
    await this.#opening?.catch(() => undefined);
    await this.#store?.close();
  }
}
