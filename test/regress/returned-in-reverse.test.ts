/**
 * Messages that were given back together came again in reverse: each went to the very front, before those that had come
 * back ahead of it.
 */
import { expect, it } from "vitest";
import { manualBroker, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const fourTimes = [0, 1, 2, 3];

it("what a batch gives back comes again in its order, whatever the wait", async () => {
  for (const delay of [0, 10]) {
    const { broker, clock } = manualBroker({ ack: {} });
    const sub = broker.subscribe("t");
    for (const data of [...fourTimes, 4]) broker.publishSync("t", data);
    for (const msg of await sub.fetch(4)) await msg.nack({ delay });
    await clock.advance(delay);
    const again = await sub.fetch(5);
    expect(again.map((msg): unknown => msg.data)).toEqual([0, 1, 2, 3, 4]);
    await broker.close({ drain: false });
  }
});

it("what comes back in any order waits in the order of publishing, each priority by itself", async () => {
  const { broker, clock } = manualBroker({ ack: {} });
  const sub = broker.subscribe("t");
  for (const data of fourTimes) broker.publishSync("t", data);
  for (const data of fourTimes) broker.publishSync("t", data + 10, { priority: "high" });
  const delays = [3, 1, 4, 2, 7, 5, 8, 6];
  for (const [index, msg] of (await sub.fetch(8)).entries()) await msg.nack({ delay: delays[index]! });
  await clock.advance(10);
  broker.publishSync("t", 4);
  expect(broker.peek(sub.name, 9).map((msg): unknown => msg.data)).toEqual([10, 11, 12, 13, 0, 1, 2, 3, 4]);
  expect((await sub.fetch(9)).map((msg): unknown => msg.data)).toEqual([10, 11, 12, 13, 0, 1, 2, 3, 4]);
  await broker.close({ drain: false });
});

it("a handler that fails gets the same order at each round of attempts", async () => {
  const { broker, clock } = manualBroker({ ack: { maxDeliveries: 3, backoff: () => 5 } });
  broker.on("error", () => undefined);
  const got: string[] = [];
  broker.subscribe("t", (msg) => {
    got.push(`${String(msg.data)}.${msg.deliveryCount}`);
    throw new Error("no");
  });
  for (const data of fourTimes) broker.publishSync("t", data);
  await clock.advance(20);
  await settle();
  expect(got).toEqual([1, 2, 3].flatMap((round) => fourTimes.map((data) => `${data}.${round}`)));
});

it("what a member of a group leaves behind, and what timed out, keeps its order", async () => {
  const { broker, clock } = manualBroker({ ack: { timeout: 100, backoff: () => 5 } });
  const leaving = broker.subscribe("t", { group: "g" });
  for (const data of fourTimes) broker.publishSync("t", data);
  await leaving.fetch(4);
  const staying = broker.subscribe("t", { group: "g" });
  await leaving.unsubscribe();
  expect((await staying.fetch(4)).map((msg): unknown => msg.data)).toEqual(fourTimes);
  await clock.advance(200);
  expect((await staying.fetch(3)).map((msg): unknown => msg.data)).toEqual([0, 1, 2]);
  expect((await takeOne(staying)).data).toBe(3);
  await broker.close({ drain: false });
});
