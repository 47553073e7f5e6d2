import type { Persistence } from "../../src/index.js";

type Store = Awaited<ReturnType<Persistence["open"]>>;
type Step = Parameters<Store["append"]>[0][number];

/** A store that breaks one promise of a broker that has it, and the case that must notice. */
export interface StoreMutant {
  readonly name: string;
  readonly caughtBy: string;
  readonly bend: (persistence: Persistence) => Persistence;
}

/** A persistence whose stores have some methods replaced. */
function bent(methods: (store: Store) => Partial<Store>): StoreMutant["bend"] {
  return (persistence) => ({
    topics: persistence.topics,
    open: async (host) => {
      const store = await persistence.open(host);
      const replaced = methods(store);
      return new Proxy(store, {
        get: (target, name) => {
          const value: unknown = Reflect.get(replaced, name) ?? Reflect.get(target, name, target);
          return typeof value === "function" ? (value.bind(target) as unknown) : value;
        },
      });
    },
  });
}

/** What is appended becomes something else; where nothing is left, nothing is appended. */
function appending(change: (steps: readonly Step[]) => readonly Step[]): StoreMutant["bend"] {
  return bent((store) => ({
    append: (steps, level) => {
      const changed = change(steps);
      return changed.length === 0 ? Promise.resolve() : store.append(changed, level);
    },
  }));
}

const without = (isGone: (step: Step) => boolean): StoreMutant["bend"] =>
  appending((steps) => steps.filter((step) => !isGone(step)));

/** Steps of a kind are answered for before they are on the disk. */
const early = (type: Step["type"]): StoreMutant["bend"] =>
  bent((store) => ({
    append: (steps, level) => store.append(steps, steps.some((step) => step.type === type) ? "memory" : level),
  }));

/** Each breaks one promise. */
export const storeMutants: readonly StoreMutant[] = [
  {
    name: "forgets a durable's position",
    caughtBy: "durables: a durable goes on where it stopped, after the broker was closed and opened again",
    bend: without((step) => step.type === "settle" && step.outcome === "ack"),
  },
  {
    name: "hands out as new what was handed out before",
    caughtBy: "durables: what was in flight comes again, marked as redelivered",
    bend: without((step) => step.type === "settle" && step.outcome === "attempt"),
  },
  {
    name: "keeps nothing for a durable that nobody is connected to",
    caughtBy: "durables: what is published while nobody is there waits for the durable",
    bend: bent(() => ({
      pending: (_durable, afterSeq) => Promise.resolve({ messages: [], throughSeq: afterSeq, hasMore: false }),
    })),
  },
  {
    name: "keeps what deleteDurable was to forget",
    caughtBy: "durables: deleteDurable forgets its position and backlog",
    bend: without((step) => step.type === "durable" && step.change === "deleted"),
  },
  {
    name: "begins every durable with what is new",
    caughtBy: 'durables: from "oldest" begins with the history',
    bend: bent((store) => ({
      append: (steps, level) =>
        store.append(
          steps.map((step) => (step.type === "durable" ? { ...step, position: store.lastSeq + 1 } : step)),
          level,
        ),
    })),
  },
  {
    name: "replays out of order",
    caughtBy: "replay: replay yields the history of a pattern in order, and delivers nothing to anybody",
    bend: bent((store) => ({
      async *replayPages(patterns, range) {
        for await (const page of store.replayPages(patterns, range)) yield page.toReversed();
      },
    })),
  },
  {
    name: "replays more than was asked for",
    caughtBy: "replay: replay stops at its limit",
    bend: bent((store) => ({
      replayPages: (patterns, { from, to }) => store.replayPages(patterns, { from, to }),
    })),
  },
  {
    name: "answers a publish before it is on the disk",
    caughtBy: "crash: what publish has resolved for is there after a crash",
    bend: early("publish"),
  },
  {
    name: "answers an ack before it is on the disk",
    caughtBy: "crash: what ack has resolved for does not come again after a crash",
    bend: early("settle"),
  },
  {
    name: "loses a transaction's half",
    caughtBy: "crash: a committed transaction is there as a whole, an open one not at all",
    bend: appending((steps) =>
      steps.filter(({ type }) => type === "publish").length > 1 ? steps.slice(0, -1) : steps,
    ),
  },
];
