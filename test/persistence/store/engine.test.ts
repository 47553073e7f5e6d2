import * as fs from "node:fs";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { Change, KeyValueStore } from "../../../src/persistence/store/level-store.js";
import { ManualClock } from "../../support/manual-clock.js";
import { MemoryDatabase } from "../../support/memory-database.js";
import { outcomeOf } from "../wal/fixture.js";
import { ack, durable, message, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const old = { retention: { maxAge: 100 * 365 * 24 * 3_600_000 } };

describe("the store", () => {
  it("gives back what was stored, after a restart and after a checkpoint", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, old);
    expect(store.recoveryReport).toMatchObject({ database: "new", damaged: [], warnings: [] });
    const full = {
      key: "k",
      headers: { a: "1", __proto__x: "ü" },
      priority: 9,
      expiresAt: 4_000_000_000_000,
      dedupId: "d",
      replyTo: "inbox",
      correlationId: "c",
      data: { text: "ü", n: [1, null] },
    };
    await store.append([publish(1, full)]);
    await store.append([publish(2, { data: new Uint8Array([1, 2, 255]) })]);
    const check = async (): Promise<void> => {
      const found = [];
      for await (const one of store.replay(["orders.*"])) found.push(one);
      expect(found.map(({ seq }) => seq)).toEqual([1, 2]);
      expect({ ...found[0], data: found[0]?.data }).toMatchObject(message(1, full));
      expect(found[1]?.data).toEqual(new Uint8Array([1, 2, 255]));
      expect(found[1]?.data).toBeInstanceOf(Uint8Array);
    };
    await check();
    await store.close();
    store = await openStore(path, old);
    expect(store.recovered.lastSeq).toBe(2);
    await check();
    await store.checkpoint();
    expect((await store.stats()).messagesInLog).toBe(0);
    await check();
    await store.close();
    store = await openStore(path, old);
    expect(store.recoveryReport).toMatchObject({ database: "opened", messagesInBlocks: 2, messagesInLog: 0 });
    await check();
  });

  it("has forgotten a durable that was deleted, also where a checkpoint had stored it", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, old);
    await store.append([durable("gone", [">"]), durable("kept", [">"])]);
    await store.checkpoint();
    await store.append([{ type: "durable", change: "deleted", name: "gone", patterns: [], position: 0 }]);
    await store.checkpoint();
    await store.close();
    store = await openStore(path, old);
    expect(store.recoveryReport.discrepancies).toEqual([]);
    expect(store.recovered.durables.map(({ name }) => name)).toEqual(["kept"]);
  });

  it("holds publishers back from three times walBytes on, and settles not, until a checkpoint has come", async () => {
    const walBytes = 64 * 1024;
    const filled = async (messages: number): Promise<StoreEngine> => {
      const store = await openStore(temporaryFolder(), { ...old, walBytes, checkpointInterval: 1e9 });
      await store.append([durable("d", [">"])]);
      const data = "x".repeat(20_000);
      await Promise.all(range(1, messages).map((seq) => store.append([publish(seq, { data })], "os")));
      return store;
    };
    const fitting = await filled(9);
    expect(fitting.figures().logBytes).toBeLessThan(walBytes * 3);
    expect(fitting.ready()).toBeUndefined();
    const store = await filled(12);
    const ready = store.ready();
    expect(ready).toBeInstanceOf(Promise);
    await store.append([ack("d", 1)]);
    await ready;
    expect(store.figures().logBytes).toBeLessThan(walBytes);
    expect(store.ready()).toBeUndefined();
    expect(await pendingSeqs(store, "d")).toEqual(range(2, 12));
  });

  it("pages a durable's backlog from blocks and from the log, in order, without what is settled", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, { blockBytes: 500 });
    await store.append([durable("billing", ["orders.>"]), durable("audit", [">"])]);
    for (const seq of range(1, 100)) {
      await store.append(
        [publish(seq, { topic: seq % 3 === 0 ? "orders.eu" : seq % 3 === 1 ? "orders.us" : "other" })],
        "os",
      );
      if (seq % 30 === 0) await store.checkpoint();
    }
    await store.flush();
    const orders = range(1, 100).filter((seq) => seq % 3 !== 2);
    expect(await pendingSeqs(store, "billing")).toEqual(orders);
    expect(await pendingSeqs(store, "audit")).toEqual(range(1, 100));
    const acked = orders.filter((seq) => seq % 2 === 0);
    for (const seq of acked) await store.append([ack("billing", seq)], "memory");
    await store.flush();
    const left = orders.filter((seq) => seq % 2 === 1);
    expect(await pendingSeqs(store, "billing")).toEqual(left);
    expect(store.backlog("billing").messages).toBe(left.length);
    await store.close();
    store = await openStore(path, { blockBytes: 500 });
    expect(await pendingSeqs(store, "billing")).toEqual(left);
    expect(store.recovered.durables.map(({ name }) => name).sort()).toEqual(["audit", "billing"]);
    await store.checkpoint();
    expect(await pendingSeqs(store, "billing")).toEqual(left);
    await store.close();
    store = await openStore(path, { blockBytes: 500 });
    expect(await pendingSeqs(store, "billing", 1)).toEqual(left);
    expect(await pendingSeqs(store, "audit")).toEqual(range(1, 100));
  });

  it("goes into the database in parts, however many topics have a message or two each", async () => {
    const database = new MemoryDatabase();
    const sizes: number[] = [];
    const openDatabase = async (): Promise<KeyValueStore> => {
      const store = await database.open();
      const batch = (changes: readonly Change[]): Promise<void> => {
        sizes.push(changes.length);
        return store.batch(changes);
      };
      return { ...store, batch };
    };
    const store = await openStore(temporaryFolder(), { ...old, machine: { openDatabase } });
    for (const first of [0, 3000]) {
      await store.append(range(1, 3000).map((at) => publish(first + at, { topic: `topic.${at}` })));
    }
    await store.checkpoint();
    expect((await store.stats()).blocks).toBe(3000);
    // Two changes for each block.
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1100);
    expect(await replayed(store, ["topic.7", "topic.3000"])).toEqual([7, 3000, 3007, 6000]);
  });

  it("keeps attempts and their deadlines", async () => {
    const path = temporaryFolder();
    let store = await openStore(path);
    await store.append([durable("d", [">"]), publish(1), publish(2)]);
    await store.append([
      { type: "settle", durable: "d", seq: 1, outcome: "attempt", deliveryCount: 3, retryAt: 99, reason: "späht" },
    ]);
    for (const step of ["log", "checkpoint"]) {
      if (step === "checkpoint") await store.checkpoint();
      await store.close();
      store = await openStore(path);
      const { messages } = await store.pending("d", 0, 10);
      expect(messages.map(({ deliveryCount, retryAt }) => [deliveryCount, retryAt])).toEqual([
        [3, 99],
        [0, undefined],
      ]);
      expect(store.recovered.durables[0]?.attempts.get(1)).toEqual({ deliveryCount: 3, retryAt: 99, reason: "späht" });
    }
  });

  it("never returns topic a:b, a.b or ab for a, nor message 10 before message 2", async () => {
    const store = await openStore(temporaryFolder(), old);
    const topics = ["a", "a:b", "a.b", "ab", "a\u0001", "b"];
    for (const seq of range(1, 60)) await store.append([publish(seq, { topic: topics[seq % 6] ?? "a" })], "os");
    await store.checkpoint();
    expect(await replayed(store, ["a"])).toEqual(range(1, 60).filter((seq) => seq % 6 === 0));
    expect(await replayed(store, ["a:b"])).toEqual(range(1, 60).filter((seq) => seq % 6 === 1));
    expect(await replayed(store)).toEqual(range(1, 60));
  });

  it("tells the second opener which process has the store", async () => {
    const path = temporaryFolder();
    await openStore(path);
    await expect(openStore(path)).rejects.toMatchObject({ code: "ERR_STORE_LOCKED", facts: { pid: process.pid } });
    await expect(openStore(path)).rejects.toThrow(new RegExp(`process ${process.pid}`));
  });

  it("says what its codec cannot carry, where it is, and what to do", async () => {
    const store = await openStore(temporaryFolder(), old);
    const texts: [unknown, string][] = [
      [{ a: [new Map()] }, 'data.a[0]: a Map; publish plain data, or use the codec "v8"'],
      [{ n: 1n }, 'BigInt); publish plain data, or use the codec "v8"'],
      [{ later: Promise.resolve() }, "data.later: a Promise; await it first"],
      [{ toJSON: () => undefined }, "data whose toJSON returns nothing"],
    ];
    for (const [data, text] of texts) await expect(store.append([publish(1, { data })])).rejects.toThrow(text);
  });

  it("refuses what its codec cannot carry before anything changes", async () => {
    const store = await openStore(temporaryFolder(), old);
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    class Point {
      readonly x = 1;
    }
    class Shape extends Point {}
    const bad = [
      new Point(),
      [{ at: new Shape() }],
      new Date(NaN),
      { when: new Date(NaN) },
      { run: () => 1 },
      [Symbol("s")],
      Infinity,
      Object(1),
      undefined,
      1n,
      new Map(),
      { a: new Set() },
      { a: [NaN] },
      cycle,
      () => 1,
      { b: new Uint8Array(1) },
      [undefined],
    ];
    for (const data of bad) {
      await expect(store.append([publish(1, { data: 1 }), publish(2, { data })])).rejects.toMatchObject({
        code: "ERR_INVALID_MESSAGE",
      });
    }
    expect(store.lastSeq).toBe(0);
    class Money {
      readonly cents = 5;
      toJSON(): unknown {
        return { cents: this.cents };
      }
    }
    const bare = Object.assign(Object.create(null) as object, { a: [-0] });
    const foreign = runInNewContext("({ b: [1] })") as unknown;
    const good = [null, { at: new Date(0), none: undefined, [Symbol("s")]: 1 }, new Money(), bare, foreign];
    await store.append(good.map((one, index) => publish(index + 1, { data: one })));
    const data = [];
    for await (const one of store.replay([">"])) data.push(one.data);
    expect(data).toEqual([null, { at: "1970-01-01T00:00:00.000Z" }, { cents: 5 }, { a: [0] }, { b: [1] }]);
  });

  it("begins no group while a payload is encoded, whoever asks for it", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock(1_700_000_000_000);
    const store = await openStore(path, { ...old, clock });
    const data = "x".repeat(40_000);
    await store.append([publish(1, { data })], "group");
    const first = [data, "x"].map((one, at) => store.append([publish(2 + at, { data: one })], "group"));
    // From now on gathering takes longer than the disk did, and a group begins at the next occasion.
    clock.block(10);
    let flushed: Promise<void> | undefined;
    const asking = {
      text: data,
      get next(): string {
        flushed = store.flush();
        return "encoded";
      },
    };
    await Promise.all([...first, store.append([publish(4, { data: asking })], "group")]);
    await flushed;
    await store.close();
    const again = await openStore(path, old);
    expect(again.recoveryReport.log).toMatchObject({ cut: undefined, quarantined: [] });
    expect(await replayed(again)).toEqual([1, 2, 3, 4]);
  });

  it("refuses what a payload writes while it is encoded, and loses neither that payload nor what comes after", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, old);
    const nested: Promise<string>[] = [];
    const writing = (seq: number): object => ({
      text: "before",
      toJSON: () => {
        for (const fields of [{}, { dedupId: "d" }]) nested.push(outcomeOf(store.append([publish(seq, fields)])));
        return "encoded";
      },
    });
    await store.append([publish(1, { data: writing(2) })]);
    await store.append([publish(3, { data: writing(5) }), publish(4)]);
    await store.append([publish(6)]);
    const outcomes = await Promise.all(nested);
    expect(outcomes.length).toBeGreaterThanOrEqual(4);
    expect(new Set(outcomes)).toEqual(new Set(["ERR_INVALID_MESSAGE"]));
    expect(await replayed(store)).toEqual([1, 3, 4, 6]);
    await store.close();
    store = await openStore(path, old);
    expect(store.recoveryReport.log).toMatchObject({ cutBytes: 0, quarantined: [] });
    expect(await replayed(store)).toEqual([1, 3, 4, 6]);
  });

  it("carries with v8 what JSON cannot, and with a codec of one's own", async () => {
    const path = temporaryFolder();
    const data = new Map<unknown, unknown>([[1n, new Date(5)]]);
    let store = await openStore(path, { ...old, codec: "v8" });
    await store.append([publish(1, { data })]);
    await store.close();
    const upper = {
      name: "upper",
      encode: (value: unknown) => Buffer.from(String(value).toUpperCase()),
      decode: (bytes: Uint8Array) => Buffer.from(bytes).toString(),
    };
    store = await openStore(path, { ...old, codec: upper });
    await store.append([publish(2, { data: "abc" })]);
    const found = [];
    for await (const one of store.replay([">"])) found.push(one.data);
    expect(found).toEqual([data, "ABC"]);
    await store.close();
    store = await openStore(path, old);
    for await (const one of store.replay([">"], { from: { seq: 2 } })) expect(() => one.data).toThrow(/"upper"/);
  });

  it("is one record for a batch: all of it or nothing", async () => {
    const path = temporaryFolder();
    let store = await openStore(path);
    await store.append([durable("in", ["in"]), durable("out", ["out"])]);
    await store.append([publish(1, { topic: "in" })]);
    const before = (await store.stats()).log.lastLsn;
    await store.append([ack("in", 1), publish(2, { topic: "out" }), publish(3, { topic: "out" })]);
    expect((await store.stats()).log.lastLsn).toBe(before + 1);
    await store.close();
    store = await openStore(path);
    expect(await pendingSeqs(store, "in")).toEqual([]);
    expect(await pendingSeqs(store, "out")).toEqual([2, 3]);
  });

  it("keeps delayed messages, dead letters, dedup ids and retained messages", async () => {
    const path = temporaryFolder();
    const options = { ...old, dedup: { window: 1e13 } };
    let store = await openStore(path, options);
    await store.append([
      publish(1, { deliverAt: 5_000 }),
      publish(2, { deliverAt: 6_000 }),
      publish(3, { dedupId: "x" }),
      publish(4, { topic: "r", retain: true, data: "first" }),
      publish(5, { topic: "r", retain: true, data: "last" }),
      publish(6, { topic: "gone", retain: true }),
      { type: "dead-letter-added", id: "dl-1", message: message(3), facts: { reason: "rejected" } },
      { type: "dead-letter-added", id: "dl-2", message: message(3), facts: null },
      { type: "dedup", dedupId: "y", seq: 9, id: "nine", at: 1_700_000_000_000 },
    ]);
    await store.append([
      { type: "delayed-removed", seq: 1 },
      { type: "dead-letter-removed", id: "dl-2" },
      { type: "retained-cleared", topic: "gone" },
    ]);
    for (let round = 0; round < 3; round++) {
      if (round > 0) await store.checkpoint();
      await store.close();
      store = await openStore(path, options);
      const { delayed, deadLetters, dedup, retained } = store.recovered;
      expect(delayed.map(({ seq, deliverAt }) => [seq, deliverAt])).toEqual([[2, 6_000]]);
      expect(deadLetters.map(({ id, facts, message: { seq } }) => [id, facts, seq])).toEqual([
        ["dl-1", { reason: "rejected" }, 3],
      ]);
      expect(dedup.map(({ dedupId, seq }) => [dedupId, seq])).toEqual([
        ["x", 3],
        ["y", 9],
      ]);
      expect(retained.map(({ topic, data }) => [topic, data])).toEqual([["r", "last"]]);
    }
    // A delayed message is in no history before it is published again.
    expect(await replayed(store, ["orders.created"])).toEqual([3]);
    await store.append([{ type: "delayed-removed", seq: 2 }, publish(7)]);
    await store.checkpoint();
    await store.close();
    store = await openStore(path, options);
    expect(store.recovered.delayed).toEqual([]);
    expect(await replayed(store, ["orders.created"])).toEqual([3, 7]);
  });

  it("moves a broken database aside, goes on with what the log has, and says so", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, { walBytes: 256 * 1024 });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 10)) await store.append([publish(seq)], "os");
    await store.append([ack("d", 12)]);
    await store.compact();
    for (const seq of range(11, 20)) await store.append([publish(seq)], "os");
    await store.append([ack("d", 12)]);
    await store.close();
    for (const name of fs.readdirSync(join(path, "level"))) {
      if (/^MANIFEST|\.ldb$|\.log$/.test(name)) fs.writeFileSync(join(path, "level", name), "nonsense");
    }
    await expect(openStore(path, { recovery: "fail" })).rejects.toMatchObject({ code: "ERR_STORE_CORRUPT" });
    store = await openStore(path, { walBytes: 256 * 1024 });
    expect(store.recoveryReport).toMatchObject({ database: "broken", lostThroughSeq: 10 });
    expect(fs.existsSync(store.recoveryReport.movedTo ?? "")).toBe(true);
    expect(await pendingSeqs(store, "d")).toEqual([11, ...range(13, 20)]);
    expect(store.lastSeq).toBe(20);
    await store.close();
    fs.rmSync(join(path, "level"), { recursive: true });
    store = await openStore(path);
    expect(store.recoveryReport).toMatchObject({ database: "missing" });
    expect(store.lastSeq).toBe(20);
    expect(store.recovered.durables.map(({ name }) => name)).toEqual(["d"]);
    await store.close();
    store = await openStore(path);
    expect(store.recoveryReport).toMatchObject({ database: "opened", log: { quarantined: [] } });
  });

  it("changes and deletes durables as documented", async () => {
    const path = temporaryFolder();
    let store = await openStore(path);
    await store.append([durable("d", ["a", "b"])]);
    await store.append([publish(1, { topic: "a" }), publish(2, { topic: "b" }), publish(3, { topic: "c" })]);
    await store.append([{ type: "durable", change: "changed", name: "d", patterns: ["b", "c"], position: 4 }]);
    await store.append([publish(4, { topic: "a" }), publish(5, { topic: "b" }), publish(6, { topic: "c" })]);
    expect(await pendingSeqs(store, "d")).toEqual([2, 5, 6]);
    await store.checkpoint();
    await store.close();
    store = await openStore(path);
    expect(await pendingSeqs(store, "d")).toEqual([2, 5, 6]);
    await store.append([{ type: "durable", change: "deleted", name: "d", patterns: [], position: 0 }]);
    await expect(store.pending("d", 0, 1)).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    await store.compact();
    expect((await store.stats()).blocks).toBe(0);
  });

  it("refuses everything after close, and closes once", async () => {
    const store = await openStore(temporaryFolder());
    await Promise.all([store.close(), store.close()]);
    await expect(store.append([publish(1)])).rejects.toMatchObject({ code: "ERR_BROKER_CLOSED" });
    await expect(store.pending("d", 0, 1)).rejects.toMatchObject({ code: "ERR_BROKER_CLOSED" });
    await expect(store.flush()).rejects.toMatchObject({ code: "ERR_BROKER_CLOSED" });
    await expect(store.checkpoint()).rejects.toMatchObject({ code: "ERR_BROKER_CLOSED" });
  });
});
