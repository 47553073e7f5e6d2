/**
 * What a full collection of an idle broker costs the messages after it: `node --expose-gc bench/micro/after-collection.mjs`.
 *
 * V8 throws away compiled code when the last object of a shape that it was compiled for is collected; see
 * src/broker/kept-shapes.ts, which keeps one of each.
 */

import { InProcBroker } from "../../dist/index.js";
import { BURST, payloads } from "../workload.mjs";

const SAMPLES = 15;
const MESSAGES = 300_000;

const broker = await InProcBroker.open();
let sum = 0;
broker.subscribe("orders.created", (message) => {
  sum += message.data.id;
});

async function nsPerMessage() {
  const before = performance.now();
  for (let sent = 0; sent < MESSAGES; sent += BURST) {
    let last;
    for (let i = 0; i < BURST; i++) last = broker.publish("orders.created", payloads[i]);
    await last;
  }
  return ((performance.now() - before) * 1e6) / MESSAGES;
}

const plain = [];
const collected = [];
for (let i = 0; i < SAMPLES; i++) {
  plain.push(await nsPerMessage());
  globalThis.gc();
  collected.push(await nsPerMessage());
}
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1].toFixed(0);
console.log(`${median(plain)} ns a message; ${median(collected)} ns after a full collection`);
if (sum === 0) throw new Error("nothing was delivered");
await broker.close();
