// A batch is one record of the log. Pages of it are read and decoded once, not once for each page.
import { expect, it } from "vitest";
import type { StoreEngine } from "../../../src/persistence/engine.js";
import type { Machine } from "../../../src/persistence/options.js";
import { durable, openStore, pendingSeqs, publish, range, replayed, temporaryFolder } from "./fixture.js";

/** A store that counts how often a file of its log was opened to be read. */
async function counted(): Promise<{ store: StoreEngine; opened: () => number }> {
  let count = 0;
  const machine = (real: Machine): Machine => ({
    ...real,
    fileSystem: {
      ...real.fileSystem,
      openForRead: (path) => {
        if (path.endsWith(".wal")) count += 1;
        return real.fileSystem.openForRead(path);
      },
    },
  });
  const store = await openStore(temporaryFolder(), { machine, checkpointInterval: 1e9 });
  const before = (): number => count;
  return { store, opened: before };
}

async function readsOf(opened: () => number, run: () => Promise<unknown>): Promise<number> {
  const before = opened();
  await run();
  return opened() - before;
}

it("reads one large batch once, whatever the size of the pages, and gives all of it in order", async () => {
  const { store, opened } = await counted();
  await store.append([durable("d", [">"])]);
  await store.append([publish(1), publish(2)]);
  await store.append(range(3, 3002).map((seq) => publish(seq)));
  await store.append(range(3003, 6002).map((seq) => publish(seq)));
  await store.append([publish(6003)]);
  let seqs: number[] = [];
  const reads = await readsOf(opened, async () => (seqs = await pendingSeqs(store, "d", 100)));
  expect(seqs).toEqual(range(1, 6003));
  expect(reads).toBeLessThan(10);
  expect(await readsOf(opened, async () => (seqs = await replayed(store)))).toBeLessThan(10);
  expect(seqs).toEqual(range(1, 6003));
});

it("does not mind a checkpoint, a settle or another reader in between", async () => {
  const { store } = await counted();
  await store.append([durable("d", [">"]), durable("e", [">"])]);
  await store.append(range(1, 2000).map((seq) => publish(seq)));
  await store.append(range(2001, 4000).map((seq) => publish(seq)));
  const page = async (name: string, afterSeq: number): Promise<number[]> =>
    (await store.pending(name, afterSeq, 300)).messages.map(({ message }) => message.seq);
  expect(await page("d", 0)).toEqual(range(1, 300));
  expect(await page("e", 1800)).toEqual(range(1801, 2100));
  expect(await page("d", 300)).toEqual(range(301, 600));
  await store.append([{ type: "settle", durable: "d", seq: 700, outcome: "ack", deliveryCount: 1 }]);
  expect(await page("d", 600)).toEqual(range(601, 901).filter((seq) => seq !== 700));
  await store.checkpoint();
  expect(await page("d", 900)).toEqual(range(901, 1200));
  expect(await page("e", 2100)).toEqual(range(2101, 2400));
});
