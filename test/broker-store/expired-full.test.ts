// What expires in a backlog while the store can take nothing: it is told once, as soon as it can be kept that it was.
import { describe, expect, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { balanced, fetchNow } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";
import { dataOf, memoryMachine, openBroker, range, until } from "./fixture.js";
import type { StoredBrokerOptions } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

class World {
  readonly clock = new ManualClock();
  readonly told: unknown[] = [];
  readonly errors: unknown[] = [];
  readonly database = new MemoryDatabase();
  readonly store: StoredBrokerOptions["store"];
  readonly deadLetter: StoredBrokerOptions["deadLetter"];
  files = new FaultyFileSystem();

  constructor(store: StoredBrokerOptions["store"] = {}, deadLetter: StoredBrokerOptions["deadLetter"] = {}) {
    this.store = store;
    this.deadLetter = deadLetter;
  }

  async open(): Promise<InProcBroker> {
    const broker = await openBroker("/store", {
      clock: this.clock,
      deadLetter: this.deadLetter,
      store: { checkpointInterval: 1e9, ...this.store, machine: memoryMachine(this.files, this.database) },
    });
    broker.on("expire", ({ message }) => this.told.push(message.data));
    broker.on("error", (error) => this.errors.push((error as { code?: unknown }).code));
    return broker;
  }

  /** A durable that nobody is connected to, and as many messages for it that have expired; behind them one that has not. */
  async backlog(count: number, text = ""): Promise<InProcBroker> {
    const broker = await this.open();
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publishBatch(range(1, count).map((data) => ({ topic: "a", data, ttl: 100, headers: { text } })));
    await broker.publish("a", "stays");
    await broker.flush();
    await this.clock.advance(150);
    return broker;
  }

  /** What the next process finds. */
  async restarted(): Promise<InProcBroker> {
    this.files = this.files.crash({ keep: "none" });
    return this.open();
  }
}

async function deadData(broker: InProcBroker): Promise<unknown[]> {
  const { items } = await broker.deadLetters.list({ reason: "expired", limit: 10_000 });
  return items.map(({ message }) => message.data);
}

describe("what has expired in a backlog", () => {
  const cases = [
    { durability: "group", topics: ["a"] },
    { durability: "group", topics: [">"] },
    { durability: "memory", topics: ["a"] },
    { durability: "memory", topics: [">"] },
  ] as const;

  it.each(cases)(
    "is told once, and kept, where the disk gets full while it is told (durability $durability, topics $topics)",
    async (store) => {
      const world = new World({ ...store });
      const broker = await world.backlog(600);
      const { files, clock, told } = world;
      broker.on("expire", () => {
        if (told.length === 257) files.capacityBytes = files.usedBytes + 100;
      });
      await broker.compact().catch(() => undefined);
      expect(broker.health().status).toBe("degraded");
      for (let n = 0; n < 3; n++) await broker.compact().catch(() => undefined);
      expect(told, "page by page, and nothing while one is not kept").toEqual(range(1, 512));
      expect(broker.subscriptions()).toMatchObject([{ backlog: 600 - 256 + 1 }]);

      files.capacityBytes = Infinity;
      await clock.advance(5_000);
      await until(() => broker.health().status === "healthy");
      await broker.compact();
      await until(() => told.length >= 600);
      await broker.compact();
      expect(told).toEqual(range(1, 600));
      expect(await deadData(broker)).toEqual(range(1, 600));
      expect(broker.subscriptions()).toMatchObject([{ backlog: 1 }]);
      balanced(broker);

      const next = await world.restarted();
      await next.compact();
      expect(told).toHaveLength(600);
      expect(await deadData(next)).toEqual(range(1, 600));
      expect(dataOf(await fetchNow(next.subscribe("a", manual)))).toEqual(["stays"]);
      balanced(next);
    },
  );

  it("comes to nobody, and is told by nobody else, while the disk has no room for its being told", async () => {
    const world = new World();
    const broker = await world.backlog(10);
    const { files, told } = world;
    broker.once("expire", () => (files.capacityBytes = files.usedBytes));
    await broker.compact().catch(() => undefined);
    const sub = broker.subscribe("a", manual);
    expect(dataOf(await fetchNow(sub))).toEqual(["stays"]);
    await sub.unsubscribe();
    expect(told).toEqual(range(1, 10));
    files.capacityBytes = Infinity;
    await world.clock.advance(5_000);
    await until(() => broker.health().status === "healthy");
    // Purged before it could be kept: it does not come back.
    await broker.deadLetters.purge((letter) => Number(letter.message.data) <= 4);
    await broker.compact();
    const next = await world.restarted();
    await next.compact();
    expect(told).toEqual(range(1, 10));
    expect(await deadData(next)).toEqual(range(5, 10));
  });

  it.each([
    { case: "makes room by being told, from the reserve", deadLetter: { reasons: ["rejected"] as const } },
    { case: "waits for room where it is kept as dead letters: the reserve is for settles", deadLetter: {} },
  ])("$case", async ({ deadLetter }) => {
    const world = new World({ reserveBytes: 100_000, topics: ["a"] }, deadLetter);
    const isKept = !("reasons" in deadLetter);
    const text = "x".repeat(1_000);
    const broker = await world.backlog(250, text);
    const { files, told, clock } = world;
    files.capacityBytes = files.usedBytes + 100;
    await expect(broker.publish("a", text)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    expect(broker.health().status).toBe("degraded");
    for (let n = 0; n < 5; n++) {
      await clock.advance(1_000);
      await broker.compact().catch(() => undefined);
    }
    expect(told).toEqual(isKept ? [] : range(1, 250));
    if (isKept) files.capacityBytes += 400_000;
    await clock.advance(5_000);
    await until(() => broker.health().status === "healthy");
    await broker.compact();
    expect(told).toEqual(range(1, 250));
    expect(await deadData(broker)).toEqual(isKept ? told : []);
    const next = await world.restarted();
    await next.compact();
    expect(told).toHaveLength(250);
    expect(await deadData(next)).toEqual(isKept ? told : []);
    expect(dataOf(await fetchNow(next.subscribe("a", manual)))).toEqual(["stays"]);
  });

  it("waits for the log where that has no room at the moment, and is told by the next checkpoint", async () => {
    const world = new World({ walBytes: 64 * 1024 });
    const broker = await world.backlog(1);
    const { clock, told } = world;
    // More than three times what the log may have, of messages that have expired by the time somebody wants to write.
    const text = "x".repeat(2_000);
    await broker.publishBatch(range(2, 120).map((data) => ({ topic: "a", data, ttl: 100, headers: { text } })));
    await clock.advance(150);
    await broker.publish("a", "after");
    await broker.compact();
    expect(told).toEqual(range(1, 120));
    expect(await deadData(broker)).toEqual(range(1, 120));
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual(["stays", "after"]);
    balanced(broker);
  });
});
