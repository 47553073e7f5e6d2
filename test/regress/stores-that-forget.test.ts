// What earlier stores got wrong, a sentence each; the store's own tests go further.
import * as fs from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { memoryOptions } from "../crash/store-workload.js";
import {
  ack,
  durable,
  openStore,
  pendingSeqs,
  publish,
  range,
  replayed,
  temporaryFolder,
} from "../persistence/store/fixture.js";
import { outcomeOf } from "../persistence/wal/fixture.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { MemoryDatabase } from "../support/memory-database.js";

it("a publish succeeded though the store had failed: here it is refused, and is not there afterwards", async () => {
  const disk = new FaultyFileSystem();
  const database = new MemoryDatabase();
  const store = await StoreEngine.open(memoryOptions(disk, database));
  await store.append([durable("d", [">"]), publish(1)]);
  disk.failAt = disk.ioCount;
  expect(await outcomeOf(store.append([publish(2)]))).toBe("ERR_STORE_FAILED");
  expect(await pendingSeqs(store, "d")).toEqual([1]);
  await store.close().catch(() => undefined);
});

it("replay ignored what was acknowledged: here settled messages do not come back, restart after restart", async () => {
  const path = temporaryFolder();
  for (const round of range(1, 4)) {
    const store = await openStore(path);
    if (round === 1) await store.append([durable("d", [">"])]);
    else expect(await pendingSeqs(store, "d")).toEqual([]);
    await store.append([publish(round)]);
    await store.append([ack("d", round)]);
    if (round % 2 === 0) await store.checkpoint();
    await store.close();
  }
});

it("a checksum over data that was encoded again skipped valid records: here it is over the bytes on the disk", async () => {
  const path = temporaryFolder();
  const data = [9_007_199_254_740_993n, new Date(5), new Map([[{ a: 1 }, -0]])];
  let store = await openStore(path, { codec: "v8", retention: { policy: "limits" } });
  await store.append([publish(1, { data }), publish(2, { data: new Uint8Array([0xff, 0xfe]) })]);
  for (const step of ["log", "checkpoint"]) {
    if (step === "checkpoint") await store.checkpoint();
    await store.close();
    store = await openStore(path, { codec: "v8", retention: { policy: "limits" } });
    const found = [];
    for await (const one of store.replay([">"])) found.push(one.data);
    expect(found, step).toEqual([data, new Uint8Array([0xff, 0xfe])]);
  }
});

it("a snapshot moved the log's position and had no messages: here a checkpoint and a restart lose none", async () => {
  const path = temporaryFolder();
  let store = await openStore(path);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 200)) await store.append([publish(seq)], "os");
  await store.checkpoint();
  await store.checkpoint();
  await store.close();
  store = await openStore(path);
  expect(await pendingSeqs(store, "d")).toEqual(range(1, 200));
});

it("nothing ever compacted: here one retained topic, published 1,000 times, stays small", async () => {
  const path = temporaryFolder();
  const store = await openStore(path, { retention: { policy: "interest" }, walBytes: 64 * 1024 });
  const data = "x".repeat(1000);
  for (const seq of range(1, 1000)) await store.append([publish(seq, { topic: "price", retain: true, data })], "os");
  await store.compact();
  expect((await store.stats()).totalBytes).toBeLessThan(50_000);
});

it("what a level of durability meant was not said: here `group` and `always` are on the disk, the others may not be", async () => {
  for (const level of ["memory", "os", "interval", "group", "always"] as const) {
    const disk = new FaultyFileSystem();
    const database = new MemoryDatabase();
    const store = await StoreEngine.open(memoryOptions(disk, database));
    await store.append([durable("d", [">"])]);
    await store.append([publish(1)], level);
    const again = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database));
    const isSynced = level === "group" || level === "always";
    expect(await pendingSeqs(again, "d"), level).toEqual(isSynced ? [1] : []);
    await again.close();
    await store.close();
  }
});

it("full meant that old messages went: here one that somebody waits for stays, whatever the limits", async () => {
  const path = temporaryFolder();
  const limits = { retention: { maxMessages: 5, maxBytes: 2000, policy: "limits" }, blockBytes: 300 } as const;
  const store = await openStore(path, limits);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 60)) await store.append([publish(seq)], "os");
  await store.checkpoint();
  await store.compact();
  expect(await pendingSeqs(store, "d")).toEqual(range(1, 60));
});

it("a dedup id was taken before its message was stored: here a refused one can be used again, a stored one survives", async () => {
  const path = temporaryFolder();
  let store = await openStore(path);
  const circle: unknown[] = [];
  circle.push(circle);
  expect(await outcomeOf(store.append([publish(1, { dedupId: "x", data: circle })]))).toBe("ERR_INVALID_MESSAGE");
  await store.close();
  store = await openStore(path);
  expect(store.recovered.dedup).toEqual([]);
  await store.append([publish(1, { dedupId: "x", timestamp: Date.now(), id: "first" })]);
  await store.close();
  store = await openStore(path);
  expect(store.recovered.dedup).toMatchObject([{ dedupId: "x", id: "first", seq: 1 }]);
});

it("bytes that were torn stayed, and new ones came behind them: here a cut anywhere is survived twice", async () => {
  const path = temporaryFolder();
  const store = await openStore(path);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 3)) await store.append([publish(seq)]);
  await store.close();
  const segment = join(path, "wal", "0000000000000001.wal");
  const whole = fs.readFileSync(segment);
  for (let size = 128; size < whole.length; size += 13) {
    const copy = join(temporaryFolder(), "copy");
    fs.cpSync(path, copy, { recursive: true });
    fs.truncateSync(join(copy, "wal", "0000000000000001.wal"), size);
    const first = await openStore(copy, { retention: { policy: "limits" } });
    const found = await replayed(first);
    expect(found).toEqual(range(1, found.length));
    await first.append([publish(first.lastSeq + 1)]);
    await first.close();
    const second = await openStore(copy, { retention: { policy: "limits" } });
    expect(await replayed(second), `${size}`).toEqual(range(1, found.length + 1));
    expect(second.recoveryReport.log.quarantined).toEqual([]);
    await second.close();
  }
});
