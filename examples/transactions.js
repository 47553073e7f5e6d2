// @ts-check
// Publishes and acknowledgements of several topics become visible as one, or not at all.
import { BrokerError, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: { backoff: () => 5 }, transactions: { timeout: 5_000 } });
broker.subscribe("accounts.*.booked", (msg) => console.log(msg.topic, msg.data));

const transfers = broker.subscribe("transfers.requested"); // an iterator: acknowledges by hand
await broker.publish("transfers.requested", { from: "anna", to: "bert", amount: 30 });
await broker.publish("transfers.requested", { from: "cleo", to: "dora", amount: 9_000 });

for (const msg of await transfers.fetch(2)) {
  const { from, to, amount } = msg.data;
  try {
    await broker.transaction(async (tx) => {
      await tx.publish(`accounts.${from}.booked`, -amount);
      if (amount > 1_000) throw new Error("over the limit"); // anna's transfer is booked, nothing of cleo's is
      await tx.publish(`accounts.${to}.booked`, amount);
      await tx.ack(msg);
    });
  } catch (error) {
    console.log("rolled back:", error instanceof Error ? error.message : error);
    await msg.reject("over the limit");
  }
}

// By hand, where begin and end are in different places; by id, where the object cannot travel.
const tx = broker.beginTransaction({ id: "transfer-7" });
await broker.publish("accounts.emil.booked", 5, { transaction: tx.id });
console.log("before commit:", broker.metrics.snapshot().transactions.open, "open");
await broker.commitTransaction("transfer-7");
await broker.idle();
console.log("committed twice:", await tx.commit().catch(codeOf));

const { open, committed, rolledBack } = broker.metrics.snapshot().transactions;
console.log({ open, committed, rolledBack });
await broker.close();

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof BrokerError ? error.code : error;
}

/* Prints:
accounts.anna.booked -30
accounts.bert.booked 30
rolled back: over the limit
before commit: 1 open
accounts.emil.booked 5
committed twice: ERR_TRANSACTION_SETTLED
{ open: 0, committed: 2, rolledBack: 1 }
*/
