import { InvalidArgumentError } from "../index.js";
import type { Clock } from "../index.js";
import { systemClock } from "../platform/clock.js";
import { globalClock } from "../platform/global-clock.js";
import { nextTurn } from "../platform/real-time.js";
import type { PendingTimer, TestClock } from "./test-clock.js";

/** The machine's clock, or the one that the test runner's fake timers make; neither is the kit's to move. */
export function unmovedClock(mode: "real" | "timers", agenda: () => PendingTimer[]): TestClock {
  const clock: Clock = mode === "real" ? systemClock : globalClock();
  const refuse = (method: string): never => {
    throw new InvalidArgumentError(
      "ERR_INVALID_OPTION",
      mode === "real"
        ? `clock.${method} needs a clock that the test moves: createTestBroker({ clock: "manual" })`
        : `clock.${method} is the test runner's: move its fake timers (vi.advanceTimersByTimeAsync, jest.advanceTimersByTimeAsync, mock.timers.tick)`,
      { facts: { option: "clock", clock: mode } },
    );
  };
  return {
    mode,
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    schedule: (delayMs, run) => clock.schedule(delayMs, run),
    advance: async () => refuse("advance"),
    runNext: async () => refuse("runNext"),
    jump: () => refuse("jump"),
    pending: () => agenda().sort((a, b) => a.at - b.at),
    async settle() {
      await nextTurn();
      await nextTurn();
    },
  };
}
