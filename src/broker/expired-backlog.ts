import type { BacklogItem, DurableQueue } from "../dispatch/durable-queue.js";
import type { Store, StoredFacts } from "./store-port.js";

/** What is needed of the broker to tell of what has expired in the store. */
export interface ExpiredBacklogHost {
  /** Null where it is not open, or is being closed. */
  readonly store: () => Store | null;
  readonly durables: () => Iterable<string>;
  readonly queueOf: (durable: string) => DurableQueue | undefined;
  /** The message; its payload as stored where it cannot be decoded. */
  readonly itemOf: (facts: StoredFacts) => Pick<BacklogItem, "message">;
  readonly afterTurn: (run: () => void) => void;
}

/**
 * Tells of what has expired in the backlogs of durables before a checkpoint removes it: of what nobody has come upon, since
 * nobody was connected, or many were ahead of it. The queues tell of what they have had.
 *
 * A page at a time is read, told and settled in one record. A process that dies in between tells of that page again.
 */
export class ExpiredBacklog {
  readonly #host: ExpiredBacklogHost;
  /** Of each durable what was told, until the store has taken it. */
  readonly #told = new Map<string, ReadonlySet<number>>();
  /** Pages that the store has taken. */
  #pages = 0;

  constructor(host: ExpiredBacklogHost) {
    this.#host = host;
  }

  /** Whether a message was told, so that it must not come in. */
  wasTold(durable: string, seq: number): boolean {
    return this.#told.size > 0 && this.#told.get(durable)?.has(seq) === true;
  }

  /** Reads, and again where the store has taken something as settled meanwhile that may be in what was read. */
  async reading<Page>(read: () => Promise<Page>): Promise<Page> {
    for (;;) {
      const pages = this.#pages;
      const page = await read();
      if (pages === this.#pages) return page;
    }
  }

  /** What has expired, as far as the store's sweep goes. Resolves when it is told, or cannot be told now. */
  async tell(): Promise<void> {
    for (const durable of this.#host.durables()) await this.#tellOf(durable);
  }

  async #tellOf(durable: string): Promise<void> {
    const { store: openStore, queueOf, itemOf } = this.#host;
    for (let lastSeq = 0; ;) {
      const store = openStore();
      const queue = queueOf(durable);
      if (store === null || queue === undefined || this.#told.has(durable)) return;
      const { afterSeq, throughSeq } = queue.outside;
      const range = { afterSeq: Math.max(afterSeq, lastSeq), throughSeq };
      const page = await store.expired(durable, range);
      const items = page.messages.map(({ message, deliveryCount, retryAt }) => ({
        ...itemOf(message),
        deliveryCount,
        retryAt,
      }));
      // A store that takes nothing at the moment would have to be waited for; and it may be waiting for this.
      if (items.length > 0 && (openStore() === null || store.ready() !== undefined)) return;
      if (items.length > 0 && !(await this.#tellPage(durable, items, store))) return;
      if (!page.hasMore) return;
      lastSeq = page.throughSeq;
    }
  }

  /** False where the store has not taken it. */
  async #tellPage(durable: string, items: readonly BacklogItem[], store: Store): Promise<boolean> {
    // Somebody may have connected, or gone, while the page was read.
    const queue = this.#host.queueOf(durable);
    if (queue === undefined) return false;
    const { seqs, stored } = queue.tellExpired(items);
    if (seqs.size === 0) return true;
    this.#told.set(durable, seqs);
    let isStored = false;
    const onStored = (): Promise<void> => {
      isStored = true;
      return store.flush();
    };
    // Stored at a low level it may not be there for who reads the next page; on the disk it is.
    const ended = stored
      .then(onStored)
      .catch(() => undefined)
      .then(() => {
        this.#told.delete(durable);
        this.#pages += 1;
      });
    // Not `stored` itself: what waits for room in the log may be waiting for the checkpoint that waits for this.
    await store.flush();
    await new Promise<void>((resolve) => this.#host.afterTurn(resolve));
    if (isStored) await ended;
    return isStored;
  }
}
