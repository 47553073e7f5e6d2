/** Databases that do what the store does, on the same disk. */

import Database from "better-sqlite3";
import { ClassicLevel } from "classic-level";
import { message, PUBLISHERS } from "./store-workload.mjs";
import { payloadSum, Tally } from "./workload.mjs";

/** The harness counts what consumers saw; here what was stored. */
export function stored(tally, operations) {
  tally.count += operations;
  tally.sum += payloadSum(operations);
}

export function sqlite(folder) {
  const database = new Database(folder.path("sqlite.db"));
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.exec("CREATE TABLE messages (seq INTEGER PRIMARY KEY, topic TEXT, id TEXT, timestamp INTEGER, data TEXT)");
  const insert = database.prepare("INSERT INTO messages VALUES (?, ?, ?, ?, ?)");
  const tally = new Tally();
  let seq = 0;
  const thousand = database.transaction(() => {
    for (let i = 0; i < PUBLISHERS; i++) {
      const { message: one } = message(++seq);
      insert.run(one.seq, one.topic, one.id, one.timestamp, JSON.stringify(one.data));
    }
  });
  return {
    label: "better-sqlite3, WAL, FULL, transactions of 1,000",
    tally,
    run(operations) {
      for (let sent = 0; sent < operations; sent += PUBLISHERS) thousand();
      stored(tally, operations);
    },
    close: () => database.close(),
  };
}

/** @param removed called once it is closed */
export async function level(folder, removed = () => undefined) {
  const database = new ClassicLevel(folder.path("level"));
  await database.open();
  const tally = new Tally();
  let seq = 0;
  return {
    label: "classic-level, batch of 100, sync",
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += 100) {
        const batch = Array.from({ length: 100 }, () => {
          const { message: one } = message(++seq);
          return { type: "put", key: String(one.seq).padStart(12, "0"), value: JSON.stringify(one) };
        });
        await database.batch(batch, { sync: true });
      }
      stored(tally, operations);
    },
    close: () => database.close().then(removed),
  };
}
