// The short way into the store: a message with a level, a key and a priority at most. It keeps what the long way promises.
import { describe, expect, it } from "vitest";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { balanced, rejectionCode } from "../support/manual-broker.js";
import { collect, dataOf, historyOf, memoryMachine, openBroker, range, temporaryFolder } from "./fixture.js";

describe("a message that nothing sets apart, on its way into the store", () => {
  it("keeps its key and its priority, and is visible in the order of the calls among others", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const seen = collect(broker, "a");
    await Promise.all([
      broker.publish("a", 1, { key: "k", priority: 4 }),
      broker.publish("a", 2, { headers: { h: "1" } }),
      broker.publish("a", 3, { durability: "memory" }),
      broker.publish("a", 4),
    ]);
    expect(dataOf(seen)).toEqual([1, 2, 3, 4]);
    await broker.publish("a", 5, { priority: 9 });
    await broker.close();
    const history = await historyOf(await openBroker(path));
    expect(history.map(({ data, key, priority }) => [data, key, priority])).toEqual([
      [1, "k", 4],
      [2, undefined, 4],
      [3, undefined, 4],
      [4, undefined, 4],
      [5, undefined, 9],
    ]);
  });

  it("goes to who has subscribed meanwhile, and not to who has left", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    const left: unknown[] = [];
    const leaving = broker.subscribe("a", (message) => void left.push(message.data));
    const release = fileSystem.hold("datasync");
    const published = broker.publish("a", 1);
    await leaving.unsubscribe();
    const come = collect(broker, ">");
    release();
    expect((await published).matched).toBe(1);
    await broker.idle();
    expect(dataOf(come)).toEqual([1]);
    expect(left).toEqual([]);
    balanced(broker);
  });

  it("is asked of a filter once, and goes to one member of a group whose members differ", async () => {
    const broker = await openBroker(temporaryFolder());
    const asked: unknown[] = [];
    const even = collect(broker, "a", {
      filter: ({ data }: { data: number }) => {
        asked.push(data);
        return data % 2 === 0;
      },
    });
    const members = [collect(broker, "a", { group: "g" }), collect(broker, ">", { group: "g" })];
    const receipts = await Promise.all(range(1, 20).map((data) => broker.publish("a", data)));
    await broker.idle();
    expect(asked).toEqual(range(1, 20));
    expect(dataOf(even)).toEqual(range(1, 10).map((half) => half * 2));
    expect(
      members
        .flatMap(dataOf)
        .map(Number)
        .sort((a, b) => a - b),
    ).toEqual(range(1, 20));
    expect(receipts.map(({ matched }) => matched)).toEqual(range(1, 20).map((data) => (data % 2 === 0 ? 2 : 1)));
    balanced(broker);
  });

  it("holds its publisher back where a queue is full, and is refused where that refuses", async () => {
    const broker = await openBroker(temporaryFolder());
    const waiting = broker.subscribe("a", { maxMessages: 1, overflow: "wait" });
    broker.subscribe("b", { maxMessages: 1, overflow: "error" });
    await broker.publish("a", 1);
    let isThrough = false;
    const held = broker.publish("a", 2).then(() => (isThrough = true));
    await broker.publish("c", 3);
    expect(isThrough).toBe(false);
    expect((await waiting.next()).value?.data).toBe(1);
    await held;
    await broker.publish("b", 4);
    expect(await rejectionCode(broker.publish("b", 5))).toBe("ERR_QUEUE_FULL");
    expect(dataOf(await historyOf(broker))).toEqual([1, 2, 3, 4]);
    expect(broker.metrics.snapshot().refused).toBe(1);
    await broker.close({ drain: false });
  });

  it("is held back when the queue has filled up while it was on its way", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    const sub = broker.subscribe("a", { maxMessages: 1, overflow: "wait" });
    const release = fileSystem.hold("datasync");
    let isThrough = false;
    const first = broker.publish("a", 1);
    const second = broker.publish("a", 2).then(() => (isThrough = true));
    release();
    await first;
    await broker.publish("c", 3);
    expect(isThrough).toBe(false);
    expect((await sub.next()).value?.data).toBe(1);
    await second;
    expect((await sub.next()).value?.data).toBe(2);
    balanced(broker);
  });

  it("counts towards memory.maxBytes until it is refused or gone", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", {
      store: { machine: memoryMachine(fileSystem) },
      memory: { maxBytes: 100 },
    });
    const sub = broker.subscribe("a");
    const release = fileSystem.hold("datasync");
    const published = broker.publish("a", "x".repeat(80));
    expect(await rejectionCode(broker.publish("a", "y".repeat(80)))).toBe("ERR_MEMORY_LIMIT");
    release();
    await published;
    expect(await rejectionCode(broker.publish("a", "y".repeat(80)))).toBe("ERR_MEMORY_LIMIT");
    expect((await sub.next()).value?.data).toBe("x".repeat(80));
    await broker.publish("a", "z".repeat(80));
    expect(broker.metrics.snapshot().refused).toBe(2);
    await broker.close({ drain: false });
  });

  it("is refused for a level that there is not, an option nobody knows and data that is none", async () => {
    const broker = await openBroker(temporaryFolder());
    expect(await rejectionCode(broker.publish("a", 1, { durability: "disk" as "os" }))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.publish("a", 1, { levle: "os" } as object))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.publish("a", 1, { key: 7 as unknown as string }))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.publish("a", 1, { priority: 10 as 9 }))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.publish("a", undefined))).toBe("ERR_INVALID_MESSAGE");
    expect(await rejectionCode(broker.publish("a..b", 1))).toBe("ERR_INVALID_TOPIC");
    expect(await historyOf(broker)).toEqual([]);
    expect(broker.metrics.snapshot().refused).toBe(6);
  });
});
