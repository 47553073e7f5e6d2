// The n-th sync fails, for n = 0, 1, 2, … until none is left; the store is opened again on what the system still shows, then the
// power goes. What a new broker has is compared with what was acknowledged, and with what was shown. Any other failure: broker.test.ts.
import { describe, expect, it } from "vitest";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { fetchNow, takeOne } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";
import { historyOf } from "../broker-store/fixture.js";

const manual = { durable: "work", ack: "manual", maxInFlight: 1_000 } as const;

/** What the broker said it had done. */
interface Ledger {
  readonly published: unknown[];
  readonly acked: unknown[];
  readonly committed: unknown[];
}

async function open(files: FaultyFileSystem, database: MemoryDatabase): Promise<InProcBroker> {
  const persistence = levelPersistence({
    path: "/store",
    reserveBytes: 0,
    retention: { policy: "limits", maxMessages: 1_000_000 },
    machine: { fileSystem: files, openDatabase: database.open },
  });
  const broker = new InProcBroker({ clock: new ManualClock(), transactions: {}, deadLetter: {}, persistence });
  broker.on("error", () => undefined);
  await broker.ready();
  return broker;
}

/** Publishes, settles and commits, with a checkpoint and a restart between; ends with the first failure, as a process that dies. */
async function work(files: FaultyFileSystem, database: MemoryDatabase, ledger: Ledger): Promise<void> {
  const note = async (list: unknown[], what: unknown, done: Promise<unknown>): Promise<void> => {
    await done.then(
      () => list.push(what),
      () => undefined,
    );
  };
  for (const round of [0, 1]) {
    const broker = await open(files, database).catch(() => undefined);
    if (broker === undefined) return;
    const sub = broker.subscribe("in", manual);
    const publishes = Array.from({ length: 6 }, (_, n) => {
      const data = round * 100 + n;
      return note(ledger.published, data, broker.publish("in", data, { durability: n % 2 === 0 ? "group" : "always" }));
    });
    await Promise.all(publishes);
    const [one, two, three] = await fetchNow(sub);
    if (one !== undefined) await note(ledger.acked, one.data, one.ack());
    if (two !== undefined) {
      const of = two.data;
      const committed = broker.transaction((tx) => {
        void tx.ack(two);
        void tx.publish("out", { of, part: 1 });
        void tx.publish("out", { of, part: 2 });
      });
      await note(ledger.committed, of, committed);
    }
    if (three !== undefined) await note(ledger.acked, three.data, three.reject("no"));
    if (round === 0) await broker.compact().catch(() => undefined);
    await broker.close({ drain: false }).catch(() => undefined);
    if (files.hasFailed) return;
  }
}

async function compare(files: FaultyFileSystem, database: MemoryDatabase, ledger: Ledger, hint: string): Promise<void> {
  const broker = await open(files, database);
  try {
    const sub = broker.subscribe("in", manual);
    const left = (await fetchNow(sub)).map(({ data }) => data);
    const all = (await historyOf(broker, "in")).map(({ data }) => data as number);
    const out = (await historyOf(broker, "out")).map(({ data }) => data as { of: number; part: number });
    expect(all, `${hint}: order`).toEqual([...new Set(all)].sort((a, b) => a - b));
    expect(all, `${hint}: acknowledged`).toEqual(expect.arrayContaining(ledger.published));
    expect(left, `${hint}: what is left is a part of it`).toEqual(all.filter((data) => left.includes(data)));
    for (const data of [...ledger.acked, ...ledger.committed]) expect(left, `${hint}: settled`).not.toContain(data);
    for (const data of ledger.committed) {
      expect(out.filter(({ of }) => of === data).length, `${hint}: ${String(data)} committed`).toBe(2);
    }
    for (const { of } of out) {
      expect(out.filter((one) => one.of === of).length, `${hint}: half of ${of}`).toBe(2);
      expect(left, `${hint}: published, and not settled`).not.toContain(of);
    }
    const letters = (await broker.deadLetters.list()).items.map(({ message }) => message.data);
    for (const data of letters) expect(left, `${hint}: a dead letter, and there`).not.toContain(data);
    // It goes on.
    await broker.publish("in", 999);
    expect((await takeOne(sub)).data, hint).toBe(999);
  } finally {
    await broker.close({ drain: false });
  }
}

describe("a broker whose disk fails", () => {
  it("at a sync has what it acknowledged, before it was opened again and after, when power goes then", async () => {
    let failedSyncs = 0;
    for (let failAt = 0; ; failAt += 1) {
      const files = new FaultyFileSystem({ failAt, seed: failAt + 1 });
      const database = new MemoryDatabase();
      const ledger: Ledger = { published: [], acked: [], committed: [] };
      await work(files, database, ledger);
      if (!files.hasFailed) break;
      if (files.failedKind !== "datasync") continue;
      failedSyncs += 1;
      files.failAt = undefined;
      const broker = await open(files, database);
      await broker.publish("in", 500);
      // Also what nobody was told of, and a consumer has seen by now.
      ledger.published.push(...(await historyOf(broker, "in")).map(({ data }) => data), 500);
      const after = files.crash({ keep: "none" });
      const stored = database.copy();
      await broker.close({ drain: false });
      await compare(after, stored, ledger, `sync ${failAt} fails`);
    }
    expect(failedSyncs).toBeGreaterThan(5);
  }, 60_000);
});
