// @ts-check
/** A worker that does what it is told: over its own messages, beside the broker's. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { connectBroker } from "inproc-broker/worker";

let broker = connectBroker();

/** @type {Record<string, (argument: any) => unknown>} */
const actions = {
  /** Subscribes, and says what comes. With `hold`: settles nothing. */
  subscribe: async ({ pattern, options, hold }) => {
    await broker.subscribe(
      pattern,
      (message) => {
        tell("got", message.data);
        if (message.data === "exit") process.exit(7);
        if (message.data === "hang") for (;;);
        if (message.data?.wait !== undefined) Atomics.wait(message.data.wait, 0, 0);
        if (hold === true) return new Promise(() => undefined);
        return undefined;
      },
      options,
    ).ready;
  },
  publish: ({ topic, data }) => broker.publish(topic, data),
  throw: () => {
    setImmediate(() => {
      throw new RangeError("worker trouble");
    });
  },
  exit: () => process.exit(0),
  close: () => broker.close(),
  /** Says what the client fails with, and makes another. */
  reconnect: async () => {
    try {
      await broker.publish("a", 1);
    } catch (/** @type {any} */ error) {
      tell("got", { code: error.code, ...error.facts });
    }
    broker = connectBroker();
    await broker.ready();
  },
  closeAndExit: async () => {
    await broker.close();
    process.exit(0);
  },
};

/** @param {string} what @param {unknown} [value] */
function tell(what, value) {
  if (parentPort === null) process.send?.({ what, value });
  else parentPort.postMessage({ what, value });
}

/** @param {any} message */
function onMessage(message) {
  void act(message);
}

/** @param {any} message */
async function act(message) {
  const action = actions[message?.action];
  if (action === undefined) return;
  tell("done", await action(message.argument));
  if (message.action === "close") {
    parentPort?.off("message", onMessage);
    if (parentPort === null) process.disconnect();
  }
}

if (parentPort === null) process.on("message", onMessage);
else parentPort.on("message", onMessage);
for (const argument of workerData?.subscribe ?? []) await actions["subscribe"]?.(argument);
tell("up");
