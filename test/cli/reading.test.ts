import * as fs from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { ack, durable, openStore, publish, range, temporaryFolder } from "../persistence/store/fixture.js";
import { command, fullStore, imprint } from "./fixture.js";

const reading = [
  ["inspect"],
  ["inspect", "--json"],
  ...["topics", "durables", "dead-letters", "delayed", "retained"].map((what) => ["ls", what]),
  ["peek"],
  ["peek", "orders.>", "--json"],
  ["verify"],
  ["export"],
];

const withStore = ([name = "", ...rest]: readonly string[], path: string): string[] => [name, path, ...rest];

/** What can be wrong with a folder, and whether the commands say so. */
const damages: Record<string, { harm: (path: string) => void; code: number }> = {
  nothing: { harm: () => undefined, code: 0 },
  "a write that was cut short": {
    harm: (path) => fs.appendFileSync(lastSegment(path), Buffer.from([1, 2, 3])),
    code: 0,
  },
  "a flipped bit in the log": { harm: (path) => flip(lastSegment(path), -150), code: 1 },
  "no database": { harm: (path) => fs.rmSync(join(path, "level"), { recursive: true }), code: 1 },
  "a database without its first file": { harm: (path) => fs.rmSync(join(path, "level", "CURRENT")), code: 1 },
  "a database with a broken manifest": {
    harm: (path) => flip(join(path, "level", named(path, /^MANIFEST/)), 20),
    code: 1,
  },
  "no log": { harm: (path) => fs.rmSync(join(path, "wal"), { recursive: true }), code: 1 },
};

const named = (path: string, pattern: RegExp): string =>
  fs.readdirSync(join(path, "level")).find((name) => pattern.test(name)) ?? "";

function lastSegment(path: string): string {
  const names = fs.readdirSync(join(path, "wal")).filter((name) => name.endsWith(".wal"));
  return join(path, "wal", names.sort().at(-1) ?? "");
}

function flip(file: string, at: number): void {
  const bytes = fs.readFileSync(file);
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] ?? 0) ^ 8;
  fs.writeFileSync(file, bytes);
}

/** Every key in a value, but those that are a message's own: its headers, its payload, and the durables that wait for it. */
function keysOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(keysOf);
  if (typeof value !== "object" || value === null) return [];
  const own = ["headers", "data", "waiting"];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...(own.includes(key) ? [] : keysOf(inner))]);
}

const { TMPDIR } = process.env;
afterEach(() => {
  if (TMPDIR === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = TMPDIR;
});

describe("the reading commands", () => {
  it.each(Object.entries(damages))(
    "work on a closed store with %s, and change nothing",
    async (_name, { harm, code }) => {
      const path = join(temporaryFolder(), "data");
      await fullStore(path);
      harm(path);
      const before = imprint(path);
      const temporary = temporaryFolder();
      process.env.TMPDIR = temporary;
      for (const args of reading) {
        const done = await command(withStore(args, path));
        expect([0, 1], `${args.join(" ")}: ${done.err}`).toContain(done.code);
        if (args[0] === "verify" || args[0] === "inspect")
          expect(done.code, `${args.join(" ")}\n${done.out}`).toBe(code);
        expect(imprint(path), args.join(" ")).toEqual(before);
      }
      expect(fs.readdirSync(temporary)).toEqual([]);
    },
  );

  it("show what is in the store", async () => {
    const path = join(temporaryFolder(), "data");
    await fullStore(path);
    const json = async (...args: string[]): Promise<unknown> => JSON.parse((await command([...args, "--json"])).out);
    expect(await json("inspect", path)).toMatchObject({
      format: 1,
      retention: { policy: "limits" },
      lastSeq: 26,
      messages: 25,
      topics: 4,
      durables: 3,
      deadLetters: 1,
      delayed: 1,
      retained: 1,
      dedupIds: 3,
      problems: [],
    });
    expect(await json("ls", path)).toEqual([
      { topic: "orders.eu", messages: 11 },
      { topic: "price.gold", messages: 2 },
      { topic: "price.tin", messages: 1 },
      { topic: "stock", messages: 11 },
    ]);
    expect(await json("ls", path, "durables")).toMatchObject([
      { durable: "audit", pending: 12, patterns: [">"] },
      { durable: "billing", pending: 9, attempted: 1 },
      { durable: "late", pending: 1 },
    ]);
    expect(await json("ls", path, "dead-letters")).toEqual([{ id: "letter", topic: "orders.eu", reason: "rejected" }]);
    expect(await json("ls", path, "delayed")).toMatchObject([{ number: 21, topic: "orders.eu" }]);
    expect(await json("ls", path, "retained")).toEqual([{ topic: "price.gold", number: 23, id: "message-23" }]);
    const peeked = await command(["peek", path, "orders.*", "--from", "20", "--limit", "2"]);
    expect(peeked.out).toMatch(/^#20 {2}orders\.eu .*id=message-20\n {4}\{ seq: 20 \}\n#26 .*priority=9/s);
    const timed = await command(["peek", path, "--from", new Date(1_700_000_000_025).toISOString(), "--json"]);
    expect(
      timed.out
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { seq: number }).seq),
    ).toEqual([25, 26]);
  });

  it("and all others have keys that are identifiers in what --json prints, errors too", async () => {
    const folder = temporaryFolder();
    const [path, other] = [join(folder, "data"), join(folder, "other")];
    await fullStore(path);
    const file = join(folder, "all.ndjson");
    const runs = [
      ["inspect", path],
      ...["topics", "durables", "dead-letters", "delayed", "retained"].map((what) => ["ls", path, what]),
      ["peek", path],
      ["verify", path],
      ["export", path, file],
      ["export", path],
      ["import", other, file],
      ["backup", path, join(folder, "copy")],
      ["restore", join(folder, "copy"), join(folder, "again")],
      ["compact", other],
      ["verify", join(folder, "nowhere")],
      ["ls", path, "nothing"],
    ];
    for (const args of runs) {
      const { out, err } = await command([...args, "--json"]);
      const printed = (out + err).trim();
      const values = out.startsWith("{") && out.trim().includes("\n{") ? printed.split("\n") : [printed];
      const keys = values.flatMap((text) => keysOf(JSON.parse(text)));
      expect(keys.length, args.join(" ")).toBeGreaterThan(0);
      expect(
        keys.filter((key) => !/^[a-z][a-zA-Z0-9]*$/.test(key)),
        args.join(" "),
      ).toEqual([]);
    }
    const [first] = JSON.parse((await command(["ls", path, "durables", "--json"])).out) as object[];
    expect(first).toHaveProperty("settledThrough", 12);
  });

  it("read a store in use, say so, and see all that was on the disk before", async () => {
    const path = join(temporaryFolder(), "data");
    const store = await openStore(path, { blockBytes: 400 });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 50)) await store.append([publish(seq)], "os");
    await store.flush();
    let isOver = false;
    const writing = (async () => {
      for (let seq = 51; !isOver; seq++) {
        await store.append([publish(seq), ack("d", seq)], "os");
        if (seq % 200 === 0) await store.checkpoint();
      }
    })();
    for (let round = 0; round < 5; round++) {
      const done = await command(["export", path]);
      if (done.code === 5) expect(done.err).toMatch(/change while they are read/);
      else {
        expect(done.code, done.err).toBe(0);
        expect(done.err).toMatch(new RegExp(`note: process ${process.pid} .* a moment ago`));
        const lines = done.out
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as { kind: string; seq: number });
        expect(lines.filter(({ kind, seq }) => kind === "message" && seq <= 50).map(({ seq }) => seq)).toEqual(
          range(1, 50),
        );
      }
    }
    isOver = true;
    await writing;
    const verified = await command(["verify", path]);
    expect([verified.code, verified.out]).toEqual([0, expect.stringMatching(/^sound: /)]);
  });

  it("say in one sentence what is wrong with the folder or the key", async () => {
    const path = join(temporaryFolder(), "data");
    const nothing = await command(["verify", join(path, "nothing")]);
    expect(nothing).toMatchObject({ code: 5, out: "", err: `inproc-broker: There is no store in ${path}/nothing\n` });
    const notes = join(temporaryFolder(), "notes.txt");
    fs.writeFileSync(notes, "");
    for (const name of ["inspect", "compact"]) {
      expect(await command([name, notes])).toMatchObject({
        code: 5,
        err: `inproc-broker: There is no store in ${notes}\n`,
      });
    }
    const key = Buffer.alloc(32, 7);
    await fullStore(path, { encryption: { keyProvider: () => ({ id: 1, key }) } });
    const before = imprint(path);
    expect(await command(["ls", path])).toMatchObject({
      code: 4,
      err: expect.stringMatching(/key 1.*\n.*--key ID=FILE/),
    });
    // The folder that was given, not the copy that is looked at.
    expect((await command(["ls", path])).err).toContain(`The store in ${path} is encrypted`);
    expect(await command(["ls", path, "--key", `1=${"ab".repeat(32)}`])).toMatchObject({ code: 4 });
    expect(await command(["ls", path, "--key", `2=${key.toString("hex")}`])).toMatchObject({ code: 4 });
    const file = join(temporaryFolder(), "key");
    for (const content of [key, `${key.toString("hex")}\n`]) {
      fs.writeFileSync(file, content);
      expect(await command(["ls", path, "--key", `1=${file}`])).toMatchObject({ code: 0, err: "" });
    }
    expect(await command(["inspect", path, "--key", `1=${file}`])).toMatchObject({
      out: expect.stringMatching(/with key 1/),
    });
    expect(imprint(path)).toEqual(before);
    const plain = join(temporaryFolder(), "plain");
    await fullStore(plain);
    expect(await command(["ls", plain, "--key", `1=${file}`])).toMatchObject({
      code: 2,
      err: expect.stringContaining(`The store in ${plain} is not encrypted`),
    });
  });
});
