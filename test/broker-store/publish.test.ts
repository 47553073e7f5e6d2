// Publishing on a broker with a store: durable before visible, in order, all or nothing.
import { describe, expect, it } from "vitest";
import type { Plugin } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { balanced, rejectionCode, thrownCode } from "../support/manual-broker.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import {
  collect,
  crash,
  dataOf,
  historyOf,
  makeBroker,
  memoryMachine,
  openBroker,
  range,
  temporaryFolder,
} from "./fixture.js";

describe("a broker with a store", () => {
  it("is opening until the store is open; what is published before waits, and comes in order", async () => {
    const broker = makeBroker(temporaryFolder());
    expect(broker.state).toBe("opening");
    const seen = collect(broker, "a");
    expect(thrownCode(() => broker.publishSync("a", 0))).toBe("ERR_NOT_READY");
    const receipts = await Promise.all(range(1, 5).map((data) => broker.publish("a", data)));
    expect(broker.state).toBe("open");
    expect(receipts.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect(dataOf(seen)).toEqual([1, 2, 3, 4, 5]);
  });

  it("tells plugins of what it stores: a batch once it is whole, a scheduled message, what a transaction published", async () => {
    const told: unknown[] = [];
    const plugin: Plugin = {
      name: "listens",
      onPublished: (message, matched) => void told.push([message.data, matched, broker.metrics.snapshot().published]),
      onScheduled: (message) => void told.push([message.data, "scheduled"]),
    };
    const broker = await openBroker(temporaryFolder(), { plugins: [plugin], transactions: {} });
    collect(broker, "a");
    await broker.publish("a", 1);
    await broker.publishBatch([2, 3].map((data) => ({ topic: "a", data })));
    await broker.publish("a", 4, { delay: 3_600_000 });
    await broker.transaction((tx) => void tx.publish("b", 5));
    expect(told).toEqual([
      [1, 1, 1],
      [2, 1, 3],
      [3, 1, 3],
      [4, "scheduled"],
      [5, 0, 5],
    ]);
  });

  it("rejects what waited, and ready(), with what kept the store from opening", async () => {
    const path = temporaryFolder();
    await openBroker(path);
    const second = makeBroker(path);
    second.on("error", () => undefined);
    const publish = rejectionCode(second.publish("a", 1));
    expect(await rejectionCode(second.ready())).toBe("ERR_STORE_LOCKED");
    expect(await publish).toBe("ERR_STORE_LOCKED");
    expect(second.state).toBe("closed");
    expect(await rejectionCode(second.ready())).toBe("ERR_STORE_LOCKED");
  });

  it("can be closed while it opens, and leaves the folder free", async () => {
    const path = temporaryFolder();
    const broker = makeBroker(path);
    await broker.close();
    expect(await rejectionCode(broker.ready())).toBe("ERR_BROKER_CLOSED");
    await openBroker(path);
  });

  it("keeps what it acknowledged through a crash, once and in order, and numbers go on", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    for (const data of range(1, 20)) await broker.publish(`a.${data % 3}`, data);
    const again = await openBroker(crash(path));
    expect(dataOf(await historyOf(again))).toEqual(range(1, 20));
    expect((await again.publish("a.0", 21)).seq).toBe(21);
  });

  it.each(["memory", "os", "interval", "group", "always"] as const)(
    "takes the level %s for a publish",
    async (level) => {
      const path = temporaryFolder();
      const broker = await openBroker(path);
      await broker.publish("a", 1, { durability: level });
      await broker.close();
      expect(dataOf(await historyOf(await openBroker(path)))).toEqual([1]);
    },
  );

  it("delivers in the order of the calls, whatever their levels", async () => {
    const broker = await openBroker(temporaryFolder());
    const seen = collect(broker, ">");
    const levels = ["group", "memory", "os", "always", "memory"] as const;
    await Promise.all(range(0, 99).map((data) => broker.publish("a", data, { durability: levels[data % 5] as "os" })));
    expect(dataOf(seen)).toEqual(range(0, 99));
    balanced(broker);
  });

  it("shows nothing before it is on the disk", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    const seen = collect(broker, "a");
    const release = fileSystem.hold("datasync");
    const published = broker.publish("a", 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(seen).toEqual([]);
    release();
    await published;
    expect(dataOf(seen)).toEqual([1]);
  });

  it("lets many publishers share a sync", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    const before = fileSystem.counts.get("datasync") ?? 0;
    await Promise.all(range(1, 1_000).map((data) => broker.publish("a", data)));
    expect((fileSystem.counts.get("datasync") ?? 0) - before).toBeLessThan(5);
  });

  it("refuses publishSync on a stored topic, and takes it on others at full speed", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { topics: ["kept.>"] } });
    const seen = collect(broker, ">");
    expect(thrownCode(() => broker.publishSync("kept.a", 1))).toBe("ERR_INVALID_OPTION");
    expect(broker.publishSync("other.a", 2).matched).toBe(1);
    expect(await rejectionCode(broker.publish("other.a", 3, { durability: "group" }))).toBe("ERR_INVALID_OPTION");
    await broker.publish("kept.a", 4);
    expect(dataOf(seen)).toEqual([2, 4]);
    expect(dataOf(await historyOf(broker))).toEqual([4]);
  });

  it("refuses a payload the codec cannot carry, and nobody gets it", async () => {
    const broker = await openBroker(temporaryFolder());
    const seen = collect(broker, ">");
    expect(await rejectionCode(broker.publish("a", { n: 1n }))).toBe("ERR_INVALID_MESSAGE");
    expect(
      await rejectionCode(
        broker.publishBatch([
          { topic: "a", data: 1 },
          { topic: "b", data: new Map() },
        ]),
      ),
    ).toBe("ERR_INVALID_MESSAGE");
    expect(seen).toEqual([]);
    expect(balanced(broker)).toMatchObject({ published: 0, refused: 2, memoryBytes: 0 });
  });

  it("answers requests on stored topics", async () => {
    const broker = await openBroker(temporaryFolder());
    broker.respond("math.add", (message) => {
      const { a, b } = message.data as { a: number; b: number };
      return a + b;
    });
    expect(await broker.request("math.add", { a: 1, b: 2 })).toBe(3);
    expect(await rejectionCode(broker.request("nobody", 1))).toBe("ERR_NO_RESPONDERS");
  });

  it("names what is missing, and how to get it, in the error of a broker without one", async () => {
    const broker = new InProcBroker();
    await expect(broker.publish("a", 1, { durability: "group" })).rejects.toThrow(
      /persistence: levelPersistence\(\{ path: "\.\/data" \}\), from "inproc-broker\/persistence"/,
    );
  });

  it("refuses store options that nobody knows, and what is no store", () => {
    expect(thrownCode(() => levelPersistence({ path: "" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => levelPersistence({ path: "x", topic: "a" } as never))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => levelPersistence({ path: "x", topics: ["a..b"] }))).toBe("ERR_INVALID_PATTERN");
    expect(thrownCode(() => new InProcBroker({ persistence: {} as never }))).toBe("ERR_INVALID_OPTION");
    const names = ["durability", "interval", "retention", "codec", "compression", "encryption", "recovery", "walBytes"];
    const bad: object[] = ["checkpointInterval", "reserveBytes", ...names].map((name) => ({ [name]: null }));
    bad.push({ interval: Infinity }, { interval: 0 }, { reserveBytes: -1 }, { walBytes: NaN });
    bad.push(...[1.5, 0, null].map((maxMessages) => ({ retention: { maxMessages } })));
    for (const options of bad)
      expect(
        thrownCode(() => levelPersistence({ path: "x", ...options })),
        JSON.stringify(options),
      ).toBe("ERR_INVALID_OPTION");
  });
});

describe("a flood that nobody awaits", () => {
  it("is bounded while the store opens: by limits.maxWaitingPublishers", async () => {
    const broker = makeBroker(temporaryFolder(), { limits: { maxWaitingPublishers: 3 } });
    const outcomes = await Promise.all(
      range(1, 5).map((data) =>
        broker.publish("a", data).then(
          () => "ok",
          (error: unknown) => (error as { code: string }).code,
        ),
      ),
    );
    expect(outcomes).toEqual(["ok", "ok", "ok", "ERR_QUEUE_FULL", "ERR_QUEUE_FULL"]);
  });

  it("is bounded while the disk is slow: by memory.maxBytes", async () => {
    const files = new FaultyFileSystem();
    const broker = await openBroker("/store", {
      memory: { maxBytes: 20 * 2 ** 20 },
      store: { machine: memoryMachine(files) },
    });
    const release = files.hold("write");
    const data = "x".repeat(2 ** 20);
    const outcomes = Promise.allSettled(range(1, 40).map(() => broker.publish("a", data)));
    expect(broker.metrics.snapshot().memoryBytes).toBeLessThanOrEqual(20 * 2 ** 20);
    release();
    const refused = (await outcomes).filter(({ status }) => status === "rejected");
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(40);
    expect(refused[0]).toMatchObject({ reason: { code: "ERR_MEMORY_LIMIT" } });
    expect(balanced(broker)).toMatchObject({ published: 40 - refused.length, memoryBytes: 0 });
  });
});

describe("flush()", () => {
  it("waits for what waits for room in the log, whatever is refused meanwhile", async () => {
    const files = new FaultyFileSystem();
    const limits = { maxWaitingPublishers: 5 };
    const broker = await openBroker("/store", { limits, store: { machine: memoryMachine(files) } });
    const release = files.hold("write");
    const data = "x".repeat(2 ** 20);
    const decided: string[] = [];
    const publish = (): Promise<unknown> => broker.publish("a", data).then(() => decided.push("kept"));
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const begun = publish();
    await turn();
    const first = Promise.allSettled(range(1, 60).map(publish));
    const flushed = broker.flush().then(() => decided.push("flushed"));
    await turn();
    const later = await Promise.allSettled(range(1, 60).map(publish));
    expect(later.every(({ status }) => status === "rejected")).toBe(true);
    release();
    await flushed;
    const kept = (await Promise.all([begun, first]))[1].filter(({ status }) => status === "fulfilled").length;
    expect(kept).toBeGreaterThan(5);
    expect(decided.indexOf("flushed")).toBe(kept + 1);
  });

  it("takes no place of the publishers who may wait for room in the log", async () => {
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const kept = async (flushes: boolean): Promise<number> => {
      const files = new FaultyFileSystem();
      const limits = { maxWaitingPublishers: 8 };
      const broker = await openBroker("/store", { limits, store: { machine: memoryMachine(files) } });
      const release = files.hold("write");
      const data = "x".repeat(2 ** 20);
      const publishes: Promise<unknown>[] = [];
      const flushed: Promise<void>[] = [];
      for (let count = 0; count < 40; count++) {
        publishes.push(broker.publish("a", data));
        publishes.at(-1)?.catch(() => undefined);
        if (flushes) flushed.push(broker.flush());
        await turn();
      }
      release();
      await Promise.all(flushed);
      return (await Promise.allSettled(publishes)).filter(({ status }) => status === "fulfilled").length;
    };
    const without = await kept(false);
    expect(without).toBeLessThan(40);
    expect(await kept(true)).toBe(without);
  });
});

describe("a store that fails", () => {
  it("rejects what it could not keep: nobody gets it, and a retry under the same dedupId is accepted", async () => {
    const fileSystem = new FaultyFileSystem({ capacityBytes: 3_000 });
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    broker.on("error", () => undefined);
    const seen = collect(broker, "a");
    const options = { dedupId: "one", retain: true };
    expect(await rejectionCode(broker.publish("a", "x".repeat(4_000), options))).toBe("ERR_STORE_FULL");
    expect(seen).toEqual([]);
    expect(broker.retained()).toEqual([]);
    expect(balanced(broker)).toMatchObject({ published: 0, refused: 1, memoryBytes: 0, dedupEntries: 0 });
    fileSystem.capacityBytes = Infinity;
    await broker.publish("b", 0).catch(() => undefined);
  });

  it("takes nothing after a failed sync", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    broker.on("error", () => undefined);
    const seen = collect(broker, "a");
    fileSystem.failAt = fileSystem.ioCount;
    fileSystem.staysBroken = true;
    const outcomes = await Promise.all(range(1, 3).map((data) => rejectionCode(broker.publish("a", data))));
    expect(outcomes).toEqual(["ERR_STORE_FAILED", "ERR_STORE_FAILED", "ERR_STORE_FAILED"]);
    expect(await rejectionCode(broker.publish("a", 4))).toBe("ERR_STORE_FAILED");
    expect(seen).toEqual([]);
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 4, memoryBytes: 0 });
  });

  it("decides a duplicate that comes while the first is on its way", async () => {
    const broker = await openBroker(temporaryFolder());
    const seen = collect(broker, "a");
    const receipts = await Promise.all(range(1, 3).map((data) => broker.publish("a", data, { dedupId: "same" })));
    expect(receipts.map(({ seq, duplicate }) => [seq, duplicate])).toEqual([
      [1, false],
      [1, true],
      [1, true],
    ]);
    expect(dataOf(seen)).toEqual([1]);
  });
});
