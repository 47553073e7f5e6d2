/**
 * Two earlier brokers dropped by default (the oldest, or whatever came after the first 100): messages were lost out of the
 * box, and silently. The default holds the publisher back; every drop was asked for, is counted and is told.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("by default 5,000 publishes into a queue of 1,024 that nobody empties lose nothing: their publishers wait", async () => {
  const { broker } = manualBroker();
  const drops: unknown[] = [];
  broker.on("drop", (event) => drops.push(event));
  const sub = broker.subscribe("t");
  let resolved = 0;
  const all = Array.from({ length: 5_000 }, (_, index) => broker.publish("t", index).then(() => (resolved += 1)));
  await settle();
  expect(resolved).toBe(1_024);
  expect(balanced(broker)).toMatchObject({ queued: 5_000, waitingPublishers: 3_976 });
  expect((await fetchNow(sub, 5_000)).map(({ data }) => data)).toEqual(Array.from({ length: 5_000 }, (_, i) => i));
  await Promise.all(all);
  expect(drops).toEqual([]);
  expect(balanced(broker).dropped).toEqual({});
});

it("every drop is told and counted, under each policy and at the end of a subscription", async () => {
  const { broker } = manualBroker();
  const reasons: string[] = [];
  broker.on("drop", ({ reason, message }) => reasons.push(`${reason} ${String(message.data)}`));
  const oldest = broker.subscribe("a", { maxMessages: 1, overflow: "drop-oldest" });
  broker.subscribe("b", { maxMessages: 1, overflow: "drop-newest" });
  const closes = broker.subscribe("c", { maxMessages: 1, overflow: "close" });
  for (const topic of ["a", "b", "c"]) for (const n of [1, 2]) await broker.publish(topic, `${topic}${n}`);
  await closes.closed;
  await oldest.unsubscribe();
  expect(reasons).toEqual(["overflow a1", "overflow b2", "overflow c2", "unsubscribed c1", "unsubscribed a2"]);
  expect(balanced(broker).dropped).toEqual({ overflow: 3, unsubscribed: 2 });
});
