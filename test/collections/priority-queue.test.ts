import { describe, expect, it } from "vitest";
import { PriorityQueue } from "../../src/collections/priority-queue.js";

interface Job {
  readonly name: string;
  readonly time: number;
}

const job = (name: string, time: number): Job => ({ name, time });

function drain<T>(queue: PriorityQueue<T>): T[] {
  const items: T[] = [];
  while (queue.size > 0) items.push(queue.shift() as T);
  return items;
}

describe("PriorityQueue", () => {
  it("gives the highest priority first, first in first out within one", () => {
    const queue = new PriorityQueue<string>();
    for (const [name, priority] of [
      ["a", 4],
      ["b", 9],
      ["c", 0],
      ["d", 4],
      ["e", 9],
    ] as const) {
      queue.push(name, priority);
    }
    expect(queue.peek()).toBe("b");
    expect(queue.size).toBe(5);
    expect([...queue]).toEqual(["b", "e", "a", "d", "c"]);
    expect(drain(queue)).toEqual(["b", "e", "a", "d", "c"]);
    expect([queue.size, queue.peek(), queue.shift(), queue.lowestPriority]).toEqual([0, undefined, undefined, -1]);
  });

  it("gives an item that is put back its place at the front of its priority", () => {
    const queue = new PriorityQueue<string>();
    queue.push("a", 4);
    queue.push("b", 4);
    queue.push("c", 7);
    queue.putBack("again", 4);
    expect(drain(queue)).toEqual(["c", "again", "a", "b"]);
  });

  it("sheds from the lowest priority, the oldest or the newest", () => {
    const queue = new PriorityQueue<string>();
    expect([queue.shiftLowest(), queue.popLowest()]).toEqual([undefined, undefined]);
    queue.push("high", 9);
    for (const name of ["old", "middle", "new"]) queue.push(name, 2);
    expect(queue.lowestPriority).toBe(2);
    expect(queue.shiftLowest()).toBe("old");
    expect(queue.popLowest()).toBe("new");
    expect(queue.popLowest()).toBe("middle");
    expect(queue.lowestPriority).toBe(9);
    expect(queue.shiftLowest()).toBe("high");
    expect([queue.size, queue.lowestPriority]).toEqual([0, -1]);
  });

  it("changes priority after running empty", () => {
    const queue = new PriorityQueue<string>();
    for (const priority of [4, 9, 0, 4]) {
      queue.push("a", priority);
      queue.push("b", priority);
      expect(queue.lowestPriority).toBe(priority);
      expect(drain(queue)).toEqual(["a", "b"]);
      expect(queue.popLowest()).toBeUndefined();
    }
  });

  it("retains what it is told to and counts the rest", () => {
    const queue = new PriorityQueue<number>();
    for (let item = 0; item < 30; item += 1) queue.push(item, item % 10);
    const asked: number[] = [];
    expect(
      queue.retain((item) => {
        asked.push(item);
        return item % 10 === 3;
      }),
    ).toBe(27);
    expect(asked.slice(0, 4)).toEqual([9, 19, 29, 8]);
    expect(queue.lowestPriority).toBe(3);
    queue.push(100, 5);
    expect(drain(queue)).toEqual([100, 3, 13, 23]);
  });

  it("stays whole when the predicate throws", () => {
    const queue = new PriorityQueue<number>();
    for (let item = 0; item < 10; item += 1) queue.push(item, item);
    expect(() =>
      queue.retain((item) => {
        if (item === 5) throw new Error("no");
        return item % 2 === 0;
      }),
    ).toThrow("no");
    expect(queue.size).toBe(8);
    expect(drain(queue)).toEqual([8, 6, 5, 4, 3, 2, 1, 0]);
  });

  it("clears", () => {
    const queue = new PriorityQueue<string>();
    queue.push("a", 1);
    queue.push("b", 2);
    queue.clear();
    expect([queue.size, queue.peek(), [...queue]]).toEqual([0, undefined, []]);
    queue.push("c", 1);
    expect(drain(queue)).toEqual(["c"]);
  });

  it("refuses what is no priority, without a trace", () => {
    const queue = new PriorityQueue<string>();
    for (const priority of [-1, 10, 1.5, NaN, Infinity]) {
      expect(() => {
        queue.push("x", priority);
      }).toThrow(RangeError);
      expect(() => {
        queue.putBack("x", priority);
      }).toThrow(RangeError);
    }
    expect(queue.size).toBe(0);
  });

  describe("with aging", () => {
    const aging = { agingMs: 100, timeOf: ({ time }: Job) => time };

    it("lets a lower priority overtake after agingMs of waiting per level", () => {
      const queue = new PriorityQueue<Job>(aging);
      queue.push(job("low, early", 0), 2);
      queue.push(job("high, within 200 ms", 199), 4);
      queue.push(job("high, at 200 ms", 200), 4);
      queue.push(job("high, after 200 ms", 201), 4);
      expect([...queue].map(({ name }) => name)).toEqual([
        "high, within 200 ms",
        "high, at 200 ms",
        "low, early",
        "high, after 200 ms",
      ]);
      expect(drain(queue).map(({ name }) => name)).toEqual([
        "high, within 200 ms",
        "high, at 200 ms",
        "low, early",
        "high, after 200 ms",
      ]);
    });

    it("never starves: under a steady stream of high priorities the low one gets through", () => {
      const queue = new PriorityQueue<Job>(aging);
      queue.push(job("low", 0), 0);
      const order: string[] = [];
      for (let time = 1; time <= 2000; time += 10) {
        queue.push(job("high", time), 9);
        queue.push(job("high", time), 9);
        order.push(queue.shift()!.name);
      }
      expect(order).toContain("low");
    });

    it("keeps first in first out within one priority, whatever the times say", () => {
      const queue = new PriorityQueue<Job>(aging);
      queue.push(job("first", 500), 4);
      queue.push(job("second", 0), 4);
      expect(drain(queue).map(({ name }) => name)).toEqual(["first", "second"]);
    });

    it("ranks an item that is put back by its own time", () => {
      const queue = new PriorityQueue<Job>(aging);
      queue.push(job("high", 1000), 9);
      queue.push(job("low", 900), 0);
      queue.putBack(job("low again", 0), 0);
      expect(drain(queue).map(({ name }) => name)).toEqual(["low again", "high", "low"]);
    });

    it("refuses aging without timeOf or with a span that is not positive", () => {
      expect(() => new PriorityQueue({ agingMs: 100 })).toThrow(RangeError);
      for (const agingMs of [0, -1, NaN, Infinity]) {
        expect(() => new PriorityQueue<Job>({ ...aging, agingMs })).toThrow(RangeError);
      }
    });
  });
});
