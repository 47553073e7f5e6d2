// A page of a durable's backlog that cannot be read, when nothing else happens that would have it read again.
import { describe, expect, it } from "vitest";
import type { LevelPersistenceOptions } from "inproc-broker/persistence";
import { openLevelStore } from "../../src/persistence/store/level-store.js";
import { ManualClock } from "../support/manual-clock.js";
import { collect, dataOf, openBroker, range, temporaryFolder, until } from "./fixture.js";

/** A machine whose database cannot be read while it is told so. */
function failingMachine(): {
  machine: LevelPersistenceOptions["machine"];
  state: { isFailing: boolean; reads: number };
} {
  const state = { isFailing: false, reads: 0 };
  const machine: LevelPersistenceOptions["machine"] = {
    openDatabase: async (path) => {
      const real = await openLevelStore(path);
      const read = <Value>(run: () => Promise<Value>): Promise<Value> => {
        state.reads += 1;
        return state.isFailing ? Promise.reject(new Error("LevelDB says no")) : run();
      };
      return {
        get: (key) => read(() => real.get(key)),
        getMany: (keys) => read(() => real.getMany(keys)),
        entries: (wanted) => real.entries(wanted),
        batch: (changes) => real.batch(changes),
        compact: () => real.compact(),
        close: () => real.close(),
      };
    },
  };
  return { machine, state };
}

async function withBacklog(): Promise<string> {
  const path = temporaryFolder();
  const broker = await openBroker(path);
  const subscription = broker.subscribe("a", () => undefined, { durable: "d" });
  await subscription.unsubscribe();
  for (const n of range(1, 10)) await broker.publish("a", n);
  await broker.compact();
  await broker.close();
  return path;
}

describe("a page of a backlog that cannot be read", () => {
  it("is told, and tried again each second, also where nothing comes or goes", async () => {
    const path = await withBacklog();
    const { machine, state } = failingMachine();
    const clock = new ManualClock(1_700_000_000_000);
    const broker = await openBroker(path, { clock, store: { machine } });
    const errors: unknown[] = [];
    broker.on("error", (error) => errors.push(error));
    state.isFailing = true;
    const seen = collect(broker, "a", { durable: "d" });
    for (let failures = 1; failures <= 3; failures++) {
      await until(() => errors.length === failures);
      expect(String(errors.at(-1))).toContain("LevelDB says no");
      const { reads } = state;
      await clock.advance(999);
      expect(state.reads).toBe(reads);
      if (failures === 3) state.isFailing = false;
      await clock.advance(1);
    }
    await broker.idle();
    expect(dataOf(seen)).toEqual(range(1, 10));
    expect(errors).toHaveLength(3);
  });

  it("keeps nobody from closing, nor a timer behind", async () => {
    const path = await withBacklog();
    const { machine, state } = failingMachine();
    const clock = new ManualClock(1_700_000_000_000);
    const broker = await openBroker(path, { clock, store: { machine } });
    let told = 0;
    broker.on("error", () => (told += 1));
    state.isFailing = true;
    const subscription = broker.subscribe("a", () => undefined, { durable: "d" });
    await until(() => told === 1);
    await subscription.unsubscribe();
    const { reads } = state;
    await clock.advance(10_000);
    expect(state.reads).toBe(reads);
    expect(told).toBe(1);
    const seen = collect(broker, "a", { durable: "d" });
    await until(() => told === 2);
    await broker.close({ drain: false });
    expect(clock.pending).toBe(0);
    expect(seen).toEqual([]);
  });
});
