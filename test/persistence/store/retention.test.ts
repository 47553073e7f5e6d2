import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import { ManualClock } from "../../support/manual-clock.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const start = 1_700_000_000_000;

async function fill(store: StoreEngine, from: number, to: number, fields = {}): Promise<void> {
  for (const seq of range(from, to))
    await store.append([publish(seq, { timestamp: start + seq, ...fields })], "memory");
  await store.flush();
}

function folderSize(path: string): number {
  let sum = 0;
  for (const name of fs.readdirSync(path, { recursive: true, encoding: "utf8" })) {
    const found = fs.statSync(join(path, name));
    if (found.isFile()) sum += found.size;
  }
  return sum;
}

describe("retention", () => {
  it("keeps history by age", async () => {
    const clock = new ManualClock(start);
    const store = await openStore(temporaryFolder(), { clock, retention: { maxAge: 100 }, blockBytes: 200 });
    await fill(store, 1, 100);
    expect(await replayed(store)).toEqual(range(1, 100));
    clock.jump(150);
    expect(await replayed(store)).toEqual(range(50, 100));
    await store.checkpoint();
    expect(await replayed(store)).toEqual(range(50, 100));
    clock.jump(100);
    expect(await replayed(store)).toEqual([]);
    await store.checkpoint();
    expect((await store.stats()).blocks).toBe(0);
  });

  it("shows exactly the newest by count, and keeps for a durable what it waits for beyond them", async () => {
    const path = temporaryFolder();
    const limits = { clock: new ManualClock(start), blockBytes: 500, retention: { maxMessages: 50 } };
    let store = await openStore(path, limits);
    await fill(store, 1, 200);
    expect(await replayed(store)).toEqual(range(151, 200));
    await store.checkpoint();
    expect(await replayed(store)).toEqual(range(151, 200));
    expect((await store.stats()).messagesInBlocks).toBe(50);
    await store.append([durable("d", [">"], 190)]);
    await fill(store, 201, 400);
    for (const step of ["log", "checkpoint", "restart"]) {
      if (step === "checkpoint") await store.checkpoint();
      if (step === "restart") {
        await store.close();
        store = await openStore(path, limits);
      }
      expect(await pendingSeqs(store, "d"), step).toEqual(range(190, 400));
      expect(await replayed(store), step).toEqual(range(351, 400));
    }
    await store.append([durable("late", [">"], 1)]);
    expect(await pendingSeqs(store, "late")).toEqual(range(351, 400));
    for (const seq of range(190, 395)) await store.append([ack("d", seq), ack("late", seq)], "memory");
    await store.compact();
    expect((await store.stats()).messagesInBlocks).toBe(50);
  });

  it("keeps within the bytes, as in the log: never more, and one message less at most, however small a checkpoint makes them", async () => {
    const options = { clock: new ManualClock(start), blockBytes: 500, retention: { maxBytes: 2_000 } };
    const store = await openStore(temporaryFolder(), options);
    const data = "x".repeat(100);
    await fill(store, 501, 600, { data });
    await store.flush();
    const before = (await store.stats()).log.bytes;
    await store.append([publish(601, { data }), publish(602, { data })]);
    const each = ((await store.stats()).log.bytes - before) / 2;
    const kept = await replayed(store);
    expect(kept).toEqual(range(603 - kept.length, 602));
    expect(Math.abs(kept.length - 2_000 / each)).toBeLessThan(1);
    await store.checkpoint();
    expect(await replayed(store)).toEqual(kept);
    for (const seq of range(603, 800)) {
      await fill(store, seq, seq, { data });
      if (seq % 7 === 0) await store.checkpoint();
    }
    await store.checkpoint();
    expect(await replayed(store)).toEqual(range(801 - kept.length, 800));
    const { liveBytes, log } = await store.stats();
    expect(liveBytes - log.bytes).toBeLessThan(1_000);
  });

  it("keeps the newest message though it alone is beyond the bytes", async () => {
    const store = await openStore(temporaryFolder(), { retention: { maxBytes: 50 } });
    for (const step of ["log", "checkpoint"]) {
      const last = store.lastSeq + 2;
      await store.append([publish(last - 1), publish(last)]);
      if (step === "checkpoint") await store.checkpoint();
      expect(await replayed(store), step).toEqual([last]);
    }
    await store.checkpoint();
    expect(await replayed(store)).toEqual([4]);
  });

  it("does not bring back what a limit has let go of when there is room again, by another limit or another policy", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, { retention: { maxMessages: 3 } });
    for (const seq of range(1, 9)) await store.append([publish(seq)]);
    await store.close();
    for (const retention of [{ maxMessages: 100 }, { policy: "work-queue" }, { policy: "limits" }] as const) {
      store = await openStore(path, { retention });
      expect(await replayed(store)).toEqual([7, 8, 9]);
      await store.close();
    }
  });

  it("does not bring back what a limit has let go of when what came after has expired, also after a restart", async () => {
    const clock = new ManualClock(start);
    const options = { clock, blockBytes: 200, retention: { maxMessages: 3 } };
    const path = temporaryFolder();
    let store = await openStore(path, options);
    await store.append([durable("d", [">"])]);
    await fill(store, 1, 6);
    await fill(store, 7, 9, { expiresAt: start + 1_000 });
    expect(await replayed(store)).toEqual([7, 8, 9]);
    await store.checkpoint();
    clock.jump(2_000);
    await store.checkpoint();
    expect(await replayed(store)).toEqual([]);
    await store.close();
    store = await openStore(path, options);
    expect(await replayed(store)).toEqual([]);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 6));
  });

  it("counts in a work queue what nobody has settled", async () => {
    const store = await openStore(temporaryFolder(), { retention: { policy: "work-queue", maxMessages: 5 } });
    await store.append([publish(1, { topic: "unasked" }), durable("d", ["jobs"], 2)]);
    for (const seq of range(2, 40)) {
      await store.append([publish(seq, { topic: "jobs" })]);
      await store.append([ack("d", seq)]);
    }
    expect(await replayed(store)).toEqual([1]);
    await store.checkpoint();
    expect(await replayed(store)).toEqual([1]);
    for (const seq of range(41, 46)) await store.append([publish(seq, { topic: "unasked" })]);
    expect(await replayed(store)).toEqual(range(42, 46));
    await store.checkpoint();
    for (const seq of range(47, 49)) await store.append([publish(seq, { topic: "jobs" })]);
    expect(await replayed(store)).toEqual(range(45, 49));
    for (const seq of range(50, 59)) await store.append([publish(seq, { topic: "jobs" })]);
    expect(await replayed(store)).toEqual(range(47, 59)); // a durable waits for each of them
  });

  it("keeps by interest what a durable has to settle, and nothing else", async () => {
    const store = await openStore(temporaryFolder(), { retention: { policy: "interest" } });
    await store.append([durable("d", ["a"])]);
    await store.append([publish(1, { topic: "a" }), publish(2, { topic: "b" })]);
    expect(await replayed(store)).toEqual([1]);
    await store.append([ack("d", 1)]);
    expect(await replayed(store)).toEqual([]);
    await store.checkpoint();
    expect((await store.stats()).messagesInBlocks).toBe(0);
  });

  it("keeps in a work queue until the first settles it, also after that one is gone", async () => {
    const path = temporaryFolder();
    const options = { retention: { policy: "work-queue" } } as const;
    let store = await openStore(path, options);
    await store.append([publish(1, { topic: "a" })]);
    await store.append([durable("d", ["a"]), durable("e", ["a"])]);
    await store.append([publish(2, { topic: "a" }), publish(3, { topic: "a" })]);
    expect(await pendingSeqs(store, "e")).toEqual([1, 2, 3]);
    await store.append([ack("d", 2)]);
    await store.append([{ type: "durable", change: "deleted", name: "d", patterns: [], position: 0 }]);
    for (const step of ["live", "checkpoint", "restart"]) {
      if (step === "checkpoint") await store.checkpoint();
      if (step === "restart") {
        await store.close();
        store = await openStore(path, options);
      }
      expect(await pendingSeqs(store, "e"), step).toEqual([1, 3]);
      expect(store.backlog("e").messages, step).toBe(2);
    }
  });

  it("does not bring back what a work queue has consumed under another policy, however far that goes", async () => {
    const path = temporaryFolder();
    const files = { blockBytes: 1e6 };
    let store = await openStore(path, { ...files, retention: { policy: "work-queue" } });
    await store.append([durable("d", ["a"])]);
    const consumed = range(4091, 4095);
    const left = range(4106, 4130);
    for (const seq of [...consumed, ...left]) await store.append([publish(seq, { topic: "a" })]);
    await store.checkpoint();
    for (const seq of consumed) await store.append([ack("d", seq)]);
    await store.close();
    for (let opening = 0; opening < 3; opening++) {
      store = await openStore(path, { ...files, retention: { policy: "limits" } });
      expect(await replayed(store)).toEqual(left);
      await store.checkpoint();
      await store.close();
    }
  });

  it("keeps without options what was settled by nobody, and lets go of what all have settled", async () => {
    const clock = new ManualClock(start);
    const store = await openStore(temporaryFolder(), { clock });
    await fill(store, 1, 3, { topic: "nobody" });
    await store.append([durable("d", ["a"], 4)]);
    await fill(store, 4, 6, { topic: "a" });
    await store.append([ack("d", 4)]);
    expect(await replayed(store)).toEqual([1, 2, 3, 5, 6]);
    await store.checkpoint();
    expect(await replayed(store)).toEqual([1, 2, 3, 5, 6]);
    await store.append([{ type: "durable", change: "deleted", name: "d", patterns: [], position: 0 }]);
    expect(await replayed(store)).toEqual([1, 2, 3]);
  });

  it("hands out no expired message, from the log or from a block, and removes it", async () => {
    const clock = new ManualClock(start);
    const store = await openStore(temporaryFolder(), { clock });
    await store.append([durable("d", [">"])]);
    await store.append([publish(1, { expiresAt: start + 100 }), publish(2)]);
    await store.checkpoint();
    await store.append([publish(3, { expiresAt: start + 100 }), publish(4, { expiresAt: start + 500 })]);
    expect(await pendingSeqs(store, "d")).toEqual([1, 2, 3, 4]);
    clock.jump(200);
    expect(await pendingSeqs(store, "d")).toEqual([2, 4]);
    expect(await replayed(store)).toEqual([2, 4]);
    await store.compact();
    expect((await store.stats()).messagesInBlocks).toBe(2);
  });

  it("gives who only reads history nothing that has expired, also where that is asked for", async () => {
    const clock = new ManualClock(start);
    const store = await openStore(temporaryFolder(), { clock });
    const reader = { ...durable("reader", [">"]), options: { isReader: true } } as const;
    await store.append([durable("d", [">"]), reader]);
    await store.append([publish(1, { topic: "a", expiresAt: start + 100 }), publish(2, { topic: "b" })]);
    await store.checkpoint();
    await store.append([publish(3, { topic: "a", expiresAt: start + 100 }), publish(4, { topic: "b" })]);
    clock.jump(200);
    const pendingOf = async (name: string): Promise<number[]> => {
      const { messages } = await store.pending(name, 0, 10, undefined, true);
      return messages.map(({ message }) => message.seq);
    };
    expect(await pendingOf("d")).toEqual([1, 2, 3, 4]);
    expect(await pendingOf("reader")).toEqual([2, 4]);
  });

  it("leaves a small folder after many messages were published and settled, and never touches the database", async () => {
    const path = temporaryFolder();
    const store = await openStore(path, { walBytes: 2 ** 20, checkpointInterval: 1e9 });
    await store.append([durable("d", [">"])]);
    const text = "x".repeat(200);
    let largest = 0;
    for (let seq = 1; seq <= 30_000; seq++) {
      void store.append([publish(seq, { data: text })], "memory");
      void store.append([ack("d", seq)], "memory");
      if (seq % 500 !== 0) continue;
      await store.flush();
      largest = Math.max(largest, (await store.stats()).totalBytes);
    }
    await store.flush();
    const { checkpoints, messagesInBlocks } = await store.stats();
    expect(checkpoints).toBeGreaterThan(3);
    expect(messagesInBlocks).toBe(0);
    expect(largest).toBeLessThan(4 * 2 ** 20);
    await store.compact();
    expect(folderSize(path)).toBeLessThan(200_000);
  });

  it("rewrites blocks of which little is left, and gives the room back", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, { blockBytes: 4000 });
    await store.append([durable("d", [">"])]);
    const data = Array.from({ length: 40 }, (_, n) => Math.sin(n).toString(36)).join("");
    await fill(store, 1, 2000, { data, topic: "a" });
    await store.checkpoint();
    const before = (await store.stats()).blocks;
    const left = range(1, 2000).filter((seq) => seq % 50 === 0);
    for (const seq of range(1, 2000)) if (seq % 50 !== 0) await store.append([ack("d", seq)], "memory");
    await store.compact();
    expect((await store.stats()).blocks).toBeLessThan(before / 20);
    expect((await store.stats()).messagesInBlocks).toBe(left.length);
    expect(await pendingSeqs(store, "d")).toEqual(left);
    await store.close();
    store = await openStore(path);
    expect(await pendingSeqs(store, "d")).toEqual(left);
  });
});
