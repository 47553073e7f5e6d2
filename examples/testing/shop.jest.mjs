// @ts-check
// The shop's tests in jest. In a project of your own this file is shop.test.mjs; jest runs ES modules with
// NODE_OPTIONS=--experimental-vm-modules.
import { createTestBroker, matchers } from "inproc-broker/testing";
import { startShop } from "./shop.mjs";

// What `import { expect, jest, test } from "@jest/globals"` gives where that package is installed.
const { expect, test, jest = /** @type {any} */ (import.meta).jest } = /** @type {any} */ (globalThis);

expect.extend(matchers);

test("an order is billed and shipped", async () => {
  const charge = jest.fn(() => Promise.resolve());
  const t = createTestBroker({ ack: {} });
  startShop(t.broker, { charge });
  await t.send("order.placed", { id: 7, total: 10 });
  await t.idle();
  expect(t).toHavePublished("order.shipped", { times: 1, match: { id: 7 } });
  expect(t).not.toHaveDeadLettered(">");
  expect(charge).toHaveBeenCalledTimes(1);
  await t.broker.close();
});

test("on jest's fake timers", async () => {
  jest.useFakeTimers();
  const t = createTestBroker({ clock: "timers", ack: {} });
  startShop(t.broker, { charge: async () => undefined });
  await t.broker.publish("cart.abandoned", { id: 4 });
  await t.waitFor("mail.reminder", undefined, { state: "scheduled" });
  await jest.advanceTimersByTimeAsync(24 * 3_600_000);
  expect(t).toHavePublished("mail.reminder", { times: 1 });
  await t.broker.close();
  jest.useRealTimers();
});
