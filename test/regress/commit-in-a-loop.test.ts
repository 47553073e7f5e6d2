/**
 * An earlier broker committed a transaction by publishing its messages one after the other: an error in the middle left half
 * of them visible, the id of a failed transaction stayed, and a use after the timeout silently opened a new one.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, rejectionCode, thrownCode } from "../support/manual-broker.js";

it("an error in the middle leaves nothing visible, wherever it is", async () => {
  for (const bad of [0, 1, 2]) {
    const { broker } = manualBroker({ transactions: {} });
    const sub = broker.subscribe("good");
    broker.subscribe("full", { maxMessages: 1, overflow: "error" });
    await broker.publish("full", 0);
    const tx = broker.beginTransaction();
    for (let index = 0; index < 3; index += 1) await tx.publish(index === bad ? "full" : "good", index);
    expect(await rejectionCode(tx.commit())).toBe("ERR_QUEUE_FULL");
    expect(await fetchNow(sub)).toEqual([]);
    expect(balanced(broker)).toMatchObject({ published: 1, transactions: { open: 0, rolledBack: 1 } });
  }
});

it("an id that is over, or unknown, is a typed error and opens nothing", async () => {
  const { broker, clock } = manualBroker({ transactions: { timeout: 50 } });
  const sub = broker.subscribe("t");
  broker.beginTransaction({ id: "late" });
  await clock.advance(50);
  const use = (transaction: string): Promise<string> => rejectionCode(broker.publish("t", 1, { transaction }));
  expect(await use("late")).toBe("ERR_TRANSACTION_TIMEOUT");
  expect(await use("unknown")).toBe("ERR_TRANSACTION_NOT_FOUND");
  const done = broker.beginTransaction({ id: "done" });
  await done.commit();
  expect(await use("done")).toBe("ERR_TRANSACTION_SETTLED");
  expect(thrownCode(() => broker.beginTransaction({ id: "done" }))).toBe("ERR_TRANSACTION_EXISTS");
  expect(broker.metrics.snapshot().transactions.open).toBe(0);
  await clock.advance(60_000);
  expect(await fetchNow(sub)).toEqual([]);
});
