/**
 * One setTimeout for each message (ack, expiry, delay, backoff) costs a timer of Node.js each, keeps the process alive,
 * and fires at once beyond 2^31 - 1 ms. The broker has one timer for each time base, however many deadlines there are.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";

it("deadlines of every kind, thousands of them: two timers", async () => {
  const { broker, clock } = manualBroker({ ack: roundAck, transactions: {} });
  const sub = broker.subscribe("t", { maxInFlight: 10_000, maxMessages: 10_000, ttl: 1e7 });
  for (let index = 0; index < 1_000; index += 1) await broker.publish("t", index, { ttl: 5_000 + index });
  for (const message of (await fetchNow(sub)).slice(0, 300)) await message.nack({ delay: 1 + (message.seq % 50) });
  for (let index = 0; index < 1_000; index += 1) {
    await broker.publish("t", index, { delay: 1 + index });
    await broker.publish("t", index, { deliverAt: clock.now() + 1 + index, expiresAt: clock.now() + 1e6 });
    broker.beginTransaction({ timeout: 100 + index });
  }
  const answers = Array.from({ length: 100 }, (_, n) =>
    broker.request("t", n, { timeout: 1e6 + n }).catch(() => undefined),
  );
  expect(clock.pending).toBe(2);
  await broker.close({ drain: false });
  await Promise.all(answers);
  expect(clock.pending).toBe(0);
});

it("beyond 2^31 - 1 ms nothing is early, whatever kind of deadline it is", async () => {
  const month = 30 * 24 * 3_600_000;
  const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 2 * month } });
  const sub = broker.subscribe("t", { ttl: 3 * month });
  await broker.publish("t", "acked late");
  await broker.publish("t", "delayed", { delay: month, ttl: 3 * month });
  await broker.publish("t", "nacked");
  const [late, nacked] = await fetchNow(sub);
  await nacked?.nack({ delay: 1.5 * month });
  await clock.advance(month - 1);
  expect(balanced(broker)).toMatchObject({ scheduled: 1, delayed: 1, inFlight: 1, timedOut: 0 });
  await clock.advance(1);
  expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["delayed"]);
  await clock.advance(month / 2);
  expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["nacked"]);
  await late?.ack();
  expect(sub.state).toBe("open");
  await clock.advance(1.5 * month);
  expect(sub.state).toBe("closed");
});
