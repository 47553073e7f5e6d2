/** Bytes of heap that one waiting message takes, its payload (shared by all of them) not counted. */

import fastq from "fastq";
import { Broker } from "smqp";
import { InProcBroker } from "../../dist/index.js";
import { collectGarbage, spread } from "../harness.mjs";
import { payloads } from "../workload.mjs";

const TOPIC = "orders.created";
const HOUR_MS = 3_600_000;
const roomy = { maxMessages: 1_000_000, maxBytes: 2 ** 30 };
const payload = payloads[0];

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "heap-per-message",
  group: "Heap per queued message",
  kind: "figures",
  async measure({ quick, rounds }) {
    const messages = quick ? 20_000 : 100_000;
    const results = Object.fromEntries(Object.keys(contenders).map((label) => [label, []]));
    for (let round = 0; round < Math.min(rounds, 5); round++) {
      for (const [label, fill] of Object.entries(contenders)) {
        results[label].push(await bytesPerMessage(fill, messages));
      }
    }
    return {
      columns: [`${messages.toLocaleString("en")} messages waiting`, "bytes each (min–max)"],
      rows: Object.entries(results).map(([label, bytes]) => {
        const { median, min, max } = spread(bytes);
        return {
          cells: [label, `${median.toFixed(0)} (${min.toFixed(0)}–${max.toFixed(0)})`],
        };
      }),
      data: results,
    };
  },
};

/** Each fills something with messages and returns what keeps it alive, and how to close it. */
const contenders = {
  "inproc-broker, paused subscription": async (messages) => {
    const broker = await open();
    broker.subscribe(TOPIC, () => {}, roomy).pause();
    for (let i = 0; i < messages; i++) broker.publishSync(TOPIC, payload);
    return { kept: broker, close: () => broker.close({ drain: false }) };
  },
  "inproc-broker, paused subscription, each with its own priority of 10": async (messages) => {
    const broker = await open();
    broker.subscribe(TOPIC, () => {}, roomy).pause();
    for (let i = 0; i < messages; i++) broker.publishSync(TOPIC, payload, { priority: i % 10 });
    return { kept: broker, close: () => broker.close({ drain: false }) };
  },
  "inproc-broker, paused subscription, at least once": async (messages) => {
    const broker = await open({ ack: {} });
    broker.subscribe(TOPIC, async () => {}, roomy).pause();
    for (let i = 0; i < messages; i++) await broker.publish(TOPIC, payload);
    return { kept: broker, close: () => broker.close({ drain: false }) };
  },
  "inproc-broker, delivered and not acknowledged": async (messages) => {
    const broker = await open({ ack: {} });
    let delivered = 0;
    broker.subscribe(
      TOPIC,
      () => {
        delivered += 1;
      },
      { ...roomy, ack: "manual", maxInFlight: messages, ackTimeout: HOUR_MS },
    );
    for (let i = 0; i < messages; i++) await broker.publish(TOPIC, payload);
    while (delivered < messages) await new Promise((resolve) => setImmediate(resolve));
    return { kept: broker, close: () => broker.close({ drain: false }) };
  },
  "inproc-broker, delayed": async (messages) => {
    const broker = await open();
    broker.subscribe(TOPIC, () => {}, roomy);
    for (let i = 0; i < messages; i++) await broker.publish(TOPIC, payload, { delay: HOUR_MS });
    return { kept: broker, close: () => broker.close({ drain: false }) };
  },
  "smqp, queue without a consumer": async (messages) => {
    const broker = new Broker();
    broker.assertQueue("orders", { durable: false, autoDelete: false });
    for (let i = 0; i < messages; i++) broker.sendToQueue("orders", payload);
    return { kept: broker, close: () => broker.reset() };
  },
  "fastq, paused": async (messages) => {
    const queue = fastq((task, callback) => callback(null), 1);
    const done = () => {};
    queue.pause();
    for (let i = 0; i < messages; i++) queue.push(payload, done);
    return { kept: queue, close: () => queue.kill() };
  },
  "an array of { topic, payload }": async (messages) => {
    const queue = [];
    for (let i = 0; i < messages; i++) queue.push({ topic: TOPIC, payload });
    return { kept: queue, close: () => queue.splice(0) };
  },
};

async function open(options = {}) {
  const broker = new InProcBroker(options);
  await broker.ready();
  return broker;
}

async function bytesPerMessage(fill, messages) {
  const emptied = await fill(1000);
  await emptied.close();
  const before = bytesInUse();
  const filled = await fill(messages);
  const bytes = bytesInUse() - before;
  await filled.close();
  return bytes / messages;
}

function bytesInUse() {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
