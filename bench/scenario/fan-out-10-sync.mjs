/** One publisher, ten exact subscriptions with plain handlers, at most once. A rate counts messages, not deliveries. */

import EventEmitter from "eventemitter3";
import { Subject } from "rxjs";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, publishSyncInBursts, Tally } from "../workload.mjs";

const TOPIC = "orders.created";
const FAN_OUT = 10;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "fan-out-10-sync",
  group: "At most once",
  kind: "rate",
  operations: 400_000,
  rows: [
    {
      label: "`publishSync`, 10 exact subscriptions",
      contender: "ours",
      against: "eventemitter3",
      atLeast: 0.6,
    },
    { label: "the same", contender: "ours", against: "rxjs" },
  ],
  async open() {
    return { ours: await ours(), eventemitter3: eventemitter3(), rxjs: rxjs() };
  },
};

async function ours() {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  for (let i = 0; i < FAN_OUT; i++) {
    broker.subscribe(TOPIC, (message) => {
      tally.add(message.data.id);
    });
  }
  return {
    label: "publishSync",
    tally,
    fanOut: FAN_OUT,
    run: (operations) => publishSyncInBursts(broker, TOPIC, operations, tally, FAN_OUT),
    close: () => broker.close(),
  };
}

function eventemitter3() {
  const emitter = new EventEmitter();
  const tally = new Tally();
  for (let i = 0; i < FAN_OUT; i++) {
    emitter.on(TOPIC, (payload) => {
      tally.add(payload.id);
    });
  }
  return {
    label: "eventemitter3 emit",
    tally,
    fanOut: FAN_OUT,
    run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) emitter.emit(TOPIC, payloads[i]);
      }
    },
  };
}

function rxjs() {
  const subject = new Subject();
  const tally = new Tally();
  for (let i = 0; i < FAN_OUT; i++) {
    subject.subscribe((payload) => {
      tally.add(payload.id);
    });
  }
  return {
    label: "rxjs Subject.next",
    tally,
    fanOut: FAN_OUT,
    run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) subject.next(payloads[i]);
      }
    },
  };
}
