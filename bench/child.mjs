/** Runs one scenario and sends its result to the parent: a process each, so that none inherits another's type feedback. */

import { runScenario } from "./harness.mjs";

const [file, options] = process.argv.slice(2);
const { scenario } = await import(new URL(`./scenario/${file}`, import.meta.url).href);
const result = await runScenario(scenario, JSON.parse(options));
process.send(result, () => {
  process.exit(0);
});
