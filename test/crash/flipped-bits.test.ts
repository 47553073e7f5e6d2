import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../persistence/store/fixture.js";
import { randomFrom } from "../support/faulty-file-system.js";
import { checkFlip, filesOf, large, look, makeLargeStore, makeStore } from "./flipped-bits.js";

/** Flips in each file; every bit of the folder with FLIPS=all, which takes an hour. */
const flipsPerFile = process.env.FLIPS === "all" ? Infinity : process.env.LONG === "1" ? 2_000 : 40;
const seed = Number(process.env.FLIP_SEED ?? 1 + Math.floor(Math.random() * 1e6));

describe.each([
  { what: "a store", make: makeStore, options: {}, perFile: flipsPerFile },
  // Most of its bits are those of messages, and an opening reads megabytes.
  { what: "a large store", make: makeLargeStore, options: large, perFile: Math.min(flipsPerFile / 10, 500) },
])("$what with a flipped bit", ({ make, options, perFile }) => {
  it(
    `opens, hands out no wrong message, and loses none in silence (FLIP_SEED=${seed})`,
    async () => {
      const folder = temporaryFolder();
      const path = join(folder, "data");
      await make(path);
      const first = join(folder, "first");
      fs.cpSync(path, first, { recursive: true });
      const whole = await look(first, options);
      expect(whole.isReported).toBe(false);
      expect(whole.facts.size).toBeGreaterThan(50);
      const random = randomFrom(seed);
      let flips = 0;
      // LevelDB wants a line feed at the end, and other white space is as near as a bit.
      const end = fs.statSync(join(path, "level/CURRENT")).size * 8;
      for (let bit = end - 8; bit < end; bit++)
        await checkFlip(path, join(folder, "copy"), "level/CURRENT", bit, whole, options);
      for (const file of filesOf(path)) {
        const bits = fs.statSync(join(path, file)).size * 8;
        const step = Math.max(1, Math.ceil(bits / perFile));
        for (let from = 0; from < bits; from += step) {
          const bit = Math.min(bits - 1, from + Math.floor(random() * step));
          await checkFlip(path, join(folder, "copy"), file, bit, whole, options);
          flips++;
        }
      }
      expect(flips).toBeGreaterThan(20);
    },
    flipsPerFile === 40 ? 120_000 : 7_200_000,
  );
});
