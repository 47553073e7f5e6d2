// What a new broker on an old store has: transactions, delays, dedup ids, expiry, dead letters, retained messages.
import { describe, expect, it } from "vitest";
import type { InProcBroker, Message } from "inproc-broker";
import { fixedBackoff } from "inproc-broker";
import { balanced, fetchNow, rejectionCode, takeOne } from "../support/manual-broker.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";
import { collect, crash, dataOf, historyOf, memoryMachine, openBroker, temporaryFolder, until } from "./fixture.js";
import type { StoredBrokerOptions } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

describe("a transaction", () => {
  it("is there after a crash as a whole: messages, settles and dead letters", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path, { transactions: {}, deadLetter: {} });
    const sub = broker.subscribe("in", { ...manual, backoff: fixedBackoff(60_000) });
    for (const data of ["ack", "nack", "reject"]) await broker.publish("in", data);
    const [one, two, three] = (await fetchNow(sub)) as [Message, Message, Message];
    await broker.transaction((tx) => {
      void tx.publish("out", 1);
      void tx.publish("out", 2);
      void tx.ack(one);
      void tx.nack(two, { delay: 0 });
      void tx.reject(three, "no good");
    });
    const again = await openBroker(crash(path), { transactions: {}, deadLetter: {} });
    expect(await takeOne(again.subscribe("in", manual))).toMatchObject({ data: "nack", deliveryCount: 2 });
    expect(dataOf(await historyOf(again, "out"))).toEqual([1, 2]);
    expect((await again.deadLetters.list()).items).toMatchObject([{ reason: "rejected", error: "no good" }]);
  });

  it("that is open at the crash left nothing, and its deliveries come again", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path, { transactions: {} });
    const sub = broker.subscribe("in", manual);
    await broker.publish("in", 1);
    const tx = broker.beginTransaction();
    void tx.publish("out", 1);
    void tx.ack(await takeOne(sub));
    await broker.flush();
    const again = await openBroker(crash(path));
    expect(dataOf(await fetchNow(again.subscribe("in", manual)))).toEqual([1]);
    expect(await historyOf(again, "out")).toEqual([]);
  });

  it("takes stored and other topics together", async () => {
    const broker = await openBroker(temporaryFolder(), { transactions: {}, store: { topics: ["kept"] } });
    const seen = collect(broker, ">");
    await broker.transaction((tx) => {
      void tx.publish("other", 1);
      void tx.publish("kept", 2);
    });
    expect(dataOf(seen)).toEqual([1, 2]);
    expect(dataOf(await historyOf(broker))).toEqual([2]);
  });

  it("that rejects a delivery comes whole and in order to who gets its messages and the dead letter", async () => {
    const broker = await openBroker(temporaryFolder(), { transactions: {}, deadLetter: {} });
    const seen: Message[] = [];
    broker.subscribe(["out", "dlq"], (message: Message) => void seen.push(message), { durable: "audit" });
    const sub = broker.subscribe("in", manual);
    for (const data of ["one", "two"]) {
      await broker.publish("in", data);
      const message = await takeOne(sub);
      await broker.transaction((tx) => {
        void tx.publish("out", data);
        void tx.reject(message, "no good");
      });
    }
    await broker.idle({ topic: "*", timeout: 1_000 });
    expect(seen.map(({ topic, data }) => `${topic} ${String(data)}`).sort()).toEqual([
      "dlq one",
      "dlq two",
      "out one",
      "out two",
    ]);
    const seqs = seen.map(({ seq }) => seq);
    expect(seqs).toEqual([...seqs].sort((one, other) => one - other));
    balanced(broker);
  });

  it("that the store refuses is rolled back: nothing is published, and deliveries are there", async () => {
    const files = new FaultyFileSystem();
    const broker = await openBroker("/store", { transactions: {}, store: { machine: memoryMachine(files) } });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("in", manual);
    await broker.publish("in", 1);
    const message = await takeOne(sub);
    const seen = collect(broker, "out");
    const refused = broker.transaction((tx) => {
      void tx.publish("out", { n: 1n });
      void tx.ack(message);
    });
    expect(await rejectionCode(refused)).toBe("ERR_INVALID_MESSAGE");
    files.capacityBytes = files.usedBytes + 200;
    const full = broker.transaction((tx) => {
      void tx.publish("out", "x".repeat(1_000));
      void tx.ack(message);
    });
    expect(await rejectionCode(full)).toBe("ERR_STORE_FULL");
    expect(seen).toEqual([]);
    expect(await takeOne(sub)).toMatchObject({ data: 1, redelivered: true });
    expect(balanced(broker).transactions).toMatchObject({ rolledBack: 2, committed: 0 });
  });
});

describe("a transaction that a disk refuses which has got full", () => {
  it.each(["ack", "nack", "nack the last time", "reject"] as const)(
    "has what it settled come again, once: %s",
    async (how) => {
      const files = new FaultyFileSystem();
      const broker = await openBroker("/store", {
        transactions: {},
        deadLetter: {},
        ack: { maxDeliveries: how === "nack the last time" ? 1 : 5 },
        store: { machine: memoryMachine(files), reserveBytes: 2_000 },
      });
      broker.on("error", () => undefined);
      const sub = broker.subscribe("in", manual);
      await broker.publish("in", 1);
      const message = await takeOne(sub);
      await broker.flush();
      files.capacityBytes = files.usedBytes + 100;
      const refused = broker.transaction((tx) => {
        void tx.publish("out", "x".repeat(500));
        if (how === "ack") void tx.ack(message);
        else if (how === "reject") void tx.reject(message, "no good");
        else void tx.nack(message, { delay: 0 });
      });
      expect(await rejectionCode(refused)).toBe("ERR_STORE_FULL");
      expect(await fetchNow(sub)).toMatchObject([{ data: 1, deliveryCount: 2 }]);
      expect(broker.deadLetters.stats()).toMatchObject({ count: 0, bytes: 0, added: 0, byReason: {} });
      balanced(broker);
    },
  );
});

describe("a dedup id", () => {
  it("is known after a crash for the rest of its window, with the first one's receipt", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const options = { clock, dedup: { window: 10_000 } };
    const broker = await openBroker(path, options);
    const first = await broker.publish("a", 1, { dedupId: "one" });
    await clock.advance(6_000);
    const again = await openBroker(crash(path), options);
    const second = await again.publish("a", 2, { dedupId: "one" });
    expect(second).toMatchObject({ id: first.id, seq: first.seq, duplicate: true });
    await clock.advance(4_001);
    expect(await again.publish("a", 3, { dedupId: "one" })).toMatchObject({ duplicate: false });
  });
});

describe("a delayed message", () => {
  it("comes after a crash at its time, once, and in the durable's backlog", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    await broker.subscribe("a", manual).unsubscribe();
    const { id } = await broker.publish("a", 1, { delay: 10_000 });
    await broker.publish("a", 2, { deliverAt: clock.now() + 5_000, retain: true });
    await clock.advance(4_000);
    const copy = crash(path);
    const again = await openBroker(copy, { clock });
    expect(balanced(again)).toMatchObject({ scheduled: 2 });
    const sub = again.subscribe("a", manual);
    expect(await fetchNow(sub)).toEqual([]);
    await clock.advance(1_000);
    expect(dataOf(await sub.fetch(1))).toEqual([2]);
    await clock.advance(5_000);
    const [late] = await sub.fetch(1);
    expect(late).toMatchObject({ data: 1, id });
    await again.flush();
    const last = await openBroker(crash(copy), { clock });
    expect(balanced(last)).toMatchObject({ scheduled: 0 });
    expect(dataOf(await fetchNow(last.subscribe("a", manual)))).toEqual([2, 1]);
  });

  it("that was taken back, or has expired, does not come after a crash", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    const { id } = await broker.publish("a", 1, { delay: 10_000 });
    await broker.publish("a", 2, { delay: 10_000, ttl: 1_000 });
    expect(await broker.cancel(id)).toBe(true);
    await clock.advance(2_000);
    await broker.flush();
    const again = await openBroker(crash(path), { clock });
    expect(balanced(again)).toMatchObject({ scheduled: 0 });
  });

  it("that is due when the store opens comes then", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    await broker.subscribe("a", manual).unsubscribe();
    await broker.publish("a", 1, { delay: 1_000 });
    const copy = crash(path);
    const later = new ManualClock(clock.now() + 60_000);
    const again = await openBroker(copy, { clock: later });
    const sub = again.subscribe("a", manual);
    await later.advance(1);
    expect(dataOf(await sub.fetch(1))).toEqual([1]);
  });
});

describe("a retained message", () => {
  it("is there after a crash, and gone where it was cleared", async () => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", 1, { retain: true });
    await broker.publish("a", 2, { retain: true });
    await broker.publish("b", 3, { retain: true });
    await broker.publish("b", null, { retain: true });
    const again = await openBroker(crash(path));
    expect(again.retained()).toMatchObject([{ topic: "a", data: 2 }]);
    const seen = collect(again, "a", { from: "last" });
    await until(() => seen.length === 1);
    expect(dataOf(seen)).toEqual([2]);
  });

  it("with a delay is retained, or clears, when its time has come, also after a crash", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    await broker.publish("a", "now", { retain: true });
    await broker.publish("b", "now", { retain: true });
    await broker.publish("a", "later", { retain: true, delay: 1_000 });
    await broker.publish("b", null, { retain: true, delay: 1_000 });
    expect(dataOf(broker.retained() as Message[])).toEqual(["now", "now"]);
    const copy = crash(path);
    const again = await openBroker(copy, { clock });
    expect(dataOf(again.retained() as Message[])).toEqual(["now", "now"]);
    await clock.advance(1_000);
    await until(() => again.retained().length === 1);
    expect(again.retained()).toMatchObject([{ topic: "a", data: "later" }]);
    await again.flush();
    const last = await openBroker(crash(copy), { clock });
    expect(last.retained()).toMatchObject([{ topic: "a", data: "later" }]);
  });
});

describe("a dead letter", () => {
  async function withDeadLetter(path: string, store: StoredBrokerOptions["store"] = {}): Promise<InProcBroker> {
    const broker = await openBroker(path, { deadLetter: {}, store });
    const sub = broker.subscribe("a", manual);
    const other = broker.subscribe("a", { ...manual, durable: "other" });
    await broker.publish("a", { n: 1 }, { headers: { h: "x" }, key: "k", priority: 7 });
    await (await takeOne(sub)).reject("broken");
    await (await takeOne(other)).ack();
    return broker;
  }

  it("is there after a crash, whole, and its message does not come again", async () => {
    const path = temporaryFolder();
    const broker = await withDeadLetter(path);
    const { items } = await broker.deadLetters.list();
    const again = await openBroker(crash(path), { deadLetter: {} });
    const found = (await again.deadLetters.list()).items;
    expect(JSON.parse(JSON.stringify(found))).toEqual(JSON.parse(JSON.stringify(items)));
    expect(again.deadLetters.stats()).toMatchObject({ count: 1, bytes: broker.deadLetters.stats().bytes });
    expect(await fetchNow(again.subscribe("a", manual))).toEqual([]);
    expect(dataOf(await historyOf(again, "dlq"))).toEqual([{ n: 1 }]);
  });

  it.each(["limits", "interest", "work-queue"] as const)(
    "driven again after a crash goes to the durable that gave it up alone, and is no dead letter after another (%s)",
    async (policy) => {
      const path = temporaryFolder();
      const options = { deadLetter: {}, store: { retention: { policy } } };
      await withDeadLetter(path, options.store);
      const copy = crash(path);
      const again = await openBroker(copy, options);
      expect(await again.deadLetters.redrive()).toBe(1);
      for (const broker of [again, await openBroker(crash(copy), options)]) {
        expect(await fetchNow(broker.subscribe("a", { ...manual, durable: "other" }))).toEqual([]);
        const [message] = await fetchNow(broker.subscribe("a", manual));
        expect(message).toMatchObject({ data: { n: 1 }, key: "k", priority: 7, headers: { h: "x" } });
        expect(broker.deadLetters.stats().count).toBe(0);
        balanced(broker);
      }
    },
  );

  it("thrown away stays away after a crash", async () => {
    const path = temporaryFolder();
    const broker = await withDeadLetter(path);
    expect(await broker.deadLetters.purge()).toBe(1);
    const again = await openBroker(crash(path), { deadLetter: {} });
    expect(again.deadLetters.stats().count).toBe(0);
  });

  it("is still there where the store refuses to forget it", async () => {
    const files = new FaultyFileSystem();
    const broker = await openBroker("/store", { deadLetter: {}, store: { machine: memoryMachine(files) } });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("a", manual);
    await broker.publish("a", 1);
    await (await takeOne(sub)).reject("broken");
    await broker.flush();
    files.failAt = files.ioCount;
    expect(await rejectionCode(broker.deadLetters.purge())).toBe("ERR_STORE_FAILED");
    expect(broker.deadLetters.stats()).toMatchObject({ count: 1, purged: 0 });
  });

  it("driven again comes as redelivered, with a fresh count, also through the store and after a crash", async () => {
    for (const isGone of [false, true]) {
      const path = temporaryFolder();
      const broker = await openBroker(path, { deadLetter: {} });
      const options = { durable: "d", ack: "manual" } as const;
      const sub = broker.subscribe("a", options);
      await broker.publish("a", 1);
      await (await takeOne(sub)).reject("no");
      await sub.unsubscribe({ deleteDurable: isGone });
      if (isGone) await broker.subscribe("a", { ...options, durable: "other" }).unsubscribe();
      expect(await broker.deadLetters.redrive()).toBe(1);
      const durable = isGone ? "other" : "d";
      const copy = await openBroker(crash(path));
      for (const one of [broker, copy]) {
        await one.publish("a", 2);
        const again = one.subscribe("a", { ...options, durable });
        expect(await takeOne(again)).toMatchObject({ data: 1, redelivered: true, deliveryCount: 1 });
        expect(await takeOne(again)).toMatchObject({ data: 2, redelivered: false, deliveryCount: 1 });
      }
    }
  });

  it("driven again has left the store when redrive resolves, also where no durable gets it", async () => {
    for (const isGone of [true, false]) {
      const path = temporaryFolder();
      const broker = await openBroker(path, { deadLetter: {} });
      const sub = broker.subscribe("a", { ack: "manual" });
      await broker.publish("a", 1);
      await (await takeOne(sub)).reject("broken");
      if (isGone) await sub.unsubscribe();
      expect(await broker.deadLetters.redrive()).toBe(1);
      const again = await openBroker(crash(path), { deadLetter: {} });
      expect(again.deadLetters.stats().count).toBe(0);
      expect(dataOf(await historyOf(again, "a"))).toEqual(isGone ? [1, 1] : [1]);
    }
  });

  it("that the store refuses to drive is in the list again, in its place, and redrive rejects", async () => {
    const files = new FaultyFileSystem();
    const broker = await openBroker("/store", { deadLetter: {}, store: { machine: memoryMachine(files) } });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("a", manual);
    for (const data of [1, 2, 3]) await broker.publish("a", data);
    for (const message of await fetchNow(sub)) await message.reject("broken");
    await broker.flush();
    files.failAt = files.ioCount;
    const first = (await broker.deadLetters.list()).items[0]?.id;
    expect(await rejectionCode(broker.deadLetters.redrive({ id: first }))).toBe("ERR_STORE_FAILED");
    // Now it refuses at once.
    expect(await rejectionCode(broker.deadLetters.redrive())).toBe("ERR_STORE_FAILED");
    expect((await broker.deadLetters.list()).items.map(({ message }) => message.data)).toEqual([1, 2, 3]);
    expect(broker.deadLetters.stats()).toMatchObject({ count: 3, redriven: 0 });
  });
});

describe("what is given up on while the disk is full", () => {
  it.each([
    ["rejected", "is known to be"],
    ["rejected", "gets"],
    ["expired", "is known to be"],
    ["expired", "gets"],
  ] as const)(
    "is settled, and kept as a dead letter, without its copy for the topic: %s, when it %s",
    async (how, when) => {
      const database = new MemoryDatabase();
      const files = new FaultyFileSystem();
      const clock = new ManualClock();
      const options = {
        clock,
        deadLetter: {},
        store: { machine: memoryMachine(files, database), reserveBytes: 20_000 },
      };
      const broker = await openBroker("/store", options);
      const refused: unknown[] = [];
      broker.on("error", (error, { message }) => refused.push([(error as { code?: unknown }).code, message?.topic]));
      const sub = broker.subscribe("a", manual);
      await broker.publish("a", 1, how === "expired" ? { ttl: 100 } : {});
      if (how === "expired") sub.pause();
      const message = how === "rejected" ? await takeOne(sub) : undefined;
      await broker.flush();
      files.capacityBytes = files.usedBytes + 100;
      if (when === "is known to be") await broker.publish("a", "x".repeat(500)).catch(() => undefined);
      await message?.reject("no good");
      await clock.advance(150);
      await until(() => refused.some((one) => String(one) === "ERR_STORE_FULL,dlq"));
      await until(() => broker.deadLetters.stats().count === 1);
      await broker.flush().catch(() => undefined);

      const left = files.crash({ keep: "none" });
      left.capacityBytes = Infinity;
      const store = { machine: memoryMachine(left, database) };
      const again = await openBroker("/store", { ...options, store });
      expect((await again.deadLetters.list()).items).toMatchObject([{ reason: how, message: { data: 1 } }]);
      expect(await fetchNow(again.subscribe("a", manual))).toEqual([]);
      expect(again.deadLetters.stats().count).toBe(1);
    },
  );
});

describe("purge()", () => {
  it.each(["in the log", "in the database"])("frees dedup ids, also those %s; later ones are taken", async (where) => {
    const path = temporaryFolder();
    const broker = await openBroker(path);
    await broker.publish("a", 1, { dedupId: "x" });
    await broker.publish("a", 1, { dedupId: "z" });
    if (where === "in the database") await broker.compact();
    broker.purge();
    const second = await broker.publish("a", 2, { dedupId: "x" });
    expect(second.duplicate).toBe(false);
    for (const step of ["crash", "compact"]) {
      if (step === "compact") await broker.compact();
      const again = await openBroker(crash(path));
      expect(await again.publish("a", 3, { dedupId: "x" }), step).toEqual({ ...second, matched: 0, duplicate: true });
      expect(await again.publish("a", 3, { dedupId: "z" }), step).toMatchObject({ duplicate: false });
    }
  });

  it("empties the store's side too, and keeps durables", async () => {
    const path = temporaryFolder();
    const clock = new ManualClock();
    const broker = await openBroker(path, { clock });
    const sub = broker.subscribe("a", { ...manual, maxMessages: 2, maxInFlight: 1 });
    for (const data of [1, 2, 3, 4, 5]) await broker.publish("a", data, { retain: true });
    await broker.publish("a", 6, { delay: 1_000 });
    await takeOne(sub);
    broker.purge();
    await broker.publish("a", 7);
    expect(dataOf(await sub.fetch(1))).toEqual([7]);
    balanced(broker);
    await broker.flush();
    const again = await openBroker(crash(path), { clock });
    expect(dataOf(await fetchNow(again.subscribe("a", manual)))).toEqual([7]);
    expect(again.retained()).toEqual([]);
    expect(again.metrics.snapshot().scheduled).toBe(0);
  });
});
