// Options of single calls, and those of the broker that few calls show: each has a test that fails when it is ignored.
import { describe, expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { fetchNow, manualBroker, rejectionCode, roundAck, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

describe("request and requestMany", () => {
  it("headers and key reach the responder", async () => {
    const { broker } = manualBroker();
    broker.respond("ask", (msg: Message<unknown>) => [msg.headers["a"], msg.key, msg.correlationId === undefined]);
    const options = { headers: { a: ["1", "2"] }, key: "k" };
    expect(await broker.request("ask", 1, options)).toEqual(["1, 2", "k", false]);
    for await (const answer of broker.requestMany("ask", 1, { ...options, max: 1 })) {
      expect(answer).toEqual(["1, 2", "k", false]);
    }
  });

  it("timeout and signal end requestMany: the one quietly, the other with its reason", async () => {
    const { broker, clock } = manualBroker();
    broker.respond("ask", () => 1);
    const answers: unknown[] = [];
    const quiet = (async () => {
      for await (const answer of broker.requestMany("ask", 1, { timeout: 100 })) answers.push(answer);
    })();
    await clock.advance(99);
    expect(broker.metrics.snapshot().pendingRequests).toBe(1);
    await clock.advance(1);
    await quiet;
    expect(answers).toEqual([1]);
    const controller = new AbortController();
    const loud = (async () => {
      for await (const _ of broker.requestMany("ask", 1, { timeout: 1e6, signal: controller.signal })) controller.abort(new Error("enough")); // prettier-ignore
    })();
    await expect(loud).rejects.toThrow("enough");
    expect(broker.metrics.snapshot().pendingRequests).toBe(0);
  });

  it("reply's headers reach whoever listens to the answers", async () => {
    const { broker } = manualBroker();
    const answers = broker.subscribe("answers");
    const asked = broker.subscribe("ask");
    await broker.publish("ask", 1, { replyTo: "answers", correlationId: "c" });
    await (await takeOne(asked)).reply(2, { headers: { by: "me" } });
    const answer = await takeOne(answers);
    expect([answer.data, answer.headers["by"], answer.correlationId]).toEqual([2, "me", "c"]);
  });
});

describe("idle", () => {
  it("timeout, signal, scheduled and retries each change what it waits for", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const timedOut = rejectionCode(broker.idle({ timeout: 10 }));
    await clock.advance(10);
    expect(await timedOut).toBe("ERR_TIMEOUT");
    const controller = new AbortController();
    const aborted = broker.idle({ signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await (await takeOne(sub)).nack({ delay: 1e6 });
    await broker.idle({ retries: false });
    broker.purge();
    await broker.publish("t", 1, { delay: 50 });
    await broker.idle();
    let isIdle = false;
    const scheduled = broker.idle({ scheduled: true }).then(() => (isIdle = true));
    await clock.advance(49);
    expect(isIdle).toBe(false);
    await clock.advance(1);
    await (await takeOne(sub)).ack();
    await scheduled;
  });
});

describe("fetch", () => {
  it("signal ends the wait with its reason, or with what has come", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    for (const published of [0, 1]) {
      const controller = new AbortController();
      const fetch = sub.fetch(5, { timeout: 1e6, signal: controller.signal }).then(
        (messages) => messages.length,
        (error: unknown) => (error as Error).message,
      );
      for (let index = 0; index < published; index += 1) await broker.publish("t", index);
      await settle();
      controller.abort(new Error("enough"));
      expect(await fetch).toBe(published === 0 ? "enough" : 1);
    }
  });
});

describe("a broker's", () => {
  it("shards: queues of one shard take turns, and so do shards, so the order of first turns depends on their number", async () => {
    const topics = "orders refunds stock users mail audit prices ticks logs jobs votes carts".split(" ");
    const firstTurns = async (shards: number): Promise<string[]> => {
      const { broker } = manualBroker({ shards });
      const seen = new Set<string>();
      for (const topic of topics) broker.subscribe(topic, (msg) => void seen.add(msg.topic), { ack: "auto" });
      for (const topic of topics) for (let data = 0; data < 100; data += 1) broker.publishSync(topic, data);
      await broker.idle();
      return [...seen];
    };
    const one = await firstTurns(1);
    expect(one).toEqual(topics);
    const four = await firstTurns(4);
    expect(four).not.toEqual(one);
    expect(four.toSorted()).toEqual(one.toSorted());
  });

  it("random: ids and jitter come from it", async () => {
    const id = async (random: () => number): Promise<string> => {
      const { broker } = manualBroker({ random });
      return (await broker.publish("t", 1)).id;
    };
    expect(await id(() => 0)).toBe(await id(() => 0));
    expect((await id(() => 0)).endsWith("00000000")).toBe(true);
    expect((await id(() => 1 - 2 ** -41)).endsWith("ZZZZZZZZ")).toBe(true);
  });

  it("clock: dates and deadlines come from it", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    expect((await takeOne(sub)).timestamp).toBe(clock.now());
    await clock.advance(5_000);
    expect(broker.health().uptime).toBe(5_000);
  });

  it("memory.onLimit is reject, and nothing else is taken", () => {
    expect(() => new InProcBroker({ memory: { onLimit: "reject" } })).not.toThrow();
    expect(() => new InProcBroker({ memory: { onLimit: "drop" as never } })).toThrow("memory.onLimit");
  });

  it("deadLetter.maxBytes and maxAge bound what is kept", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: { maxBytes: 100, maxAge: 1_000 } });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("t");
    for (const data of ["a", "b"]) {
      await broker.publish("t", data.repeat(60));
      await (await takeOne(sub)).reject();
    }
    const kept = async (): Promise<unknown[]> =>
      (await broker.deadLetters.list()).items.map(({ message }) => message.data);
    expect(await kept()).toEqual(["b".repeat(60)]);
    await clock.advance(1_001);
    expect(await kept()).toEqual([]);
  });
});

describe("subscriptions and peek", () => {
  it("topic and limit choose", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("a.*", { name: "a" });
    broker.subscribe("b", { name: "b" });
    for (let data = 0; data < 12; data += 1) await broker.publish("a.x", data);
    expect(broker.subscriptions({ topic: "a.x" }).map(({ name }) => name)).toEqual(["a"]);
    expect([broker.peek(sub, 2).map((msg) => msg.data), broker.peek("a").length]).toEqual([[0, 1], 10]);
    expect(await fetchNow(sub)).toHaveLength(12);
  });
});
