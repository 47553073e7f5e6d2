/** What the worker scenarios share: threads, and their reports. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { exposeBroker } from "../../dist/worker/index.js";

/** A thread with nothing but postMessage. `replies`: it answers each message. */
export async function rawThread(replies = false) {
  const worker = new Worker(new URL("./raw.mjs", import.meta.url), { workerData: { replies } });
  await once(worker, "message");
  return worker;
}

/** A thread with a client of the broker, whose subscription has these options. */
export async function ourThread(broker, options) {
  const worker = new Worker(new URL("./ours.mjs", import.meta.url), { workerData: { options } });
  const handle = exposeBroker(broker, worker);
  for (;;) {
    const [message] = await once(worker, "message");
    if (message === "up") break;
  }
  return { worker, handle };
}

/**
 * Has the thread report once it has counted so many. Resolves once it knows, since messages go another way, to what holds the promise
 * of its report.
 */
export async function expecting(worker, operations, tally) {
  const knows = reply(worker, (message) => message === "expecting");
  worker.postMessage({ expect: operations });
  await knows;
  return { seen: reported(worker, tally) };
}

/** Asks a thread what it has counted. */
export function report(worker, tally) {
  worker.postMessage({ report: true });
  return reported(worker, tally);
}

/** Begins to profile a thread, or ends it and returns the shares of its functions. */
export async function profileThread(worker, step) {
  const answer = reply(worker, (message) => message?.profile !== undefined);
  worker.postMessage({ profile: step });
  return (await answer).profile;
}

async function reported(worker, tally) {
  const { count, sum } = await reply(worker, (message) => typeof message?.count === "number");
  tally.count += count;
  tally.sum += sum;
}

function reply(worker, isReply) {
  return new Promise((resolve) => {
    const onMessage = (message) => {
      if (!isReply(message)) return;
      worker.off("message", onMessage);
      resolve(message);
    };
    worker.on("message", onMessage);
  });
}
