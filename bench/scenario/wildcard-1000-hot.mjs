/** 1,000 wildcard subscriptions of which one matches, 100 topics that come again and again, at most once. */

import mqemitter from "mqemitter";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seen, Tally } from "../workload.mjs";

const PATTERNS = 1000;
const HOT_TOPICS = 100;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "wildcard-1000-hot",
  group: "Wildcards",
  kind: "rate",
  operations: 200_000,
  rows: [
    {
      label: "1,000 wildcard subscriptions, one matching, 100 hot topics, 1,000 in flight",
      contender: "ours",
      against: "mqemitter",
      atLeast: 15,
    },
    { label: "the same with `publishSync`", contender: "oursSync", against: "mqemitter" },
  ],
  async open() {
    return {
      ours: await ours("publish", publishWindow),
      mqemitter: mqemitterContender(),
      oursSync: await ours("publishSync", publishSyncBurst),
    };
  },
};

const hotTopics = (separator) =>
  Array.from({ length: HOT_TOPICS }, (_, i) => ["device", (i * PATTERNS) / HOT_TOPICS, "temperature"].join(separator));

async function ours(label, publishBurst) {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  for (let i = 0; i < PATTERNS; i++) {
    broker.subscribe(`device.${i}.*`, (message) => {
      tally.add(message.data.id);
    });
  }
  const topics = hotTopics(".");
  return {
    label,
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        await publishBurst(broker, topics, tally, sent + BURST);
      }
      await seen(tally, operations);
    },
    close: () => broker.close(),
  };
}

function publishWindow(broker, topics) {
  let last;
  for (let i = 0; i < BURST; i++) last = broker.publish(topics[i % HOT_TOPICS], payloads[i]);
  return last;
}

function publishSyncBurst(broker, topics, tally, goal) {
  for (let i = 0; i < BURST; i++) broker.publishSync(topics[i % HOT_TOPICS], payloads[i]);
  return seen(tally, goal);
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
  const topics = hotTopics("/");
  const done = () => {};
  return {
    label: "mqemitter emit",
    tally,
    run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) emitter.emit({ topic: topics[i % HOT_TOPICS], payload: payloads[i] }, done);
      }
    },
  };
}
