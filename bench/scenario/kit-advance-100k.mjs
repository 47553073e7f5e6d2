/** The test kit: how long it takes to advance a manual clock over 100,000 timers, each at a time of its own. */

import { createTestBroker, VirtualClock } from "../../dist/testing/index.js";
import { collectGarbage, spread } from "../harness.mjs";

const TIMERS = 100_000;
const TARGET_MS = 1000;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "kit-advance-100k",
  group: "Test kit",
  kind: "figures",
  async measure({ quick, rounds }) {
    const timers = quick ? TIMERS / 10 : TIMERS;
    const lines = [
      ["`advance` over 100,000 timers of the clock", clockTimers, TARGET_MS],
      ["`advance` over 100,000 delayed messages, each delivered and recorded", delayedMessages],
      ["`createTestBroker()`, each of 1,000", creations],
    ];
    const samples = lines.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, [, run]] of lines.entries()) {
        collectGarbage();
        const elapsedMs = await run(timers);
        if (round >= 0) samples[i].push(elapsedMs);
      }
    }
    return {
      columns: ["", "median", "min–max", "target", ""],
      rows: lines.map(([label, , target], i) => {
        const { median, min, max } = spread(samples[i]);
        return {
          cells: [label, ms(median), `${ms(min)}–${ms(max)}`, target === undefined ? "" : `< ${ms(target)}`],
          pass: target === undefined ? undefined : median < target,
        };
      }),
      data: lines.map(([label], i) => ({ label, ...spread(samples[i]) })),
    };
  },
};

const ms = (value) => (value < 10 ? `${value.toFixed(3)} ms` : `${value.toFixed(0)} ms`);

async function clockTimers(timers) {
  const clock = new VirtualClock();
  let ran = 0;
  for (let i = 0; i < timers; i++) clock.schedule(((i * 7919) % timers) + 1, () => (ran += 1));
  const before = performance.now();
  await clock.advance(timers);
  const elapsedMs = performance.now() - before;
  if (ran !== timers) throw new Error(`${ran} timers ran of ${timers}`);
  return elapsedMs;
}

async function delayedMessages(messages) {
  const t = createTestBroker({ historyLimit: 4 * messages });
  let seen = 0;
  t.broker.subscribe("x", () => {
    seen += 1;
  });
  for (let i = 0; i < messages; i++) {
    const published = t.broker.publish("x", i, { delay: ((i * 7919) % messages) + 1 });
    if (i % 1000 === 999) await published;
  }
  const before = performance.now();
  await t.clock.advance(messages);
  const elapsedMs = performance.now() - before;
  if (seen !== messages) throw new Error(`${seen} messages seen of ${messages}`);
  await t.broker.close();
  return elapsedMs;
}

async function creations() {
  const before = performance.now();
  for (let i = 0; i < 1000; i++) createTestBroker();
  return (performance.now() - before) / 1000;
}
