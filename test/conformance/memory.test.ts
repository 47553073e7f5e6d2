import { describe, expect, it } from "vitest";
import { conformance, conformanceCases, features } from "../../src/conformance/index.js";
import { memorySupports, openInMemory } from "./memory.js";

describe("the broker in memory", () => {
  conformance({
    test: it,
    skip: (name, reason) => it.skip(`${name} (${reason})`),
    factory: (options) => openInMemory(options),
    supports: memorySupports,
    stress: { seed: 1 },
  });
});

describe("the suite", () => {
  it("has at least 120 cases, each under a name of its own, and some for every feature", () => {
    const names = conformanceCases().map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThanOrEqual(120);
    expect(new Set(conformanceCases().map(({ feature }) => feature))).toEqual(new Set(features));
  });

  it("refuses a feature and a case that nobody knows", () => {
    const setup = { test: () => undefined, factory: openInMemory };
    expect(() => conformance({ ...setup, supports: { durable: "typo" } as object })).toThrow(
      'no feature named "durable"',
    );
    expect(() => conformance({ ...setup, except: { "close: typo": "why" } })).toThrow('no case named "close: typo"');
  });
});
