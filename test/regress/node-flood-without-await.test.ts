/**
 * A blocking publish has no twin in Node.js: a loop of publishes that nobody awaits grows memory without end, unless
 * the broker refuses. Everything that waits is bounded by bytes and by number.
 */
import { expect, it } from "vitest";
import { balanced, manualBroker } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("a flood that is never awaited stops at memory.maxBytes, at any instant", async () => {
  const { broker } = manualBroker({ memory: { maxBytes: 10_000 } });
  broker.subscribe("t", { maxMessages: 10 });
  const outcomes: string[] = [];
  let most = 0;
  for (let index = 0; index < 5_000; index += 1) {
    broker.publish("t", "x".repeat(10)).then(
      () => outcomes.push("ok"),
      (error: unknown) => outcomes.push((error as { code: string }).code),
    );
    most = Math.max(most, broker.metrics.snapshot().memoryBytes);
  }
  await settle();
  expect(most).toBe(10_000);
  expect(outcomes.filter((one) => one === "ok")).toHaveLength(10);
  expect(outcomes.filter((one) => one === "ERR_MEMORY_LIMIT")).toHaveLength(4_000);
  expect(balanced(broker)).toMatchObject({ queued: 1_000, refused: 4_000 });
});

it("and at maxWaitingPublishers, and publishSync at the queue's own bound", async () => {
  const { broker } = manualBroker({ limits: { maxWaitingPublishers: 100 } });
  broker.subscribe("t", { maxMessages: 10 });
  const codes = new Map<string, number>();
  const count = (code: string): void => void codes.set(code, (codes.get(code) ?? 0) + 1);
  for (let index = 0; index < 1_000; index += 1) {
    broker.publish("t", 1).then(
      () => count("ok"),
      (error: unknown) => count((error as { code: string }).code),
    );
  }
  await settle();
  expect(Object.fromEntries(codes)).toEqual({ ok: 10, ERR_QUEUE_FULL: 890 });
  expect(() => broker.publishSync("t", 1)).toThrow(expect.objectContaining({ code: "ERR_QUEUE_FULL" }));
});
