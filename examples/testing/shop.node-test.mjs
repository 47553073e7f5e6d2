// @ts-check
// The shop's tests in node:test: `node --test examples/testing/shop.node-test.mjs`.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock, test } from "node:test";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { createTestBroker } from "inproc-broker/testing";
import { startShop } from "./shop.mjs";

/** @param {import("inproc-broker/testing").TestBrokerOptions} [options] */
function openShop(options) {
  /** @type {number[]} */
  const charged = [];
  const t = createTestBroker({ ack: { maxDeliveries: 3 }, deadLetter: {}, ...options });
  startShop(t.broker, { charge: async (order) => void charged.push(order.id) });
  return { t, charged };
}

await test("an order is billed and shipped", async () => {
  const { t, charged } = openShop({ strict: { subscriptions: false, unhandled: false } });
  const s = await t.track(() => t.broker.publish("order.placed", { id: 7, total: 10 }));
  assert.deepEqual(s.published("order.shipped").one().data, { id: 7 });
  assert.deepEqual(charged, [7]);
  t.assertClean();
  await t.broker.close();
});

await test("a billing that fails is tried again", async () => {
  const { t, charged } = openShop();
  t.fault.onDeliver("order.placed", { fail: 2 });
  const { outcome, attempts } = await t.send("order.placed", { id: 1, total: 10 });
  assert.deepEqual([outcome, attempts, charged], ["acked", 3, [1]]);
  await t.broker.close();
});

await test("on node:test's own timers", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const { t } = openShop({ clock: "timers" });
  await t.broker.publish("cart.abandoned", { id: 4 });
  await t.waitFor("mail.reminder", undefined, { state: "scheduled" });
  mock.timers.tick(24 * 3_600_000);
  await t.waitFor("mail.reminder");
  await t.broker.close();
  mock.timers.reset();
});

await test("without the kit: the shop on the broker and the store that it runs on, on the machine's clock", async () => {
  const folder = await mkdtemp(join(tmpdir(), "shop-"));
  /** @type {number[]} */
  const charged = [];
  const open = async () => {
    const broker = await InProcBroker.open({ ack: {}, persistence: levelPersistence({ path: folder }) });
    startShop(broker, { charge: async (order) => void charged.push(order.id) }, { isDurable: true });
    return broker;
  };
  const before = await open();
  const carrier = before.subscribe("order.shipped", { durable: "carrier" });
  await carrier.unsubscribe(); // it is away, and its place is kept
  await before.publish("order.placed", { id: 7, total: 10 });
  await before.idle();
  await before.close();

  const broker = await open();
  const shipped = broker.subscribe("order.shipped", { durable: "carrier" });
  const [message] = await shipped.fetch(1);
  assert.deepEqual([message?.data, charged], [{ id: 7 }, [7]]);
  await message?.ack();
  await broker.close();
  await rm(folder, { recursive: true });
});
