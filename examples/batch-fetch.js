// @ts-check
// Pull in batches: for inserts of many rows, uploads of many lines, and everything that is dear by the call.
import { BrokerError, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: {} });
const sub = broker.subscribe("events.>", { maxInFlight: 100 });

const receipts = await broker.publishBatch(
  Array.from({ length: 250 }, (_, n) => ({ topic: `events.page-${n % 3}`, data: { n } })),
); // all 250 or none
console.log("published", receipts.length);

/** @type {number[]} */
const batches = [];
for (;;) {
  const batch = await sub.fetch(100, { timeout: 20 }); // 100, or what there is after 20 ms
  if (batch.length === 0) break;
  batches.push(batch.length);
  // await insertAll(batch.map((msg) => msg.data));
  await Promise.all(batch.map((msg) => msg.ack()));
}
console.log("batches of", batches);

// One refused entry refuses them all.
const refused = await broker
  .publishBatch([
    { topic: "events.ok", data: 1 },
    { topic: "events..wrong", data: 2 },
  ])
  .catch(codeOf);
console.log(refused, "delivered:", sub.stats().delivered, "queued:", sub.stats().queued);
await broker.close();

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof BrokerError ? error.code : error;
}

/* Prints:
published 250
batches of [ 100, 100, 50 ]
ERR_INVALID_TOPIC delivered: 250 queued: 0
*/
