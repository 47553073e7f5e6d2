// Earlier brokers logged a failed write and reported success; and one entered a message's dedup id before it wrote, so that
// the retry after the failure was taken for a duplicate.
import { expect, it } from "vitest";
import { collect, crash, dataOf, memoryMachine, openBroker, temporaryFolder } from "../broker-store/fixture.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { rejectionCode } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";

it("a publish that the store refuses rejects, and its retry under the same dedupId is accepted", async () => {
  const files = new FaultyFileSystem();
  const clock = new ManualClock();
  const broker = await openBroker("/store", { clock, store: { machine: memoryMachine(files) } });
  broker.on("error", () => undefined);
  const seen = collect(broker, "a");
  files.capacityBytes = files.usedBytes;
  expect(await rejectionCode(broker.publish("a", 1, { dedupId: "one" }))).toBe("ERR_STORE_FULL");
  files.capacityBytes = Infinity;
  await clock.advance(1_000);
  expect(await broker.publish("a", 1, { dedupId: "one" })).toMatchObject({ duplicate: false });
  expect(await broker.publish("a", 1, { dedupId: "one" })).toMatchObject({ duplicate: true });
  expect(dataOf(seen)).toEqual([1]);
});

it("after a restart the same dedupId is a duplicate of what was stored", async () => {
  const path = temporaryFolder();
  const broker = await openBroker(path);
  const { id } = await broker.publish("a", 1, { dedupId: "one" });
  const again = await openBroker(crash(path));
  const seen = collect(again, "a");
  expect(await again.publish("a", 1, { dedupId: "one" })).toMatchObject({ duplicate: true, id });
  expect(seen).toEqual([]);
});

it("a transaction of which the disk takes a part leaves no part", async () => {
  const files = new FaultyFileSystem();
  const broker = await openBroker("/store", { transactions: {}, store: { machine: memoryMachine(files) } });
  broker.on("error", () => undefined);
  const seen = collect(broker, ">");
  files.capacityBytes = files.usedBytes + 300;
  const refused = broker.transaction((tx) => {
    for (const topic of ["a", "b", "c", "d"]) void tx.publish(topic, "x".repeat(100));
  });
  expect(await rejectionCode(refused)).toBe("ERR_STORE_FULL");
  expect(seen).toEqual([]);
  expect(dataOf(await broker.recoverMessages(">"))).toEqual([]);
});
