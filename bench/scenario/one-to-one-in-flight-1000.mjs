/**
 * One publisher that keeps 1,000 publishes in flight, one exact subscription with a plain handler, at most once.
 *
 * mqemitter is fastest when its handler calls back at once, and then nothing is ever in flight: that is the one
 * to beat. The line with an answer in a microtask is the same emitter with 1,000 really in flight.
 */

import fastq from "fastq";
import mqemitter from "mqemitter";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, publishInFlight, seen, Tally } from "../workload.mjs";

const TOPIC = "orders.created";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "one-to-one-in-flight-1000",
  group: "At most once",
  kind: "rate",
  operations: 300_000,
  rows: [
    {
      label: "`publish`, 1,000 in flight, 1 subscription",
      contender: "ours",
      against: "mqemitter",
      atLeast: 4,
    },
    {
      label: "the same, every promise in a `Promise.all`",
      contender: "oursAll",
      against: "mqemitter",
    },
    {
      label: "`publish`, 1,000 in flight, 1 subscription",
      contender: "ours",
      against: "mqemitterMicrotask",
    },
    { label: "the same", contender: "ours", against: "fastq" },
  ],
  async open() {
    return {
      ours: await ours("publish", publishInFlight),
      mqemitter: mqemitterContender("mqemitter emit", (callback) => callback()),
      oursAll: await ours("publish, Promise.all", publishAll),
      mqemitterMicrotask: mqemitterContender("mqemitter emit, answer in a microtask", (callback) =>
        queueMicrotask(callback),
      ),
      fastq: fastqContender(),
    };
  },
};

async function ours(label, publish) {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  broker.subscribe(TOPIC, (message) => {
    tally.add(message.data.id);
  });
  return {
    label,
    tally,
    async run(operations) {
      await publish(broker, TOPIC, operations);
      await seen(tally, operations);
    },
    close: () => broker.close(),
  };
}

async function publishAll(broker, topic, operations) {
  const promises = new Array(BURST);
  for (let sent = 0; sent < operations; sent += BURST) {
    for (let i = 0; i < BURST; i++) promises[i] = broker.publish(topic, payloads[i]);
    await Promise.all(promises);
  }
}

function mqemitterContender(label, answer) {
  const emitter = mqemitter({ concurrency: BURST });
  const tally = new Tally();
  emitter.on(TOPIC, (message, callback) => {
    tally.add(message.payload.id);
    answer(callback);
  });
  return {
    label,
    tally,
    /** Keeps up to 1,000 emits unanswered, and is done when all are answered. */
    async run(operations) {
      let sent = 0;
      let answered = 0;
      let resume;
      const done = () => {
        answered += 1;
        if (resume !== undefined && answered === sent) resume();
      };
      while (sent < operations) {
        for (let i = 0; i < BURST; i++) {
          sent += 1;
          emitter.emit({ topic: TOPIC, payload: payloads[i] }, done);
        }
        if (answered < sent) await new Promise((resolve) => (resume = resolve));
        resume = undefined;
      }
    },
  };
}

function fastqContender() {
  const tally = new Tally();
  const queue = fastq((payload, callback) => {
    tally.add(payload.id);
    callback(null);
  }, 1);
  const done = () => {};
  return {
    label: "fastq push",
    tally,
    run(operations) {
      for (let sent = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) queue.push(payloads[i], done);
      }
    },
  };
}
