import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { Draft } from "./draft.js";
import type { Planned } from "./plan.js";
import { Plan } from "./plan.js";
import { idTaken, tooManyDelayed } from "./publish-errors.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";

/** What the reservations need of the broker around them. */
export interface ReservationsHost {
  readonly settings: Settings;
  readonly memory: MemoryBudget;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
}

/** What messages on their way into the store will take once they are visible: memory, ids, places in tables. */
export class Reservations {
  readonly #host: ReservationsHost;
  /** Dedup ids, each with who waits for it to be decided. */
  readonly #dedupIds = new Map<string, (() => void)[]>();
  readonly #delayedIds = new Set<string>();
  readonly #retainedTopics = new Map<string, number>();

  constructor(host: ReservationsHost) {
    this.#host = host;
  }

  /** Who waits for a dedup id of these drafts: it is on its way, and decides what they are. */
  firstInFlight(drafts: readonly Draft[]): (() => void)[] | undefined {
    if (this.#dedupIds.size === 0) return undefined;
    for (const { dedupId } of drafts) {
      const first = dedupId === undefined ? undefined : this.#dedupIds.get(dedupId);
      if (first !== undefined) return first;
    }
    return undefined;
  }

  /** What the plan could not know: places in tables that are promised to others on their way. */
  requireRoom(planned: Planned): void {
    const { settings, delayed, retained } = this.#host;
    let more = 0;
    let topics: Set<string> | null = null;
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.due !== null) {
        more += 1;
        if (this.#delayedIds.has(message.id)) throw idTaken(message.id);
        if (delayed.size + this.#delayedIds.size + more > settings.limits.maxDelayed) throw tooManyDelayed(settings);
      }
      if (draft.isRetained && draft.data !== null && !retained.has(draft.topic)) {
        topics ??= new Set();
        if (!this.#retainedTopics.has(draft.topic)) topics.add(draft.topic);
        retained.requireRoom(draft.topic, this.#retainedTopics.size + topics.size);
      }
    }
  }

  /** Takes what the plans need, and so many bytes. */
  reserve(planned: Planned, bytes: number): void {
    this.#host.memory.reserve(bytes);
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.dedupId !== undefined) this.#dedupIds.set(draft.dedupId, []);
      if (draft.due !== null) this.#delayedIds.add(message.id);
      if (draft.isRetained) this.#retainedTopics.set(draft.topic, (this.#retainedTopics.get(draft.topic) ?? 0) + 1);
    }
  }

  /** Gives back what was reserved; returns what has waited for a dedup id. */
  unreserve(planned: Planned, bytes: number): (() => void)[] {
    this.#host.memory.unreserve(bytes);
    const again: (() => void)[] = [];
    for (const plan of planned) {
      if (!(plan instanceof Plan)) continue;
      const { draft, message } = plan;
      if (draft.dedupId !== undefined) {
        for (const enter of this.#dedupIds.get(draft.dedupId) ?? []) again.push(enter);
        this.#dedupIds.delete(draft.dedupId);
      }
      if (draft.due !== null) this.#delayedIds.delete(message.id);
      if (!draft.isRetained) continue;
      const left = (this.#retainedTopics.get(draft.topic) ?? 1) - 1;
      if (left === 0) this.#retainedTopics.delete(draft.topic);
      else this.#retainedTopics.set(draft.topic, left);
    }
    return again;
  }
}
