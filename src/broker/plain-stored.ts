import type { MemoryBudget } from "../dispatch/memory-budget.js";
import type { DeliveryQueue } from "../dispatch/queue.js";
import type { Route, Router } from "../dispatch/router.js";
import type { MessageExtras } from "../message/message.js";
import { MessageTraits, PublishedMessage } from "../message/message.js";
import { defaultPriority, priorityNumber } from "../message/priority.js";
import type { Draft, Drafter } from "./draft.js";
import { plainDraft } from "./draft.js";
import type { PublishOptions } from "./options.js";
import { Plan } from "./plan.js";
import { noMemory } from "./publish-errors.js";
import type { Accepted, Publisher } from "./publisher.js";
import type { Receipt } from "./receipt.js";
import { receiptOf } from "./receipt.js";
import type { StoreLine, Submission } from "./store-line.js";
import type { Durability, StoredFacts } from "./store-port.js";
import { durabilities } from "./store-port.js";
import type { StoreWriter } from "./store-writer.js";
import { factsOf } from "./stored-message.js";
import type { TopicFacts } from "./topic-facts.js";
import type { TurnStamp } from "./turn-stamp.js";

/** What the short way into the store needs of the broker around it. */
export interface PlainStoredHost {
  readonly router: Router<TopicFacts>;
  readonly drafter: Drafter;
  readonly stamps: TurnStamp;
  readonly publisher: Publisher;
  readonly memory: MemoryBudget;
  readonly writer: StoreWriter;
}

/**
 * The short way into the store, for a message that has a level, a key and a priority at most, in a broker where nothing else
 * sets messages apart. It keeps every promise of the long way (`StoredPublisher`), with one object for each message between
 * call and receipt; where anything more is to be asked, it plans as that does.
 */
export class PlainStored {
  readonly #host: PlainStoredHost;
  readonly #line: StoreLine;
  readonly #isTransparent: boolean;
  /** Kept, and never read: see `keptShapes`. */
  readonly shape: Submission;

  constructor(host: PlainStoredHost, line: StoreLine) {
    this.#host = host;
    this.#line = line;
    this.#isTransparent = host.publisher.isTransparent;
    const nowhere = null as unknown as Route<TopicFacts>;
    this.shape = new PlainSubmission(host, nowhere, null, 0, defaultPriority, null, undefined);
  }

  /** The message's way into the store and to its receipt; null: take the long one. Throws what refuses the message as it is. */
  accept(topic: string, data: unknown, options: PublishOptions): Promise<Receipt> | null {
    if (!this.#isTransparent || data === undefined || !isPlain(options)) return null;
    const route = this.#host.router.route(topic);
    if (!route.attachment.isStored) return null;
    const { key, priority, durability } = options;
    const extras = key === undefined ? null : { key };
    const bytes = this.#host.drafter.measure(topic, data, extras);
    const submission = new PlainSubmission(
      this.#host,
      route,
      data,
      bytes,
      priority === undefined ? defaultPriority : priorityNumber(priority),
      extras,
      durability,
    );
    const receipt = new Promise<Receipt>((resolve, reject) => {
      submission.resolve = resolve;
      submission.reject = reject;
    });
    this.#line.enter(submission);
    return receipt;
  }
}

const notYet = (): void => undefined;

class PlainSubmission implements Submission {
  readonly #host: PlainStoredHost;
  readonly #data: unknown;
  readonly #priority: number;
  readonly #extras: MessageExtras | null;
  readonly #durability: Durability | undefined;
  readonly bytes: number;
  resolve: (receipt: Receipt | Promise<Receipt>) => void = notYet;
  reject: (error: unknown) => void = notYet;
  #route: Route<TopicFacts>;
  /** Null until it has begun. */
  #message: PublishedMessage | null = null;
  /** Where the route alone did not say where it goes. */
  #plan: Plan | null = null;

  constructor(
    host: PlainStoredHost,
    route: Route<TopicFacts>,
    data: unknown,
    bytes: number,
    priority: number,
    extras: MessageExtras | null,
    durability: Durability | undefined,
  ) {
    this.#host = host;
    this.#route = route;
    this.#data = data;
    this.bytes = bytes;
    this.#priority = priority;
    this.#extras = extras;
    this.#durability = durability;
  }

  begin(): Promise<void> {
    const { router, publisher, writer, memory } = this.#host;
    if (!this.#route.isFresh) this.#route = router.route(this.#route.topic);
    if (!this.#isRoomFor()) this.#plan = publisher.plan([this.#draft()], true)[0] as Plan;
    const message = this.#plan?.message ?? this.#plainMessage();
    if (message.seq <= writer.lastSeq) message.seq = publisher.nextSeq();
    const stored = writer.append([{ type: "publish", message: storable(message) }], this.#durability);
    memory.reserve(this.bytes);
    this.#message = message;
    return stored;
  }

  /** False where a queue is full, or has to be asked. */
  #isRoomFor(): boolean {
    const { targets, isPlain } = this.#route;
    if (!isPlain) return false;
    for (const target of targets) if (!target.hasRoom(this.bytes)) return false;
    return true;
  }

  #plainMessage(): PublishedMessage {
    const { memory, publisher, stamps } = this.#host;
    const { topic, targets } = this.#route;
    const { bytes } = this;
    if (targets.length > 0 && !memory.hasRoom(bytes)) throw noMemory(memory, topic, bytes);
    const stamp = stamps.current ?? stamps.take();
    const traits = MessageTraits.of(stamp, this.#priority, 0, this.#extras);
    return new PublishedMessage(topic, this.#data, publisher.nextSeq(), bytes, traits);
  }

  carryOut(): void {
    const { memory, publisher } = this.#host;
    const message = this.#message as PublishedMessage;
    const route = this.#route;
    memory.unreserve(this.bytes);
    if (this.#plan !== null || !route.isFresh) {
      this.#carryOutPlan(this.#plan ?? new Plan(this.#draft(), message, null, route, route.targets, null));
      return;
    }
    const { targets } = route;
    const matched = targets.length;
    publisher.countPublished(route, matched);
    if (matched === 0) {
      this.resolve(receiptOf(message, 0, false));
      return;
    }
    let waits: Promise<unknown>[] | null = null;
    // Held until every queue has it, so that the first of them cannot take the memory of the next.
    memory.hold(message);
    for (let index = 0; index < matched; index += 1) {
      const queue = targets[index] as DeliveryQueue;
      if (queue.offer(message) === "full") (waits ??= []).push(queue.offerHeld(message, undefined, undefined));
    }
    memory.release(message);
    const receipt = receiptOf(message, matched, false);
    this.resolve(waits === null ? receipt : Promise.all(waits).then(() => receipt));
  }

  /** Something had to be asked, or the subscriptions are others by now. */
  #carryOutPlan(plan: Plan): void {
    const [{ receipt, waits }] = this.#host.publisher.carryOut([plan]) as [Accepted];
    this.resolve(waits.length === 0 ? receipt : Promise.all(waits).then(() => receipt));
  }

  refuse(error: unknown): void {
    this.#host.publisher.counters.refused += 1;
    if (this.#message !== null) this.#host.memory.unreserve(this.bytes);
    this.reject(error);
  }

  #draft(): Draft {
    const plain = plainDraft(this.#route.topic, this.#data, this.bytes, this.#priority, this.#extras);
    return { ...plain, isStored: true, durability: this.#durability };
  }
}

/** The message itself, where it is in the form that the store takes. */
function storable(message: PublishedMessage): StoredFacts {
  return Number.isInteger(message.timestamp) && message.timestamp >= 0 ? message : factsOf(message);
}

const plainKeys: readonly string[] = ["durability", "key", "priority"];

function isPlain(options: PublishOptions): boolean {
  if (typeof options !== "object" || Array.isArray(options)) return false;
  for (const name in options) if (!plainKeys.includes(name)) return false;
  const { key, durability } = options;
  if (key !== undefined && typeof key !== "string") return false;
  return durability === undefined || durabilities.includes(durability);
}
