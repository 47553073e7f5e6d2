/**
 * An earlier broker tracked each redelivery as a new message, with a count of its own: 47,756 deliveries of one message
 * in two seconds. The count belongs to the message and its queue, and no way back may start it again.
 */
import { expect, it } from "vitest";
import { fixedBackoff } from "inproc-broker";
import { balanced, manualBroker, takeOne } from "../support/manual-broker.js";

it("the count goes on through nacks, throws, timeouts and members that leave, and has an end", async () => {
  const { broker, clock } = manualBroker({
    ack: { timeout: 20, maxDeliveries: 6, backoff: fixedBackoff(0) },
    deadLetter: {},
  });
  broker.on("error", () => undefined);
  const counts: number[] = [];
  const keeper = broker.subscribe("t", { group: "g", maxInFlight: 1 });
  await broker.publish("t", 1);
  const first = await takeOne(keeper);
  counts.push(first.deliveryCount);
  await first.nack({ delay: 0 });
  const second = await takeOne(keeper);
  counts.push(second.deliveryCount);
  broker.subscribe(
    "t",
    (msg) => {
      counts.push(msg.deliveryCount);
      if (msg.deliveryCount % 2 === 0) throw new Error("boom");
      return new Promise(() => undefined);
    },
    { group: "g" },
  );
  await keeper.unsubscribe();
  await clock.advance(60_000);
  expect(counts).toEqual([1, 2, 3, 4, 5, 6]);
  expect(balanced(broker)).toMatchObject({ handedOver: 6, deadLettered: 1, inFlight: 0, queued: 0 });
});
