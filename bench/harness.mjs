/**
 * Measures contenders against each other in one process.
 *
 * A sample is a fixed number of operations, timed as a whole. After the warm-up every round takes one sample of
 * each contender in turn (A B A B ...), so that whatever else the machine does meets all of them alike, and the
 * ratio of two contenders is the median of the ratios of their paired samples. After each sample the contender's
 * tally is compared with what was sent: a lost or a doubled message ends the run.
 *
 * @typedef {object} Contender
 * @property {string} label what the table calls it
 * @property {import("./workload.mjs").Tally} tally what its consumers have seen since the last sample
 * @property {number} [fanOut] consumers that see each message; 1 when absent
 * @property {(operations: number) => { count: number, sum: number }} [expect] what the tally must say after a
 *   sample; by default each payload of the pool, in turn, `fanOut` times
 * @property {(operations: number) => unknown} [prepare] makes what a sample needs; not timed
 * @property {(operations: number, prepared: any) => void | Promise<void>} run the timed part
 * @property {(prepared: any) => void | Promise<void>} [finish] undoes `prepare`, checks more; not timed
 * @property {() => void | Promise<void>} [close]
 * @property {import("node:worker_threads").Worker} [thread] its worker, for the profile
 *
 * @typedef {object} Row one line of the table
 * @property {string} label
 * @property {string} contender id of the contender that the line is about
 * @property {string} against id of the contender that it is compared with
 * @property {number} [atLeast] target for a ratio of rates: contender / against
 * @property {number} [atMost] target for a ratio of costs: contender / against
 * @property {boolean} [cost] without a target: a ratio of costs, not of rates
 *
 * @typedef {object} Scenario
 * @property {string} name topology and guarantee
 * @property {string} group heading of its table
 * @property {"rate" | "cost" | "figures"} kind
 * @property {number} [operations] in one sample
 * @property {() => Promise<Record<string, Contender>>} [open] for rate and cost
 * @property {Row[]} [rows] for rate and cost
 * @property {(options: { quick: boolean, rounds: number }) => Promise<FigureTable>} [measure] for figures
 *
 * @typedef {object} FigureTable
 * @property {string[]} columns
 * @property {{ cells: string[], target?: string, pass?: boolean }[]} rows
 * @property {unknown} data the same as numbers, for the JSON
 */

import { payloadSum, turn } from "./workload.mjs";

/** Samples of each contender that are thrown away, so that what is measured is compiled code. */
const WARM_UP_ROUNDS = 3;

/** The median, smallest and largest of some numbers. */
export function spread(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

/** Exact percentiles (nearest rank) of all samples, which are sorted in place. */
export function percentiles(samples, shares) {
  samples.sort();
  return shares.map((share) => samples[Math.max(0, Math.ceil(share * samples.length) - 1)]);
}

/**
 * A sample whose process had less than this share of a core was kept waiting by others. (Compiler and collector
 * threads can lift the share above 1.)
 */
const BUSY_ENOUGH = 0.9;

/** Collects garbage, so that one sample does not pay for the one before. */
export function collectGarbage() {
  if (typeof globalThis.gc !== "function") throw new Error("run with --expose-gc");
  globalThis.gc();
}

/** Runs one scenario in this process and returns its results as plain data. */
export async function runScenario(scenario, { quick, rounds }) {
  const { name, group, kind } = scenario;
  if (kind === "figures") return { name, group, kind, rounds, ...(await scenario.measure({ quick, rounds })) };

  const operations = quick ? Math.max(1000, scenario.operations / 10) : scenario.operations;
  const contenders = await scenario.open();
  const samples = await sampleInTurn(name, contenders, operations, rounds);
  for (const contender of Object.values(contenders)) await contender.close?.();

  return {
    name,
    group,
    kind,
    operations,
    rounds,
    contenders: Object.fromEntries(
      Object.entries(contenders).map(([id, { label }]) => {
        const rates = samples[id].map((sample) => (operations / sample.elapsedMs) * 1000);
        const busy = samples[id].map((sample) => sample.cpuMs / sample.elapsedMs);
        return [id, { label, rate: spread(rates), rates, busy: spread(busy) }];
      }),
    ),
    rows: scenario.rows.map((row) => judge(row, samples)),
  };
}

function judge(row, samples) {
  const isCost = row.atMost !== undefined || row.cost === true;
  const ratio = spread(
    samples[row.contender].map((sample, round) => {
      const other = samples[row.against][round];
      return isCost ? sample.elapsedMs / other.elapsedMs : other.elapsedMs / sample.elapsedMs;
    }),
  );
  const noisy = [row.contender, row.against].some((id) => {
    const busy = spread(samples[id].map((sample) => sample.cpuMs / sample.elapsedMs));
    return busy.median < BUSY_ENOUGH;
  });
  const { atLeast, atMost } = row;
  if (atLeast !== undefined) return { ...row, ratio, noisy, pass: ratio.median >= atLeast };
  if (atMost !== undefined) return { ...row, ratio, noisy, pass: ratio.median <= atMost };
  return { ...row, ratio, noisy };
}

async function sampleInTurn(name, contenders, operations, rounds) {
  const samples = Object.fromEntries(Object.keys(contenders).map((id) => [id, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (const [id, contender] of Object.entries(contenders)) {
      const sample = await takeSample(`${name}, ${contender.label}`, contender, operations);
      if (round >= 0) samples[id].push(sample);
    }
  }
  return samples;
}

async function takeSample(name, contender, operations) {
  const prepared = await contender.prepare?.(operations);
  collectGarbage();

  const cpuBefore = process.cpuUsage();
  const before = performance.now();
  const running = contender.run(operations, prepared);
  if (running !== undefined) await running;
  const elapsedMs = performance.now() - before;
  const cpu = process.cpuUsage(cpuBefore);

  // A message that arrives twice may do so late.
  await turn();
  await turn();
  checkTally(name, contender, operations);
  await contender.finish?.(prepared);
  return { elapsedMs, cpuMs: (cpu.user + cpu.system) / 1000 };
}

function checkTally(name, contender, operations) {
  const { tally, fanOut = 1, expect } = contender;
  const expected = expect ? expect(operations) : { count: operations * fanOut, sum: payloadSum(operations) * fanOut };
  if (tally.count !== expected.count || tally.sum !== expected.sum) {
    throw new Error(
      `${name}: messages lost or doubled: ` +
        `${tally.count} seen of ${expected.count}, checksum ${tally.sum} for ${expected.sum}`,
    );
  }
  tally.reset();
}
