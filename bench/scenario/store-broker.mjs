/** Messages of 256 bytes through a broker with a store, beside databases that store as much on the same disk. */

import * as fs from "node:fs";
import { InProcBroker } from "../../dist/index.js";
import { levelPersistence } from "../../dist/persistence/index.js";
import { level, sqlite, stored } from "../store-peers.mjs";
import { benchFolder, keepAll, openStore, payload, publishFromMany, PUBLISHERS } from "../store-workload.mjs";
import { Tally } from "../workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-broker",
  group: "Store: through the broker, 256-byte JSON messages",
  kind: "rate",
  operations: 20_000,
  rows: [
    {
      label: "publish `group`, 1,000 publishers, each awaiting its own",
      contender: "group",
      against: "sqlite",
      atLeast: 1,
    },
    { label: "the same", contender: "group", against: "level", atLeast: 8 },
    { label: "the same, beside the store without a broker", contender: "group", against: "engine" },
    { label: "publish `os`, beside `group`", contender: "os", against: "group" },
    {
      label: "`group`: publish, deliver to a durable, acknowledge",
      contender: "consumed",
      against: "group",
      atLeast: 0.5,
    },
    { label: "a topic that is not stored, in the same broker, beside `group`", contender: "plain", against: "group" },
  ],
  async open() {
    const folder = benchFolder();
    return {
      group: await published(folder, "group"),
      os: await published(folder, "os"),
      consumed: await consumed(folder),
      plain: await published(folder, "plain", "memory.orders"),
      engine: await engine(folder),
      sqlite: sqlite(folder),
      level: await level(folder, () => folder.remove()),
    };
  },
};

const openBroker = (path, options = keepAll) =>
  InProcBroker.open({ persistence: levelPersistence({ path, topics: ["orders.>"], ...options }) });

/** Publishes `operations` messages from many publishers, each of which awaits its own before the next. */
async function publishAll(broker, operations, options, topic = "orders.eu.created") {
  let left = operations;
  const publisher = async () => {
    while (left > 0) {
      left--;
      await broker.publish(topic, payload, options);
    }
  };
  await Promise.all(Array.from({ length: PUBLISHERS }, publisher));
}

async function published(folder, name, topic) {
  const path = folder.path(`broker ${name}`);
  const broker = await openBroker(path);
  const tally = new Tally();
  const options = topic === undefined ? { durability: name } : {};
  return {
    label: `broker, ${name}`,
    tally,
    async run(operations) {
      const before = broker.metrics.snapshot();
      await publishAll(broker, operations, options, topic);
      const after = broker.metrics.snapshot();
      const isStored = topic === undefined;
      const messages = isStored ? after.store.messages - before.store.messages : after.published - before.published;
      if (messages === operations) stored(tally, operations);
    },
    async close() {
      await broker.close();
      fs.rmSync(path, { recursive: true });
    },
  };
}

async function consumed(folder) {
  const path = folder.path("broker consumed");
  const broker = await openBroker(path, {});
  const tally = new Tally();
  let seen = 0;
  broker.subscribe("orders.>", () => void (seen += 1), { durable: "d", concurrency: 64, maxInFlight: PUBLISHERS });
  return {
    label: "broker, group, with a durable",
    tally,
    async run(operations) {
      const before = seen;
      await publishAll(broker, operations, { durability: "group" });
      await broker.idle();
      await broker.flush();
      const [{ backlog }] = broker.subscriptions();
      if (seen - before === operations && backlog === 0) stored(tally, operations);
    },
    close: () => broker.close(),
  };
}

async function engine(folder) {
  const store = await openStore(folder.path("engine"));
  const tally = new Tally();
  return {
    label: "the store alone, group",
    tally,
    async run(operations) {
      await publishFromMany(store, operations, "group");
      stored(tally, operations);
    },
    close: () => store.close(),
  };
}
