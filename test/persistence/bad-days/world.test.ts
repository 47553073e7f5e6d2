import { randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { StoreEngine } from "../../../src/persistence/engine.js";
import { command, fullStore, imprint } from "../../cli/fixture.js";
import { ManualClock } from "../../support/manual-clock.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "../store/fixture.js";
import { outcomeOf } from "../wal/fixture.js";

const mounted: string[] = [];

/** A file system in memory, or undefined where mounting is not permitted. */
function smallDisk(size: string): string | undefined {
  const folder = fs.mkdtempSync(join(tmpdir(), "store disk "));
  const isMounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder]).status === 0;
  if (isMounted) mounted.push(folder);
  else fs.rmSync(folder, { recursive: true });
  return isMounted ? folder : undefined;
}

afterAll(() => {
  for (const folder of mounted) {
    spawnSync("umount", ["-l", folder]);
    fs.rmdirSync(folder);
  }
});

describe("the world around a store", () => {
  it("a disk that cannot be written: a broker is refused, looking works, and nothing is moved", async (context) => {
    // Ordinary permissions do not stop a privileged process.
    const folder = smallDisk("8m");
    if (folder === undefined) return context.skip("mounting takes a privilege that this account does not have");
    const path = join(folder, "data");
    await fullStore(path);
    const before = imprint(path);
    expect(spawnSync("mount", ["-o", "remount,ro", folder]).status).toBe(0);
    await expect(StoreEngine.open({ path })).rejects.toThrow(/EROFS|read-only/i);
    expect((await command(["verify", path])).out).toMatch(/^sound: /);
    expect((await command(["export", path])).code).toBe(0);
    expect(await command(["compact", path])).toMatchObject({ code: 5 });
    expect(imprint(path)).toEqual(before);
    expect(spawnSync("mount", ["-o", "remount,rw", folder]).status).toBe(0);
    await (await StoreEngine.open({ path })).close();
  });

  it("a small disk that fills up: messages are refused, the rest goes on, and it ends by itself", async (context) => {
    const folder = smallDisk("24m");
    if (folder === undefined)
      return context.skip("mounting takes a privilege; the same by injection is in store/bad-days.test.ts");
    const clock = new ManualClock();
    const path = join(folder, "data");
    const filler = join(folder, "filler");
    fs.writeFileSync(filler, Buffer.alloc(18 * 2 ** 20, 1));
    const states: string[] = [];
    const store = await StoreEngine.open({
      path,
      clock,
      walBytes: 1024 * 1024,
      reserveBytes: 512 * 1024,
      compression: "none",
      retention: { policy: "interest" },
      onStateChange: (state) => states.push(state),
    });
    await store.append([durable("d", [">"])]);
    const payload = (seq: number): Uint8Array => new Uint8Array(20_000).fill(seq);
    const kept: number[] = [];
    for (let seq = 1, code = "ok"; code === "ok"; seq++) {
      code = await outcomeOf(store.append([publish(seq, { data: payload(seq) })]));
      if (code === "ok") kept.push(seq);
      else expect(code).toBe("ERR_STORE_FULL");
      expect(seq).toBeLessThan(1000);
    }
    expect(kept.length).toBeGreaterThan(100);
    expect(store.state).toBe("full");
    const next = store.lastSeq + 1;
    expect(await outcomeOf(store.append([publish(next)]))).toBe("ERR_STORE_FULL");
    // Reading and settling go on.
    expect(await pendingSeqs(store, "d")).toEqual(kept);
    for (const seq of kept) expect(await outcomeOf(store.append([ack("d", seq)]))).toBe("ok");
    expect(await pendingSeqs(store, "d")).toEqual([]);
    // Somebody makes room. The database is opened again at the next checkpoint, and the log lets go of what was settled.
    fs.rmSync(filler);
    for (let round = 0; round < 20 && store.state === "full"; round++) {
      await clock.advance(2000);
      await outcomeOf(store.checkpoint());
    }
    expect(store.state).toBe("open");
    expect(states).toEqual(["full", "open"]);
    await store.append([publish(next, { data: payload(next) })]);
    await store.compact();
    await store.close();
    const again = await openStore(path, { reserveBytes: 512 * 1024, retention: { policy: "interest" } });
    expect(again.recoveryReport).toMatchObject({ database: "opened", damaged: [], discrepancies: [] });
    expect(await pendingSeqs(again, "d")).toEqual([next]);
    await again.close();
  });

  it.for(["closed", "killed"])(
    "a disk without a byte left: a store that was %s opens even so, reads and settles, and takes messages once there is room",
    async (how, context) => {
      const folder = smallDisk("24m");
      if (folder === undefined)
        return context.skip("mounting takes a privilege; the same by injection is in store/bad-days.test.ts");
      const clock = new ManualClock();
      const path = join(folder, "data");
      // Under the default a segment may be larger than the reserve.
      const options = { clock, reserveBytes: 1024 * 1024, retention: { policy: "interest" } } as const;
      const home = how === "closed" ? path : join(temporaryFolder(), "data");
      const first = await openStore(home, options);
      await first.append([durable("d", [">"])]);
      const payload = (seq: number): Uint8Array => randomBytes(20_000).fill(seq, 0, 10);
      for (const seq of range(1, 50)) await first.append([publish(seq, { data: payload(seq) })], "os");
      await first.checkpoint();
      for (const seq of range(51, 150)) await first.append([publish(seq, { data: payload(seq) })], "os");
      await first.flush();
      if (how === "closed") await first.close();
      else {
        fs.cpSync(home, path, { recursive: true });
        fs.rmSync(join(path, "lock"));
      }
      const filler = fs.openSync(join(folder, "filler"), "w");
      for (let size = 1024 * 1024; size >= 1;) {
        try {
          fs.writeSync(filler, Buffer.alloc(size, 1));
        } catch {
          size = Math.floor(size / 2);
        }
      }
      expect(() => fs.writeFileSync(join(folder, "one more"), "x")).toThrow(/ENOSPC/);
      const store = await openStore(path, options);
      expect(await pendingSeqs(store, "d")).toEqual(range(1, 150));
      expect(await outcomeOf(store.append([publish(151, { data: payload(151) })]))).toBe("ERR_STORE_FULL");
      for (const seq of range(1, 149)) expect(await outcomeOf(store.append([ack("d", seq)], "os"))).toBe("ok");
      expect(await pendingSeqs(store, "d")).toEqual([150]);
      fs.ftruncateSync(filler, 0);
      fs.closeSync(filler);
      for (let round = 0; round < 200 && store.state === "full"; round++) {
        await clock.advance(100);
        await store.stats();
      }
      await store.append([publish(store.lastSeq + 1, { data: payload(1) })]);
      const left = [150, store.lastSeq];
      expect(await pendingSeqs(store, "d")).toEqual(left);
      await store.close();
      const again = await openStore(path, options);
      expect(again.recoveryReport).toMatchObject({ database: "opened", damaged: [], discrepancies: [] });
      expect(await pendingSeqs(again, "d")).toEqual(left);
      await again.close();
    },
  );

  it("a small disk that the store alone has filled: checkpoints leave the reserve to settles, and what these free ends it", async (context) => {
    // Checkpoints used to fill the reserve with what they moved: settles were refused, and then the store did not open.
    const folder = smallDisk("24m");
    if (folder === undefined)
      return context.skip("mounting takes a privilege; the same by injection is in store/bad-days.test.ts");
    const clock = new ManualClock();
    const path = join(folder, "data");
    const options = { path, clock, compression: "none", retention: { policy: "interest" } } as const;
    const store = await StoreEngine.open({ ...options, reserveBytes: 1024 * 1024 });
    await store.append([durable("d", [">"])]);
    const kept: number[] = [];
    for (let seq = 1, code = "ok"; code === "ok"; seq++) {
      code = await outcomeOf(store.append([publish(seq, { data: new Uint8Array(50_000).fill(seq) })], "os"));
      if (code === "ok") kept.push(seq);
      expect(seq).toBeLessThan(1000);
    }
    expect(store.state).toBe("full");
    for (let second = 0; second < 40; second++) await clock.advance(1000);
    expect(await outcomeOf(store.compact())).toBe("ERR_STORE_FULL");
    for (const seq of kept.slice(0, -1)) expect(await outcomeOf(store.append([ack("d", seq)], "os"))).toBe("ok");
    for (let round = 0; round < 1000 && store.state === "full"; round++) {
      await clock.advance(100);
      await store.stats();
    }
    expect(store.state).toBe("open");
    const last = [kept.at(-1), store.lastSeq + 1];
    await store.append([publish(store.lastSeq + 1)]);
    expect(await pendingSeqs(store, "d")).toEqual(last);
    await store.close();
    const again = await openStore(path, options);
    expect(await pendingSeqs(again, "d")).toEqual(last);
    await again.close();
  });

  it("a folder that is removed while it is open: told at the next checkpoint, and closing ends", async () => {
    const path = join(temporaryFolder(), "data");
    const problems: string[] = [];
    const store = await openStore(path, { onProblem: ({ cause }) => problems.push(String(cause)) });
    await store.append([durable("d", [">"]), publish(1)]);
    fs.rmSync(path, { recursive: true });
    expect(await outcomeOf(store.checkpoint())).toBe("ERR_STORE_FAILED");
    expect(problems.join()).toMatch(/somebody removed the store's folder while it was in use/);
    await store.close().catch(() => undefined);
    const again = await openStore(path);
    expect(again.recoveryReport.database).toBe("new");
    await again.append([publish(1)]);
  });

  it.each(["folder", "segment"])(
    "a %s that is removed while it is open: publishes are refused within a second of use",
    async (what) => {
      const path = join(temporaryFolder(), "data");
      const clock = new ManualClock();
      const store = await openStore(path, { clock, checkpointInterval: 1e9 });
      await store.append([publish(1)]);
      if (what === "folder") fs.rmSync(path, { recursive: true });
      else fs.rmSync(join(path, "wal", "0000000000000001.wal"));
      await clock.advance(999);
      await store.append([publish(2)]);
      await clock.advance(1);
      const error: unknown = await store.append([publish(3)], "os").catch((refusal: unknown) => refusal);
      expect(error).toMatchObject({ code: "ERR_STORE_FAILED" });
      expect(String(error)).toMatch(/is gone: somebody removed or renamed the store's folder/);
      expect(store.state).toBe("failed");
      expect(await outcomeOf(store.append([publish(4)]))).toBe("ERR_STORE_FAILED");
      await store.close().catch(() => undefined);
    },
  );

  it("a wall clock that is set back: times go back with it, numbers and order do not", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock(1_700_000_000_000);
    const options = { clock, retention: { maxAge: 3_600_000 }, blockBytes: 300, dedup: { window: 60_000 } };
    let store = await openStore(path, options);
    const stamped = (seq: number): ReturnType<typeof publish> =>
      publish(seq, { timestamp: clock.now(), dedupId: `${seq}` });
    for (const seq of range(1, 5)) await store.append([stamped(seq)]);
    clock.jump(-24 * 3_600_000);
    for (const seq of range(6, 10)) await store.append([stamped(seq)]);
    await store.checkpoint();
    expect(await replayed(store)).toEqual(range(1, 10));
    await store.close();
    store = await openStore(path, options);
    expect(await replayed(store)).toEqual(range(1, 10));
    expect(store.recovered.dedup.map(({ seq }) => seq)).toEqual(range(1, 10));
    clock.jump(24 * 3_600_000 + 30 * 60_000);
    // By their own stamps: the second five are a day old.
    expect(await replayed(store)).toEqual(range(1, 5));
    await store.append([stamped(11)]);
    expect(await replayed(store)).toEqual([...range(1, 5), 11]);
  });

  it("a process that was suspended for an hour: what was due is done once, and nothing is lost", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const store = await openStore(path, { clock, interval: 1000 });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 5)) await store.append([publish(seq)], "interval");
    clock.block(3_600_000);
    await clock.advance(0);
    await store.flush();
    await store.append([publish(6)]);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 6));
    await clock.advance(30_000);
    await store.checkpoint();
    const { checkpoints, failedCheckpoints } = await store.stats();
    expect(failedCheckpoints).toBe(0);
    expect(checkpoints).toBeLessThanOrEqual(4);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 6));
  });

  it("a path with spaces, quotes and letters of any alphabet", async () => {
    for (const name of ["two words", 'it\'s "quoted"', "Ünï-çødé", "数据 存储", "🗄️", "100% #1"]) {
      const path = join(temporaryFolder(), name, "data");
      let store = await openStore(path);
      await store.append([durable("d", [">"]), publish(1)]);
      await store.compact();
      await store.append([publish(2)]);
      await store.close();
      store = await openStore(path);
      expect(await pendingSeqs(store, "d"), name).toEqual([1, 2]);
      await store.backup(join(path, "..", "copy"));
      await store.close();
      expect((await command(["verify", join(path, "..", "copy")])).code, name).toBe(0);
    }
  });
});
