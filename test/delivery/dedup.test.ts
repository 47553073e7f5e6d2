import { describe, expect, it } from "vitest";
import type { BrokerOptions, PublishOptions } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import {
  balanced,
  collectGarbage,
  fetchNow,
  manualBroker,
  rejectionCode,
  thrownCode,
} from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";

function open(dedup: BrokerOptions["dedup"] = {}, more: BrokerOptions = {}) {
  const { broker, clock } = manualBroker({ dedup, ...more });
  const sub = broker.subscribe("t");
  const publish = (dedupId: string, options: PublishOptions = {}) => broker.publish("t", 1, { dedupId, ...options });
  return { broker, clock, sub, publish };
}

describe("a dedupId", () => {
  it("is on without the option: the second publish gets the first's receipt, and nothing is delivered", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    broker.subscribe(">");
    const first = await broker.publish("t", "one", { dedupId: "a" });
    await clock.advance(119_999);
    const second = await broker.publish("t", "two", { dedupId: "a", priority: "highest" });

    expect(first).toMatchObject({ matched: 2, duplicate: false });
    expect({ ...second }).toEqual({ id: first.id, seq: first.seq, matched: 2, duplicate: true });
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["one"]);
    expect(balanced(broker)).toMatchObject({ published: 1, duplicates: 1, dedupEntries: 1 });
  });

  it("works for publishSync and is refused where it is no text", async () => {
    const { broker } = manualBroker();
    const first = broker.publishSync("t", 1, { dedupId: "a" });
    const second = broker.publishSync("t", 1, { dedupId: "a" });
    expect(second).toMatchObject({ id: first.id, duplicate: true });
    expect(thrownCode(() => broker.publishSync("t", 1, { dedupId: "" }))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(broker.publish("t", 1, { dedupId: 7 as unknown as string }))).toBe("ERR_INVALID_OPTION");
  });

  it("is one for all topics, whatever its text", async () => {
    const { broker } = manualBroker();
    for (const dedupId of ["__proto__", "constructor", "a"]) {
      expect(await broker.publish("x", 1, { dedupId })).toMatchObject({ duplicate: false });
      expect(await broker.publish("y", 1, { dedupId })).toMatchObject({ duplicate: true });
    }
  });
});

describe("the window", () => {
  it("ends `window` milliseconds after the first publish, and a duplicate does not prolong it", async () => {
    const { clock, publish } = open({ window: 1_000 });
    await publish("a");
    await clock.advance(900);
    expect(await publish("a")).toMatchObject({ duplicate: true });
    await clock.advance(101);
    expect(await publish("a")).toMatchObject({ duplicate: false });
    await clock.advance(900);
    expect(await publish("a"), "the window of the second first").toMatchObject({ duplicate: true });
  });

  it("is not moved by the wall clock", async () => {
    const { clock, publish } = open({ window: 1_000 });
    await publish("a");
    clock.jump(3_600_000);
    expect(await publish("a")).toMatchObject({ duplicate: true });
    clock.jump(-7_200_000);
    await clock.advance(1_001);
    expect(await publish("a")).toMatchObject({ duplicate: false });
  });

  it("holds at most `maxEntries` ids: the oldest is forgotten first", async () => {
    const { broker, publish } = open({ maxEntries: 3 });
    for (const id of ["a", "b", "c"]) await publish(id);
    expect(await publish("a")).toMatchObject({ duplicate: true });
    await publish("d");
    expect(broker.metrics.snapshot().dedupEntries).toBe(3);
    expect(await publish("b")).toMatchObject({ duplicate: true });
    expect(await publish("a"), "the oldest, also though it was asked for last").toMatchObject({ duplicate: false });
  });

  it("lets go of what is over without being asked for it by name", async () => {
    const { broker, clock, publish } = open({ window: 1_000 });
    for (let index = 0; index < 50; index += 1) await publish(`id-${index}`);
    await clock.advance(1_001);
    expect(broker.metrics.snapshot().dedupEntries).toBe(0);
  });

  it("may be without end, in time or in number", async () => {
    const { clock, publish } = open({ window: Infinity, maxEntries: Infinity });
    await publish("a");
    await clock.advance(365 * 24 * 3_600_000);
    expect(await publish("a")).toMatchObject({ duplicate: true });
  });

  it("refuses options out of range", () => {
    for (const dedup of [{ window: 0 }, { window: -1 }, { maxEntries: 0 }, { maxEntries: 1.5 }]) {
      expect(thrownCode(() => new InProcBroker({ dedup }))).toBe("ERR_INVALID_OPTION");
    }
  });

  it("does not keep payloads: a receipt outlives its message", async () => {
    const { broker } = open();
    const payloads: WeakRef<object>[] = [];
    for (let index = 0; index < 100; index += 1) {
      const data = { index };
      payloads.push(new WeakRef(data));
      await broker.publish("elsewhere", data, { dedupId: `id-${index}`, report: index % 2 === 0 });
    }
    await collectGarbage();
    expect(broker.metrics.snapshot().dedupEntries).toBe(100);
    expect(payloads.filter((one) => one.deref() !== undefined).length).toBeLessThanOrEqual(1);
  });
});

describe("a publish that fails", () => {
  it("can be tried again under the same dedupId, whatever refused it", async () => {
    const { broker, clock, sub, publish } = open({}, { memory: { maxBytes: 100 }, limits: { maxMessageBytes: 90 } });
    const full = broker.subscribe("t", { maxMessages: 1, overflow: "error" });
    const attempts: [string, PublishOptions, unknown][] = [
      ["ERR_MESSAGE_EXPIRED", { expiresAt: clock.now() }, 1],
      ["ERR_MESSAGE_TOO_LARGE", {}, "x".repeat(91)],
      ["ERR_INVALID_OPTION", { priority: 10 as 9 }, 1],
      ["ERR_INVALID_MESSAGE", {}, undefined],
    ];
    for (const [code, options, data] of attempts) {
      expect(await rejectionCode(broker.publish("t", data, { dedupId: "a", ...options })), code).toBe(code);
    }
    expect(await publish("a")).toMatchObject({ duplicate: false });

    expect(await rejectionCode(publish("b")), "the other queue is full").toBe("ERR_QUEUE_FULL");
    await fetchNow(full);
    expect(await publish("b")).toMatchObject({ duplicate: false, matched: 2 });

    await fetchNow(full);
    await broker.publish("t", "x".repeat(80));
    await fetchNow(full);
    expect(await rejectionCode(broker.publish("t", "x".repeat(20), { dedupId: "c" }))).toBe("ERR_MEMORY_LIMIT");
    await fetchNow(sub);
    expect(await publish("c")).toMatchObject({ duplicate: false });
    expect(balanced(broker).duplicates).toBe(0);
  });

  it("is a publish that was accepted once its messages are in the queues: a timeout of confirm comes after that", async () => {
    const { broker, clock } = manualBroker();
    broker.subscribe("t", { ack: "manual" });
    const first = rejectionCode(broker.publish("t", 1, { dedupId: "a", confirm: 1, confirmTimeout: 100 }));
    await clock.advance(100);
    expect(await first).toBe("ERR_TIMEOUT");
    expect(await broker.publish("t", 1, { dedupId: "a" })).toMatchObject({ duplicate: true, matched: 1 });
  });
});

describe("duplicates inside one call", () => {
  it("of a batch: the second is a duplicate of the first", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    const [first, second, other] = await broker.publishBatch([
      { topic: "t", data: 1, dedupId: "a" },
      { topic: "t", data: 2, dedupId: "a" },
      { topic: "t", data: 3, dedupId: "b" },
    ]);
    expect(first).toMatchObject({ duplicate: false });
    expect(second).toMatchObject({ id: first?.id, seq: first?.seq, duplicate: true });
    expect(other).toMatchObject({ duplicate: false });
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([1, 3]);
    expect(balanced(broker)).toMatchObject({ published: 2, duplicates: 1 });
  });

  it("of a batch that is refused: none is remembered", async () => {
    const { broker } = manualBroker();
    const batch = broker.publishBatch([
      { topic: "t", data: 1, dedupId: "a" },
      { topic: "t", data: undefined },
    ]);
    expect(await rejectionCode(batch)).toBe("ERR_INVALID_MESSAGE");
    const late = broker.publishBatch([
      { topic: "t", data: 1, dedupId: "a" },
      { topic: "t", data: 2, expiresAt: 1 },
    ]);
    expect(await rejectionCode(late), "refused in the second half of the way in").toBe("ERR_MESSAGE_EXPIRED");
    expect(await broker.publish("t", 1, { dedupId: "a" })).toMatchObject({ duplicate: false });
  });

  it("of a transaction, and between a transaction and a plain publish: decided at commit", async () => {
    const { broker } = manualBroker({ transactions: {} });
    const sub = broker.subscribe("t");
    const tx = broker.beginTransaction();
    await tx.publish("t", 1, { dedupId: "a" });
    await tx.publish("t", 2, { dedupId: "a" });
    await tx.publish("t", 3, { dedupId: "b" });
    expect(await broker.publish("t", 4, { dedupId: "b" }), "not visible yet").toMatchObject({ duplicate: false });
    await tx.commit();
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([4, 1]);

    const undone = broker.beginTransaction();
    await undone.publish("t", 5, { dedupId: "c" });
    await undone.rollback();
    expect(await broker.publish("t", 6, { dedupId: "c" })).toMatchObject({ duplicate: false });
  });

  it("of a delayed message: the receipt is known at once, and the message comes once", async () => {
    const { broker, clock } = manualBroker();
    const sub = broker.subscribe("t");
    const first = await broker.publish("t", 1, { dedupId: "a", delay: 500 });
    expect(await broker.publish("t", 2, { dedupId: "a" })).toMatchObject({ id: first.id, duplicate: true });
    await clock.advance(500);
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([1]);
  });
});

describe("what a broker costs that never deduplicates", () => {
  it("does not grow with maxEntries", () => {
    const before = process.memoryUsage().heapUsed;
    const brokers = Array.from(
      { length: 20 },
      () => new InProcBroker({ clock: new ManualClock(), dedup: { maxEntries: 1_000_000 } }),
    );
    const each = (process.memoryUsage().heapUsed - before) / brokers.length;
    // A table made in advance would take 16 MB each.
    expect(each).toBeLessThan(1_000_000);
  });
});
