// What a publish answers is plain data: to copy, to spread, to compare, to send.
import { expect, it } from "vitest";
import { messageId } from "inproc-broker";
import { manualBroker, takeOne } from "../support/manual-broker.js";

it("a receipt is its four facts and nothing else, by every way of publishing", async () => {
  const { broker } = manualBroker({ transactions: {} });
  const sub = broker.subscribe("t", { maxMessages: 1 });
  const plain = await broker.publish("t", 1);
  const { id } = await takeOne(sub);
  expect({ ...plain }).toStrictEqual({ id, seq: 1, matched: 1, duplicate: false });
  expect(structuredClone(plain)).toStrictEqual(plain);
  expect(JSON.parse(JSON.stringify(plain))).toStrictEqual(plain);
  const others = [
    broker.publishSync("u", 1),
    broker.publishSync("u", 1, { priority: 9 }),
    await broker.publish("u", 1, { key: "k" }),
    await broker.publish("u", 1, { dedupId: "x" }),
    await broker.publish("u", 1, { dedupId: "x" }),
    ...(await broker.publishBatch([{ topic: "u", data: 1 }])),
    await broker.transaction((tx) => tx.publish("u", 1)),
  ];
  await broker.publish("t", 1);
  const held = broker.publish("t", 2);
  await takeOne(sub);
  others.push(await held);
  for (const receipt of others) expect(Object.keys(receipt)).toEqual(["id", "seq", "matched", "duplicate"]);
  const report = await broker.publish("u", 1, { report: true });
  expect(Object.keys(report)).toEqual(["id", "seq", "matched", "duplicate", "report"]);
});

it("ids follow from time and sequence, across more messages than share a beginning, and time that goes back", async () => {
  const { broker, clock } = manualBroker();
  const seen = new Set<string>();
  let nonce = "";
  for (let index = 0; index < 2_500; index += 1) {
    if (index % 700 === 0) clock.jump(index % 1_400 === 0 ? -5 : 7);
    const { id, seq } = broker.publishSync("t", index);
    nonce ||= id.slice(18);
    expect(id).toBe(messageId(clock.now(), seq, nonce));
    seen.add(id);
  }
  expect(seen.size).toBe(2_500);
  const { broker: fractional } = manualBroker({
    clock: { now: () => 1.5, monotonic: () => 0, schedule: () => () => undefined },
  });
  expect((await fractional.publish("t", 1)).id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
});
