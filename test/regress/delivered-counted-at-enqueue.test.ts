/**
 * An earlier broker counted a message as delivered when it put it into a queue: 100 "delivered", of which 84 had been dropped.
 * Accepted, queued, handed over, done, dropped (and why), expired and dead are counted apart, and the sums hold.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";

it("100 messages into a queue of 16 that drops: nothing is delivered before somebody has it, and 84 drops are told", async () => {
  const { broker } = manualBroker({ ack: roundAck });
  const told: string[] = [];
  broker.on("drop", ({ reason, subscription }) => told.push(`${subscription} ${reason}`));
  const sub = broker.subscribe("t", { name: "s", maxMessages: 16, overflow: "drop-oldest" });
  for (let index = 0; index < 100; index += 1) await broker.publish("t", index);
  expect(balanced(broker)).toMatchObject({ published: 100, routed: 100, delivered: 0, queued: 16, handedOver: 0 });
  expect(balanced(broker).dropped).toEqual({ overflow: 84 });
  expect(told).toEqual(Array.from({ length: 84 }, () => "s overflow"));
  const messages = await fetchNow(sub);
  expect(balanced(broker)).toMatchObject({ delivered: 0, inFlight: 16, handedOver: 16 });
  await Promise.all(messages.map((message) => message.ack()));
  expect(balanced(broker)).toMatchObject({ delivered: 16, inFlight: 0 });
});

it("a report tells what became of a message in each subscription", async () => {
  const { broker } = manualBroker();
  broker.subscribe("t", { name: "takes" });
  broker.subscribe("t", { name: "drops", maxMessages: 1, overflow: "drop-newest" });
  broker.subscribe("t", { name: "filters", filter: () => false });
  broker.subscribe("t", { name: "waits", maxMessages: 1 });
  await broker.publish("t", 0);
  const controller = new AbortController();
  const second = broker.publish("t", 1, { report: true, signal: controller.signal });
  await fetchNow(broker.subscribe("unrelated"));
  void broker.publish("other", 1);
  const waits = broker.subscriptions({ topic: "t" }).find(({ name }) => name === "waits");
  expect(waits?.queued).toBe(2);
  const receiptOf = async () => {
    const sub = broker.peek("waits");
    expect(sub).toHaveLength(2);
    controller.abort(new Error("seen enough"));
    return second;
  };
  await expect(receiptOf()).rejects.toThrow("seen enough");
  const third = await broker.publish("u", 1, { report: true });
  expect(third).toMatchObject({ matched: 0, report: [] });
});
