/**
 * An earlier bus retried by appending the message to the shared log again: every other group saw a duplicate, in another
 * place. A retry concerns the subscription or group that failed, and nobody else.
 */
import { expect, it } from "vitest";
import { balanced, manualBroker, roundAck } from "../support/manual-broker.js";

it("one group fails, the other and the plain subscription see each message once, in order", async () => {
  const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
  broker.on("error", () => undefined);
  const seen = { failing: [] as unknown[], fine: [] as unknown[], plain: [] as unknown[] };
  broker.subscribe(
    "t",
    ({ data }) => {
      seen.failing.push(data);
      throw new Error("boom");
    },
    { group: "failing" },
  );
  broker.subscribe("t", ({ data }) => void seen.fine.push(data), { group: "fine" });
  broker.subscribe(">", ({ data, topic }) => topic === "t" && seen.plain.push(data));
  for (let index = 0; index < 5; index += 1) await broker.publish("t", index);
  await clock.advance(60_000);
  expect(seen.failing).toHaveLength(15);
  expect(seen.fine).toEqual([0, 1, 2, 3, 4]);
  expect(seen.plain).toEqual([0, 1, 2, 3, 4]);
  balanced(broker);
});
