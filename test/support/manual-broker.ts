import { expect } from "vitest";
import type { BrokerErrorCode, BrokerOptions, Message, MetricsSnapshot, Subscription } from "inproc-broker";
import { BrokerError, fixedBackoff, InProcBroker } from "inproc-broker";
import { ManualClock } from "./manual-clock.js";

/** A broker whose time stands still until the test moves it, and whose chance is always one half. */
export function manualBroker(options: BrokerOptions = {}): { broker: InProcBroker; clock: ManualClock } {
  const clock = new ManualClock();
  const broker = new InProcBroker({ clock, random: () => 0.5, ...options });
  return { broker, clock };
}

/** Acknowledgement with round figures: 1,000 ms to settle, 100 ms until the next delivery, three deliveries. */
export const roundAck = { timeout: 1_000, maxDeliveries: 3, backoff: fixedBackoff(100) };

/** The code a promise is rejected with; fails where it is not rejected, or with something of no code. */
export async function rejectionCode(promise: Promise<unknown>): Promise<BrokerErrorCode> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) throw new Error(`resolved to ${String(outcome.value)} instead of being rejected`);
  return codeOf(outcome.error);
}

/** The code a call throws. */
export function thrownCode(call: () => unknown): BrokerErrorCode {
  try {
    call();
  } catch (error) {
    return codeOf(error);
  }
  throw new Error("returned instead of throwing");
}

function codeOf(error: unknown): BrokerErrorCode {
  if (error instanceof BrokerError) return error.code;
  throw error;
}

/** Checks that the counters add up, and returns them. */
export function balanced(broker: InProcBroker): MetricsSnapshot {
  const figures = broker.metrics.snapshot();
  const dropped = Object.values(figures.dropped).reduce((sum, count) => sum + count, 0);
  const { delivered, queued, inFlight, delayed, expired, deadLettered } = figures;
  expect(figures.routed, "copies").toBe(delivered + queued + inFlight + delayed + expired + deadLettered + dropped);
  const { routedMessages, unrouted, scheduled, scheduledExpired, scheduledCancelled } = figures;
  expect(figures.published, "messages").toBe(
    routedMessages + unrouted + scheduled + scheduledExpired + scheduledCancelled,
  );
  return figures;
}

/** What is there to take now, without waiting for more. */
export function fetchNow(sub: Subscription, count = 1_000): Promise<Message[]> {
  return sub.fetch(count, { timeout: 0 });
}

/** The next message; fails where none is there. */
export async function takeOne(sub: Subscription): Promise<Message> {
  const [message] = await fetchNow(sub, 1);
  if (message === undefined) throw new Error("no message is there");
  return message;
}

/** Runs the garbage collector until it finds nothing more. Present because the tests' processes are started with it. */
export async function collectGarbage(): Promise<void> {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  for (let round = 0; round < 4; round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    gc();
  }
}
