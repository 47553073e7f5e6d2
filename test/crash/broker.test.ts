import { describe, expect, it } from "vitest";
import { MemoryDatabase } from "../support/memory-database.js";
import type { BrokerRun } from "./broker-workload.js";
import { checkBroker, isLog, runBrokerWorkload } from "./broker-workload.js";

const isLong = process.env["LONG"] !== undefined;
const crashes = [{ keep: "none" }, { keep: "all" }, { keep: "random", seed: 1 }, { keep: "random", seed: 2 }] as const;

async function checkCrashes(run: BrokerRun, hint: string): Promise<void> {
  expect(run.refusedAndSeen, hint).toEqual([]);
  for (const crash of crashes) {
    await checkBroker(run, run.disk.crash(crash), run.database.copy(), `${hint}, ${JSON.stringify(crash)}`);
  }
}

describe("a broker on a store, cut off at any point", () => {
  it("does its workload when nothing fails", async () => {
    const run = await runBrokerWorkload({}, true);
    expect(run.steps.map(({ outcome }) => outcome)).toEqual(run.steps.map(() => "resolved"));
    expect(run.steps).toHaveLength(34);
    expect(run.seen).toBeGreaterThan(26);
    await checkCrashes(run, "no failure");
  });

  it.each([false, true])(
    "keeps what it acknowledged, and shows nothing that it refused, when any IO fails (and all after it: %s)",
    async (staysBroken) => {
      for (let failAt = 0; ; failAt += 1) {
        const run = await runBrokerWorkload({ failAt, staysBroken, seed: failAt }, true);
        if (!run.disk.hasFailed) {
          expect(failAt).toBeGreaterThan(60);
          return;
        }
        await checkCrashes(run, `IO ${failAt} (${run.disk.failedKind})`);
      }
    },
    60_000,
  );

  it.each([false, true])(
    "keeps what it acknowledged when any batch of the database fails (done first: %s)",
    async (failsAfterwards) => {
      for (let failAt = 0; ; failAt += 1) {
        const database = Object.assign(new MemoryDatabase(), { failAt, failsAfterwards });
        const run = await runBrokerWorkload({}, true, database);
        if (!database.hasFailed) {
          expect(failAt).toBeGreaterThan(4);
          return;
        }
        await checkCrashes(run, `batch ${failAt}`);
      }
    },
    60_000,
  );

  it("has each step wholly or not at all when its log ends at any byte", async () => {
    const run = await runBrokerWorkload({}, false);
    const paths = run.disk.paths.filter(isLog);
    expect(paths).toHaveLength(1);
    const path = paths[0] as string;
    const whole = run.disk.content(path);
    const ends = new Set(run.steps.flatMap(({ toBytes }) => [toBytes - 1, toBytes, toBytes + 1]));
    for (let at = 0; at <= whole.length; at += 1) {
      if (!isLong && at % 5 !== 0 && !ends.has(at)) continue;
      const disk = run.disk.copy();
      disk.put(path, whole.subarray(0, at));
      await checkBroker(run, disk, run.database.copy(), `cut at ${at}`, at);
    }
  }, 300_000);
});
