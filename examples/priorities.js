// @ts-check
// A consumer always gets the highest priority that is waiting; within one priority, first in first out.
import { InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open();
const sub = broker.subscribe("tickets.*");

await broker.publish("tickets.new", "password reset", { priority: "low" });
await broker.publish("tickets.new", "invoice question"); // normal, 4
await broker.publish("tickets.new", "cannot log in", { priority: "high" });
await broker.publish("tickets.new", "another question", { priority: 4 });
await broker.publish("tickets.new", "everything is down", { priority: "highest" });

console.log("waiting:", broker.peek(sub).length); // looks, and changes nothing
for (const msg of await sub.fetch(5, { timeout: 0 })) console.log(msg.priority, msg.data);
await broker.close();

// With aging, 50 ms of waiting count as much as one priority: what waits long enough overtakes.
const fair = await InProcBroker.open({ priority: { aging: 50 }, clock: steps() });
const queue = fair.subscribe("tickets.*");
await fair.publish("tickets.new", "low, published first", { priority: 2 });
await fair.publish("tickets.new", "high, 400 ms later", { priority: 7 });
for (const msg of await queue.fetch(2, { timeout: 0 })) console.log(msg.priority, msg.data);
await fair.close();

/**
 * Time is injected: on this clock the wall clock moves 400 ms at each look.
 *
 * @returns {import("inproc-broker").Clock}
 */
function steps() {
  let now = Date.UTC(2026, 0, 1);
  return { now: () => (now += 400), monotonic: () => performance.now(), schedule: () => () => undefined };
}

/* Prints:
waiting: 5
9 everything is down
7 cannot log in
4 invoice question
4 another question
2 password reset
2 low, published first
7 high, 400 ms later
*/
