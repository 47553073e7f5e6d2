import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Message } from "inproc-broker";
import { describe, expect, it } from "vitest";
import { ManualClock } from "../support/manual-clock.js";
import { balanced, manualBroker } from "../support/manual-broker.js";

/** Handlers that return nothing, at most once: what the express lane is for. What else it must do is a property test. */
describe("plain handlers", () => {
  it("get more messages of one turn than the lane holds, each in order and once", async () => {
    const { broker } = manualBroker();
    const topics = Array.from({ length: 12 }, (_, index) => `topic-${index}`);
    const seen = new Map<string, unknown[]>(topics.map((topic) => [topic, []]));
    const all: number[] = [];
    for (const topic of topics) broker.subscribe(topic, (msg) => void seen.get(msg.topic)?.push(msg.data));
    broker.subscribe(">", (msg) => void all.push(msg.seq), { maxMessages: 20_000, maxBytes: 2 ** 20 });
    for (let index = 0; index < 1_000; index += 1) for (const topic of topics) broker.publishSync(topic, index);
    expect(balanced(broker).queued).toBe(24_000);
    await broker.idle();
    for (const got of seen.values()) expect(got).toEqual(Array.from({ length: 1_000 }, (_, index) => index));
    expect(all).toEqual(Array.from({ length: 12_000 }, (_, index) => index + 1));
    expect(balanced(broker).memoryBytes).toBe(0);
  });

  it("answer each other for longer than the lane is, a message at a time", async () => {
    const { broker } = manualBroker();
    let count = 0;
    broker.subscribe("ping", (msg) => void broker.publishSync("pong", msg.data));
    broker.subscribe("pong", (msg) => {
      count += 1;
      if (count < 10_000) broker.publishSync("ping", msg.data);
    });
    broker.publishSync("ping", 1);
    await broker.idle();
    expect(count).toBe(10_000);
    expect(balanced(broker).delivered).toBe(20_000);
  });

  it("share with a second member from when it comes, what waits already included", async () => {
    const { broker } = manualBroker();
    const got: string[] = [];
    const member = (name: string) => (msg: Message) => void got.push(`${name}${String(msg.data)}`);
    broker.subscribe("jobs", member("a"), { group: "workers" });
    for (let data = 0; data < 4; data += 1) broker.publishSync("jobs", data);
    broker.subscribe("jobs", member("b"), { group: "workers" });
    await broker.idle();
    expect(got).toEqual(["a0", "b1", "a2", "b3"]);
  });

  it("are seen by the process channel from when somebody listens, what waits already included", async () => {
    const { broker } = manualBroker();
    broker.subscribe("t", () => undefined);
    broker.publishSync("t", 1);
    const seen: unknown[] = [];
    const channel = "tracing:inproc-broker:process:start";
    const onStart = (context: unknown): void => void seen.push((context as { message: Message }).message.data);
    subscribe(channel, onStart);
    try {
      await broker.idle();
    } finally {
      unsubscribe(channel, onStart);
    }
    expect(seen).toEqual([1]);
  });

  it("that turn out slow do not hold up the others: what comes later for those passes what waits for the slow one", async () => {
    let elapsedMs = 0;
    const clock = Object.assign(new ManualClock(), { turnTime: () => elapsedMs });
    const { broker } = manualBroker({ clock });
    let slow = 0;
    let slowBefore = 0;
    broker.subscribe("slow", () => {
      slow += 1;
      elapsedMs += 10;
    });
    broker.subscribe("quick", () => {
      slowBefore = slow;
    });
    for (let data = 0; data < 1_000; data += 1) broker.publishSync("slow", data);
    broker.publishSync("quick", 1);
    await broker.idle();
    expect(slow).toBe(1_000);
    expect(slowBefore).toBeLessThan(200);
  });

  it("have their messages returned by close() where they had no chance", async () => {
    const { broker } = manualBroker();
    broker.subscribe("t", () => undefined);
    broker.subscribe(">", () => undefined);
    broker.publishSync("t", 1);
    const { undelivered } = await broker.close({ drain: false });
    expect(undelivered.map((msg) => msg.data)).toEqual([1, 1]);
  });
});
