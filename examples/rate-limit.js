// @ts-check
// At most so many messages a second, with a burst after a pause. What waits stays in the bounded queue.
import { InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: {} });
/** @type {number[]} */
const times = [];
const perSecond = 100;
const burst = 5;
const subscribedAt = performance.now();
broker.subscribe("api.calls", () => void times.push(performance.now()), { rateLimit: { perSecond, burst } });

for (let call = 0; call < 15; call += 1) await broker.publish("api.calls", { call });
await broker.idle();

const isKept = times.every((at, calls) => calls < burst + ((at - subscribedAt) / 1000) * perSecond);
console.log("handed over:", times.length);
console.log(`never more than ${burst} and ${perSecond} a second:`, isKept);
await broker.close();

/* Prints:
handed over: 15
never more than 5 and 100 a second: true
*/
