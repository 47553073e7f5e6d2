import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { InProcBroker } from "inproc-broker";
import {
  StoreInspector,
  backupStore,
  compactStore,
  exportStore,
  importStore,
  levelPersistence,
  restoreStore,
} from "inproc-broker/persistence";
import type { LevelPersistenceOptions, Progress } from "inproc-broker/persistence";
import { temporaryFolder } from "../support/temporary-folder.js";

/** Large enough that a store is smaller without it, whatever its files take. */
const chart = "~".repeat(20_000);

/** A closed store: three orders that the durable `billing` has still to settle, and two prices that nobody waits for. */
async function closedStore(
  path: string,
  retention: LevelPersistenceOptions["retention"] = { policy: "limits" },
): Promise<void> {
  const broker = await InProcBroker.open({
    persistence: levelPersistence({ path, retention, reserveBytes: 4096 }),
  });
  broker.subscribe("orders.*", () => undefined, { durable: "billing" }).pause();
  for (const order of [1, 2, 3]) await broker.publish("orders.created", { order });
  for (const price of [10, 20]) await broker.publish("prices.gold", { price, chart });
  await broker.close({ drain: false });
}

async function historyOf(path: string): Promise<unknown[]> {
  const broker = await InProcBroker.open({
    persistence: levelPersistence({ path, retention: { policy: "limits" }, reserveBytes: 4096 }),
  });
  try {
    const history: unknown[] = [];
    for await (const { seq, topic, data } of broker.replay(">")) history.push([seq, topic, data]);
    return history;
  } finally {
    await broker.close({ drain: false });
  }
}

const everything = [
  [1, "orders.created", { order: 1 }],
  [2, "orders.created", { order: 2 }],
  [3, "orders.created", { order: 3 }],
  [4, "prices.gold", { price: 10, chart }],
  [5, "prices.gold", { price: 20, chart }],
];
const billing = { name: "billing", patterns: ["orders.*"], floor: 0, pending: 3, attempted: 0 };

describe("the door for stores that no process has open", () => {
  it("shows what is in one", async () => {
    const path = temporaryFolder();
    await closedStore(path);
    const inspector = await StoreInspector.open({ path });
    try {
      expect(inspector.topics()).toEqual([
        { topic: "orders.created", messages: 3 },
        { topic: "prices.gold", messages: 2 },
      ]);
      expect(inspector.durables()).toEqual([billing]);
      expect(await inspector.summary()).toMatchObject({
        path,
        holder: undefined,
        retention: { policy: "limits" },
        lastSeq: 5,
        messages: 5,
        problems: [],
      });
      expect(await inspector.peek("prices.>", 1)).toMatchObject([
        { seq: 4, topic: "prices.gold", data: { price: 10, chart } },
      ]);
      expect(await inspector.verify()).toMatchObject({ isSound: true, messages: 5, problems: [] });
    } finally {
      await inspector.close();
    }
  });

  it("exports what a durable waits for beyond the limits of history, too", async () => {
    const path = temporaryFolder();
    await closedStore(path, { policy: "limits", maxMessages: 1 });
    const target = join(dirname(path), "all.ndjson");
    expect(await exportStore({ path, target })).toMatchObject({ messages: 4, problems: [] });
    expect(await historyOf(path)).toHaveLength(1);
  });

  it("carries one into another folder by a file, and gives back the room of what nobody waits for", async () => {
    const path = temporaryFolder();
    const folder = dirname(path);
    await closedStore(path);
    const target = join(folder, "all.ndjson.gz");
    const told: Progress[] = [];
    const onProgress = (progress: Progress): void => void told.push(progress);
    expect(await exportStore({ path, target, onProgress })).toMatchObject({ messages: 5, problems: [] });
    const copy = join(folder, "copy");
    expect(await importStore({ path: copy, source: target, onProgress })).toMatchObject({
      messages: 5,
      durables: 1,
      renumbered: 0,
      existingDurables: [],
      isComplete: true,
    });
    expect(told.map(({ unit }) => unit)).toEqual(["messages", "lines"]);
    expect(await historyOf(copy)).toEqual(everything);
    const compacted = await compactStore({ path: copy, retention: { policy: "interest" } });
    expect(compacted.messages).toBe(3);
    expect(compacted.bytesAfter).toBeLessThan(compacted.bytesBefore);
    expect(await historyOf(copy)).toEqual(everything.slice(0, 3));
    expect(await historyOf(path)).toEqual(everything);
  });

  it.each(["copy", "copy.zip"])("backs one up and makes a store of the backup again (%s)", async (name) => {
    const path = temporaryFolder();
    const folder = dirname(path);
    await closedStore(path);
    const source = join(folder, name);
    const backup = await backupStore({ path, target: source });
    expect(backup.files).toBeGreaterThan(1);
    const restored = join(folder, "restored");
    expect(await restoreStore({ source, path: restored })).toMatchObject({
      files: backup.files,
      verified: { isSound: true, messages: 5 },
    });
    expect(await historyOf(restored)).toEqual(everything);
  });

  it("refuses a restore without a source, and an export into a folder that is not there, before anything is written", async () => {
    const path = temporaryFolder();
    const folder = dirname(path);
    await closedStore(path);
    const restored = join(folder, "restored");
    await expect(restoreStore({ path: restored } as never)).rejects.toMatchObject({
      code: "ERR_INVALID_OPTION",
      facts: { option: "source" },
    });
    const target = join(folder, "missing", "all.ndjson");
    const exporting = exportStore({ path, target });
    await expect(exporting).rejects.toMatchObject({ code: "ERR_INVALID_OPTION", facts: { target } });
    await expect(exporting).rejects.not.toThrow(/unfinished/);
  });
});
