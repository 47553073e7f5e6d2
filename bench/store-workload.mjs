/** What the store's scenarios share: a folder to write in, messages, and ways to append. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StoreEngine } from "../dist/persistence/engine.js";

export const PUBLISHERS = 1000;
const CENTURY_MS = 100 * 365 * 24 * 3_600_000;

/** 256 bytes as JSON. */
export const payload = { order: "x".repeat(244) };

/** Keeps everything, and makes checkpoints only when it is told to. */
export const keepAll = { retention: { maxAge: CENTURY_MS }, walBytes: 1e12, checkpointInterval: 1e9 };

/** A folder for one scenario; `STORE_BENCH` says on which disk. */
export function benchFolder() {
  const folder = mkdtempSync(join(process.env.STORE_BENCH ?? tmpdir(), "store bench "));
  return {
    path: (name) => join(folder, name),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export const openStore = (path, options = keepAll) => StoreEngine.open({ path, ...options });

export function message(seq, data = payload, topic = "orders.eu.created") {
  const id = `01HZX4ZK7M8Q9W2E3R4T${String(seq).padStart(6, "0")}`;
  return {
    type: "publish",
    message: { seq, timestamp: 1_700_000_000_000 + seq, topic, id, priority: 4, data },
  };
}

/** Appends `count` messages from many publishers, each of which awaits its own before the next. */
export async function publishFromMany(store, count, level, publishers = PUBLISHERS, dataOf = () => payload) {
  let left = count;
  let seq = store.lastSeq;
  const publisher = async () => {
    while (left > 0) {
      left--;
      seq++;
      await store.append([message(seq, dataOf(seq))], level);
    }
  };
  await Promise.all(Array.from({ length: Math.min(publishers, count) }, publisher));
}

/** Appends messages as fast as the log takes them, without waiting for each. */
export async function fill(store, count, dataOf = () => payload, topicOf = () => "orders.eu.created") {
  for (let sent = 0; sent < count; sent += PUBLISHERS) {
    let last;
    for (let i = 0; i < PUBLISHERS && sent + i < count; i++) {
      const seq = store.lastSeq + 1;
      last = store.append([message(seq, dataOf(seq), topicOf(seq))], "os");
    }
    await last;
  }
  await store.flush();
}
