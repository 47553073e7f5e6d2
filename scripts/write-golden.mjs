// Writes the golden folders of the store's format into test/golden/<version>/: what this version of the library makes of a
// fixed list of changes. Later versions have to open them for as long as they read that format, so a folder that is there is
// never written again; a new format version gets new ones. Needs a build.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
/** @param {string} name */
const built = (name) => import(new URL(`../dist/persistence/${name}.js`, import.meta.url).href);
const { StoreEngine } = await built("engine");
const { StoreInspector } = await built("inspect");
const { databaseFormat } = await built("open-database");

const golden = join(root, "test", "golden", String(databaseFormat));
const now = 1_700_000_000_000;
const later = 4_000_000_000_000;
const clock = { now: () => now, monotonic: () => 0, schedule: () => () => undefined };
const key = Buffer.alloc(32, 1);
const encryption = { keyProvider: () => ({ id: 1, key }) };

/** @type {Record<string, object>} */
const kinds = {
  plain: { compression: "none", codec: "json" },
  gzip: { compression: "gzip", codec: "v8" },
  encrypted: { encryption },
};

/** @type {(seq: number, fields?: object) => import("../src/persistence/operations.js").MessageToStore} */
const message = (seq, fields = {}) => ({
  seq,
  timestamp: now + seq,
  topic: seq % 2 === 0 ? "orders.eu" : "stock",
  id: `message-${seq}`,
  priority: 4,
  data: { seq, text: "golden ".repeat(8) },
  ...fields,
});

/** @type {(seq: number, fields?: object) => import("../src/persistence/operations.js").StoreOperation} */
const publish = (seq, fields) => ({ type: "publish", message: message(seq, fields) });

/** @type {(durable: string, seq: number) => import("../src/persistence/operations.js").StoreOperation} */
const ack = (durable, seq) => ({ type: "settle", durable, seq, outcome: "ack", deliveryCount: 1 });

/** @type {(name: string, patterns: string[], position: number) => import("../src/persistence/operations.js").StoreOperation} */
const durable = (name, patterns, position) => ({
  type: "durable",
  change: "created",
  name,
  patterns,
  position,
  options: { ack: "manual" },
});

if (existsSync(golden)) throw new Error(`${golden} is there already; golden folders are not written again`);
for (const [name, options] of Object.entries(kinds)) {
  const path = join(golden, name);
  mkdirSync(path, { recursive: true });
  const all = {
    path,
    clock,
    random: () => 0.5,
    reserveBytes: 0,
    blockBytes: 600,
    retention: { policy: "limits" },
    dedup: { window: later },
    ...options,
  };
  // Twice: the database ends up in tables and in a journal, and the log goes on behind it.
  let store = await StoreEngine.open(all);
  await store.append([durable("billing", ["orders.>"], 1), durable("audit", [">"], 1)]);
  for (let seq = 1; seq <= 24; seq++) await store.append([publish(seq)]);
  for (let seq = 1; seq <= 9; seq++) await store.append([ack("audit", seq)]);
  await store.append([publish(25, { deliverAt: later, key: "k", headers: { a: "1", ü: "" } })]);
  await store.append([publish(26, { topic: "price", retain: true, dedupId: "one", data: "gold" })]);
  await store.append([{ type: "dead-letter-added", id: "letter", message: message(2), facts: { reason: "rejected" } }]);
  await store.compact();
  await store.close();
  store = await StoreEngine.open(all);
  await store.append([ack("billing", 2), publish(27, { replyTo: "inbox.1", correlationId: "c", priority: 9 })]);
  await store.append([
    { type: "settle", durable: "billing", seq: 4, outcome: "attempt", deliveryCount: 2, retryAt: now, reason: "no" },
  ]);
  await store.append([{ type: "dedup", dedupId: "two", seq: 1, id: "message-1", at: now }]);
  await store.checkpoint();
  await store.append([
    {
      type: "durable",
      change: "changed",
      name: "billing",
      patterns: ["orders.*", "stock"],
      position: 28,
      options: null,
    },
  ]);
  await store.append([publish(28, { expiresAt: later, data: new Uint8Array([0, 1, 254, 255]) }), ack("audit", 28)]);
  await store.append([
    publish(29, { topic: "price.tin", retain: true }),
    { type: "retained-cleared", topic: "price.tin" },
  ]);
  await store.close();
  for (const file of readdirSync(join(path, "level"))) {
    if (/^LO(?:CK|G)/.test(file)) rmSync(join(path, "level", file));
  }
  const inspector = await StoreInspector.open({ path, clock, ...options });
  const lines = [];
  for await (const line of inspector.exportLines()) lines.push(line);
  await inspector.close();
  writeFileSync(join(golden, `${name}.ndjson`), lines.join(""));
  console.log(`${path}: ${lines.length} lines`);
}
