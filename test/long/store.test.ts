import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { storeKillLoop } from "../crash/store-kill.js";
import { checkStore, runStoreWorkload } from "../crash/store-workload.js";
import { ack, durable, publish } from "../persistence/store/fixture.js";

const seed = Number(process.env.STORE_SEED ?? 1 + Math.floor(Math.random() * 1e6));

describe("the store, at length", () => {
  it(`has all it acknowledged after its process was killed 300 times (STORE_SEED=${seed})`, async () => {
    await storeKillLoop(300, seed);
  }, 1_800_000);

  it("keeps what it acknowledged when any IO of the log fails, over many power cuts", async () => {
    for (let failAt = 0; ; failAt++) {
      const run = await runStoreWorkload({ failAt, staysBroken: true, shortWrites: failAt % 3 === 0, seed: failAt });
      if (!run.disk.hasFailed) return;
      for (let cut = 0; cut < 20; cut++) {
        const disk = run.disk.crash({ keep: "random", seed: cut });
        await checkStore(run, disk, run.database.copy(), `IO ${failAt}, cut ${cut}`);
      }
    }
  });

  it("stays under 20 MB after a million messages were published and acknowledged", async () => {
    const path = fs.mkdtempSync(join(tmpdir(), "store million "));
    try {
      const store = await StoreEngine.open({ path, walBytes: 16 * 2 ** 20 });
      await store.append([durable("d", [">"])]);
      const data = "x".repeat(240);
      let largest = 0;
      for (let seq = 1; seq <= 1_000_000; seq++) {
        void store.append([publish(seq, { data })], "memory");
        void store.append([ack("d", seq)], "memory");
        if (seq % 1000 === 0) await store.flush();
        if (seq % 20_000 === 0) largest = Math.max(largest, (await store.stats()).totalBytes);
      }
      expect(largest).toBeLessThan(60 * 2 ** 20);
      await store.compact();
      expect((await store.stats()).totalBytes).toBeLessThan(20 * 2 ** 20);
      await store.close();
    } finally {
      fs.rmSync(path, { recursive: true, force: true });
    }
  });

  it("holds a backlog of a million messages in bounded memory, and pages it at once", async () => {
    const path = fs.mkdtempSync(join(tmpdir(), "store backlog "));
    try {
      let store = await StoreEngine.open({ path });
      await store.append([durable("d", [">"])]);
      for (let seq = 1; seq <= 1_000_000; seq++) {
        void store.append([publish(seq, { topic: `t.${seq % 100}`, data: { seq, text: "y".repeat(200) } })], "memory");
        if (seq % 1000 === 0) {
          await store.flush();
          await store.ready();
        }
      }
      await store.close();
      store = await StoreEngine.open({ path });
      let seen = 0;
      let largest = 0;
      for (let afterSeq = 0; ;) {
        const page = await store.pending("d", afterSeq, 500);
        for (const { message } of page.messages) expect(message.seq).toBe(++seen);
        afterSeq = page.throughSeq;
        largest = Math.max(largest, process.memoryUsage().heapUsed);
        if (!page.hasMore) break;
      }
      expect(seen).toBe(1_000_000);
      expect(largest).toBeLessThan(200 * 2 ** 20); // the test runner's own included
      await store.close();
    } finally {
      fs.rmSync(path, { recursive: true, force: true });
    }
  });
});
