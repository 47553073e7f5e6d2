import fc from "fast-check";
import { expect, test } from "vitest";
import { NumberedItems } from "../../src/worker/numbered-items.js";

type Step = { readonly add: number } | { readonly take: number } | { readonly clear: true };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 60, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 50, arbitrary: fc.record({ take: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant({ clear: true as const }) },
);

test("NumberedItems holds what a map would, in the order of the numbers, whatever is taken out when", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600 }), fc.boolean(), (steps, isOldestKept) => {
      const items = new NumberedItems<string>();
      const model = new Map<number, string>();
      let last = 0;
      for (const one of steps) {
        if ("add" in one) {
          last += one.add;
          items.add(last, `item ${last}`);
          model.set(last, `item ${last}`);
        } else if ("take" in one) {
          // Any number that was ever given, mostly one that is there; the first ones stay where they are to.
          const numbers = [...model.keys()].slice(isOldestKept ? 3 : 0);
          const number = one.take % 5 === 0 ? one.take % (last + 2) : (numbers[one.take % numbers.length] ?? 0);
          expect(items.get(number)).toBe(model.get(number));
          expect(items.take(number)).toBe(model.get(number));
          model.delete(number);
        } else {
          items.clear();
          model.clear();
        }
        expect(items.size).toBe(model.size);
        expect(items.first()).toBe(model.values().next().value);
      }
      expect([...items]).toEqual([...model]);
    }),
  );
});

test("items that stay while thousands come and go are found, and do not keep the window open", () => {
  const items = new NumberedItems<number>();
  for (let number = 1; number <= 10_000; number += 1) {
    items.add(number, number);
    if (number % 2_000 !== 1) expect(items.take(number)).toBe(number);
  }
  expect([...items]).toEqual([1, 2_001, 4_001, 6_001, 8_001].map((number) => [number, number]));
  expect(items.take(2_001)).toBe(2_001);
  expect(items.take(2_001)).toBeUndefined();
  expect(items.slots).toBe(64);
});

test("items that are taken out while they are looked through are left out", () => {
  const items = new NumberedItems<string>();
  for (let number = 1; number <= 4; number += 1) items.add(number, `item ${number}`);
  const seen: number[] = [];
  for (const [number] of items) {
    seen.push(number);
    items.take(number);
    items.take(3);
  }
  expect(seen).toEqual([1, 2, 4]);
  expect(items.size).toBe(0);
});
