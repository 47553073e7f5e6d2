// An earlier broker kept what a consumer held in its memory alone, or in a list that nobody went through: after the
// consumer's process died, its messages were stuck for ever. Here a message that was handed out is pending until it is settled, and
// how often it was tried outlives the process.
import { expect, it } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { memoryOptions } from "../crash/store-workload.js";
import { ack, durable, publish } from "../persistence/store/fixture.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { MemoryDatabase } from "../support/memory-database.js";

it("a message whose consumer died is pending again after the restart, its attempts counted", async () => {
  const disk = new FaultyFileSystem();
  const database = new MemoryDatabase();
  const store = await StoreEngine.open(memoryOptions(disk, database));
  await store.append([durable("work", [">"]), publish(1), publish(2)]);
  await store.append([{ type: "settle", durable: "work", seq: 1, outcome: "attempt", deliveryCount: 1, retryAt: 7 }]);
  await store.append([ack("work", 2)]);
  // No close: the process is gone, with what was not on the disk.
  const again = await StoreEngine.open(memoryOptions(disk.crash({ keep: "none" }), database));
  const { messages } = await again.pending("work", 0, 10);
  expect(messages.map(({ message, deliveryCount, retryAt }) => [message.seq, deliveryCount, retryAt])).toEqual([
    [1, 1, 7],
  ]);
  await again.close();
});
