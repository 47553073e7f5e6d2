/**
 * Where the time of one contender goes: `node --expose-gc bench/profile.mjs <scenario> [contender] [--rounds n]`.
 *
 * Runs the contender alone, until it is compiled, then samples it every 100 µs and prints each function's own share. What the
 * compiler has inlined counts for the function it was inlined into. Without a contender: the scenario's first, ours.
 */

import { Session } from "node:inspector/promises";
import { parseArgs } from "node:util";

const WARM_UP_ROUNDS = 5;
const LINES = 20;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "10" } },
});
const [name, wanted] = positionals;
if (name === undefined) throw new Error("which scenario? its file in bench/scenario, without .mjs");

const { scenario } = await import(new URL(`./scenario/${name}.mjs`, import.meta.url).href);
if (scenario.open === undefined) throw new Error(`${name} measures figures, and has no contender to profile`);
const contenders = await scenario.open();
const id = wanted ?? scenario.rows[0].contender;
const contender = contenders[id];
if (contender === undefined) throw new Error(`no contender ${id}: there are ${Object.keys(contenders).join(", ")}`);

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.setSamplingInterval", { interval: 100 });

let elapsedMs = 0;
for (let round = -WARM_UP_ROUNDS; round < Number(values.rounds); round++) {
  const prepared = await contender.prepare?.(scenario.operations);
  if (round === 0) await session.post("Profiler.start");
  const before = performance.now();
  await contender.run(scenario.operations, prepared);
  if (round >= 0) elapsedMs += performance.now() - before;
  await contender.finish?.(prepared);
  contender.tally.reset();
}
const { profile } = await session.post("Profiler.stop");
for (const one of Object.values(contenders)) await one.close?.();

const nsPerOperation = (elapsedMs * 1e6) / (scenario.operations * Number(values.rounds));
console.log(`${name}, ${contender.label}: ${nsPerOperation.toFixed(0)} ns an operation\n`);
for (const [place, share] of ownShares(profile).slice(0, LINES)) {
  console.log(
    `${(share * 100).toFixed(1).padStart(5)} %  ${(share * nsPerOperation).toFixed(0).padStart(5)} ns  ${place}`,
  );
}

/** Each function's own share of the samples, the largest first. */
function ownShares({ nodes, samples, timeDeltas }) {
  const places = new Map(nodes.map(({ id: node, callFrame }) => [node, placeOf(callFrame)]));
  const times = new Map();
  let total = 0;
  samples.forEach((node, index) => {
    const place = places.get(node);
    times.set(place, (times.get(place) ?? 0) + timeDeltas[index]);
    total += timeDeltas[index];
  });
  return [...times].map(([place, time]) => [place, time / total]).sort((a, b) => b[1] - a[1]);
}

function placeOf({ functionName, url }) {
  const file = url.replace(/^.*\/(dist|bench|node_modules)\//, "");
  return `${functionName || "(anonymous)"}${file === "" ? "" : `  ${file}`}`;
}
