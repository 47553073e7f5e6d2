/**
 * A group of two workers, at least once: each message is acknowledged by the worker that got it. Beside it two threads that are sent
 * messages in turn, one by one, and answer each.
 */

import { InProcBroker } from "../../dist/index.js";
import { ourThread, rawThread, report } from "../worker/threads.mjs";
import { BURST, payloads, publishInFlight, Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "worker-group-of-two",
  group: "Workers",
  kind: "rate",
  operations: 50_000,
  rows: [{ label: "main → 2 workers in a group, acknowledged", contender: "ours", against: "raw", atLeast: 3 }],
  async open() {
    return { ours: await ours(), raw: await raw() };
  },
};

async function ours() {
  const broker = new InProcBroker({ ack: {} });
  const options = { group: "workers", maxInFlight: 512 };
  const threads = [await ourThread(broker, options), await ourThread(broker, options)];
  const tally = new Tally();
  return {
    label: "publish, group of 2 workers",
    tally,
    thread: threads[0].worker,
    async run(operations) {
      await publishInFlight(broker, "numbers", operations);
      await broker.idle();
      await Promise.all(threads.map(({ worker }) => report(worker, tally)));
    },
    async close() {
      for (const { worker, handle } of threads) {
        await handle.close();
        await worker.terminate();
      }
      await broker.close();
    },
  };
}

async function raw() {
  const threads = [await rawThread(true), await rawThread(true)];
  const tally = new Tally();
  let answered = 0;
  let wanted = 0;
  let done = () => {};
  for (const worker of threads) {
    worker.on("message", (message) => {
      if (message?.id === undefined) return;
      answered += 1;
      if (answered === wanted) done();
    });
  }
  return {
    label: "postMessage and a reply, 2 threads",
    tally,
    thread: threads[0],
    async run(operations) {
      // As many on their way as ours has: a thousand.
      for (let sent = 0; sent < operations; sent += BURST) {
        answered = 0;
        wanted = BURST;
        const burst = new Promise((resolve) => {
          done = resolve;
        });
        for (let i = 0; i < BURST; i++) threads[i % 2].postMessage(payloads[i]);
        await burst;
      }
      await Promise.all(threads.map((worker) => report(worker, tally)));
    },
    close: () => Promise.all(threads.map((worker) => worker.terminate())),
  };
}
