import { describe, it } from "vitest";
import { conformance } from "../../src/conformance/index.js";
import { createTestBroker } from "../../src/testing/index.js";
import { memorySupports } from "./memory.js";

// What the test kit adds must not change what the broker does.
describe("the test kit's broker", () => {
  conformance({
    test: it,
    factory: ({ payloads: _, ...options }) => {
      const t = createTestBroker(options);
      return { broker: t.broker, advance: (ms) => t.clock.advance(ms) };
    },
    supports: { ...memorySupports, timers: "the kit's clock shows the broker's timers as what they lead to" },
    stress: { seed: 3, messages: 500 },
  });
});
