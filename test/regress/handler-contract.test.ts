/**
 * Earlier brokers had holes where handlers met them: a return without an ack was a hot loop, the ack id never reached
 * the consumer, a nack delivered again to everybody and at once, an ack of an unknown id was answered with "accepted", a text as
 * reply was an error and an error as reply a success.
 */
import { expect, it } from "vitest";
import { exponentialBackoff } from "inproc-broker";
import { balanced, manualBroker, rejectionCode, takeOne } from "../support/manual-broker.js";

it("returning acknowledges, whatever is returned; with manual it does not, and that is no hot loop", async () => {
  const { broker, clock } = manualBroker({ ack: { timeout: 1_000, maxDeliveries: 4 } });
  let handed = 0;
  broker.subscribe("auto", () => null);
  broker.subscribe("manual", () => void (handed += 1), { ack: "manual" });
  await broker.publish("auto", 1);
  await broker.publish("manual", 1);
  await clock.advance(999);
  expect(handed).toBe(1);
  expect(balanced(broker)).toMatchObject({ delivered: 1, inFlight: 1 });
  await clock.advance(1e6);
  expect(handed).toBe(4);
});

it("a nack never comes again at once unless asked to, and to nobody else", async () => {
  const { broker, clock } = manualBroker({ ack: { backoff: exponentialBackoff() } });
  const at: number[] = [];
  const others: number[] = [];
  const start = clock.now();
  broker.subscribe("t", async (msg) => {
    at.push(clock.now() - start);
    await msg.nack();
  });
  broker.subscribe("t", ({ deliveryCount }) => void others.push(deliveryCount));
  await broker.publish("t", 1);
  await clock.advance(1e6);
  expect(at).toEqual([0, 100, 300, 700, 1_500]);
  expect(others).toEqual([1]);
});

it("the id that settles is with the message, and an unknown one is a typed error", async () => {
  const { broker } = manualBroker({ ack: {} });
  const sub = broker.subscribe("t");
  await broker.publish("t", 1);
  await broker.ack((await takeOne(sub)).deliveryId);
  expect(await rejectionCode(broker.ack("unknown"))).toBe("ERR_ALREADY_SETTLED");
  expect(balanced(broker)).toMatchObject({ delivered: 1, refusedSettles: 1 });
});

it("any value is an answer, also a falsy one; a throw is a failure, also of what is no Error", async () => {
  const { broker } = manualBroker();
  for (const [index, answer] of [0, "", false, null, "text", [1], { error: "no failure" }].entries()) {
    broker.respond(`answer.${index}`, () => answer);
    expect(await broker.request(`answer.${index}`, null)).toEqual(answer);
  }
  for (const [index, thrown] of [new Error("boom"), "a text", 0, null, undefined].entries()) {
    broker.respond(`throw.${index}`, () => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- what users' code does
      throw thrown;
    });
    expect(await rejectionCode(broker.request(`throw.${index}`, null))).toBe("ERR_REMOTE");
  }
});
