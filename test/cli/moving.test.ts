import * as fs from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOperation } from "../../src/persistence/operations.js";
import {
  ack,
  durable,
  message,
  openStore,
  pendingSeqs,
  publish,
  range,
  replayed,
  temporaryFolder,
} from "../persistence/store/fixture.js";
import { command, fullStore, imprint, year } from "./fixture.js";

const keep = { retention: { policy: "limits" }, dedup: { window: 100 * year } } as const;

describe("export and import", () => {
  it.each(["json", "v8"] as const)("carry everything into a new store: its export is the same (%s)", async (codec) => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    await fullStore(path, { codec });
    const file = join(folder, "all.ndjson.gz");
    expect(await command(["export", path, file])).toMatchObject({ code: 0, err: "" });
    const text = gunzipSync(fs.readFileSync(file)).toString("utf8");
    expect((await command(["export", path])).out).toBe(text);
    expect(await command(["import", join(folder, "new"), file])).toMatchObject({
      code: 0,
      out: "26 messages, 3 durables, 1 dead letter\n",
      err: "",
    });
    expect((await command(["export", join(folder, "new")])).out).toBe(text);
    // And what a program sees is the same.
    const stores = [
      await openStore(path, { ...keep, codec }),
      await openStore(join(folder, "new"), { ...keep, codec }),
    ];
    const seen = await Promise.all(
      stores.map(async (store) => ({
        billing: await pendingSeqs(store, "billing"),
        audit: await pendingSeqs(store, "audit"),
        late: await pendingSeqs(store, "late"),
        attempts: (await store.pending("billing", 0, 2)).messages.map(({ deliveryCount, retryAt }) => [
          deliveryCount,
          retryAt,
        ]),
        all: await replayed(store),
        dedup: store.recovered.dedup.map(({ dedupId, seq }) => `${dedupId} ${seq}`).sort(),
        delayed: store.recovered.delayed.map(({ seq, deliverAt, key }) => [seq, deliverAt, key]),
        retained: store.recovered.retained.map(({ topic, data }) => [topic, data]),
        letters: store.recovered.deadLetters.map(({ id, facts, message }) => [id, facts, message.seq, message.data]),
      })),
    );
    expect(seen[1]).toEqual(seen[0]);
    expect(seen[0]?.billing).toEqual([4, 8, 10, 12, 14, 16, 18, 20, 26]);
    expect(seen[0]?.retained).toEqual([["price.gold", "new"]]);
  });

  it("carry a store into an encrypted one, through a pipe", async () => {
    const folder = temporaryFolder();
    await fullStore(join(folder, "data"));
    const { out } = await command(["export", join(folder, "data")]);
    const key = `7=${"0f".repeat(32)}`;
    expect(await command(["import", join(folder, "new"), "--key", key], { input: out })).toMatchObject({ code: 0 });
    expect((await command(["export", join(folder, "new"), "--key", key])).out).toBe(out);
    expect(await command(["ls", join(folder, "new")])).toMatchObject({ code: 4 });
  });

  it("select by topic, number and count", async () => {
    const path = join(temporaryFolder(), "data");
    await fullStore(path);
    const seqs = async (...args: string[]): Promise<unknown[]> => {
      const { out } = await command(["export", path, ...args]);
      const lines = out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { kind: string; seq?: number });
      return lines.filter(({ kind }) => kind === "message").map(({ seq }) => seq);
    };
    expect(await seqs("--topic", "price.*", "--topic", "nothing.>")).toEqual([22, 23, 24]);
    expect(await seqs("--topic", "stock", "--from", "15", "--to", "20")).toEqual([15, 17, 19]);
    expect(await seqs("--topic", "stock", "--limit", "2")).toEqual([1, 3]);
  });

  it("add to a store that has messages: new numbers, and durables of its own stay where they are", async () => {
    const folder = temporaryFolder();
    await fullStore(join(folder, "data"));
    const { out } = await command(["export", join(folder, "data")]);
    const path = join(folder, "other");
    let store = await openStore(path, keep);
    await store.append([durable("billing", ["orders.>"]), durable("own", ["stock"]), publish(1), publish(2)]);
    await store.append([ack("billing", 1)]);
    await store.close();
    expect(await command(["import", path], { input: gzipSync(out) })).toMatchObject({
      code: 0,
      out: `26 messages, 2 durables, 1 dead letter\n26 messages with a new number: the store had used theirs\nthe durable "billing" was there already, and stays where it is\n`,
      err: "",
    });
    store = await openStore(path, keep);
    expect(await pendingSeqs(store, "billing")).toEqual([2, 6, 10, 12, 14, 16, 18, 20, 22, 28]);
    expect(await pendingSeqs(store, "own")).toEqual([...range(0, 9).map((n) => 3 + 2 * n), 27]);
    // What the file's durables had settled is settled.
    expect((await pendingSeqs(store, "audit")).length).toBe(12);
    expect(await replayed(store)).toEqual(range(1, 28).filter((seq) => seq !== 23));
  });

  it("give lines without a number to every durable of the file, wherever it begins", async () => {
    const path = join(temporaryFolder(), "new");
    const lines = [
      { kind: "store", version: 1, lastSeq: 9 },
      { kind: "durable", name: "d", patterns: ["a"], options: null, start: 5 },
      { topic: "a", seq: 4, data: "not its own" },
      { topic: "a", data: "by hand" },
      { topic: "a", seq: 8, data: "its own" },
    ];
    await command(["import", path], { input: lines.map((line) => JSON.stringify(line)).join("\n") });
    const store = await openStore(path, keep);
    expect(await replayed(store)).toEqual([4, 6, 8]);
    expect(await pendingSeqs(store, "d")).toEqual([6, 8]);
  });

  it("bring dead letters beside others of the same id, and once however often they come", async () => {
    const folder = temporaryFolder();
    const letter = (deadAt: number): StoreOperation => ({
      type: "dead-letter-added",
      id: "dl-1",
      message: message(1),
      facts: { subscription: "d", deadAt },
    });
    for (const [name, deadAt] of [
      ["data", 1],
      ["other", 2],
    ] as const) {
      const store = await openStore(join(folder, name), keep);
      await store.append([letter(deadAt)]);
      await store.close();
    }
    const { out } = await command(["export", join(folder, "data")]);
    const path = join(folder, "other");
    for (const time of ["first", "second"]) {
      expect((await command(["import", path], { input: out })).code, time).toBe(0);
      const store = await openStore(path, keep);
      expect(store.recovered.deadLetters.map(({ id, facts }) => [id, facts])).toEqual([
        ["dl-1", { subscription: "d", deadAt: 2 }],
        ["dl-2", { subscription: "d", deadAt: 1 }],
      ]);
      await store.close();
    }
  });

  it("name the line that cannot be taken, store batches whole, and go on from there", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "new");
    const lines = range(1, 1200).map((n) => JSON.stringify({ topic: "t", id: `i${n}`, data: n }));
    const wrong = [...lines];
    wrong[1100] = '{"topic":"t..t","data":1}';
    const done = await command(["import", path], { input: wrong.join("\n") });
    expect(done.code).toBe(1);
    expect(done.err).toMatch(/Line 1101: .*t\.\.t.*; lines 1 to 1000 are in the store; go on from line 1001\n$/);
    let store = await openStore(path, keep);
    expect(await replayed(store)).toEqual(range(1, 1000));
    await store.close();
    const rest = await command(["import", path, "--from-line", "1001"], { input: lines.join("\n") });
    expect(rest).toMatchObject({ code: 0, err: expect.stringMatching(/no end line/) });
    store = await openStore(path, keep);
    const ids = [];
    for await (const { id, data } of store.replay([">"])) ids.push([id, data]);
    expect(ids).toEqual(range(1, 1200).map((n) => [`i${n}`, n]));
  });

  it("refuse what is no line of an export, each with a reason, and leave no new store behind", async () => {
    const bad: [string, RegExp][] = [
      ["{", /Line 1: it is not JSON; nothing was imported/],
      ["[1]", /the line must be an object; got an array/],
      ['{"kind":"mesage","topic":"a","data":1}', /its kind is "mesage"/],
      ['{"kind":"store","version":2,"lastSeq":1}', /version 2; this version of inproc-broker reads up to 1/],
      ['{"data":1}', /"topic" is missing/],
      ['{"topic":"a.*","data":1}', /a\.\*/],
      ['{"topic":"a"}', /either "data" or "bytes"/],
      ['{"topic":"a","data":1,"bytes":""}', /either "data" or "bytes"/],
      ['{"topic":"a","bytes":"?!"}', /not base64/],
      ['{"topic":"a","bytes":"AA==","codec":"xml"}', /"codec" must be "v8" or "custom"/],
      ['{"topic":"a","data":1,"seq":-1}', /"seq" must be a whole number/],
      ['{"topic":"a","data":1,"priority":10}', /"priority" must be 0 to 9/],
      ['{"topic":"a","data":1,"headers":{"a":1}}', /"a" must be a string; got 1/],
      ['{"topic":"a","data":1,"waiting":{"d":{}}}', /"deliveryCount" is missing/],
      ['{"kind":"durable","name":"d","patterns":["a..b"],"options":null,"start":0}', /a\.\.b/],
      [`{"topic":"a","data":${"[".repeat(200_000)}`, /Line 1/],
    ];
    for (const [line, text] of bad) {
      const path = join(temporaryFolder(), "new");
      const done = await command(["import", path], { input: line });
      expect([done.code, done.out], line.slice(0, 80)).toEqual([1, ""]);
      expect(done.err, line.slice(0, 80)).toMatch(text);
      if (!fs.existsSync(path)) continue;
      expect((await command(["inspect", path, "--json"])).out).toMatch(/"messages": 0/);
    }
    const cut = gzipSync('{"topic":"a","data":1}\n').subarray(0, 30);
    expect(await command(["import", join(temporaryFolder(), "new")], { input: cut })).toMatchObject({ code: 1 });
    const missing = join(temporaryFolder(), "new");
    expect(await command(["import", missing, join(missing, "no-file")])).toMatchObject({ code: 2 });
    expect(fs.existsSync(missing)).toBe(false);
  });

  it("write no file over another, and none in part", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    await fullStore(path);
    fs.writeFileSync(join(folder, "there"), "x");
    expect(await command(["export", path, join(folder, "there")])).toMatchObject({ code: 2 });
    expect(fs.readFileSync(join(folder, "there"), "utf8")).toBe("x");
    expect(await command(["export", path, join(folder, "none", "file")])).toMatchObject({ code: 2 });
    expect(fs.readdirSync(folder).sort()).toEqual(["data", "there"]);
  });
});

describe("backup, restore and compact", () => {
  it.each(["copy", "copy.zip"])("a backup (%s) is restored as it was, and verified first", async (name) => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    await fullStore(path);
    const { out } = await command(["export", path]);
    const target = join(folder, name);
    expect(await command(["backup", path, target])).toMatchObject({ code: 0, err: "" });
    expect(await command(["backup", path, target])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/does not overwrite/),
    });
    const restored = join(folder, "restored");
    expect(await command(["restore", target, restored])).toMatchObject({ code: 0, err: "" });
    expect((await command(["export", restored])).out).toBe(out);
    expect(await command(["restore", target, restored])).toMatchObject({ code: 2 });
    expect((await command(["verify", restored])).code).toBe(0);
  });

  it("a damaged backup is not restored, unless by force", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    await fullStore(path);
    const copy = join(folder, "copy");
    await command(["backup", path, copy]);
    const segment = join(copy, "wal", fs.readdirSync(join(copy, "wal"))[0] ?? "");
    const bytes = fs.readFileSync(segment);
    bytes[bytes.length - 150] = (bytes[bytes.length - 150] ?? 0) ^ 1;
    fs.writeFileSync(segment, bytes);
    const refused = await command(["restore", copy, join(folder, "restored")]);
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringMatching(/is damaged \(1 problems?, the first: .*by force/),
    });
    expect(fs.readdirSync(folder).sort()).toEqual(["copy", "data"]);
    const forced = await command(["restore", copy, join(folder, "restored"), "--force"]);
    expect(forced).toMatchObject({ code: 1, out: expect.stringMatching(/^problem: .*\n.*messages\n$/s) });
    const cut = join(folder, "cut.zip");
    expect(await command(["backup", path, cut])).toMatchObject({ code: 0 });
    fs.truncateSync(cut, 700);
    expect(await command(["restore", cut, join(folder, "other")])).toMatchObject({ code: 1 });
    fs.writeFileSync(join(folder, "text.zip"), "no archive at all");
    expect(await command(["restore", join(folder, "text.zip"), join(folder, "other")])).toMatchObject({ code: 2 });
    expect(await command(["restore", join(folder, "nothing"), join(folder, "other")])).toMatchObject({ code: 2 });
    expect(fs.existsSync(join(folder, "other"))).toBe(false);
  });

  it("compact gives back what is settled, by the retention that the store was opened with", async () => {
    const folder = temporaryFolder();
    for (const policy of ["limits", "interest"] as const) {
      const path = join(folder, policy);
      const store = await StoreEngine.open({ path, retention: { policy }, blockBytes: 2000, reserveBytes: 0 });
      await store.append([durable("d", [">"])]);
      for (const seq of range(1, 400))
        await store.append([publish(seq, { data: "x".repeat(500) + String(seq) })], "os");
      await store.checkpoint();
      for (const seq of range(1, 390)) await store.append([ack("d", seq)], "os");
      await store.close();
      const { out, code } = await command(["compact", path, "--json"]);
      expect(code).toBe(0);
      const result = JSON.parse(out) as { bytesBefore: number; bytesAfter: number; messages: number };
      expect(result.messages).toBe(policy === "limits" ? 400 : 10);
      if (policy === "interest") expect(result.bytesAfter).toBeLessThan(result.bytesBefore / 2);
      expect((await command(["verify", path])).code).toBe(0);
    }
    expect(await command(["compact", join(folder, "nothing")])).toMatchObject({ code: 5 });
    expect(fs.existsSync(join(folder, "nothing"))).toBe(false);
  });

  it("a work queue that was compacted has still consumed what it consumed", async () => {
    const path = join(temporaryFolder(), "data");
    const options = { path, retention: { policy: "work-queue" as const } };
    let store = await StoreEngine.open(options);
    await store.append([durable("a", [">"]), durable("b", [">"]), publish(1), publish(2)]);
    await store.append([ack("a", 1)]);
    await store.close();
    expect((await command(["compact", path])).code).toBe(0);
    store = await openStore(path, options);
    expect(await pendingSeqs(store, "b")).toEqual([2]);
  });

  it("refuse a store in use, name who has it, and change nothing", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "data");
    const store = await openStore(path);
    await store.append([publish(1)]);
    const before = imprint(path);
    for (const args of [
      ["compact", path],
      ["backup", path, join(folder, "copy")],
      ["import", path],
    ]) {
      const done = await command(args, { input: '{"topic":"a","data":1}' });
      expect([done.code, done.out], args.join(" ")).toEqual([3, ""]);
      expect(done.err).toMatch(new RegExp(`is open in process ${process.pid} on `));
    }
    expect(imprint(path)).toEqual(before);
  });

  it("leave a damaged store alone, unless repairing was asked for", async () => {
    const path = join(temporaryFolder(), "data");
    await fullStore(path);
    const segment = join(path, "wal", fs.readdirSync(join(path, "wal")).find((name) => name.endsWith(".wal")) ?? "");
    const bytes = fs.readFileSync(segment);
    bytes[60] = (bytes[60] ?? 0) ^ 255;
    bytes[124] = (bytes[124] ?? 0) ^ 255;
    fs.writeFileSync(segment, bytes);
    const files = (): string[] => imprint(path).filter((line) => line.startsWith("wal"));
    const before = files();
    expect(await command(["compact", path])).toMatchObject({ code: 1, err: expect.stringMatching(/--repair/) });
    expect(files()).toEqual(before);
    expect(await command(["compact", path, "--repair"])).toMatchObject({ code: 0 });
    expect((await command(["verify", path])).code).toBe(0);
  });
});
