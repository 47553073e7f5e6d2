// Validators: any that has the Standard Schema interface, by topic or pattern, at once or later, on every way in.
import * as valibot from "valibot";
import { describe, expect, it } from "vitest";
import type { InProcBroker, Message, StandardResult, StandardSchema } from "inproc-broker";
import { InvalidArgumentError, SchemaError } from "inproc-broker";
import * as zod from "zod";
import { fetchNow, manualBroker, rejectionCode, takeOne, thrownCode } from "../support/manual-broker.js";

/** A validator of our own: what `check` answers, at once or as a promise. */
function schemaOf(check: (value: unknown) => unknown): StandardSchema {
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: check as (value: unknown) => StandardResult<unknown>,
    },
  };
}

const later = <Value>(value: Value): Promise<Value> => new Promise((resolve) => void setImmediate(resolve, value));

/** The same order, `{ id: number, when: text that becomes a Date }`, in three libraries. */
const orders: readonly [vendor: string, schema: StandardSchema][] = [
  ["zod", zod.object({ id: zod.number(), when: zod.string().transform((text) => new Date(text)) })],
  [
    "valibot",
    valibot.object({
      id: valibot.number(),
      when: valibot.pipe(
        valibot.string(),
        valibot.transform((text) => new Date(text)),
      ),
    }),
  ],
  [
    "by hand",
    schemaOf((value) => {
      const { id, when } = (value ?? {}) as { id?: unknown; when?: unknown };
      const issues = [
        ...(typeof id === "number" ? [] : [{ message: "no number", path: ["id"] }]),
        ...(typeof when === "string" ? [] : [{ message: "no text", path: [{ key: "when" }] }]),
      ];
      return issues.length > 0 ? { issues } : { value: { id, when: new Date(when as string) } };
    }),
  ],
];

describe.each(orders)("a schema of %s", (_vendor, schema) => {
  it("publishes what it makes of the data, and leaves the publisher's object alone", async () => {
    const { broker } = manualBroker({ schemas: { orders: schema } });
    const sub = broker.subscribe("orders");
    const order = { id: 1, when: "2030-01-01T00:00:00Z" };
    await broker.publish("orders", order);
    broker.publishSync("orders", order);
    await broker.publishBatch([{ topic: "orders", data: order }]);
    for (const { data } of await fetchNow(sub, 3))
      expect(data).toEqual({ id: 1, when: new Date(Date.UTC(2030, 0, 1)) });
    expect(order.when).toBe("2030-01-01T00:00:00Z");
  });

  it("refuses by ERR_SCHEMA, with every issue and where it is as typed facts, and nobody gets anything", async () => {
    const { broker } = manualBroker({ schemas: { orders: schema } });
    const sub = broker.subscribe("orders");
    const error: unknown = await broker.publish("orders", { id: "1", when: 5 }).catch((thrown: unknown) => thrown);
    if (!(error instanceof SchemaError)) throw error;
    const { issues, topic }: { issues: readonly { message: string; path: string }[]; topic: string } = error.facts;
    expect([topic, error.code, error instanceof InvalidArgumentError]).toEqual(["orders", "ERR_SCHEMA", true]);
    expect(issues.map(({ path }) => path)).toEqual(["id", "when"]);
    for (const { message } of issues) expect(error.message).toContain(message);
    expect(thrownCode(() => broker.publishSync("orders", null))).toBe("ERR_SCHEMA");
    expect(sub.stats().queued).toBe(0);
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 2 });
  });
});

const asynchronous: readonly [vendor: string, schema: StandardSchema][] = [
  ["zod", zod.number().refine((value) => later(value > 0), "not positive")],
  [
    "valibot",
    valibot.pipeAsync(
      valibot.number(),
      valibot.checkAsync((value) => later(value > 0), "not positive"),
    ),
  ],
  [
    "by hand",
    schemaOf((value) =>
      later(typeof value === "number" && value > 0 ? { value } : { issues: [{ message: "not positive" }] }),
    ),
  ],
  [
    "by hand, with a promise of its own kind",
    schemaOf((value) => ({
      then: (resolve: (result: object) => void) =>
        resolve((value as number) > 0 ? { value } : { issues: [{ message: "not positive" }] }),
    })),
  ],
];

describe.each(asynchronous)("an asynchronous schema of %s", (_vendor, schema) => {
  it("is waited for, and idle and flush wait for it", async () => {
    const { broker } = manualBroker({ schemas: { n: schema } });
    const got: unknown[] = [];
    broker.subscribe("n", (msg) => void got.push(msg.data));
    const publishes = [broker.publish("n", 1), broker.publish("n", 2)];
    expect(broker.metrics.snapshot().published).toBe(0);
    await broker.flush();
    expect(broker.metrics.snapshot().published).toBe(2);
    await broker.idle();
    expect(got).toEqual([1, 2]);
    expect((await Promise.all(publishes)).map(({ matched }) => matched)).toEqual([1, 1]);
  });

  it("refuses later, and counts it once", async () => {
    const { broker } = manualBroker({ schemas: { n: schema } });
    const error: unknown = await broker.publish("n", -1).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ERR_SCHEMA", facts: { issues: [{ message: "not positive", path: "" }] } });
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 1 });
  });

  it("is not for publishSync, which says so and publishes nothing, valid or not", async () => {
    const { broker } = manualBroker({ schemas: { n: schema } });
    for (const data of [1, -1]) {
      expect(thrownCode(() => broker.publishSync("n", data))).toBe("ERR_INVALID_OPTION");
    }
    await later(null);
    expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 2 });
  });

  it("decides a batch and a transaction as a whole", async () => {
    const { broker } = manualBroker({ schemas: { n: schema }, transactions: {} });
    const sub = broker.subscribe(">");
    const entries = [1, 2, -3].map((data) => ({ topic: "n", data }));
    expect(await rejectionCode(broker.publishBatch([{ topic: "free", data: "x" }, ...entries]))).toBe("ERR_SCHEMA");
    const refused = broker.transaction(async (tx) => {
      await tx.publish("free", "x");
      await tx.publish("n", -1);
    });
    expect(await rejectionCode(refused)).toBe("ERR_SCHEMA");
    expect(sub.stats().queued).toBe(0);
    await broker.transaction((tx) => Promise.all([tx.publish("n", 1), tx.publish("n", 2)]));
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual([1, 2]);
  });

  it("a broker that closes meanwhile publishes nothing", async () => {
    const { broker } = manualBroker({ schemas: { n: schema } });
    const code = rejectionCode(broker.publish("n", 1));
    await broker.close({ drain: false });
    expect(await code).toBe("ERR_BROKER_CLOSED");
  });
});

describe("which schema", () => {
  const named = (name: string): StandardSchema => schemaOf((value) => ({ value: `${name}: ${String(value)}` }));

  async function published(broker: InProcBroker, topic: string): Promise<unknown> {
    const sub = broker.subscribe(topic);
    await broker.publish(topic, 1);
    return (await takeOne(sub)).data;
  }

  it("the topic's own, else one of a pattern that matches, else none", async () => {
    const { broker } = manualBroker({
      schemas: { "a.b": named("exact"), "a.*": named("star"), "logs.>": named("rest") },
    });
    expect(await published(broker, "a.b")).toBe("exact: 1");
    expect(await published(broker, "a.c")).toBe("star: 1");
    expect(await published(broker, "logs.x.y.z")).toBe("rest: 1");
    expect(await published(broker, "a.b.c")).toBe(1);
    expect(await published(broker, "logs")).toBe(1);
  });

  it("a topic by the name of something that every object has, has none", async () => {
    const { broker } = manualBroker({ schemas: { "a.>": named("rest") } });
    for (const topic of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      expect(await published(broker, topic)).toBe(1);
    }
  });

  it("also for requests and for what comes later, and the answer goes unchecked", async () => {
    const { broker, clock } = manualBroker({ schemas: { ">": named("any") } });
    broker.respond("ask", (msg: Message) => msg.data);
    expect(await broker.request("ask", 1)).toBe("any: 1");
    const sub = broker.subscribe("later");
    await broker.publish("later", 1, { delay: 10 });
    await clock.advance(10);
    expect((await takeOne(sub)).data).toBe("any: 1");
  });
});

describe("a validator that is broken", () => {
  const boom = new Error("boom");
  const checks: readonly [what: string, check: () => unknown, cause: unknown][] = [
    ["throws", (): unknown => JSON.parse("{"), expect.any(SyntaxError)],
    ["rejects", () => Promise.reject(boom), boom],
    ["answers nothing", () => undefined, undefined],
    ["answers a text", () => "fine", undefined],
    ["answers nothing, later", () => Promise.resolve(), undefined],
  ];

  it.each(checks)(
    "%s: ERR_SCHEMA, with what it threw as the cause, and nothing is published",
    async (_what, check, cause) => {
      const { broker } = manualBroker({ schemas: { t: schemaOf(check) } });
      const error: unknown = await broker.publish("t", 1).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(SchemaError);
      expect([(error as SchemaError).facts.issues, (error as SchemaError).cause]).toEqual([[], cause]);
      expect(broker.metrics.snapshot()).toMatchObject({ published: 0, refused: 1 });
    },
  );

  it("one that makes undefined of the data is refused, since undefined is no data", async () => {
    const { broker } = manualBroker({ schemas: { t: schemaOf(() => ({ value: undefined })) } });
    expect(await rejectionCode(broker.publish("t", 1))).toBe("ERR_INVALID_MESSAGE");
  });
});

it("what is no schema, and what is no pattern, is refused when the broker is made", () => {
  for (const schemas of [{ t: {} }, { t: null }, { t: () => true }, { t: { "~standard": {} } }]) {
    expect(thrownCode(() => manualBroker({ schemas: schemas as never }))).toBe("ERR_INVALID_OPTION");
  }
  expect(thrownCode(() => manualBroker({ schemas: { "a..b": schemaOf(() => ({ value: 1 })) } }))).toBe(
    "ERR_INVALID_PATTERN",
  );
});
