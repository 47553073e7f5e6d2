// @ts-check
// Ask and wait for the answer; ask everybody; and what an asker hears when nobody answers, or the answer is a failure.
import { BrokerError, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open();

broker.respond("math.divide", (msg) => {
  const { dividend, divisor } = msg.data;
  if (divisor === 0) throw new RangeError("division by zero");
  return dividend / divisor;
});
console.log(await broker.request("math.divide", { dividend: 42, divisor: 6 }, { timeout: 1_000 }));

for (const name of ["warehouse", "billing", "search"]) broker.respond("who.is.there", () => name);
for await (const name of broker.requestMany("who.is.there", null, { max: 3, timeout: 200 })) console.log(name);

/** @param {() => Promise<unknown>} ask */
async function outcome(ask) {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return error.cause instanceof Error ? `${error.code}: ${error.cause.message}` : error.code;
  }
}
console.log(await outcome(() => broker.request("math.divide", { dividend: 1, divisor: 0 })));
console.log(await outcome(() => broker.request("math.multiply", { a: 2, b: 3 })));
broker.subscribe("slow.lane", () => undefined); // gets the request and never replies
console.log(await outcome(() => broker.request("slow.lane", null, { timeout: 20 })));

// Work shared by a group: each request goes to one member.
for (const member of ["left", "right"]) broker.respond("jobs.run", () => member, { group: "runners" });
console.log(await broker.request("jobs.run", null), await broker.request("jobs.run", null));
await broker.close();

/* Prints:
7
warehouse
billing
search
ERR_REMOTE: division by zero
ERR_NO_RESPONDERS
ERR_TIMEOUT
left right
*/
