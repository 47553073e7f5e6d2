// The diagnostics channels: what subscribers see of a publish, of a handler's run and of a decision, and that a store bound to a channel
// reaches the code that runs inside it.
import { AsyncLocalStorage } from "node:async_hooks";
import { tracingChannel } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import type { InProcBroker, ProcessContext, PublishContext, SettleContext } from "inproc-broker";
import { manualBroker, roundAck, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

type Told = Record<string, unknown>;
interface Seen {
  readonly event: string;
  readonly context: Told;
}

const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

const events = ["start", "end", "asyncStart", "asyncEnd", "error"] as const;

/** Everything that one channel tells, in order. The context is one object for all events of one call. */
function listen(name: "publish" | "process" | "settle"): Seen[] {
  const seen: Seen[] = [];
  const channel = tracingChannel<unknown, Told>(`inproc-broker:${name}`);
  const handlers = Object.fromEntries(
    events.map((event) => [event, (context: Told) => void seen.push({ event, context })]),
  ) as unknown as Parameters<typeof channel.subscribe>[0];
  channel.subscribe(handlers);
  cleanUps.push(() => {
    channel.unsubscribe(handlers);
  });
  return seen;
}

const names = (seen: readonly Seen[]): string[] => seen.map(({ event }) => event);
const only = (seen: readonly Seen[]): Told => {
  const contexts = new Set(seen.map(({ context }) => context));
  expect(contexts.size).toBe(1);
  return (seen[0] as Seen).context;
};

describe("inproc-broker:publish", () => {
  it("publish: start and end around the call, asyncStart and asyncEnd when it resolves, with what was given and the receipt", async () => {
    const seen = listen("publish");
    const { broker } = manualBroker();
    const options = { key: "k" };
    const data = { a: 1 };
    const receipt = broker.publish("t", data, options);
    expect(names(seen)).toEqual(["start", "end"]);
    const settled = await receipt;
    expect(names(seen)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    const context = only(seen);
    expect(context).toMatchObject({ topic: "t", data, options } satisfies PublishContext);
    expect([context["data"], context["result"]]).toEqual([data, settled]);
  });

  it("publish that is refused: error with the reason, before asyncStart", async () => {
    const seen = listen("publish");
    const { broker } = manualBroker();
    const error: unknown = await broker.publish("a..b", 1).catch((thrown: unknown) => thrown);
    await settle();
    expect(names(seen)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(only(seen)["error"]).toBe(error);
  });

  it("a publisher that is held back: asyncStart when it goes on, not before", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t", { maxMessages: 1 });
    await broker.publish("t", 1);
    const seen = listen("publish");
    const held = broker.publish("t", 2);
    await settle();
    expect(names(seen)).toEqual(["start", "end"]);
    await takeOne(sub);
    await held;
    expect(names(seen)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
  });

  it("publishSync: start and end alone; error between them where it throws", () => {
    const seen = listen("publish");
    const { broker } = manualBroker();
    const receipt = broker.publishSync("t", 1);
    expect(names(seen)).toEqual(["start", "end"]);
    expect(only(seen)["result"]).toBe(receipt);
    seen.length = 0;
    expect(() => broker.publishSync("a..b", 1)).toThrow();
    expect(names(seen)).toEqual(["start", "error", "end"]);
  });
});

describe("inproc-broker:process", () => {
  it("a handler that returns: start and end, with the message and whose it is; ack or none", async () => {
    const seen = listen("process");
    for (const options of [{}, { ack: roundAck }]) {
      seen.length = 0;
      const { broker } = manualBroker(options);
      broker.subscribe("t", () => 5, { name: "s" });
      await broker.publish("t", 1);
      await broker.idle();
      expect(names(seen)).toEqual(["start", "end"]);
      const { message, subscription, ...rest } = only(seen) as unknown as ProcessContext & { result: unknown };
      expect([message.data, message.subscription, subscription, rest.result]).toEqual([1, "s", "s", 5]);
    }
  });

  it("a handler's promise: asyncStart and asyncEnd when it settles, error before them where it rejects", async () => {
    const seen = listen("process");
    const { broker } = manualBroker({ ack: { ...roundAck, maxDeliveries: 1 } });
    broker.on("error", () => undefined);
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    broker.subscribe("t", () => gate);
    await broker.publish("t", 1);
    await settle();
    expect(names(seen)).toEqual(["start", "end"]);
    release();
    await broker.idle();
    expect(names(seen)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    seen.length = 0;
    const boom = new Error("boom");
    broker.subscribe("u", () => Promise.reject(boom));
    await broker.publish("u", 1);
    await broker.idle();
    expect(names(seen)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(only(seen)["error"]).toBe(boom);
  });

  it("a handler that throws: error between start and end, and the message goes back as without a listener", async () => {
    const seen = listen("process");
    const { broker } = manualBroker({ ack: roundAck });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("t", () => {
      throw new Error("boom");
    });
    await broker.publish("t", 1);
    await settle();
    expect([names(seen), sub.stats().delayed]).toEqual([["start", "error", "end"], 1]);
  });
});

describe("inproc-broker:settle", () => {
  it("tells each decision, with the delivery and whose it was", async () => {
    const seen = listen("settle");
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 10 } });
    const sub = broker.subscribe("t", { name: "s" });
    for (const data of ["ack", "nack", "reject", "timeout"]) await broker.publish("t", data);
    await (await takeOne(sub)).ack();
    await (await takeOne(sub)).nack({ delay: 1e6 });
    await (await takeOne(sub)).reject();
    await takeOne(sub);
    await clock.advance(1_000);
    const starts = seen
      .filter(({ event }) => event === "start")
      .map(({ context }) => context as unknown as SettleContext);
    expect(starts.map(({ decision, message, subscription }) => [decision, message.data, subscription])).toEqual(
      ["ack", "nack", "reject", "timeout"].map((decision) => [decision, decision, "s"]),
    );
    expect(names(seen)).toEqual(Array(4).fill(["start", "end"]).flat());
  });

  it("tells nothing of a delivery without acknowledgement, nor of a settle that is refused", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const [none, manual] = [broker.subscribe("t", { ack: "none" }), broker.subscribe("t")];
    await broker.publish("t", 1);
    await takeOne(none);
    const message = await takeOne(manual);
    await message.ack();
    const seen = listen("settle");
    await message.ack().catch(() => undefined);
    expect(seen).toEqual([]);
  });
});

describe("a store bound to a channel", () => {
  function bind(name: string, transform: (context: Told) => string): AsyncLocalStorage<string> {
    const storage = new AsyncLocalStorage<string>();
    const { start } = tracingChannel<unknown, Told>(`inproc-broker:${name}`);
    start.bindStore(storage, transform);
    cleanUps.push(() => void start.unbindStore(storage));
    return storage;
  }

  it("process: the handler sees it, also after an await, and each run its own", async () => {
    const storage = bind("process", ({ message }) => `on ${(message as { data: string }).data}`);
    const { broker } = manualBroker({ ack: roundAck });
    const stores: unknown[] = [];
    broker.subscribe(
      "t",
      async (msg) => {
        await settle();
        stores.push([msg.data, storage.getStore()]);
      },
      { concurrency: 4 },
    );
    broker.subscribe("t", (msg) => void stores.push([msg.data, storage.getStore()]), { ack: "none" });
    for (const data of ["a", "b"]) await broker.publish("t", data);
    await broker.idle();
    expect(stores.sort()).toEqual([
      ["a", "on a"],
      ["a", "on a"],
      ["b", "on b"],
      ["b", "on b"],
    ]);
    expect(storage.getStore()).toBeUndefined();
  });

  it("publish: what runs inside the call sees it, and the publisher's own context is as before", async () => {
    const storage = bind("publish", ({ topic }) => `to ${String(topic)}`);
    const stores: unknown[] = [];
    const { broker } = manualBroker({
      plugins: [{ name: "p", onPublish: () => void stores.push(storage.getStore()) }],
    });
    await storage.run("mine", async () => {
      await broker.publish("t", 1);
      broker.publishSync("u", 1);
      expect(storage.getStore()).toBe("mine");
    });
    expect(stores).toEqual(["to t", "to u"]);
  });
});

it("a channel that nobody listens to any more tells nothing, and one broker's listener hears every broker", async () => {
  const seen = listen("publish");
  const brokers: InProcBroker[] = [manualBroker().broker, manualBroker().broker];
  for (const broker of brokers) broker.publishSync("t", 1);
  expect(seen).toHaveLength(4);
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  for (const broker of brokers) await broker.publish("t", 1);
  expect(seen).toHaveLength(4);
});
