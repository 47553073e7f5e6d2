/** Chains of hashes, half a millisecond each, in a pool of one worker and in one of two: what a second core brings. */

import { InProcBroker } from "../../dist/index.js";
import { workerPool } from "../../dist/worker/index.js";
import { BURST, payloads, Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "worker-pool-scaling",
  group: "Workers",
  kind: "rate",
  operations: 1_000,
  rows: [{ label: "hashing, 2 workers", contender: "two", against: "one", atLeast: 1.7 }],
  async open() {
    return { one: await pool(1), two: await pool(2) };
  },
};

async function pool(size) {
  const broker = new InProcBroker({ ack: {} });
  const workers = workerPool(broker, "jobs", new URL("../worker/hash.mjs", import.meta.url), { size, prefetch: 8 });
  await workers.ready();
  const tally = new Tally();
  return {
    label: `a pool of ${size}`,
    tally,
    expect: (operations) => ({ count: operations, sum: 0 }),
    async run(operations) {
      const before = workers.stats().done;
      for (let sent = 0; sent < operations; sent++) await broker.publish("jobs", payloads[sent % BURST]);
      await broker.idle();
      tally.count = workers.stats().done - before;
    },
    async close() {
      await workers.close();
      await broker.close();
    },
  };
}
