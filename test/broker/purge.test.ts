import { describe, expect, it } from "vitest";
import { InProcBroker } from "../../src/index.js";
import { ManualClock, settle } from "../support/manual-clock.js";

describe("purge", () => {
  it("drops what is queued, in flight, in backoff, scheduled and retained, and counts all of it", async () => {
    const clock = new ManualClock();
    await using broker = new InProcBroker({ clock, ack: {} });
    const seen: unknown[] = [];
    broker.subscribe("queued", (msg) => void seen.push(msg.data)).pause();
    broker.subscribe("backoff", (msg) => msg.nack({ delay: 1_000 }), { ack: "manual" });
    const pull = broker.subscribe("flight", { ack: "manual" });
    for (const topic of ["queued", "backoff", "flight"]) await broker.publish(topic, 1);
    await broker.publish("queued", 2, { delay: 5_000 });
    await broker.publish("last", 3, { retain: true, dedupId: "once" });
    const [held] = await pull.fetch(1);
    await settle();

    expect(broker.purge()).toBe(4);

    const { queued, inFlight, delayed, scheduled, retained, dedupEntries, memoryBytes, dropped, scheduledCancelled } =
      broker.metrics.snapshot();
    expect({ queued, inFlight, delayed, scheduled, retained, dedupEntries, memoryBytes }).toEqual({
      queued: 0,
      inFlight: 0,
      delayed: 0,
      scheduled: 0,
      retained: 0,
      dedupEntries: 0,
      memoryBytes: 0,
    });
    expect(dropped).toEqual({ purged: 3 });
    expect(scheduledCancelled).toBe(1);
    await expect(held?.ack()).rejects.toMatchObject({ code: "ERR_DELIVERY_EXPIRED" });
    await broker.idle({ scheduled: true });
  });

  it("keeps the subscriptions, and a handler whose delivery is gone takes the next message", async () => {
    await using broker = new InProcBroker({ clock: new ManualClock(), ack: {} });
    const seen: unknown[] = [];
    broker.subscribe("jobs", (msg) => {
      seen.push(msg.data);
      return msg.data === "hangs" ? new Promise(() => undefined) : undefined;
    });
    await broker.publish("jobs", "hangs");
    await settle();
    broker.purge();
    await broker.publish("jobs", "next");
    await broker.idle();
    expect(seen).toEqual(["hangs", "next"]);
  });

  it("lets held publishers go on", async () => {
    await using broker = new InProcBroker({ clock: new ManualClock() });
    broker.subscribe("jobs", { maxMessages: 1 });
    await broker.publish("jobs", 1);
    const held = broker.publish("jobs", 2);
    broker.purge();
    expect(await held).toMatchObject({ matched: 1 });
  });
});
