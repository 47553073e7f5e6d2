// @ts-check
// Payloads by topic, checked by the compiler. In TypeScript: `await InProcBroker.open<Topics>()`.
import { InProcBroker } from "inproc-broker";

/**
 * Keys may be patterns: they type every topic that they match.
 *
 * @typedef {{
 *   "orders.created": { id: number, total: number },
 *   "orders.cancelled": { id: number, reason: string },
 *   "sensors.*.temperature": number,
 * }} Topics
 */
const broker = /** @type {InProcBroker<Topics>} */ (await InProcBroker.open());

/** @type {string[]} */
const lines = [];
broker.subscribe("orders.created", (msg) => void lines.push(`total ${msg.data.total.toFixed(2)}`));
broker.subscribe("sensors.*.temperature", (msg) => void lines.push(`${msg.topic} ${msg.data.toFixed(1)}`));

// A wildcard delivers a union; the topic tells which member it is.
broker.subscribe("orders.*", (msg) => {
  if (msg.topic === "orders.cancelled") lines.push(`cancelled because ${msg.data.reason}`);
  else lines.push(`created ${msg.data.id}`);
});

await broker.publish("orders.created", { id: 1, total: 59.9 });
await broker.publish("orders.cancelled", { id: 1, reason: "I changed my mind" });
await broker.publish("sensors.kitchen.temperature", 21);
await broker.idle();
console.log(lines.sort().join("\n"));
await broker.close();

/** What the compiler refuses; never called. */
export async function mistakes() {
  // @ts-expect-error -- a topic that the map does not have
  await broker.publish("orders.craeted", { id: 2, total: 1 });
  // @ts-expect-error -- the payload of another topic
  await broker.publish("orders.cancelled", { id: 2, total: 1 });
  // @ts-expect-error -- orders have no name
  broker.subscribe("orders.created", (msg) => console.log(msg.data.name));
}

/* Prints:
cancelled because I changed my mind
created 1
sensors.kitchen.temperature 21.0
total 59.90
*/
