/** One publisher that awaits each message, beside a plain write and fdatasync of as many bytes. */

import * as fs from "node:fs";
import { benchFolder, openStore, payload, publishFromMany } from "../store-workload.mjs";
import { payloadSum, Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-publish-one",
  group: "Store: one publisher awaiting each",
  kind: "rate",
  operations: 1000,
  rows: [{ label: "latency of `group`", contender: "ours", against: "plain", atMost: 1.3 }],
  async open() {
    const folder = benchFolder();
    return { ours: await ours(folder), plain: plain(folder) };
  },
};

async function ours(folder) {
  const store = await openStore(folder.path("ours"));
  const tally = new Tally();
  return {
    label: "ours, group",
    tally,
    async run(operations) {
      await publishFromMany(store, operations, "group", 1);
      tally.count += operations;
      tally.sum += payloadSum(operations);
    },
    close: () => store.close(),
  };
}

function plain(folder) {
  const file = fs.openSync(folder.path("plain"), "w");
  const tally = new Tally();
  const bytes = Buffer.alloc(JSON.stringify(payload).length + 75, 7);
  const call = (start) =>
    new Promise((resolve, reject) => start((error, value) => (error ? reject(error) : resolve(value))));
  let at = 0;
  return {
    label: "write + fdatasync",
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent++) {
        at += await call((done) => fs.write(file, bytes, 0, bytes.length, at, done));
        await call((done) => fs.fdatasync(file, done));
      }
      tally.count += operations;
      tally.sum += payloadSum(operations);
    },
    close() {
      fs.closeSync(file);
      folder.remove();
    },
  };
}
