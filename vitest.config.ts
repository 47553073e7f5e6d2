import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const src = (path: string): string => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

export default defineConfig(({ mode }) => {
  // `npm run check:long` sets the mode; LONG=1 does the same for a single file by hand.
  const long = mode === "long" || process.env.LONG === "1";

  return {
    resolve: {
      // A test that imports the package by name gets the sources. Processes that a test starts get dist.
      alias: [
        { find: /^inproc-broker$/, replacement: src("index.ts") },
        { find: /^inproc-broker\/([a-z]+)$/, replacement: src("$1/index.ts") },
      ],
    },
    // Node 20 has no `await using`: lower it.
    oxc: { target: "es2023" },
    test: {
      include: ["test/**/*.test.ts"],
      exclude: long ? [] : ["test/long/**"],
      setupFiles: ["./scripts/property-seed.ts"],
      env: long ? { LONG: "1" } : {},
      typecheck: {
        include: ["test/types/**/*.test-d.ts"],
        tsconfig: "./tsconfig.json",
      },
      pool: "forks",
      maxWorkers: 2,
      retry: 0,
      testTimeout: long ? 600_000 : 60_000,
      hookTimeout: 30_000,
      teardownTimeout: 10_000,
    },
  };
});
