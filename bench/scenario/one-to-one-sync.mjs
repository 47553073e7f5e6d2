/** One publisher, one exact subscription, a plain handler, at most once; no promise anywhere. */

import EventEmitter from "eventemitter3";
import { Subject } from "rxjs";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, publishSyncInBursts, Tally } from "../workload.mjs";

const TOPIC = "orders.created";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "one-to-one-sync",
  group: "At most once",
  kind: "rate",
  operations: 3_000_000,
  rows: [
    {
      label: "`publishSync`, 1 exact subscription",
      contender: "ours",
      against: "eventemitter3",
      atLeast: 0.4,
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
  broker.subscribe(TOPIC, (message) => {
    tally.add(message.data.id);
  });
  return {
    label: "publishSync",
    tally,
    run: (operations) => publishSyncInBursts(broker, TOPIC, operations, tally),
    close: () => broker.close(),
  };
}

function eventemitter3() {
  const emitter = new EventEmitter();
  const tally = new Tally();
  emitter.on(TOPIC, (payload) => {
    tally.add(payload.id);
  });
  return {
    label: "eventemitter3 emit",
    tally,
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
  subject.subscribe((payload) => {
    tally.add(payload.id);
  });
  return {
    label: "rxjs Subject.next",
    tally,
    run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) subject.next(payloads[i]);
      }
    },
  };
}
