// @ts-check
// What docs/conformance.md has a column for, and how it runs.
import { InProcBroker } from "inproc-broker";
import { VirtualClock } from "inproc-broker/testing";
import { remoteExcept, remoteStoreSupports, remoteSupports, startRemote } from "./conformance-remote.mjs";
import { crashingExcept, crashingSupports, openCrashing, openOnLevel, storeSupports } from "./conformance-store.mjs";
import { runAll } from "./conformance-table.mjs";

const noStore = "no store";

/** @type {Parameters<typeof runAll>[1]} */
const inMemory = {
  factory: (options) => {
    const clock = new VirtualClock();
    return {
      broker: new InProcBroker({ ...options, clock }),
      advance: (ms) => clock.advance(ms),
      pendingTimers: () => clock.pending().length,
    };
  },
  supports: { durables: noStore, replay: noStore, crash: noStore },
};

const elsewhere = () => {
  throw new Error("the other side opens brokers");
};

/** What passes in a run that is not made here: every case that is not skipped. */
const passes = { run: async () => undefined };

/**
 * Runs the suite on each implementation.
 *
 * @param {typeof import("inproc-broker/conformance")} suite
 * @param {{ withDisk: boolean }} options withDisk: false takes for passed what a test of its own runs on LevelDB, which takes long
 */
export async function runEverywhere(suite, { withDisk }) {
  const onDisk = withDisk ? undefined : passes;
  const onLevel = { factory: openOnLevel, supports: storeSupports };
  const crashing = {
    factory: (/** @type {import("inproc-broker/conformance").ConformanceOptions} */ options) => openCrashing(options),
    supports: crashingSupports,
    except: crashingExcept,
  };
  const runs = [
    { name: "InProcBroker, in memory", results: await runAll(suite, inMemory) },
    { name: "on LevelDB", results: await runAll(suite, onLevel, onDisk) },
    { name: "on LevelDB, crash between steps", results: await runAll(suite, crashing, onDisk) },
  ];
  for (const [name, kind, hasStore] of /** @type {const} */ ([
    ["through a worker", "thread", false],
    ["through a worker, on LevelDB", "thread", true],
    ["through IPC", "process", false],
    ["through IPC, on LevelDB", "process", true],
  ])) {
    const supports = hasStore ? remoteStoreSupports : remoteSupports;
    const remotely = { factory: elsewhere, supports, except: remoteExcept };
    const remote = hasStore && !withDisk ? null : await startRemote(kind, { hasStore });
    runs.push({ name, results: await runAll(suite, remotely, remote ?? passes) });
    await remote?.stop();
  }
  return runs;
}
