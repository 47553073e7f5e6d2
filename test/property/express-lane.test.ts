import * as fc from "fast-check";
import type { InProcBroker, SubscribeOptions, Subscription } from "inproc-broker";
import { BrokerError } from "inproc-broker";
import { expect, it } from "vitest";
import { balanced, manualBroker } from "../support/manual-broker.js";

/** What the handler that gets a message does, the first time somebody gets it. */
type Act =
  | { readonly do: "nothing" | "throw" | "return late" | "pause itself" | "unsubscribe itself" | "publish" | "look" }
  | { readonly do: "pause" | "resume"; readonly sub: number };

type Step =
  | { readonly do: "publish"; readonly topic: string; readonly act: Act; readonly priority?: Level | undefined }
  | { readonly do: "subscribe"; readonly pattern: string; readonly kind: number }
  | { readonly do: "pause" | "resume" | "unsubscribe" | "peek"; readonly sub: number }
  | { readonly do: "turn" };

type Level = 2 | 4 | 7;

type Kind = Pick<SubscribeOptions, "maxMessages" | "maxBytes" | "overflow">;

const kinds: readonly Kind[] = [
  {},
  { maxMessages: 3, overflow: "error" },
  { maxMessages: 3, overflow: "drop-oldest" },
  { maxBytes: 20, overflow: "error" },
];

/** Bytes of a message: a number. */
const messageBytes = 8;

const onPurpose = new Error("a handler that throws");

interface Waiting {
  readonly seq: number;
  readonly priority: number;
}

interface Taker {
  readonly sub: Subscription;
  readonly matches: (topic: string) => boolean;
  readonly kind: Kind;
  /** In the order in which they have to come. */
  waiting: Waiting[];
  isOpen: boolean;
  delivered: number;
}

/** A broker beside a list for each subscription that says what has to come next. */
class World {
  readonly broker: InProcBroker = manualBroker({ shards: 2 }).broker;
  readonly takers: Taker[] = [];
  /** What handlers threw that was not on purpose: expectations, for one. */
  readonly failures: unknown[] = [];
  readonly #acts = new Map<number, Act>();
  #published = 0;

  subscribe(pattern: string, kind: Kind): void {
    const sub = this.broker.subscribe(pattern, (msg) => this.#handle(taker, msg.data as number), kind);
    const matches = (topic: string): boolean => pattern === ">" || pattern === topic;
    const taker: Taker = { sub, matches, kind, waiting: [], isOpen: true, delivered: 0 };
    this.takers.push(taker);
  }

  publish(topic: string, act: Act, priority: Level | undefined): void {
    const takers = this.takers.filter((taker) => taker.isOpen && taker.matches(topic));
    const isRefused = takers.some(({ kind, waiting }) => !fits(kind, waiting) && kind.overflow === "error");
    const number = this.#published + 1;
    try {
      this.broker.publishSync(topic, number, priority === undefined ? undefined : { priority });
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      expect([error.code, isRefused]).toEqual(["ERR_QUEUE_FULL", true]);
      return;
    }
    expect(isRefused, "had no room").toBe(false);
    this.#published = number;
    this.#acts.set(number, act);
    for (const taker of takers) admit(taker, { seq: number, priority: priority ?? 4 });
    this.check();
  }

  check(): void {
    for (const { sub, waiting, isOpen, delivered } of this.takers) {
      if (!isOpen) continue;
      const stats = sub.stats();
      expect([stats.queued, stats.queuedBytes, stats.delivered]).toEqual([
        waiting.length,
        waiting.length * messageBytes,
        delivered,
      ]);
    }
    const held = new Set(this.takers.flatMap(({ waiting }) => waiting.map(({ seq }) => seq)));
    expect(balanced(this.broker).memoryBytes).toBe(held.size * messageBytes);
  }

  pick(index: number): Taker | undefined {
    const open = this.takers.filter(({ isOpen }) => isOpen);
    return open[index % Math.max(1, open.length)];
  }

  peek({ sub, waiting }: Taker): void {
    const seen = this.broker.peek(sub, 1_000).map((msg) => msg.data as number);
    expect(seen).toEqual(waiting.map(({ seq }) => seq));
  }

  unsubscribe(taker: Taker): void {
    taker.isOpen = false;
    taker.waiting = [];
    void taker.sub.unsubscribe();
  }

  #handle(taker: Taker, number: number): unknown {
    expect(taker.isOpen && !taker.sub.isPaused).toBe(true);
    expect(number, "came in turn").toBe(taker.waiting.shift()?.seq);
    taker.delivered += 1;
    const act = this.#acts.get(number);
    this.#acts.delete(number);
    if (act !== undefined) return this.#act(taker, act);
    return undefined;
  }

  #act(taker: Taker, act: Act): unknown {
    switch (act.do) {
      case "throw":
        throw onPurpose;
      case "return late":
        return Promise.resolve();
      case "pause itself":
        taker.sub.pause();
        break;
      case "unsubscribe itself":
        this.unsubscribe(taker);
        break;
      case "publish":
        this.publish("a", { do: "nothing" }, undefined);
        break;
      case "pause":
      case "resume":
        this.pick(act.sub)?.sub[act.do]();
        break;
      case "look":
        this.check();
        break;
      default:
    }
    return undefined;
  }
}

function fits(kind: Kind, waiting: readonly Waiting[]): boolean {
  const { maxMessages = 1024, maxBytes = Infinity } = kind;
  return waiting.length === 0 || (waiting.length < maxMessages && (waiting.length + 1) * messageBytes <= maxBytes);
}

/** Puts a message where it belongs: higher priorities first. Without room the oldest of the lowest makes some. */
function admit({ kind, waiting }: Taker, message: Waiting): void {
  if (!fits(kind, waiting)) {
    const lowest = Math.min(...waiting.map(({ priority }) => priority));
    if (lowest > message.priority) return;
    waiting.splice(
      waiting.findIndex(({ priority }) => priority === lowest),
      1,
    );
  }
  const behind = waiting.findIndex(({ priority }) => priority < message.priority);
  waiting.splice(behind < 0 ? waiting.length : behind, 0, message);
}

const subIndex = fc.nat(5);
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Act>({ do: "nothing" }) },
  fc.record({
    do: fc.constantFrom("throw", "return late", "pause itself", "unsubscribe itself", "publish", "look"),
  }) as fc.Arbitrary<Act>,
  fc.record({ do: fc.constantFrom("pause", "resume"), sub: subIndex }) as fc.Arbitrary<Act>,
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      topic: fc.constantFrom("a", "a", "a", "b", "c"),
      act,
      priority: fc.oneof(
        { weight: 20, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom<Level[]>(2, 4, 7) },
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("subscribe" as const),
      pattern: fc.constantFrom("a", "b", ">"),
      kind: fc.nat(kinds.length - 1),
    }),
  },
  fc.record({ do: fc.constantFrom("pause", "resume", "unsubscribe", "peek"), sub: subIndex }) as fc.Arbitrary<Step>,
  { weight: 3, arbitrary: fc.constant<Step>({ do: "turn" }) },
);

async function run(steps: readonly Step[]): Promise<void> {
  const world = new World();
  world.broker.on("error", (error) => {
    if (error !== onPurpose) world.failures.push(error);
  });
  world.subscribe("a", {});
  world.subscribe(">", {});
  for (const one of steps) {
    if (one.do === "publish") world.publish(one.topic, one.act, one.priority);
    else if (one.do === "subscribe") world.subscribe(one.pattern, kinds[one.kind] as Kind);
    else if (one.do === "turn") await new Promise(setImmediate);
    else {
      const taker = world.pick(one.sub);
      if (taker === undefined) continue;
      if (one.do === "peek") world.peek(taker);
      else if (one.do === "unsubscribe") world.unsubscribe(taker);
      else taker.sub[one.do]();
    }
    world.check();
  }
  // Handlers may pause subscriptions meanwhile, once for each message.
  for (let turns = 0; turns <= steps.length; turns += 1) {
    for (const { sub, isOpen } of world.takers) if (isOpen) sub.resume();
    await new Promise(setImmediate);
  }
  world.check();
  expect(world.takers.filter(({ waiting }) => waiting.length > 0)).toEqual([]);
  await world.broker.idle();
  expect(world.failures).toEqual([]);
  await world.broker.close();
}

it("plain handlers get each message once and in turn, with exact figures at every look, whatever they do meanwhile", () =>
  fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 150, size: "max" }), run)));
