/**
 * Earlier brokers ignored the timeout and the cancellation given to close, were "healthy" when closed, fell over a second
 * close, did not unsubscribe when the caller's context was cancelled, and checked limits only when they were set.
 */
import { expect, it } from "vitest";
import type { BrokerOptions, InProcBroker } from "inproc-broker";
import { InProcBroker as Broker } from "inproc-broker";
import { manualBroker, rejectionCode, roundAck, takeOne, thrownCode } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("close keeps its deadline, says what was left, and leaves no timer", async () => {
  const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 1e9 } });
  const sub = broker.subscribe("t");
  await broker.publish("t", "unacked");
  await broker.publish("t", "undelivered");
  await takeOne(sub);
  let result: Awaited<ReturnType<InProcBroker["close"]>> | undefined;
  void broker.close({ timeout: 500 }).then((closed) => (result = closed));
  await clock.advance(499);
  expect(result).toBeUndefined();
  expect(broker.health().status).toBe("degraded");
  await clock.advance(1);
  expect(result?.undelivered.map(({ data }) => data)).toEqual(["undelivered"]);
  expect(result?.unacked.map(({ data }) => data)).toEqual(["unacked"]);
  expect(clock.pending).toBe(0);
  expect(broker.health().status).toBe("unhealthy");
});

it("a second close is the first one's, and everything else is ERR_BROKER_CLOSED", async () => {
  const { broker } = manualBroker({ transactions: {}, deadLetter: {} });
  const first = broker.close();
  expect(await broker.close({ timeout: 1 })).toBe(await first);
  await broker[Symbol.asyncDispose]();
  expect(await rejectionCode(broker.publish("t", 1))).toBe("ERR_BROKER_CLOSED");
  expect(thrownCode(() => broker.subscribe("t"))).toBe("ERR_BROKER_CLOSED");
  expect(await rejectionCode(broker.ready())).toBe("ERR_BROKER_CLOSED");
});

it("an aborted signal unsubscribes, before and after", async () => {
  const { broker } = manualBroker();
  const controller = new AbortController();
  const sub = broker.subscribe("t", { signal: controller.signal });
  const next = sub.next();
  controller.abort();
  expect(await next).toEqual({ value: undefined, done: true });
  expect(sub.state).toBe("closed");
  expect(broker.subscribe("t", { signal: AbortSignal.abort() }).state).toBe("closed");
  expect(await broker.publish("t", 1)).toMatchObject({ matched: 0 });
  expect(broker.metrics.snapshot().subscriptions).toBe(0);
});

it("every limit refuses what exceeds it", async () => {
  const cases: [BrokerOptions, string, (broker: InProcBroker) => unknown][] = [
    [{ limits: { maxTopics: 1 } }, "ERR_LIMIT_EXCEEDED", (b) => [b.publishSync("a", 1), b.publishSync("b", 1)]],
    [{ limits: { maxSubscriptions: 1 } }, "ERR_LIMIT_EXCEEDED", (b) => [b.subscribe("a"), b.subscribe("b")]],
    [{ limits: { maxTopicLength: 3 } }, "ERR_INVALID_TOPIC", (b) => b.publishSync("long", 1)],
    [{ limits: { maxTokens: 2 } }, "ERR_INVALID_TOPIC", (b) => b.publishSync("a.b.c", 1)],
    [{ limits: { maxTokens: 2 } }, "ERR_INVALID_PATTERN", (b) => b.subscribe("a.b.>")],
    [{ limits: { maxMessageBytes: 3 } }, "ERR_MESSAGE_TOO_LARGE", (b) => b.publishSync("a", "long")],
    [{ limits: { maxDelayed: 1 } }, "ERR_LIMIT_EXCEEDED", (b) => [1, 2].map(() => b.publishSync("a", 1, { delay: 9 }))],
    [
      { limits: { maxRetained: 1 } },
      "ERR_LIMIT_EXCEEDED",
      (b) => ["a", "b"].map((topic) => b.publishSync(topic, 1, { retain: true })),
    ],
    [{ memory: { maxBytes: 3 } }, "ERR_MEMORY_LIMIT", (b) => [b.subscribe("a"), b.publishSync("a", "long")]],
  ];
  for (const [options, code, exceed] of cases) {
    const broker = new Broker(options);
    expect(
      thrownCode(() => exceed(broker)),
      JSON.stringify(options),
    ).toBe(code);
    await broker.close();
  }
});

it("an option nobody knows is refused, at every level, not accepted as a flag", () => {
  for (const options of [
    { shard: 1 },
    { ack: { timeOut: 1 } },
    { subscription: { max: 1 } },
    { memory: { onLimit: "drop-oldest" } },
    { deadLetter: { ttl: 1 } },
    { persistence: { path: "./data" } },
    { limits: { maxQueues: 1 } },
    { plugins: [{}] },
    { schemas: { t: {} } },
    { payloads: "deep" },
  ]) {
    expect(
      thrownCode(() => new Broker(options as BrokerOptions)),
      JSON.stringify(options),
    ).toBe("ERR_INVALID_OPTION");
  }
});

it("a close inside a handler of its own ends", async () => {
  const { broker, clock } = manualBroker({ ack: roundAck });
  let closed: unknown;
  broker.subscribe("t", async () => {
    closed = await broker.close({ timeout: 50 });
  });
  await broker.publish("t", 1);
  await clock.advance(50);
  await settle();
  expect(closed).toMatchObject({ undelivered: [] });
  expect(broker.state).toBe("closed");
});
