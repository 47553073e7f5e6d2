// @ts-check
/** A program to be bundled: its pool's worker is an entry of its own. */
import { InProcBroker } from "inproc-broker";
import { workerPool } from "inproc-broker/worker";

async function main() {
  const broker = new InProcBroker({ ack: {} });
  broker.subscribe("doubled", ({ data }) => console.log(data));
  const bootstrap = new URL("./job.mjs", import.meta.url);
  const pool = workerPool(broker, "jobs", bootstrap, { size: 1, bootstrap });
  for (const data of [1, 2, 3]) await broker.publish("jobs", data);
  await broker.idle();
  await pool.close();
  await broker.close();
}

void main();
