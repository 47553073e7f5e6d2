// A store that goes through an export into another one behaves there as it would have.
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compactStore, exportStore, importStore } from "inproc-broker/persistence";
import { balanced, fetchNow, takeOne } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { dataOf, openBroker, temporaryFolder } from "./fixture.js";
import type { StoredBrokerOptions } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

/** The store in `path`, as it comes out of an export. */
async function moved(path: string, clock: ManualClock): Promise<string> {
  const [target, copy] = [join(temporaryFolder(), "all.ndjson"), temporaryFolder()];
  await exportStore({ path, target, clock });
  await importStore({ path: copy, source: target, clock });
  return copy;
}

const options = (clock: ManualClock): StoredBrokerOptions => ({
  clock,
  deadLetter: {},
  ack: { maxDeliveries: 1 },
  store: { checkpointInterval: 1e9 },
});

describe("what has expired in a durable's backlog", () => {
  const steps: Record<string, (path: string, clock: ManualClock) => Promise<string>> = {
    "an export and an import": moved,
    "two of them": async (path, clock) => moved(await moved(path, clock), clock),
    "a compaction while it is closed": async (path, clock) => {
      await compactStore({ path, clock });
      return path;
    },
  };

  it.each(Object.keys(steps))("is told, once, after %s", async (name) => {
    const clock = new ManualClock();
    const path = temporaryFolder();
    const broker = await openBroker(path, options(clock));
    await broker.subscribe("a", manual).unsubscribe();
    for (const data of [1, 2]) await broker.publish("a", data, { ttl: data * 100 });
    await broker.compact();
    for (const data of [3, 4]) await broker.publish("a", data, data === 3 ? { ttl: 100 } : {});
    await broker.publish("nobody", 5, { ttl: 100 });
    await broker.close();
    await clock.advance(150);

    const next = await openBroker((await steps[name]?.(path, clock)) ?? "", options(clock));
    const told: unknown[] = [];
    next.on("expire", ({ message }) => told.push(message.data));
    expect(next.subscriptions()).toMatchObject([{ backlog: 4 }]);
    for (let n = 0; n < 2; n++) await next.compact();
    expect(told).toEqual([1, 3]);
    const { items } = await next.deadLetters.list({ reason: "expired" });
    expect(items.map(({ message }) => message.data)).toEqual([1, 3]);
    expect(dataOf(await fetchNow(next.subscribe("a", manual)))).toEqual([2, 4]);
    balanced(next);
  });

  it("is not in an export where nobody has to be told", async () => {
    const clock = new ManualClock();
    const path = temporaryFolder();
    const broker = await openBroker(path, options(clock));
    await broker.publish("a", 1, { ttl: 100 });
    await broker.publish("a", 2);
    await broker.close();
    await clock.advance(150);
    const target = join(temporaryFolder(), "all.ndjson");
    expect(await exportStore({ path, target, clock })).toMatchObject({ messages: 1 });
  });
});

it("a durable gets what comes after an export and an import, also where nothing of what came before it is left", async () => {
  const clock = new ManualClock();
  const path = temporaryFolder();
  const broker = await openBroker(path, options(clock));
  const first = broker.subscribe("a", manual);
  for (const data of [1, 2]) await broker.publish("a", data);
  for (const message of await fetchNow(first)) await message.ack();
  await broker.subscribe("a", { ...manual, durable: "later" }).unsubscribe();
  await broker.close();

  const next = await openBroker(await moved(path, clock), options(clock));
  await next.publish("a", 3);
  for (const durable of ["d", "later"]) {
    expect(dataOf(await fetchNow(next.subscribe("a", { ...manual, durable })))).toEqual([3]);
  }
});

it("a dead letter that was driven again comes as redelivered after an export and an import, too", async () => {
  const clock = new ManualClock();
  const path = temporaryFolder();
  const broker = await openBroker(path, options(clock));
  const sub = broker.subscribe("a", manual);
  await broker.publish("a", 1);
  await broker.publish("a", 2);
  await (await takeOne(sub)).reject("not now");
  await (await takeOne(sub)).ack();
  await sub.unsubscribe();
  await broker.publish("a", 3);
  expect(await broker.deadLetters.redrive({ topic: "a" })).toBe(1);
  await broker.close();

  const next = await openBroker(await moved(path, clock), options(clock));
  const messages = await fetchNow(next.subscribe("a", manual));
  expect(messages.map(({ data, redelivered, deliveryCount }) => [data, redelivered, deliveryCount])).toEqual([
    [3, false, 1],
    [1, true, 1],
  ]);
});
