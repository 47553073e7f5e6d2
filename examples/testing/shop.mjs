// @ts-check
// An application, written against the `Broker` interface: it does not know whether it runs on the real thing or in a test.

const day = 24 * 3_600_000;

/** @typedef {{ id: number, total: number }} Order */

/**
 * Bills what is ordered, ships what is paid, and reminds of a cart that was left a day ago.
 *
 * @param {import("inproc-broker").Broker} broker
 * @param {{ charge: (order: Order) => Promise<void> }} payments
 */
export function startShop(broker, payments) {
  broker.subscribe(
    "order.placed",
    async (msg) => {
      if (msg.data.total <= 0) return msg.reject("nothing to pay");
      await payments.charge(msg.data);
      await broker.publish("order.paid", { id: msg.data.id }, { dedupId: `paid-${msg.data.id}` });
    },
    { group: "billing", ack: "auto" },
  );
  broker.subscribe("order.paid", (msg) => broker.publish("order.shipped", msg.data), {
    group: "shipping",
    ack: "auto",
  });
  broker.subscribe("cart.abandoned", (msg) => broker.publish("mail.reminder", msg.data, { delay: day }), {
    group: "marketing",
    ack: "auto",
  });
}
