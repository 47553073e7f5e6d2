// Whatever is thrown at a broker: it refuses with a code before anything changes, or does what it was asked. It never hangs, starves the
// process, or hurts a neighbour. One table or test for each kind of input.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { InProcBroker, PublishOptions, SubscribeOptions } from "inproc-broker";
import { BrokerError, InProcBroker as Broker } from "inproc-broker";
import {
  balanced,
  collectGarbage,
  fetchNow,
  manualBroker,
  rejectionCode,
  roundAck,
  takeOne,
  thrownCode,
} from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

/** The code of a refusal, or what it was instead. */
async function outcome(call: () => unknown): Promise<string> {
  try {
    await call();
    return "accepted";
  } catch (error) {
    return error instanceof BrokerError ? error.code : `not ours: ${String(error)}`;
  }
}

describe("topics", () => {
  const mebibyte = "x".repeat(2 ** 20);
  const tokens = Array.from({ length: 10_000 }, () => "a").join(".");
  const refused: readonly [what: string, topic: unknown][] = [
    ["of 1 MiB", mebibyte],
    ["of 10,000 tokens", tokens],
    ["that are empty", ""],
    ["with an empty token", "a..b"],
    ["of separators", "."],
    ["with wildcards", "a.*"],
    ["with a rest wildcard", ">"],
    ["with white space", "a b"],
    ["with a line break", "a\nb"],
    ["with NUL", "a\0b"],
    ["with half a surrogate pair", "a\ud800b"],
    ["undefined", undefined],
    ["null", null],
    ["numbers", 5],
    ["symbols", Symbol("s")],
    ["objects that say they are texts", { toString: () => "t" }],
    ["String objects", new String("t")],
    ["arrays", ["t"]],
  ];

  it.each(refused)(
    "%s are refused by every call that takes one, with a short message, and nothing is kept",
    async (_what, topic) => {
      const { broker } = manualBroker({ transactions: {} });
      const given = topic as string;
      const calls: readonly (() => unknown)[] = [
        () => broker.publish(given, 1),
        () => broker.publishSync(given, 1),
        () => broker.publishBatch([{ topic: given, data: 1 }]),
        () => broker.request(given, 1),
        () => broker.transaction((tx) => tx.publish(given, 1)),
        () => broker.publish(given, 1, { delay: 5, retain: true, dedupId: "d" }),
      ];
      for (const call of calls) {
        expect(await outcome(call)).toBe("ERR_INVALID_TOPIC");
        const error = await Promise.resolve().then(call).catch((thrown: unknown) => thrown); // prettier-ignore
        expect((error as Error).message.length).toBeLessThan(400);
      }
      expect(balanced(broker)).toMatchObject({ published: 0, topics: 0, memoryBytes: 0, dedupEntries: 0 });
    },
  );

  it("as patterns: the same is refused, wildcards apart", async () => {
    const { broker } = manualBroker();
    const patterns = refused.filter(([what]) => !what.includes("wildcard") && what !== "arrays").map(([, one]) => one);
    for (const pattern of [...patterns, "a*", ">.a", "a.>.b", [], ["a", 5], ["a", ""]]) {
      expect(thrownCode(() => broker.subscribe(pattern as string))).toBe("ERR_INVALID_PATTERN");
      expect(await outcome(() => broker.retained(pattern as string ?? null))).toBe("ERR_INVALID_PATTERN"); // prettier-ignore
    }
    expect(broker.subscriptions()).toEqual([]);
  });

  it("that every object has a property for are topics, patterns, names, groups, keys and ids as any other", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {} });
    for (const word of ["__proto__", "constructor", "toString", "hasOwnProperty", "then"]) {
      const sub = broker.subscribe(word, { name: `name.${word}` });
      const member = broker.subscribe(`${word}.>`, { group: word });
      const options = { id: word, key: word, dedupId: word, headers: { [word]: word }, retain: true };
      expect((await broker.publish(word, word, options)).matched).toBe(1);
      expect((await broker.publish(word, word, { dedupId: word })).duplicate).toBe(true);
      await broker.publish(`${word}.${word}`, word);
      const message = await takeOne(sub);
      expect([message.topic, message.data, message.id, message.key, message.headers[word]]).toEqual(
        Array(5).fill(word),
      );
      await (await takeOne(member)).reject(word);
      expect(broker.retained(word)).toHaveLength(1);
      expect((await broker.deadLetters.list({ subscription: word, reason: "rejected" })).items).toHaveLength(1);
      expect(broker.subscriptions({ topic: word })).toHaveLength(1);
    }
    expect(({} as Record<string, unknown>)["name"]).toBeUndefined();
    balanced(broker);
  });

  it("100,000 distinct ones leave the heap as it was", async () => {
    const broker = new Broker();
    broker.subscribe("t.*.x", () => undefined);
    const round = async (from: number): Promise<number> => {
      for (let index = from; index < from + 100_000; index += 1) await broker.publish(`t.${index}.x`, index);
      await broker.idle();
      await collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const after = await round(0);
    expect((await round(1e6)) - after).toBeLessThan(4 * 2 ** 20);
    await broker.close();
  });
});

describe("data", () => {
  const cyclic: Record<string, unknown> = { name: "cyclic" };
  cyclic["self"] = cyclic;
  const accepted: readonly [what: string, data: unknown][] = [
    ["cyclic", cyclic],
    ["frozen", Object.freeze({ a: Object.freeze([1]) })],
    ["without a prototype", Object.assign(Object.create(null) as object, { a: 1 })],
    ["of another realm", runInNewContext("({ a: [1, new Date(0)] })")],
    ["a Map of a Set", new Map([["a", new Set([1])]])],
    ["a typed array", new Uint8Array(10)],
    ["a detached buffer", structuredClone(new ArrayBuffer(8), { transfer: [new ArrayBuffer(1)] })],
    ["NaN", NaN],
    ["a bigint", 2n ** 200n],
    ["an invalid date", new Date(NaN)],
    ["an error", new Error("data")],
    ["a sparse array", Object.assign([], { length: 2 ** 20 })],
  ];

  it.each(accepted)("%s goes through as the same object", async (_what, data) => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", data);
    await broker.publish("t", data, { retain: true, ttl: 1e6, key: "k" });
    for (const message of await fetchNow(sub)) expect(Object.is(message.data, data)).toBe(true);
    expect(Number.isFinite(balanced(broker).memoryBytes)).toBe(true);
  });

  const boom = new Error("boom");
  const throwing = (trap: string): unknown =>
    new Proxy({ a: 1 }, { [trap]: () => { throw boom; } }); // prettier-ignore
  const unreadable: readonly [what: string, data: unknown][] = [
    ["deeply nested", Array.from({ length: 20_000 }).reduce<unknown>((inner) => [inner], null)],
    ["a getter that throws", Object.defineProperty({}, "a", { enumerable: true, get: () => { throw boom; } })], // prettier-ignore
    ["a proxy that lists nothing", throwing("ownKeys")],
    ["a proxy that gives nothing", throwing("get")],
    ["a proxy without a prototype", throwing("getPrototypeOf")],
    ["a revoked proxy", (() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy; })()], // prettier-ignore
  ];

  it.each(unreadable)("%s is refused or taken, and leaves the broker as it was", async (_what, data) => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    for (const call of [
      () => broker.publish("t", data),
      () => broker.publishSync("t", data),
      () => broker.publish("t", { deep: [data] }, { priority: 9 }),
      () => broker.publishBatch([{ topic: "t", data }]),
    ]) {
      expect(["ERR_INVALID_MESSAGE", "accepted"]).toContain(await outcome(call));
    }
    await fetchNow(sub);
    await broker.publish("t", "next");
    expect((await takeOne(sub)).data).toBe("next");
    balanced(broker);
  });

  it.each([
    ["undefined", undefined],
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
  ])("%s is refused", async (_what, data) => {
    // prettier-ignore
    const { broker } = manualBroker();
    expect(await outcome(() => broker.publish("t", data))).toBe("ERR_INVALID_MESSAGE");
    expect(await outcome(() => broker.publishSync("t", data))).toBe("ERR_INVALID_MESSAGE");
  });

  it("a thenable is data: nobody waits for it, and it is called by no one", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    let called = 0;
    const thenable = { then: () => void (called += 1) };
    const sub = broker.subscribe("t");
    await broker.publish("t", thenable);
    const message = await takeOne(sub);
    await message.ack();
    expect([message.data, called]).toEqual([thenable, 0]);
  });

  it("changed by a subscriber: seen by others with reference, by nobody with clone, and not possible with freeze", async () => {
    const seen: Record<string, unknown> = {};
    for (const payloads of ["reference", "clone", "freeze"] as const) {
      const { broker } = manualBroker({ payloads });
      const [first, second] = [broker.subscribe("t"), broker.subscribe("t")];
      const data = { list: [1] };
      await broker.publish("t", data, { retain: true });
      const mine = (await takeOne(first)).data as typeof data;
      const change = (): void => void mine.list.push(2);
      if (payloads === "freeze") expect(change).toThrow(TypeError);
      else change();
      const late = broker.subscribe("t", { from: "last" });
      seen[payloads] = [await takeOne(second), await takeOne(late)].map((msg) => (msg.data as typeof data).list.length);
    }
    expect(seen).toEqual({ reference: [2, 2], clone: [1, 1], freeze: [1, 1] });
  });

  it("clone: what cannot be cloned is refused before anything changes", async () => {
    const { broker } = manualBroker({ payloads: "clone" });
    const sub = broker.subscribe("t");
    for (const data of [
      { call: () => 1 },
      new Proxy({}, {}),
      {
        get a(): never {
          throw boom;
        },
      },
    ]) {
      // prettier-ignore
      expect(await outcome(() => broker.publish("t", data))).toBe("ERR_INVALID_MESSAGE");
    }
    await broker.publish("t", cyclic);
    expect(((await takeOne(sub)).data as typeof cyclic)["name"]).toBe("cyclic");
    expect(sub.stats().queued).toBe(0);
  });
});

describe("numbers", () => {
  const nonsense: readonly unknown[] = [NaN, -1, -Infinity, "5", "", true, null, {}, [], 5n, Symbol("s"), () => 5];
  const huge: readonly unknown[] = [Number.MAX_VALUE, Number.MAX_SAFE_INTEGER, 2 ** 31, 2 ** 53];

  it.each(["priority", "ttl", "expiresAt", "delay", "deliverAt", "confirm", "confirmTimeout"])(
    "publish %s: nonsense is refused and nothing is published; what is huge is refused or does what it says",
    async (option) => {
      const { broker, clock } = manualBroker();
      const sub = broker.subscribe("t");
      const other = option === "confirmTimeout" ? { confirm: 1 } : {};
      for (const value of nonsense) {
        // A negative date is a date: before 1970.
        if (value === -1 && (option === "expiresAt" || option === "deliverAt")) continue;
        const options = { ...other, [option]: value } as PublishOptions;
        expect(await outcome(() => broker.publish("t", 1, options)), String(value)).toBe("ERR_INVALID_OPTION");
        expect(await outcome(() => broker.publishSync("t", 1, options)), String(value)).toBe("ERR_INVALID_OPTION");
      }
      expect([sub.stats().queued, balanced(broker).published]).toEqual([0, 0]);
      for (const value of huge) {
        const options = { ...other, [option]: value } as PublishOptions;
        const publish = outcome(() => broker.publish("t", 1, options));
        await settle();
        await fetchNow(sub);
        await clock.advance(1);
        if (option === "confirm") continue;
        // So many milliseconds since 1970 may be long ago.
        const refusal = option === "expiresAt" && value === 2 ** 31 ? "ERR_MESSAGE_EXPIRED" : "ERR_INVALID_OPTION";
        expect(["accepted", refusal], String(value)).toContain(await publish);
      }
      expect(balanced(broker).expired).toBe(0);
      await broker.close({ drain: false });
      expect(clock.pending).toBe(0);
    },
  );

  it.each(["maxMessages", "maxBytes", "ackTimeout", "maxDeliveries", "maxInFlight", "concurrency", "ttl", "heartbeat"])(
    "subscribe %s: nonsense is refused, and there is no subscription; what is huge works",
    async (option) => {
      const { broker, clock } = manualBroker({ ack: roundAck });
      const other = option === "heartbeat" ? { ttl: 1e9 } : {};
      for (const value of [...nonsense, 0, ...(["ackTimeout", "ttl", "heartbeat"].includes(option) ? [] : [1.5])]) {
        const options = { ...other, [option]: value } as SubscribeOptions;
        expect(await outcome(() => broker.subscribe("t", options)), String(value)).toBe("ERR_INVALID_OPTION");
      }
      expect(broker.subscriptions()).toEqual([]);
      for (const value of [...huge, Infinity]) {
        const sub = broker.subscribe("t", { ...other, [option]: value } as SubscribeOptions);
        await broker.publish("t", 1);
        await (await takeOne(sub)).ack();
        await clock.advance(100);
        expect(sub.state, String(value)).toBe("open");
        await sub.unsubscribe();
      }
      balanced(broker);
      await broker.close();
      expect(clock.pending).toBe(0);
    },
  );

  it("of rateLimit, priority, fetch, nack, extend, request, idle, close, peek and dead letters", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {}, transactions: {} });
    broker.subscribe("asked");
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const message = await takeOne(sub);
    const calls: Readonly<Record<string, (value: never) => unknown>> = {
      perSecond: (perSecond) => broker.subscribe("x", { rateLimit: { perSecond } }),
      burst: (burst) => broker.subscribe("x", { rateLimit: { perSecond: 1, burst } }),
      aging: (aging) => broker.subscribe("x", { priority: { aging } }),
      fetch: (count) => sub.fetch(count),
      "fetch's timeout": (timeout) => sub.fetch(1, { timeout }),
      "nack's delay": (delay) => message.nack({ delay }),
      extend: (ms) => message.extend(ms),
      "request's timeout": (timeout) => broker.request("asked", 1, { timeout }),
      "requestMany's timeout": (timeout) => broker.requestMany("asked", 1, { timeout }).next(),
      "requestMany's max": (max) => broker.requestMany("asked", 1, { max, timeout: 1 }).next(),
      "idle's timeout": (timeout) => broker.idle({ timeout }),
      "a transaction's timeout": (timeout) => broker.beginTransaction({ timeout }),
      "list's limit": (limit) => broker.deadLetters.list({ limit }),
      "redrive's rate": (rate) => broker.deadLetters.redrive({}, { rate }),
      "peek's limit": (count) => broker.peek(sub, count),
      "close's timeout": (timeout) => broker.close({ timeout }),
    };
    for (const [name, call] of Object.entries(calls)) {
      for (const value of nonsense) {
        expect(await outcome(() => call(value as never)), `${name} ${String(value)}`).toBe("ERR_INVALID_OPTION");
      }
    }
    expect([broker.state, broker.subscriptions().length]).toEqual(["open", 2]);
    await message.ack();
    // A close that was refused is no close: the next one works.
    await broker.close({ drain: false });
    expect(broker.state).toBe("closed");
  });
});

describe("options", () => {
  it("that are no object are refused; null is none", async () => {
    const { broker } = manualBroker();
    for (const options of [5, "x", true, [], () => 1, Symbol("s")] as never[]) {
      expect(await outcome(() => broker.publish("t", 1, options))).toBe("ERR_INVALID_OPTION");
      expect(await outcome(() => broker.publishSync("t", 1, options))).toBe("ERR_INVALID_OPTION");
      expect(await outcome(() => broker.subscribe("t", () => 1, options))).toBe("ERR_INVALID_OPTION");
      expect(await outcome(() => new Broker(options))).toBe("ERR_INVALID_OPTION");
    }
    expect(await outcome(() => broker.publish("t", 1, null as never))).toBe("accepted");
    expect(await outcome(() => broker.publishBatch(null as never))).toBe("ERR_INVALID_OPTION");
    expect(await outcome(() => broker.publishBatch([null] as never))).toBe("ERR_INVALID_MESSAGE");
    expect(await outcome(() => broker.subscribeBatch(null as never))).toBe("ERR_INVALID_OPTION");
    expect(await outcome(() => broker.subscribeBatch([null] as never))).toBe("ERR_INVALID_OPTION");
    expect(await outcome(() => broker.transaction(5 as never))).toBe("ERR_INVALID_OPTION");
    expect(await outcome(() => broker.on("drop", 5 as never))).toBe("ERR_INVALID_OPTION");
  });

  it("with getters that throw, or that answer something else the second time, leave nothing behind", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    const options = Object.defineProperty({}, "ttl", { enumerable: true, get: () => { throw new Error("boom"); } }); // prettier-ignore
    await expect(broker.publish("t", 1, options)).rejects.toThrow("boom");
    let reads = 0;
    const fickle = Object.defineProperty({}, "key", { enumerable: true, get: () => ((reads += 1) > 1 ? 5 : "k") });
    await outcome(() => broker.publish("t", 1, fickle));
    for (const message of await fetchNow(sub)) expect(message.key).toBe("k");
    balanced(broker);
  });
});

describe("handlers", () => {
  /** A broker whose subscription `hostile` has the handler, beside a neighbour; returns what the neighbour got of 20 messages. */
  async function beside(
    handler: (broker: InProcBroker, data: unknown) => unknown,
    check: (broker: InProcBroker, errors: unknown[]) => unknown,
  ): Promise<void> {
    for (const options of [{}, { ack: roundAck }]) {
      const { broker, clock } = manualBroker(options);
      const errors: unknown[] = [];
      broker.on("error", (error) => void errors.push(error));
      broker.subscribe("t", (msg) => handler(broker, msg.data), { name: "hostile" });
      const got: unknown[] = [];
      broker.subscribe("t", (msg) => void got.push(msg.data));
      const sent = Array.from({ length: 20 }, (_, index) => index);
      for (const data of sent) await broker.publish("t", data);
      await clock.advance(10);
      expect(got).toEqual(sent);
      balanced(broker);
      await check(broker, errors);
      await broker.close({ drain: false });
      expect(clock.pending).toBe(0);
    }
  }

  it.each([
    ["an error", new Error("x")],
    ["a text", "x"],
    ["nothing", undefined],
    ["null", null],
    ["an object that cannot be printed", Object.create(null)],
    ["a revoked proxy", (() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy; })()], // prettier-ignore
    ["an error whose message throws", Object.defineProperty(new Error(), "message", { get: () => { throw new Error("no"); } })], // prettier-ignore
  ])("that throw or reject with %s", async (_what, thrown) => {
    const ways = [
      () => {
        throw thrown;
      },
      () => Promise.reject(thrown),
    ];
    for (const way of ways) {
      await beside(way, (_broker, errors) => {
        expect(errors.length).toBeGreaterThan(0);
        for (const error of errors) expect(Object.is(error, thrown)).toBe(true);
      });
    }
  });

  it("that hang", async () => {
    await beside(
      () => new Promise(() => undefined),
      (broker) => expect(broker.subscriptions()[0]).toMatchObject({ name: "hostile" }),
    );
  });

  it("that return thenables that throw, answer at once, twice or never", async () => {
    type Answer = (resolve: (value?: unknown) => void, reject: (error: unknown) => void) => unknown;
    const thens: readonly Answer[] = [
      () => { throw new Error("then"); }, // prettier-ignore
      (resolve) => resolve(),
      (resolve, reject) => {
        resolve();
        reject(new Error("late"));
        resolve();
      },
      () => undefined,
      (resolve) => resolve({ then: (again: () => void) => again() }),
    ];
    for (const then of thens) await beside(() => ({ then }), () => undefined); // prettier-ignore
  });

  it("that reject after they were given up", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 1 }, deadLetter: {} });
    broker.on("error", () => undefined);
    const rejects: ((error: Error) => void)[] = [];
    broker.subscribe("t", () => new Promise((_, reject) => rejects.push(reject)));
    await broker.publish("t", 1);
    await clock.advance(1_000);
    expect(broker.deadLetters.stats().count).toBe(1);
    for (const reject of rejects) reject(new Error("late"));
    await settle();
    expect(broker.deadLetters.stats().count).toBe(1);
    expect(balanced(broker).inFlight).toBe(0);
  });

  it("that unsubscribe themselves, their neighbours, or everybody", async () => {
    const { broker } = manualBroker();
    const subs = [0, 1, 2].map(() =>
      broker.subscribe("t", async () => {
        await Promise.all(subs.map((sub) => sub.unsubscribe()));
      }),
    );
    for (let data = 0; data < 5; data += 1) broker.publishSync("t", data);
    await broker.idle();
    expect(subs.map(({ state }) => state)).toEqual(Array(3).fill("closed"));
    expect(balanced(broker).subscriptions).toBe(0);
  });

  it("that close the broker, with and without waiting for that", async () => {
    for (const drain of [true, false]) {
      const { broker, clock } = manualBroker({ ack: roundAck });
      broker.on("error", () => undefined);
      broker.subscribe("t", () => broker.close({ drain, timeout: 100 }));
      for (let data = 0; data < 5; data += 1) broker.publishSync("t", data);
      await clock.advance(100);
      const { undelivered, unacked } = await broker.close();
      expect([undelivered.length + unacked.length, broker.state, clock.pending]).toEqual([5, "closed", 0]);
    }
  });

  it("that publish into themselves for ever leave turns to timers, immediates and files", async () => {
    const broker = new Broker();
    let count = 0;
    broker.subscribe("t", () => {
      count += 1;
      broker.publishSync("t", count);
    });
    broker.subscribe("u", async () => {
      count += 1;
      await broker.publish("u", count);
    });
    broker.publishSync("t", 0);
    broker.publishSync("u", 0);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => void setImmediate(resolve));
    expect((await readFile(fileURLToPath(import.meta.url), "utf8")).length).toBeGreaterThan(0);
    await new Promise((resolve) => void setTimeout(resolve, 1));
    expect(count).toBeGreaterThan(20);
    await broker.close({ drain: false });
  });

  it("that settle, extend, reply and read everything of a message that is over", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const message = await takeOne(sub);
    await message.ack();
    const refusals = [
      message.ack(),
      message.nack(),
      message.reject(),
      message.extend(5),
      broker.ack(message.deliveryId),
    ];
    for (const refusal of refusals) expect(await rejectionCode(refusal)).toBe("ERR_ALREADY_SETTLED");
    expect(await rejectionCode(message.reply(1))).toBe("ERR_INVALID_MESSAGE");
    for (const id of [undefined, null, 5, {}, "", "__proto__", "1-1-1"]) {
      expect(await rejectionCode(broker.ack(id as string))).toBe("ERR_ALREADY_SETTLED");
    }
    balanced(broker);
  });
});
