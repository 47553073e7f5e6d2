/** Buffers of 64 KiB that move from the main thread to a worker, not copied. Beside it postMessage with a transfer list. */

import { InProcBroker } from "../../dist/index.js";
import { expecting, ourThread, rawThread } from "../worker/threads.mjs";
import { Tally, turn } from "../workload.mjs";

const BYTES = 65_536;
/** Buffers sent before the worker has its turn. */
const BUFFERS_PER_TURN = 50;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "worker-transfer-64k",
  group: "Workers",
  kind: "rate",
  operations: 2_000,
  rows: [{ label: "64 KiB buffers, transferred", contender: "ours", against: "raw", atLeast: 0.8 }],
  async open() {
    return { ours: await ours(), raw: await raw() };
  },
};

const expect = (operations) => ({ count: operations, sum: (operations * (operations - 1)) / 2 });

function buffers(operations) {
  return Array.from({ length: operations }, (_, id) => {
    const buffer = new ArrayBuffer(BYTES);
    new Uint32Array(buffer, 0, 1)[0] = id;
    return buffer;
  });
}

async function ours() {
  const broker = new InProcBroker();
  const { worker, handle } = await ourThread(broker, { ack: "none", transfer: true });
  const tally = new Tally();
  return {
    label: "publish, a subscription with transfer",
    tally,
    thread: worker,
    expect,
    prepare: async (operations) => ({
      sent: buffers(operations),
      ...(await expecting(worker, operations, tally)),
    }),
    async run(operations, { sent, seen }) {
      for (let first = 0; first < operations; first += BUFFERS_PER_TURN) {
        let last;
        for (let i = 0; i < BUFFERS_PER_TURN; i++) last = broker.publish("numbers", sent[first + i]);
        await last;
        await turn();
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

async function raw() {
  const worker = await rawThread();
  const tally = new Tally();
  return {
    label: "postMessage with a transfer list",
    tally,
    thread: worker,
    expect,
    prepare: async (operations) => ({
      sent: buffers(operations),
      ...(await expecting(worker, operations, tally)),
    }),
    async run(operations, { sent, seen }) {
      for (let first = 0; first < operations; first += BUFFERS_PER_TURN) {
        for (let i = 0; i < BUFFERS_PER_TURN; i++) worker.postMessage(sent[first + i], [sent[first + i]]);
        await turn();
      }
      await seen;
    },
    close: () => worker.terminate(),
  };
}
