import * as fs from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import { afterEach, describe, expect, it } from "vitest";
import { InProcBroker } from "../../../src/index.js";
import type { Progress } from "../../../src/index.js";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import { backupStore, exportStore, levelPersistence, restoreStore } from "../../../src/persistence/index.js";
import type { Machine } from "../../../src/persistence/options.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

const keepAll = { retention: { policy: "limits" }, compression: "none" } as const;

/** A store with three megabytes in blocks, and another in the log. */
async function filledStore(path: string, options: Parameters<typeof openStore>[1] = {}): Promise<StoreEngine> {
  const store = await openStore(path, { ...keepAll, ...options });
  const data = "x".repeat(10_000);
  for (const seq of range(1, 300)) await store.append([publish(seq, { data })], "memory");
  await store.flush();
  await store.checkpoint();
  for (const seq of range(301, 400)) await store.append([publish(seq, { data })], "memory");
  return store;
}

/** Refuses, once it is armed, what writes one file. */
class Refusal {
  code: string | undefined;

  machine(pattern: RegExp): (real: Machine) => Machine {
    return (real) => ({
      ...real,
      fileSystem: {
        ...real.fileSystem,
        create: (path) => {
          const { code } = this;
          if (code === undefined || !pattern.test(path)) return real.fileSystem.create(path);
          return Promise.reject(Object.assign(new Error(`${code}: refused, open`), { code, syscall: "open" }));
        },
      },
    });
  }
}

describe.each(["copy", "copy.zip"])("a backup as %s", (name) => {
  it("tells how far it has come, and ends with all of it", async () => {
    const target = join(temporaryFolder(), name);
    const store = await filledStore(temporaryFolder());
    const told: Progress[] = [];
    const { bytes } = await store.backup(target, { onProgress: (progress) => told.push(progress) });
    expect(told.length).toBeGreaterThan(3);
    for (const [at, { done, total, unit }] of told.entries()) {
      expect(unit).toBe("bytes");
      expect(done).toBeGreaterThanOrEqual(told[at - 1]?.done ?? 0);
      expect(total).toBeGreaterThanOrEqual(done);
    }
    const last = told.at(-1);
    if (name.endsWith(".zip")) expect(last?.done).toBe(last?.total);
    expect(last?.done).toBeGreaterThan(bytes * 0.9);
  });

  it("is broken off by its signal, with nothing left of it, and can be made again", async () => {
    const folder = temporaryFolder();
    const target = join(folder, name);
    const store = await filledStore(temporaryFolder());
    const reason = new Error("enough");
    for (let parts = 0; ; parts = Math.ceil(parts * 1.5) + 1) {
      const controller = new AbortController();
      if (parts === 0) controller.abort(reason);
      let told = 0;
      const onProgress = (): void => {
        told++;
        if (told === parts) controller.abort(reason);
      };
      const backup = store.backup(target, { signal: controller.signal, onProgress });
      const outcome = await backup.then(
        () => "made",
        (error: unknown) => error,
      );
      if (outcome === "made") {
        // Whoever says so with the last part has it all the same.
        expect(parts).toBeGreaterThan(3);
        break;
      }
      expect(outcome).toBe(reason);
      expect(fs.readdirSync(folder)).toEqual([]);
    }
    await store.close();
    const path = join(folder, "restored");
    await restoreStore({ source: target, path });
    expect(await replayed(await openStore(path, keepAll))).toEqual(range(1, 400));
  });

  it.each([
    ["ENOSPC", "ERR_STORE_FULL"],
    ["EACCES", "ERR_STORE_FAILED"],
  ])("that the system refuses with %s rejects with %s, and leaves nothing", async (systems, code) => {
    const folder = temporaryFolder();
    const target = join(folder, name);
    const refusal = new Refusal();
    const machine = (real: Machine): Machine => {
      const { folders } = real;
      const copy: typeof folders.copy = (from, to) =>
        refusal.code === undefined
          ? folders.copy(from, to)
          : Promise.reject(Object.assign(new Error("refused"), { code: refusal.code, syscall: "copyfile" }));
      return { ...refusal.machine(/archive/)(real), folders: name.endsWith(".zip") ? folders : { ...folders, copy } };
    };
    const store = await filledStore(temporaryFolder(), { machine });
    refusal.code = systems;
    await expect(store.backup(target)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(target) as string,
      facts: { target },
      cause: { code: systems },
    });
    expect(fs.readdirSync(folder)).toEqual([]);
    expect(store.state).toBe("open");
    refusal.code = undefined;
    await store.backup(target);
  });
});

describe("a compaction", () => {
  async function halfSettled(path: string): Promise<StoreEngine> {
    const store = await openStore(path, { retention: { policy: "interest" }, blockBytes: 2000 });
    const topics = range(0, 9).map((n) => `t.${n}`);
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 500))
      await store.append([publish(seq, { topic: topics[seq % 10] as string })], "memory");
    await store.flush();
    await store.checkpoint();
    for (const seq of range(1, 500)) if (seq % 5 !== 0 || seq < 100) await store.append([ack("d", seq)], "memory");
    return store;
  }
  const left = range(100, 500).filter((seq) => seq % 5 === 0);

  it("tells how many blocks are behind, of those that it removes or rewrites", async () => {
    const store = await halfSettled(temporaryFolder());
    const told: Progress[] = [];
    await store.compact({ onProgress: (progress) => told.push(progress) });
    expect(told.length).toBeGreaterThan(2);
    expect(told[0]).toMatchObject({ done: 0, unit: "blocks" });
    expect(told.at(-1)?.total).toBe(told.at(-1)?.done);
    expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(await pendingSeqs(store, "d")).toEqual(left);
  });

  it("ends between two parts when its signal says so: what was done stays, and the next one goes on", async () => {
    const path = temporaryFolder();
    const store = await halfSettled(path);
    const reason = new Error("enough");
    await expect(store.compact({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const told: Progress[] = [];
    const onProgress = (progress: Progress): void => {
      told.push(progress);
      if (progress.done > 0) controller.abort(reason);
    };
    await expect(store.compact({ signal: controller.signal, onProgress })).rejects.toBe(reason);
    const first = told.find(({ done }) => done > 0) as Progress;
    expect(told.at(-1)?.done).toBe(first.done);
    expect(first.done).toBeLessThan(first.total ?? 0);
    expect(await pendingSeqs(store, "d")).toEqual(left);
    expect((await store.stats()).failedCheckpoints).toBe(0);
    const again: Progress[] = [];
    await store.compact({ onProgress: (progress) => again.push(progress) });
    expect(again[0]?.total).toBeLessThanOrEqual((first.total ?? 0) - first.done);
    await store.close();
    expect(await pendingSeqs(await openStore(path, { retention: { policy: "interest" } }), "d")).toEqual(left);
  });

  it("that the database refuses rejects in the broker's codes, and the store goes on", async () => {
    let isRefusing = false;
    const machine = (real: Machine): Machine => ({
      ...real,
      openDatabase: async (path) => {
        const database = await real.openDatabase(path);
        const refused = Object.assign(new Error("IO error: No space left on device"), { code: "LEVEL_IO_ERROR" });
        return {
          get: (key) => database.get(key),
          getMany: (keys) => database.getMany(keys),
          entries: (entries) => database.entries(entries),
          batch: (changes) => database.batch(changes),
          compact: () => (isRefusing ? Promise.reject(refused) : database.compact()),
          close: () => database.close(),
        };
      },
    });
    const path = temporaryFolder();
    const store = await openStore(path, { machine });
    isRefusing = true;
    await expect(store.compact()).rejects.toMatchObject({ code: "ERR_STORE_FULL", facts: { path } });
    await store.append([publish(1)]);
  });
});

describe("of a store that is closed", () => {
  it("a backup and an export on a full disk, and a restore, say that there is no room and leave nothing", async () => {
    const path = temporaryFolder();
    await (await filledStore(path)).close();
    const folder = temporaryFolder();
    const source = join(folder, "copy.zip");
    await backupStore({ path, target: source });
    const refusal = new Refusal();
    refusal.code = "ENOSPC";
    const machine = refusal.machine(/archive|\.unfinished/);
    const full = { code: "ERR_STORE_FULL", cause: { code: "ENOSPC" } };
    await expect(backupStore({ path, target: join(folder, "a.zip"), machine })).rejects.toMatchObject(full);
    await expect(exportStore({ path, target: join(folder, "a.ndjson"), machine })).rejects.toMatchObject(full);
    await expect(restoreStore({ source, path: join(folder, "a"), machine })).rejects.toMatchObject(full);
    expect(fs.readdirSync(folder)).toEqual(["copy.zip"]);
    // What is damaged is still called so.
    fs.writeFileSync(source, zipSync({ "wal/00000001.wal": new Uint8Array(5000).fill(7) }).subarray(0, 60));
    await expect(restoreStore({ source, path: join(folder, "b") })).rejects.toMatchObject({
      code: "ERR_STORE_CORRUPT",
    });
  });
});

describe("the broker's options of a long work", () => {
  let broker: InProcBroker | undefined;
  afterEach(() => broker?.close());

  it("are checked before anything is done, and reach the store", async () => {
    const folder = temporaryFolder();
    const target = join(folder, "copy");
    broker = await InProcBroker.open({ persistence: levelPersistence({ path: temporaryFolder() }) });
    await broker.publish("a", 1);
    const bad: [Record<string, unknown>, string][] = [
      [{ onprogress: () => undefined }, 'there is no option "onprogress"; known are onProgress, signal'],
      [{ onProgress: 3 }, "option onProgress must be a function; got 3"],
      [{ signal: {} }, "option signal must be an AbortSignal"],
    ];
    for (const [options, text] of bad) {
      const refused = { code: "ERR_INVALID_OPTION", message: expect.stringContaining(text) as string };
      await expect(broker.backup(target, options)).rejects.toMatchObject(refused);
      await expect(broker.compact(options)).rejects.toMatchObject(refused);
    }
    const reason = new Error("enough");
    await expect(broker.backup(target, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(broker.compact({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(fs.readdirSync(folder)).toEqual([]);
    const told: Progress[] = [];
    await broker.backup(target, { onProgress: (progress) => told.push(progress) });
    await broker.compact({ onProgress: (progress) => told.push(progress) });
    expect(new Set(told.map(({ unit }) => unit))).toContain("bytes");
  });
});
