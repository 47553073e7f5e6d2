/** The other thread of the worker scenarios, with nothing but postMessage. */

import { parentPort, workerData } from "node:worker_threads";
import { Counter } from "./counter.mjs";

const counter = new Counter();
const { replies } = workerData;
parentPort.on("message", (message) => {
  if (counter.told(message)) return;
  if (Array.isArray(message)) for (const one of message) counter.add(one);
  else counter.add(message);
  if (replies) parentPort.postMessage(message instanceof ArrayBuffer ? null : message);
});
parentPort.postMessage("up");
