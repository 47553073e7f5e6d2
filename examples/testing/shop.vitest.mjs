// @ts-check
// The shop's tests in vitest: in memory, and the same tests on a store with LevelDB in a folder. In a project of your own this file is
// shop.test.js, and `vitest run` runs it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestBroker, matchers } from "inproc-broker/testing";
import { afterEach, describe, expect, test, vi } from "vitest";
import { startShop } from "./shop.mjs";

expect.extend(matchers);

/** @type {(() => unknown)[]} */
const after = [];
afterEach(async () => {
  for (const end of after.splice(0).reverse()) await end();
});

/** A folder that is gone after the test. */
function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), "shop-"));
  after.push(() => rmSync(folder, { recursive: true }));
  return folder;
}

describe.each([
  { where: "in memory", isDurable: false },
  { where: "on LevelDB", isDurable: true },
])("the shop $where", ({ isDurable }) => {
  function openShop() {
    const charge = vi.fn(() => Promise.resolve());
    const t = createTestBroker({
      ack: { maxDeliveries: 3, timeout: 10_000 },
      deadLetter: {},
      ...(isDurable ? { persistence: { path: newFolder() } } : {}),
    });
    after.push(() => t.broker.close({ drain: false }));
    startShop(t.broker, { charge }, { isDurable });
    return { t, charge };
  }

  test("an order is billed and shipped", async () => {
    const { t, charge } = openShop();
    const s = await t.track(() => t.broker.publish("order.placed", { id: 7, total: 10 }));
    t.expectOrder(["order.placed", "order.paid", "order.shipped"]);
    expect(s.published("order.shipped").one().data).toEqual({ id: 7 });
    expect(charge).toHaveBeenCalledTimes(1);
  });

  test("a payment that fails is tried again, and given up after three attempts", async () => {
    const { t, charge } = openShop();
    charge.mockRejectedValueOnce(new Error("bank is down"));
    expect(await t.send("order.placed", { id: 1, total: 10 })).toMatchObject({ outcome: "acked", attempts: 2 });

    charge.mockRejectedValue(new Error("card expired"));
    expect(await t.send("order.placed", { id: 2, total: 10 })).toMatchObject({ outcome: "dead", attempts: 3 });
    t.expect("deadLettered", "order.placed", { match: { id: 2 }, reason: "max-deliveries" });
  });

  test("an order of nothing is refused", async () => {
    const { t, charge } = openShop();
    expect((await t.send("order.placed", { id: 3, total: 0 })).outcome).toBe("rejected");
    expect(charge).not.toHaveBeenCalled();
    t.expectNothing("order.paid");
  });

  test("a reminder goes out after a day, which takes no time", async () => {
    const { t } = openShop();
    await t.send("cart.abandoned", { id: 4 });
    t.expect("scheduled", "mail.reminder", { match: { id: 4 } });
    await t.clock.advance("23h 59m");
    expect(t.history().filter(({ kind, topic }) => kind === "published" && topic === "mail.reminder")).toEqual([]);
    await t.clock.advance("1m");
    t.expectPublished("mail.reminder", { times: 1 });
  });

  test("an acknowledgement that is lost charges twice, and ships once", async () => {
    const { t, charge } = openShop();
    t.fault.onAck("order.placed", { lose: 1 });
    await t.track(() => t.broker.publish("order.placed", { id: 5, total: 10 }));
    expect(charge).toHaveBeenCalledTimes(2);
    t.expectPublished("order.shipped", { times: 1 });
  });

  // What a store is for.
  test.runIf(isDurable)("an order that a power cut interrupts is billed and shipped after it", async () => {
    const { t, charge } = openShop();
    charge.mockImplementationOnce(() => new Promise(() => undefined));
    await t.broker.publish("order.placed", { id: 6, total: 10 });
    await t.waitFor("order.placed", undefined, { state: "delivered" });
    await t.crash();
    startShop(await t.restart(), { charge }, { isDurable });
    await t.idle();
    expect(charge).toHaveBeenCalledTimes(2);
    t.expectPublished("order.shipped", { times: 1 });
  });
});
