// The order of delivery: first in first out for one consumer, and within one key whatever fails, however many work at once.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

describe("first in first out", () => {
  it("holds across every way of publishing, publishers that are held back included", async () => {
    const { broker } = manualBroker({ transactions: {} });
    const sub = broker.subscribe("t", { maxMessages: 4 });
    const publishes = [
      broker.publish("t", 0),
      broker.publish("t", 1, { key: "k" }),
      broker.publishBatch([{ topic: "t", data: 2 }, { topic: "t", data: 3 }]), // prettier-ignore
      broker.publish("t", 4),
      broker.transaction((tx) => tx.publish("t", 5)),
      broker.publish("t", 6, { ttl: 1e6 }),
      broker.publish("t", 7),
    ];
    await settle();
    expect(sub.stats()).toMatchObject({ queued: 4, waiting: 4 });
    expect((await fetchNow(sub)).map((msg) => msg.data)).toEqual([0, 1, 2, 3, 4, 6, 7, 5]);
    await Promise.all(publishes);
  });

  it("holds for one consumer whose handlers are quick, slow and late by turns", async () => {
    const { broker, clock } = manualBroker();
    const [begun, done]: [unknown[], unknown[]] = [[], []];
    broker.subscribe("t", async (msg) => {
      begun.push(msg.data);
      const number = msg.data as number;
      if (number % 3 === 1) await settle();
      if (number % 3 === 2) await new Promise<void>((resolve) => void clock.schedule(number % 7, resolve));
      done.push(msg.data);
    });
    const sent = Array.from({ length: 100 }, (_, index) => index);
    for (const data of sent) await broker.publish("t", data);
    for (let round = 0; done.length < 100 && round < 300; round += 1) await clock.advance(7);
    expect([begun, done]).toEqual([sent, sent]);
  });
});

describe('orderBy: "key"', () => {
  it("one at a time and in order within a key, through throws, timeouts, leaving members and several at once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            key: fc.constantFrom("a", "b", "c", undefined),
            fails: fc.array(fc.constantFrom("throw", "hang", "leave"), { maxLength: 2 }),
            ms: fc.nat(30),
          }),
          { minLength: 5, maxLength: 30 },
        ),
        async (messages) => {
          const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 200, maxDeliveries: Infinity } });
          broker.on("error", () => undefined);
          const done: number[] = [];
          const violations: string[] = [];
          const running = new Map<string, number>();
          const join = (): void => {
            const sub = broker.subscribe(
              "t",
              async (msg) => {
                const number = msg.data as number;
                const { fails, ms } = messages[number] as (typeof messages)[number];
                const failure = fails[msg.deliveryCount - 1];
                if (msg.key !== undefined) {
                  if (running.has(msg.key)) violations.push(`${number} beside ${running.get(msg.key)}`);
                  running.set(msg.key, number);
                  msg.signal.addEventListener("abort", () => running.delete(msg.key as string));
                }
                if (failure === "hang") await new Promise(() => undefined);
                await new Promise<void>((resolve) => void clock.schedule(ms, resolve));
                if (msg.signal.aborted) return;
                if (failure === "leave") {
                  join();
                  await sub.unsubscribe();
                  return;
                }
                if (msg.key !== undefined) running.delete(msg.key);
                if (failure === "throw") throw new Error("again");
                done.push(number);
              },
              { group: "g", orderBy: "key", concurrency: 3 },
            );
          };
          join();
          join();
          for (const [number, { key }] of messages.entries()) await broker.publish("t", number, { key });
          for (let round = 0; done.length < messages.length && round < 500; round += 1) await clock.advance(100);
          expect(violations).toEqual([]);
          expect(done.toSorted((one, other) => one - other)).toEqual([...messages.keys()]);
          for (const key of ["a", "b", "c"]) {
            const ofKey = done.filter((number) => messages[number]?.key === key);
            expect(ofKey, key).toEqual(ofKey.toSorted((one, other) => one - other));
          }
          expect(balanced(broker)).toMatchObject({ queued: 0, inFlight: 0, delayed: 0, dropped: {} });
          await broker.close();
        },
      ),
      { numRuns: 40 },
    );
  });
});
