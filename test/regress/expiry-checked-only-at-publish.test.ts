/**
 * An earlier broker looked at the time to live when a message was published, and never again: expired ones were
 * delivered later, and nobody counted them. Expiry is looked at whenever a message is handed out.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, roundAck, takeOne } from "../support/manual-broker.js";

it("at dequeue, at redelivery and out of a delay: nothing expired is handed out, and each is counted", async () => {
  const { broker, clock } = manualBroker({ ack: roundAck });
  const sub = broker.subscribe("t");
  await broker.publish("t", "redelivered", { ttl: 150 });
  await (await takeOne(sub)).nack();
  await broker.publish("t", "waiting", { ttl: 150 });
  await broker.publish("t", "delayed", { ttl: 250, delay: 160 });
  // The loop is blocked: every timer is overdue, and none has run.
  clock.block(300);
  expect(await fetchNow(sub)).toEqual([]);
  await clock.advance(60_000);
  expect(await fetchNow(sub)).toEqual([]);
  expect(balanced(broker)).toMatchObject({ expired: 2, scheduledExpired: 1, delivered: 0, memoryBytes: 0 });
});
