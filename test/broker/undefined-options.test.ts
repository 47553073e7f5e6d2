// An option given as undefined is an option left out.
import { expect, it } from "vitest";
import type { BrokerError, PublishOptions, SubscribeOptions } from "inproc-broker";
import { exponentialBackoff, InProcBroker } from "inproc-broker";
import { fetchNow, manualBroker, takeOne } from "../support/manual-broker.js";

/** The options that a call knows, as the error about an unknown one lists them, each undefined. */
async function allUndefined(call: (options: object) => unknown): Promise<Record<string, undefined>> {
  try {
    await call({ "no such option": 1 });
  } catch (error) {
    const [, list] = /known are (.*)$/.exec((error as BrokerError).message) ?? [];
    if (list !== undefined) return Object.fromEntries(list.split(", ").map((name) => [name, undefined]));
  }
  throw new Error("the call names no options");
}

it("of the broker: every section, and every option within a section", async () => {
  const options = await allUndefined((given) => new InProcBroker(given));
  expect(Object.keys(options).length).toBeGreaterThan(12);
  const broker = new InProcBroker(options);
  broker.subscribe("t", () => undefined);
  await broker.publish("t", 1);
  expect(() => broker.deadLetters).toThrow("deadLetter");
  await broker.close();
  for (const section of ["subscription", "memory", "ttl", "ack", "dedup", "transactions", "deadLetter", "limits"]) {
    const within = await allUndefined((given) => new InProcBroker({ [section]: given }));
    const { broker: other } = manualBroker({ [section]: within });
    expect((await other.publish("t", 1)).matched).toBe(0);
  }
});

it("of a subscription", async () => {
  const { broker } = manualBroker();
  const options = await allUndefined((given) => broker.subscribe("t", given as SubscribeOptions));
  expect(Object.keys(options).length).toBeGreaterThan(16);
  const sub = broker.subscribe("t", options as SubscribeOptions);
  for (let data = 0; data < 100; data += 1) await broker.publish("t", data);
  expect(await fetchNow(sub)).toHaveLength(100);
  const [batched] = broker.subscribeBatch([{ pattern: "t", handler: undefined, ...(options as SubscribeOptions) }]);
  expect([batched?.state, sub.ackMode]).toEqual(["open", "none"]);
});

it("of a publish, alone, in a batch, at once and in a transaction", async () => {
  const { broker } = manualBroker({ transactions: {} });
  const sub = broker.subscribe("t");
  const options = (await allUndefined((given) => broker.publish("t", 1, given))) as PublishOptions;
  expect(Object.keys(options).length).toBeGreaterThan(16);
  await broker.publish("t", 1, options);
  broker.publishSync("t", 2, options);
  await broker.publishBatch([{ topic: "t", data: 3, ...options }]);
  await broker.transaction((tx) => tx.publish("t", 4, options), { id: undefined, timeout: undefined });
  expect((await fetchNow(sub)).map((msg) => [msg.data, msg.priority, msg.expiresAt, msg.key])).toEqual(
    [1, 2, 3, 4].map((data) => [data, 4, undefined, undefined]),
  );
});

it("of everything else", async () => {
  const { broker } = manualBroker({
    ack: { backoff: exponentialBackoff({ initial: undefined, max: undefined, factor: undefined, jitter: undefined }) },
    deadLetter: {},
  });
  const sub = broker.subscribe("t", { rateLimit: { perSecond: 1_000, burst: undefined } });
  await broker.publish("t", 1);
  const [msg] = await sub.fetch(1, { timeout: undefined, signal: undefined });
  await msg?.nack({ delay: undefined, reason: undefined });
  expect(sub.stats().delayed).toBe(1);
  broker.respond("ask", (request) => request.reply(1, { headers: undefined }).then(() => 1));
  expect(await broker.request("ask", 1, { timeout: undefined, headers: undefined, signal: undefined })).toBe(1);
  const filter = { id: undefined, topic: undefined, reason: undefined, subscription: undefined };
  await broker.publish("r", 1);
  const rejecting = broker.subscribe("r");
  await broker.publish("r", 1);
  await (await takeOne(rejecting)).reject();
  expect((await broker.deadLetters.list({ ...filter, limit: undefined, cursor: undefined })).items).toHaveLength(1);
  expect(await broker.deadLetters.purge(filter)).toBe(1);
  await broker.idle({ topic: "ask", timeout: undefined, scheduled: undefined, retries: undefined, signal: undefined });
  await sub.unsubscribe({ deleteDurable: undefined });
  expect(await broker.close({ drain: undefined, timeout: undefined })).toEqual({ undelivered: [], unacked: [] });
});
