import { describe, expect, it } from "vitest";
import type { BrokerErrorCode, BrokerOptions, PublishOptions, StandardSchema, Subscription } from "inproc-broker";
import type { InProcBroker } from "inproc-broker";
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

function open(more: BrokerOptions = {}) {
  const { broker, clock } = manualBroker({ transactions: {}, ack: roundAck, ...more });
  return { broker, clock, a: broker.subscribe("a"), b: broker.subscribe("b") };
}

const dataOf = async (sub: Subscription): Promise<unknown[]> => (await fetchNow(sub)).map(({ data }) => data);

/** A schema that takes numbers only, at once or later. */
function numbers(isAsync: boolean): StandardSchema {
  const check = (value: unknown) => (typeof value === "number" ? { value } : { issues: [{ message: "no number" }] });
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: isAsync ? (value: unknown) => Promise.resolve(check(value)) : check,
    },
  };
}

describe("a transaction", () => {
  it("shows nothing before its commit, and then everything, in order", async () => {
    const { broker, a, b } = open();
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    expect(await tx.publish("a", 1, { id: "mine" })).toMatchObject({
      id: "mine",
      seq: 0,
      matched: 0,
      duplicate: false,
    });
    await tx.publish("b", 2, { priority: "low" });
    await tx.publish("b", 3);
    await tx.publish("nobody", 4);
    await tx.ack(work);
    await settle();
    expect(await dataOf(a)).toEqual([]);
    expect(await dataOf(b)).toEqual([]);
    expect(balanced(broker)).toMatchObject({ published: 1, inFlight: 1, delivered: 0, transactions: { open: 1 } });

    await tx.commit();

    expect(await fetchNow(a)).toMatchObject([{ id: "mine", data: 1 }]);
    expect(await dataOf(b)).toEqual([3, 2]);
    expect(balanced(broker)).toMatchObject({
      published: 5,
      unrouted: 1,
      delivered: 1,
      transactions: { open: 0, committed: 1, rolledBack: 0, timedOut: 0 },
    });
  });

  it("is delivered in one step: whoever sees the first message finds the others there", async () => {
    const { broker } = open();
    const found: unknown[] = [];
    const second = broker.subscribe("two");
    broker.subscribe("one", async () => found.push(await dataOf(second)), { ack: "none" });
    const third = broker.subscribe("three", { ack: "manual" });
    broker.subscribe("one", () => found.push(third.stats().queued), { ack: "none" });
    await broker.transaction((tx) => {
      void tx.publish("one", 1);
      void tx.publish("two", 2);
      void tx.publish("three", 3);
    });
    await settle();
    expect(found.toSorted()).toEqual([1, [2]]);
  });

  it("takes effect when commit is called, before its promise resolves", () => {
    const { broker, a } = open();
    const tx = broker.beginTransaction();
    void tx.publish("a", 1);
    void tx.commit();
    expect(a.stats().queued).toBe(1);
  });

  it("by function: commits when it returns, with what it returned, and rolls back when it throws", async () => {
    const { broker, a } = open();
    const result = await broker.transaction(async (tx) => {
      await Promise.resolve();
      void tx.publish("a", 1);
      return "done";
    });
    expect(result).toBe("done");
    const boom = new Error("boom");
    await expect(
      broker.transaction(async (tx) => {
        void tx.publish("a", 2);
        await Promise.resolve();
        throw boom;
      }),
    ).rejects.toBe(boom);
    await expect(
      broker.transaction((tx) => {
        void tx.publish("a", 3);
        throw boom;
      }),
    ).rejects.toBe(boom);
    expect(await dataOf(a)).toEqual([1]);
    expect(broker.metrics.snapshot().transactions).toEqual({ open: 0, committed: 1, rolledBack: 2, timedOut: 0 });
  });

  it("by id, where the object cannot travel", async () => {
    const { broker, a } = open();
    const { id } = broker.beginTransaction({ id: "order-7" });
    expect(id).toBe("order-7");
    await broker.publish("a", 1, { transaction: id });
    expect(await dataOf(a)).toEqual([]);
    await broker.commitTransaction(id);
    expect(await dataOf(a)).toEqual([1]);

    const other = broker.beginTransaction();
    await broker.publish("a", 2, { transaction: other.id });
    await broker.rollbackTransaction(other.id);
    expect(await dataOf(a)).toEqual([]);
    expect(other.id).not.toBe(broker.beginTransaction().id);
  });

  it("rolls back at the end of `await using`, unless it is over", async () => {
    const { broker, a } = open();
    {
      await using tx = broker.beginTransaction();
      await tx.publish("a", 1);
    }
    {
      await using tx = broker.beginTransaction();
      await tx.publish("a", 2);
      await tx.commit();
    }
    expect(await dataOf(a)).toEqual([2]);
  });

  it("takes delayed, expiring, retained and prioritized messages", async () => {
    const { broker, clock, a } = open();
    await broker.transaction((tx) => {
      void tx.publish("a", "later", { delay: 100 });
      void tx.publish("a", "short", { ttl: 50 });
      void tx.publish("a", "kept", { retain: true });
    });
    expect(broker.retained("a").map(({ data }) => data)).toEqual(["kept"]);
    await clock.advance(50);
    expect(await dataOf(a)).toEqual(["kept"]);
    await clock.advance(50);
    expect(await dataOf(a)).toEqual(["later"]);
  });

  it("without operations may be committed", async () => {
    const { broker } = open();
    await broker.transaction(() => undefined);
    await broker.beginTransaction().commit();
    expect(broker.metrics.snapshot().transactions.committed).toBe(2);
  });

  it("needs the option", async () => {
    const { broker } = manualBroker();
    expect(thrownCode(() => broker.beginTransaction())).toBe("ERR_MODULE_DISABLED");
    expect(await rejectionCode(broker.transaction(() => 1))).toBe("ERR_MODULE_DISABLED");
    expect(await rejectionCode(broker.commitTransaction("x"))).toBe("ERR_MODULE_DISABLED");
    expect(await rejectionCode(broker.rollbackTransaction("x"))).toBe("ERR_MODULE_DISABLED");
    expect(await rejectionCode(broker.publish("a", 1, { transaction: "x" }))).toBe("ERR_MODULE_DISABLED");
  });
});

async function takeAfter(broker: InProcBroker, sub: Subscription) {
  await broker.publish(sub.patterns[0] as string, "work");
  return takeOne(sub);
}

describe("all or none", () => {
  /** What refuses a commit, and how it is brought about: the messages before and after it must not be seen either. */
  const refusals: {
    readonly name: string;
    readonly code: BrokerErrorCode;
    readonly options?: BrokerOptions;
    readonly data?: unknown;
    readonly publish?: PublishOptions;
    readonly prepare?: (broker: InProcBroker) => Promise<unknown>;
    readonly whileStaged?: (clock: ReturnType<typeof open>["clock"]) => Promise<unknown>;
  }[] = [
    { name: "a schema", code: "ERR_SCHEMA", options: { schemas: { bad: numbers(false) } }, data: "text" },
    { name: "an asynchronous schema", code: "ERR_SCHEMA", options: { schemas: { bad: numbers(true) } }, data: "text" },
    { name: "size", code: "ERR_MESSAGE_TOO_LARGE", options: { limits: { maxMessageBytes: 9 } }, data: "x".repeat(10) },
    { name: "memory", code: "ERR_MEMORY_LIMIT", options: { memory: { maxBytes: 100 } }, data: "x".repeat(95) },
    { name: "undefined data", code: "ERR_INVALID_MESSAGE", data: undefined },
    { name: "an unknown option", code: "ERR_INVALID_OPTION", publish: { priorty: 3 } as PublishOptions },
    { name: "expiry", code: "ERR_MESSAGE_EXPIRED", publish: { expiresAt: 5 } },
    {
      name: "expiry while it was open",
      code: "ERR_MESSAGE_EXPIRED",
      publish: { ttl: 10 },
      whileStaged: (clock) => clock.advance(10),
    },
    { name: "confirm", code: "ERR_INVALID_OPTION", publish: { confirm: 1 } },
    { name: "report", code: "ERR_INVALID_OPTION", publish: { report: true } },
    {
      name: "a full queue that says error",
      code: "ERR_QUEUE_FULL",
      prepare: async (broker) => {
        broker.subscribe("bad", { maxMessages: 1, overflow: "error" });
        await broker.publish("bad", 0);
      },
    },
    {
      name: "a queue that says error and has room for some",
      code: "ERR_QUEUE_FULL",
      prepare: async (broker) => broker.subscribe(">", { maxMessages: 2, overflow: "error", filter: () => true }),
    },
    {
      name: "maxDelayed",
      code: "ERR_LIMIT_EXCEEDED",
      options: { limits: { maxDelayed: 1 } },
      prepare: (broker) => broker.publish("x", 1, { delay: 1_000 }),
      publish: { delay: 1 },
    },
    {
      name: "an id that is taken among the delayed",
      code: "ERR_INVALID_MESSAGE",
      prepare: (broker) => broker.publish("x", 1, { delay: 1_000, id: "taken" }),
      publish: { delay: 1, id: "taken" },
    },
    {
      name: "maxRetained",
      code: "ERR_LIMIT_EXCEEDED",
      options: { limits: { maxRetained: 1 } },
      prepare: (broker) => broker.publish("x", 1, { retain: true }),
      publish: { retain: true },
    },
    {
      name: "maxWaitingPublishers",
      code: "ERR_QUEUE_FULL",
      options: { limits: { maxWaitingPublishers: 1 } },
      prepare: async (broker) => {
        broker.subscribe("bad", { maxMessages: 1, overflow: "wait" });
        await broker.publish("bad", 0);
        void broker.publish("bad", 0);
      },
    },
    { name: "a topic", code: "ERR_INVALID_TOPIC" },
    { name: "maxOperations", code: "ERR_LIMIT_EXCEEDED", options: { transactions: { maxOperations: 2 } } },
  ];

  for (const { name, code, options, publish, prepare, whileStaged, ...rest } of refusals) {
    for (const isAwaited of [true, false]) {
      it(`is refused by ${name}, with the publish ${isAwaited ? "" : "un"}awaited`, async () => {
        const { broker, clock, a, b } = open(options);
        await prepare?.(broker);
        const work = await takeAfter(broker, a);
        const before = balanced(broker);
        const tx = broker.beginTransaction();
        await tx.publish("a", 1, { dedupId: "first" });
        await tx.ack(work);
        const refused = tx.publish(name === "a topic" ? "no topic" : "bad", "data" in rest ? rest.data : 7, publish);
        if (isAwaited) await refused.catch(() => undefined);
        void tx.publish("b", 2);
        await whileStaged?.(clock);

        expect(await rejectionCode(tx.commit())).toBe(code);

        const after = balanced(broker);
        for (const counter of ["published", "queued", "inFlight", "delivered", "scheduled", "memoryBytes"] as const) {
          expect(after[counter], counter).toBe(before[counter]);
        }
        expect(after.transactions).toMatchObject({ open: 0, committed: 0, rolledBack: 1 });
        expect(await dataOf(b)).toEqual([]);
        expect(await rejectionCode(tx.commit())).toBe("ERR_TRANSACTION_SETTLED");
        await work.ack();
        expect(await broker.publish("elsewhere", 1, { dedupId: "first" })).toMatchObject({ duplicate: false });
      });
    }
  }

  it("is refused by a plugin's veto", async () => {
    const veto = new Error("not on my watch");
    const { broker, a } = open({
      plugins: [
        {
          name: "veto",
          onPublish: ({ topic }) => {
            if (topic === "bad") throw veto;
          },
        },
      ],
    });
    const tx = broker.beginTransaction();
    void tx.publish("a", 1);
    void tx.publish("bad", 1);
    await expect(tx.commit()).rejects.toBe(veto);
    expect(await dataOf(a)).toEqual([]);
  });

  it("rejects with the first refusal where there are several", async () => {
    const { broker } = open();
    const tx = broker.beginTransaction();
    void tx.publish("a", undefined);
    void tx.publish("no topic", 1);
    expect(await rejectionCode(tx.commit())).toBe("ERR_INVALID_MESSAGE");
  });

  it("a schema's own value is what is published, in the order of the calls", async () => {
    const doubled: StandardSchema = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value: unknown) => ({ value: (value as number) * 2 }),
      },
    };
    const { broker, a } = open({ schemas: { a: doubled } });
    await broker.transaction((tx) => {
      void tx.publish("a", 1);
      void tx.publish("a", 2);
    });
    expect(await dataOf(a)).toEqual([2, 4]);
  });
});

describe("what is staged", () => {
  it("counts as held memory until the transaction is over, so no number of open ones exceeds memory.maxBytes", async () => {
    const { broker } = open({ memory: { maxBytes: 100 }, schemas: { checked: numbers(true) } });
    const one = broker.beginTransaction();
    const two = broker.beginTransaction();
    await one.publish("a", "x".repeat(60));
    expect(broker.metrics.snapshot().memoryBytes).toBe(60);
    expect(await rejectionCode(two.publish("b", "x".repeat(41)))).toBe("ERR_MEMORY_LIMIT");
    expect(await rejectionCode(broker.publish("b", "x".repeat(41)))).toBe("ERR_MEMORY_LIMIT");
    await one.publish("checked", 1);
    expect(broker.metrics.snapshot().memoryBytes).toBe(68);
    await one.commit();
    expect(broker.metrics.snapshot().memoryBytes, "what nobody subscribed to is not held").toBe(60);
    expect(await rejectionCode(two.commit())).toBe("ERR_MEMORY_LIMIT");
    const three = broker.beginTransaction({ timeout: 50 });
    await three.publish("b", "x".repeat(40));
    await three.rollback();
    expect(broker.metrics.snapshot().memoryBytes).toBe(60);
    balanced(broker);
  });

  it("may fill memory to the last byte and be committed", async () => {
    const { broker, a } = open({ memory: { maxBytes: 100 } });
    await broker.transaction((tx) => {
      void tx.publish("a", "x".repeat(50));
      void tx.publish("a", "x".repeat(50));
    });
    expect(await dataOf(a)).toHaveLength(2);
  });

  it("is dropped by rollback: deliveries are their consumer's again", async () => {
    const { broker, a, b } = open();
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("b", 1);
    await tx.ack(work);
    expect(await rejectionCode(work.ack()), "nobody else may settle it meanwhile").toBe("ERR_ALREADY_SETTLED");
    expect(await rejectionCode(broker.beginTransaction().nack(work))).toBe("ERR_ALREADY_SETTLED");
    await work.extend(2_000);
    await tx.rollback();
    await work.ack();
    expect(await dataOf(b)).toEqual([]);
    expect(balanced(broker)).toMatchObject({ delivered: 1, inFlight: 0 });
  });

  it("settles in every way: ack, nack with its delay, reject with its reason", async () => {
    const { broker, clock, a } = open({ deadLetter: {} });
    for (const data of ["ack", "nack", "reject"]) await broker.publish("a", data);
    const [ack, nack, reject] = await fetchNow(a);
    const tx = broker.beginTransaction();
    await tx.ack(ack!);
    await tx.nack(nack!, { delay: 50, reason: "again" });
    await tx.reject(reject!, "never");
    expect(a.stats()).toMatchObject({ inFlight: 3, delivered: 0, delayed: 0 });
    await tx.commit();
    expect(a.stats()).toMatchObject({ inFlight: 0, delivered: 1, delayed: 1, deadLettered: 1 });
    expect((await broker.deadLetters.list()).items).toMatchObject([{ error: "never", reason: "rejected" }]);
    await clock.advance(50);
    expect(await takeOne(a)).toMatchObject({ data: "nack", deliveryCount: 2 });
  });

  it("of a delivery that its consumer loses makes the commit fail, and nothing is published", async () => {
    const { broker, clock, a, b } = open();
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("b", 1);
    await tx.ack(work);
    await clock.advance(1_000);
    expect(await rejectionCode(tx.commit())).toBe("ERR_DELIVERY_EXPIRED");
    expect(await dataOf(b)).toEqual([]);
    await clock.advance(100);
    expect(await takeOne(a)).toMatchObject({ data: "work", deliveryCount: 2 });
    balanced(broker);
  });

  it("of a delivery whose subscription ends is lost with it", async () => {
    const { broker, a, b } = open();
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("b", 1);
    await tx.ack(work);
    await a.unsubscribe();
    expect(await rejectionCode(tx.commit())).toBe("ERR_DELIVERY_EXPIRED");
    expect(await dataOf(b)).toEqual([]);
    balanced(broker);
  });

  it("may not be a delivery that is settled, twice the same, or none at all", async () => {
    const { broker, a } = open();
    const settled = await takeAfter(broker, a);
    await settled.ack();
    const tx = broker.beginTransaction();
    expect(await rejectionCode(tx.ack(settled))).toBe("ERR_ALREADY_SETTLED");
    expect(await rejectionCode(tx.commit()), "spoilt").toBe("ERR_ALREADY_SETTLED");

    const work = await takeAfter(broker, a);
    const twice = broker.beginTransaction();
    await twice.ack(work);
    expect(await rejectionCode(twice.ack(work))).toBe("ERR_ALREADY_SETTLED");
    await twice.rollback();
    await work.ack();

    const none = broker.subscribe("c", { ack: "none" });
    await broker.publish("c", 1);
    const plain = await takeOne(none);
    expect(await rejectionCode(broker.beginTransaction().ack(plain))).toBe("ERR_ALREADY_SETTLED");
    for (const nonsense of [undefined, null, 7, "id"]) {
      expect(await rejectionCode(broker.beginTransaction().ack(nonsense as never))).toBe("ERR_INVALID_OPTION");
    }
  });

  it("is let go when maxOperations refuses it", async () => {
    const { broker, a } = open({ transactions: { maxOperations: 1 } });
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("a", 1);
    expect(await rejectionCode(tx.ack(work))).toBe("ERR_LIMIT_EXCEEDED");
    await work.ack();
  });
});

describe("the end of a transaction", () => {
  it("comes by itself after its timeout: rolled back, counted, and told to whoever uses it afterwards", async () => {
    const { broker, clock, a } = open({ transactions: { timeout: 500 } });
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("a", 1);
    await tx.ack(work);
    await clock.advance(499);
    await tx.publish("a", 2);
    await clock.advance(1);
    expect(broker.metrics.snapshot()).toMatchObject({ transactions: { open: 0, timedOut: 1, rolledBack: 0 } });
    for (const use of [
      () => tx.commit(),
      () => tx.rollback(),
      () => tx.publish("a", 3),
      () => tx.ack(work),
      () => broker.publish("a", 3, { transaction: tx.id }),
      () => broker.commitTransaction(tx.id),
    ]) {
      expect(await rejectionCode(use())).toBe("ERR_TRANSACTION_TIMEOUT");
    }
    await tx[Symbol.asyncDispose]();
    await work.ack();
    expect(await dataOf(a)).toEqual([]);
    expect(broker.metrics.snapshot().memoryBytes).toBe(0);
  });

  it("has a timeout of its own where one is given, and default 30 s", async () => {
    const { broker, clock } = open();
    const short = broker.beginTransaction({ timeout: 10 });
    const usual = broker.beginTransaction();
    const endless = broker.beginTransaction({ timeout: Infinity });
    await clock.advance(10);
    expect(await rejectionCode(short.commit())).toBe("ERR_TRANSACTION_TIMEOUT");
    await clock.advance(29_989);
    await usual.publish("a", 1);
    await clock.advance(1);
    expect(await rejectionCode(usual.commit())).toBe("ERR_TRANSACTION_TIMEOUT");
    await clock.advance(1e9);
    await endless.commit();
  });

  it("of a function that works longer than that is a rejection, also though the function returns", async () => {
    const { broker, clock, a } = open();
    let finish = (): void => undefined;
    const result = rejectionCode(
      broker.transaction(
        async (tx) => {
          void tx.publish("a", 1);
          await new Promise<void>((resolve) => (finish = resolve));
        },
        { timeout: 100 },
      ),
    );
    await clock.advance(100);
    finish();
    expect(await result).toBe("ERR_TRANSACTION_TIMEOUT");
    expect(await dataOf(a)).toEqual([]);
  });

  it("is once: a repeat is typed", async () => {
    const { broker, a } = open();
    const committed = broker.beginTransaction();
    void committed.publish("a", 1);
    const first = committed.commit();
    const second = rejectionCode(committed.commit());
    await first;
    expect(await second).toBe("ERR_TRANSACTION_SETTLED");
    const undone = broker.beginTransaction();
    await undone.rollback();
    for (const tx of [committed, undone]) {
      expect(await rejectionCode(tx.commit())).toBe("ERR_TRANSACTION_SETTLED");
      expect(await rejectionCode(tx.rollback())).toBe("ERR_TRANSACTION_SETTLED");
      expect(await rejectionCode(tx.publish("a", 2))).toBe("ERR_TRANSACTION_SETTLED");
      expect(await rejectionCode(broker.publish("a", 2, { transaction: tx.id }))).toBe("ERR_TRANSACTION_SETTLED");
      expect(thrownCode(() => broker.beginTransaction({ id: tx.id }))).toBe("ERR_TRANSACTION_EXISTS");
    }
    expect(await dataOf(a)).toEqual([1]);
  });

  it("unknown ids are typed, and open nothing", async () => {
    const { broker } = open();
    for (const use of [
      () => broker.publish("a", 1, { transaction: "nobody" }),
      () => broker.commitTransaction("nobody"),
      () => broker.rollbackTransaction("nobody"),
    ]) {
      expect(await rejectionCode(use())).toBe("ERR_TRANSACTION_NOT_FOUND");
    }
    expect(broker.metrics.snapshot().transactions.open).toBe(0);
    broker.beginTransaction({ id: "nobody" });
  });

  it("frees its place under maxOpen", async () => {
    const { broker, clock } = open({ transactions: { maxOpen: 2, timeout: 100 } });
    const one = broker.beginTransaction();
    broker.beginTransaction();
    expect(thrownCode(() => broker.beginTransaction())).toBe("ERR_LIMIT_EXCEEDED");
    await one.rollback();
    const three = broker.beginTransaction();
    expect(thrownCode(() => broker.beginTransaction())).toBe("ERR_LIMIT_EXCEEDED");
    await three.commit();
    await clock.advance(100);
    broker.beginTransaction();
    broker.beginTransaction();
  });

  it("takes ids that are texts, whatever they say, and one of a kind at a time", () => {
    const { broker } = open();
    for (const id of ["__proto__", "constructor", "x"]) {
      expect(broker.beginTransaction({ id }).id).toBe(id);
      expect(thrownCode(() => broker.beginTransaction({ id }))).toBe("ERR_TRANSACTION_EXISTS");
    }
    for (const options of [{ id: "" }, { id: 7 as unknown as string }, { timeout: 0 }, { timeout: NaN }]) {
      expect(thrownCode(() => broker.beginTransaction(options))).toBe("ERR_INVALID_OPTION");
    }
  });
});

describe("a commit that waits for room", () => {
  it("is visible at once, and resolves once every queue is within its bounds", async () => {
    const { broker } = open();
    const sub = broker.subscribe("full", { ack: "none", maxMessages: 1 });
    const tx = broker.beginTransaction();
    void tx.publish("full", 1);
    void tx.publish("full", 2);
    let isDone = false;
    const commit = tx.commit().then(() => (isDone = true));
    await settle();
    expect(sub.stats()).toMatchObject({ queued: 1, waiting: 1 });
    expect(isDone).toBe(false);
    expect(await dataOf(sub)).toEqual([1, 2]);
    await commit;
  });

  it("and is aborted there has happened all the same: it counts as committed", async () => {
    const { broker } = open();
    const sub = broker.subscribe("full", { ack: "none", maxMessages: 1 });
    await broker.publish("full", 0);
    const controller = new AbortController();
    const tx = broker.beginTransaction();
    void tx.publish("a", 1);
    void tx.publish("full", 2, { signal: controller.signal });
    const commit = tx.commit();
    await settle();
    controller.abort(new Error("enough"));
    await expect(commit).rejects.toThrow("enough");
    expect(broker.metrics.snapshot().transactions).toMatchObject({ committed: 1, rolledBack: 0 });
    expect(await rejectionCode(tx.rollback())).toBe("ERR_TRANSACTION_SETTLED");
    expect(await dataOf(sub)).toEqual([0]);
    expect(balanced(broker).dropped).toEqual({ aborted: 1 });
  });
});

describe("close", () => {
  it("rolls open transactions back, and refuses what comes afterwards", async () => {
    const { broker, clock, a } = open();
    const work = await takeAfter(broker, a);
    const tx = broker.beginTransaction();
    await tx.publish("b", 1);
    await tx.ack(work);
    const { unacked, undelivered } = await broker.close({ drain: false });
    expect(unacked.map(({ data }) => data)).toEqual(["work"]);
    expect(undelivered).toEqual([]);
    expect(broker.metrics.snapshot()).toMatchObject({ transactions: { open: 0, rolledBack: 1 }, memoryBytes: 0 });
    expect(clock.pending).toBe(0);
    expect(await rejectionCode(tx.commit())).toBe("ERR_BROKER_CLOSED");
    expect(thrownCode(() => broker.beginTransaction())).toBe("ERR_BROKER_CLOSED");
    expect(await rejectionCode(broker.transaction(() => 1))).toBe("ERR_BROKER_CLOSED");
  });

  it("while a commit waits for its schema: the commit is rejected, and nothing is published into a closed broker", async () => {
    let pass = (): void => undefined;
    const gate = new Promise<void>((resolve) => (pass = resolve));
    const slow: StandardSchema = {
      "~standard": { version: 1, vendor: "test", validate: (value: unknown) => gate.then(() => ({ value })) },
    };
    const { broker, clock } = open({ schemas: { slow } });
    const tx = broker.beginTransaction();
    void tx.publish("slow", 1, { delay: 1_000 });
    const commit = rejectionCode(tx.commit());
    let isIdle = false;
    const idle = broker.idle().then(() => (isIdle = true));
    await settle();
    expect(isIdle, "a commit that is not decided is something to wait for").toBe(false);
    await broker.close({ drain: false });
    pass();
    expect(await commit).toBe("ERR_BROKER_CLOSED");
    expect(await rejectionCode(idle)).toBe("ERR_BROKER_CLOSED");
    expect(clock.pending).toBe(0);
    expect(balanced(broker)).toMatchObject({ scheduled: 0, published: 0, memoryBytes: 0 });
  });
});
