/**
 * An earlier broker armed the ack timer for the first delivery alone: the second was never taken back, so a message
 * nobody acknowledged was delivered twice, never dead-lettered, and stayed among the pending ones for ever.
 */
import { expect, it } from "vitest";
import { balanced, manualBroker } from "../support/manual-broker.js";
import { fixedBackoff } from "inproc-broker";

it("a consumer that never acknowledges gets it exactly maxDeliveries times; then one dead letter, and nothing pending", async () => {
  const { broker, clock } = manualBroker({
    ack: { timeout: 20, maxDeliveries: 3, backoff: fixedBackoff(5) },
    deadLetter: {},
  });
  const at: number[] = [];
  const start = clock.now();
  broker.subscribe("t", () => void at.push(clock.now() - start), { ack: "manual" });
  await broker.publish("t", 1);
  await clock.advance(60_000);
  expect(at).toEqual([0, 25, 50]);
  expect(broker.deadLetters.stats()).toMatchObject({ count: 1, byReason: { "max-deliveries": 1 } });
  expect(balanced(broker)).toMatchObject({ inFlight: 0, queued: 0, delayed: 0, memoryBytes: 0, timedOut: 3 });
  expect(clock.pending).toBe(0);
});
