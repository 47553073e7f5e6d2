import type { Receipt } from "../index.js";
import type { AsyncContext } from "../platform/async-context.js";
import { nextTurn } from "../platform/real-time.js";
import type { FaultRules } from "./faults.js";
import type { FaultWaits } from "./fault-waits.js";
import type { KitSubscriptions } from "./kit-subscriptions.js";
import type { Cause, Ledger } from "./ledger.js";
import type { KitSettings } from "./options.js";
import type { Recorder } from "./recorder.js";

/** What publishes and deliveries need of the kit around them. */
export interface TrafficParts {
  readonly settings: KitSettings;
  readonly faults: FaultRules;
  readonly recorder: Recorder;
  readonly ledger: Ledger;
  readonly subscriptions: KitSubscriptions;
  /** What faults hold back until time moves. */
  readonly waits: FaultWaits;
  /** What leads to what happens now; null but in inline mode. */
  readonly causes: AsyncContext<Cause> | null;
}

/** The application's publishes: what faults do to them, and that inline mode waits for the handlers. */
export class Publishing {
  /** Publishes that a fault delays. */
  held = 0;
  readonly #parts: TrafficParts;
  /** Who waits for a handler to come back, and how to end the wait. */
  readonly #left = new Map<(seq: number, subscription: string) => void, () => void>();
  #shuffling: (() => void)[] | null = null;

  constructor(parts: TrafficParts) {
    this.#parts = parts;
  }

  /** A consumer has nothing left to do about a delivery: it came back from it, or the message will not come. */
  left(seq: number, subscription: string): void {
    for (const tell of [...this.#left.keys()]) tell(seq, subscription);
  }

  /** The broker has ended: no handler comes back. */
  end(): void {
    for (const release of [...this.#left.values()]) release();
  }

  /** Carries out a publish, with what faults and inline mode do to it. */
  async publish(topic: string, publish: (options: { report?: true }) => Promise<Receipt>): Promise<Receipt> {
    await this.#hold(topic);
    const { causes } = this.#parts;
    if (causes === null) {
      const receipt = await publish({});
      if (this.#parts.faults.isPublishedTwice(topic)) {
        this.#parts.recorder.fault({ topic }, "published twice");
        await publish({});
      }
      return receipt;
    }
    const cause = causes.get();
    if (cause !== undefined) return this.#inline(publish, cause);
    const root: Cause = { handlers: [], left: [] };
    const receipt = await causes.run(root, () => this.#inline(publish, root));
    while (root.left.length > 0) await Promise.all(root.left.splice(0));
    return receipt;
  }

  /** Publishes, and waits for every handler but those that lead to this publish: they wait for it themselves. */
  async #inline(publish: (options: { report: true }) => Promise<Receipt>, cause: Cause): Promise<Receipt> {
    const receipt = await publish({ report: true });
    const waits: Promise<void>[] = [];
    for (const { outcome, subscription } of receipt.report ?? []) {
      if (outcome !== "queued" && outcome !== "waiting") continue;
      if (!this.#parts.subscriptions.hasHandler(subscription)) continue;
      const handled = this.#handled(receipt.seq, subscription);
      (cause.handlers.includes(subscription) ? cause.left : waits).push(handled);
    }
    await Promise.all(waits);
    return receipt;
  }

  /** True where `publish` of this topic is nothing but the broker's. */
  get isPlain(): boolean {
    return this.#parts.causes === null && this.#parts.faults.isEmpty;
  }

  async #hold(topic: string): Promise<void> {
    const delayMs = this.#parts.faults.publishDelay(topic);
    const isReordered = this.#parts.faults.isPublishReordered(topic);
    if (delayMs === 0 && !isReordered) return;
    this.held += 1;
    try {
      if (delayMs > 0) {
        this.#parts.recorder.fault({ topic }, `the publish was delayed by ${delayMs} ms`);
        await this.#parts.waits.wait(delayMs, `a fault lets a publish on ${topic} go on`);
      }
      if (isReordered) {
        this.#parts.recorder.fault({ topic }, "the publish was reordered");
        await this.#shuffled();
      }
    } finally {
      this.held -= 1;
    }
  }

  /** Resolves in random order with all that wait for it in this turn. */
  #shuffled(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#shuffling === null) {
        this.#shuffling = [];
        void nextTurn().then(() => {
          const held = this.#shuffling ?? [];
          this.#shuffling = null;
          this.#parts.faults.shuffle(held);
          for (const goOn of held) goOn();
        });
      }
      this.#shuffling.push(resolve);
    });
  }

  /** Resolves once a handler has come back from a message, or it will not get it. */
  async #handled(seq: number, subscription: string): Promise<void> {
    const isHandled = (): boolean => {
      const state = this.#parts.ledger.get(seq)?.deliveries.get(subscription);
      return state !== undefined && state.running === 0 && (state.attempts > 0 || state.where === "done");
    };
    if (isHandled()) return;
    await new Promise<void>((resolve) => {
      const release = (): void => {
        this.#left.delete(tell);
        resolve();
      };
      const tell = (leftSeq: number, name: string): void => {
        if (leftSeq === seq && name === subscription && isHandled()) release();
      };
      this.#left.set(tell, release);
    });
  }
}
