import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { unzipSync } from "fflate";
import { describe, expect, it } from "vitest";
import { StoreInspector } from "../../../src/persistence/inspect.js";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { ack, durable, openStore, pendingSeqs, publish, range, temporaryFolder } from "./fixture.js";

describe("a backup", () => {
  it.each(["copy", "copy.zip"])("of a store in use is whole, as %s", async (name) => {
    const path = temporaryFolder();
    const target = join(temporaryFolder(), name);
    const store = await openStore(path);
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 50)) await store.append([publish(seq)], "memory");
    await store.checkpoint();
    for (const seq of range(51, 80)) await store.append([publish(seq)], "memory");
    await store.append([ack("d", 10), ack("d", 60)]);
    const writing = (async () => {
      for (const seq of range(81, 200)) await store.append([publish(seq)], "os");
    })();
    const result = await store.backup(target);
    await writing;
    expect(result.files).toBeGreaterThan(2);
    await expect(store.backup(target)).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    // A shared file would take what the copy's own log goes on with.
    for (const file of fs.readdirSync(join(path, "wal"))) expect(fs.statSync(join(path, "wal", file)).nlink).toBe(1);
    // What goes on in the store does not reach its copy.
    await store.compact();
    let folder = target;
    if (name.endsWith(".zip")) {
      folder = join(temporaryFolder(), "unpacked");
      for (const [file, bytes] of Object.entries(unzipSync(fs.readFileSync(target)))) {
        fs.mkdirSync(dirname(join(folder, file)), { recursive: true });
        fs.writeFileSync(join(folder, file), bytes);
      }
    }
    const copy = await openStore(folder);
    expect(copy.recoveryReport).toMatchObject({ database: "opened", damaged: [], log: { quarantined: [] } });
    const found = await pendingSeqs(copy, "d");
    const wanted = range(1, 200).filter((seq) => seq !== 10 && seq !== 60);
    expect(found.length).toBeGreaterThanOrEqual(78);
    expect(found).toEqual(wanted.slice(0, found.length));
    expect(await pendingSeqs(store, "d")).toEqual(wanted);
    // What goes on in the copy does not reach the store.
    await copy.append([publish(copy.lastSeq + 1)]);
    await copy.close();
    await store.close();
    const again = await openStore(path);
    expect(again.recoveryReport.log).toMatchObject({ quarantined: [], warnings: [] });
    expect(await pendingSeqs(again, "d")).toEqual(wanted);
  });
});

describe("a backup of a store whose disk is full", () => {
  it("has what the log's last segment has, though there is no room for another", async () => {
    const path = temporaryFolder();
    const target = join(temporaryFolder(), "copy");
    let isFull = false;
    const fileSystem = {
      ...nodeFileSystem,
      async create(file: string) {
        if (isFull && file.startsWith(path)) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
        return nodeFileSystem.create(file);
      },
    };
    const store = await openStore(path, { machine: { fileSystem } });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 20)) await store.append([publish(seq)]);
    isFull = true;
    await store.backup(target);
    await store.append([publish(21)]);
    const copy = await openStore(target);
    expect(copy.recoveryReport.log).toMatchObject({ cutBytes: 0, quarantined: [], warnings: [] });
    expect(await pendingSeqs(copy, "d")).toEqual(range(1, 20));
    await copy.append([publish(21)]);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 21));
  });
});

describe("the inspector", () => {
  it("lists, peeks, exports and verifies a closed store, and changes nothing", async () => {
    const path = temporaryFolder();
    const store = await openStore(path, { retention: { policy: "limits" } });
    await store.append([durable("d", ["a.*"])]);
    for (const seq of range(1, 20))
      await store.append([publish(seq, { topic: seq % 2 === 0 ? "a.x" : "b" })], "memory");
    await store.checkpoint();
    await store.append([publish(21, { topic: "a.y", data: new Uint8Array([1, 2]) })]);
    await expect(StoreInspector.open({ path })).rejects.toMatchObject({ code: "ERR_STORE_LOCKED" });
    await store.close();
    const before = snapshot(path);
    const inspector = await StoreInspector.open({ path, retention: { policy: "limits" } });
    try {
      expect(inspector.topics()).toEqual([
        { topic: "a.x", messages: 10 },
        { topic: "a.y", messages: 1 },
        { topic: "b", messages: 10 },
      ]);
      expect(inspector.recovered.durables.map(({ name }) => name)).toEqual(["d"]);
      expect((await inspector.peek("a.>", 2)).map(({ seq }) => seq)).toEqual([2, 4]);
      const lines = [];
      for await (const line of inspector.exportLines({ patterns: ["a.y", "b"] }))
        lines.push(JSON.parse(line) as object);
      expect(lines.length).toBe(14);
      expect(lines[2]).toMatchObject({ kind: "message", seq: 1, topic: "b", data: { seq: 1 }, waiting: {} });
      expect(lines[12]).toMatchObject({ seq: 21, bytes: "AQI=", waiting: { d: { deliveryCount: 0 } } });
      expect(await inspector.verify()).toMatchObject({ isSound: true, messages: 21, problems: [] });
    } finally {
      await inspector.close();
    }
    expect(snapshot(path)).toEqual(before);
    await expect(StoreInspector.open({ path: join(path, "nothing") })).rejects.toMatchObject({
      code: "ERR_STORE_FAILED",
    });
  });

  it("finds damage, and a store with a flipped bit hands out no wrong message", async () => {
    const path = temporaryFolder();
    const options = { retention: { policy: "limits" }, blockBytes: 1000 } as const;
    const store = await openStore(path, options);
    for (const seq of range(1, 100)) await store.append([publish(seq)], "memory");
    await store.compact();
    await store.close();
    const table = fs.readdirSync(join(path, "level")).find((name) => name.endsWith(".ldb")) ?? "";
    const file = join(path, "level", table);
    const bytes = fs.readFileSync(file);
    // In the first block's value: LevelDB does not look at its checksums when it reads.
    const at = bytes.indexOf(Buffer.from([0x1f, 0x8b, 0x08])) + 40;
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    fs.writeFileSync(file, bytes);
    const inspector = await StoreInspector.open({ path, ...options });
    const report = await inspector.verify();
    await inspector.close();
    expect(report.isSound).toBe(false);
    const problems: string[] = [];
    const again = await openStore(path, { ...options, onProblem: ({ message }) => problems.push(message) });
    const found: number[] = [];
    for await (const { seq, data } of again.replay([">"])) {
      expect(data).toEqual({ seq });
      found.push(seq);
    }
    expect(found.length).toBeLessThan(100);
    expect(found.length).toBeGreaterThan(50);
    expect(problems.length).toBe(1);
  });
});

function snapshot(path: string): string[] {
  return fs
    .readdirSync(path, { recursive: true, encoding: "utf8" })
    .map((name) => `${name} ${fs.statSync(join(path, name)).size} ${fs.statSync(join(path, name)).mtimeMs}`)
    .sort();
}
