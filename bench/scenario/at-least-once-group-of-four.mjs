/**
 * One publisher, a group of four competing consumers, at least once.
 *
 * smqp: four consumers of one queue. With async handlers, prefetch 10 and bursts of 100, the fastest setting at which
 * all four work; and acknowledging inside the handler, as in its documentation, where the first consumer takes
 * everything, since it is always free again before the next message.
 */

import { Broker } from "smqp";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, publishInFlight, Tally } from "../workload.mjs";

const TOPIC = "orders.created";
const MEMBERS = 4;
const SMQP_BURST = 100;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "at-least-once-group-of-four",
  group: "At least once",
  kind: "rate",
  operations: 50_000,
  rows: [
    { label: "group of 4, async handlers", contender: "ours", against: "smqp", atLeast: 5 },
    { label: "the same", contender: "ours", against: "smqpAtOnce", atLeast: 5 },
  ],
  async open() {
    return { ours: await ours(), smqp: smqp(), smqpAtOnce: smqpAtOnce() };
  },
};

/** Throws when a member was left out, since then the others did not compete. */
function checkShares(shares) {
  if (shares.some((share) => share === 0)) throw new Error(`unfair shares: ${shares.join(", ")}`);
  shares.fill(0);
}

async function ours() {
  const broker = new InProcBroker({ ack: {} });
  await broker.ready();
  const tally = new Tally();
  const shares = new Array(MEMBERS).fill(0);
  for (let member = 0; member < MEMBERS; member++) {
    broker.subscribe(
      TOPIC,
      async (message) => {
        await null;
        shares[member] += 1;
        tally.add(message.data.id);
      },
      { group: "workers" },
    );
  }
  return {
    label: "publish, group",
    tally,
    async run(operations) {
      await publishInFlight(broker, TOPIC, operations);
      await broker.idle();
    },
    finish: () => checkShares(shares),
    close: () => broker.close(),
  };
}

function smqp() {
  const broker = new Broker();
  const tally = new Tally();
  const shares = new Array(MEMBERS).fill(0);
  broker.assertQueue("orders", { durable: false, autoDelete: false });
  for (let member = 0; member < MEMBERS; member++) {
    broker.consume(
      "orders",
      async (routingKey, message) => {
        await null;
        shares[member] += 1;
        tally.add(message.content.id);
        message.ack();
      },
      { prefetch: 10, consumerTag: `worker-${member}` },
    );
  }
  return {
    label: "smqp, 4 consumers, async, prefetch 10",
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += SMQP_BURST) {
        for (let i = 0; i < SMQP_BURST; i++) {
          broker.sendToQueue("orders", payloads[(sent + i) % BURST]);
        }
        while (tally.count < sent + SMQP_BURST) await null;
      }
    },
    finish: () => checkShares(shares),
    close: () => broker.reset(),
  };
}

function smqpAtOnce() {
  const broker = new Broker();
  const tally = new Tally();
  broker.assertQueue("orders", { durable: false, autoDelete: false });
  for (let member = 0; member < MEMBERS; member++) {
    broker.consume(
      "orders",
      (routingKey, message) => {
        tally.add(message.content.id);
        message.ack();
      },
      { consumerTag: `worker-${member}` },
    );
  }
  return {
    label: "smqp, 4 consumers, ack in the handler",
    tally,
    run(operations) {
      for (let sent = 0; sent < operations; sent++) broker.sendToQueue("orders", payloads[sent % BURST]);
    },
    close: () => broker.reset(),
  };
}
