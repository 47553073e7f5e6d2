// @ts-check
// Every queue is bounded. What happens to a message that finds it full is the subscription's `overflow` policy.
import { BrokerError, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open();
broker.on("slow-consumer", ({ subscription }) => console.log("slow:", subscription));

// "wait", the default: the publisher's promise waits until there is room. Nothing is lost, and nobody else waits.
const slow = broker.subscribe("work.*", { name: "slow", maxMessages: 2 });
/** @type {number[]} */
const quick = [];
broker.subscribe("work.*", (msg) => void quick.push(msg.data), { name: "quick" });
let released = 0;
const publishes = [1, 2, 3, 4].map((n) => broker.publish("work.item", n).then(() => (released += 1)));
await broker.idle({ topic: "other" });
console.log("released:", released, "held back:", slow.stats().waiting, "the quick one has:", quick.join(" "));
await slow.fetch(2);
await Promise.all(publishes);
console.log("released:", released);
await slow.unsubscribe();

// The other policies, each on a queue of two.
for (const overflow of /** @type {const} */ (["drop-oldest", "drop-newest", "error", "close"])) {
  const sub = broker.subscribe(`full.${overflow}`, { name: overflow, maxMessages: 2, overflow });
  /** @type {string[]} */
  const outcomes = [];
  for (const n of [1, 2, 3]) {
    try {
      const { report } = await broker.publish(`full.${overflow}`, n, { report: true });
      outcomes.push(report?.[0]?.outcome ?? "nobody");
    } catch (error) {
      outcomes.push(error instanceof BrokerError ? error.code : String(error));
    }
  }
  const left = sub.state === "open" ? broker.peek(sub).map(({ data }) => data) : sub.state;
  console.log(`${overflow}:`, outcomes.join(", "), "->", left);
}

// publishSync cannot wait, so it throws instead.
broker.subscribe("ticks", { name: "ticks", maxMessages: 1 });
broker.publishSync("ticks", 1);
try {
  broker.publishSync("ticks", 2);
} catch (error) {
  console.log(error instanceof BrokerError ? error.code : error);
}
await broker.close({ drain: false });

/* Prints:
slow: slow
released: 2 held back: 2 the quick one has: 1 2 3 4
released: 4
slow: drop-oldest
drop-oldest: queued, queued, queued -> [ 2, 3 ]
slow: drop-newest
drop-newest: queued, queued, dropped -> [ 1, 2 ]
slow: error
error: queued, queued, ERR_QUEUE_FULL -> [ 1, 2 ]
slow: close
close: queued, queued, dropped -> closed
slow: ticks
ERR_QUEUE_FULL
*/
