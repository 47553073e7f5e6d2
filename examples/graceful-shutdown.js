// @ts-check
// Ending: a subscription that finishes what it has, a broker that does, and what is told of what could not be finished.
import { setTimeout as sleep } from "node:timers/promises";
import { BrokerError, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: {} });
let done = 0;
const sub = broker.subscribe("jobs.*", async () => {
  await sleep(2);
  done += 1;
});
for (let n = 0; n < 5; n += 1) await broker.publish("jobs.run", { n });
await sub.drain(); // takes no more, finishes the five, ends
console.log("drained:", done, sub.state);

// A handler that takes longer than close is given. `msg.signal` tells it that its time is over.
const stopped = new Promise((resolve) => {
  broker.subscribe(
    "reports.*",
    async (msg) => {
      await sleep(60_000, undefined, { signal: msg.signal }).catch(() => undefined);
      resolve(msg.signal.aborted);
    },
    { maxInFlight: 1 },
  );
});
for (const name of ["march", "april", "may"]) await broker.publish("reports.monthly", name);
await broker.publish("reports.yearly", "2026", { delay: 3_600_000 });

// In a service: process.once("SIGTERM", () => void shutDown());
async function shutDown() {
  const { undelivered, unacked } = await broker.close({ drain: true, timeout: 50 });
  console.log("unacked:", ...unacked.map(({ data }) => data));
  console.log("undelivered:", ...undelivered.map(({ data }) => data));
}
await shutDown();
console.log("the handler was told to stop:", await stopped);
console.log(broker.state, await broker.publish("reports.monthly", "june").catch(codeOf));

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof BrokerError ? error.code : error;
}

/* Prints:
drained: 5 closed
unacked: march
undelivered: april may 2026
the handler was told to stop: true
closed ERR_BROKER_CLOSED
*/
