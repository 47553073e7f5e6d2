import { describe, expect, test } from "vitest";
import { InProcBroker } from "inproc-broker";
import type { CaseResult } from "inproc-broker/conformance";
import { conformance } from "inproc-broker/conformance";

const unsupported = { durables: false, replay: false, crash: false, timers: false } as const;
const quick = /^(?:topics|groups|ordering|settling|ack|errors|request)/;

describe("a factory that returns nothing but the broker, on real time", () => {
  const results: CaseResult[] = [];
  conformance({
    test: (name, run) => test.runIf(quick.test(name))(name, run),
    factory: (options) => InProcBroker.open(options),
    supports: unsupported,
    onResult: (result) => results.push(result),
  });

  test("runs, and skips with a reason what is not supported", () => {
    expect(results.filter(({ outcome }) => outcome === "passed").length).toBeGreaterThan(20);
    const skipped = results.filter(({ outcome }) => outcome === "skipped");
    expect(new Set(skipped.map(({ reason }) => reason))).toContain("durables: not supported");
  });
});

test("a factory that returns something else is told what it must return", async () => {
  const runs: (() => Promise<void>)[] = [];
  conformance({ test: (_name, run) => runs.push(run), factory: () => ({}) as never });
  await expect(runs[0]?.()).rejects.toThrow("the factory must return a broker, or { broker, advance }");
});
