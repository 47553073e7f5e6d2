import { isLiteral, standardDialect } from "./grammar.js";
import type { Dialect } from "./grammar.js";

/** A value, once for all the patterns it was added under. */
interface Holding<T> {
  readonly value: T;
  /** Under how many patterns. */
  patterns: number;
  /** The last match that returned the value, if it has several patterns. */
  lastMatch: number;
}

/** The values of one pattern. */
interface Bucket<T> {
  readonly pattern: string;
  readonly holdings: Set<Holding<T>>;
  /** The only one of `holdings`, as most patterns have; null where there are more. */
  only: Holding<T> | null;
}

interface Node<T> {
  /** By literal token. A Map, since a token may be called `__proto__`. */
  children: Map<string, Node<T>> | undefined;
  /** Behind the one-token wildcard. */
  one: Node<T> | undefined;
  /** The pattern that ends here. */
  end: Bucket<T> | undefined;
  /** The pattern that ends with the rest wildcard here. */
  rest: Bucket<T> | undefined;
}

/**
 * Patterns and the values subscribed to them, arranged so that finding what matches a topic costs by the topic's
 * tokens and the branches that match them, however many other patterns there are.
 *
 * Patterns without wildcards stay out of the tree: one look-up by the whole topic finds them. Patterns and topics
 * must be valid (`checkPattern`, `checkTopic`): recursion is bounded by the tokens of the longest pattern.
 *
 * A node exists only as long as some pattern needs it.
 */
export class PatternTrie<T> {
  readonly #dialect: Dialect;
  readonly #holdings = new Map<T, Holding<T>>();
  readonly #literals = new Map<string, Bucket<T>>();
  readonly #wildcards = new Map<string, Bucket<T>>();
  #root: Node<T> = emptyNode();
  #size = 0;
  #matches = 0;
  /** The tokens of the topic being matched, as far as they were needed, and where each ends; kept to save the arrays. */
  readonly #tokens: (string | undefined)[] = [];
  readonly #ends: number[] = [];
  #tokenCount = 0;
  /** Where the next token starts in the topic; -1 when there is none. */
  #nextStart = -1;

  constructor(dialect: Dialect = standardDialect) {
    this.#dialect = dialect;
  }

  /** How many pairs of pattern and value there are. */
  get size(): number {
    return this.#size;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** Adds a value under a pattern; false, and without effect, when that pair is there already. */
  add(pattern: string, value: T): boolean {
    let holding = this.#holdings.get(value);
    const isWildcard = !isLiteral(pattern, this.#dialect);
    const buckets = isWildcard ? this.#wildcards : this.#literals;
    let bucket = buckets.get(pattern);
    if (bucket === undefined) {
      bucket = { pattern, holdings: new Set(), only: null };
      buckets.set(pattern, bucket);
      if (isWildcard) this.#plant(bucket);
    } else if (holding !== undefined && bucket.holdings.has(holding)) {
      return false;
    }
    if (holding === undefined) {
      holding = { value, patterns: 0, lastMatch: 0 };
      this.#holdings.set(value, holding);
    }
    bucket.holdings.add(holding);
    bucket.only = onlyOf(bucket);
    holding.patterns += 1;
    this.#size += 1;
    return true;
  }

  /** Takes a value from under a pattern, with every node that nothing else needs; false when it is not there. */
  remove(pattern: string, value: T): boolean {
    const isWildcard = !isLiteral(pattern, this.#dialect);
    const buckets = isWildcard ? this.#wildcards : this.#literals;
    const bucket = buckets.get(pattern);
    const holding = this.#holdings.get(value);
    if (bucket === undefined || holding === undefined || !bucket.holdings.delete(holding)) return false;
    bucket.only = onlyOf(bucket);
    if (bucket.holdings.size === 0) {
      buckets.delete(pattern);
      if (isWildcard) this.#uproot(pattern);
    }
    holding.patterns -= 1;
    if (holding.patterns === 0) this.#holdings.delete(value);
    this.#size -= 1;
    return true;
  }

  /**
   * Appends to `into` every value with a pattern that matches the topic, each once even if several of its patterns
   * match, and returns `into`.
   */
  match(topic: string, into: T[]): T[] {
    this.#matches += 1;
    const literal = this.#literals.size === 0 ? undefined : this.#literals.get(topic);
    if (literal !== undefined) this.#collect(literal, into);
    if (this.#wildcards.size === 0) return into;

    const root = this.#root;
    this.#tokenCount = 0;
    this.#nextStart = 0;
    const { systemPrefix } = this.#dialect;
    if (systemPrefix !== undefined && topic.startsWith(systemPrefix)) {
      const child = root.children?.get(this.#token(0, topic));
      if (child !== undefined) this.#walk(child, 1, topic, into);
    } else {
      this.#walk(root, 0, topic, into);
    }
    return into;
  }

  /** Every pair, grouped by pattern. */
  *[Symbol.iterator](): IterableIterator<[pattern: string, value: T]> {
    for (const buckets of [this.#literals, this.#wildcards]) {
      for (const { pattern, holdings } of buckets.values()) {
        for (const { value } of holdings) yield [pattern, value];
      }
    }
  }

  /**
   * Collects from a node that the first `depth` tokens of the topic have led to. Only a wildcard beside literal
   * children takes a level of recursion; the last branch is followed in the loop.
   */
  #walk(from: Node<T>, depth: number, topic: string, into: T[]): void {
    let node = from;
    for (; ; depth += 1) {
      if (depth === this.#tokenCount && this.#nextStart < 0) {
        if (node.end !== undefined) this.#collect(node.end, into);
        if (node.rest !== undefined && this.#dialect.restMinimum === 0) this.#collect(node.rest, into);
        return;
      }
      if (node.rest !== undefined) this.#collect(node.rest, into);
      if (node.children === undefined) {
        if (node.one === undefined) return;
        this.#skipToken(depth, topic);
        node = node.one;
        continue;
      }
      const child = node.children.get(this.#token(depth, topic));
      if (node.one === undefined) {
        if (child === undefined) return;
        node = child;
      } else {
        if (child !== undefined) this.#walk(child, depth + 1, topic, into);
        node = node.one;
      }
    }
  }

  /** A token of the topic by its number. Tokens are asked for without gaps: `depth` is at most the count so far. */
  #token(depth: number, topic: string): string {
    this.#skipToken(depth, topic);
    const token = this.#tokens[depth];
    if (token !== undefined) return token;
    const start = depth === 0 ? 0 : (this.#ends[depth - 1] as number) + 1;
    const cut = topic.slice(start, this.#ends[depth]);
    this.#tokens[depth] = cut;
    return cut;
  }

  /** Goes past a token without cutting it out: a wildcard does not ask what it says. */
  #skipToken(depth: number, topic: string): void {
    if (depth < this.#tokenCount) return;
    const end = topic.indexOf(this.#dialect.separator, this.#nextStart);
    this.#tokens[depth] = undefined;
    this.#ends[depth] = end < 0 ? topic.length : end;
    this.#tokenCount = depth + 1;
    this.#nextStart = end < 0 ? -1 : end + 1;
  }

  #collect(bucket: Bucket<T>, into: T[]): void {
    if (bucket.only !== null) this.#collectOne(bucket.only, into);
    else for (const holding of bucket.holdings) this.#collectOne(holding, into);
  }

  #collectOne(holding: Holding<T>, into: T[]): void {
    if (holding.patterns > 1) {
      if (holding.lastMatch === this.#matches) return;
      holding.lastMatch = this.#matches;
    }
    into.push(holding.value);
  }

  #plant(bucket: Bucket<T>): void {
    const { separator, one, rest } = this.#dialect;
    let node = this.#root;
    for (const token of bucket.pattern.split(separator)) {
      if (token === rest) {
        node.rest = bucket;
        return;
      }
      if (token === one) {
        node = node.one ??= emptyNode();
      } else {
        const children = (node.children ??= new Map<string, Node<T>>());
        let child = children.get(token);
        if (child === undefined) {
          child = emptyNode();
          children.set(token, child);
        }
        node = child;
      }
    }
    node.end = bucket;
  }

  #uproot(pattern: string): void {
    const { separator, one, rest } = this.#dialect;
    const tokens = pattern.split(separator);
    const path: Node<T>[] = [];
    let node = this.#root;
    for (const token of tokens) {
      path.push(node);
      if (token === rest) break;
      node = (token === one ? node.one : node.children?.get(token)) as Node<T>;
    }
    if (tokens[tokens.length - 1] === rest) node.rest = undefined;
    else node.end = undefined;

    const steps = tokens[tokens.length - 1] === rest ? tokens.length - 1 : tokens.length;
    for (let depth = steps - 1; depth >= 0 && isBare(node); depth -= 1) {
      const parent = path[depth] as Node<T>;
      const token = tokens[depth] as string;
      if (token === one) parent.one = undefined;
      else {
        parent.children?.delete(token);
        if (parent.children?.size === 0) parent.children = undefined;
      }
      node = parent;
    }
  }
}

function onlyOf<T>({ holdings }: Bucket<T>): Holding<T> | null {
  if (holdings.size !== 1) return null;
  for (const holding of holdings) return holding;
  return null;
}

function emptyNode<T>(): Node<T> {
  return { children: undefined, one: undefined, end: undefined, rest: undefined };
}

function isBare<T>(node: Node<T>): boolean {
  return node.end === undefined && node.rest === undefined && node.one === undefined && node.children === undefined;
}
