// An earlier broker's keys were texts: after a restart topic `a` gave back `a:b`'s messages too, and message 10 before 2.
// What had been acknowledged came back with every restart. Its log grew for ever, since nothing called the compaction; and
// its cache evicted what nobody had read yet.
import { expect, it } from "vitest";
import { crash, dataOf, openBroker, range, temporaryFolder } from "../broker-store/fixture.js";
import { fetchNow } from "../support/manual-broker.js";

const options = { durable: "d", ack: "manual", maxMessages: 8, maxInFlight: 1_000 } as const;

it("each topic has its own messages, in the order of publishing", async () => {
  const path = temporaryFolder();
  const broker = await openBroker(path);
  for (const data of range(1, 25)) {
    await broker.publish("a", data);
    await broker.publish("a:b", -data);
    await broker.publish("a.b", -data);
  }
  const again = await openBroker(crash(path));
  expect(dataOf(await again.recoverMessages("a"))).toEqual(range(1, 25));
  await again.compact();
  expect(dataOf(await again.recoverMessages("a"))).toEqual(range(1, 25));
});

it("what is acknowledged does not come back, restart after restart; what is not is never evicted", async () => {
  let path = temporaryFolder();
  const first = await openBroker(path);
  await first.subscribe("a", options).unsubscribe();
  for (const data of range(1, 60)) await first.publish("a", data);
  const seen: unknown[] = [];
  for (let round = 0; round < 6; round += 1) {
    path = crash(path);
    const broker = await openBroker(path);
    const sub = broker.subscribe("a", options);
    for (let left = 10; left > 0;) {
      const messages = await sub.fetch(left);
      for (const message of messages) {
        seen.push(message.data);
        await message.ack();
      }
      left -= messages.length;
    }
    if (round % 2 === 0) await broker.compact();
  }
  expect(seen).toEqual(range(1, 60));
  const last = await openBroker(crash(path));
  expect(await fetchNow(last.subscribe("a", options))).toEqual([]);
});

it("one key overwritten a thousand times takes the room of one", async () => {
  const path = temporaryFolder();
  const store = { retention: { policy: "interest" as const }, walBytes: 20_000 };
  const broker = await openBroker(path, { store });
  for (const data of range(1, 1_000)) void broker.publish("a", `${data}`.padEnd(200, "x"), { retain: true });
  await broker.flush();
  await broker.compact();
  expect((await broker.storeStats()).liveBytes).toBeLessThan(20_000);
  const again = await openBroker(crash(path), { store });
  expect(again.retained("a")).toMatchObject([{ data: "1000".padEnd(200, "x") }]);
});
