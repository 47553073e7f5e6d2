import { afterAll, describe, expect, it } from "vitest";
import {
  crashingExcept,
  crashingSupports,
  openCrashing,
  openOnLevel,
  storeSupports,
} from "../../scripts/conformance-store.mjs";
import { conformance } from "../../src/conformance/index.js";

describe("the broker on LevelDB", () => {
  conformance({
    test: it,
    skip: (name, reason) => it.skip(`${name} (${reason})`),
    factory: openOnLevel,
    supports: storeSupports,
    stress: { seed: 2, messages: 500 },
  });
});

describe("the broker on LevelDB, with a crash between the steps", () => {
  let crashes = 0;
  conformance({
    test: it,
    skip: (name, reason) => it.skip(`${name} (${reason})`),
    factory: (options) => openCrashing(options, () => (crashes += 1)),
    supports: crashingSupports,
    except: crashingExcept,
  });
  afterAll(() => expect(crashes).toBeGreaterThan(100));
});
