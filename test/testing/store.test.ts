import { describe, expect, it } from "vitest";
import type { InProcBroker, Message } from "../../src/index.js";
import { levelPersistence } from "../../src/persistence/index.js";
import type { TestBroker, TestBrokerOptions } from "../../src/testing/index.js";
import { createTestBroker } from "../../src/testing/index.js";
import { runNode } from "../examples/run-node.js";
import { rejectionCode } from "../support/manual-broker.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** A handler that keeps what it gets. */
function collect(broker: InProcBroker, pattern: string, durable = "d"): unknown[] {
  const seen: unknown[] = [];
  broker.subscribe(pattern, (message) => void seen.push(message.data), { durable });
  return seen;
}

/** The payloads that a store has on a topic. */
async function stored(t: TestBroker, topic = "a"): Promise<unknown[]> {
  return (await t.broker.recoverMessages(topic)).map((message: Message) => message.data);
}

async function published(t: TestBroker, ...data: unknown[]): Promise<void> {
  for (const one of data) await t.broker.publish("a", one);
}

const places = {
  "in memory": (options: TestBrokerOptions = {}) => createTestBroker({ persistence: "memory", ...options }),
  "in a folder": (options: TestBrokerOptions = {}) =>
    createTestBroker({ persistence: { path: temporaryFolder(), reserveBytes: 0 }, ...options }),
};

describe.each(Object.entries(places))("a test broker with a store %s", (_where, create) => {
  it("keeps what publish resolved for over a crash, and brings it to the durable that comes back", async () => {
    await using t = create();
    const before = collect(t.broker, "a");
    await published(t, 1, 2);
    await t.idle();
    expect(before).toEqual([1, 2]);
    t.broker.subscriptions();
    await t.broker.subscribe("b", { durable: "later" }).unsubscribe();
    await t.broker.publish("b", { id: 3 });
    await t.crash();
    const broker = await t.restart();
    expect(t.broker).toBe(broker);
    const after = collect(broker, "a");
    const later = collect(broker, "b", "later");
    await t.idle();
    expect([after, later]).toEqual([[], [{ id: 3 }]]);
  });

  it("goes on with history, clock, taps and track over a restart", async () => {
    await using t = create();
    using tap = t.tap();
    await published(t, 1);
    await t.clock.advance("1h");
    const before = t.clock.now();
    await t.crash();
    await t.clock.advance("1h");
    await t.restart();
    expect(t.clock.now()).toBe(before + 3_600_000);
    collect(t.broker, "a");
    const session = await t.track(() => published(t, 2));
    expect(session.published("a").data()).toEqual([2]);
    expect(session.acked("a").count).toBe(1);
    expect(tap.messages.map(({ data }) => data)).toEqual([1, 2]);
    expect(t.history().map(({ kind }) => kind)).toEqual([
      "published",
      "crashed",
      "restarted",
      "published",
      "delivered",
      "acked",
    ]);
  });

  it("brings a delivery again that was in flight, counted, and in its backoff until that is over", async () => {
    await using t = create({ ack: { backoff: () => 60_000 } });
    t.broker.subscribe("a", (message) => message.nack(), { durable: "d" });
    await published(t, 1);
    await t.clock.settle();
    await t.broker.flush();
    await t.crash();
    await t.restart();
    const counts: number[] = [];
    t.broker.subscribe("a", (message) => void counts.push(message.deliveryCount), { durable: "d" });
    await t.clock.advance(59_000);
    expect(counts).toEqual([]);
    await t.clock.advance(1_000);
    expect(counts).toEqual([2]);
  });

  it("a crash ends what is under way: it rejects, calls no handler, and reaches nobody", async () => {
    await using t = create({ ack: { timeout: 1_000 } });
    let calls = 0;
    let goOn = (): void => undefined;
    t.broker.subscribe(
      "a",
      async (message) => {
        calls += 1;
        await new Promise<void>((resolve) => (goOn = resolve));
        await message.ack().catch(() => undefined);
      },
      { durable: "d", concurrency: 1 },
    );
    const errors: unknown[] = [];
    t.broker.on("error", (error) => errors.push(error));
    await published(t, 1, 2);
    await t.clock.settle();
    const { broker } = t;
    const publish = broker.publish("a", 3);
    const fetch = broker.subscribe("c").fetch(1);
    publish.catch(() => undefined);
    await t.crash();
    await expect(publish).rejects.toThrow();
    expect(await fetch).toEqual([]);
    expect(await rejectionCode(broker.publish("a", 4))).toBe("ERR_BROKER_CLOSED");
    goOn();
    await t.clock.advance("1h");
    expect([calls, errors]).toEqual([1, []]);
    const seen = collect(await t.restart(), "a");
    await t.idle();
    expect(seen.slice(0, 2)).toEqual([1, 2]);
  });

  it("restart without a crash is a clean one, and a repeat is another", async () => {
    await using t = create();
    collect(t.broker, "a");
    await published(t, 1);
    await t.idle();
    const old = t.broker;
    await t.restart();
    expect(old.state).toBe("closed");
    await published(t, 2);
    await t.restart();
    const seen = collect(t.broker, "a");
    await t.idle();
    expect(seen).toEqual([2]);
    expect(t.history().filter(({ kind }) => kind === "crashed")).toEqual([]);
  });

  it("reset clears the store, and keeps durables", async () => {
    await using t = create({ ack: { backoff: () => 10 }, deadLetter: {} });
    const seen = collect(t.broker, "a");
    t.broker.subscribe("x", (message) => message.reject("no"), { durable: "x" });
    await t.broker.subscribe("b", { durable: "nobody" }).unsubscribe();
    await published(t, 1);
    await t.broker.publish("b", 1, { retain: true, dedupId: "once" });
    await t.broker.publish("b", 1, { delay: 1_000 });
    await t.broker.publish("x", 1);
    await t.clock.settle();
    await t.reset();
    expect(t.history()).toEqual([]);
    for (const round of ["before a restart", "after it"]) {
      expect(await t.broker.recoverMessages(">"), round).toEqual([]);
      expect(t.broker.retained(">"), round).toEqual([]);
      expect((await t.broker.deadLetters.list()).items, round).toEqual([]);
      expect(t.broker.metrics.snapshot().scheduled, round).toBe(0);
      const oldest = t.broker.subscribe("b", { from: "oldest" });
      expect(await oldest.fetch(1, { timeout: 0 }), round).toEqual([]);
      await oldest.unsubscribe();
      await t.restart();
    }
    expect((await t.broker.publish("b", 2, { dedupId: "once" })).duplicate).toBe(false);
    const nobody = t.broker.subscribe("b", { durable: "nobody" });
    await t.clock.settle();
    expect(await nobody.fetch(2, { timeout: 0 })).toMatchObject([{ data: 2 }]);
    expect(seen).toEqual([1]);
  });

  it("the disk is full until the test says otherwise; acknowledgements go on", async () => {
    await using t = create(
      _where === "in memory" ? {} : { persistence: { path: temporaryFolder(), reserveBytes: 16_384 } },
    );
    const sub = t.broker.subscribe("a", { durable: "d" });
    await published(t, 1);
    const [message] = await sub.fetch(1);
    const disk = t.fault.store({ full: true });
    expect(await rejectionCode(t.broker.publish("a", 2))).toBe("ERR_STORE_FULL");
    await message?.ack();
    disk.stop();
    expect(disk.count).toBeGreaterThan(0);
    await t.clock.advance("1m");
    await published(t, 3);
    await t.crash();
    await t.restart();
    expect(await t.broker.subscribe("a", { durable: "d" }).fetch(2, { timeout: 0 })).toMatchObject([{ data: 3 }]);
  });

  it("the n-th sync fails, and the store takes nothing more until it is opened again", async () => {
    await using t = create();
    await t.broker.ready();
    const fault = t.fault.store({ failSync: 1, after: 1 });
    await published(t, 1);
    expect(await rejectionCode(t.broker.publish("a", 2))).toBe("ERR_STORE_FAILED");
    expect(await rejectionCode(t.broker.publish("a", 3))).toBe("ERR_STORE_FAILED");
    expect(fault.count).toBe(1);
    expect(t.history()).toContainEqual(
      expect.objectContaining({ kind: "fault", reason: "a sync of the store failed" }),
    );
    await t.crash();
    await t.restart();
    await published(t, 4);
    expect(await stored(t)).toEqual([1, 4]);
  });

  it("a write fails half way, and what it left of itself is cut off", async () => {
    await using t = create();
    await published(t, 1);
    t.fault.store({ failWrite: 1 });
    expect(await rejectionCode(t.broker.publish("a", "x".repeat(2_000)))).toBe("ERR_STORE_FAILED");
    await t.crash({ lose: "nothing" });
    await t.restart();
    expect(t.broker.recoveryReport?.log.cutBytes).toBeGreaterThan(0);
    expect(await stored(t)).toEqual([1]);
  });

  it("the power goes in the middle of the n-th write: what publish resolved for is there after it, and its torn end is not", async () => {
    for (let write = 1; ; write += 1) {
      await using t = create({ seed: write });
      await t.broker.ready();
      const torn = t.fault.store({ tearWriteAt: write });
      const kept: number[] = [];
      for (const data of [1, 2, 3])
        await t.broker.publish("a", data).then(
          () => kept.push(data),
          () => undefined,
        );
      if (torn.count === 0) {
        expect(write).toBeGreaterThan(3);
        break;
      }
      expect(t.broker.state).toBe("closed");
      expect(await rejectionCode(t.broker.publish("a", 4))).toBe("ERR_BROKER_CLOSED");
      await t.crash();
      await t.restart();
      expect(await stored(t)).toEqual(kept);
      await published(t, 5);
      expect(await stored(t)).toEqual([...kept, 5]);
      const told = t.history().filter(({ kind }) => ["fault", "crashed", "restarted"].includes(kind));
      expect(told.map(({ kind }) => kind)).toEqual(["fault", "crashed", "restarted"]);
      expect(told[0]?.reason).toMatch(/^the power went in the middle of a write: \d+ of \d+ bytes are on the disk$/);
      expect(told[2]?.reason).toMatch(/\d+ bytes cut off the log/);
    }
  });

  it('"random" tears one of the next ten writes, by the seed', async () => {
    const tornAt = async (seed: number): Promise<number> => {
      await using t = create({ seed });
      await t.broker.ready();
      const torn = t.fault.store({ tearWriteAt: "random" });
      let written = 0;
      while (torn.count === 0) await t.broker.publish("a", (written += 1)).catch(() => undefined);
      await t.restart();
      expect(await stored(t)).toHaveLength(written - 1);
      return written;
    };
    const places = [];
    for (const seed of [1, 2, 3, 4, 5]) places.push(await tornAt(seed));
    expect(new Set(places).size).toBeGreaterThan(1);
    expect(Math.max(...places)).toBeLessThanOrEqual(10);
    expect(await tornAt(3)).toBe(places[2]);
  });

  it("a slow disk is slow by the broker's clock", async () => {
    await using t = create();
    await t.broker.ready();
    t.fault.store({ slow: 50 });
    let isDone = false;
    const publish = t.broker.publish("a", 1).then(() => (isDone = true));
    await t.clock.advance(99);
    expect(isDone).toBe(false);
    expect(t.clock.pending()[0]?.what).toContain("a fault lets the store go on");
    await t.clock.advance(1);
    expect(isDone).toBe(true);
    await publish;
    t.fault.clear();
  });

  it("a crash loses what was not synced, and nothing of it where it is a kill", async () => {
    for (const [lose, kept] of [
      ["unsynced", [1]],
      ["nothing", [1, 2]],
    ] as const) {
      await using t = create();
      await published(t, 1);
      await t.broker.publish("a", 2, { durability: "os" });
      await t.crash({ lose });
      await t.restart();
      expect(await stored(t), lose).toEqual(kept);
      await published(t, 3);
      expect(await stored(t), lose).toEqual([...kept, 3]);
    }
  });

  it("intervals, checkpoints and retention run on its clock", async () => {
    await using t = create({
      persistence: { ...pathOf(create), durability: "interval", interval: 5_000, retention: { maxAge: 3_600_000 } },
    });
    await published(t, 1);
    await t.crash();
    await t.restart();
    expect(await t.broker.recoverMessages("a"), "not synced yet").toEqual([]);
    await published(t, 2);
    await t.clock.advance(5_000);
    await t.crash();
    await t.restart();
    expect(await t.broker.recoverMessages("a"), "synced").toMatchObject([{ data: 2 }]);
    const { checkpoints } = t.broker.metrics.snapshot().store ?? { checkpoints: NaN };
    await published(t, 3);
    await t.clock.advance(30_000);
    expect(t.broker.metrics.snapshot().store?.checkpoints).toBe(checkpoints + 1);
    await t.clock.advance("2h");
    await published(t, 4);
    await t.clock.advance(30_000);
    expect(await stored(t)).toEqual([4]);
  });
});

function pathOf(create: (typeof places)["in memory"]): { path?: string } {
  return create === places["in memory"] ? {} : { path: temporaryFolder() };
}

describe("crash and restart", () => {
  it("without a store: everything is gone", async () => {
    await using t = createTestBroker();
    await t.broker.publish("a", 1, { delay: 1_000 });
    await t.crash();
    await t.restart();
    await t.clock.advance(2_000);
    t.expectNothing("nothing.at.all");
    expect(t.history().map(({ kind }) => kind)).toEqual(["scheduled", "crashed", "restarted"]);
    expect(t.clock.pending()).toEqual([]);
  });

  it("what was scheduled is still on the agenda, if it was stored", async () => {
    await using t = createTestBroker({ persistence: { topics: ["kept"] } });
    await t.broker.publish("kept", 1, { delay: 1_000 });
    await t.broker.publish("lost", 1, { delay: 1_000 });
    await t.crash();
    await t.restart();
    const told = t.clock.pending().map(({ what }) => what);
    expect(told.filter((what) => what.includes("scheduled"))).toEqual(["the scheduled message on kept is delivered"]);
    const session = await t.track(() => undefined, { includeScheduled: true });
    expect(session.published().data()).toEqual([1]);
  });

  it("dispose of a broker from before ends the one of now, and strict mode looks at that", async () => {
    const t = createTestBroker({ persistence: "memory", strict: true });
    const first = t.broker;
    await t.restart();
    t.broker.subscribe("a", { durable: "d" });
    await expect(first[Symbol.asyncDispose]()).rejects.toThrow("the subscription d to a is open");
    expect(t.broker.state).toBe("closed");
  });

  it("a store of the application's own is used as it is, and cannot be crashed", async () => {
    await using t = createTestBroker({ persistence: levelPersistence({ path: temporaryFolder(), reserveBytes: 0 }) });
    await t.broker.publish("a", 1);
    await expect(t.crash()).rejects.toThrow("crash needs a store that the kit made");
    expect(() => t.fault.store({ full: true })).toThrow("fault.store needs a store of the kit");
    await t.restart();
    expect(await t.broker.recoverMessages("a")).toMatchObject([{ data: 1 }]);
  });

  it("refuses what it does not know", async () => {
    expect(() => createTestBroker({ persistence: "disk" as "memory" })).toThrow("option persistence must be");
    const t = createTestBroker({ persistence: "memory" });
    await expect(t.crash({ lose: "all" as "nothing" })).rejects.toThrow("lose must be one of");
    expect(() => t.fault.store({ failRead: 1 } as object)).toThrow('no fault "failRead"');
    expect(() => t.fault.store({ failSync: -1 })).toThrow("failSync must be a probability");
    expect(() => t.fault.store({ tearWriteAt: 0 })).toThrow('tearWriteAt must be "random", or which write');
    expect(() => createTestBroker().fault.store({ full: true })).toThrow("fault.store needs a store");
    const unknown = createTestBroker({ persistence: { wallBytes: 1 } as object });
    await expect(unknown.broker.ready()).rejects.toThrow("wallBytes");
  });
});

describe("many of them", () => {
  it("with stores in memory, in one process, do not meet", async () => {
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        await using t = createTestBroker({ persistence: "memory" });
        await t.broker.subscribe("x", { durable: "d" }).unsubscribe();
        await t.broker.publish("x", index);
        await t.crash();
        await t.restart();
        const seen = collect(t.broker, "x");
        await t.idle();
        expect(seen).toEqual([index]);
      }),
    );
  });

  it("open their store before time moves on, also the first of a process, which loads it", async () => {
    const script = `
      import { createTestBroker } from "inproc-broker/testing";
      const t = createTestBroker({ persistence: "memory" });
      void t.broker.publish("a", 1);
      await t.clock.advance(1_000);
      console.log(t.history().map(({ kind, at }) => kind + " " + (at - Date.UTC(2030, 0))).join());
      await t[Symbol.asyncDispose]();`;
    const { stdout } = await runNode(["--input-type=module"], script);
    expect(stdout.trim()).toBe("published 0");
  });

  it("load LevelDB only where a test asks for a store", async () => {
    const script = `
      import { createTestBroker } from "inproc-broker/testing";
      const isLoaded = () => process.report.getReport().sharedObjects.some((path) => path.includes("classic-level"));
      await createTestBroker().broker.publish("a", 1);
      const before = isLoaded();
      await createTestBroker({ persistence: "memory" }).broker.publish("a", 1);
      console.log(JSON.stringify([before, isLoaded()]));`;
    const { stdout } = await runNode(["--input-type=module"], script);
    expect(stdout.trim()).toBe("[false,true]");
  });
});

describe("the same seed", () => {
  async function run(seed: number): Promise<string> {
    await using t = createTestBroker({
      persistence: { checkpointInterval: 500, durability: "os" },
      seed,
      ack: { timeout: 300, maxDeliveries: 4 },
      deadLetter: {},
    });
    const subscribe = (): void => {
      t.broker.subscribe("a.*", (message) => (message.seq % 7 === 0 ? message.nack() : undefined), { durable: "d" });
      t.broker.subscribe("a.>", () => undefined, { group: "g", ack: "auto" });
    };
    subscribe();
    t.fault.onPublish(">", { duplicate: 0.1, delay: 3, reorder: 0.2 });
    t.fault.onDeliver(">", { fail: 0.1, reorder: 0.3 });
    t.fault.onAck({ lose: 0.1 });
    for (let round = 0; round < 6; round += 1) {
      const disk = t.fault.store({ failCheckpoint: 0.3, slow: 1, ...(round % 3 === 2 ? { failSync: 0.2 } : {}) });
      const publishes = Array.from({ length: 10 }, (_, index) =>
        t.broker.publish(`a.${index % 3}`, { round, index }).catch(() => undefined),
      );
      await t.clock.advance(200);
      await t.crash({ lose: "torn-tail" });
      await Promise.all(publishes);
      disk.stop();
      await t.restart();
      subscribe();
      await t.clock.advance(700);
    }
    return JSON.stringify(t.history());
  }

  it("gives the same history to the byte, with faults, crashes and a store; another seed another", async () => {
    const [first, second, other] = [await run(7), await run(7), await run(8)];
    expect(first).toBe(second);
    expect(other).not.toBe(first);
    expect((JSON.parse(first) as unknown[]).length).toBeGreaterThan(300);
  });
});
