import type { BacklogItem, DurableQueue } from "../dispatch/durable-queue.js";
import type { StoredFacts, StoreStep } from "./store-port.js";
import type { StoreWriter } from "./store-writer.js";

/** What is needed of the broker to tell of what has expired in the store. */
export interface ExpiredBacklogHost {
  readonly writer: StoreWriter;
  /** False before it is open, and once it is being closed. */
  readonly isOpen: () => boolean;
  readonly durables: () => Iterable<string>;
  readonly queueOf: (durable: string) => DurableQueue | undefined;
  /** The message; its payload as stored where it cannot be decoded. */
  readonly itemOf: (facts: StoredFacts) => Pick<BacklogItem, "message">;
  /** Whether what expires is kept as a dead letter, which takes as much room again. */
  readonly isKept: boolean;
  /** Whether it is still one: it may have been driven or purged meanwhile. */
  readonly hasDeadLetter: (id: string) => boolean;
  readonly afterTurn: (run: () => void) => void;
}

/** A page that was told. */
interface Told {
  readonly seqs: ReadonlySet<number>;
  /** What the store has to take for it. */
  readonly steps: readonly StoreStep[];
  /** The store has refused it, for want of room: it is asked again the next time. */
  isRefused: boolean;
}

/**
 * Tells of what has expired in the backlogs of durables before a checkpoint removes it: of what nobody has come upon, since
 * nobody was connected, or many were ahead of it. The queues tell of what they have had.
 *
 * A page at a time is read, told and settled in one record. What a full disk refuses stays told: it is stored later, and until
 * then nothing more is told to that durable. A process that dies in between tells of that page again.
 */
export class ExpiredBacklog {
  readonly #host: ExpiredBacklogHost;
  /** Of each durable what was told, until the store has taken it. */
  readonly #told = new Map<string, Told>();
  /** Pages that the store has taken. */
  #pages = 0;

  constructor(host: ExpiredBacklogHost) {
    this.#host = host;
  }

  /** Whether a message was told, so that it must not come in. */
  wasTold(durable: string, seq: number): boolean {
    return this.#told.size > 0 && this.#told.get(durable)?.seqs.has(seq) === true;
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
    const durables = new Set(this.#host.durables());
    for (const durable of this.#told.keys()) if (!durables.has(durable)) this.#told.delete(durable);
    for (const durable of durables) await this.#tellOf(durable);
  }

  async #tellOf(durable: string): Promise<void> {
    const { queueOf, itemOf, writer } = this.#host;
    if (!(await this.#storeRefused(durable))) return;
    for (let lastSeq = 0; ;) {
      const queue = queueOf(durable);
      if (!this.#host.isOpen() || queue === undefined || this.#told.has(durable)) return;
      const { afterSeq, throughSeq } = queue.outside;
      const range = { afterSeq: Math.max(afterSeq, lastSeq), throughSeq };
      const page = await writer.store.expired(durable, range);
      const items = page.messages.map(({ message, deliveryCount, retryAt }) => ({
        ...itemOf(message),
        deliveryCount,
        retryAt,
      }));
      if (items.length > 0 && !(this.#mayAppend && (await this.#tellPage(durable, items)))) return;
      if (!page.hasMore) return;
      lastSeq = page.throughSeq;
    }
  }

  /**
   * A store that takes nothing at the moment would have to be waited for; and it may be waiting for this. The reserve of a full
   * disk is for settles: they may make room, where dead letters would use it up.
   */
  get #mayAppend(): boolean {
    const { isOpen, isKept, writer } = this.#host;
    if (!isOpen() || writer.store.ready() !== undefined) return false;
    return !isKept || writer.store.state === "open";
  }

  /** False where the store has not taken it. */
  async #tellPage(durable: string, items: readonly BacklogItem[]): Promise<boolean> {
    const { queueOf, writer } = this.#host;
    // Somebody may have connected, or gone, while the page was read.
    const queue = queueOf(durable);
    if (queue === undefined) return false;
    const { result, steps, stored } = writer.gather(() => queue.tellExpired(items));
    const { seqs } = result;
    if (seqs.size === 0) return true;
    const told: Told = { seqs, steps, isRefused: false };
    this.#told.set(durable, told);
    return this.#isStored(durable, told, stored);
  }

  /** Stores what was refused before. False where it is refused again, or still under way. */
  async #storeRefused(durable: string): Promise<boolean> {
    const { writer, hasDeadLetter } = this.#host;
    const told = this.#told.get(durable);
    if (told === undefined) return true;
    if (!told.isRefused || !this.#mayAppend) return false;
    told.isRefused = false;
    // Copies for the dead-letter topic were refused, and told, by themselves.
    const steps = told.steps.filter(
      (step) => step.type !== "publish" && (step.type !== "dead-letter-added" || hasDeadLetter(step.id)),
    );
    return this.#isStored(durable, told, writer.append(steps));
  }

  async #isStored(durable: string, told: Told, stored: Promise<void>): Promise<boolean> {
    const { writer, afterTurn } = this.#host;
    let hasEnded = false;
    let isStored = false;
    // Stored at a low level it may not be there for who reads the next page; on the disk it is.
    const ended = stored
      .then(() => {
        hasEnded = true;
        return writer.store.flush();
      })
      .then(
        () => {
          isStored = true;
          if (this.#told.get(durable) === told) this.#told.delete(durable);
          this.#pages += 1;
        },
        () => {
          hasEnded = true;
          told.isRefused = true;
        },
      );
    // Not `stored` itself: what waits for room in the log may be waiting for the checkpoint that waits for this.
    await writer.store.flush().catch(() => undefined);
    await new Promise<void>((resolve) => afterTurn(resolve));
    if (hasEnded) await ended;
    return isStored;
  }
}
