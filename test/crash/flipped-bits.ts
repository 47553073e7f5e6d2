import * as fs from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoredMessage } from "../../src/persistence/operations.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { ack, durable, message, publish, range } from "../persistence/store/fixture.js";

const century = 100 * 365 * 24 * 3_600_000;

type SomeOptions = Partial<StoreOptions>;

const optionsOf = (path: string): StoreOptions => ({
  path,
  reserveBytes: 0,
  blockBytes: 300,
  retention: { policy: "limits" },
  dedup: { window: century },
});

/** Opens a store before all of its tables were looked at. */
export const large: SomeOptions = { lateCheckBytes: 1, compression: "none", blockBytes: 1, cacheBytes: 1 };

/** A store with tables that hold nothing but messages. */
export async function makeLargeStore(path: string): Promise<void> {
  const store = await StoreEngine.open({ ...optionsOf(path), ...large });
  await store.append([durable("a", ["t.*"]), durable("b", [">"])]);
  const data = "x".repeat(40_000);
  for (const seq of range(1, 149)) await store.append([publish(seq, { topic: `t.${seq % 3}`, data })], "os");
  await store.append([ack("a", 1), ack("b", 70)]);
  await store.compact();
  // What LevelDB had moved down by itself is not rewritten, unless there is something new above it.
  await store.append([publish(150, { topic: "u", data })]);
  await store.compact();
  await store.append([publish(151, { topic: "u" })]);
  await store.checkpoint();
  await store.append([publish(152, { topic: "u" }), ack("b", 2)]);
  await store.close();
}

/** A store with everything in each of its files: tables, LevelDB's journal, the log. */
export async function makeStore(path: string): Promise<void> {
  let store = await StoreEngine.open(optionsOf(path));
  await store.append([durable("a", ["t.*"]), durable("b", [">"])]);
  for (const seq of range(1, 12)) await store.append([publish(seq, { topic: seq % 2 === 0 ? "t.x" : "u" })], "os");
  await store.append([ack("a", 2), ack("b", 1), ack("b", 2), publish(13, { deliverAt: 4_000_000_000_000 })]);
  await store.append([{ type: "dead-letter-added", id: "x", message: message(4), facts: { reason: "rejected" } }]);
  await store.append([publish(14, { topic: "last", retain: true, dedupId: "one" })]);
  await store.compact();
  for (const seq of range(15, 20)) await store.append([publish(seq, { topic: "t.y" })], "os");
  await store.close();
  store = await StoreEngine.open(optionsOf(path));
  await store.append([ack("a", 15), ack("b", 3)]);
  await store.append([{ type: "settle", durable: "b", seq: 4, outcome: "attempt", deliveryCount: 2, retryAt: 5 }]);
  await store.append([publish(21, { topic: "t.z", dedupId: "two" })]);
  await store.checkpoint();
  await store.append([publish(22, { topic: "u" }), ack("b", 5)]);
  await store.append([{ type: "dead-letter-added", id: "y", message: message(5), facts: null }]);
  await store.append([publish(23, { topic: "last", retain: true })]);
  await store.append([publish(24, { topic: "t.x" })]);
  await store.close();
}

/** Everything a broker would be told, as text by name. */
export interface Seen {
  readonly facts: Map<string, string>;
  /** Whether the store said that something is wrong. */
  readonly isReported: boolean;
}

function textOf(found: StoredMessage): string {
  const { seq, topic, id, timestamp, priority, retain, dedupId, deliverAt } = found;
  return JSON.stringify([seq, topic, id, timestamp, priority, retain, dedupId, deliverAt, found.data]);
}

/** Opens a store and looks at everything; `thenWrites`: and lets it write. */
export async function look(path: string, more: SomeOptions = {}, thenWrites = false): Promise<Seen> {
  let problems = 0;
  const store = await StoreEngine.open({ ...optionsOf(path), ...more, onProblem: () => problems++ });
  try {
    const facts = new Map<string, string>();
    for await (const found of store.replay([">"])) facts.set(`message ${found.seq}`, textOf(found));
    const { durables, delayed, deadLetters, dedup, retained } = store.recovered;
    for (const { name, patterns } of durables) {
      facts.set(`durable ${name}`, patterns.join());
      for (const { message: found, deliveryCount, retryAt } of (await store.pending(name, 0, 1000, 2 ** 30)).messages) {
        facts.set(`pending ${name} ${found.seq}`, `${deliveryCount} ${retryAt} ${textOf(found)}`);
      }
    }
    for (const one of delayed) facts.set(`delayed ${one.seq}`, textOf(one));
    for (const one of retained) facts.set(`retained ${one.topic}`, textOf(one));
    for (const one of dedup) facts.set(`dedup ${one.dedupId}`, JSON.stringify(one));
    for (const { id, facts: why, message: found } of deadLetters) {
      facts.set(`letter ${id}`, JSON.stringify(why) + textOf(found));
    }
    if (thenWrites) {
      await store.append([ack("b", 3)]);
      await store.checkpoint();
    }
    const { database, damaged, discrepancies, log, warnings } = store.recoveryReport;
    const isReported =
      database !== "opened" ||
      damaged.length + discrepancies.length + log.quarantined.length + warnings.length + problems > 0 ||
      log.cut !== undefined;
    return { facts, isReported };
  } finally {
    await store.close();
  }
}

/** Files whose bits matter; locks and journals for people do not. */
export function filesOf(path: string): string[] {
  return ["wal", "level"].flatMap((folder) =>
    fs
      .readdirSync(join(path, folder))
      .filter((name) => !/^LO(?:CK|G)/.test(name))
      .map((name) => `${folder}/${name}`),
  );
}

/** Flips one bit in a copy of the store, and opens the copy. */
export async function checkFlip(
  path: string,
  copy: string,
  file: string,
  bit: number,
  whole: Seen,
  more: SomeOptions = {},
): Promise<void> {
  fs.rmSync(copy, { recursive: true, force: true });
  fs.cpSync(path, copy, { recursive: true });
  const bytes = fs.readFileSync(join(copy, file));
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  fs.writeFileSync(join(copy, file), bytes);
  const hint = `${file}, bit ${bit}`;
  const isLarge = more === large;
  const seen = await look(copy, more, isLarge).catch((error: unknown) => {
    throw new Error(`${hint}: ${String(error)}`, { cause: error });
  });
  compare(seen, whole, hint);
  if (!isLarge) return;
  // What it wrote holds what is left, and nothing else.
  const later = await look(copy, more).catch((error: unknown) => {
    throw new Error(`${hint}, opened again: ${String(error)}`, { cause: error });
  });
  compare({ facts: later.facts, isReported: later.isReported || seen.isReported }, whole, `${hint}, opened again`, 3);
}

/** @param settled the number of a message that "b" has settled since */
function compare(seen: Seen, whole: Seen, hint: string, settled?: number): void {
  for (const [name, text] of seen.facts) {
    const known = whole.facts.get(name);
    // Losing an acknowledgement brings a message back: as it was, and only a message that there was.
    if (known === undefined && /^pending/.test(name)) {
      const original = whole.facts.get(`message ${name.split(" ")[2] ?? ""}`) ?? "none";
      expect(text.endsWith(original), `${hint}: ${name}: ${text}`).toBe(true);
    } else if (/^pending/.test(name)) {
      expect(text.split(" ").slice(2).join(" "), `${hint}: ${name}`).toBe(known?.split(" ").slice(2).join(" "));
    } else if (/^retained/.test(name) && text !== known) {
      expect([...whole.facts.values()], `${hint}: ${name}`).toContain(text);
    } else {
      expect(text, `${hint}: ${name}`).toBe(known);
    }
  }
  const expected = new Map(whole.facts);
  if (settled !== undefined) expected.delete(`pending b ${settled}`);
  const isSame = [...expected].every(([name, text]) => seen.facts.get(name) === text);
  const isWhole = isSame && seen.facts.size === expected.size;
  if (!isWhole) expect(seen.isReported, `${hint}: silent`).toBe(true);
}
