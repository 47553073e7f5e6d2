/**
 * Replays a property test: FC_SEED and FC_PATH take the seed and path that a failure printed.
 *
 * Runs before each test file. A property that names its own `numRuns` keeps it; the others run 1,000 times
 * in the long mode. Does nothing, and loads nothing, on an ordinary run.
 */
const seed = process.env.FC_SEED;
const path = process.env.FC_PATH;
const isLong = process.env.LONG === "1";

if (seed !== undefined || isLong) {
  if (seed !== undefined && !/^-?\d+$/.test(seed)) throw new Error(`FC_SEED must be an integer, not "${seed}"`);
  const { configureGlobal } = await import("fast-check");
  configureGlobal({
    ...(seed !== undefined && { seed: Number(seed), endOnFailure: path !== undefined }),
    ...(path !== undefined && { path }),
    ...(isLong && { numRuns: 1_000 }),
  });
}

export {};
