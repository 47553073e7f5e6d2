// @ts-check
/** A pre-forking program: the primary has the broker, every worker takes part in one group, over the cluster's own IPC. */
import cluster from "node:cluster";
import process from "node:process";
import { InProcBroker } from "inproc-broker";
import { connectBroker, exposeBroker } from "inproc-broker/worker";

if (cluster.isPrimary) {
  cluster.setupPrimary({ serialization: "advanced" });
  const broker = new InProcBroker({ ack: {} });
  /** @type {Set<number>} */
  const pids = new Set();
  let left = 40;
  broker.subscribe("done", (message) => {
    pids.add(message.data.pid);
    left -= 1;
    if (left > 0) return;
    process.send?.({ workers: pids.size });
    for (const worker of Object.values(cluster.workers ?? {})) worker?.disconnect();
    process.disconnect();
  });
  let ready = 0;
  broker.respond("ready", async () => {
    ready += 1;
    if (ready < 2) return;
    for (let index = 0; index < 40; index += 1) await broker.publish("work", { index, at: new Date(index) });
  });
  for (let index = 0; index < 2; index += 1) exposeBroker(broker, cluster.fork());
} else {
  const broker = connectBroker();
  await broker.subscribe(
    "work",
    async (message) => {
      if (!(message.data.at instanceof Date)) throw new Error("a type was lost");
      await broker.publish("done", { pid: process.pid });
    },
    { group: "workers" },
  ).ready;
  await broker.request("ready", null);
}
