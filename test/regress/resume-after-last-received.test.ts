// An earlier broker resumed after the last message that it had sent. What was on its way when the connection broke, and had
// never been acknowledged, was skipped.
import { expect, it } from "vitest";
import { crash, dataOf, openBroker, temporaryFolder } from "../broker-store/fixture.js";
import { fetchNow } from "../support/manual-broker.js";

it("resumes with what is not acknowledged, whatever was received after it", async () => {
  const path = temporaryFolder();
  const broker = await openBroker(path);
  const options = { durable: "d", ack: "manual" } as const;
  const sub = broker.subscribe("a", options);
  for (const data of [1, 2, 3, 4]) await broker.publish("a", data);
  const messages = await fetchNow(sub);
  await messages[1]?.ack();
  await messages[3]?.ack();
  const again = await openBroker(crash(path));
  expect(dataOf(await fetchNow(again.subscribe("a", options)))).toEqual([1, 3]);
  await sub.unsubscribe();
  expect(dataOf(await fetchNow(broker.subscribe("a", options)))).toEqual([1, 3]);
});
