/** The other thread of the worker scenarios, ours: a subscription that counts, a responder that echoes. */

import { parentPort, workerData } from "node:worker_threads";
import { connectBroker } from "../../dist/worker/index.js";
import { Counter } from "./counter.mjs";

const counter = new Counter();
const broker = connectBroker();
const { options } = workerData;
await broker.subscribe("numbers", ({ data }) => counter.add(data), options).ready;
await broker.respond("echo", ({ data }) => data).ready;
parentPort.on("message", (message) => counter.told(message));
parentPort.postMessage("up");
