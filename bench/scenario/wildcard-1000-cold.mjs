/** 1,000 wildcard subscriptions of which one matches, and no topic ever comes twice: every match cache misses. */

import mqemitter from "mqemitter";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seen, Tally } from "../workload.mjs";

const PATTERNS = 1000;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "wildcard-1000-cold",
  group: "Wildcards",
  kind: "rate",
  operations: 100_000,
  rows: [
    {
      label: "1,000 wildcard subscriptions, one matching, every topic new, 1,000 in flight",
      contender: "ours",
      against: "mqemitter",
      atLeast: 3,
    },
  ],
  async open() {
    return { ours: await ours(), mqemitter: mqemitterContender() };
  },
};

/** Makes topics that no sample has used before. */
function freshTopics(separator) {
  let serial = 0;
  return (operations) =>
    Array.from({ length: operations }, () => {
      serial += 1;
      return ["device", serial % PATTERNS, `reading-${serial}`].join(separator);
    });
}

async function ours() {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  for (let i = 0; i < PATTERNS; i++) {
    broker.subscribe(`device.${i}.*`, (message) => {
      tally.add(message.data.id);
    });
  }
  return {
    label: "publish",
    tally,
    prepare: freshTopics("."),
    async run(operations, topics) {
      for (let sent = 0; sent < operations; sent += BURST) {
        let last;
        for (let i = 0; i < BURST; i++) last = broker.publish(topics[sent + i], payloads[i]);
        await last;
      }
      await seen(tally, operations);
    },
    close: () => broker.close(),
  };
}

function mqemitterContender() {
  const emitter = mqemitter({ concurrency: BURST });
  const tally = new Tally();
  for (let i = 0; i < PATTERNS; i++) {
    emitter.on(`device/${i}/+`, (message, callback) => {
      tally.add(message.payload.id);
      callback();
    });
  }
  const done = () => {};
  return {
    label: "mqemitter emit",
    tally,
    prepare: freshTopics("/"),
    run(operations, topics) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) emitter.emit({ topic: topics[sent + i], payload: payloads[i] }, done);
      }
    },
  };
}
