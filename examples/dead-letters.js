// @ts-check
// What is given up on is kept, with its reason and history; look at it, drive it again, or throw it away.
import { fixedBackoff, InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({
  ack: { maxDeliveries: 3, backoff: fixedBackoff(5) },
  deadLetter: { topic: "dlq", maxMessages: 1_000 },
});
broker.on("error", () => undefined); // the failures below are expected
broker.subscribe("dlq", (msg) =>
  console.log("dlq:", msg.headers["dead-letter-topic"], msg.headers["dead-letter-reason"]),
);

let isMailServerUp = false;
broker.subscribe(
  "mails.*",
  async (msg) => {
    if (!msg.data.to.includes("@")) return msg.reject("not an address"); // no use to try again
    if (!isMailServerUp) throw new Error("connection refused"); // given back: tried again, three times in all
    console.log("sent to", msg.data.to);
  },
  { name: "mailer" },
);
await broker.publish("mails.welcome", { to: "ann@example.com" });
await broker.publish("mails.welcome", { to: "nobody" });
await broker.idle();

const { items } = await broker.deadLetters.list();
for (const { id, reason, error, subscription, history } of items) {
  console.log(id, reason, error, subscription, history.map(({ outcome }) => outcome).join(" "));
}

isMailServerUp = true;
console.log("driven again:", await broker.deadLetters.redrive({ reason: "max-deliveries" }, { rate: 100 }));
await broker.idle();
console.log("thrown away:", await broker.deadLetters.purge({ reason: "rejected" }));
console.log("kept:", broker.deadLetters.stats().count);
await broker.close();

/* Prints:
dlq: mails.welcome rejected
dlq: mails.welcome max-deliveries
dl-1 rejected not an address mailer rejected
dl-2 max-deliveries connection refused mailer nacked nacked nacked
sent to ann@example.com
driven again: 1
thrown away: 1
kept: 0
*/
