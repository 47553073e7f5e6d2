import { brokerError, quote } from "../errors.js";
import type { PublishedMessage, Stamp } from "../message/message.js";
import type { TopicLimits } from "../topic/grammar.js";
import { checkTopic, isLiteral } from "../topic/grammar.js";
import { topicHash } from "../topic/hash.js";
import { PatternTrie } from "../topic/pattern-trie.js";
import type { DeliveryQueue } from "./queue.js";
import { RouteCache } from "./route-cache.js";
import { SeenTopics } from "./seen-topics.js";

/** What the routes of some topics have in common: they go stale together. */
class Scope {
  version = 0;
}

/** Where a topic's messages go. Stale once its version is not its scope's any more. */
export class Route<Attachment> {
  readonly topic: string;
  /** Queues that get every message: those of plain subscriptions, and of groups with one queue. */
  readonly targets: readonly DeliveryQueue[];
  /** Groups whose members ask for different things: each message goes to one queue of each. */
  readonly choices: readonly (readonly DeliveryQueue[])[];
  /** True where `targets` is the whole answer, for every message. */
  readonly isPlain: boolean;
  readonly attachment: Attachment;
  readonly scope: Scope;
  version: number;
  published = 0;
  /** When it was used last; kept up only where topics are limited. */
  usedAt: Stamp | null = null;

  constructor(
    topic: string,
    targets: readonly DeliveryQueue[],
    choices: readonly (readonly DeliveryQueue[])[],
    attachment: Attachment,
    scope: Scope,
  ) {
    this.topic = topic;
    this.targets = targets;
    this.choices = choices;
    this.isPlain = choices.length === 0 && areUnfiltered(targets);
    this.attachment = attachment;
    this.scope = scope;
    this.version = scope.version;
  }

  get isFresh(): boolean {
    return this.version === this.scope.version;
  }

  /** Subscriptions and groups that match, filters aside. */
  get matched(): number {
    return this.targets.length + this.choices.length;
  }
}

/** Up to so many routes each topic has its own remembered at once; from then on, from the second time it is seen. */
const routesAtOnce = 1_024;

/** For the many routes without any. */
const noChoices: readonly never[] = [];
const noTargets: readonly never[] = [];

export interface RouterOptions<Attachment> {
  readonly shards: number;
  readonly limits: TopicLimits;
  /** Topics known at once; Infinity: as many as are remembered. */
  readonly maxTopics: number;
  /** Milliseconds after which a topic that is not used makes room for another. */
  readonly topicIdleMs: number;
  now(): number;
  /** What else belongs to a topic; worked out once, with its route. */
  attach(topic: string): Attachment;
  /** False for a queue that gets nothing of a topic although its patterns match; null where there is none such. */
  readonly admits: ((queue: DeliveryQueue, attachment: Attachment) => boolean) | null;
  /** True for a topic that is used once, so that remembering it would push out others. */
  isTransient(topic: string): boolean;
  /** True for a topic that has to stay known: it has a retained message. */
  isKept(topic: string): boolean;
}

/**
 * Finds the queues of a topic.
 *
 * Subscriptions to exact topics live in the topic's shard, those with wildcards in one trie. The answer is remembered, so
 * a publish to a topic in use is one look-up; the topic is checked and hashed on a miss alone. A change of subscriptions makes
 * stale what it concerns: one topic for an exact pattern, the topics with the same first token for a pattern that begins with one.
 *
 * Where topics are many, most are seen once, and to remember each of those would cost more than to find its route. So there a
 * topic is remembered from the second time on.
 */
export class Router<Attachment> {
  readonly #options: RouterOptions<Attachment>;
  /** The queues of each exact topic, by shard. */
  readonly #exact: Map<string, DeliveryQueue[]>[];
  #exactTopics = 0;
  readonly #shardMask: number;
  readonly #trie = new PatternTrie<DeliveryQueue>();
  readonly #routes = new RouteCache<Route<Attachment>>();
  #last: Route<Attachment> | null = null;
  #seen: SeenTopics | null = null;
  readonly #restScope = new Scope();
  /** Of the routes that are not remembered: stale after any change, since nobody finds them. */
  readonly #looseScope = new Scope();
  readonly #scopes = new Map<string, { scope: Scope; patterns: number }>();
  readonly #known: Map<string, Route<Attachment>> | null;
  readonly #matched: DeliveryQueue[] = [];

  constructor(options: RouterOptions<Attachment>) {
    this.#options = options;
    this.#shardMask = options.shards - 1;
    this.#exact = Array.from({ length: options.shards }, () => new Map<string, DeliveryQueue[]>());
    this.#known = options.maxTopics === Infinity ? null : new Map();
  }

  /** True where topics are counted, and `Route.usedAt` is to be kept up. */
  get limitsTopics(): boolean {
    return this.#known !== null;
  }

  shardOf(text: string): number {
    return topicHash(text) & this.#shardMask;
  }

  /** The route of a topic. Throws `ERR_INVALID_TOPIC`, or `ERR_LIMIT_EXCEEDED` for one topic too many. */
  route(topic: string): Route<Attachment> {
    // The topic of the publish before is the likeliest: comparing it costs a fraction of a look-up.
    const last = this.#last;
    if (last !== null && last.topic === topic && last.version === last.scope.version) return last;
    let route = this.#routes.get(topic);
    if (route === undefined || route.version !== route.scope.version) route = this.#findRoute(topic, route);
    this.#last = route;
    return route;
  }

  /** The route of a topic that a message was accepted for; never throws, though others may have its place by now. */
  routeAgain(topic: string): Route<Attachment> {
    return this.#known === null || this.#known.has(topic)
      ? this.route(topic)
      : this.#buildRoute(topic, this.#looseScope);
  }

  add(queue: DeliveryQueue): void {
    this.#looseScope.version += 1;
    for (const pattern of queue.patterns) {
      if (isLiteral(pattern)) {
        const exact = this.#exactOf(pattern);
        const queues = exact.get(pattern);
        if (queues === undefined) {
          exact.set(pattern, [queue]);
          this.#exactTopics += 1;
        } else queues.push(queue);
        this.#makeTopicStale(pattern);
      } else {
        this.#trie.add(pattern, queue);
        this.#makePatternStale(pattern, 1);
      }
    }
  }

  remove(queue: DeliveryQueue): void {
    this.#looseScope.version += 1;
    for (const pattern of queue.patterns) {
      if (isLiteral(pattern)) {
        const exact = this.#exactOf(pattern);
        const left = exact.get(pattern)?.filter((one) => one !== queue) ?? [];
        if (left.length > 0) exact.set(pattern, left);
        else if (exact.delete(pattern)) this.#exactTopics -= 1;
        this.#makeTopicStale(pattern);
      } else {
        this.#trie.remove(pattern, queue);
        this.#makePatternStale(pattern, -1);
      }
    }
  }

  /** Every topic that has an exact subscription or was published to lately, with its route. */
  *topics(): IterableIterator<Route<Attachment>> {
    if (this.#known !== null) {
      for (const topic of this.#known.keys()) yield this.route(topic);
      return;
    }
    const seen = new Set<string>();
    for (const [topic, route] of [...this.#routes]) {
      seen.add(topic);
      yield route.isFresh ? route : this.route(topic);
    }
    for (const exact of this.#exact) {
      for (const topic of exact.keys()) if (!seen.has(topic)) yield this.route(topic);
    }
  }

  #findRoute(topic: string, stale: Route<Attachment> | undefined): Route<Attachment> {
    const recalled = stale ?? this.#routes.recall(topic);
    if (recalled?.isFresh === true) return recalled;
    if (recalled === undefined) {
      checkTopic(topic, this.#options.limits);
      if (!this.#isToRemember(topic)) return this.#buildRoute(topic, this.#looseScope);
    }
    const route = this.#buildRoute(topic, this.#scopeOf(topic));
    const before = recalled ?? this.#known?.get(topic);
    if (before !== undefined) {
      route.published = before.published;
      route.usedAt = before.usedAt;
    }
    if (this.#known !== null) this.#know(this.#known, route);
    this.#routes.set(topic, route);
    return route;
  }

  #isToRemember(topic: string): boolean {
    if (this.#options.isTransient(topic)) return false;
    if (this.#known !== null || this.#routes.youngSize < routesAtOnce) return true;
    this.#seen ??= new SeenTopics();
    return this.#seen.see(topicHash(topic));
  }

  #buildRoute(topic: string, scope: Scope): Route<Attachment> {
    const attachment = this.#options.attach(topic);
    const matched = this.#match(topic, attachment);
    if (matched.length === 0) return new Route(topic, noTargets, noChoices, attachment, scope);
    if (matched.length === 1) {
      return new Route(topic, (matched[0] as DeliveryQueue).alone, noChoices, attachment, scope);
    }
    const targets: DeliveryQueue[] = [];
    const choices: DeliveryQueue[][] = [];
    const groups = new Map<string, DeliveryQueue[]>();
    for (const queue of matched) {
      if (queue.group === null) {
        targets.push(queue);
        continue;
      }
      const members = groups.get(queue.group);
      if (members === undefined) groups.set(queue.group, [queue]);
      else members.push(queue);
    }
    for (const queues of groups.values()) {
      if (queues.length === 1) targets.push(queues[0] as DeliveryQueue);
      else choices.push(queues);
    }
    return new Route(topic, targets, choices, attachment, scope);
  }

  /** Valid until the next call. */
  #match(topic: string, attachment: Attachment): readonly DeliveryQueue[] {
    const matched = this.#matched;
    // One by one: an array that is given a length gives its memory back, and takes new with the next push.
    while (matched.length > 0) matched.pop();
    if (!this.#trie.isEmpty) this.#trie.match(topic, matched);
    const exact = this.#exactTopics === 0 ? undefined : this.#exactOf(topic).get(topic);
    if (exact !== undefined) {
      for (const queue of exact) if (!matched.includes(queue)) matched.push(queue);
    }
    const { admits } = this.#options;
    if (admits === null) return matched;
    const isAdmitted = (queue: DeliveryQueue): boolean => admits(queue, attachment);
    return matched.every(isAdmitted) ? matched : matched.filter(isAdmitted);
  }

  #exactOf(topic: string): Map<string, DeliveryQueue[]> {
    return this.#exact[this.shardOf(topic)] as Map<string, DeliveryQueue[]>;
  }

  #scopeOf(topic: string): Scope {
    if (this.#scopes.size === 0) return this.#restScope;
    return this.#scopes.get(firstToken(topic))?.scope ?? this.#restScope;
  }

  #makeTopicStale(topic: string): void {
    const route = this.#routes.peek(topic);
    if (route !== undefined) route.version = -1;
    const known = this.#known?.get(topic);
    if (known !== undefined) known.version = -1;
  }

  #makePatternStale(pattern: string, change: 1 | -1): void {
    const first = firstToken(pattern);
    if (!isLiteral(first)) {
      this.#restScope.version += 1;
      for (const { scope } of this.#scopes.values()) scope.version += 1;
      return;
    }
    const counted = this.#scopes.get(first);
    if (counted === undefined) {
      // Topics with this first token were in the rest until now.
      this.#scopes.set(first, { scope: new Scope(), patterns: 1 });
      this.#restScope.version += 1;
      return;
    }
    counted.scope.version += 1;
    counted.patterns += change;
    if (counted.patterns === 0) this.#scopes.delete(first);
  }

  #know(known: Map<string, Route<Attachment>>, route: Route<Attachment>): void {
    if (!known.has(route.topic) && known.size >= this.#options.maxTopics) this.#forgetIdle(known);
    if (!known.has(route.topic) && known.size >= this.#options.maxTopics) {
      throw brokerError(
        "ERR_LIMIT_EXCEEDED",
        `topic ${quote(route.topic)} would be one more than the ${this.#options.maxTopics} that limits.maxTopics allows; ` +
          `use fewer topics (put ids into the key or a header), or raise it`,
        { limit: "maxTopics", maxTopics: this.#options.maxTopics, topic: route.topic },
      );
    }
    known.set(route.topic, route);
  }

  #forgetIdle(known: Map<string, Route<Attachment>>): void {
    const idleSince = this.#options.now() - this.#options.topicIdleMs;
    for (const [topic, route] of known) {
      const isUsed =
        (route.usedAt !== null && route.usedAt.at > idleSince) ||
        this.#exactOf(topic).has(topic) ||
        this.#options.isKept(topic);
      if (isUsed) continue;
      known.delete(topic);
      this.#routes.delete(topic);
      route.version = -1;
    }
  }
}

function areUnfiltered(queues: readonly DeliveryQueue[]): boolean {
  for (let index = 0; index < queues.length; index += 1) {
    if ((queues[index] as DeliveryQueue).settings.filter !== null) return false;
  }
  return true;
}

/** The queues one message goes to, on a route that is not plain: filters asked, one queue chosen for each group. */
export function chooseTargets<Attachment>(
  route: Route<Attachment>,
  message: PublishedMessage,
  accepts: (queue: DeliveryQueue, message: PublishedMessage) => boolean,
): DeliveryQueue[] {
  const chosen: DeliveryQueue[] = [];
  for (const queue of route.targets) {
    if (queue.settings.filter === null || accepts(queue, message)) chosen.push(queue);
  }
  for (const queues of route.choices) {
    let best: DeliveryQueue | undefined;
    let bestReady = 0;
    for (const queue of queues) {
      if (queue.settings.filter !== null && !accepts(queue, message)) continue;
      // With an order to keep, a key stays with one queue as long as the same ones match it, whoever has places free.
      const ready =
        queue.settings.isOrderedByKey && message.key !== undefined
          ? topicHash(`${message.key}\0${queue.patterns.join(" ")}`)
          : queue.consumers.reduce((count, one) => count + (one.isReady() ? 1 : 0), 0) - queue.queued;
      if (best === undefined || ready > bestReady) {
        best = queue;
        bestReady = ready;
      }
    }
    if (best !== undefined) chosen.push(best);
  }
  return chosen;
}

function firstToken(topic: string): string {
  const dot = topic.indexOf(".");
  return dot < 0 ? topic : topic.slice(0, dot);
}
