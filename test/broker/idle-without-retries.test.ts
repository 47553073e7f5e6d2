import { expect, it } from "vitest";
import { InProcBroker } from "../../src/index.js";
import { ManualClock } from "../support/manual-clock.js";

// idle({ retries: false }) looked again only when a queue had nothing left at all, so with a message in backoff it never
// resolved.
it("idle without retries resolves while a message is in its backoff, and drain still waits for it", async () => {
  const clock = new ManualClock();
  await using broker = new InProcBroker({ clock, ack: { backoff: () => 1_000, maxDeliveries: 2 } });
  const sub = broker.subscribe("fails", () => Promise.reject(new Error("no")));
  broker.on("error", () => undefined);
  await broker.publish("fails", 1);
  await broker.idle({ retries: false });
  expect(broker.metrics.snapshot().delayed).toBe(1);
  const drained = sub.drain();
  expect(sub.state).toBe("draining");
  await clock.advance(1_000);
  await drained;
  expect(sub.stats().dropped).toEqual({ "max-deliveries": 1 });
});
