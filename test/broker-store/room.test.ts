// What a store takes of the disk and of memory, as the broker uses it: what is settled leaves nothing behind.
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { InProcBroker } from "inproc-broker";
import { keyKind } from "../../src/persistence/store/keys.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { balanced, collectGarbage, fetchNow } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";
import { collect, dataOf, historyOf, memoryMachine, openBroker, range, temporaryFolder } from "./fixture.js";

const isLong = process.env["LONG"] !== undefined;
const mebibyte = 2 ** 20;
const manual = { durable: "d", ack: "manual", maxInFlight: 1_000 } as const;

function folderBytes(path: string): number {
  const names = fs.readdirSync(path, { recursive: true, encoding: "utf8" });
  return names.reduce((sum, name) => sum + fs.statSync(join(path, name), { throwIfNoEntry: false })!.size, 0);
}

/** Publishes at level `os`, a thousand at a time. */
async function fill(broker: InProcBroker, count: number, topicOf: (n: number) => string, text: string): Promise<void> {
  for (let n = 0; n < count; n += 1_000) {
    const thousand = range(n + 1, Math.min(n + 1_000, count));
    await Promise.all(thousand.map((one) => broker.publish(topicOf(one), { n: one, text }, { durability: "os" })));
  }
}

describe("messages that are published and acknowledged", () => {
  const count = isLong ? 1_000_000 : 20_000;

  it(`leave a small folder, after ${count} and on the way`, async () => {
    const path = temporaryFolder();
    const walBytes = isLong ? 16 * mebibyte : mebibyte;
    const broker = await openBroker(path, { store: { walBytes, checkpointInterval: 1e9 } });
    let seen = 0;
    let largest = 0;
    broker.subscribe(
      ">",
      () => {
        seen += 1;
        if (seen % (count / 50) === 0) {
          const { liveBytes = 0, logBytes = 0 } = broker.metrics.snapshot().store ?? {};
          largest = Math.max(largest, folderBytes(path) - 3 * (liveBytes - logBytes));
        }
      },
      { durable: "d" },
    );
    await fill(broker, count, (n) => `t.${n % 10}`, "x".repeat(200));
    await broker.idle();
    expect(seen).toBe(count);
    expect(balanced(broker)).toMatchObject({ delivered: count, memoryBytes: 0 });
    // At three times its limit the log holds publishers back; what settles its messages comes on top.
    expect(largest).toBeLessThan(walBytes * 4 + mebibyte);
    await broker.compact();
    expect((await broker.storeStats()).messagesInBlocks).toBe(0);
    expect(folderBytes(path)).toBeLessThan(isLong ? 20 * mebibyte : 300_000);
  });

  it("between two checkpoints never touch the database", async () => {
    const database = new MemoryDatabase();
    const broker = await openBroker("/store", {
      store: { machine: memoryMachine(new FaultyFileSystem(), database), checkpointInterval: 1e9 },
    });
    const blocks = (): number =>
      [...database.entries.keys()].filter((key) => [keyKind.block, keyKind.facts].includes(key.charCodeAt(0) as 0x62))
        .length;
    const puts: number[] = [];
    const sub = broker.subscribe(">", manual);
    for (const round of range(1, 5)) {
      await Promise.all(range(1, 100).map((n) => broker.publish("a", { round, n })));
      for (const message of await fetchNow(sub)) await message.ack();
      await broker.compact();
      puts.push(blocks());
    }
    expect(puts).toEqual(puts.map(() => 0));
    await broker.publish("a", "stays");
    await broker.compact();
    expect(blocks(), "and what is not settled goes there").toBeGreaterThan(0);
  });
});

describe("a long backlog", () => {
  const count = isLong ? 1_000_000 : 20_000;

  it(`of ${count} takes little memory while nobody is connected, while it comes, and after a restart`, async () => {
    const path = temporaryFolder();
    await collectGarbage();
    const base = process.memoryUsage().heapUsed;
    let largest = 0;
    const look = (): void => {
      largest = Math.max(largest, process.memoryUsage().heapUsed - base);
    };
    let broker = await openBroker(path);
    await broker.subscribe(">", manual).unsubscribe();
    await fill(broker, count, (n) => `t.${n % 100}`, "y".repeat(200));
    look();
    await broker.close();
    broker = await openBroker(path);
    const sub = broker.subscribe(">", manual);
    let seen = 0;
    while (seen < count) {
      for (const { data, ack } of (await sub.fetch(500)).map((m) => ({ data: m.data, ack: () => m.ack() }))) {
        seen += 1;
        expect((data as { n: number }).n).toBe(seen);
        void ack();
      }
      if (seen % 10_000 === 0) look();
    }
    expect(largest).toBeLessThan(100 * mebibyte);
    expect(await fetchNow(sub)).toEqual([]);
    await broker.flush();
    expect(broker.subscriptions()).toMatchObject([{ backlog: 0 }]);
  });

  it("is let go of when its durable is deleted, and what new patterns do not match when they change", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path, { store: { retention: { policy: "interest" } } });
    await broker.subscribe(">", manual).unsubscribe();
    await fill(broker, 2_000, (n) => `t.${n % 2}`, "z".repeat(300));
    await broker.compact();
    expect((await broker.storeStats()).messagesInBlocks).toBe(2_000);
    const narrow = broker.subscribe("t.1", manual);
    await broker.flush();
    await broker.compact();
    expect((await broker.storeStats()).messagesInBlocks).toBe(1_000);
    expect((await fetchNow(narrow)).every(({ topic }) => topic === "t.1")).toBe(true);
    await narrow.unsubscribe({ deleteDurable: true });
    await broker.compact();
    expect((await broker.storeStats()).messagesInBlocks).toBe(0);
    expect(await historyOf(broker)).toEqual([]);
  });
});

describe("retention", () => {
  it("by count shows exactly the newest: in every reading, before a checkpoint, after one, and after a restart", async () => {
    const path = temporaryFolder();
    const store = { retention: { maxMessages: 10 } };
    let broker = await openBroker(path, { store });
    for (const n of range(1, 100)) await broker.publish(n % 2 === 0 ? "a.x" : "a.y", n);
    for (const step of ["log", "checkpoint", "restart"]) {
      if (step === "checkpoint") await broker.compact();
      if (step === "restart") {
        await broker.close();
        broker = await openBroker(path, { store });
      }
      expect(dataOf(await historyOf(broker, "a.>")), step).toEqual(range(91, 100));
      expect(dataOf(await broker.recoverMessages("a.x")), step).toEqual([92, 94, 96, 98, 100]);
      const oldest = broker.subscribe("a.>", { from: "oldest", ack: "none" });
      expect(dataOf(await fetchNow(oldest)), step).toEqual(range(91, 100));
      await oldest.unsubscribe();
      const durable = broker.subscribe("a.>", { ...manual, durable: `late-${step}`, from: "oldest" });
      expect(dataOf(await fetchNow(durable)), step).toEqual(range(91, 100));
      await durable.unsubscribe({ deleteDurable: true });
    }
  });

  it("by age, by count and by bytes lets go of the oldest, and never of what a durable waits for", async () => {
    const clock = new ManualClock();
    const limits = [{ maxAge: 1_000 }, { maxMessages: 10 }, { maxBytes: 600 }];
    for (const retention of limits) {
      const path = temporaryFolder();
      const broker = await openBroker(path, { clock, store: { retention } });
      await broker.subscribe("kept", manual).unsubscribe();
      await broker.publish("kept", 0);
      for (const n of range(1, 200)) {
        await broker.publish("a", n);
        if (n === 100) {
          await clock.advance(1_001);
          await broker.compact();
        }
      }
      await broker.compact();
      const left = dataOf(await historyOf(broker, "a"));
      expect(left.length, JSON.stringify(retention)).toBeGreaterThan(0);
      expect(left.length, JSON.stringify(retention)).toBeLessThanOrEqual(100);
      expect(left).toEqual(range(201 - left.length, 200));
      expect(dataOf(await fetchNow(broker.subscribe("kept", manual)))).toEqual([0]);
    }
  });

  it("by interest keeps what a durable has to settle, and nothing else", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { retention: { policy: "interest" } } });
    const one = broker.subscribe("a", manual);
    const other = broker.subscribe("a", { ...manual, durable: "other" });
    for (const n of [1, 2, 3]) await broker.publish("a", n);
    await broker.publish("nobody", 0);
    for (const message of await fetchNow(one)) await message.ack();
    for (const message of await fetchNow(other, 1)) await message.ack();
    expect(dataOf(await historyOf(broker))).toEqual([2, 3]);
  });

  it("of a work queue: what the first one settles is settled for all", async () => {
    const path = temporaryFolder();
    const store = { retention: { policy: "work-queue" } } as const;
    const broker = await openBroker(path, { store });
    const one = broker.subscribe("a", manual);
    await broker.subscribe("a", { ...manual, durable: "other" }).unsubscribe();
    for (const n of [1, 2, 3]) await broker.publish("a", n);
    const [first] = await fetchNow(one);
    await first?.ack();
    expect(dataOf(await historyOf(broker))).toEqual([2, 3]);
    expect(dataOf(await fetchNow(broker.subscribe("a", { ...manual, durable: "other" })))).toEqual([2, 3]);
  });
});

describe("what a store writes", () => {
  const secret = /secret|payroll/;
  const encryption = { keyProvider: (id = 1) => ({ id, key: new Uint8Array(32).fill(id) }) };

  it("is readable by nobody without the key: no topic, header, name or payload", async () => {
    const path = temporaryFolder();
    const options = { store: { encryption }, deadLetter: {}, transactions: {} };
    const broker = await openBroker(path, options);
    const sub = broker.subscribe("payroll.>", { ...manual, durable: "secret-durable" });
    const told = { headers: { "secret-header": "secret-value" }, key: "secret-key", dedupId: "secret-dedup" };
    for (const n of range(1, 3)) {
      await broker.publish("payroll.secret", { secret: n }, { ...told, dedupId: `secret-${n}`, id: `secret-id-${n}` });
    }
    await broker.publish("payroll.kept", "secret-retained", { retain: true });
    await broker.publish("payroll.late", "secret-delayed", { delay: 60_000 });
    const [one, two] = await fetchNow(sub);
    await one?.reject("secret-reason");
    await broker.transaction(async (tx) => {
      void tx.publish("payroll.result", "secret-result");
      if (two !== undefined) void tx.ack(two);
    });
    await broker.compact();
    await broker.publish("payroll.secret", "secret-in-the-log");
    await broker.close({ drain: false });
    for (const name of fs.readdirSync(path, { recursive: true, encoding: "utf8" })) {
      const file = join(path, name);
      expect(name).not.toMatch(secret);
      if (fs.statSync(file).isFile()) expect(fs.readFileSync(file, "latin1"), name).not.toMatch(secret);
    }
    const again = await openBroker(path, options);
    expect((await historyOf(again, "payroll.result")).map(({ data }) => data)).toEqual(["secret-result"]);
  });

  it("is noticed where it was tampered with, and never handed out", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path, { store: { encryption } });
    await broker.subscribe("a", manual).unsubscribe();
    for (const n of range(1, 5)) await broker.publish("a", { n });
    await broker.close();
    const file = join(path, "wal", fs.readdirSync(join(path, "wal")).sort()[0] as string);
    const bytes = fs.readFileSync(file);
    let noticed = 0;
    for (let at = 150; at < bytes.length; at += 97) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 4;
      fs.writeFileSync(file, damaged);
      const again = await openBroker(path, { store: { encryption } });
      again.on("error", () => undefined);
      const { quarantined, cutBytes } = again.recoveryReport?.log ?? { quarantined: [], cutBytes: 0 };
      if (quarantined.length > 0 || cutBytes > 0) noticed += 1;
      const left = again.subscriptions().length === 0 ? [] : await fetchNow(again.subscribe("a", manual));
      expect(range(1, 5)).toEqual(expect.arrayContaining(left.map(({ data }) => (data as { n: number }).n)));
      await again.close({ drain: false });
      fs.rmSync(join(path, "wal"), { recursive: true });
      fs.mkdirSync(join(path, "wal"));
    }
    expect(noticed).toBeGreaterThan(3);
  });
});

describe("a codec", () => {
  class Money {
    readonly cents: number;
    constructor(cents: number) {
      this.cents = cents;
    }
  }
  const custom = {
    name: "money",
    encode: (data: unknown): Uint8Array => {
      if (!(data instanceof Money)) throw new TypeError("not money");
      return Buffer.from(String(data.cents));
    },
    decode: (bytes: Uint8Array): unknown => new Money(Number(Buffer.from(bytes).toString())),
  };
  const cases = [
    ["json", { a: [1, "ä", null, { b: true }] }, { a: new Map() }],
    ["v8", { at: new Date(5), map: new Map([["n", 1n]]) }, { run: (): number => 1 }],
    [custom, new Money(1_295), { cents: 1 }],
  ] as const;

  it.each(cases)("%j carries what it can through a restart, bytes as bytes, and refuses the rest", async (...given) => {
    const [codec, good, bad] = given;
    const path = temporaryFolder();
    const broker = await openBroker(path, { store: { codec } });
    await broker.subscribe("a", manual).unsubscribe();
    const seen = collect(broker, ">");
    const bytes = new Uint8Array([0, 255, 7]);
    await broker.publish("a", good);
    await broker.publish("a", bytes);
    const before = balanced(broker);
    const refusals = [
      broker.publish("a", bad, { dedupId: "x", retain: true }),
      broker.publish("a", bad, { delay: 1_000 }),
      broker.publishBatch([
        { topic: "a", data: good },
        { topic: "a", data: bad },
      ]),
    ];
    for (const refusal of refusals) await expect(refusal).rejects.toMatchObject({ code: "ERR_INVALID_MESSAGE" });
    expect(balanced(broker)).toMatchObject({
      published: before.published,
      scheduled: 0,
      retained: 0,
      dedupEntries: 0,
      memoryBytes: before.memoryBytes,
    });
    expect(seen.length).toBe(2);
    await broker.close();
    const again = await openBroker(path, { store: { codec } });
    const [first, second, ...more] = await fetchNow(again.subscribe("a", manual));
    expect(first?.data).toEqual(good);
    expect(first?.data).toBeInstanceOf(good.constructor);
    expect(second?.data).toBeInstanceOf(Uint8Array);
    expect([...(second?.data as Uint8Array)]).toEqual([...bytes]);
    expect(more).toEqual([]);
  });
});
