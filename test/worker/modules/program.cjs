// @ts-check
/** A CommonJS program, with a pool and with a worker of its own, both CommonJS too. */
const { Worker, isMainThread } = require("node:worker_threads");
const { InProcBroker } = require("inproc-broker");
const { connectBroker, exposeBroker, workerPool } = require("inproc-broker/worker");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

async function main() {
  const broker = await InProcBroker.open({ ack: {} });
  broker.subscribe("done", ({ data }) => console.log(data));
  const pool = workerPool(broker, "work", pathToFileURL(path.join(__dirname, "handler.cjs")), { size: 1 });
  await broker.publish("work", 1);
  await broker.idle();
  await pool.close();

  const worker = new Worker(__filename);
  exposeBroker(broker, worker);
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  broker.respond("ready", () => "go");
  console.log(await ended);
  await broker.close();
}

async function work() {
  const broker = connectBroker();
  console.log(await broker.request("ready", null));
  await broker.close();
}

if (isMainThread) void main();
else void work();
