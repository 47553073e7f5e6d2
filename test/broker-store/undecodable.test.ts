// A stored payload that the codec cannot decode: it was changed, or has a bug. Nothing else suffers, and nothing is lost.
import { describe, expect, it } from "vitest";
import type { InProcBroker, Message } from "inproc-broker";
import type { BrokerError } from "inproc-broker";
import { balanced, fetchNow, takeOne } from "../support/manual-broker.js";
import { collect, crash, dataOf, historyOf, openBroker, temporaryFolder, until } from "./fixture.js";
import type { StoredBrokerOptions } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

/** JSON, but that one that is broken cannot read what it wrote of a "bad" payload. */
function codec(isBroken: boolean, name = "custom"): object {
  return {
    name,
    encode: (data: unknown): Uint8Array => Buffer.from(JSON.stringify(data)),
    decode: (bytes: Uint8Array): unknown => {
      const data = JSON.parse(Buffer.from(bytes).toString()) as unknown;
      if (isBroken && data === "bad") throw new TypeError("cannot read this one");
      return data;
    },
  };
}

/** A broker whose codec is broken, on a folder with the messages "one", "bad" and "two", and the errors it tells. */
async function opened(
  options: StoredBrokerOptions = {},
  broken = codec(true),
): Promise<{ path: string; broker: InProcBroker; errors: unknown[] }> {
  const path = temporaryFolder();
  const writer = await openBroker(path, { store: { codec: codec(false) } as never });
  await writer.subscribe("a", manual).unsubscribe();
  for (const data of ["one", "bad", "two"]) await writer.publish("a", data);
  await writer.close();
  return { path, ...(await openedOn(path, options, broken)) };
}

async function openedOn(
  path: string,
  options: StoredBrokerOptions,
  given: object,
): Promise<{ broker: InProcBroker; errors: unknown[] }> {
  const broker = await openBroker(path, { ...options, store: { codec: given } as never });
  const errors: unknown[] = [];
  broker.on("error", (error) => errors.push(error));
  return { broker, errors };
}

const named = { code: "ERR_STORE_CORRUPT", facts: { seq: 2, topic: "a" } };

describe("history", () => {
  it("passes over it with an error that names it, and goes on", async () => {
    const { broker, errors } = await opened();
    expect(dataOf(await historyOf(broker))).toEqual(["one", "two"]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject(named);
    expect((errors[0] as BrokerError).message).toContain("cannot read this one");
    expect(dataOf(await broker.recoverMessages("a"))).toEqual(["one", "two"]);
    const seen = collect(broker, "a");
    expect(await broker.replayMessages("a")).toBe(2);
    await broker.idle();
    expect(dataOf(seen)).toEqual(["one", "two"]);
    const reader = broker.subscribe("a", { from: "oldest" });
    expect(dataOf(await fetchNow(reader))).toEqual(["one", "two"]);
    expect(errors).toHaveLength(4);
  });
});

describe("a durable", () => {
  it("has it as a dead letter, with the bytes, and goes on", async () => {
    const { broker, errors, path } = await opened({ deadLetter: {} });
    const published = collect(broker, "dlq");
    const sub = broker.subscribe("a", manual);
    const messages: Message[] = [];
    await until(() => broker.deadLetters.stats().count === 1);
    messages.push(...(await fetchNow(sub)));
    expect(dataOf(messages)).toEqual(["one", "two"]);
    const { items } = await broker.deadLetters.list();
    expect(items).toMatchObject([{ reason: "handler-error", topic: "a", subscription: "d", message: { seq: 2 } }]);
    expect(items[0]?.error).toContain("cannot read this one");
    expect(items[0]?.message.data).toBeInstanceOf(Uint8Array);
    await until(() => published.length === 1);
    expect(Buffer.from(published[0]?.data as Uint8Array).toString()).toContain('"bad"');
    expect(errors).toEqual([]);
    balanced(broker);

    expect(await broker.deadLetters.redrive()).toBe(0);
    expect(errors).toMatchObject([{ code: "ERR_STORE_CORRUPT", facts: { topic: "a" } }]);
    expect(broker.deadLetters.stats()).toMatchObject({ count: 1, redriven: 0 });
    await broker.flush();

    const { broker: still, errors: none } = await openedOn(crash(path), { deadLetter: {} }, codec(true));
    expect((await still.deadLetters.list()).items[0]?.message.data).toBeInstanceOf(Uint8Array);
    expect(none).toEqual([]);
  });

  it("gets it from there once the codec can read it", async () => {
    const { broker, path } = await opened({ deadLetter: {} });
    const sub = broker.subscribe("a", manual);
    await until(() => broker.deadLetters.stats().count === 1);
    for (const message of await fetchNow(sub)) await message.ack();
    await broker.flush();
    const { broker: repaired } = await openedOn(crash(path), { deadLetter: {} }, codec(false));
    const again = repaired.subscribe("a", manual);
    expect(await fetchNow(again)).toEqual([]);
    expect((await repaired.deadLetters.list()).items[0]?.message.data).toBe("bad");
    expect(await repaired.deadLetters.redrive()).toBe(1);
    expect((await takeOne(again)).data).toBe("bad");
  });

  it.each([
    ["where no dead letters are kept", {}],
    ["where they are not kept of handler errors", { deadLetter: { reasons: ["rejected"] } }],
    ["where they are full", { deadLetter: { maxMessages: 1, maxBytes: 1 } }],
  ] as const)("keeps it in its backlog, and says so, %s", async (_when, options) => {
    const { broker, errors, path } = await opened(options);
    const sub = broker.subscribe("a", manual);
    const messages = await sub.fetch(2);
    expect(dataOf(messages)).toEqual(["one", "two"]);
    for (const message of messages) await message.ack();
    await broker.idle();
    expect(errors).toMatchObject([named]);
    expect(broker.subscriptions()).toMatchObject([{ name: "d", backlog: 1 }]);
    balanced(broker);
    await broker.flush();
    const { broker: repaired } = await openedOn(crash(path), {}, codec(false));
    expect(dataOf(await fetchNow(repaired.subscribe("a", manual)))).toEqual(["bad"]);
  });

  it("keeps what is another codec's, dead letters or not: nothing is wrong but the option", async () => {
    const { broker, errors, path } = await opened({ deadLetter: {} }, codec(false, "another"));
    const sub = broker.subscribe("a", manual);
    expect(await fetchNow(sub)).toEqual([]);
    expect(broker.deadLetters.stats().count).toBe(0);
    expect(errors).toMatchObject([1, 2, 3].map((seq) => ({ code: "ERR_INVALID_OPTION", facts: { seq, topic: "a" } })));
    await broker.close();
    const { broker: right } = await openedOn(path, {}, codec(false));
    expect(dataOf(await fetchNow(right.subscribe("a", manual)))).toEqual(["one", "bad", "two"]);
  });
});
