// @ts-check
/**
 * Spreads work that keeps a core busy over threads: hashes every order of a file, with one worker and with two, and gets the
 * same result. All orders of one customer go to one worker, in order.
 *
 *     node examples/worker-hashing.js
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { InProcBroker } from "inproc-broker";
import { workerPool } from "inproc-broker/worker";

const lines = (await readFile(new URL("./data/orders.ndjson", import.meta.url), "utf8")).trim().split("\n");

/** @param {number} size */
async function hashAll(size) {
  const broker = await InProcBroker.open({ ack: {} });

  /** @type {Map<string, string>} digests by order */
  const digests = new Map();
  broker.subscribe("hashes.made", ({ data }) => {
    digests.set(data.id, data.digest);
  });

  const pool = workerPool(broker, "orders.to-hash", new URL("./worker-hash.mjs", import.meta.url), { size });
  for (const [index, line] of lines.entries()) {
    const id = String(index).padStart(3, "0");
    const customer = /"customer":"([^"]+)"/.exec(line)?.[1];
    await broker.publish("orders.to-hash", { id, line }, customer === undefined ? {} : { key: customer });
  }
  await broker.idle();

  const { done, crashes, workers } = pool.stats();
  await pool.close();
  await broker.close();

  const all = createHash("sha256");
  for (const id of [...digests.keys()].sort()) all.update(`${id} ${digests.get(id)}\n`);
  const busy = workers.filter((worker) => worker.done > 0).length;
  return `${done} orders by ${busy} worker${busy === 1 ? "" : "s"}, ${crashes} crashes: ${all.digest("hex").slice(0, 16)}`;
}

console.log(await hashAll(1));
console.log(await hashAll(2));

/* Prints:
40 orders by 1 worker, 0 crashes: d5288f4990e9cf37
40 orders by 2 workers, 0 crashes: d5288f4990e9cf37
*/
