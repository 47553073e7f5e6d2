import { expect, it } from "vitest";
import { fetchNow, manualBroker } from "../support/manual-broker.js";

/** A message's own facts, and no more. */
const facts = { key: undefined, priority: 4, expiresAt: undefined, correlationId: undefined, headers: {} };

it("messages of one turn differ in what each of them says, whatever they have in common", async () => {
  const { broker, clock } = manualBroker();
  const sub = broker.subscribe("a");
  const now = clock.now();
  const pending = [
    broker.publish("a", 0),
    broker.publish("a", 1, { priority: 7 }),
    broker.publish("a", 2, { key: "k" }),
    broker.publish("a", 3, { ttl: 500 }),
    broker.publish("a", 4, { headers: { h: "v" } }),
    broker.publish("a", 5, { priority: 0 }),
    broker.publish("a", 6, { priority: 7, id: "own", correlationId: "c" }),
    broker.publish("a", 7),
  ];
  broker.publishSync("a", 8, { priority: 7 });
  await Promise.all(pending);
  const records = (await fetchNow(sub)).map((message) => JSON.parse(JSON.stringify(message)) as unknown);
  const expected = [
    { data: 1, priority: 7 },
    { data: 6, priority: 7, id: "own", correlationId: "c" },
    { data: 8, priority: 7 },
    { data: 0 },
    { data: 2, key: "k" },
    { data: 3, expiresAt: now + 500 },
    { data: 4, headers: { h: "v" } },
    { data: 7 },
    { data: 5, priority: 0 },
  ].map((own) => ({ ...facts, timestamp: now, ...own }));
  expect(records).toMatchObject(JSON.parse(JSON.stringify(expected)) as object[]);
  expect(records.filter((record) => "key" in (record as object))).toHaveLength(1);
  expect(records.filter((record) => "expiresAt" in (record as object))).toHaveLength(1);
  await broker.close({ drain: false });
});

it("a message keeps the time of its publish while later ones get theirs", async () => {
  const { broker, clock } = manualBroker();
  const sub = broker.subscribe("a");
  const begin = clock.now();
  broker.publishSync("a", 0);
  await clock.advance(1_000);
  broker.publishSync("a", 1);
  broker.publishSync("a", 2, { priority: "highest" });
  const messages = await fetchNow(sub);
  expect(messages.map(({ data, timestamp }) => [data, timestamp])).toEqual([
    [2, begin + 1_000],
    [0, begin],
    [1, begin + 1_000],
  ]);
  expect(new Set(messages.map(({ id }) => id)).size).toBe(3);
  await broker.close({ drain: false });
});
