import type { DedupWindow } from "../delivery/dedup.js";
import type { DelayedMessages } from "../delivery/delayed-messages.js";
import type { HeldPublishers } from "../dispatch/held-publishers.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import { queueFull } from "../dispatch/queue-facts.js";
import type { Route, Router } from "../dispatch/router.js";
import { chooseTargets } from "../dispatch/router.js";
import type { PublishedMessage } from "../message/message.js";
import { Confirmation } from "./confirms.js";
import type { Draft } from "./draft.js";
import { expiredAlready, idTaken, nobodyConfirms, noMemory, tooManyDelayed, tooManyHeld } from "./publish-errors.js";
import type { Receipt } from "./receipt.js";
import { receiptOf } from "./receipt.js";
import type { RetainedMessages } from "./retained.js";
import type { Settings } from "./settings.js";
import type { TopicFacts } from "./topic-facts.js";

/** A draft with everything found out that is needed to carry it out. */
export class Plan {
  readonly draft: Draft;
  readonly message: PublishedMessage;
  readonly confirmation: Confirmation | null;
  readonly route: Route<TopicFacts>;
  readonly targets: readonly DeliveryQueue[];
  /** Names of the queues whose filter did not want it; null where there is no filter to ask. */
  readonly filtered: readonly string[] | null;

  constructor(
    draft: Draft,
    message: PublishedMessage,
    confirmation: Confirmation | null,
    route: Route<TopicFacts>,
    targets: readonly DeliveryQueue[],
    filtered: readonly string[] | null,
  ) {
    this.draft = draft;
    this.message = message;
    this.confirmation = confirmation;
    this.route = route;
    this.targets = targets;
    this.filtered = filtered;
  }

  /** True where the broker will hold the message: in a queue, for its time to come, or as its topic's last. */
  get isKept(): boolean {
    return this.targets.length > 0 || this.draft.due !== null || this.draft.isRetained;
  }
}

/** Drafts of one call, planned. A receipt stands for a duplicate. */
export type Planned = readonly (Plan | Receipt)[];

interface Load {
  readonly messages: number;
  readonly bytes: number;
}

const noLoad: Load = { messages: 0, bytes: 0 };

/** What earlier drafts of the same call will change. */
export class Batch {
  readonly load = new Map<DeliveryQueue, Load>();
  readonly firsts = new Map<string, Receipt>();
  readonly delayedIds = new Set<string>();
  readonly retainedTopics = new Set<string>();
  bytes = 0;
}

const nothing: readonly never[] = [];

/** What the planner needs of the broker around it. */
export interface PlannerHost {
  readonly settings: Settings;
  readonly router: Router<TopicFacts>;
  readonly memory: MemoryBudget;
  readonly dedup: DedupWindow<Receipt>;
  readonly delayed: DelayedMessages;
  readonly retained: RetainedMessages;
  readonly heldPublishers: HeldPublishers;
  /** Asks a queue's filter. */
  accepts(queue: DeliveryQueue, message: PublishedMessage): boolean;
  /** A queue is at its bound. */
  slow(queue: DeliveryQueue): void;
}

/** Finds out what a draft would lead to, and whether anything refuses it. Changes nothing. */
export class Planner {
  readonly #host: PlannerHost;
  readonly #messageOf: (draft: Draft, confirmation: Confirmation | null) => PublishedMessage;

  /** @param messageOf - makes the message of a draft, with a number of its own */
  constructor(host: PlannerHost, messageOf: (draft: Draft, confirmation: Confirmation | null) => PublishedMessage) {
    this.#host = host;
    this.#messageOf = messageOf;
  }

  /** Everything that could refuse a draft is found out here. A receipt stands for a duplicate of it. */
  plan(draft: Draft, mayWait: boolean, batch: Batch | null): Plan | Receipt {
    const { dedup, memory, retained, settings, delayed, router } = this.#host;
    const { topic, dedupId } = draft;
    if (dedupId !== undefined) {
      const first = dedup.find(dedupId) ?? batch?.firsts.get(dedupId);
      if (first !== undefined) return first;
    }
    if (draft.isExpired) throw expiredAlready(draft);
    const confirmation = draft.confirm === null ? null : new Confirmation(draft.confirm.count, draft.confirm.timeoutMs);
    const message = this.#messageOf(draft, confirmation);
    const route = router.route(topic);
    // An answer goes to its request alone, and a delayed message to whoever is there when its time has come.
    const isRouted = draft.due === null && route.attachment.inbox === null;
    const filtered: string[] | null = route.isPlain ? null : [];
    const targets = isRouted ? this.targetsOf(route, message, filtered) : nothing;
    if (confirmation !== null && isRouted && targets.length === 0) throw nobodyConfirms(topic, confirmation.wanted);
    for (let index = 0; index < targets.length; index += 1) {
      this.#requireRoom(targets[index] as DeliveryQueue, draft, batch, mayWait);
    }
    if (draft.due !== null) {
      const isTaken = delayed.has(message) || batch?.delayedIds.has(message.id) === true;
      if (isTaken) throw idTaken(message.id);
      batch?.delayedIds.add(message.id);
      if (delayed.size + (batch?.delayedIds.size ?? 1) > settings.limits.maxDelayed) throw tooManyDelayed(settings);
    }
    if (draft.isRetained && draft.data !== null) {
      const isNew = !retained.has(topic);
      if (isNew) batch?.retainedTopics.add(topic);
      retained.requireRoom(topic, batch?.retainedTopics.size ?? (isNew ? 1 : 0));
    }
    const plan = new Plan(draft, message, confirmation, route, targets, filtered);
    const bytes = (batch?.bytes ?? 0) + (plan.isKept ? draft.bytes : 0);
    if (batch !== null) batch.bytes = bytes;
    if (!memory.hasRoom(bytes)) throw noMemory(memory, topic, draft.bytes);
    if (dedupId !== undefined) batch?.firsts.set(dedupId, receiptOf(message, targets.length, false));
    return plan;
  }

  /** The plan for the subscriptions of now, where they have changed since. */
  replanned(plan: Plan): Plan {
    if (plan.route.isFresh || plan.draft.due !== null) return plan;
    const { draft, message, confirmation } = plan;
    const route = this.#host.router.routeAgain(message.topic);
    const filtered: string[] | null = route.isPlain ? null : [];
    const targets = route.attachment.inbox === null ? this.targetsOf(route, message, filtered) : nothing;
    return new Plan(draft, message, confirmation, route, targets, filtered);
  }

  /**
   * The queues that a message goes to.
   *
   * @param filtered - is given the names of those whose filter does not want it
   */
  targetsOf(route: Route<TopicFacts>, message: PublishedMessage, filtered: string[] | null): readonly DeliveryQueue[] {
    if (this.#host.router.limitsTopics) route.usedAt = message.stamp;
    if (route.isPlain) return route.targets;
    return chooseTargets(route, message, (queue, candidate) => {
      const isAccepted = this.#host.accepts(queue, candidate);
      if (!isAccepted) filtered?.push(queue.name);
      return isAccepted;
    });
  }

  /** Refuses a draft that a queue would not take, counting what earlier drafts of the same call will put there. */
  #requireRoom(queue: DeliveryQueue, draft: Draft, batch: Batch | null, mayWait: boolean): void {
    const before = batch?.load.get(queue) ?? noLoad;
    const { overflow } = queue.settings;
    if ((overflow === "error" || overflow === "wait") && !queue.hasRoom(before.bytes + draft.bytes, before.messages)) {
      if (overflow === "error" || !mayWait) {
        this.#host.slow(queue);
        throw queueFull(queue, draft.topic);
      }
      const held = this.#host.heldPublishers.count;
      if (held >= this.#host.settings.limits.maxWaitingPublishers) throw tooManyHeld(draft.topic, held);
    }
    batch?.load.set(queue, { messages: before.messages + 1, bytes: before.bytes + draft.bytes });
  }
}
