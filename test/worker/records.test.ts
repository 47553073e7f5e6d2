import { describe, expect, it, vi } from "vitest";
import type { Message } from "inproc-broker";
import { FrameWriter } from "../../src/worker/frame-writer.js";
import { framesAt, numbersAt, textAt } from "../../src/worker/protocol.js";
import { Shapes } from "../../src/worker/records.js";
import { Collector, openRig } from "./fixture.js";

const inherits = (): object => Object.assign(Object.create({ inherited: 1 }) as object, { own: 2 });
const shared = { x: 1 };
const circle: { self?: unknown } = {};
circle.self = circle;

/** Data of every kind, which must come out as structured clone makes it. */
const kinds: readonly (readonly [string, () => unknown])[] = [
  ["a record", () => ({ id: 1, name: "one", isDone: true, nothing: null })],
  ["a record without a value", () => ({ id: 1, none: undefined })],
  ["odd numbers", () => ({ zero: -0, none: NaN, most: Infinity, big: 2n ** 70n })],
  ["keys that are indices", () => ({ b: 1, 2: "two", 1: "one", a: 2 })],
  ["an own key __proto__", () => JSON.parse('{ "__proto__": 1, "id": 2 }') as unknown],
  ["no key", () => ({})],
  ["many keys", () => Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`key${index}`, index]))],
  ["a getter", () => Object.defineProperty({ a: 1 }, "b", { get: () => 2, enumerable: true })],
  ["a key that is not enumerable", () => Object.defineProperty({ a: 1 }, "b", { value: 2 })],
  ["a symbol for a key", () => ({ a: 1, [Symbol("b")]: 2 })],
  ["another prototype", inherits],
  ["no prototype", () => Object.assign(Object.create(null) as object, { a: 1 })],
  [
    "an instance of a class",
    () =>
      new (class {
        readonly id = 1;
      })(),
  ],
  ["parts that are one", () => ({ a: shared, b: shared })],
  ["a circle", () => circle],
  ["a date", () => new Date(5)],
  ["an array", () => [1, { a: 1 }]],
  ["a text", () => "text"],
];

describe("data on its way to a client", () => {
  it("comes out as structured clone makes it, whatever was before it", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data), { ack: "none", maxInFlight: 1_000 }).ready;
    const sent = kinds.flatMap(([, make]) => kinds.flatMap(([, makeNext]) => [make(), makeNext()]));
    for (const data of sent) broker.publishSync("data", data);
    const came = await seen.until(sent.length);
    came.forEach((data, index) => {
      const expected = structuredClone(sent[index]);
      expect(data).toStrictEqual(expected);
      expect(Object.keys(data as object)).toEqual(Object.keys(expected as object));
    });
  });

  it("is not taken for a record where Object.prototype has a key of its own", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data)).ready;
    Object.defineProperty(Object.prototype, "added", { value: 1, enumerable: true, configurable: true });
    try {
      broker.publishSync("data", { id: 1 });
      await seen.until(1);
    } finally {
      delete (Object.prototype as { added?: unknown }).added;
    }
    expect(Object.keys(seen.items[0] as object)).toEqual(["id"]);
  });

  it("keeps its ids where a subscription has every second message, or those of a filter", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<Message>();
    const sent: string[] = [];
    await client.subscribe("even", seen.add, { maxInFlight: 1_000 }).ready;
    for (let number = 0; number < 300; number += 1) {
      // Steps of two, then of four, then back by none at all.
      const topic = number < 100 ? number % 2 === 0 : number < 200 ? number % 4 === 0 : true;
      const { id } = broker.publishSync(topic ? "even" : "odd", { number });
      if (topic) sent.push(id);
    }
    expect((await seen.until(sent.length)).map(({ id }) => id)).toEqual(sent);
  });

  it("has a shape for each set of keys, and none beyond their bound", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data), { maxInFlight: 1_000 }).ready;
    const sent = Array.from({ length: 3_000 }, (_, index) => ({ [`key${index % 1_500}`]: index }));
    for (const data of sent) broker.publishSync("data", data);
    expect(await seen.until(sent.length)).toEqual(sent);
  });

  it("travels packed: numbers and short texts in two blocks beside the frames, and only the rest among these", () => {
    const sent: (readonly unknown[])[] = [];
    const link = {
      start: () => undefined,
      hold: () => undefined,
      close: () => undefined,
      send: (batch: readonly unknown[]) => void sent.push(batch),
    };
    const writer = new FrameWriter(link, () => undefined);
    const shapes = new Shapes(writer);
    shapes.find({ id: 0, ratio: 0.5, name: "a", isDone: true });
    writer.flush();
    for (let id = 1; id <= 20; id += 1) {
      expect(shapes.find({ id, ratio: id / 7, name: `n${id}`, isDone: false })?.number).toBe(0);
      shapes.take(writer.begin());
    }
    writer.flush();
    const batch = sent.at(-1) as readonly unknown[];
    expect(batch[numbersAt]).toBeInstanceOf(Float64Array);
    expect(batch[numbersAt]).toHaveLength(60);
    expect(batch[textAt]).toMatch(/^n1n2n3.*n20$/);
    expect(batch.slice(framesAt)).toEqual(Array(20).fill(false));
  });

  it("changes its shape where a value needs a wider one, and comes out the same before and after", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data), { ack: "none", maxInFlight: 1_000 }).ready;
    const values = [1, 0.5, -0, NaN, 2 ** 31, 2 ** 53, "", "short", "longer than a dozen", null, undefined, true, 1n];
    // So many of each that what makes records of a shape is compiled.
    const sent = values.flatMap((value, at) =>
      Array.from({ length: 100 }, (_, index) => ({ id: index, value: index % 2 === 0 ? value : values[at - 1], at })),
    );
    for (const data of sent) broker.publishSync("data", data);
    expect(await seen.until(sent.length)).toStrictEqual(sent);
  });

  it("keeps its keys and texts, whatever characters they have", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data), { ack: "none", maxInFlight: 1_000 }).ready;
    const odd = [
      '"',
      "\\",
      "`${0}`",
      "'",
      "\n",
      "\u2028",
      "\ud83d",
      "\ude00",
      '"];throw 0//',
      "constructor",
      "0",
      "-1",
      "",
    ];
    const record = Object.fromEntries(odd.map((key, index) => [key, odd[(index + 1) % odd.length]]));
    const sent = Array.from({ length: 200 }, (_, index) => ({ ...record, index }));
    for (const data of sent) broker.publishSync("data", data);
    const came = await seen.until(sent.length);
    expect(came).toStrictEqual(sent);
    expect(Object.keys(came[199] as object)).toEqual(Object.keys(sent[199] as object));
  });

  it("is the same where code may not be made from texts", async () => {
    vi.stubGlobal("Function", function refuse() {
      throw new EvalError("Code generation from strings disallowed for this context");
    });
    try {
      const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
      const seen = new Collector<unknown>();
      await client.subscribe("data", ({ data }) => seen.add(data), { ack: "none", maxInFlight: 1_000 }).ready;
      const sent = Array.from({ length: 200 }, (_, id) => ({ id, name: `item ${id}`, ratio: id / 7, none: null }));
      for (const data of sent) broker.publishSync("data", data);
      expect(await seen.until(sent.length)).toStrictEqual(sent);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it("comes out whole where a batch must be taken apart, since something in it cannot be cloned", async () => {
    const { broker, client } = openRig();
    const seen = new Collector<unknown>();
    await client.subscribe("data", ({ data }) => seen.add(data), { maxInFlight: 1_000 }).ready;
    const sent = Array.from({ length: 40 }, (_, id) => ({ id, name: `item ${id}`, ratio: id / 7 }));
    for (const data of sent) {
      broker.publishSync("data", data);
      if (data.id % 10 === 5) broker.publishSync("data", { call: () => data });
    }
    expect(await seen.until(sent.length)).toStrictEqual(sent);
  });

  it("is told apart by subscription, topic and shape, however they are mixed", async () => {
    const { broker, client } = openRig({ subscription: { maxMessages: 10_000 } });
    const seen = new Map<string, Collector<unknown>>();
    for (const pattern of ["a.*", "*.b", "c.>"]) {
      const collector = new Collector<unknown>();
      seen.set(pattern, collector);
      await client.subscribe(pattern, ({ data }) => collector.add(data), { ack: "none" }).ready;
    }
    const shapes = [
      (id: number) => ({ id }),
      (id: number) => ({ id, text: `${id}` }),
      (id: number) => ({ text: `${id}`, id }),
      (id: number) => ({ flag: id % 2 === 0, long: `a text of some length ${id}` }),
      (id: number) => [id],
      (id: number) => ({ one: id, two: id / 3, three: { id } }),
      (id: number) => ({ one: id, two: `${id / 3}`, three: null }),
    ];
    const topics = ["a.b", "c.b", "a.c", "c.d"];
    const sent = Array.from({ length: 2_000 }, (_, id) => ({
      topic: topics[(id * 7) % 4] as string,
      data: shapes[(id * id + (id >> 3)) % shapes.length]?.(id),
    }));
    for (const { topic, data } of sent) broker.publishSync(topic, data);
    const wanted = { "a.*": /^a/, "*.b": /b$/, "c.>": /^c/ };
    for (const [pattern, matches] of Object.entries(wanted)) {
      const expected = sent.filter(({ topic }) => matches.test(topic)).map(({ data }) => data);
      expect(await seen.get(pattern)?.until(expected.length)).toStrictEqual(expected);
    }
  });
});
