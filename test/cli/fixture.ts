import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { run } from "../../src/cli/run.js";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { ManualClock } from "../support/manual-clock.js";
import { ack, durable, message, publish, range } from "../persistence/store/fixture.js";

/** How a command ended. */
export interface CommandRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Both, as a terminal shows them. */
  readonly shown: string;
}

/** Runs the command in this process. */
export async function command(
  args: readonly string[],
  { input = "", isWatched = false }: { input?: string | Uint8Array; isWatched?: boolean } = {},
): Promise<CommandRun> {
  let out = "";
  let err = "";
  let shown = "";
  const code = await run(args, {
    out: (text) => {
      out += text;
      shown += text;
      return Promise.resolve();
    },
    err(text) {
      err += text;
      shown += text;
    },
    isWatched,
    clock: new ManualClock(),
    input: partsOf(input),
  });
  return { code, out, err, shown };
}

/** In small parts, so that lines and characters are cut through. */
async function* partsOf(input: string | Uint8Array): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(input as string);
  await Promise.resolve();
  for (let at = 0; at < bytes.length; at += 777) yield bytes.subarray(at, at + 777);
}

/** Every file below a folder, with its content and times: what must not change. */
export function imprint(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const path = join(folder, name);
      const { mtimeMs, size, nlink } = fs.statSync(path);
      if (fs.statSync(path).isDirectory()) return `${name}/ ${mtimeMs}`;
      return `${name} ${size} ${mtimeMs} ${nlink} ${createHash("sha256").update(fs.readFileSync(path)).digest("hex")}`;
    });
}

export const year = 365 * 24 * 3_600_000;
const now = 1_700_000_000_000;

/** A store with something of every kind, in the database and in the log. */
export async function fullStore(path: string, options: Partial<StoreOptions> = {}): Promise<void> {
  const store = await StoreEngine.open({
    path,
    reserveBytes: 0,
    blockBytes: 500,
    retention: { policy: "limits" },
    dedup: { window: 100 * year },
    ...options,
  });
  await store.append([durable("billing", ["orders.>"]), durable("audit", [">"])]);
  for (const seq of range(1, 20)) {
    await store.append([publish(seq, { topic: seq % 2 === 0 ? "orders.eu" : "stock" })], "os");
  }
  await store.append([publish(21, { topic: "orders.eu", deliverAt: 4_000_000_000_000, key: "k", dedupId: "later" })]);
  for (const seq of range(1, 12)) await store.append([ack("audit", seq)], "os");
  await store.append([ack("billing", 2), ack("billing", 6)]);
  await store.append([
    { type: "settle", durable: "billing", seq: 4, outcome: "attempt", deliveryCount: 3, retryAt: now, reason: "nö" },
  ]);
  await store.append([publish(22, { topic: "price.gold", retain: true, data: "old" })]);
  await store.append([
    publish(23, { topic: "price.gold", retain: true, data: "new", headers: { __proto__x: "1", b: "ü" } }),
  ]);
  await store.append([publish(24, { topic: "price.tin", retain: true })]);
  await store.append([{ type: "retained-cleared", topic: "price.tin" }]);
  await store.checkpoint();
  await store.append([
    {
      type: "dead-letter-added",
      id: "letter",
      message: message(2, { topic: "orders.eu" }),
      facts: { reason: "rejected" },
    },
  ]);
  await store.append([{ type: "dedup", dedupId: "only-an-id", seq: 3, id: "message-3", at: now }]);
  await store.append([durable("late", ["stock"], 25)]);
  await store.append([
    publish(25, { topic: "stock", data: new Uint8Array([0, 255, 10]), expiresAt: 4_000_000_000_000, dedupId: "d25" }),
    publish(26, { topic: "orders.eu", data: [1, "zwei\n", null], priority: 9, replyTo: "inbox.1", correlationId: "c" }),
  ]);
  await store.append([ack("audit", 25)]);
  await store.close();
}
