// @ts-check
import { workerData } from "node:worker_threads";

// The first worker works, the others cannot start.
if (workerData.inprocBrokerPool.slot > 0) throw new Error("no licence for a second one");

/**
 * @param {import("inproc-broker").Message} message
 * @param {import("inproc-broker/worker").PoolContext} context
 */
export default async function handler(message, { broker }) {
  await broker.publish("done", message.data);
}
