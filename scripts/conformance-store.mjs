// @ts-check
/**
 * Runs the conformance suite on LevelDB in a folder: as it is, and with a crash between the steps of each case.
 *
 * @typedef {import("inproc-broker/conformance").ConformanceOptions} Options
 * @typedef {import("inproc-broker/conformance").Implementation} Implementation
 * @typedef {import("inproc-broker/testing").TestBroker} TestBroker
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestBroker } from "inproc-broker/testing";
import { CrashingBroker } from "./crashing-broker.mjs";

/** What a broker on a store does not support, and why. */
export const storeSupports = {
  sync: "publishSync does not wait for a store",
  timers: "the store has timers of its own",
};

/** What ends with the process, and is no promise across a crash. */
export const crashingSupports = {
  ...storeSupports,
  counters: "counters are of one process",
};

/** Single cases that say something else across a crash. */
export const crashingExcept = {
  "groups: every member that is free gets its share": "a process begins again with the first member",
};

/** @param {Options} options @param {string} folder */
async function open({ payloads: _, ...options }, folder) {
  // On the kit's clock, whose rest includes what the store still writes.
  const t = createTestBroker({ ...options, persistence: { path: join(folder, "store"), reserveBytes: 0 } });
  await t.broker.ready();
  return t;
}

/** A folder, and what removes it. */
function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), "conformance-"));
  return { folder, dispose: () => rmSync(folder, { recursive: true, force: true }) };
}

/** @param {TestBroker} t @param {() => void} dispose @returns {Implementation} */
function implementation(t, dispose) {
  const again = () => implementation(t, () => undefined);
  return {
    broker: t.broker,
    advance: (ms) => t.clock.advance(ms),
    reopen: async () => {
      await t.restart();
      return again();
    },
    crash: async () => {
      await t.crash();
      await t.restart();
      return again();
    },
    dispose,
  };
}

/** Opens a broker on LevelDB in a folder of its own. @param {Options} options */
export async function openOnLevel(options) {
  const { folder, dispose } = newFolder();
  return implementation(await open(options, folder), dispose);
}

/**
 * The same, for clients elsewhere.
 *
 * @param {Options} options
 * @returns {Promise<import("./conformance-remote.mjs").House>}
 */
export async function openStored(options) {
  const { folder, dispose } = newFolder();
  const t = await open(options, folder);
  return {
    broker: t.broker,
    clock: t.clock,
    again: async (how) => {
      if (how === "crash") await t.crash();
      return t.restart();
    },
    end: async () => {
      await t.broker.close({ drain: false });
      dispose();
    },
  };
}

/**
 * The same as `openOnLevel`, crashed and opened again between the steps of the case, wherever the contract lets nothing be lost.
 *
 * @param {Options} options
 * @param {() => void} [crashed] told of each crash
 * @returns {Promise<Implementation>}
 */
export async function openCrashing(options, crashed) {
  const { folder, dispose } = newFolder();
  const t = await open(options, folder);
  const wrap = (/** @type {() => void} */ end) => {
    const broker = new CrashingBroker(t, crashed);
    return {
      broker: /** @type {any} */ (broker),
      advance: async (/** @type {number} */ ms) => {
        await broker.up();
        await t.clock.advance(ms);
      },
      reopen: async () => {
        await t.restart();
        return wrap(() => undefined);
      },
      crash: async () => {
        await t.crash();
        await t.restart();
        return wrap(() => undefined);
      },
      dispose: end,
    };
  };
  return wrap(dispose);
}
