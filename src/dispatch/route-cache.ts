/** Routes of each generation; twice as many are remembered at most. */
const generationSize = 8_192;

/**
 * The routes of the topics that were used lately, in two generations: what is used enters the young one, and when that
 * is full, it becomes the old one and what was old and unused since is forgotten.
 *
 * So a topic in use is one look-up, as in a plain Map, a new one costs one insertion, and forgetting costs nothing. An
 * exact LRU pays a list operation for every use, and for every new topic a deletion too.
 */
export class RouteCache<Route> {
  #young = new Map<string, Route>();
  #old = new Map<string, Route>();

  /** Routes in the young generation. */
  get youngSize(): number {
    return this.#young.size;
  }

  /** The route, where it was used since the generations changed. */
  get(topic: string): Route | undefined {
    return this.#young.get(topic);
  }

  /** The route, where it was used long ago; it is young again. Ask `get` first. */
  recall(topic: string): Route | undefined {
    const route = this.#old.get(topic);
    if (route !== undefined) this.set(topic, route);
    return route;
  }

  /** The route, without its use counting. */
  peek(topic: string): Route | undefined {
    return this.#young.get(topic) ?? this.#old.get(topic);
  }

  set(topic: string, route: Route): void {
    if (this.#young.size >= generationSize) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(topic, route);
  }

  delete(topic: string): void {
    this.#young.delete(topic);
    this.#old.delete(topic);
  }

  /** Each topic with its route, in no order that means anything. */
  *[Symbol.iterator](): IterableIterator<[topic: string, route: Route]> {
    yield* this.#young;
    for (const entry of this.#old) if (!this.#young.has(entry[0])) yield entry;
  }
}
