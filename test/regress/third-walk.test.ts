/**
 * What a third reader of the API alone found by trying: misspelt options of calls that were taken for none, a function that chose every
 * dead letter, a settle in a transaction that came to nothing, reasons that were no text, publishes that no trace showed.
 */
import { tracingChannel } from "node:diagnostics_channel";
import { expect, it } from "vitest";
import { InProcBroker } from "inproc-broker";
import type { BrokerError, BrokerErrorCode, DeadLetter, Message, PublishContext, Receipt } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { temporaryFolder } from "../broker-store/fixture.js";
import { balanced, manualBroker, rejectionCode, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("an option that does not exist is refused by every call that takes options, and so is what is no object", async () => {
  const { broker } = manualBroker({ ack: {}, deadLetter: {}, transactions: {} });
  broker.respond("asked", () => 1);
  const sub = broker.subscribe("t");
  broker.publishSync("t", 1);
  const msg = await takeOne(sub);
  const calls: ((options: never) => unknown)[] = [
    (options) => sub.fetch(1, options),
    (options) => broker.subscribe("u", () => undefined).unsubscribe(options),
    (options) => msg.nack(options),
    (options) => broker.idle(options),
    (options) => broker.request("asked", 1, options),
    (options) => broker.requestMany("asked", 1, options).next(),
    (options) => broker.subscriptions(options),
    (options) => broker.beginTransaction(options),
    (options) => broker.transaction(() => 1, options),
    (options) => broker.deadLetters.list(options),
    (options) => broker.deadLetters.purge(options),
    (options) => broker.deadLetters.redrive(options),
    (options) => broker.deadLetters.redrive({}, options),
    (options) => broker.close(options),
  ];
  for (const options of [{ tiemout: 1 }, null, "t", 5]) {
    for (const call of calls) {
      const code = await codeOf(() => call(options as never));
      expect([String(call), options, code]).toEqual([String(call), options, "ERR_INVALID_OPTION"]);
    }
  }
  expect([broker.state, sub.stats().inFlight]).toEqual(["open", 1]);
  await broker.close({ drain: false });
});

it("a wait of no time looks once: idle says what is outstanding, close returns it", async () => {
  const { broker } = manualBroker();
  await broker.idle({ timeout: 0 });
  broker.subscribe("t");
  broker.publishSync("t", 1);
  expect(await rejectionCode(broker.idle({ timeout: 0 }))).toBe("ERR_TIMEOUT");
  const { undelivered } = await broker.close({ drain: true, timeout: 0 });
  expect(undelivered.map(({ data }): unknown => data)).toEqual([1]);
});

it("a delayed message is retained when its time has come, not before, and not when it was taken back", async () => {
  const { broker, clock } = manualBroker({ limits: { maxRetained: 1 } });
  const errors: unknown[] = [];
  broker.on("error", (error) => errors.push((error as BrokerError).code));
  const retained = (): unknown[] => broker.retained().map(({ topic, data }): unknown => [topic, data]);
  const { id } = await broker.publish("t", 1, { retain: true, delay: 10 });
  await broker.publish("t", 2, { retain: true, delay: 10 });
  expect(retained()).toEqual([]);
  expect(await broker.cancel(id)).toBe(true);
  await clock.advance(10);
  expect(retained()).toEqual([["t", 2]]);
  await broker.publish("t", null, { retain: true, delay: 10 });
  expect(retained()).toEqual([["t", 2]]);
  await clock.advance(10);
  expect(retained()).toEqual([]);
  await broker.publish("late", 3, { retain: true, delay: 10 });
  await broker.publish("other", 4, { retain: true });
  await clock.advance(10);
  expect([retained(), errors]).toEqual([[["other", 4]], ["ERR_LIMIT_EXCEEDED"]]);
  await broker.publish("other", null, { retain: true });
  expect(balanced(broker).memoryBytes).toBe(0);
  await broker.close();
});

it("one function that fails for two events, error among them, is told of no failure of its own", async () => {
  for (const names of [["drop", "error"] as const, ["error", "drop"] as const]) {
    const { broker } = manualBroker();
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    let calls = 0;
    const failing = (): void => {
      calls += 1;
      throw new Error("no");
    };
    for (const name of names) broker.on(name, failing);
    broker.subscribe("t", { maxMessages: 1, overflow: "drop-newest" });
    for (const data of [1, 2]) broker.publishSync("t", data);
    await settle();
    // Once for the drop, once for its own failure there, which is an error.
    expect([calls, warnings.length]).toEqual([2, 1]);
    broker.off("error", failing);
    broker.publishSync("t", 3);
    expect(calls).toBe(3);
    process.off("warning", note);
    await broker.close({ drain: false });
  }
});

it("no figure of a queue falls below nothing while backoffs keep it full and its publishers held", async () => {
  const { broker } = manualBroker({ ack: { backoff: () => 1_000 } });
  const sub = broker.subscribe("t", { maxMessages: 1 });
  await broker.publish("t", 1);
  const first = await takeOne(sub);
  const publishes = [2, 3, 4, 5].map((data) => broker.publish("t", data));
  await first.nack();
  for (const data of [2, 3]) {
    const msg = await takeOne(sub);
    expect(msg.data).toBe(data);
    await msg.nack();
  }
  expect(sub.stats()).toMatchObject({ queued: 0, waiting: 3, delayed: 3, inFlight: 0 });
  await sub.unsubscribe();
  await Promise.all(publishes);
  await broker.close();
});

it("members of a group that ask for different things keep the order of a key, and share the keys", async () => {
  const { broker } = manualBroker();
  const waiting: (() => void)[] = [];
  const busy: string[] = [];
  const done: [unknown, unknown][] = [];
  const byMember = new Map<string, number>();
  for (const pattern of ["t.*", "t.>", ">"]) {
    const handler = async (msg: Message): Promise<void> => {
      expect(busy).not.toContain(msg.key);
      busy.push(msg.key as string);
      byMember.set(pattern, (byMember.get(pattern) ?? 0) + 1);
      await new Promise<void>((resolve) => waiting.push(resolve));
      busy.splice(busy.indexOf(msg.key as string), 1);
      done.push([msg.key, msg.data]);
    };
    broker.subscribe(pattern, handler, { group: "g", orderBy: "key", concurrency: 4, ack: "auto" });
  }
  const keys = ["a", "b", "c", "d", "e", "f"];
  for (let data = 0; data < 60; data += 1) broker.publishSync("t.x", data, { key: keys[data % keys.length]! });
  for (let round = 0; done.length < 60 && round < 200; round += 1) {
    await settle();
    // The last one first: whoever may overtake, does.
    waiting.pop()?.();
  }
  for (const key of keys) {
    const order = done.filter(([one]) => one === key).map(([, data]) => data as number);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order).toHaveLength(10);
  }
  expect(byMember.size).toBeGreaterThan(1);
  await broker.close();
});

it("an abort takes no message back that is handed out already, also where a copy of it was", async () => {
  for (const payloads of ["reference", "clone", "freeze"] as const) {
    const { broker } = manualBroker({ ack: { backoff: () => 1_000 }, payloads });
    const sub = broker.subscribe("t", { maxMessages: 1 });
    await broker.publish("t", { n: 1 });
    const first = await takeOne(sub);
    const second = broker.publish("t", { n: 2 });
    const controller = new AbortController();
    const third = broker.publish("t", { n: 3 }, { signal: controller.signal });
    await first.nack();
    await (await takeOne(sub)).nack();
    await second;
    const msg = await takeOne(sub);
    expect([msg.data, sub.stats().waiting]).toEqual([{ n: 3 }, 1]);
    controller.abort(new Error("enough"));
    await expect(third).rejects.toThrow("enough");
    await msg.ack();
    const { delivered, dropped, delayed, queued } = balanced(broker);
    expect({ delivered, dropped, delayed, queued }).toEqual({ delivered: 1, dropped: {}, delayed: 2, queued: 0 });
    await broker.close({ drain: false });
  }
});

it("a fetch that was cancelled before it began takes nothing", async () => {
  const { broker } = manualBroker();
  const sub = broker.subscribe("t");
  broker.publishSync("t", 1);
  const reason = new Error("cancelled");
  await expect(sub.fetch(1, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect((await takeOne(sub)).data).toBe(1);
  await broker.close();
});

it("idle on a broker that opens its store waits for that", async () => {
  const broker = new InProcBroker({ persistence: levelPersistence({ path: temporaryFolder() }) });
  const got: unknown[] = [];
  broker.subscribe("t", (msg) => void got.push(msg.data));
  const published = broker.publish("t", 1);
  await broker.idle();
  expect([broker.state, got]).toEqual(["open", [1]]);
  await published;
  await broker.close();
});

it("a function chooses dead letters one by one, and a promise is no answer", async () => {
  const { broker } = manualBroker({ ack: {}, deadLetter: {} });
  broker.subscribe("t", (msg) => msg.reject(msg.data === 2 ? "two" : undefined));
  for (const data of [1, 2, 3]) broker.publishSync("t", data);
  await settle();
  const isTwo = (letter: DeadLetter): boolean => letter.error === "two";
  const late = (() => Promise.resolve(false)) as unknown as typeof isTwo;
  expect(await rejectionCode(broker.deadLetters.purge(late))).toBe("ERR_INVALID_OPTION");
  expect(await broker.deadLetters.purge(() => false)).toBe(0);
  expect(await broker.deadLetters.purge(isTwo)).toBe(1);
  expect(await broker.deadLetters.redrive((letter) => letter.message.data === 3)).toBe(1);
  await settle();
  const { items } = await broker.deadLetters.list();
  expect(items.map(({ message, redrives }): unknown[] => [message.data, redrives])).toEqual([
    [1, 0],
    [3, 1],
  ]);
  await broker.close();
});

it("a settle that could not be carried out is refused when it is staged, and spoils its transaction", async () => {
  const { broker } = manualBroker({ ack: {}, transactions: {} });
  const { broker: other } = manualBroker({ ack: {} });
  const [sub, foreign] = [broker.subscribe("t"), other.subscribe("t")];
  for (const one of [broker, other]) one.publishSync("t", 1);
  const [msg, theirs] = [await takeOne(sub), await takeOne(foreign)];
  const steps: ((tx: ReturnType<typeof broker.beginTransaction>) => Promise<void>)[] = [
    (tx) => tx.nack(msg, { delay: NaN }),
    (tx) => tx.ack(theirs),
  ];
  for (const step of steps) {
    const tx = broker.beginTransaction();
    expect(await rejectionCode(step(tx))).toBe("ERR_INVALID_OPTION");
    expect(await rejectionCode(tx.commit())).toBe("ERR_INVALID_OPTION");
  }
  await msg.ack();
  await theirs.ack();
  for (const one of [broker, other]) {
    expect(balanced(one).delivered).toBe(1);
    await one.close();
  }
});

it("a reason that is an error is kept as its text", async () => {
  const { broker, clock } = manualBroker({ ack: { backoff: () => 1 }, deadLetter: {} });
  const sub = broker.subscribe("t");
  broker.publishSync("t", 1);
  const reason = new Error("no paper") as unknown as string;
  await (await takeOne(sub)).nack({ reason });
  await clock.advance(1);
  await (await takeOne(sub)).reject(reason);
  const [letter] = (await broker.deadLetters.list()).items;
  expect(letter?.error).toBe("no paper");
  expect(letter?.history.map((attempt) => attempt.reason)).toEqual(["no paper", "no paper"]);
  await broker.close();
});

it("whatever way a message is published, the publish channel shows it, with its receipt or its error", async () => {
  const seen: string[] = [];
  const note = (step: string) => (context: unknown) => {
    type Outcome = { readonly result?: Receipt; readonly error?: BrokerError };
    const { topic, data, result, error } = context as PublishContext & Outcome;
    seen.push(
      [
        step,
        topic,
        data,
        ...(result === undefined ? [] : [result.matched]),
        ...(error === undefined ? [] : [error.code]),
      ].join(" "),
    );
  };
  const ignore = (): void => undefined;
  const listeners = { start: note("start"), end: ignore, asyncStart: ignore, asyncEnd: note("end"), error: ignore };
  const channel = tracingChannel("inproc-broker:publish");
  channel.subscribe(listeners);
  try {
    const { broker } = manualBroker({ transactions: {} });
    broker.respond("asked", () => 1);
    await broker.publishBatch([
      { topic: "a", data: 1 },
      { topic: "b", data: 2 },
    ]);
    await settle();
    await rejectionCode(
      broker.publishBatch([
        { topic: "a", data: 3 },
        { topic: "no topic", data: 4 },
      ]),
    );
    await broker.request("asked", 5);
    await broker.transaction((tx) => tx.publish("a", 6));
    await settle();
    expect(seen).toEqual([
      ...["start a 1", "start b 2", "end a 1 0", "end b 2 0"],
      ...["start a 3", "start no topic 4", "end a 3 ERR_INVALID_TOPIC", "end no topic 4 ERR_INVALID_TOPIC"],
      ...["start asked 5", "end asked 5 1"],
      ...["start a 6", "end a 6 0"],
    ]);
    expect(await codeOf(() => broker.publishBatch(null as never))).toBe("ERR_INVALID_OPTION");
    expect(await codeOf(() => broker.publishBatch([null] as never))).toBe("ERR_INVALID_MESSAGE");
    await broker.close();
  } finally {
    channel.unsubscribe(listeners);
  }
});

it("what is refused as an option of a call says which there are", () => {
  const broker = new InProcBroker();
  expect(() => broker.subscriptions({ tpoic: "a" } as never)).toThrow(/no option "tpoic"; known are topic/);
});

/** The code of a call that throws, or returns a promise that is rejected. */
async function codeOf(call: () => unknown): Promise<BrokerErrorCode> {
  return rejectionCode(new Promise((resolve) => resolve(call())));
}
