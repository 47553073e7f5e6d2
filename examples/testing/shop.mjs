// @ts-check
// An application, written against the `Broker` interface: it does not know whether it runs on the real thing or in a test.

const day = 24 * 3_600_000;

/** @typedef {{ id: number, total: number }} Order */

/**
 * Bills what is ordered, ships what is paid, and reminds of a cart that was left a day ago.
 *
 * @param {import("inproc-broker").Broker} broker
 * @param {{ charge: (order: Order) => Promise<void> }} payments
 * @param {{ isDurable?: boolean }} [options] isDurable: the broker has a store, and the shop goes on after a crash where it was
 */
export function startShop(broker, payments, { isDurable = false } = {}) {
  /** @param {string} name @returns {import("inproc-broker").SubscribeOptions} */
  const as = (name) => ({ ack: "auto", ...(isDurable ? { durable: name } : { group: name }) });
  broker.subscribe(
    "order.placed",
    async (msg) => {
      if (msg.data.total <= 0) return msg.reject("nothing to pay");
      await payments.charge(msg.data);
      await broker.publish("order.paid", { id: msg.data.id }, { dedupId: `paid-${msg.data.id}` });
    },
    as("billing"),
  );
  broker.subscribe("order.paid", (msg) => broker.publish("order.shipped", msg.data), as("shipping"));
  broker.subscribe(
    "cart.abandoned",
    (msg) => broker.publish("mail.reminder", msg.data, { delay: day }),
    as("marketing"),
  );
}
