/** Messages of 256 bytes into the store without a broker, beside databases and a plain file that do the same on the same disk. */

import * as fs from "node:fs";
import { level, sqlite, stored } from "../store-peers.mjs";
import { benchFolder, message, openStore, payload, publishFromMany } from "../store-workload.mjs";
import { Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-publish",
  group: "Store: the engine alone, 256-byte JSON messages",
  kind: "rate",
  operations: 20_000,
  rows: [
    { label: "`group`, 1,000 publishers, each awaiting its own", contender: "group", against: "sqlite", atLeast: 1 },
    { label: "the same", contender: "group", against: "level", atLeast: 8 },
    { label: "`os`, 1,000 in flight", contender: "os", against: "append", atLeast: 0.5 },
    { label: "the same, beside an append that makes its JSON", contender: "os", against: "appendJson" },
    // No target: through a broker, which has it (store-broker), what is new is not read back.
    { label: "`group`: publish, read back for a durable, acknowledge", contender: "consumed", against: "group" },
  ],
  async open() {
    const folder = benchFolder();
    return {
      group: await ours(folder, "group"),
      os: await ours(folder, "os"),
      consumed: await consumed(folder),
      sqlite: sqlite(folder),
      level: await level(folder),
      append: append(folder, "plain", madeBytes()),
      appendJson: append(folder, "lines", jsonLines(), () => folder.remove()),
    };
  },
};

async function ours(folder, durability) {
  const store = await openStore(folder.path(`ours ${durability}`));
  const tally = new Tally();
  return {
    label: `ours, ${durability}`,
    tally,
    async run(operations) {
      const before = store.lastSeq;
      await publishFromMany(store, operations, durability);
      if (store.lastSeq - before === operations) stored(tally, operations);
    },
    async close() {
      await store.close();
      fs.rmSync(folder.path(`ours ${durability}`), { recursive: true });
    },
  };
}

async function consumed(folder) {
  const store = await openStore(folder.path("consumed"), {});
  await store.append([{ type: "durable", change: "created", name: "d", patterns: [">"], position: 1 }]);
  const tally = new Tally();
  return {
    label: "ours, group, with a durable",
    tally,
    async run(operations) {
      const before = store.lastSeq;
      let settled = 0;
      const publishing = publishFromMany(store, operations, "group");
      for (let afterSeq = before; settled < operations;) {
        const page = await store.pending("d", afterSeq, 1000);
        afterSeq = page.throughSeq;
        if (page.messages.length === 0) await new Promise((resolve) => setImmediate(resolve));
        let last;
        for (const {
          message: { seq },
        } of page.messages) {
          last = store.append([{ type: "settle", durable: "d", seq, outcome: "ack", deliveryCount: 1 }], "group");
          settled++;
        }
        await last;
      }
      await publishing;
      if (store.backlog("d").messages === 0) stored(tally, operations);
    },
    close: () => store.close(),
  };
}

/** A hundred times as many bytes as a record of the log has, made once. */
function madeBytes() {
  const bytes = Buffer.alloc(100 * (JSON.stringify(payload).length + 75), 7);
  return { label: "plain append, no sync, batches of 100", next: () => bytes };
}

/** A hundred messages as lines of JSON. */
function jsonLines() {
  let seq = 0;
  const next = () => {
    let text = "";
    for (let i = 0; i < 100; i++) text += `${JSON.stringify(message(++seq).message)}\n`;
    return Buffer.from(text);
  };
  return { label: "append of lines of JSON, no sync, batches of 100", next };
}

/** @param removed called once it is closed */
function append(folder, name, { label, next }, removed = () => undefined) {
  const file = fs.openSync(folder.path(name), "w");
  const tally = new Tally();
  let at = 0;
  const write = (bytes) =>
    new Promise((resolve, reject) =>
      fs.write(file, bytes, 0, bytes.length, at, (error, written) => (error ? reject(error) : resolve(written))),
    );
  return {
    label,
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += 100) at += await write(next());
      stored(tally, operations);
    },
    close() {
      fs.closeSync(file);
      removed();
    },
  };
}
