/**
 * What it costs to publish when 100,000 subscriptions on distinct topics exist, beside 10.
 *
 * The target is for the same 10 hot topics in both: what the subscriptions that do not match cost. The second
 * line publishes to all 100,000 topics in random order, so it pays for what no cache can hold as well.
 */

import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seededRandom, seen, shuffled, Tally } from "../workload.mjs";

const MANY = 100_000;
const HOT = 10;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "subscriptions-100k",
  group: "Cost of one more",
  kind: "cost",
  operations: 300_000,
  rows: [
    {
      label: "`publishSync` to 10 hot topics, 100,000 subscriptions beside 10",
      contender: "manyHot",
      against: "few",
      atMost: 1.5,
    },
    {
      label: "`publishSync` to 100,000 topics in random order, 100,000 subscriptions beside 10",
      contender: "manyRandom",
      against: "few",
      cost: true,
    },
  ],
  async open() {
    const few = await open(HOT);
    const many = await open(MANY);
    const hotTopics = many.topics.slice(0, HOT);
    const randomTopics = shuffled(MANY, seededRandom(1)).map((i) => many.topics[i]);
    return {
      manyHot: contender("100,000 subscriptions, 10 hot topics", many, hotTopics),
      few: contender("10 subscriptions, 10 hot topics", few, few.topics),
      manyRandom: contender("100,000 subscriptions, random topics", many, randomTopics),
    };
  },
};

async function open(subscriptions) {
  const broker = new InProcBroker({
    limits: { maxTopics: 2 * MANY, maxSubscriptions: 2 * MANY },
  });
  await broker.ready();
  const tally = new Tally();
  const topics = Array.from({ length: subscriptions }, (_, i) => `sensor.${i}.temperature`);
  for (const topic of topics) {
    broker.subscribe(topic, (message) => {
      tally.add(message.data.id);
    });
  }
  return { broker, tally, topics };
}

function contender(label, { broker, tally }, topics) {
  return {
    label,
    tally,
    async run(operations) {
      for (let sent = 0, next = 0; sent < operations; sent += BURST) {
        for (let i = 0; i < BURST; i++) {
          broker.publishSync(topics[next], payloads[i]);
          if (++next === topics.length) next = 0;
        }
        await seen(tally, sent + BURST);
      }
    },
    close: () => broker.close(),
  };
}
