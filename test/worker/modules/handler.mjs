// @ts-check
import process from "node:process";
import { threadId } from "node:worker_threads";

/**
 * What the tests of the pool need: does what the message's data says, and publishes where it was done.
 *
 * @param {import("inproc-broker").Message} message
 * @param {import("inproc-broker/worker").PoolContext} context
 */
export default async function handler(message, { broker, workerData, slot }) {
  const data = /** @type {any} */ (message.data);
  await broker.publish("started", { ...data, threadId, slot, workerData, deliveryCount: message.deliveryCount });
  if (data.exit === true) process.exit(3);
  if (data.hang === true) for (;;);
  if (data.never === true) await new Promise(() => undefined);
  if (data.fail === true) throw new Error("cannot");
  if (data.memory === true) {
    const kept = [];
    for (;;) kept.push(new Array(1_000_000).fill({}));
  }
  if (data.wait !== undefined) await broker.request(data.wait, null, { timeout: 60_000 });
  await broker.publish("done", { ...data, threadId, slot });
}
