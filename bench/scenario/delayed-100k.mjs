/** What it costs to delay one more message when 100,000 wait for their time, beside 1,000. */

import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seededRandom, Tally } from "../workload.mjs";

const TOPIC = "reminders.due";
const HOUR_MS = 3_600_000;
/** Brokers that a sample is spread over, so that it is long enough to time and `few` stays few. */
const BROKERS = 4;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "delayed-100k",
  group: "Cost of one more",
  kind: "cost",
  operations: 4000,
  rows: [
    {
      label: "delayed: `publish` with `delay`, 100,000 waiting beside 1,000",
      contender: "many",
      against: "few",
      atMost: 1.5,
    },
  ],
  async open() {
    return { many: contender("100,000 waiting", 100_000), few: contender("1,000 waiting", 1000) };
  },
};

function contender(label, waiting) {
  const tally = new Tally();
  const random = seededRandom(waiting);
  return {
    label,
    tally,
    expect: () => ({ count: 0, sum: 0 }),
    async prepare() {
      const brokers = [];
      for (let i = 0; i < BROKERS; i++) {
        const broker = new InProcBroker();
        await broker.ready();
        broker.subscribe(
          TOPIC,
          (message) => {
            tally.add(message.data.id);
          },
          { maxMessages: 1_000_000 },
        );
        await publishDelayed(broker, waiting, random);
        brokers.push(broker);
      }
      return brokers;
    },
    async run(operations, brokers) {
      for (const broker of brokers) await publishDelayed(broker, operations / BROKERS, random);
    },
    async finish(brokers) {
      for (const broker of brokers) await broker.close({ drain: false });
    },
  };
}

/** Delays are spread over an hour, and begin an hour from now: none falls due while this runs. */
async function publishDelayed(broker, count, random) {
  for (let sent = 0; sent < count;) {
    let last;
    for (let i = 0; i < BURST && sent < count; i++, sent++) {
      last = broker.publish(TOPIC, payloads[i], { delay: HOUR_MS + random() * HOUR_MS });
    }
    await last;
  }
}
