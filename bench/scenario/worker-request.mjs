/** A request from the main thread that a worker answers, one at a time: latency. Beside it a message and its reply. */

import { once } from "node:events";
import { InProcBroker } from "../../dist/index.js";
import { ourThread, rawThread } from "../worker/threads.mjs";
import { BURST, payloads, Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "worker-request",
  group: "Workers",
  kind: "cost",
  operations: 5_000,
  rows: [{ label: "request/reply main ↔ worker, one at a time", contender: "ours", against: "raw", atMost: 1.5 }],
  async open() {
    return { ours: await ours(), raw: await raw() };
  },
};

async function ours() {
  const broker = new InProcBroker();
  const { worker, handle } = await ourThread(broker, { ack: "none" });
  const tally = new Tally();
  return {
    label: "request",
    tally,
    thread: worker,
    async run(operations) {
      for (let sent = 0; sent < operations; sent++) {
        const answer = await broker.request("echo", payloads[sent % BURST]);
        tally.add(answer.id);
      }
    },
    async close() {
      await handle.close();
      await worker.terminate();
      await broker.close();
    },
  };
}

async function raw() {
  const worker = await rawThread(true);
  const tally = new Tally();
  return {
    label: "postMessage and its reply",
    tally,
    thread: worker,
    async run(operations) {
      for (let sent = 0; sent < operations; sent++) {
        const answered = once(worker, "message");
        worker.postMessage(payloads[sent % BURST]);
        const [answer] = await answered;
        tally.add(answer.id);
      }
    },
    close: () => worker.terminate(),
  };
}
