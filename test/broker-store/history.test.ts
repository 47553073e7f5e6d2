// Reading history, delivering it again, backup, compaction, and what there is to see of the store.
import * as fs from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { rejectionCode, thrownCode } from "../support/manual-broker.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { ManualClock, settle } from "../support/manual-clock.js";
import { collect, dataOf, historyOf, memoryMachine, openBroker, range, temporaryFolder, until } from "./fixture.js";

async function filled(): Promise<{ broker: InProcBroker; clock: ManualClock; start: number }> {
  const clock = new ManualClock();
  const start = clock.now();
  const broker = await openBroker(temporaryFolder(), { clock });
  for (const data of range(1, 10)) {
    await broker.publish(data % 2 === 0 ? "even.x" : "odd.x", data);
    await clock.advance(100);
  }
  return { broker, clock, start };
}

describe("replay", () => {
  it("reads patterns in the order of publishing, by number, by time and up to a limit", async () => {
    const { broker, start } = await filled();
    const read = async (pattern: string | string[], options: object = {}): Promise<unknown[]> => {
      const messages: Message[] = [];
      for await (const message of broker.replay(pattern, options)) messages.push(message);
      return dataOf(messages);
    };
    expect(await read(">")).toEqual(range(1, 10));
    expect(await read(["odd.*", "even.x"])).toEqual(range(1, 10));
    expect(await read("even.>")).toEqual([2, 4, 6, 8, 10]);
    expect(await read(">", { from: { seq: 4 }, to: { seq: 6 } })).toEqual([4, 5, 6]);
    expect(await read(">", { from: { time: start + 300 }, to: { time: start + 500 } })).toEqual([4, 5, 6]);
    const [third, fifth] = [start + 300, start + 500].map((time) => new Date(time));
    expect(await read(">", { from: { time: third }, to: { time: fifth } })).toEqual([4, 5, 6]);
    expect(await read(">", { from: "oldest", to: { seq: 2 } })).toEqual([1, 2]);
    const late = broker.subscribe(">", { from: { time: new Date(start + 800) } });
    expect(dataOf(await late.fetch(2, { timeout: 60_000 }))).toEqual([9, 10]);
    expect(await read("odd.*", { limit: 2 })).toEqual([1, 3]);
    expect(await read("odd.*", { from: "oldest", limit: 2 })).toEqual([1, 3]);
    const since = broker.subscribe("odd.*", { from: { time: new Date(start + 600) } });
    expect(dataOf(await since.fetch(2))).toEqual([7, 9]);
    expect(dataOf(await broker.recoverMessages("odd.*", { limit: 3 }))).toEqual([1, 3, 5]);
  });

  it("marks what it reads, and nothing of it can be settled", async () => {
    const { broker } = await filled();
    const [message] = await broker.recoverMessages(">", { limit: 1 });
    expect(message).toMatchObject({ redelivered: true, seq: 1, topic: "odd.x" });
    expect(await rejectionCode((message as Message).ack())).toBe("ERR_ALREADY_SETTLED");
  });

  it.each(["json", "v8"] as const)("hands out bytes that are the reader's own: %s", async (codec) => {
    const broker = await openBroker(temporaryFolder(), { store: { codec } });
    await broker.publish("a", new Uint8Array([1, 2, 3]));
    if (codec === "v8") await broker.publish("a", { part: new Uint8Array([1, 2, 3]) });
    for (const isInBlocks of [false, true]) {
      if (isInBlocks) await broker.compact();
      for (let time = 0; time < 2; time++) {
        for (const { data } of await historyOf(broker)) {
          const bytes = data instanceof Uint8Array ? data : (data as { part: Uint8Array }).part;
          expect([...bytes]).toEqual([1, 2, 3]);
          // Somebody else reads the same block again.
          bytes.fill(0);
        }
      }
    }
  });

  it("ends with its signal, and refuses what it does not know", async () => {
    const { broker } = await filled();
    const stop = new AbortController();
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const message of broker.replay(">", { signal: stop.signal })) {
        seen.push(message.data);
        if (seen.length === 3) stop.abort(Object.assign(new Error("stop")));
      }
    })();
    await expect(reading).rejects.toThrow("stop");
    expect(seen).toEqual([1, 2, 3]);
    expect(thrownCode(() => broker.replay("a..b"))).toBe("ERR_INVALID_PATTERN");
    expect(thrownCode(() => broker.replay(">", { until: 5 } as never))).toBe("ERR_INVALID_OPTION");
    for (const from of [
      "newest",
      null,
      5,
      { time: new Date(NaN) },
      { time: "today" },
      { seq: 1, time: 1 },
      { seq: 0.5 },
    ])
      expect(thrownCode(() => broker.replay(">", { from } as never))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.replay(">", { from: { seq: "1" } as never }))).toBe("ERR_INVALID_OPTION");
  });

  it("refuses options that are no object", async () => {
    const { broker } = await filled();
    expect(thrownCode(() => broker.replay(">", null as never))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.recoverMessages(">", 5 as never))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.replayMessages(">", null as never))).toBe("ERR_INVALID_OPTION");
  });

  it("recovers 1,000 messages where no limit is given, or it is undefined", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.publishBatch(range(1, 1_001).map((data) => ({ topic: "a", data })));
    for (const options of [{}, { limit: undefined }]) {
      expect(dataOf(await broker.recoverMessages("a", options))).toEqual(range(1, 1_000));
    }
  });

  it.each(["replay", "recoverMessages", "replayMessages", "backup", "compact", "storeStats"] as const)(
    "%s needs a store",
    async (name) => {
      const broker = new InProcBroker();
      expect(await rejectionCode((async () => (broker[name] as (p: string) => unknown)(">"))())).toBe(
        "ERR_MODULE_DISABLED",
      );
      expect(broker.recoveryReport).toBeUndefined();
    },
  );
});

describe("replayMessages", () => {
  it("delivers to the subscriptions of today, durables too, and stores nothing again", async () => {
    const { broker } = await filled();
    const seen: Message[] = collect(broker, "odd.*");
    const kept: Message[] = collect(broker, "odd.*", { durable: "d" });
    expect(await broker.replayMessages(">", { to: { seq: 5 } })).toBe(5);
    await settle();
    expect(dataOf(seen)).toEqual([1, 3, 5]);
    expect(dataOf(kept)).toEqual([1, 3, 5]);
    expect(seen.every(({ redelivered }) => redelivered)).toBe(true);
    expect(dataOf(await historyOf(broker))).toEqual(range(1, 10));
  });

  it("waits for full queues, and tells its progress", async () => {
    const { broker } = await filled();
    const sub = broker.subscribe(">", { maxMessages: 2 });
    const progress: number[] = [];
    const replaying = broker.replayMessages(">", { onProgress: ({ seq }) => progress.push(seq) });
    await until(() => progress.length === 2);
    await settle();
    expect(progress).toEqual([1, 2]);
    expect(dataOf(await sub.fetch(10))).toEqual(range(1, 10));
    expect(await replaying).toBe(10);
  });

  it("keeps to its rate", async () => {
    const { broker, clock } = await filled();
    const seen = collect(broker, ">");
    const replaying = broker.replayMessages(">", { rate: 10, limit: 3 });
    await until(() => seen.length === 1);
    await clock.advance(99);
    expect(seen.length).toBe(1);
    await clock.advance(1);
    await until(() => seen.length === 2);
    await clock.advance(100);
    expect(await replaying).toBe(3);
    expect(await rejectionCode(broker.replayMessages(">", { rate: 0 }))).toBe("ERR_INVALID_OPTION");
  });

  it("ends with its signal", async () => {
    const { broker } = await filled();
    const stop = new AbortController();
    const replaying = broker.replayMessages(">", { rate: 0.001, signal: stop.signal });
    setImmediate(() => stop.abort(new Error("stop")));
    await expect(replaying).rejects.toThrow("stop");
  });
});

describe("backup", () => {
  it("has everything that was acknowledged, and opens as a store", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", { durable: "d", ack: "manual" }).unsubscribe();
    for (const data of range(1, 20)) await broker.publish("a", data);
    const folder = join(temporaryFolder(), "copy");
    expect((await broker.backup(folder)).files).toBeGreaterThan(0);
    expect((await broker.backup(`${folder}.zip`)).bytes).toBeGreaterThan(0);
    expect(fs.existsSync(`${folder}.zip`)).toBe(true);
    expect(await rejectionCode(broker.backup(folder))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.backup(""))).toBe("ERR_INVALID_OPTION");
    await broker.publish("a", 21);
    const copy = await openBroker(folder);
    expect(dataOf(await historyOf(copy))).toEqual(range(1, 20));
    expect(copy.subscriptions()).toMatchObject([{ name: "d", backlog: 20 }]);
  });
});

describe("a backup into the store's own folder", () => {
  it("is refused before anything is written", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", 1);
    const link = join(temporaryFolder(), "link");
    fs.symlinkSync(path, link);
    const names = fs.readdirSync(path, { recursive: true });
    for (const target of [
      path,
      `${path}/`,
      join(path, "copy"),
      join(path, "wal", "copy.zip"),
      join(path, "new", "..", "copy"),
      relative(process.cwd(), join(path, "copy")),
      join(link, "copy"),
      "a\0b",
    ]) {
      expect(await rejectionCode(broker.backup(target)), target).toBe("ERR_INVALID_OPTION");
      expect(fs.readdirSync(path, { recursive: true }), target).toEqual(names);
    }
    // A name that only begins like the store's is another folder.
    await broker.backup(`${path}-copy`);
    expect(fs.existsSync(`${path}-copy`)).toBe(true);
    fs.rmSync(`${path}-copy`, { recursive: true });
  });
});

describe("compact", () => {
  it("gives back the room of what is settled", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { retention: { policy: "interest" } } });
    const sub = broker.subscribe("a", { durable: "d", ack: "manual", maxInFlight: 1_000 });
    for (const data of range(1, 200)) void broker.publish("a", `${data}`.padEnd(1_000, "x"));
    await broker.flush();
    await broker.compact();
    const before = (await broker.storeStats()).liveBytes;
    for (const message of await sub.fetch(200)) await message.ack();
    await broker.compact();
    const { liveBytes, messagesInBlocks, messagesInLog } = await broker.storeStats();
    expect(liveBytes).toBeLessThan(before / 2);
    expect(messagesInBlocks + messagesInLog).toBe(0);
  });
});

describe("what there is to see", () => {
  it("recovered is told once the store is open, with the report, and told again to who listens later", async () => {
    const path = temporaryFolder();
    const first = await openBroker(path);
    await first.publish("a", 1);
    await first.close();
    const broker = new InProcBroker({ persistence: levelPersistence({ path }) });
    const early: unknown[] = [];
    broker.on("recovered", (report) => early.push(report));
    await broker.ready();
    expect(broker.recoveryReport).toMatchObject({ database: "opened", messagesInLog: 1 });
    expect(early).toEqual([broker.recoveryReport]);

    const late: unknown[] = [];
    const gone = (): void => void late.push("of a listener that had gone");
    broker.on("recovered", (report) => late.push(report));
    broker.once("recovered", (report) => late.push(report));
    broker.on("recovered", gone).off("recovered", gone);
    expect(late).toEqual([]);
    await settle();
    expect([early.length, late]).toEqual([1, [broker.recoveryReport, broker.recoveryReport]]);
    await broker.close();
  });

  it("the store is in the metrics, in their text, and in health", async () => {
    const broker = await openBroker(temporaryFolder());
    broker.subscribe("a", { durable: "d" });
    await broker.publish("a", 1);
    expect(broker.metrics.snapshot().store).toMatchObject({ state: "open", durables: 1, messages: 1 });
    const text = broker.metrics.prometheus();
    expect(text).toContain("inproc_broker_store_messages 1");
    expect(text).toContain("inproc_broker_store_segments 1");
    const { totalBytes, freeBytes } = await broker.storeStats();
    const { store } = broker.metrics.snapshot();
    // Other programs use the disk, too; its size is in terabytes at most.
    expect(store?.freeBytes).toBeGreaterThan(freeBytes / 2);
    expect(text).toMatch(/inproc_broker_store_free_bytes \d{6}/);
    expect(store?.totalBytes).toBeGreaterThan(totalBytes / 2);
    expect(text).toMatch(/inproc_broker_store_total_bytes \d{3}/);
    expect(new InProcBroker().metrics.prometheus()).not.toContain("store");
    expect(broker.health().checks).toContainEqual({ name: "store", status: "healthy", detail: "open" });
  });

  it("a full disk degrades health, is told, refuses publishes, takes settles, and ends by itself", async () => {
    const files = new FaultyFileSystem();
    const clock = new ManualClock();
    const broker = await openBroker("/store", { clock, store: { machine: memoryMachine(files), reserveBytes: 2_000 } });
    const errors: unknown[] = [];
    broker.on("error", (error) => errors.push(error));
    const sub = broker.subscribe("a", { durable: "d", ack: "manual" });
    await broker.publish("a", 1);
    const [message] = await sub.fetch(1);
    files.capacityBytes = files.usedBytes + 100;
    expect(await rejectionCode(broker.publish("a", "x".repeat(500)))).toBe("ERR_STORE_FULL");
    expect(broker.health()).toMatchObject({ status: "degraded" });
    expect(errors).toMatchObject([{ code: "ERR_STORE_FULL" }]);
    await message?.ack();
    files.capacityBytes = Infinity;
    await clock.advance(1_000);
    expect(broker.health()).toMatchObject({ status: "healthy" });
    await broker.publish("a", 2);
    expect(dataOf(await sub.fetch(1))).toEqual([2]);
  });
});
