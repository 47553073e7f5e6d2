// @ts-check
// Topics are dot-separated names. In a pattern `*` is one token, and `>` at the end is one token or more.
import { BrokerError, InProcBroker, matchesPattern } from "inproc-broker";

const broker = await InProcBroker.open();

/** @type {Record<string, string[]>} who got what */
const got = {};
/** @param {string} name */
function note(name) {
  const list = (got[name] = /** @type {string[]} */ ([]));
  return (/** @type {import("inproc-broker").Message} */ msg) => void list.push(msg.topic);
}
broker.subscribe("orders.created", note("orders.created"));
broker.subscribe("orders.*.created", note("orders.*.created"));
broker.subscribe("orders.>", note("orders.>"));
broker.subscribe(["orders.>", "refunds.*"], note("orders.> and refunds.*")); // may match twice, is delivered once
broker.subscribe(">", note(">"));

for (const topic of ["orders.created", "orders.eu.created", "refunds.eu", "orders"]) {
  const { matched } = await broker.publish(topic, {});
  console.log(`${topic} went to ${matched}`);
}
await broker.idle();
for (const [pattern, topics] of Object.entries(got)) console.log(`${pattern}: ${topics.join(", ")}`);

// The same question without a broker, and what is no topic.
console.log(matchesPattern("orders.>", "orders.eu"), matchesPattern("orders.>", "orders"));
console.log(
  await broker
    .publish("orders.*", {})
    .catch((/** @type {unknown} */ error) => error instanceof BrokerError && error.code),
);
await broker.close();

/* Prints:
orders.created went to 4
orders.eu.created went to 4
refunds.eu went to 2
orders went to 1
orders.created: orders.created
orders.*.created: orders.eu.created
orders.>: orders.created, orders.eu.created
orders.> and refunds.*: orders.created, orders.eu.created, refunds.eu
>: orders.created, orders.eu.created, refunds.eu, orders
true false
ERR_INVALID_TOPIC
*/
