// @ts-check
// A worker queue in a folder, which survives the kill -9 of its own process. This file runs twice: as the program, and as the
// worker that is killed in the middle of its third job.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";

/** @param {string} path */
function openBroker(path) {
  return InProcBroker.open({ persistence: levelPersistence({ path, topics: ["jobs.>"] }) });
}

/** @param {string} path */
async function workUntilKilled(path) {
  const broker = await openBroker(path);
  const worker = broker.subscribe("jobs.*", { durable: "worker" }); // an iterator, so ack is "manual"
  for (let n = 1; n <= 5; n += 1) await broker.publish("jobs.resize", n); // on the disk when it resolves
  for await (const job of worker) {
    console.log("first process, job", job.data);
    if (job.data === 3) {
      await nextTurn();
      await broker.flush(); // that it was handed out is on the disk too
      process.kill(process.pid, "SIGKILL");
      await new Promise(() => undefined);
    }
    await job.ack(); // on the disk when it resolves
  }
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), "durable-store-"));
  const path = join(folder, "jobs");
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), path], { stdio: "inherit" });
  const [, signal] = await once(child, "exit");
  console.log("it ended with", signal);

  // The next process. In a service it is the same program, started again.
  const broker = await openBroker(path);
  const [durable] = broker.subscriptions();
  console.log("left for", `${durable?.name}:`, durable?.backlog);
  broker.subscribe("jobs.*", (job) => console.log("second process, job", job.data, "delivery", job.deliveryCount), {
    durable: "worker",
  });
  await broker.idle();
  await broker.close();

  // What was acknowledged is gone for good.
  const third = await openBroker(path);
  console.log("third process, left:", third.subscriptions()[0]?.backlog);
  await third.close();
  await rm(folder, { recursive: true });
}

const [, , path] = process.argv;
if (path === undefined) await main();
else await workUntilKilled(path);

/* Prints:
first process, job 1
first process, job 2
first process, job 3
it ended with SIGKILL
left for worker: 3
second process, job 3 delivery 2
second process, job 4 delivery 1
second process, job 5 delivery 1
third process, left: 0
*/
