// An earlier broker kept what a consumer had taken under that consumer's name. When its process died, the work stayed
// there for ever: nobody took it back.
import { expect, it } from "vitest";
import { crash, openBroker, temporaryFolder } from "../broker-store/fixture.js";
import { takeOne } from "../support/manual-broker.js";

it("what a crashed consumer had in flight is delivered again after a restart, counted", async () => {
  let path = temporaryFolder();
  for (const deliveryCount of [1, 2, 3]) {
    const broker = await openBroker(path);
    const sub = broker.subscribe("jobs", { durable: "workers", ack: "manual" });
    if (deliveryCount === 1) await broker.publish("jobs", 1);
    await sub.fetch(1).then(([message]) => expect(message).toMatchObject({ data: 1, deliveryCount }));
    await new Promise((resolve) => setImmediate(resolve));
    await broker.flush();
    path = crash(path);
  }
  const broker = await openBroker(path);
  const sub = broker.subscribe("jobs", { durable: "workers", ack: "manual" });
  const [message] = await sub.fetch(1);
  await message?.ack();
  const done = await openBroker(crash(path));
  expect(done.subscriptions()).toMatchObject([{ backlog: 0 }]);
});

it("a consumer that goes without settling leaves its work to the next, at once", async () => {
  const broker = await openBroker(temporaryFolder());
  const first = broker.subscribe("jobs", { durable: "workers", ack: "manual" });
  await broker.publish("jobs", 1);
  await takeOne(first);
  await first.unsubscribe();
  const [again] = await broker.subscribe("jobs", { durable: "workers", ack: "manual" }).fetch(1);
  expect(again).toMatchObject({ data: 1, redelivered: true });
});
