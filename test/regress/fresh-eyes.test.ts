/**
 * What a reader of the API alone found by trying: names that met, a rate without end that delivered nothing, messages left in queues that had
 * gone, requesters who waited for an error that could not travel, headers that were lost, texts of any length.
 */
import { expect, it } from "vitest";
import type { PublishOptions } from "inproc-broker";
import { balanced, manualBroker, rejectionCode, roundAck, takeOne, thrownCode } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("a subscription without a name never gets one that somebody was given", () => {
  const { broker } = manualBroker();
  broker.subscribe("t", { name: "subscription-1" });
  broker.subscribe("t", { group: "subscription-2" });
  const own = [broker.subscribe("t"), broker.subscribe("t")].map(({ name }) => name);
  expect(new Set(["subscription-1", "subscription-2", ...own]).size).toBe(4);
  for (const name of own) expect(broker.peek(name)).toEqual([]);
});

it("a rate without end is refused, since it could only be counted as nothing", async () => {
  const { broker, clock } = manualBroker();
  const rateLimit = { perSecond: Infinity };
  expect(thrownCode(() => broker.subscribe("t", { rateLimit }))).toBe("ERR_INVALID_OPTION");
  let got = 0;
  broker.subscribe("t", () => void (got += 1), { rateLimit: { perSecond: Number.MAX_VALUE } });
  for (let data = 0; data < 5; data += 1) broker.publishSync("t", data);
  await clock.advance(5);
  expect(got).toBe(5);
});

it("a message on its way to a subscription that a filter or a listener ends meanwhile is dropped, and its memory given back", async () => {
  for (const how of ["filter", "drop"] as const) {
    const { broker } = manualBroker();
    const drops: unknown[] = [];
    const end = (): boolean => {
      void ending.unsubscribe();
      return true;
    };
    broker.subscribe("t", {
      name: "first",
      maxMessages: 1,
      overflow: "drop-newest",
      ...(how === "filter" ? { filter: () => end() } : {}),
    });
    const ending = broker.subscribe("t", { name: "ending" });
    broker.on("drop", ({ subscription, reason }) => {
      drops.push([subscription, reason]);
      if (how === "drop") void ending.unsubscribe();
    });
    for (const data of [1, 2]) broker.publishSync("t", data);
    expect(drops).toContainEqual(["ending", "unsubscribed"]);
    expect([ending.stats().queued, balanced(broker).queued, broker.metrics.snapshot().memoryBytes]).toEqual([0, 1, 8]);
  }
});

it("a broker that a listener closes while a batch is on its way holds nothing afterwards", async () => {
  const { broker } = manualBroker();
  broker.subscribe("t", { maxMessages: 1, overflow: "drop-newest" });
  broker.subscribe(">");
  broker.once("drop", () => void broker.close({ drain: false }));
  broker.publishSync("t", 1);
  await broker.publishBatch([2, 3].map((data) => ({ topic: "t", data })));
  await settle();
  expect([broker.state, balanced(broker)]).toMatchObject(["closed", { queued: 0, memoryBytes: 0 }]);
});

it.each([
  ["a function", () => 1],
  ["a symbol", Symbol("s")],
  ["what cannot be cloned", { call: () => 1 }],
])("a responder that throws %s is ERR_REMOTE at once", async (_what, thrown) => {
  const { broker } = manualBroker({ payloads: "clone" });
  broker.respond("ask", () => {
    throw thrown as unknown as Error;
  });
  expect(await rejectionCode(broker.request("ask", 1))).toBe("ERR_REMOTE");
});

it("headers of a kind whose entries are elsewhere are refused, not lost", async () => {
  const { broker } = manualBroker();
  for (const headers of [new Map([["a", "1"]]), new Headers({ a: "1" }), [["a", "1"]]]) {
    expect(await rejectionCode(broker.publish("t", 1, { headers } as never))).toBe("ERR_INVALID_MESSAGE");
  }
});

it("ids and names are bounded, since the tables that keep them are bounded by count", async () => {
  const { broker } = manualBroker({ ack: roundAck });
  const [fits, long] = ["x".repeat(1_024), "x".repeat(1_025)];
  for (const name of ["id", "dedupId", "replyTo", "correlationId"] as const) {
    const options = (value: string): PublishOptions => ({ [name]: value });
    expect((await broker.publish("t", 1, options(fits))).seq).toBeGreaterThan(0);
    expect(await rejectionCode(broker.publish("t", 1, options(long)))).toBe("ERR_INVALID_OPTION");
  }
  for (const name of ["name", "group"]) {
    expect(thrownCode(() => broker.subscribe("t", { [name]: long }))).toBe("ERR_INVALID_OPTION");
  }
  const sub = broker.subscribe("t", { name: fits });
  await broker.publish("t", 1);
  expect((await takeOne(sub)).subscription).toBe(fits);
});

it("what cannot be frozen is refused as what cannot be cloned is", async () => {
  for (const payloads of ["freeze", "clone"] as const) {
    const { broker } = manualBroker({ payloads });
    const data = { a: new Proxy({}, { preventExtensions: () => false }) };
    expect(await rejectionCode(broker.publish("t", data))).toBe("ERR_INVALID_MESSAGE");
  }
});
