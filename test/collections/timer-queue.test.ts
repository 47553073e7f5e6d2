import { describe, expect, it } from "vitest";
import { TimerQueue } from "../../src/collections/timer-queue.js";

function takeAll<T>(queue: TimerQueue<T>, now: number): (T | undefined)[] {
  const taken = [];
  while (queue.nextDeadline() <= now) taken.push(queue.takeDue(now));
  return taken;
}

describe("TimerQueue", () => {
  it("hands out what is due, by deadline and then by the order of scheduling", () => {
    const queue = new TimerQueue<string>();
    queue.schedule(20, "c");
    queue.schedule(10, "a");
    queue.schedule(30, "d");
    queue.schedule(10, "b");
    expect(queue.nextDeadline()).toBe(10);
    expect(queue.takeDue(9)).toBeUndefined();
    expect(takeAll(queue, 20)).toEqual(["a", "b", "c"]);
    expect(queue.size).toBe(1);
    expect(queue.nextDeadline()).toBe(30);
  });

  it("keeps the order of equal deadlines wherever they are stored", () => {
    const queue = new TimerQueue<number>();
    // Falling deadlines open the runs and then the heap; every one of them is met by an equal one afterwards.
    const deadlines = [90, 80, 70, 60, 50, 40, 30, 20, 10];
    for (const [index, deadline] of [...deadlines, ...deadlines].entries()) queue.schedule(deadline, index);
    expect(takeAll(queue, 100)).toEqual([8, 17, 7, 16, 6, 15, 5, 14, 4, 13, 3, 12, 2, 11, 1, 10, 0, 9]);
  });

  it("is empty at first and after clear", () => {
    const queue = new TimerQueue<number>();
    expect([queue.size, queue.nextDeadline(), queue.takeDue(Infinity)]).toEqual([0, Infinity, undefined]);
    const entries = [5, 4, 3, 2, 1, 0].map((deadline) => queue.schedule(deadline, deadline));
    queue.clear();
    expect([queue.size, queue.nextDeadline(), queue.takeDue(Infinity)]).toEqual([0, Infinity, undefined]);
    expect(entries.map((entry) => [entry.active, queue.cancel(entry)])).toEqual(new Array(6).fill([false, false]));
    queue.schedule(1, 1);
    expect(queue.takeDue(1)).toBe(1);
  });

  it("cancels an entry once, and not after it has fired", () => {
    const queue = new TimerQueue<string>();
    const cancelled = queue.schedule(10, "cancelled");
    const fired = queue.schedule(20, "fired");
    expect([cancelled.deadline, cancelled.active]).toEqual([10, true]);
    expect(queue.cancel(cancelled)).toBe(true);
    expect(queue.cancel(cancelled)).toBe(false);
    expect(cancelled.active).toBe(false);
    expect(queue.takeDue(20)).toBe("fired");
    expect([fired.active, queue.cancel(fired), queue.size]).toEqual([false, false, 0]);
  });

  it("refuses another queue's entry and a deadline that is not finite", () => {
    const queue = new TimerQueue<string>();
    const entry = new TimerQueue<string>().schedule(1, "other");
    expect(() => queue.cancel(entry)).toThrow(TypeError);
    expect(entry.active).toBe(true);
    for (const deadline of [NaN, Infinity, -Infinity]) {
      expect(() => queue.schedule(deadline, "never")).toThrow(RangeError);
    }
    expect(queue.size).toBe(0);
  });

  it("takes any finite deadline", () => {
    const queue = new TimerQueue<string>();
    queue.schedule(Number.MAX_VALUE, "far");
    queue.schedule(-1e300, "past");
    queue.schedule(0.5, "half");
    queue.schedule(2 ** 31, "beyond setTimeout");
    expect(takeAll(queue, Number.MAX_VALUE)).toEqual(["past", "half", "beyond setTimeout", "far"]);
  });

  it("takes part in its own firing: what is scheduled while due entries are taken comes in its turn", () => {
    const queue = new TimerQueue<number>();
    queue.schedule(1, 1);
    queue.schedule(3, 3);
    expect(queue.takeDue(5)).toBe(1);
    queue.schedule(2, 2);
    expect(takeAll(queue, 5)).toEqual([2, 3]);
  });

  it("drops a value as soon as it is cancelled or has fired", async () => {
    const gc = await exposedGc();
    const queue = new TimerQueue<object>();
    queue.schedule(0, {});
    const handles: unknown[] = [];
    const references: WeakRef<object>[] = [];
    (() => {
      for (const deadline of [50, 40, 30, 20, 10, 5]) {
        const value = {};
        references.push(new WeakRef(value));
        const entry = queue.schedule(deadline, value);
        handles.push(entry);
        if (deadline > 5) queue.cancel(entry);
      }
      queue.takeDue(5);
      queue.takeDue(5);
    })();
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    gc();
    expect(references.map((reference) => reference.deref())).toEqual(new Array(6).fill(undefined));
    expect(handles).toHaveLength(6);
  });

  it.each([
    ["in order", (index: number) => index],
    ["in reverse", (index: number) => -index],
    ["scattered", (index: number) => (index * 7919) % 100_003],
  ])("does not keep cancelled entries: deadlines %s", async (_, deadlineOf) => {
    const gc = await exposedGc();
    const queue = new TimerQueue<number>();
    const references: WeakRef<object>[] = [];
    const kept: number[] = [];
    (() => {
      const entries = Array.from({ length: 20_000 }, (_unused, index) =>
        queue.schedule(deadlineOf(index), deadlineOf(index)),
      );
      for (const [index, entry] of entries.entries()) {
        // The few that stay keep the others from the ends of wherever they are stored.
        if (index % 1000 === 0 || index === 19_999) {
          kept.push(entry.deadline);
        } else {
          references.push(new WeakRef(entry));
          queue.cancel(entry);
        }
      }
    })();
    expect(queue.size).toBe(kept.length);
    await new Promise((resolve) => setImmediate(resolve));
    gc();
    const leftOver = references.filter((reference) => reference.deref() !== undefined).length;
    expect(leftOver).toBeLessThan(100);
    expect(takeAll(queue, 1e9)).toEqual(kept.sort((a, b) => a - b));
  });

  it.each([2, 3, 5, 50])("keeps its order through clean-ups, one entry in %i staying", (share) => {
    const queue = new TimerQueue<number>();
    const entries = Array.from({ length: 10_000 }, (_, index) => {
      const deadline = (index * 7919) % 5003;
      return queue.schedule(deadline, deadline);
    });
    const kept: number[] = [];
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[(index * 6007) % entries.length]!;
      if (index % share === 0) kept.push(entry.deadline);
      else expect(queue.cancel(entry)).toBe(true);
    }
    expect(queue.size).toBe(kept.length);
    expect(takeAll(queue, 1e9)).toEqual(kept.sort((a, b) => a - b));
  });
});

async function exposedGc(): Promise<() => void> {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
