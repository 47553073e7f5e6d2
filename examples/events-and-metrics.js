// @ts-check
// What the broker tells: events as they happen, counters that add up, health with reasons, and Node's tracing channels.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open({ ack: { maxDeliveries: 2, backoff: () => 5 }, deadLetter: {} });
broker
  .on("error", (error, { during, subscription }) =>
    console.log(`error in ${during} of ${subscription}: ${String(error)}`),
  )
  .on("redeliver", ({ deliveryCount, delay }) => console.log(`delivery ${deliveryCount} failed, again in ${delay} ms`))
  .on("dead-letter", ({ topic, reason }) => console.log(`dead letter: ${topic}, ${reason}`))
  .on("expire", ({ message }) => console.log(`expired: ${message.topic}`))
  .on("drop", ({ message, reason }) => console.log(`dropped: ${message.topic}, ${reason}`))
  .on("closed", () => console.log("closed"));

/** @type {unknown[]} */
const traced = [];
const channel = "tracing:inproc-broker:publish:start"; // and :end, :asyncStart, :asyncEnd, :error; also :process, :settle
/** @param {unknown} context */
const onPublish = (context) => void traced.push(/** @type {import("inproc-broker").PublishContext} */ (context).topic);
subscribe(channel, onPublish);

broker.subscribe("jobs.*", () => Promise.reject(new Error("no luck")), { name: "jobs" });
const reader = broker.subscribe("news.*", { name: "news", maxMessages: 1, overflow: "drop-oldest" });
await broker.publish("jobs.run", {});
await broker.publish("news.old", {});
await broker.publish("news.new", {}, { ttl: 50 });
await broker.idle();
unsubscribe(channel, onPublish);
console.log("traced:", traced.join(", "));

const { routed, delivered, queued, inFlight, delayed, expired, deadLettered, dropped } = broker.metrics.snapshot();
console.log({ routed, delivered, queued, inFlight, delayed, expired, deadLettered, dropped });
console.log(
  broker.metrics
    .prometheus()
    .split("\n")
    .filter((line) => /^inproc_broker_(dead_lettered|dropped)/.test(line)),
);
const { status, checks } = broker.health();
console.log(
  status,
  checks.map(({ name, detail }) => `${name}: ${detail}`),
);
console.log(
  broker.subscriptions({ topic: "news.today" }).map(({ name }) => name),
  reader.stats().expired,
);
await broker.close();

/* Prints:
error in handler of jobs: Error: no luck
delivery 1 failed, again in 5 ms
dropped: news.old, overflow
dead letter: news.old, overflow
error in handler of jobs: Error: no luck
dead letter: jobs.run, max-deliveries
expired: news.new
dead letter: news.new, expired
traced: jobs.run, news.old, news.new
{
  routed: 3,
  delivered: 0,
  queued: 0,
  inFlight: 0,
  delayed: 0,
  expired: 1,
  deadLettered: 1,
  dropped: { overflow: 1 }
}
[
  'inproc_broker_dead_lettered_total 1',
  'inproc_broker_dropped_total{reason="overflow"} 1'
]
healthy [
  'lifecycle: open',
  'memory: 0 of 536870912 bytes',
  'consumers: every queue has room'
]
[ 'news' ] 1
closed
*/
