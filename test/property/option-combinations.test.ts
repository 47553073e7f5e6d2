// Options of a subscription in every combination of two, and of all at random: whatever they are, each message arrives once.
import * as fc from "fast-check";
import { levelPersistence } from "inproc-broker/persistence";
import { describe, expect, it } from "vitest";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { MemoryDatabase } from "../support/memory-database.js";
import type { Beside, Choice } from "../support/option-combinations.js";
import { base, bringsEachOnce, combination, pairs } from "../support/option-combinations.js";

const numRuns = process.env["LONG"] === undefined ? 150 : 3_000;

const onAStore: Beside = () => {
  const machine = { fileSystem: new FaultyFileSystem(), openDatabase: new MemoryDatabase().open };
  return {
    broker: { persistence: levelPersistence({ path: "/store", reserveBytes: 0, machine }) },
    subscribe: { durable: "d" },
  };
};

/** What a durable may have of it: it acknowledges, and is a group itself. */
const ofADurable = (choice: Choice): Choice => ({
  ...choice,
  ack: choice.ack === "none" ? undefined : choice.ack,
  group: undefined,
});

describe("options of a subscription", () => {
  it("bring each message once, in every combination of two", async () => {
    expect.hasAssertions();
    for (const choice of pairs(base)) await bringsEachOnce(choice);
  });

  it("bring each message once, in any combination", async () => {
    expect.hasAssertions();
    await fc.assert(
      fc.asyncProperty(combination, (choice) => bringsEachOnce(choice)),
      { numRuns },
    );
  });

  it("bring each message of a durable once, in every combination of two", async () => {
    expect.hasAssertions();
    for (const choice of pairs(base)) await bringsEachOnce(ofADurable(choice), onAStore);
  });

  it("bring each message of a durable once, in any combination", async () => {
    expect.hasAssertions();
    await fc.assert(
      fc.asyncProperty(combination, (choice) => bringsEachOnce(ofADurable(choice), onAStore)),
      { numRuns },
    );
  });
});
