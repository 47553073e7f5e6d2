import type { BrokerOptions } from "../../src/index.js";
import { InProcBroker } from "../../src/index.js";
import type { ConformanceOptions, ConformanceSetup, Implementation } from "../../src/conformance/index.js";
import { ManualClock } from "../support/manual-clock.js";

/** What the broker in memory does not support, and why. */
export const memorySupports: NonNullable<ConformanceSetup["supports"]> = {
  durables: "no store",
  replay: "no store",
  crash: "no store",
};

/** Opens a broker in memory on a clock that the cases move; `make` makes another one of it. */
export function openInMemory(
  options: ConformanceOptions,
  make: (options: BrokerOptions) => InProcBroker = (given) => new InProcBroker(given),
): Implementation {
  const clock = new ManualClock();
  return {
    broker: make({ ...options, clock }),
    advance: (ms) => clock.advance(ms),
    pendingTimers: () => clock.pending,
  };
}
