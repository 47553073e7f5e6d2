// close() on a store: a durable's backlog is kept, so it holds nobody up unless it is being taken.
import { expect, it } from "vitest";
import type { CloseResult, InProcBroker, Message } from "inproc-broker";
import { fetchNow, takeOne } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { collect, dataOf, openBroker, range, temporaryFolder } from "./fixture.js";

const manual = { durable: "d", ack: "manual" } as const;

/** A broker on a clock that stands still, with ten messages for a durable. */
async function withBacklog(): Promise<{ path: string; clock: ManualClock; broker: InProcBroker }> {
  const path = temporaryFolder();
  const clock = new ManualClock();
  const broker = await openBroker(path, { clock });
  await broker.subscribe("a", manual).unsubscribe();
  for (const data of range(1, 10)) await broker.publish("a", data);
  return { path, clock, broker };
}

function left({ undelivered, unacked }: CloseResult): unknown {
  return { undelivered: dataOf(undelivered), unacked: dataOf(unacked) };
}

async function next(path: string): Promise<Message[]> {
  return fetchNow((await openBroker(path)).subscribe("a", manual));
}

it("does not wait for a durable that nobody reads, says what of it was in memory, and loses nothing", async () => {
  const { path, broker } = await withBacklog();
  const sub = broker.subscribe("a", { ...manual, maxMessages: 4 });
  await sub.whenFilled();
  expect(left(await broker.close())).toEqual({ undelivered: range(1, 4), unacked: [] });
  const messages = await next(path);
  expect(dataOf(messages)).toEqual(range(1, 10));
  expect(messages.some(({ redelivered }) => redelivered)).toBe(false);
});

it("waits for what was handed out, and for no more", async () => {
  const { path, broker } = await withBacklog();
  const message = await takeOne(broker.subscribe("a", { ...manual, maxMessages: 4 }));
  const closing = broker.close();
  await message.ack();
  expect(left(await closing)).toEqual({ undelivered: expect.arrayContaining([2, 3, 4]) as unknown, unacked: [] });
  expect(dataOf(await next(path))).toEqual(range(2, 10));
});

it("returns at its deadline what was handed out and not settled; it comes again", async () => {
  const { path, broker, clock } = await withBacklog();
  const held = await fetchNow(broker.subscribe("a", manual), 2);
  expect(dataOf(held)).toEqual([1, 2]);
  const closing = broker.close({ timeout: 300 });
  await clock.advance(299);
  expect(broker.state).toBe("draining");
  await clock.advance(1);
  const { unacked } = await closing;
  expect(dataOf(unacked).sort()).toEqual([1, 2]);
  const messages = await next(path);
  expect(messages.map(({ data, redelivered }) => [data, redelivered])).toEqual(
    range(1, 10).map((data) => [data, data <= 2]),
  );
});

it("waits for the whole backlog that a handler takes", async () => {
  const { path, broker } = await withBacklog();
  const seen = collect(broker, "a", { durable: "d", maxMessages: 2 });
  expect(left(await broker.close())).toEqual({ undelivered: [], unacked: [] });
  expect(dataOf(seen)).toEqual(range(1, 10));
  expect(await next(path)).toEqual([]);
});

it("does not wait for a handler that is paused, nor for what is in its backoff without a handler", async () => {
  const { path, broker } = await withBacklog();
  const paused = broker.subscribe("a", () => undefined, { durable: "d" });
  paused.pause();
  const other = broker.subscribe("b", { durable: "e", ack: "manual" });
  await broker.publish("b", 1);
  await (await takeOne(other)).nack({ delay: 60_000 });
  const { unacked } = await broker.close();
  expect(unacked).toEqual([]);
  expect(dataOf(await next(path))).toEqual(range(1, 10));
});

it("does not wait for history that nobody reads", async () => {
  const { broker } = await withBacklog();
  const reader = broker.subscribe("a", { from: "oldest" });
  await reader.whenFilled();
  expect(left(await broker.close())).toEqual({ undelivered: range(1, 10), unacked: [] });
  expect(await reader.fetch(1)).toEqual([]);
  expect(await reader.next()).toEqual({ value: undefined, done: true });
});
