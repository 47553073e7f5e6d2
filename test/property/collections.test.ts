import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PriorityQueue } from "../../src/collections/priority-queue.js";
import { Ring } from "../../src/collections/ring.js";
import { TimerQueue } from "../../src/collections/timer-queue.js";
import type { TimerEntry } from "../../src/collections/timer-queue.js";

/** Several steps of one kind at once reach the growing, shrinking and compacting that single steps do not. */
const times = fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(3000) });

describe("Ring against an array", () => {
  const step = fc.oneof(
    fc.tuple(fc.constantFrom("push", "shift", "pop"), times),
    fc.tuple(fc.constant("retain"), fc.integer({ min: 1, max: 7 })),
    fc.tuple(fc.constant("clear"), fc.constant(0)),
  );

  it("holds the same after any steps", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ring = new Ring<number>();
        let model: number[] = [];
        let next = 0;
        for (const [action, argument] of steps) {
          if (action === "clear") {
            ring.clear();
            model = [];
          } else if (action === "retain") {
            const kept = model.filter((item) => item % argument === 0);
            expect(ring.retain((item) => item % argument === 0)).toBe(model.length - kept.length);
            model = kept;
          } else {
            for (let i = 0; i < argument; i += 1) {
              next += 1;
              if (action === "push") {
                ring.push(next);
                model.push(next);
              } else if (action === "shift" && ring.shift() !== model.shift()) {
                throw new Error("shift differs");
              } else if (action === "pop" && ring.pop() !== model.pop()) {
                throw new Error("pop differs");
              }
            }
          }
          expect(ring.length).toBe(model.length);
          expect([ring.peek(), ring.peekLast(), ring.at(1)]).toEqual([model[0], model.at(-1), model[1]]);
          expect(ring.capacity & (ring.capacity - 1)).toBe(0);
          expect(ring.capacity <= 1024 || ring.length >= ring.capacity / 8).toBe(true);
        }
        expect([...ring]).toEqual(model);
      }),
    );
  });
});

describe("TimerQueue against a sorted array", () => {
  interface Timer {
    readonly deadline: number;
    readonly id: number;
    readonly entry: TimerEntry<number>;
  }
  const scheduleIn = fc.oneof(fc.constantFrom(30, 1000), fc.integer({ min: -50, max: 2000 }));
  const step = fc.oneof(
    { weight: 40, arbitrary: fc.tuple(fc.constant("schedule"), scheduleIn, times) },
    { weight: 30, arbitrary: fc.tuple(fc.constant("cancel"), fc.nat(), times) },
    { weight: 10, arbitrary: fc.tuple(fc.constant("cancel again"), fc.nat(), fc.constant(1)) },
    { weight: 20, arbitrary: fc.tuple(fc.constant("advance"), fc.nat(200), fc.constant(1)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("clear"), fc.constant(0), fc.constant(1)) },
  );

  it("fires the same in the same order after any steps", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new TimerQueue<number>();
        let waiting: Timer[] = [];
        const settled: Timer[] = [];
        let now = 0;
        let nextId = 0;
        const sorted = () => waiting.sort((a, b) => a.deadline - b.deadline || a.id - b.id);
        for (const [action, argument, count] of steps) {
          if (action === "schedule") {
            for (let i = 0; i < count; i += 1) {
              nextId += 1;
              const deadline = now + ((argument * (i + 1)) % 2001);
              waiting.push({ deadline, id: nextId, entry: queue.schedule(deadline, nextId) });
            }
          } else if (action === "cancel") {
            for (let i = 0; i < count && waiting.length > 0; i += 1) {
              const index = (argument + i * 31) % waiting.length;
              const [timer] = waiting.splice(index, 1) as [Timer];
              if (!queue.cancel(timer.entry)) throw new Error("a waiting entry could not be cancelled");
              settled.push(timer);
            }
          } else if (action === "cancel again") {
            const timer = settled[argument % settled.length];
            if (timer !== undefined) expect(queue.cancel(timer.entry)).toBe(false);
          } else if (action === "advance") {
            now += argument;
            const due = sorted().filter(({ deadline }) => deadline <= now);
            waiting = waiting.slice(due.length);
            for (const timer of due) {
              const taken = queue.takeDue(now);
              if (taken !== timer.id) throw new Error(`took ${taken} instead of ${timer.id}`);
              if (timer.entry.active) throw new Error("a fired entry is active");
              settled.push(timer);
            }
            expect(queue.takeDue(now)).toBeUndefined();
          } else {
            queue.clear();
            settled.push(...waiting);
            waiting = [];
          }
          expect(queue.size).toBe(waiting.length);
          const first = waiting.reduce((least, { deadline }) => Math.min(least, deadline), Infinity);
          expect(queue.nextDeadline()).toBe(first);
          expect(waiting.every(({ entry, deadline }) => entry.active && entry.deadline === deadline)).toBe(true);
        }
        for (const timer of sorted()) expect(queue.takeDue(Infinity)).toBe(timer.id);
        expect(queue.size).toBe(0);
      }),
    );
  });
});

describe("PriorityQueue against a naive model", () => {
  interface Item {
    readonly id: number;
    readonly priority: number;
    readonly time: number;
    readonly isReturned: boolean;
  }
  const numberOf = ({ id, time }: Item): number => time * 1000 + id;
  const priority = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant(4));
  const step = fc.oneof(
    { weight: 50, arbitrary: fc.tuple(fc.constant("push"), priority, fc.nat(1000)) },
    { weight: 10, arbitrary: fc.tuple(fc.constant("putBack"), priority, fc.nat(1000)) },
    { weight: 40, arbitrary: fc.tuple(fc.constant("shift"), fc.constant(0), fc.constant(0)) },
    {
      weight: 10,
      arbitrary: fc.tuple(fc.constantFrom("shiftLowest", "popLowest"), fc.constant(0), fc.constant(0)),
    },
    { weight: 5, arbitrary: fc.tuple(fc.constant("retain"), fc.integer({ min: 1, max: 5 }), fc.constant(0)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("clear"), fc.constant(0), fc.constant(0)) },
  );

  /** Ten arrays, and a search through their heads. */
  class Model {
    readonly lanes: Item[][] = Array.from({ length: 10 }, () => []);
    readonly #agingMs: number | undefined;

    constructor(agingMs: number | undefined) {
      this.#agingMs = agingMs;
    }

    first(): Item[] | undefined {
      const agingMs = this.#agingMs;
      const rank = ({ time, priority: level }: Item) => (agingMs === undefined ? -level : time - level * agingMs);
      let first: Item[] | undefined;
      for (const lane of this.lanes.toReversed()) {
        if (lane.length === 0) continue;
        if (first === undefined || rank(lane[0]!) < rank(first[0]!)) first = lane;
      }
      return first;
    }

    lowest(): Item[] | undefined {
      return this.lanes.find((lane) => lane.length > 0);
    }
  }

  it.each([undefined, 1, 50, 400])("gives the same items after any steps, agingMs %s", (agingMs) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const queue = new PriorityQueue<Item>({
          numberOf,
          ...(agingMs === undefined ? {} : { agingMs, timeOf: ({ time }) => time }),
        });
        const model = new Model(agingMs);
        let nextId = 0;
        for (const [action, argument, time] of steps) {
          if (action === "push" || action === "putBack") {
            nextId += 1;
            const item = { id: nextId, priority: argument, time, isReturned: action === "putBack" };
            queue[action](item, argument);
            const lane = model.lanes[argument]!;
            const place = lane.findIndex((other) => !other.isReturned || numberOf(other) > numberOf(item));
            if (action === "push" || place < 0) lane.push(item);
            else lane.splice(place, 0, item);
          } else if (action === "shift") {
            expect(queue.shift()).toBe(model.first()?.shift());
          } else if (action === "shiftLowest") {
            expect(queue.shiftLowest()).toBe(model.lowest()?.shift());
          } else if (action === "popLowest") {
            expect(queue.popLowest()).toBe(model.lowest()?.pop());
          } else if (action === "retain") {
            const keep = ({ id }: Item) => id % argument !== 0;
            const removed = model.lanes.flat().filter((item) => !keep(item)).length;
            for (const [level, lane] of model.lanes.entries()) model.lanes[level] = lane.filter(keep);
            expect(queue.retain(keep)).toBe(removed);
          } else {
            queue.clear();
            for (const lane of model.lanes) lane.length = 0;
          }
          expect(queue.size).toBe(model.lanes.flat().length);
          expect(queue.peek()).toBe(model.first()?.[0]);
          expect(queue.lowestPriority).toBe(model.lanes.findIndex((lane) => lane.length > 0));
        }
        const order = [...queue];
        expect(order).toHaveLength(queue.size);
        for (const item of order) {
          expect(model.first()?.shift()).toBe(item);
          expect(queue.shift()).toBe(item);
        }
      }),
    );
  });

  it("is a stable sort by priority", () => {
    fc.assert(
      fc.property(fc.array(priority, { maxLength: 500 }), (priorities) => {
        const queue = new PriorityQueue<Item>();
        const items = priorities.map((level, id) => ({ id, priority: level, time: 0, isReturned: false }));
        for (const item of items) queue.push(item, item.priority);
        expect([...queue]).toEqual(items.toSorted((a, b) => b.priority - a.priority));
      }),
    );
  });
});
