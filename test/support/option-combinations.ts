// A subscription with some combination of options, and what arrives in it.
import * as fc from "fast-check";
import type { BrokerOptions, Message, PublishOptions, SubscribeOptions, Subscription } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { expect } from "vitest";
import { balanced } from "./manual-broker.js";
import { ManualClock } from "./manual-clock.js";

const count = 24;

/** Each option with its values; undefined: it is not given. */
const choices = {
  take: ["sync handler", "async handler", "failing handler", "iterator", "fetch"],
  ack: [undefined, "none", "auto", "manual"],
  orderBy: [undefined, "key"],
  concurrency: [undefined, 3],
  maxInFlight: [undefined, 2],
  group: [undefined, "g"],
  members: [1, 2],
  maxMessages: [undefined, 2],
  rateLimit: [undefined, { perSecond: 1_000, burst: 2 }],
  aging: [undefined, 100],
  payloads: [undefined, "clone", "freeze"],
  filter: [undefined, () => true],
  brokerAck: [undefined, {}],
  plugin: [undefined, { name: "watch", onDeliver: () => undefined }],
  publish: ["one", "batch", "key", "priority", "ttl", "delay", "transaction"],
} as const;
/** One value of each. */
export type Choice = { -readonly [Name in keyof typeof choices]: (typeof choices)[Name][number] };

/** Any of them. */
export const combination: fc.Arbitrary<Choice> = fc.record(
  Object.fromEntries(Object.entries(choices).map(([name, values]) => [name, fc.constantFrom(...values)])),
) as never;

/** Every pair of values of two options once, the other options as `base` has them. */
export function* pairs(base: Choice): Generator<Choice> {
  const names = Object.keys(choices) as (keyof Choice)[];
  for (const [at, one] of names.entries()) {
    for (const other of names.slice(at + 1)) {
      for (const first of choices[one]) {
        for (const second of choices[other]) yield { ...base, [one]: first, [other]: second };
      }
    }
  }
}

/** What `pairs` departs from. */
export const base: Choice = {
  take: "async handler",
  ack: undefined,
  orderBy: undefined,
  concurrency: undefined,
  maxInFlight: undefined,
  group: undefined,
  members: 1,
  maxMessages: undefined,
  rateLimit: undefined,
  aging: undefined,
  payloads: undefined,
  filter: undefined,
  brokerAck: undefined,
  plugin: undefined,
  publish: "key",
};

/** Broker options, and what is subscribed with beside the choice; made anew for each. */
export type Beside = () => { readonly broker: BrokerOptions; readonly subscribe: SubscribeOptions };

/** Publishes and takes with the choice, and returns what arrived, and what should have. */
async function run(choice: Choice, beside: Beside): Promise<{ got: number[]; wanted: number[] }> {
  const given = beside();
  const { payloads, plugin, brokerAck, aging } = choice;
  const isDurable = given.subscribe.durable !== undefined;
  const clock = new ManualClock();
  const broker = new InProcBroker({
    clock,
    random: () => 0.5,
    transactions: {},
    ...given.broker,
    ...(payloads === undefined ? {} : { payloads }),
    ...(plugin === undefined ? {} : { plugins: [plugin] }),
    ...(brokerAck === undefined ? {} : { ack: brokerAck }),
  });
  broker.on("error", () => undefined);
  const acknowledges = isDurable || (choice.ack !== "none" && (choice.ack !== undefined || brokerAck !== undefined));
  const got: number[] = [];
  let isOver = false;
  const note = async (message: Message): Promise<void> => {
    got.push(message.data as number);
    const isManual = choice.ack === "manual" || choice.take === "iterator" || choice.take === "fetch";
    if (acknowledges && isManual && choice.ack !== "auto") await message.ack();
  };
  const seen = new Set<number>();
  const handlers = {
    "sync handler": (message: Message) => void note(message),
    "async handler": async (message: Message) => {
      await new Promise(setImmediate);
      await note(message);
    },
    "failing handler": async (message: Message) => {
      if (acknowledges && !seen.has(message.seq)) {
        seen.add(message.seq);
        if (choice.ack === "manual") return message.nack({ delay: 5 });
        throw new Error("again");
      }
      return note(message);
    },
  } as const;
  const options = {
    ...Object.fromEntries(
      (["ack", "orderBy", "concurrency", "maxInFlight", "group", "maxMessages", "rateLimit", "filter"] as const)
        .filter((name) => choice[name] !== undefined)
        .map((name) => [name, choice[name]]),
    ),
    ...(aging === undefined ? {} : { priority: { aging } }),
    ...given.subscribe,
  } as SubscribeOptions;
  const pull = async (sub: Subscription): Promise<void> => {
    if (choice.take === "iterator") for await (const message of sub) await note(message);
    else
      while (!isOver)
        for (const message of await sub.fetch(3, { timeout: 50 })) {
          await note(message);
          if (acknowledges && choice.ack === "auto") await message.ack();
        }
  };
  const pulls: Promise<void>[] = [];
  for (let member = 0; member < choice.members; member += 1) {
    if (choice.take === "iterator" || choice.take === "fetch") pulls.push(pull(broker.subscribe("a", options)));
    else broker.subscribe("a", handlers[choice.take], options);
  }
  const numbers = Array.from({ length: count }, (_, index) => index);
  const how: Record<Choice["publish"], PublishOptions> = {
    one: {},
    batch: {},
    key: {},
    transaction: {},
    priority: {},
    ttl: { ttl: 3_600_000 },
    delay: { delay: 20 },
  };
  const of = (n: number): PublishOptions => ({
    ...how[choice.publish],
    ...(choice.publish === "one" ? {} : { key: `k${n % 3}` }),
    ...(choice.publish === "priority" ? { priority: (n % 10) as PublishOptions["priority"] } : {}),
  });
  const publishing =
    choice.publish === "batch"
      ? broker.publishBatch(numbers.map((n) => ({ topic: "a", data: n, ...of(n) })))
      : choice.publish === "transaction"
        ? broker.transaction((tx) => {
            for (const n of numbers) void tx.publish("a", n, of(n));
          })
        : Promise.all(numbers.map((n) => broker.publish("a", n, of(n))));
  const copies = choice.group === undefined && !isDurable ? choice.members : 1;
  for (let turn = 0; turn < 2_000 && got.length < count * copies; turn += 1) {
    await new Promise(setImmediate);
    if (turn % 3 === 2) await clock.advance(10);
  }
  isOver = true;
  await publishing;
  const idle = broker.idle({ scheduled: true, timeout: 1_500 });
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise(setImmediate);
    await clock.advance(100);
  }
  await idle;
  expect(balanced(broker)).toMatchObject({ queued: 0, inFlight: 0, memoryBytes: 0 });
  await broker.close({ drain: false });
  await Promise.all(pulls);
  const wanted = Array.from({ length: copies }, () => numbers).flat();
  return { got: got.toSorted((a, b) => a - b), wanted: wanted.toSorted((a, b) => a - b) };
}

/** Fails where a message is missing, or comes twice. @param beside - a store, and a durable on it */
export async function bringsEachOnce(
  choice: Choice,
  beside: Beside = () => ({ broker: {}, subscribe: {} }),
): Promise<void> {
  const { got, wanted } = await run(choice, beside);
  expect(got, JSON.stringify(choice)).toEqual(wanted);
}
