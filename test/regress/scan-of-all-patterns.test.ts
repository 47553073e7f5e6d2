/**
 * An earlier broker compared each published topic with every pattern (0.6 ms at 1,000 patterns), and made a deep copy of the
 * payload for every subscriber. A publish costs what matches; subscribers share the payload.
 */
import { expect, it } from "vitest";
import { fetchNow, manualBroker } from "../support/manual-broker.js";

/** Looks into maps that a publish to a topic never seen before takes: work, counted instead of timed. */
function lookUps(patterns: number): number {
  const { broker } = manualBroker();
  for (let index = 0; index < patterns; index += 1) broker.subscribe(`other.${index}.*`, () => undefined);
  for (let index = 0; index < patterns; index += 1) broker.subscribe(`other${index}.>`, () => undefined);
  broker.subscribe("hot.*.end", () => undefined);
  broker.publishSync("warm.up", 1);
  const original = { get: Map.prototype.get, has: Map.prototype.has, next: iteratorPrototype.next };
  let count = 0;
  const counting = (method: (...args: never[]) => unknown) =>
    function (this: unknown, ...args: never[]): unknown {
      count += 1;
      return method.apply(this, args);
    };
  Map.prototype.get = counting(original.get as never) as never;
  Map.prototype.has = counting(original.has as never) as never;
  iteratorPrototype.next = counting(original.next);
  try {
    for (let index = 0; index < 100; index += 1) broker.publishSync(`hot.${index}.end`, 1);
  } finally {
    Object.assign(Map.prototype, { get: original.get, has: original.has });
    iteratorPrototype.next = original.next;
  }
  expect(broker.metrics.snapshot().routed).toBe(100);
  return count;
}

const iteratorPrototype = Object.getPrototypeOf(new Map().values()) as { next: () => unknown };

it("a publish to a new topic looks at as much with 4,000 patterns that do not match as with 20", () => {
  expect(lookUps(2_000)).toBe(lookUps(10));
});

it("filters of subscriptions that do not match are never asked", async () => {
  const { broker } = manualBroker();
  let asked = 0;
  const filter = (): boolean => {
    asked += 1;
    return true;
  };
  for (let index = 0; index < 100; index += 1) broker.subscribe(`a.${index}`, { filter });
  await broker.publish("a.7", 1);
  await broker.publish("b.7", 1);
  expect(asked).toBe(1);
});

it("100 subscribers share one payload; each has a copy only where `payloads` says so", async () => {
  for (const [payloads, distinct] of [
    ["reference", 1],
    ["freeze", 1],
    ["clone", 100],
  ] as const) {
    const { broker } = manualBroker({ payloads });
    const subs = Array.from({ length: 100 }, (_, index) => broker.subscribe(index % 2 === 0 ? "t" : "*"));
    await broker.publish("t", { deep: { er: 1 } });
    const seen = await Promise.all(subs.map(async (sub) => (await fetchNow(sub))[0]?.data as object));
    expect(new Set(seen).size, payloads).toBe(distinct);
  }
});
