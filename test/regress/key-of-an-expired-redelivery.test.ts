/**
 * Messages that expire while `orderBy: "key"` holds them back.
 *
 * A message that came back after a nack kept its key when it expired at the moment it was taken (the timer had not
 * run yet), so the others of that key waited for ever. One that expired while it was parked behind its key stayed in
 * memory, was listed by `peek`, and broke `drop-oldest` with a failed invariant when it was chosen to make room.
 */
import { describe, expect, it } from "vitest";
import { balanced, collectGarbage, fetchNow, manualBroker, roundAck, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

describe("a key whose message expires", () => {
  it("goes to the next of that key when a redelivery expires before its timer has run", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t", { ack: "manual", orderBy: "key" });
    await broker.publish("t", 1, { key: "k", ttl: 500 });
    await broker.publish("t", 2, { key: "k" });
    const first = await takeOne(sub);
    expect(await fetchNow(sub), "parked behind its key").toEqual([]);
    await first.nack({ delay: 0 });

    clock.jump(1_000);

    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual([2]);
    expect(balanced(broker)).toMatchObject({ expired: 1, inFlight: 1, queued: 0 });
    await broker.close({ drain: false });
  });

  it("leaves nothing behind of those that expired while they were parked", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 1e9 } });
    const sub = broker.subscribe("t", { ack: "manual", orderBy: "key" });
    await broker.publish("t", "owner", { key: "k" });
    const owner = await takeOne(sub);
    const payloads: WeakRef<object>[] = [];
    const publish = async (): Promise<void> => {
      const data = { text: "x" };
      payloads.push(new WeakRef(data));
      await broker.publish("t", data, { key: "k", ttl: 50 });
    };
    for (let index = 0; index < 500; index += 1) await publish();
    expect(await fetchNow(sub), "all of them are parked").toEqual([]);
    const { memoryBytes } = broker.metrics.snapshot();

    await clock.advance(50);
    await collectGarbage();

    expect(balanced(broker)).toMatchObject({ expired: 500, queued: 0 });
    expect(broker.metrics.snapshot().memoryBytes).toBe(memoryBytes - 500 * ("text".length + 2));
    expect(broker.peek(sub)).toEqual([]);
    const alive = payloads.filter((one) => one.deref() !== undefined).length;
    expect(alive, "payloads in memory; up to 64 empty places are left as they are").toBeLessThanOrEqual(64);
    await owner.ack();
    await broker.publish("t", "next", { key: "k" });
    expect((await takeOne(sub)).data).toBe("next");
    await broker.close({ drain: false });
  });

  it("is no obstacle to drop-oldest", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t", { ack: "manual", orderBy: "key", maxMessages: 2, overflow: "drop-oldest" });
    await broker.publish("t", 0, { key: "k" });
    const owner = await takeOne(sub);
    await broker.publish("t", 1, { key: "k", ttl: 50 });
    await broker.publish("t", 2, { key: "k" });
    await fetchNow(sub);
    await clock.advance(100);
    await broker.publish("t", 3, { key: "k" });
    await fetchNow(sub);

    await broker.publish("t", 4, { key: "k" });

    expect(balanced(broker)).toMatchObject({ expired: 1, dropped: { overflow: 1 }, queued: 2 });
    await owner.ack();
    const next = await takeOne(sub);
    expect(next.data).toBe(3);
    await next.ack();
    await settle();
    expect((await takeOne(sub)).data).toBe(4);
    await broker.close({ drain: false });
  });
});
