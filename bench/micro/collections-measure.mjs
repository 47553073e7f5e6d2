import { cpus } from "node:os";

const rounds = 7;

/**
 * Runs the cases of one comparison by turns and prints nanoseconds per operation: the median of the rounds, with
 * the fastest and the slowest. A case does fixed work and returns a check value, which must be the same for all
 * of them, so that no contender wins by doing less.
 *
 * @param {string} title
 * @param {number} operations how many operations one call of `run` performs
 * @param {Record<string, () => unknown>} contenders ours first: the others are given as a ratio to it
 */
export function compare(title, operations, contenders) {
  const names = Object.keys(contenders);
  const times = new Map(names.map((name) => [name, []]));
  let expected;
  for (let round = -2; round < rounds; round += 1) {
    for (const name of names) {
      const start = process.hrtime.bigint();
      const check = contenders[name]();
      const elapsed = Number(process.hrtime.bigint() - start) / operations;
      expected ??= check;
      if (check !== expected) {
        throw new Error(`${title}: ${name} gave ${String(check)}, the first contender ${String(expected)}`);
      }
      if (round >= 0) times.get(name).push(elapsed);
    }
  }
  const rows = names.map((name) => {
    const sorted = times.get(name).sort((a, b) => a - b);
    return { name, median: sorted[rounds >> 1], min: sorted[0], max: sorted[rounds - 1] };
  });
  console.log(`\n${title} (ns per operation)`);
  for (const { name, median, min, max } of rows) {
    const ratio = (median / rows[0].median).toFixed(2);
    console.log(
      `  ${name.padEnd(36)} ${median.toFixed(1).padStart(8)}   ${min.toFixed(1)}–${max.toFixed(1)}   ${ratio}×`,
    );
  }
  return { title, operations, rows };
}

/** Where a run took place: figures from two machines cannot be compared, their ratios can. */
export function environment() {
  return { node: process.version, cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length };
}

/** Numbers that look random and are the same in every run (xorshift32). */
export function sequence(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
