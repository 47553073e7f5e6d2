// @ts-check
// The last message of a topic, kept for those who come later.
import { InProcBroker } from "inproc-broker";

const broker = await InProcBroker.open();
await broker.publish("sensors.kitchen.temperature", 19.5, { retain: true });
await broker.publish("sensors.kitchen.temperature", 21, { retain: true });
await broker.publish("sensors.cellar.temperature", 12, { retain: true, ttl: 60_000 });

console.log(broker.retained("sensors.>").map(({ topic, data }) => [topic, data]));

const display = broker.subscribe("sensors.*.temperature", { from: "last" });
await broker.publish("sensors.kitchen.temperature", 22);
for (const msg of await display.fetch(3)) console.log(msg.topic, msg.data);

await broker.publish("sensors.cellar.temperature", null, { retain: true }); // clears it; subscribers see the null
console.log(broker.retained().map(({ topic }) => topic));
await broker.close();

/* Prints:
[
  [ 'sensors.kitchen.temperature', 21 ],
  [ 'sensors.cellar.temperature', 12 ]
]
sensors.kitchen.temperature 21
sensors.cellar.temperature 12
sensors.kitchen.temperature 22
[ 'sensors.kitchen.temperature' ]
*/
