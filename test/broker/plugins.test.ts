// The hooks of a plugin: what each sees, what it may change, and that a broken one hurts nobody else.
import { describe, expect, it } from "vitest";
import type { Message, Plugin, PublishDraft } from "inproc-broker";
import {
  balanced,
  fetchNow,
  manualBroker,
  rejectionCode,
  roundAck,
  takeOne,
  thrownCode,
} from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

const boom = new Error("boom");
const fail = (): never => {
  throw boom;
};

/** A plugin that writes down every call of its hooks. */
function spy(calls: unknown[][]): Plugin {
  return {
    name: "spy",
    onPublish: (draft) => void calls.push(["publish", draft.topic, draft.data]),
    onPublished: (msg, matched) => void calls.push(["published", msg.data, matched]),
    onScheduled: (msg, deliverAt) => void calls.push(["scheduled", msg.data, deliverAt]),
    onDeliver: (msg, subscription) => void calls.push(["deliver", msg.data, subscription, msg.subscription]),
    around: (msg, subscription, run) => {
      calls.push(["before", msg.data, subscription, msg.subscription]);
      const result = run();
      calls.push(["after", msg.data]);
      return result;
    },
    onSettle: (msg, decision, subscription) => void calls.push(["settle", msg.data, decision, subscription]),
    onDrop: (msg, reason, subscription) => void calls.push(["drop", msg.data, reason, subscription, msg.subscription]),
    close: () => void calls.push(["close"]),
  };
}

describe("the hooks", () => {
  it("see a message on its whole way, in order", async () => {
    const calls: unknown[][] = [];
    const { broker } = manualBroker({ ack: roundAck, plugins: [spy(calls)] });
    broker.subscribe("t", () => undefined, { name: "s" });
    await broker.publish("t", 1);
    await broker.idle();
    await broker.close();
    expect(calls).toEqual([
      ["publish", "t", 1],
      ["published", 1, 1],
      ["deliver", 1, "s", "s"],
      ["before", 1, "s", "s"],
      ["after", 1],
      ["settle", 1, "ack", "s"],
      ["close"],
    ]);
  });

  it("see every decision, and a delivery for each attempt", async () => {
    const calls: unknown[][] = [];
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {}, plugins: [spy(calls)] });
    const sub = broker.subscribe("t", { name: "s" });
    broker.publishSync("t", 1);
    await (await takeOne(sub)).nack({ delay: 0 });
    await takeOne(sub);
    await clock.advance(1_100);
    await (await takeOne(sub)).reject();
    const told = calls
      .filter(([hook]) => hook === "deliver" || hook === "settle")
      .map(([hook, , what]) => [hook, what]);
    expect(told).toEqual([
      ["deliver", "s"],
      ["settle", "nack"],
      ["deliver", "s"],
      ["settle", "timeout"],
      ["deliver", "s"],
      ["settle", "reject"],
    ]);
    expect(calls).toContainEqual(["publish", "dlq", 1]);
  });

  it("see whose a message is where nothing is acknowledged, for each subscription that shares it", async () => {
    const calls: unknown[][] = [];
    const { broker } = manualBroker({ plugins: [spy(calls)] });
    const [one, two] = [broker.subscribe("t", { name: "one" }), broker.subscribe("t", { name: "two" })];
    broker.publishSync("t", 1);
    const [first, second] = [await takeOne(one), await takeOne(two)];
    expect(calls.slice(2)).toEqual([
      ["deliver", 1, "one", "one"],
      ["deliver", 1, "two", "two"],
    ]);
    expect([first.subscription, second.subscription]).toEqual(["one", "two"]);
    await expect(first.ack()).rejects.toThrow('ack: "none"');
  });

  it("see what is scheduled, when it will be, and that it has been published when its time has come", async () => {
    const calls: unknown[][] = [];
    const { broker, clock } = manualBroker({ plugins: [spy(calls)] });
    const start = clock.now();
    await broker.publish("t", 1, { delay: 50 });
    await broker.publish("t", 2, { deliverAt: start + 70 });
    await clock.advance(70);
    expect(calls.filter(([hook]) => hook !== "publish")).toEqual([
      ["scheduled", 1, start + 50],
      ["scheduled", 2, start + 70],
      ["published", 1, 0],
      ["published", 2, 0],
    ]);
  });

  it("see drops and expiry, with the name of who does not get it", async () => {
    const calls: unknown[][] = [];
    const { broker, clock } = manualBroker({ plugins: [spy(calls)] });
    const sub = broker.subscribe("t", { name: "s", maxMessages: 2, overflow: "drop-oldest" });
    broker.publishSync("t", 1);
    broker.publishSync("t", 2, { ttl: 10 });
    broker.publishSync("t", 3);
    await clock.advance(10);
    await sub.unsubscribe();
    expect(calls.filter(([hook]) => hook === "drop")).toEqual([
      ["drop", 1, "overflow", "s", "s"],
      ["drop", 2, "expired", "s", "s"],
      ["drop", 3, "unsubscribed", "s", "s"],
    ]);
  });

  it("are called as methods, so a plugin may be an instance of a class", async () => {
    class Counter implements Plugin {
      readonly name = "counter";
      published = 0;
      onPublish(draft: PublishDraft): void {
        this.published += 1;
        draft.headers["number"] = String(this.published);
      }
    }
    const counter = new Counter();
    const { broker } = manualBroker({ plugins: [counter] });
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    expect([(await takeOne(sub)).headers["number"], counter.published]).toEqual(["1", 1]);
  });

  it("cost nothing where there are none: one object serves every subscription", async () => {
    const quiet: Plugin[][] = [[], [{ name: "close only", close: () => undefined }]];
    for (const plugins of quiet) {
      const { broker } = manualBroker({ plugins });
      const subs = [broker.subscribe("t"), broker.subscribe("t")];
      broker.publishSync("t", 1);
      const [one, two] = await Promise.all(subs.map(takeOne));
      expect(one).toBe(two);
    }
  });
});

describe("onPublish", () => {
  const rewrite: Plugin = {
    name: "rewrite",
    onPublish: (draft) => {
      if (!draft.topic.startsWith("old.")) return;
      draft.topic = draft.topic.replace("old.", "new.");
      draft.data = { wrapped: draft.data };
      draft.headers["by"] = "rewrite";
      draft.key = "k";
      draft.priority = 9;
    },
  };

  it("changes topic, data, headers, key and priority, whatever way the message comes in", async () => {
    const { broker } = manualBroker({ plugins: [rewrite], transactions: {} });
    const [old, fresh] = [broker.subscribe("old.>"), broker.subscribe("new.>")];
    const headers = { own: "1" };
    await broker.publish("old.a", 1, { headers, priority: 0 });
    broker.publishSync("old.a", 2);
    await broker.publishBatch([{ topic: "old.a", data: 3 }]);
    await broker.transaction((tx) => tx.publish("old.a", 4));
    await broker.publish("old.a", 5, { delay: 0 });
    expect(old.stats().queued).toBe(0);
    const got = await fetchNow(fresh);
    expect(got.map((msg) => [msg.topic, msg.data, msg.headers["by"], msg.key, msg.priority])).toEqual(
      [1, 2, 3, 4, 5].map((data) => ["new.a", { wrapped: data }, "rewrite", "k", 9]),
    );
    expect([got[0]?.headers["own"], headers]).toEqual(["1", { own: "1" }]);
    expect(Object.isFrozen(got[0]?.headers)).toBe(true);
  });

  it("changes a request, which finds the responder of the new topic", async () => {
    const { broker } = manualBroker({ plugins: [rewrite] });
    broker.respond("new.sum", (msg: Message<unknown>) => msg.data);
    expect(await broker.request("old.sum", 1)).toEqual({ wrapped: 1 });
  });

  it("several: each gets what the one before has made of it", async () => {
    const add = (name: string): Plugin => ({
      name,
      onPublish: (draft) => {
        draft.data = `${String(draft.data)}${name}`;
      },
    });
    const { broker } = manualBroker({ plugins: [add("a"), add("b"), add("c")] });
    const sub = broker.subscribe("t");
    await broker.publish("t", "-");
    expect((await takeOne(sub)).data).toBe("-abc");
  });

  it("what it makes is checked: topic, data, headers, key, priority, size and schema", async () => {
    let change: (draft: PublishDraft) => void = () => undefined;
    const { broker } = manualBroker({
      limits: { maxMessageBytes: 100 },
      plugins: [{ name: "p", onPublish: (draft) => change(draft) }],
    });
    const sub = broker.subscribe(">");
    const wrong: readonly [code: string, change: (draft: PublishDraft) => void][] = [
      ["ERR_INVALID_TOPIC", (draft) => (draft.topic = "a..b")],
      ["ERR_INVALID_TOPIC", (draft) => (draft.topic = 5 as never)],
      ["ERR_INVALID_MESSAGE", (draft) => (draft.data = undefined)],
      ["ERR_INVALID_MESSAGE", (draft) => (draft.headers["x"] = 5 as never)],
      ["ERR_INVALID_MESSAGE", (draft) => (draft.headers = 5 as never)],
      ["ERR_INVALID_OPTION", (draft) => (draft.key = 5 as never)],
      ["ERR_INVALID_OPTION", (draft) => (draft.priority = 10)],
      ["ERR_MESSAGE_TOO_LARGE", (draft) => (draft.data = "x".repeat(200))],
    ];
    for (const [code, one] of wrong) {
      change = one;
      expect(await rejectionCode(broker.publish("t", 1))).toBe(code);
      expect(thrownCode(() => broker.publishSync("t", 1))).toBe(code);
    }
    expect([sub.stats().queued, broker.metrics.snapshot().refused]).toEqual([0, 2 * wrong.length]);
  });

  it("a throw vetoes: that very error, no later plugin is asked, and nothing has changed, on every way in", async () => {
    const later: unknown[][] = [];
    const veto: Plugin = { name: "veto", onPublish: (draft) => (draft.data === "no" ? fail() : undefined) };
    const { broker } = manualBroker({ plugins: [veto, spy(later)], transactions: {} });
    const sub = broker.subscribe(">");
    broker.respond("ask", () => 1);
    await expect(broker.publish("t", "no")).rejects.toBe(boom);
    expect(() => broker.publishSync("t", "no")).toThrow(boom);
    const entries = ["yes", "no"].map((data) => ({ topic: "t", data }));
    await expect(broker.publishBatch(entries)).rejects.toBe(boom);
    await expect(broker.transaction((tx) => tx.publish("t", "no"))).rejects.toBe(boom);
    await expect(broker.request("ask", "no")).rejects.toBe(boom);
    expect(later).toEqual([["publish", "t", "yes"]]);
    expect(sub.stats().queued).toBe(0);
    expect(balanced(broker)).toMatchObject({ published: 0, memoryBytes: 0, refused: 3 });
  });

  it("vetoes an answer: the requester is told why", async () => {
    const { broker } = manualBroker({
      plugins: [{ name: "veto", onPublish: (draft) => (draft.data === "secret" ? fail() : undefined) }],
    });
    broker.respond("ask", () => "secret");
    await expect(broker.request("ask", 1)).rejects.toMatchObject({ code: "ERR_REMOTE", cause: boom });
  });
});

describe("onPublished", () => {
  it("is told once a batch or a transaction is there as a whole, and what it publishes comes after that", async () => {
    const seen: unknown[][] = [];
    const audit: Plugin = {
      name: "audit",
      onPublished: (msg) => {
        seen.push([msg.data, sub.stats().queued]);
        if (msg.topic === "t") broker.publishSync("audit", `saw ${String(msg.data)}`);
      },
    };
    const { broker } = manualBroker({ plugins: [audit], transactions: {} });
    const sub = broker.subscribe(">");
    await broker.publishBatch([1, 2].map((data) => ({ topic: "t", data })));
    expect(seen.slice(0, 2)).toEqual([
      [1, 2],
      ["saw 1", 3],
    ]);
    await broker.transaction((tx) => Promise.all([tx.publish("t", 3), tx.publish("t", 4)]));
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual([1, 2, "saw 1", "saw 2", 3, 4, "saw 3", "saw 4"]);
  });
});

describe("a hook that publishes from where it is called", () => {
  it("never takes memory that a batch on its way has been promised", async () => {
    const bytes: number[] = [];
    const refusals: unknown[] = [];
    const { broker } = manualBroker({
      memory: { maxBytes: 100 },
      plugins: [
        {
          name: "audit",
          onDrop: (_msg, reason) => {
            if (reason !== "overflow") return;
            try {
              broker.publishSync("audit", "x".repeat(30));
            } catch (error) {
              refusals.push((error as { code?: string }).code);
            }
            bytes.push(broker.metrics.snapshot().memoryBytes);
          },
        },
      ],
    });
    broker.subscribe("drops", { maxMessages: 1, overflow: "drop-newest" });
    broker.subscribe(">");
    broker.publishSync("drops", "1");
    await broker.publishBatch(["a", "b", "c"].map((one) => ({ topic: "drops", data: one.repeat(30) })));
    bytes.push(broker.metrics.snapshot().memoryBytes);
    expect(Math.max(...bytes)).toBeLessThanOrEqual(100);
    expect(refusals).toEqual(["ERR_MEMORY_LIMIT", "ERR_MEMORY_LIMIT", "ERR_MEMORY_LIMIT"]);
    balanced(broker);
  });
});

describe("around", () => {
  it("several: the first is outermost, and the handler sees what they set up", async () => {
    const order: string[] = [];
    const wrap = (name: string): Plugin => ({
      name,
      around: (_msg, _subscription, run) => {
        order.push(`${name} begins`);
        try {
          return run();
        } finally {
          order.push(`${name} ends`);
        }
      },
    });
    const { broker } = manualBroker({ plugins: [wrap("a"), { name: "no around" }, wrap("b")] });
    broker.subscribe("t", () => void order.push("handler"));
    await broker.publish("t", 1);
    await broker.idle();
    expect(order).toEqual(["a begins", "b begins", "handler", "b ends", "a ends"]);
  });

  it("what it returns counts: a promise is waited for, a rejection is a failed handler", async () => {
    const { broker } = manualBroker({
      ack: roundAck,
      plugins: [
        {
          name: "p",
          around: async (msg, _subscription, run) => {
            await run();
            if (msg.data === "late") throw boom;
          },
        },
      ],
    });
    const errors: unknown[] = [];
    broker.on("error", (error, { during }) => void errors.push([error, during]));
    const sub = broker.subscribe("t", () => undefined);
    for (const data of ["late", "fine"]) await broker.publish("t", data);
    await settle();
    expect([sub.stats().delivered, sub.stats().delayed, errors]).toEqual([1, 1, [[boom, "handler"]]]);
  });

  it("one that throws before the handler runs gives the message back", async () => {
    const { broker } = manualBroker({ ack: roundAck, plugins: [{ name: "p", around: fail }] });
    broker.on("error", () => undefined);
    let ran = 0;
    const sub = broker.subscribe("t", () => void (ran += 1));
    await broker.publish("t", 1);
    await settle();
    expect([ran, sub.stats().delayed]).toEqual([0, 1]);
    balanced(broker);
  });
});

describe("a hook that fails", () => {
  const hooks = ["onPublished", "onScheduled", "onDeliver", "onSettle", "onDrop"] as const;
  it.each(
    hooks.flatMap((hook) => [[hook, "throws", fail] as const, [hook, "rejects", () => Promise.reject(boom)] as const]),
  )("%s that %s: an error event, and message, neighbours and counters are as without it", async (hook, _how, call) => {
    const calls: unknown[][] = [];
    const errors: unknown[][] = [];
    const { broker, clock } = manualBroker({
      ack: roundAck,
      plugins: [{ name: "broken", [hook]: call }, spy(calls)],
    });
    broker.on("error", (error, { during }) => void errors.push([error, during]));
    const got: unknown[] = [];
    broker.subscribe("t", (msg) => void got.push(msg.data), { name: "s" });
    broker.subscribe("drops", { maxMessages: 1, overflow: "drop-newest" });
    await broker.publish("t", 1);
    await broker.publish("t", 2, { delay: 10 });
    for (const data of [3, 4]) await broker.publish("drops", data);
    await clock.advance(10);
    await settle();
    expect(got).toEqual([1, 2]);
    expect(errors.length).toBeGreaterThan(0);
    expect(errors.every(([error, during]) => error === boom && during === "plugin")).toBe(true);
    const name = {
      onPublished: "published",
      onScheduled: "scheduled",
      onDeliver: "deliver",
      onSettle: "settle",
      onDrop: "drop",
    }[hook];
    expect(calls.some(([told]) => told === name)).toBe(true);
    balanced(broker);
  });

  it("of another type than a function is refused when the broker is made", () => {
    for (const hook of ["onPublish", "around", "close", ...hooks]) {
      expect(thrownCode(() => manualBroker({ plugins: [{ name: "p", [hook]: "x" }] }))).toBe("ERR_INVALID_OPTION");
    }
  });
});

describe("close", () => {
  it("is waited for within the time of close, and one that is not done by then is named", async () => {
    const { broker, clock } = manualBroker({
      plugins: [
        { name: "hangs", close: () => new Promise<void>(() => undefined) },
        { name: "fine", close: () => undefined },
      ],
    });
    let isClosed = false;
    broker.on("closed", () => (isClosed = true));
    const closing = broker.close({ timeout: 300 }).catch((error: unknown) => error);
    await clock.advance(299);
    expect(isClosed).toBe(false);
    await clock.advance(1);
    const error = await closing;
    expect(error).toBeInstanceOf(AggregateError);
    expect((error as AggregateError).errors).toMatchObject([{ code: "ERR_TIMEOUT", facts: { plugin: "hangs" } }]);
    expect([isClosed, broker.state, clock.pending]).toEqual([true, "closed", 0]);
  });

  it("every plugin is closed, whichever of them throws or rejects, and close tells all of it", async () => {
    const closed: string[] = [];
    const { broker, clock } = manualBroker({
      plugins: [
        { name: "a", close: fail },
        { name: "b", close: () => Promise.reject(boom) },
        { name: "c", close: () => void closed.push("c") },
      ],
    });
    const error: unknown = await broker.close().catch((thrown: unknown) => thrown);
    expect([(error as AggregateError).errors, closed, clock.pending]).toEqual([[boom, boom], ["c"], 0]);
  });
});
