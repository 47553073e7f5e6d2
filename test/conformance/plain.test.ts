import { afterEach, describe, expect, test, vi } from "vitest";
import { InProcBroker } from "inproc-broker";
import type { CaseResult } from "inproc-broker/conformance";
import { conformance } from "inproc-broker/conformance";

const unsupported = { durables: false, replay: false, crash: false, timers: false } as const;
/** What takes no time; `npm run check:long` runs all. */
const quick = process.env["LONG"] === undefined ? /^(?:groups|ordering|acknowledgement|errors|delivery|headers)/ : /./;

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

describe("on a machine that is too slow to look before a deadline", () => {
  const slow = "cancel: cancel takes back a delayed message, once";
  afterEach(() => void vi.restoreAllMocks());

  /** Runs the case; each of the first `slowTimes` times, a second goes by inside it. */
  async function outcome(
    slowTimes: number,
    make = () => new InProcBroker(),
  ): Promise<[CaseResult | undefined, number]> {
    const now = performance.now.bind(performance);
    let lost = 0;
    let opened = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now() + lost);
    const results: CaseResult[] = [];
    const runs: (() => Promise<void>)[] = [];
    conformance({
      test: (name, run) => name === slow && runs.push(run),
      factory: () => {
        opened += 1;
        const broker = make();
        const cancel = broker.cancel.bind(broker);
        const isSlow = opened <= slowTimes;
        return Object.assign(broker, {
          cancel: (id: string) => {
            if (isSlow) lost += 1_000;
            return cancel(id);
          },
        });
      },
      supports: unsupported,
      onResult: (result) => results.push(result),
    });
    for (const run of runs) await run().catch(() => undefined);
    return [results.find(({ name }) => name === slow), opened];
  }

  test("a case is run again", async () => {
    expect(await outcome(2)).toEqual([expect.objectContaining({ outcome: "passed" }), 3]);
  });

  test("a case that is too slow each time counts as skipped, with the reason", async () => {
    const reason = "the machine was too slow for it, 5 times";
    expect(await outcome(Infinity)).toEqual([expect.objectContaining({ outcome: "skipped", reason }), 5]);
  });

  test("a broker that is broken fails, at once where it was in time", async () => {
    const broken = (): InProcBroker => Object.assign(new InProcBroker(), { cancel: () => Promise.resolve(false) });
    expect(await outcome(1, broken)).toEqual([expect.objectContaining({ outcome: "failed" }), 2]);
  });
});

test("a factory that returns something else is told what it must return", async () => {
  const runs: (() => Promise<void>)[] = [];
  conformance({ test: (_name, run) => runs.push(run), factory: () => ({}) as never });
  await expect(runs[0]?.()).rejects.toThrow("the factory must return a broker, or { broker, advance }");
});
