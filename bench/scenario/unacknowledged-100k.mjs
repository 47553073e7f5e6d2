/**
 * What it costs to publish, deliver and acknowledge one more message in a subscription that holds 100,000
 * unacknowledged deliveries, each with its timeout, beside one that holds 1,000.
 */

import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, seen, Tally } from "../workload.mjs";

const TOPIC = "orders.created";
const HOUR_MS = 3_600_000;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "unacknowledged-100k",
  group: "Cost of one more",
  kind: "cost",
  operations: 100_000,
  rows: [
    {
      label: "publish, deliver, ack, 100,000 unacknowledged beside 1,000",
      contender: "many",
      against: "few",
      atMost: 1.5,
    },
  ],
  async open() {
    return {
      many: await contender("100,000 unacknowledged", 100_000),
      few: await contender("1,000 unacknowledged", 1000),
    };
  },
};

async function contender(label, unacknowledged) {
  const broker = new InProcBroker({ ack: {} });
  await broker.ready();
  const tally = new Tally();
  const held = [];
  broker.subscribe(
    TOPIC,
    (message) => {
      tally.add(message.data.id);
      if (held.length < unacknowledged) held.push(message);
      else void message.ack();
    },
    {
      ack: "manual",
      ackTimeout: HOUR_MS,
      maxInFlight: 2 * unacknowledged,
      maxMessages: 1_000_000,
      maxBytes: 2 ** 30,
    },
  );
  await publish(broker, unacknowledged, tally);
  if (held.length !== unacknowledged) throw new Error(`${held.length} held`);
  tally.reset();
  return {
    label,
    tally,
    run: (operations) => publish(broker, operations, tally),
    finish() {
      if (held.some((message) => message.deliveryCount !== 1)) throw new Error("redelivered");
    },
    close: () => broker.close({ drain: false }),
  };
}

async function publish(broker, count, tally) {
  for (let sent = 0; sent < count; sent += BURST) {
    let last;
    for (let i = 0; i < BURST; i++) last = broker.publish(TOPIC, payloads[i]);
    await last;
    await seen(tally, sent + BURST);
  }
}
