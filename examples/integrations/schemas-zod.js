// @ts-check
// Payloads checked at publish by any Standard Schema validator: zod here, valibot and arktype in the same way.
//
//     npm install zod
import { BrokerError, InProcBroker } from "inproc-broker";
import { z } from "zod";

const order = z.object({
  id: z.number().int(),
  email: z.email(),
  items: z.array(z.string()).min(1),
  note: z.string().trim().default(""),
});

const broker = await InProcBroker.open({
  // By topic or by pattern; where both match, the exact topic wins.
  schemas: { "orders.created": order, "sensors.*.temperature": z.number().min(-90).max(60) },
});
broker.subscribe("orders.created", (msg) => console.log("order", msg.data)); // what the schema made of it

await broker.publish("orders.created", { id: 1, email: "ann@example.com", items: ["lamp"], note: "  ring twice " });
await broker.publish("sensors.kitchen.temperature", 21);
for (const [topic, data] of /** @type {const} */ ([
  ["orders.created", { id: 2, email: "ann", items: [] }],
  ["sensors.oven.temperature", 220],
])) {
  try {
    await broker.publish(topic, data);
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    console.log(error.code, topic);
    for (const issue of /** @type {{ path: string }[]} */ (error.facts["issues"]))
      console.log("  at", issue.path || "the payload itself");
  }
}
await broker.close();

/* Prints:
order {
  id: 1,
  email: 'ann@example.com',
  items: [ 'lamp' ],
  note: 'ring twice'
}
ERR_SCHEMA orders.created
  at email
  at items
ERR_SCHEMA sensors.oven.temperature
  at the payload itself
*/
