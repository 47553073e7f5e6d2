import { describe, it } from "vitest";
import { conformance } from "../../src/conformance/index.js";
import { openOnStore, storeSupports } from "./store.js";

describe("the broker on a store", () => {
  conformance({
    test: it,
    skip: (name, reason) => it.skip(`${name} (${reason})`),
    factory: (options) => openOnStore(options),
    supports: storeSupports,
    stress: { seed: 1 },
  });
});
