/**
 * Uses every way into a broker's store until it is killed, and reports each acknowledgement on its standard output, after
 * it. Started by broker-kill.ts: arguments are the folder, the round and the store's level.
 *
 * A line is a word and what it is about. `ask…` comes before the call, the others after its promise. `flush-begin n` and
 * `flush-end n`: what was said before the first was on the disk at the second. `wrong …`: a promise is broken already.
 */
import { writeSync } from "node:fs";
import { BrokerError, InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";

const [, , path = "", round = "0", level = "group"] = process.argv;
const say = (/** @type {string} */ line) => void writeSync(1, `${line}\n`); // synchronous: said, so it was before the kill
say("opening");

const broker = await InProcBroker.open({
  persistence: levelPersistence({
    path,
    durability: /** @type {"group"} */ (level),
    interval: 10,
    walBytes: 100_000,
    checkpointInterval: 40,
    reserveBytes: 1000,
  }),
  transactions: {},
  deadLetter: { reasons: ["rejected"] },
  dedup: { window: 3_600_000 },
  ack: { maxDeliveries: 1_000_000, backoff: () => 5 },
});
broker.on("error", (error) => say(`wrong error event: ${String(error)}`));
const levels = /** @type {const} */ (["os", "group", "always", "interval", "memory"]);

/** @param {Promise<unknown>} promise */
const run = (promise) =>
  void promise.catch((/** @type {unknown} */ error) =>
    say(`wrong ${error instanceof Error ? error.stack : String(error)}`),
  );

// Consumers. What to do with a message is decided by its number.

/** @type {Record<string, Set<string>>} */
const over = { first: new Set(), second: new Set() };

/** @param {"first" | "second"} durable @param {string} id @param {string} [word] */
function settled(durable, id, word = "settled") {
  over[durable]?.add(id);
  say(`${word} ${durable} ${id}`);
}

/** @param {import("inproc-broker").Message} msg */
async function work(msg) {
  const { id } = msg;
  if (over["first"]?.has(id) === true) say(`wrong first had settled ${id}`);
  const { n } = /** @type {{ n: number }} */ (msg.data);
  if (n % 7 === 0) return new Promise(() => undefined);
  if (n % 7 === 1 && msg.deliveryCount === 1) {
    await msg.nack({ delay: 5, reason: "later" });
    return undefined;
  }
  if (n % 7 === 2) {
    say(`ask-reject ${id}`);
    await msg.reject("no good");
    settled("first", id, "rejected");
    return undefined;
  }
  if (n % 7 === 3) {
    say(`ask-commit ${id}`);
    await broker.transaction(async (tx) => {
      void tx.publish("results", { of: id, part: 0 });
      void tx.ack(msg);
      void tx.publish("results", { of: id, part: 1 });
    });
    settled("first", id, "committed");
    return undefined;
  }
  if (n % 7 === 4) {
    const tx = broker.beginTransaction();
    void tx.publish("results", { of: "rolled back", part: 0 });
    void tx.ack(msg);
    await tx.rollback();
  }
  say(`ask-settle first ${id}`);
  await msg.ack();
  settled("first", id);
  return undefined;
}

const everything = { ack: /** @type {const} */ ("manual"), maxInFlight: 5_000 };
for (let member = 0; member < 3; member += 1) {
  broker.subscribe("work.*", work, { ...everything, durable: "first", group: "workers", concurrency: 500 });
}

let last = 0;
broker.subscribe(
  ["work.*", "unused"],
  async (msg) => {
    const { id, seq } = msg;
    if (over["second"]?.has(id) === true) say(`wrong second had settled ${id}`);
    if (!msg.redelivered) {
      if (seq <= last) say(`wrong order: ${seq} after ${last}`);
      last = seq;
    }
    const { n } = /** @type {{ n: number }} */ (msg.data);
    if (n % 5 === 0) return new Promise(() => undefined);
    say(`ask-settle second ${id}`);
    await msg.ack();
    settled("second", id);
    return undefined;
  },
  { ...everything, durable: "second", concurrency: 500 },
);
for (const name of ["results", "batches"]) await broker.subscribe(name, { ...everything, durable: name }).unsubscribe();

// Publishers.

let n = 0;
/** @param {number} number */
const idOf = (number) => `${round}.${number}`;
/** @param {number} number */
const dataOf = (number) => ({ n: number, text: "x".repeat((number * 37) % 300) });

async function publishOne() {
  n += 1;
  const number = n;
  const id = idOf(number);
  const durability = levels[number % 5] ?? "group";
  const how = number % 11;
  const topic = `work.${number % 3}`;
  const options =
    how === 0 ? { delay: 1 + (number % 30) } : how === 1 ? { dedupId: id } : how === 2 ? { ttl: 3_600_000 } : {};
  if (how === 3) {
    say(`ask-brief ${id}`);
    const brief = broker.publish("work.brief", dataOf(number), { id, ttl: 1 + (number % 20) });
    // It may have waited for longer than that to get into the store.
    await brief.catch((/** @type {unknown} */ error) => {
      if (!(error instanceof BrokerError) || error.code !== "ERR_MESSAGE_EXPIRED") throw error;
    });
    return;
  }
  const word = how === 0 ? "delayed" : how === 1 ? "dedup" : "published";
  say(`ask-publish ${id}`);
  const { seq } = await broker.publish(topic, dataOf(number), { id, durability, ...options });
  say(`${word} ${id} ${seq} ${durability}`);
}

async function publishBatch() {
  const items = Array.from({ length: 3 }, () => (n += 1));
  const name = idOf(items[0] ?? 0);
  await broker.publishBatch(items.map((number) => ({ topic: "batches", data: { name, n: number } })));
  say(`batch ${name}`);
}

async function publishRetained() {
  n += 1;
  const topic = `kept.${n % 4}`;
  const { seq } = await broker.publish(topic, { n }, { retain: true });
  say(`retained ${topic} ${seq}`);
}

async function flush() {
  n += 1;
  const number = n;
  say(`flush-begin ${number}`);
  await broker.flush();
  say(`flush-end ${number}`);
}

/** @param {number} worker */
async function publisher(worker) {
  for (let turn = worker; ; turn += 1) {
    if (turn % 13 === 0) await publishBatch();
    else if (turn % 17 === 0) await publishRetained();
    else if (turn % 29 === 0) await flush();
    else await publishOne();
    if (turn % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
for (let worker = 0; worker < 20; worker += 1) run(publisher(worker));
