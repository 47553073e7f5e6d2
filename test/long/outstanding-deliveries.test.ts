import { expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { balanced, collectGarbage, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";

const million = 1_000_000;

it("a million outstanding deliveries: one timer, bounded memory, each settled or taken back once", async () => {
  const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 60_000 } });
  let scheduled = 0;
  const schedule = clock.schedule.bind(clock);
  clock.schedule = (delayMs, run) => {
    scheduled += 1;
    return schedule(delayMs, run);
  };
  const sub = broker.subscribe("t", { maxMessages: Infinity, maxInFlight: Infinity, maxBytes: Infinity });
  await collectGarbage();
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; index < million; index += 1) broker.publishSync("t", index);
  let held: Message[] = await fetchNow(sub, million);
  expect(held).toHaveLength(million);
  await collectGarbage();
  const bytesEach = (process.memoryUsage().heapUsed - before) / million;
  // What is held for each: the message, the delivery, its deadline. No timer of Node.js, no closure, no id.
  expect(bytesEach).toBeLessThan(700);
  expect(clock.pending).toBe(1);
  expect(scheduled).toBeLessThan(5);

  for (let index = 0; index < million; index += 2) void (held[index] as Message).ack();
  expect(balanced(broker)).toMatchObject({ delivered: million / 2, inFlight: million / 2 });
  await clock.advance(60_000);
  expect(balanced(broker)).toMatchObject({ timedOut: million / 2, delayed: million / 2, inFlight: 0 });
  await clock.advance(100);
  held = await fetchNow(sub, million);
  expect(held).toHaveLength(million / 2);
  expect(held.every(({ deliveryCount }) => deliveryCount === 2)).toBe(true);
  for (const message of held) void message.ack();
  held.length = 0;
  await clock.advance(120_000);
  expect(balanced(broker)).toMatchObject({ delivered: million, inFlight: 0, memoryBytes: 0 });
  expect(clock.pending).toBe(0);
  await collectGarbage();
  expect((process.memoryUsage().heapUsed - before) / 2 ** 20).toBeLessThan(20);
  await broker.close();
});
