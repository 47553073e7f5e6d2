/**
 * One publisher, one consumer, every delivery acknowledged, at least once.
 *
 * smqp is measured three ways, all of them in memory: a consumer that acknowledges inside its handler, as in its
 * documentation, fed straight into the queue; the setting that was fastest for it among prefetch 1 to 1,000, bursts
 * of 10 to 1,000 and acknowledging at once or a microtask later (async handler, prefetch 10, bursts of 100); and, for
 * context, through a topic exchange, which does the matching that a publish of ours does too.
 */

import { Broker } from "smqp";
import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads, publishInFlight, seen, Tally } from "../workload.mjs";

const TOPIC = "orders.created";
const SMQP_BURST = 100;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "at-least-once-one-to-one",
  group: "At least once",
  kind: "rate",
  operations: 50_000,
  rows: [
    { label: "async handler, ack by itself", contender: "handler", against: "smqp", atLeast: 8 },
    { label: "iterator, `ack()` by hand", contender: "iterator", against: "smqp", atLeast: 8 },
    { label: "async handler, ack by itself", contender: "handler", against: "smqpTuned", atLeast: 8 },
    { label: "iterator, `ack()` by hand", contender: "iterator", against: "smqpTuned", atLeast: 8 },
    { label: "async handler, ack by itself", contender: "handler", against: "smqpExchange" },
  ],
  async open() {
    return {
      handler: await handler(),
      smqp: smqpContender("smqp, ack in the handler", sendToQueue, ackAtOnce),
      iterator: await iterator(),
      smqpTuned: smqpContender("smqp, async, prefetch 10", sendToQueue, ackLater, { prefetch: 10 }),
      smqpExchange: smqpContender("smqp, ack in the handler, topic exchange", publish, ackAtOnce),
    };
  },
};

async function handler() {
  const broker = new InProcBroker({ ack: {} });
  await broker.ready();
  const tally = new Tally();
  broker.subscribe(TOPIC, async (message) => {
    tally.add(message.data.id);
  });
  return {
    label: "publish, async handler",
    tally,
    async run(operations) {
      await publishInFlight(broker, TOPIC, operations);
      await broker.idle();
    },
    close: () => broker.close(),
  };
}

async function iterator() {
  const broker = new InProcBroker({ ack: {} });
  await broker.ready();
  const tally = new Tally();
  const subscription = broker.subscribe(TOPIC);
  const consumer = consume(subscription, tally);
  return {
    label: "publish, iterator",
    tally,
    async run(operations) {
      await publishInFlight(broker, TOPIC, operations);
      await broker.idle();
    },
    async close() {
      await subscription.unsubscribe();
      await consumer;
      await broker.close();
    },
  };
}

async function consume(subscription, tally) {
  for await (const message of subscription) {
    tally.add(message.data.id);
    await message.ack();
  }
}

const sendToQueue = (broker, payload) => broker.sendToQueue("orders", payload);
const publish = (broker, payload) => broker.publish("events", TOPIC, payload);

const ackAtOnce = (tally) => (routingKey, message) => {
  tally.add(message.content.id);
  message.ack();
};
const ackLater = (tally) => async (routingKey, message) => {
  await null;
  tally.add(message.content.id);
  message.ack();
};

function smqpContender(label, send, onMessage, consumeOptions) {
  const broker = new Broker();
  const tally = new Tally();
  broker.assertExchange("events", "topic", { durable: false, autoDelete: false });
  broker.assertQueue("orders", { durable: false, autoDelete: false });
  broker.bindQueue("orders", "events", TOPIC);
  broker.consume("orders", onMessage(tally), consumeOptions);
  return {
    label,
    tally,
    async run(operations) {
      for (let sent = 0; sent < operations; sent += SMQP_BURST) {
        for (let i = 0; i < SMQP_BURST; i++) send(broker, payloads[(sent + i) % BURST]);
        while (tally.count < sent + SMQP_BURST) await null;
      }
      await seen(tally, operations);
    },
    close: () => broker.reset(),
  };
}
