/**
 * Where the time of one contender goes: `node --expose-gc bench/profile.mjs <scenario> [contender] [--rounds n]`.
 *
 * Runs the contender alone, until it is compiled, then samples it every 100 µs and prints each function's own share: of the main
 * thread, and of a worker's where it has one. Without a contender: the scenario's first, ours.
 */

import { parseArgs } from "node:util";
import { Profile } from "./cpu-profile.mjs";
import { profileThread } from "./worker/threads.mjs";

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

let own;
let elapsedMs = 0;
for (let round = -WARM_UP_ROUNDS; round < Number(values.rounds); round++) {
  const prepared = await contender.prepare?.(scenario.operations);
  if (round === 0) {
    if (contender.thread !== undefined) await profileThread(contender.thread, "start");
    own = await Profile.start();
  }
  const before = performance.now();
  await contender.run(scenario.operations, prepared);
  if (round >= 0) elapsedMs += performance.now() - before;
  await contender.finish?.(prepared);
  contender.tally.reset();
}
const shares = await own.stop();
const others = contender.thread === undefined ? null : await profileThread(contender.thread, "stop");
for (const one of Object.values(contenders)) await one.close?.();

const nsPerOperation = (elapsedMs * 1e6) / (scenario.operations * Number(values.rounds));
console.log(`${name}, ${contender.label}: ${nsPerOperation.toFixed(0)} ns an operation\n`);
print(shares);
if (others !== null) {
  console.log("\nits worker (the first)\n");
  print(others);
}

function print(shares) {
  for (const [place, share] of shares.slice(0, LINES)) {
    console.log(
      `${(share * 100).toFixed(1).padStart(5)} %  ${(share * nsPerOperation).toFixed(0).padStart(5)} ns  ${place}`,
    );
  }
}
