import type { DeliveryQueue } from "../dispatch/queue.js";
import { quote } from "../errors.js";
import { matchesPattern } from "../topic/grammar.js";
import { invalid } from "./checks.js";
import type { PreparedSubscription } from "./prepared-subscription.js";

/** The queues of a broker, by name: a group has one for each kind of member, every other name has one. */
export class QueueDirectory {
  readonly all = new Set<DeliveryQueue>();
  readonly #groups = new Map<string, DeliveryQueue[]>();
  /** The queues that are no group's, by name. */
  readonly #named = new Map<string, DeliveryQueue>();
  #lastNumber = 0;

  add(queue: DeliveryQueue): void {
    this.all.add(queue);
    const { group } = queue;
    if (group === null) this.#named.set(queue.name, queue);
    else {
      const queues = this.#groups.get(group);
      if (queues === undefined) this.#groups.set(group, [queue]);
      else queues.push(queue);
    }
  }

  remove(queue: DeliveryQueue): void {
    this.all.delete(queue);
    const { group } = queue;
    if (group === null) {
      this.#named.delete(queue.name);
      return;
    }
    const siblings = this.siblings(queue);
    if (siblings.length === 0) this.#groups.delete(group);
    else this.#groups.set(group, siblings);
  }

  /** The queue of a subscription or a durable of that name. */
  named(name: string): DeliveryQueue | undefined {
    return this.#named.get(name);
  }

  /** The queue of that name, or of that subscription. */
  queueNamed(name: string): DeliveryQueue | undefined {
    return this.#named.get(name) ?? this.#groups.get(name)?.[0];
  }

  /** The queue of that name, of a group the one that asks for this topic; undefined where none of that name does. */
  queueFor(name: string, topic: string): DeliveryQueue | undefined {
    const named = this.#named.get(name);
    const queues = named === undefined ? (this.#groups.get(name) ?? []) : [named];
    return queues.find((queue) => queue.patterns.some((pattern) => matchesPattern(pattern, topic)));
  }

  /** The queue of the durable or the group that the subscription would join; undefined where it gets one of its own. */
  sharedBy(prepared: PreparedSubscription): DeliveryQueue | undefined {
    const { group, filter, durable } = prepared.options;
    if (durable !== undefined) {
      const queue = this.#named.get(durable);
      return queue === undefined || queue.consumers.length === 0 ? undefined : queue;
    }
    if (group === undefined) return undefined;
    return this.#groups
      .get(group)
      ?.find(
        (queue) =>
          queue.settings.filter === (filter ?? null) &&
          queue.patterns.length === prepared.patterns.length &&
          queue.patterns.every((pattern) => prepared.patterns.includes(pattern)),
      );
  }

  /** A name says whose queue is meant, in confirms, dead letters and `peek`; so no two may have the same: throws. */
  requireFreeName({ options }: PreparedSubscription): void {
    const name = options.durable ?? options.group ?? options.name;
    if (name === undefined) return;
    const holder = this.queueNamed(name);
    if (holder === undefined) return;
    if (options.durable === undefined ? options.group !== undefined && holder.group === name : holder.isDurable) return;
    throw invalid(
      options.durable !== undefined ? "durable" : options.group === undefined ? "name" : "group",
      `a name that no other subscription or group has (${quote(name)} is in use)`,
      name,
    );
  }

  /** A name of its own that nobody was given. */
  newName(): string {
    for (;;) {
      this.#lastNumber += 1;
      const name = `subscription-${this.#lastNumber}`;
      if (this.queueNamed(name) === undefined) return name;
    }
  }

  /** The other queues of its group. */
  siblings(queue: DeliveryQueue): DeliveryQueue[] {
    if (queue.group === null) return [];
    return (this.#groups.get(queue.group) ?? []).filter((one) => one !== queue);
  }
}
