import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../../src/persistence/engine.js";
import { openLevelStore } from "../../../src/persistence/store/level-store.js";
import { command, imprint } from "../../cli/fixture.js";
import { memoryOptions } from "../../crash/store-workload.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { MemoryDatabase } from "../../support/memory-database.js";
import { ack, durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "../store/fixture.js";
import { outcomeOf } from "../wal/fixture.js";

const segment = (path: string): string => {
  const names = fs.readdirSync(join(path, "wal")).filter((name) => name.endsWith(".wal"));
  return join(path, "wal", names.sort().at(-1) ?? "");
};

/** Messages 1 to 10 in the database, 11 to 20 in the log. */
async function makeStore(path: string): Promise<void> {
  const store = await openStore(path);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 10)) await store.append([publish(seq)]);
  await store.checkpoint();
  await store.append([ack("d", 1)]);
  for (const seq of range(11, 20)) await store.append([publish(seq)]);
  await store.close();
}

function harm(file: string, at: (bytes: Buffer) => number): void {
  const bytes = fs.readFileSync(file);
  const place = at(bytes);
  bytes[place] = (bytes[place] ?? 0) ^ 16;
  fs.writeFileSync(file, bytes);
}

describe("a damaged log", () => {
  it("that was closed in order is refused under fail, whatever the level of what is lost", async () => {
    // At the level "os" nothing in the log itself says that it was synced, and it was cut from the damage on.
    const path = temporaryFolder();
    const store = await openStore(path, { durability: "os" });
    for (const seq of range(1, 20)) await store.append([publish(seq)]);
    await store.close();
    harm(segment(path), (bytes) => Math.floor(bytes.length / 2));
    const before = fs.readFileSync(segment(path));
    expect(await outcomeOf(openStore(path, { recovery: "fail" }))).toBe("ERR_STORE_CORRUPT");
    expect(fs.readFileSync(segment(path))).toEqual(before);
    const again = await openStore(path);
    expect(again.recoveryReport.log.quarantined).toMatchObject([{ wasSynced: true }]);
  });

  it("is told once an opening: by the report what opening found, by a problem what comes later, however often it is read", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    harm(segment(path), (bytes) => bytes.length - 300);
    const problems: string[] = [];
    const store = await openStore(path, { onProblem: ({ message }) => problems.push(message) });
    expect(store.recoveryReport.log.quarantined).toHaveLength(1);
    for (let round = 0; round < 3; round++) await replayed(store);
    expect(problems).toEqual([]);
    for (const seq of range(21, 40)) await store.append([publish(seq, { data: "y".repeat(100) })]);
    harm(segment(path), (bytes) => bytes.length - 500);
    for (let round = 0; round < 3; round++) await replayed(store);
    for (let round = 0; round < 3; round++) await pendingSeqs(store, "d");
    expect(problems).toHaveLength(1);
    expect(problems.join()).toMatch(/cannot be read at byte/);
  });

  /** A store whose disk will not give the part of the log in which the first of two messages lies. */
  async function openUnreadable(
    path: string,
  ): Promise<{ store: StoreEngine; problems: string[]; disk: { isBad: boolean } }> {
    const disk = { isBad: false };
    const problems: string[] = [];
    const store = await openStore(path, {
      onProblem: ({ kind, message }) => problems.push(`${kind}: ${message}`),
      checkpointInterval: 1e9,
      machine: (real) => ({
        ...real,
        fileSystem: {
          ...real.fileSystem,
          async openForRead(name) {
            const file = await real.fileSystem.openForRead(name);
            const read: typeof file.read = (bytes, start, end, position) =>
              disk.isBad && name.endsWith(".wal") && position < 5000 && position + end - start > 1000
                ? Promise.reject(Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", syscall: "read" }))
                : file.read(bytes, start, end, position);
            return { size: file.size, read, close: () => file.close() };
          },
        },
      }),
    });
    await store.append([durable("d", [">"])]);
    await store.append([publish(1, { data: "x".repeat(9_000) })]);
    await store.append([publish(2, { data: "y".repeat(20_000) })]);
    return { store, problems, disk };
  }

  it("that the disk will not give for a while fails a checkpoint, and loses nothing", async () => {
    const path = temporaryFolder();
    const { store, problems, disk } = await openUnreadable(path);
    for (let round = 0; round < 3; round++) {
      disk.isBad = true;
      for (let attempt = 0; attempt < 4; attempt++) await expect(store.checkpoint()).rejects.toThrow("EIO");
      disk.isBad = false;
      // What was read once is not the nearer to be given up.
      expect(await pendingSeqs(store, "d")).toEqual([1, 2]);
    }
    await store.checkpoint();
    expect(problems.filter((text) => !text.startsWith("checkpoint-failed"))).toEqual([]);
    await store.close();
    expect(await pendingSeqs(await openStore(path), "d")).toEqual([1, 2]);
  });

  it("that the disk never gives again is damage after some tries: told, and the rest goes on", async () => {
    const path = temporaryFolder();
    const { store, problems, disk } = await openUnreadable(path);
    disk.isBad = true;
    for (let attempt = 0; attempt < 5; attempt++) await expect(store.checkpoint()).rejects.toThrow("EIO");
    await store.checkpoint();
    expect(problems.filter((text) => text.startsWith("log-damaged")).length).toBe(1);
    expect(problems.find((text) => text.startsWith("log-damaged"))).toMatch(
      /cannot be read at byte \d+: records \d to 2$/,
    );
    expect(await pendingSeqs(store, "d")).toEqual([2]);
  });

  it("that is found while it is in use is kept aside before its segment goes", async () => {
    const path = temporaryFolder();
    const problems: string[] = [];
    const store = await openStore(path, { onProblem: ({ message }) => problems.push(message) });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 3)) await store.append([publish(seq, { data: `message ${seq} `.repeat(50) })]);
    harm(segment(path), (bytes) => bytes.indexOf("message 2") + 100);
    await store.compact();
    expect(await pendingSeqs(store, "d")).toEqual([1, 3]);
    const [text = ""] = problems;
    const [, copy = ""] = /its bytes are kept in (\S+)/.exec(text) ?? [];
    expect(fs.readFileSync(join(path, "wal", copy)).includes("message 2 message 2")).toBe(true);
    expect(problems).toHaveLength(1);
  });

  it("that ends in the middle of a record is cut there, and says so", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    fs.truncateSync(segment(path), fs.statSync(segment(path)).size - 5);
    const store = await openStore(path);
    // The end of the last record's own write: a sync mark may follow the message.
    const found = await pendingSeqs(store, "d");
    expect([range(2, 20), range(2, 19)]).toContainEqual(found);
    expect(store.recoveryReport.log).toMatchObject({ cut: { reason: "torn" }, quarantined: [] });
    await store.append([publish(21)]);
    await store.close();
    expect(await pendingSeqs(await openStore(path), "d")).toEqual([...found, 21]);
  });

  it.each<[string, (path: string) => void, RegExp]>([
    ["whose file was cut short", (path) => fs.truncateSync(segment(path), 600), /had \d+ bytes .* and has 600/],
    ["whose file was emptied", (path) => fs.truncateSync(segment(path), 0), /had \d+ bytes .* and has 0/],
    ["whose file is gone", (path) => fs.rmSync(segment(path)), /the log in .* is gone/],
    ["that is gone", (path) => fs.rmSync(join(path, "wal"), { recursive: true }), /the log in .* is gone/],
  ])("%s after it was closed is told, shown, and refused under fail", async (_, harmIt, text) => {
    const path = temporaryFolder();
    await makeStore(path);
    expect((await command(["verify", path])).code).toBe(0);
    harmIt(path);
    const logOf = (): string[] => imprint(path).filter((line) => /^wal[^ ]*[^/] /.test(line));
    const before = logOf();
    expect(await command(["verify", path])).toMatchObject({ code: 1, out: expect.stringMatching(text) });
    const refused = openStore(path, { recovery: "fail" });
    await expect(refused).rejects.toMatchObject({ code: "ERR_STORE_CORRUPT" });
    await expect(refused).rejects.toThrow(text);
    expect(logOf()).toEqual(before);
    const store = await openStore(path);
    expect(store.recoveryReport.warnings).toMatchObject([expect.stringMatching(text)]);
    expect(await pendingSeqs(store, "d")).toEqual(expect.arrayContaining(range(2, 10)));
    await store.append([publish(21)]);
    await store.close();
    const again = await openStore(path, { recovery: "fail" });
    expect(again.recoveryReport.warnings.join("; ")).not.toMatch(text);
    expect(await pendingSeqs(again, "d")).toContain(21);
  });

  const middle = (bytes: Buffer): number => bytes.indexOf("message-14") + 3;

  it("in the middle loses that record under quarantine: named, counted, and kept as it was", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    harm(segment(path), middle);
    const store = await openStore(path);
    expect(await pendingSeqs(store, "d")).toEqual(range(2, 20).filter((seq) => seq !== 14));
    const { quarantined } = store.recoveryReport.log;
    expect(quarantined).toMatchObject([{ reason: "checksum", wasSynced: true }]);
    expect(quarantined[0]?.toLsn).toBe(quarantined[0]?.fromLsn);
    const copy = join(path, "wal", quarantined[0]?.copy ?? "nothing");
    expect(fs.statSync(copy).size).toBe(quarantined[0]?.bytes);
    await store.append([publish(21)]);
    await store.checkpoint();
    expect(await pendingSeqs(store, "d")).toEqual(range(2, 21).filter((seq) => seq !== 14));
  });

  it.each([
    ["is settled", ack("d", 14), [11, 12, 13]],
    ["lies before a durable begins", durable("late", [">"], 15), []],
  ] as const)("gives the number of what is lost to no other message, where it %s", async (_what, last, before) => {
    const path = temporaryFolder();
    let store = await openStore(path);
    await store.append([durable("d", [">"])]);
    for (const seq of range(11, 14)) await store.append([publish(seq)]);
    await store.append([last]);
    await store.close();
    harm(segment(path), middle);
    for (const next of [15, 16]) {
      store = await openStore(path);
      expect(store.lastSeq).toBe(next - 1);
      await store.append([publish(next)]);
      const name = last.type === "durable" ? last.name : "d";
      expect(await pendingSeqs(store, name)).toEqual([...before, ...range(15, next)]);
      await store.close();
    }
  });

  it("ends there under truncate-tail, and what came after is set aside", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    harm(segment(path), middle);
    const store = await openStore(path, { recovery: "truncate-tail" });
    expect(await pendingSeqs(store, "d")).toEqual(range(2, 13));
    expect(fs.readdirSync(join(path, "wal", "quarantine")).length).toBe(1);
    // Numbers that were given out may have been seen: the next one is above what the log has now.
    expect(store.lastSeq).toBeGreaterThanOrEqual(13);
  });

  it("is refused under fail, with the place in the text, and nothing is changed", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    harm(segment(path), middle);
    const logOf = (): string[] => imprint(join(path, "wal"));
    const before = logOf();
    await expect(openStore(path, { recovery: "fail" })).rejects.toMatchObject({ code: "ERR_STORE_CORRUPT" });
    await expect(openStore(path, { recovery: "fail" })).rejects.toThrow(/\.wal is damaged at byte \d+ \(checksum\)/);
    expect(logOf()).toEqual(before);
  });
});

describe("a broken database", () => {
  const harms: Record<string, (level: string) => void> = {
    "without CURRENT": (level) => fs.rmSync(join(level, "CURRENT")),
    "with a CURRENT of nothing": (level) => fs.writeFileSync(join(level, "CURRENT"), ""),
    "without its manifest": (level) => {
      for (const name of fs.readdirSync(level)) if (name.startsWith("MANIFEST")) fs.rmSync(join(level, name));
    },
    "with a manifest of garbage": (level) => {
      for (const name of fs.readdirSync(level)) {
        if (name.startsWith("MANIFEST")) fs.writeFileSync(join(level, name), Buffer.alloc(300, 0x5a));
      }
    },
    "that is a file": (level) => {
      fs.rmSync(level, { recursive: true });
      fs.writeFileSync(level, "x");
    },
  };

  it.each(Object.entries(harms))(
    "%s is moved aside as it was; the log is gone on from, and the loss is told",
    async (_name, act) => {
      const path = temporaryFolder();
      await makeStore(path);
      act(join(path, "level"));
      const store = await openStore(path);
      const { recoveryReport: report } = store;
      expect(report).toMatchObject({ database: "broken", lostThroughSeq: 10 });
      expect(fs.existsSync(report.movedTo ?? "nothing")).toBe(true);
      expect(report.warnings.join()).toMatch(/database was lost/);
      // The log still has what the checkpoint took over, or not; what came after it is there for sure.
      expect((await pendingSeqs(store, "d")).filter((seq) => seq > 10)).toEqual(range(11, 20));
      await store.append([publish(21)]);
      await store.close();
      const again = await openStore(path);
      expect(again.recoveryReport).toMatchObject({ database: "opened", damaged: [], discrepancies: [] });
      expect((await pendingSeqs(again, "d")).filter((seq) => seq > 10)).toEqual(range(11, 21));
    },
  );

  it("that is missing is begun anew, and the loss is told", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    fs.rmSync(join(path, "level"), { recursive: true });
    const store = await openStore(path);
    expect(store.recoveryReport).toMatchObject({ database: "missing", movedTo: undefined, lostThroughSeq: 10 });
    expect((await pendingSeqs(store, "d")).filter((seq) => seq > 10)).toEqual(range(11, 20));
  });

  it("is left alone under fail", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    fs.rmSync(join(path, "level", "CURRENT"));
    const before = imprint(join(path, "level"));
    await expect(openStore(path, { recovery: "fail" })).rejects.toMatchObject({ code: "ERR_STORE_CORRUPT" });
    expect(imprint(join(path, "level"))).toEqual(before);
  });

  it("is not what a disk is that has no room, or refuses: the database stays where it is", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    const before = imprint(join(path, "level"));
    const causes = [
      ["LEVEL_IO_ERROR", "IO error: /x/MANIFEST-000007: No space left on device", "ERR_STORE_FULL"],
      ["LEVEL_IO_ERROR", "IO error: /x/LOCK: Permission denied", "ERR_STORE_FAILED"],
      ["LEVEL_IO_ERROR", "IO error: /x/LOG: Input/output error", "ERR_STORE_FAILED"],
      ["LEVEL_LOCKED", "IO error: lock /x/LOCK: Resource temporarily unavailable", "ERR_STORE_LOCKED"],
    ] as const;
    for (const [code, text, expected] of causes) {
      const cause = Object.assign(new Error(text), { code });
      const refused = Object.assign(new Error("Database failed to open", { cause }), {
        code: "LEVEL_DATABASE_NOT_OPEN",
      });
      const openDatabase = (): Promise<never> => Promise.reject(refused);
      expect(await outcomeOf(openStore(path, { machine: { openDatabase } })), text).toBe(expected);
      expect(imprint(join(path, "level"))).toEqual(before);
    }
    expect(await pendingSeqs(await openStore(path), "d")).toEqual(range(2, 20));
  });

  it("misses values that went without a word: the ledger names their kind", async () => {
    const path = temporaryFolder();
    let store = await openStore(path, { blockBytes: 200, recovery: "quarantine" });
    await store.append([durable("d", [">"]), durable("e", [">"])]);
    for (const seq of range(1, 10)) await store.append([publish(seq)]);
    await store.append([publish(11, { dedupId: "x", retain: true })]);
    await store.checkpoint();
    await store.close();
    const database = await openLevelStore(join(path, "level"));
    for await (const entries of database.entries({ gte: Buffer.from("f"), lt: Buffer.from("g") })) {
      await database.batch([{ key: entries[0]?.[0] ?? Buffer.alloc(0), value: undefined }]);
    }
    await database.batch([{ key: Buffer.from([0x64, 0, 1, 0x65]), value: undefined }]);
    await database.close();
    await expect(openStore(path, { recovery: "fail" })).rejects.toThrow(/block: \d+ of \d+, durable: 1 of 2/);
    store = await openStore(path, { blockBytes: 200 });
    expect(store.recoveryReport.discrepancies).toMatchObject([
      { what: "block" },
      { what: "durable", expected: 2, found: 1 },
    ]);
    // The log's checkpoint record still has the durable.
    expect(store.recovered.durables.map(({ name }) => name).sort()).toEqual(["d", "e"]);
    await store.checkpoint();
    await store.close();
    // Told once: from then on the ledger is about what there is.
    expect((await openStore(path)).recoveryReport.discrepancies).toEqual([]);
  });

  it("whose last batch of a checkpoint failed after it was done keeps its blocks, however the next one ends", async () => {
    for (let next = 0, isDone = false; !isDone; next++) {
      const disk = new FaultyFileSystem();
      const database = new MemoryDatabase();
      const store = await StoreEngine.open(memoryOptions(disk, database));
      await store.append([durable("d", [">"])]);
      for (const seq of range(1, 20)) await store.append([publish(seq)]);
      Object.assign(database, { failAt: database.batches + 1, failsAfterwards: true });
      await expect(store.checkpoint()).rejects.toThrow("the batch failed");
      await store.append([publish(21)]);
      Object.assign(database, { failAt: database.batches + next, failsAfterwards: false, hasFailed: false });
      await store.checkpoint().catch(() => undefined);
      isDone = !database.hasFailed;
      const again = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database.copy()));
      expect(again.recoveryReport).toMatchObject({ damaged: [], discrepancies: [] });
      expect(await pendingSeqs(again, "d"), `batch ${next}`).toEqual(range(1, 21));
      await again.close();
      expect(await pendingSeqs(store, "d")).toEqual(range(1, 21));
      await store.close();
    }
  });

  it("whose batch failed after it was done does not lose the blocks it exchanged", async () => {
    for (const failsAfterwards of [false, true]) {
      const disk = new FaultyFileSystem();
      const database = new MemoryDatabase();
      const store = await StoreEngine.open(memoryOptions(disk, database));
      await store.append([durable("d", [">"])]);
      for (const seq of range(1, 40)) await store.append([publish(seq)], "os");
      await store.checkpoint();
      for (const seq of range(1, 40)) if (seq % 5 !== 0) await store.append([ack("d", seq)], "os");
      await store.flush();
      // The batch after the checkpoint's own: blocks are rewritten.
      Object.assign(database, { failAt: database.batches + 1, failsAfterwards });
      await expect(store.compact()).rejects.toThrow("the batch failed");
      const left = range(1, 40).filter((seq) => seq % 5 === 0);
      expect(await pendingSeqs(store, "d"), `${failsAfterwards}`).toEqual(left);
      await store.compact();
      expect(await pendingSeqs(store, "d")).toEqual(left);
      await store.close();
      const again = await StoreEngine.open(memoryOptions(disk, database));
      expect(again.recoveryReport).toMatchObject({ damaged: [], discrepancies: [] });
      expect(await pendingSeqs(again, "d")).toEqual(left);
      await again.close();
    }
  });
});

it("a database that is gone is refused under fail, each time, where it had what the log does not reach", async () => {
  const path = temporaryFolder();
  const store = await openStore(path);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 10)) await store.append([publish(seq)]);
  await store.compact();
  for (const seq of range(11, 20)) await store.append([publish(seq)]);
  await store.close();
  fs.rmSync(join(path, "level"), { recursive: true });
  for (let time = 0; time < 2; time++) {
    await expect(openStore(path, { recovery: "fail" })).rejects.toMatchObject({
      code: "ERR_STORE_CORRUPT",
      facts: { lostThroughSeq: 10 },
    });
  }
  const again = await openStore(path);
  expect(again.recoveryReport).toMatchObject({ database: "missing", lostThroughSeq: 10 });
  expect(await pendingSeqs(again, "d")).toEqual(range(11, 20));
});
