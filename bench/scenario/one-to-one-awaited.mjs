/** One publisher that awaits each publish before the next, one exact subscription with a plain handler, at most once. */

import Emittery from "emittery";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seen, Tally } from "../workload.mjs";

const TOPIC = "orders.created";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "one-to-one-awaited",
  group: "At most once",
  kind: "rate",
  operations: 200_000,
  rows: [{ label: "each `publish` awaited", contender: "ours", against: "emittery", atLeast: 4 }],
  async open() {
    return { ours: await ours(), emittery: emittery() };
  },
};

async function ours() {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  broker.subscribe(TOPIC, (message) => {
    tally.add(message.data.id);
  });
  return {
    label: "publish",
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) await broker.publish(TOPIC, payloads[i]);
      }
      await seen(tally, operations);
    },
    close: () => broker.close(),
  };
}

function emittery() {
  const emitter = new Emittery();
  const tally = new Tally();
  emitter.on(TOPIC, (payload) => {
    tally.add(payload.id);
  });
  return {
    label: "emittery emit",
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) await emitter.emit(TOPIC, payloads[i]);
      }
    },
  };
}
