// @ts-check
// Runs the conformance suite on each implementation, from dist, and writes docs/conformance.md.
import { writeFileSync } from "node:fs";
import { InProcBroker } from "inproc-broker";
import { conformance, conformanceCases } from "inproc-broker/conformance";
import { VirtualClock } from "inproc-broker/testing";
import { format, resolveConfig } from "prettier";
import { conformancePage, runAll } from "./conformance-table.mjs";

const page = new URL("../docs/conformance.md", import.meta.url);
const noStore = "no store";

/** @type {{ name: string, setup: Parameters<typeof runAll>[1] }[]} */
const implementations = [
  {
    name: "InProcBroker, in memory",
    setup: {
      factory: (options) => {
        const clock = new VirtualClock();
        return {
          broker: new InProcBroker({ ...options, clock }),
          advance: (ms) => clock.advance(ms),
          pendingTimers: () => clock.pending().length,
        };
      },
      supports: { durables: noStore, replay: noStore, crash: noStore },
    },
  },
];

const runs = [];
for (const { name, setup } of implementations) runs.push({ name, results: await runAll(conformance, setup) });
const options = await resolveConfig(page);
writeFileSync(page, await format(conformancePage(runs, conformanceCases()), { ...options, parser: "markdown" }));
for (const { name, results } of runs) {
  for (const { name: test, outcome, reason } of results) {
    if (outcome === "failed") console.error(`${name}: ${test}: ${reason}`);
  }
}
process.exitCode = runs.some(({ results }) => results.some(({ outcome }) => outcome === "failed")) ? 1 : 0;
