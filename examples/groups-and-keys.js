// @ts-check
// Members of a group share the messages; `orderBy: "key"` keeps those of one key in order while keys run in parallel.
import { setTimeout as sleep } from "node:timers/promises";
import { InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: {} });

// Three members compete; the audit is not in the group, so it has a copy of everything.
/** @type {Record<string, number>} */
const share = { a: 0, b: 0, c: 0 };
for (const member of Object.keys(share)) {
  broker.subscribe("jobs.*", () => void (share[member] = (share[member] ?? 0) + 1), { group: "workers" });
}
let audited = 0;
broker.subscribe("jobs.>", () => void (audited += 1));
for (let id = 0; id < 30; id += 1) await broker.publish("jobs.resize", { id });
await broker.idle();
console.log("each member's share:", share, "audited:", audited);

// Four accounts in parallel. Within one account order holds, also when a message fails and is delivered again.
/** @type {Record<string, string[]>} */
const ledger = {};
let running = 0;
let mostAtOnce = 0;
broker.on("error", () => undefined); // the failure below is expected
broker.subscribe(
  "accounts.booked",
  async (msg) => {
    running += 1;
    mostAtOnce = Math.max(mostAtOnce, running);
    await sleep(2);
    running -= 1;
    if (msg.data === "anna-2" && msg.deliveryCount === 1) throw new Error("try again");
    (ledger[msg.key ?? ""] ??= []).push(msg.data);
  },
  { orderBy: "key", concurrency: 4, backoff: () => 10 },
);
for (const step of [1, 2, 3]) {
  for (const key of ["anna", "bert", "cleo", "dora"])
    await broker.publish("accounts.booked", `${key}-${step}`, { key });
}
await broker.idle();
for (const key of Object.keys(ledger).sort()) console.log(ledger[key]?.join(" "));
console.log("handlers at once:", mostAtOnce);
await broker.close();

/* Prints:
each member's share: { a: 10, b: 10, c: 10 } audited: 30
anna-1 anna-2 anna-3
bert-1 bert-2 bert-3
cleo-1 cleo-2 cleo-3
dora-1 dora-2 dora-3
handlers at once: 4
*/
