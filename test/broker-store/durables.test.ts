// Durable subscriptions: a position that survives, a backlog in the store, settles that are kept.
import { describe, expect, it } from "vitest";
import type { Message, Subscription } from "inproc-broker";
import { fixedBackoff } from "inproc-broker";
import { balanced, fetchNow, rejectionCode, takeOne, thrownCode } from "../support/manual-broker.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { ManualClock } from "../support/manual-clock.js";
import {
  collect,
  crash,
  dataOf,
  historyOf,
  makeBroker,
  memoryMachine,
  openBroker,
  range,
  temporaryFolder,
  until,
} from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

/** What a durable has still to settle, as a new broker finds it. */
async function leftAfterCrash(path: string, options: object = manual, pattern = ">"): Promise<Message[]> {
  const broker = await openBroker(crash(path));
  return fetchNow(broker.subscribe(pattern, options) as Subscription);
}

describe("a durable", () => {
  it("collects while nobody is connected, and hands on in order", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a.*", manual).unsubscribe();
    expect((await broker.publish("a.x", 0)).matched).toBe(1);
    for (const data of range(1, 9)) await broker.publish(`a.${data % 2}`, data);
    await broker.publish("b", "not mine");
    const sub = broker.subscribe("a.*", manual);
    expect(dataOf(await fetchNow(sub))).toEqual(range(0, 9));
    expect(broker.subscriptions()).toMatchObject([{ name: "d", durable: "d", backlog: 10, consumers: 1 }]);
    balanced(broker);
  });

  it("goes on with who connects while the last one drains", async () => {
    const broker = await openBroker(temporaryFolder());
    const got: unknown[] = [];
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const first = broker.subscribe("a", ({ data }) => (got.push(`first ${data}`), gate), { durable: "d" });
    await broker.publish("a", 1);
    const drained = first.drain();
    await broker.publish("a", 2);
    broker.subscribe("a", ({ data }) => void got.push(`second ${data}`), { durable: "d" });
    await broker.publish("a", 3);
    release();
    await drained;
    await broker.publish("a", 4);
    await broker.idle();
    expect(got).toEqual(["first 1", "second 2", "second 3", "second 4"]);
    balanced(broker);
  });

  it("tells of each message whose acknowledgement the store has refused, also where they were one group", async () => {
    const fileSystem = new FaultyFileSystem();
    const broker = await openBroker("/store", { store: { machine: memoryMachine(fileSystem) } });
    const told: unknown[] = [];
    broker.on("error", (error, { during, message }) => {
      if (during === "handler") told.push([(error as { code?: unknown }).code, message?.data]);
    });
    const seen: unknown[] = [];
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    broker.subscribe(
      "a",
      async ({ data }: Message) => {
        await gate;
        seen.push(data);
      },
      { durable: "d", concurrency: 3 },
    );
    for (const data of range(1, 3)) await broker.publish("a", data);
    await broker.flush();
    fileSystem.failAt = fileSystem.ioCount;
    fileSystem.staysBroken = true;
    release();
    await until(() => told.length === 3);
    expect(seen).toEqual([1, 2, 3]);
    expect(told).toEqual(range(1, 3).map((data) => ["ERR_STORE_FAILED", data]));
  });

  it("goes on where it stopped after a crash: what was settled never comes again, the rest once and in order", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const sub = broker.subscribe("a", manual);
    for (const data of range(1, 10)) await broker.publish("a", data);
    const messages = await fetchNow(sub);
    for (const message of messages) if ((message.data as number) % 2 === 0) await message.ack();
    const left = await leftAfterCrash(path, manual, "a");
    expect(dataOf(left)).toEqual([1, 3, 5, 7, 9]);
    expect(left.map(({ redelivered, deliveryCount }) => [redelivered, deliveryCount])).toEqual(
      left.map(() => [true, 2]),
    );
  });

  it("marks as redelivered only what was handed out", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const sub = broker.subscribe("a", { ...manual, maxInFlight: 2 });
    for (const data of range(1, 4)) await broker.publish("a", data);
    await fetchNow(sub);
    // It is noted at the end of the turn: what is settled within it need not be.
    await new Promise((resolve) => setImmediate(resolve));
    await broker.flush();
    const left = await leftAfterCrash(path, manual, "a");
    expect(left.map(({ data, redelivered }) => [data, redelivered])).toEqual([
      [1, true],
      [2, true],
      [3, false],
      [4, false],
    ]);
  });

  it("keeps delivery counts and backoff deadlines through a crash", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    const sub = broker.subscribe("a", { ...manual, backoff: fixedBackoff(5_000) });
    await broker.publish("a", 1);
    await (await takeOne(sub)).nack({ delay: 1_000 });
    await clock.advance(1_000);
    await (await takeOne(sub)).nack();
    await broker.flush();
    const copy = crash(path);
    const again = await openBroker(copy, { clock });
    const resumed = again.subscribe("a", manual);
    expect(await fetchNow(resumed)).toEqual([]);
    expect(resumed.stats().delayed).toBe(1);
    await clock.advance(4_999);
    expect(await fetchNow(resumed)).toEqual([]);
    await clock.advance(1);
    expect(await takeOne(resumed)).toMatchObject({ deliveryCount: 3, redelivered: true });
  });

  it("gives up after maxDeliveries, counted over crashes, in one record with the dead letter", async () => {
    let path = temporaryFolder();
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      const broker = await openBroker(path, { deadLetter: {} });
      const sub = broker.subscribe("a", { ...manual, maxDeliveries: 3 });
      if (attempt === 1) await broker.publish("a", "poison");
      expect((await sub.fetch(1))[0]?.deliveryCount).toBe(attempt);
      await new Promise((resolve) => setImmediate(resolve));
      await broker.flush();
      path = crash(path);
    }
    const broker = await openBroker(path, { deadLetter: {} });
    const sub = broker.subscribe("a", { ...manual, maxDeliveries: 3 });
    expect(await fetchNow(sub)).toEqual([]);
    expect((await broker.deadLetters.list()).items).toMatchObject([{ reason: "max-deliveries", subscription: "d" }]);
    expect(balanced(broker)).toMatchObject({ deadLettered: 1 });
    await broker.flush();
    const last = await openBroker(crash(path), { deadLetter: {} });
    expect((await last.deadLetters.list()).items).toHaveLength(1);
    expect(await fetchNow(last.subscribe("a", manual))).toEqual([]);
  });

  it("shares its backlog among its consumers, and takes back what one leaves", async () => {
    const broker = await openBroker(temporaryFolder());
    const one = broker.subscribe("a", { ...manual, group: "workers" });
    const other = broker.subscribe("a", { ...manual, group: "workers" });
    expect([one.durable, one.group]).toEqual(["d", "workers"]);
    for (const data of range(1, 4)) await broker.publish("a", data);
    expect(dataOf(await fetchNow(one, 2))).toEqual([1, 2]);
    await one.unsubscribe();
    const rest = await fetchNow(other);
    expect(dataOf(rest).sort()).toEqual([1, 2, 3, 4]);
    for (const message of rest) await message.ack();
    expect(broker.subscriptions()).toMatchObject([{ backlog: 0, consumers: 1 }]);
    balanced(broker);
  });

  it("refuses other patterns while somebody is connected, and takes them when nobody is", async () => {
    const broker = await openBroker(temporaryFolder());
    const sub = broker.subscribe("a.*", manual);
    expect(thrownCode(() => broker.subscribe("b.*", manual))).toBe("ERR_INVALID_OPTION");
    await broker.publish("a.x", 1);
    await broker.publish("a.y", 2);
    await sub.unsubscribe();
    const narrow = broker.subscribe(["a.x", "c"], manual);
    await broker.publish("a.y", 3);
    await broker.publish("c", 4);
    // What was published before counts where both the old patterns and the new ones match.
    expect(dataOf(await fetchNow(narrow))).toEqual([1, 4]);
  });

  it("has in its backlog what it has not settled, at every moment: nothing waits for the log", async () => {
    const broker = await openBroker(temporaryFolder(), { transactions: {} });
    const backlog = (): unknown => broker.subscriptions()[0]?.backlog;
    const sub = broker.subscribe("a", manual);
    for (const data of range(1, 5)) await broker.publish("a", data);
    const [first, second] = await sub.fetch(2, { timeout: 0 });
    void first?.ack();
    expect(backlog()).toBe(4);
    const transaction = broker.transaction((tx) => {
      void tx.ack(second as Message);
      void tx.publish("b", 1);
      return Promise.resolve();
    });
    await transaction;
    expect(backlog()).toBe(3);
    const handler = broker.subscribe("a", () => undefined, { durable: "d" });
    await broker.idle();
    expect(backlog()).toBe(0);
    await handler.drain();
    await broker.publishBatch(range(6, 8).map((data) => ({ topic: "a", data })));
    expect(backlog()).toBe(3);
    broker.purge();
    expect(backlog()).toBe(0);
  });

  it("that does not exist cannot be deleted: the subscription stays", async () => {
    const broker = await openBroker(temporaryFolder());
    const sub = broker.subscribe("a", { from: "oldest" });
    expect(await rejectionCode(sub.unsubscribe({ deleteDurable: true }))).toBe("ERR_INVALID_OPTION");
    expect(broker.subscriptions()).toHaveLength(1);
    await sub.unsubscribe({ deleteDurable: false });
    expect(broker.subscriptions()).toHaveLength(0);
  });

  it("that begins at a number or a time still to come has what is new, and keeps it", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", "old");
    for (const from of [{ seq: 1000 }, { time: Date.now() + 3_600_000 }]) {
      const sub = broker.subscribe("a", { ...manual, durable: Object.keys(from).join(), from });
      await broker.publish("a", "new");
      await until(() => sub.stats().queued === 1);
      expect((await takeOne(sub)).data).toBe("new");
    }
    expect(dataOf(await leftAfterCrash(path, { ...manual, durable: "seq" }, "a"))).toEqual(["new", "new"]);
    expect(dataOf(await leftAfterCrash(path, { ...manual, durable: "time" }, "a"))).toEqual(["new"]);
  });

  it("is forgotten with deleteDurable, for all that are connected", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const one = broker.subscribe("a", manual);
    const other = broker.subscribe("a", manual);
    await broker.publish("a", 1);
    await one.unsubscribe({ deleteDurable: true });
    await other.closed;
    expect(broker.subscriptions()).toEqual([]);
    expect(await leftAfterCrash(path, manual, "a")).toEqual([]);
  });

  it("keeps a name to itself", async () => {
    const broker = await openBroker(temporaryFolder());
    broker.subscribe("a", manual);
    expect(thrownCode(() => broker.subscribe("a", { name: "d" }))).toBe("ERR_INVALID_OPTION");
    broker.subscribe("a", { name: "e" });
    expect(thrownCode(() => broker.subscribe("a", { durable: "e" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("a", { durable: "" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("a", { durable: "f", overflow: "drop-oldest" }))).toBe(
      "ERR_INVALID_OPTION",
    );
  });

  it("asks for stored topics alone", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { topics: ["orders.>", "refunds"] } });
    broker.subscribe(["orders.*.eu", "refunds"], { durable: "within" });
    expect(thrownCode(() => broker.subscribe(">", { durable: "beyond" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("orders", { durable: "beyond" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("*", { from: "oldest" }))).toBe("ERR_INVALID_OPTION");
  });

  it("gets nothing of a topic that is not stored any more, which is told and not counted", async () => {
    const path = temporaryFolder();
    const first = await openBroker(path);
    await first.subscribe("orders.*", manual).unsubscribe();
    await first.publish("orders.eu", 1);
    await first.close();
    const broker = makeBroker(path, { store: { topics: ["orders.eu", "mail"] } });
    const errors: unknown[] = [];
    broker.on("error", (error, context) => errors.push({ error, context }));
    await broker.ready();
    expect(errors).toMatchObject([{ error: { code: "ERR_INVALID_OPTION" }, context: { subscription: "d" } }]);
    const seen = collect(broker, ">");
    expect((await broker.publish("orders.us", 2)).matched).toBe(1);
    expect((await broker.publish("orders.eu", 3)).matched).toBe(2);
    expect(broker.subscriptions({ topic: "orders.us" })).toHaveLength(1);
    expect(dataOf(seen)).toEqual([2, 3]);
    expect(dataOf(await fetchNow(broker.subscribe("orders.eu", manual)))).toEqual([1, 3]);
    balanced(broker);
  });

  it("settles what its filter does not want", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const filter = ({ data }: Message): boolean => (data as number) > 2;
    const sub = broker.subscribe("a", { ...manual, filter });
    for (const data of range(1, 3)) await broker.publish("a", data);
    expect(dataOf(await fetchNow(sub))).toEqual([3]);
    await broker.flush();
    expect(dataOf(await leftAfterCrash(path, manual, "a"))).toEqual([3]);
  });

  it.each(["from its backlog", "as it is published", "of history that is replayed"])(
    "has nothing left in memory where its filter ends it, asked of a message %s; all of it comes to the next",
    async (way) => {
      const broker = await openBroker(temporaryFolder(), { store: { retention: { maxMessages: 100 } } });
      const isLive = way === "as it is published";
      const publish = (): Promise<unknown> => broker.publishBatch(range(1, 5).map((data) => ({ topic: "a", data })));
      await broker.subscribe("a", manual).unsubscribe();
      if (!isLive) await publish();
      const abort = new AbortController();
      const filter = ({ data }: Message): boolean => {
        if (data === 2) abort.abort();
        return true;
      };
      const { signal } = abort;
      const options = { ...manual, signal, filter };
      if (way === "of history that is replayed") {
        broker.subscribe("a", { ...options, durable: "late" });
        await broker.replayMessages("a");
      } else broker.subscribe("a", options);
      if (isLive) await publish();
      await until(() => signal.aborted);
      await broker.idle({ timeout: 1_000 });
      expect(broker.metrics.snapshot()).toMatchObject({ queued: 0, inFlight: 0, delayed: 0 });
      balanced(broker);
      expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual(range(1, 5));
      balanced(broker);
    },
  );

  it("is emptied by a purge of its filter's, and goes on with what comes", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publishBatch(range(1, 5).map((data) => ({ topic: "a", data })));
    const filter = ({ data }: Message): boolean => {
      if (data === 3) broker.purge();
      return true;
    };
    const sub = broker.subscribe("a", { ...manual, filter });
    await broker.idle({ timeout: 1_000 });
    await broker.publish("a", 6);
    expect(dataOf(await fetchNow(sub))).toEqual([6]);
    balanced(broker);
  });

  it.each(["before a checkpoint", "after one", "after a crash"])(
    "leaves to another durable of a work queue what its filter does not want, %s",
    async (when) => {
      const store = { retention: { policy: "work-queue" } } as const;
      let path = temporaryFolder();
      let broker = await openBroker(path, { store });
      const odd = { durable: "odd", filter: ({ data }: Message): boolean => (data as number) % 2 === 1 };
      const even = { durable: "even", filter: ({ data }: Message): boolean => (data as number) % 2 === 0 };
      await broker.subscribe("a", even).unsubscribe();
      const seen = collect(broker, "a", odd);
      for (const data of range(1, 6)) await broker.publish("a", data);
      await broker.idle({ topic: "a" });
      await broker.flush();
      if (when === "after one") await broker.compact();
      if (when === "after a crash") {
        path = crash(path);
        broker = await openBroker(path, { store });
      }
      expect(dataOf(await historyOf(broker))).toEqual([2, 4, 6]);
      const others = collect(broker, "a", even);
      await broker.idle({ topic: "a" });
      await broker.flush();
      expect([dataOf(seen), dataOf(others), await historyOf(broker)]).toEqual([[1, 3, 5], [2, 4, 6], []]);
    },
  );

  it("can be subscribed to before the store is open", async () => {
    const path = temporaryFolder();
    const first = await openBroker(path);
    await first.subscribe("a", manual).unsubscribe();
    await first.publish("a", 1);
    await first.close();
    const broker = makeBroker(path);
    const sub = broker.subscribe("a", manual);
    const fresh = broker.subscribe("a", { durable: "fresh", ack: "manual" });
    void broker.publish("a", 2);
    expect(dataOf(await sub.fetch(2))).toEqual([1, 2]);
    expect(dataOf(await fresh.fetch(1))).toEqual([2]);
  });

  it("settles at the hand-over with ack none", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const seen = collect(broker, "a", { durable: "d", ack: "none" });
    for (const data of range(1, 3)) await broker.publish("a", data);
    expect(dataOf(seen)).toEqual([1, 2, 3]);
    await broker.flush();
    expect(await leftAfterCrash(path, manual, "a")).toEqual([]);
    balanced(broker);
  });

  it("waits with idle() for its backlog while it is connected, and not when it is not", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", { durable: "d" }).unsubscribe();
    for (const data of range(1, 50)) void broker.publish("a", data);
    await broker.idle();
    const seen = collect(broker, "a", { durable: "d", maxMessages: 4 });
    await broker.idle();
    expect(dataOf(seen)).toEqual(range(1, 50));
  });

  it("with idle({ topic }) waits for the backlog of a durable that may have that topic, and for no other", async () => {
    const broker = await openBroker(temporaryFolder());
    const sub = broker.subscribe("a.*", { ...manual, maxMessages: 1 });
    for (const data of range(1, 3)) await broker.publish("a.x", data);
    const [held] = await sub.fetch(1);
    await broker.idle({ topic: "b.>" });
    const waits = broker.idle({ topic: "a.y" });
    let isOver = false;
    void waits.then(() => (isOver = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOver).toBe(false);
    await held?.ack();
    for (const data of [2, 3]) {
      const [message] = await sub.fetch(1);
      expect(message?.data).toBe(data);
      await message?.ack();
    }
    await waits;
  });

  it("confirms a publish that it acknowledges after having it from the store", async () => {
    const broker = await openBroker(temporaryFolder());
    const sub = broker.subscribe("a", { ...manual, maxMessages: 1 });
    await broker.publish("a", 1);
    const confirmed = broker.publish("a", 2, { confirm: 1 });
    for (const data of [1, 2]) {
      const [message] = await sub.fetch(1);
      expect(message?.data).toBe(data);
      await message?.ack();
    }
    await confirmed;
  });
});

describe("where a durable begins", () => {
  it.each([
    ["new", [5, 6]],
    ["oldest", [1, 2, 3, 4, 5, 6]],
    [{ seq: 3 }, [3, 4, 5, 6]],
    [{ time: Date.UTC(2030, 0, 1) + 200 }, [3, 4, 5, 6]],
    [{ time: Date.UTC(2040, 0, 1) }, [5, 6]],
  ] as const)("from %j", async (from, expected) => {
    for (const kind of [{ durable: "d" }, {}]) {
      const clock = new ManualClock();
      const broker = await openBroker(temporaryFolder(), { clock });
      for (const data of range(1, 4)) {
        await broker.publish("a", data);
        await clock.advance(100);
      }
      const seen = collect(broker, "a", { ...kind, from });
      await broker.publish("a", 5);
      await broker.publish("a", 6);
      await until(() => seen.length >= expected.length);
      expect(dataOf(seen)).toEqual(expected);
      balanced(broker);
    }
  });

  it("goes on where it stopped whatever `from` says later", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.publish("a", 1);
    const sub = broker.subscribe("a", { ...manual, from: "oldest" });
    await (await sub.fetch(1))[0]?.ack();
    await sub.unsubscribe();
    await broker.publish("a", 2);
    const again = broker.subscribe("a", { ...manual, from: "oldest" });
    expect(dataOf(await fetchNow(again))).toEqual([2]);
  });

  it("from last begins with the retained messages, once", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.publish("a", "kept", { retain: true });
    const sub = broker.subscribe("a", { ...manual, from: "last" });
    await broker.publish("a", "new");
    const messages = await fetchNow(sub);
    expect(dataOf(messages)).toEqual(["kept", "new"]);
    for (const message of messages) await message.ack();
    await sub.unsubscribe();
    expect(await fetchNow(broker.subscribe("a", { ...manual, from: "last" }))).toEqual([]);
  });

  it("from last has nothing of the retained messages in memory where nobody is there any more when it is made", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", "kept", { retain: true });
    await broker.close();
    const next = makeBroker(path);
    await next.subscribe("a", { ...manual, from: "last" }).unsubscribe();
    await next.ready();
    await next.flush();
    expect(next.retained("a")).toHaveLength(1);
    expect(next.subscriptions()).toMatchObject([{ name: expect.any(String), backlog: 0 }]);
    expect(next.metrics.snapshot().queued).toBe(0);
    const sub = next.subscribe("a", manual);
    await next.publish("a", "new");
    expect(dataOf(await fetchNow(sub))).toEqual(["new"]);
  });

  it("leaves nothing of a subscription that began in the past", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", 1);
    const sub = broker.subscribe("a", { from: "oldest" });
    expect(dataOf(await fetchNow(sub))).toEqual([1]);
    await broker.flush();
    const copy = crash(path);
    expect((await openBroker(copy)).subscriptions()).toEqual([]);
    await sub.unsubscribe();
    expect(broker.subscriptions()).toEqual([]);
  });

  it("from the past in a group needs a durable", async () => {
    const broker = await openBroker(temporaryFolder());
    expect(thrownCode(() => broker.subscribe("a", { group: "g", from: "oldest" }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("a", { from: { seq: -1 } }))).toBe("ERR_INVALID_OPTION");
    expect(thrownCode(() => broker.subscribe("a", { from: {} as never }))).toBe("ERR_INVALID_OPTION");
  });
});

describe("what was settled before a durable was made", () => {
  it.each(["live", "after compact()", "after a crash"])("is not in its past: %s", async (when) => {
    let path = temporaryFolder();
    let broker = await openBroker(path);
    const first = broker.subscribe("a", manual);
    for (const data of range(1, 4)) await broker.publish("a", data);
    for (const message of await fetchNow(first, 3)) await message.ack();
    if (when === "after compact()") await broker.compact();
    if (when === "after a crash") {
      path = crash(path);
      broker = await openBroker(path);
    }
    for (const from of ["oldest", { seq: 2 }, { time: 0 }] as const) {
      const late = broker.subscribe("a", { ...manual, durable: `from ${JSON.stringify(from)}`, from });
      expect(dataOf(await late.fetch(1, { timeout: 60_000 }))).toEqual([4]);
      expect(await fetchNow(late)).toEqual([]);
      const reader = broker.subscribe("a", { from });
      expect(dataOf(await reader.fetch(1, { timeout: 60_000 }))).toEqual([4]);
      expect(await fetchNow(reader)).toEqual([]);
    }
    expect(dataOf(await historyOf(broker, "a"))).toEqual([4]);
    await broker.flush();
    expect(dataOf(await leftAfterCrash(path, { ...manual, durable: 'from "oldest"' }, "a"))).toEqual([4]);
  });

  it("stays away when that durable goes", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.publish("a", 1);
    const sub = broker.subscribe("a", { ...manual, from: "oldest" });
    for (const message of await fetchNow(sub)) await message.ack();
    expect(await historyOf(broker)).toEqual([]);
    await sub.unsubscribe({ deleteDurable: true });
    expect(await historyOf(broker)).toEqual([]);
  });

  it("is what a durable settled: who reads history without one uses nothing up", async () => {
    const broker = await openBroker(temporaryFolder());
    for (const data of range(1, 3)) await broker.publish("a", data);
    for (const step of ["first", "second"]) {
      const reader = broker.subscribe("a", { from: "oldest" });
      expect(dataOf(await fetchNow(reader)), step).toEqual([1, 2, 3]);
      await broker.compact();
      await reader.unsubscribe();
      await broker.compact();
    }
    const late = broker.subscribe("a", { ...manual, from: "oldest" });
    expect(dataOf(await fetchNow(late))).toEqual([1, 2, 3]);
  });

  it("does not use up a work queue either", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { retention: { policy: "work-queue" } } });
    await broker.publish("a", 1);
    expect(dataOf(await fetchNow(broker.subscribe("a", { from: "oldest" })))).toEqual([1]);
    await broker.compact();
    expect(dataOf(await fetchNow(broker.subscribe("a", { ...manual, from: "oldest" })))).toEqual([1]);
  });

  it("what was purged while its place was looked for does not come after a restart", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    for (const data of range(1, 3)) await broker.publish("a", data);
    const before = collect(broker, "a", { durable: "d", from: { time: 0 } });
    broker.purge();
    await broker.publish("a", 4);
    await broker.idle();
    expect(dataOf(before)).toEqual([4]);
    await broker.close();
    const again = await openBroker(path);
    const after = collect(again, "a", { durable: "d" });
    await again.publish("a", 5);
    await again.idle();
    expect(dataOf(after)).toEqual([5]);
  });

  it("is not what is published while the place of a time is looked up", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { retention: { policy: "interest" } } });
    const seen = collect(broker, "a", { durable: "d", from: { time: 0 } });
    await broker.publishBatch(range(1, 3).map((data) => ({ topic: "a", data })));
    await until(() => seen.length === 3);
    await broker.idle();
    await broker.flush();
    expect(dataOf(seen)).toEqual([1, 2, 3]);
    expect(await historyOf(broker)).toEqual([]);
  });

  it("is waited for by idle while the place of a time is looked up, also without a durable", async () => {
    const broker = await openBroker(temporaryFolder(), { store: { retention: { maxMessages: 100 } } });
    await broker.publishBatch(range(1, 3).map((data) => ({ topic: "a", data })));
    for (const durable of ["d", undefined]) {
      const seen = collect(broker, "a", { durable, from: { time: 0 } });
      await broker.idle({ topic: "a" });
      expect(dataOf(seen)).toEqual([1, 2, 3]);
    }
  });

  it("stays in the store where whoever asked has left before the store was open, or the place of a time found", async () => {
    const path = temporaryFolder();
    const keeping = { store: { retention: { maxMessages: 100 } } };
    const first = await openBroker(path, keeping);
    await first.publishBatch(range(1, 3).map((data) => ({ topic: "a", data })));
    await first.close();
    const broker = makeBroker(path, keeping);
    const asked = [
      { durable: "early", from: "oldest" },
      { durable: "early, by time", from: { time: 0 } },
    ] as const;
    for (const options of asked) void broker.subscribe("a", () => undefined, options).unsubscribe();
    await broker.ready();
    void broker.subscribe("a", () => undefined, { durable: "late", from: { time: 0 } }).unsubscribe();
    void broker.subscribe("a", () => undefined, { from: { time: 0 } }).unsubscribe();
    await until(() => broker.subscriptions().every(({ backlog }) => backlog === 3));
    await broker.idle({ timeout: 0 });
    await broker.publish("a", 4);
    expect(broker.metrics.snapshot()).toMatchObject({ queued: 0, memoryBytes: 0, store: { durables: 3 } });
    for (const durable of ["early", "early, by time", "late"]) {
      const seen = collect(broker, "a", { durable });
      await broker.idle();
      expect(dataOf(seen)).toEqual([1, 2, 3, 4]);
    }
    balanced(broker);
  });

  it("comes to who connects while the place of a time is looked up for one that has left", async () => {
    const path = temporaryFolder();
    const keeping = { store: { retention: { maxMessages: 100 } } };
    const broker = await openBroker(path, keeping);
    const errors: unknown[] = [];
    broker.on("error", (error) => errors.push(error));
    const topics = ["a", "b", "a", "c"];
    await broker.publishBatch(topics.map((topic, index) => ({ topic, data: index + 1 })));
    void broker.subscribe(["a", "b"], { ...manual, from: { time: 0 } }).unsubscribe();
    const sub = broker.subscribe(["a", "c"], manual);
    await broker.publishBatch(topics.map((topic, index) => ({ topic, data: index + 5 })));
    const messages = await sub.fetch(5, { timeout: 2_000 });
    expect(dataOf(messages), "what both asked for, and then what the second does").toEqual([1, 3, 5, 7, 8]);
    await messages[0]?.ack();
    expect(errors).toEqual([]);
    await broker.flush();
    const again = await openBroker(crash(path), keeping);
    expect(dataOf(await fetchNow(again.subscribe(["a", "c"], manual)))).toEqual([3, 5, 7, 8]);
    expect(again.metrics.snapshot().store).toMatchObject({ durables: 1 });
  });

  it("is what was too old by then, too", async () => {
    const clock = new ManualClock();
    const broker = await openBroker(temporaryFolder(), { clock, store: { retention: { maxAge: 100 } } });
    await broker.publish("a", "old");
    clock.jump(150);
    await broker.publish("a", "new");
    const sub = broker.subscribe("a", { ...manual, from: "oldest" });
    expect(dataOf(await fetchNow(sub))).toEqual(["new"]);
    await sub.unsubscribe();
    clock.jump(150);
    await broker.publish("a", "newest");
    expect(dataOf(await historyOf(broker))).toEqual(["newest"]);
    await broker.compact();
    expect(dataOf(await historyOf(broker))).toEqual(["newest"]);
    // What the durable waits for is kept for it, and for it alone.
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual(["new", "newest"]);
  });
});

describe("a backlog larger than the queue", () => {
  it("tells of what expired in the store when it comes upon it, and keeps it as a dead letter", async () => {
    const clock = new ManualClock();
    const path = temporaryFolder();
    const options = { clock, deadLetter: {} };
    const first = await openBroker(path, options);
    first.subscribe("a", { ...manual, maxMessages: 2 });
    for (const data of range(1, 4)) await first.publish("a", data, { ttl: 100 });
    await clock.advance(150);
    await until(() => first.metrics.snapshot().expired === 4);
    expect(first.deadLetters.stats().byReason).toEqual({ expired: 4 });
    await first.idle();
    balanced(first);
    for (const data of range(5, 7)) await first.publish("a", data, { ttl: data === 6 ? 10_000 : 100 });
    const broker = await openBroker(crash(path), options);
    await clock.advance(150);
    const told: unknown[] = [];
    broker.on("expire", ({ message, subscription }) => told.push([message.data, message.deliveryCount, subscription]));
    const filter = ({ data }: Message): boolean => data !== 7;
    expect(dataOf(await fetchNow(broker.subscribe("a", { ...manual, filter })))).toEqual([6]);
    expect(told).toEqual([[5, 1, "d"]]);
    const { items } = await broker.deadLetters.list();
    expect(items.map(({ message, reason }) => [message.data, reason])).toEqual(
      [1, 2, 3, 4, 5].map((data) => [data, "expired"]),
    );
    balanced(broker);
    await broker.flush();
    expect(broker.subscriptions()).toMatchObject([{ backlog: 1 }]);
  });

  it("is paged in, in order, with bounded memory, while new messages come", async () => {
    const broker = await openBroker(temporaryFolder());
    const sub = broker.subscribe("a", { ...manual, maxMessages: 16, maxInFlight: 8 });
    const seen: unknown[] = [];
    const publishing = (async () => {
      for (const data of range(1, 300))
        await broker.publish("a", data, { durability: data % 3 === 0 ? "memory" : "os" });
    })();
    while (seen.length < 300) {
      expect(sub.stats().queued).toBeLessThanOrEqual(16);
      for (const message of await sub.fetch(8, { timeout: 50 })) {
        seen.push(message.data);
        await message.ack();
      }
    }
    await publishing;
    expect(seen).toEqual(range(1, 300));
    expect(balanced(broker)).toMatchObject({ memoryBytes: 0, delivered: 300 });
  });

  it("has in memory what maxBytes allows of its backlog, and one message more at most", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publishBatch(range(1, 60).map(() => ({ topic: "a", data: "x".repeat(100) })));
    const sub = broker.subscribe("a", { ...manual, maxBytes: 500 });
    const most: number[] = [];
    for (let taken = 0; taken < 60; taken += 1) {
      const [message] = await sub.fetch(1);
      most.push(sub.stats().queuedBytes);
      await message?.ack();
    }
    expect(Math.max(...most)).toBeGreaterThan(200);
    expect(Math.max(...most)).toBeLessThanOrEqual(600);
  });

  it("is bounded by bytes too, and a message larger than the bound comes through", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", manual).unsubscribe();
    const sizes = [400, 30, 30, 2_000, 30, 400];
    for (const size of sizes) await broker.publish("a", "x".repeat(size));
    const sub = broker.subscribe("a", { ...manual, maxBytes: 500 });
    const seen: number[] = [];
    while (seen.length < sizes.length) {
      const [message] = await sub.fetch(1);
      seen.push((message?.data as string).length);
      await message?.ack();
    }
    expect(seen).toEqual(sizes);
  });

  it("keeps the order of each key across pages and crashes", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    const options = { ...manual, orderBy: "key", maxMessages: 4 } as const;
    const sub = broker.subscribe("a", options);
    for (const data of range(1, 12)) await broker.publish("a", data, { key: data % 2 === 0 ? "even" : "odd" });
    const [one] = await fetchNow(sub);
    await one?.nack({ delay: 1_000 });
    await broker.flush();
    const again = await openBroker(crash(path), { clock });
    const seen: unknown[] = [];
    again.subscribe("a", (message: Message) => void seen.push(message.data), {
      ...options,
      ack: "auto",
      concurrency: 4,
    });
    await until(() => seen.length >= 1);
    await clock.advance(1_000);
    await until(() => {
      void clock.advance(0);
      return seen.length >= 12;
    });
    expect(seen.filter((data) => (data as number) % 2 === 0)).toEqual([2, 4, 6, 8, 10, 12]);
    expect(seen.filter((data) => (data as number) % 2 === 1)).toEqual([1, 3, 5, 7, 9, 11]);
  });

  it("orders what is in by priority", async () => {
    const broker = await openBroker(temporaryFolder());
    await broker.subscribe("a", manual).unsubscribe();
    for (const priority of [1, 5, 9] as const) await broker.publish("a", priority, { priority });
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual([9, 5, 1]);
  });

  it("leaves out what has expired meanwhile", async () => {
    const clock = new ManualClock();
    const broker = await openBroker(temporaryFolder(), { clock });
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publish("a", 1, { ttl: 1_000 });
    await broker.publish("a", 2);
    await clock.advance(1_000);
    expect(dataOf(await fetchNow(broker.subscribe("a", manual)))).toEqual([2]);
  });
});

describe("a settle", () => {
  it("resolves when it is kept, and the queue goes on at once", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const sub = broker.subscribe("a", { ...manual, maxInFlight: 1 });
    await broker.publish("a", 1);
    await broker.publish("a", 2);
    const first = await takeOne(sub);
    const acked = first.ack();
    expect((await takeOne(sub)).data).toBe(2);
    await acked;
    expect(dataOf(await leftAfterCrash(path, manual, "a"))).toEqual([2]);
    expect(await rejectionCode(first.ack())).toBe("ERR_ALREADY_SETTLED");
  });

  it("that comes after close is refused, and the message comes again", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    const sub = broker.subscribe("a", manual);
    await broker.publish("a", 1);
    const message = await takeOne(sub);
    const { unacked, undelivered } = await broker.close({ drain: false });
    expect([dataOf(unacked), undelivered]).toEqual([[1], []]);
    expect(await rejectionCode(message.ack())).toBe("ERR_DELIVERY_EXPIRED");
    const again = await openBroker(path);
    expect(await takeOne(again.subscribe("a", manual))).toMatchObject({ data: 1, redelivered: true });
  });
});
