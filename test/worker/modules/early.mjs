// @ts-check
/** A worker that publishes before it has a channel: something that cannot be cloned, and a buffer that moves. */
import { parentPort } from "node:worker_threads";
import { connectBroker } from "inproc-broker/worker";

const broker = connectBroker();
const buffer = new ArrayBuffer(1);
/** @type {unknown[]} */
const data = [];
broker.subscribe("a", (message) => void data.push(/** @type {ArrayBuffer} */ (message.data).byteLength));
const published = [broker.publish("a", () => 1), broker.publish("a", buffer, { transfer: [buffer] })];
const codes = (await Promise.allSettled(published)).map((one) => (one.status === "rejected" ? one.reason.code : "ok"));
while (data.length === 0) await broker.flush();
parentPort?.postMessage({ codes, data, left: buffer.byteLength });
await broker.close();
