// An earlier broker resumed a consumer behind the last message that it had received: what it held and had not acknowledged when it
// went away never came again. Here a durable goes on with what it has not settled, whatever was handed out.
import { expect, it } from "vitest";
import { ack, durable, openStore, pendingSeqs, publish, range, temporaryFolder } from "../persistence/store/fixture.js";

it("a durable resumes with what it has not settled, in order, also below what it has", async () => {
  const path = temporaryFolder();
  let store = await openStore(path);
  await store.append([durable("d", [">"])]);
  for (const seq of range(1, 6)) await store.append([publish(seq)]);
  expect((await store.pending("d", 0, 10)).messages.length).toBe(6);
  await store.append([ack("d", 2), ack("d", 5)]);
  for (const restart of ["log", "checkpoint"]) {
    if (restart === "checkpoint") await store.checkpoint();
    await store.close();
    store = await openStore(path);
    expect(await pendingSeqs(store, "d"), restart).toEqual([1, 3, 4, 6]);
  }
});
