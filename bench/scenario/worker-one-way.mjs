/**
 * Small messages from the main thread to a handler in a worker, at most once. Beside it postMessage, with a hundred messages in each
 * call and with one: no broker, no flow control, no bound on what waits.
 */

import { InProcBroker } from "../../dist/index.js";
import { expecting, ourThread, rawThread } from "../worker/threads.mjs";
import { BURST, payloads, Tally, turn } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "worker-one-way",
  group: "Workers",
  kind: "rate",
  operations: 200_000,
  rows: [
    { label: "main → worker, at most once", contender: "ours", against: "hundreds", atLeast: 0.6 },
    { label: "the same", contender: "ours", against: "ones", atLeast: 5 },
  ],
  async open() {
    return { ours: await ours(), hundreds: await raw(100), ones: await raw(1) };
  },
};

async function ours() {
  const broker = new InProcBroker();
  const { worker, handle } = await ourThread(broker, { ack: "none" });
  const tally = new Tally();
  return {
    label: "publishSync, handler in a worker",
    tally,
    thread: worker,
    prepare: (operations) => expecting(worker, operations, tally),
    async run(operations, { seen }) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) broker.publishSync("numbers", payloads[i]);
        do await turn();
        while (broker.subscriptions({ topic: "numbers" })[0].queued > 0);
      }
      await seen;
    },
    async close() {
      await handle.close();
      await worker.terminate();
      await broker.close();
    },
  };
}

async function raw(size) {
  const worker = await rawThread();
  const tally = new Tally();
  return {
    label: `postMessage, ${size} in each`,
    tally,
    thread: worker,
    prepare: (operations) => expecting(worker, operations, tally),
    async run(operations, { seen }) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i += size) {
          worker.postMessage(size === 1 ? payloads[i] : payloads.slice(i, i + size));
        }
        await turn();
      }
      await seen;
    },
    close: () => worker.terminate(),
  };
}
