// Members of a group that come and go while messages are in flight, and how the work is shared.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Message, Subscription } from "inproc-broker";
import { balanced, fetchNow, manualBroker, roundAck } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

type Step =
  | { readonly do: "publish"; readonly count: number }
  | { readonly do: "join"; readonly pattern: number }
  | { readonly do: "leave" | "die" | "take" | "ack" | "nack" | "throwAway"; readonly which: number };

const patterns = ["t.*", ">", "t.1"];

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("join" as const), pattern: fc.nat(2) }) },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom("leave", "die", "take", "take", "ack", "ack", "nack", "throwAway"),
      which: fc.nat(20),
    }),
  },
);

describe("members that come and go with messages in flight", () => {
  it("lose nothing and double nothing: each message is in one pair of hands at a time, and acknowledged once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80 }), async (steps) => {
        const { broker, clock } = manualBroker({ ack: { ...roundAck, timeout: 1e6, maxDeliveries: Infinity } });
        const members: { sub: Subscription; held: Message[]; stop: AbortController }[] = [];
        const inHands = new Map<unknown, number>();
        const acked = new Map<unknown, number>();
        let published = 0;
        const join = (pattern: number): void => {
          const stop = new AbortController();
          const sub = broker.subscribe(patterns[pattern] as string, {
            group: "g",
            signal: stop.signal,
            maxInFlight: 3,
          });
          members.push({ sub, held: [], stop });
        };
        const hand = (data: unknown, by: 1 | -1): void => {
          const hands = (inHands.get(data) ?? 0) + by;
          inHands.set(data, hands);
          expect(hands, `hands that hold ${String(data)}`).toBeLessThanOrEqual(1);
        };
        const settleOne = async (message: Message, how: "ack" | "nack"): Promise<void> => {
          hand(message.data, -1);
          if (how === "nack") await message.nack({ delay: 5 });
          else {
            await message.ack();
            acked.set(message.data, (acked.get(message.data) ?? 0) + 1);
          }
        };
        const take = async (member: (typeof members)[number]): Promise<void> => {
          for (const message of await fetchNow(member.sub, 2)) {
            hand(message.data, 1);
            member.held.push(message);
          }
        };
        join(1);
        for (const one of steps) {
          if (one.do === "publish") {
            for (let more = 0; more < one.count; more += 1) {
              await broker.publish("t.1", published);
              published += 1;
            }
            continue;
          }
          if (one.do === "join") {
            join(one.pattern);
            continue;
          }
          const member = members[one.which % members.length] as (typeof members)[number];
          if (one.do === "take") await take(member);
          else if (one.do === "ack" || one.do === "nack") {
            const message = member.held.shift();
            if (message !== undefined) await settleOne(message, one.do);
          } else if (one.do === "throwAway") await clock.advance(5);
          else if (members.length > 1) {
            members.splice(members.indexOf(member), 1);
            // From here on what it held is the others'.
            for (const message of member.held) hand(message.data, -1);
            if (one.do === "die") member.stop.abort();
            else await member.sub.unsubscribe();
            for (const message of member.held) await expect(message.ack()).rejects.toThrow("taken back");
          }
          expect(balanced(broker).dropped).toEqual({});
        }
        await clock.advance(1_000);
        for (let round = 0; balanced(broker).delivered < published && round < 500; round += 1) {
          for (const member of members) {
            await take(member);
            for (const message of member.held.splice(0)) await settleOne(message, "ack");
          }
        }
        expect([...acked.values()].every((times) => times === 1)).toBe(true);
        expect([acked.size, balanced(broker).delivered]).toEqual([published, published]);
        await broker.close();
        expect(clock.pending).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});

describe("the work is shared by free capacity", () => {
  it("members of the same speed: in proportion to their concurrency", async () => {
    const { broker, clock } = manualBroker({ subscription: { maxMessages: 10_000 } });
    const done = new Map<number, number>();
    for (const concurrency of [1, 2, 5]) {
      broker.subscribe(
        "t",
        async () => {
          await new Promise<void>((resolve) => void clock.schedule(10, resolve));
          done.set(concurrency, (done.get(concurrency) ?? 0) + 1);
        },
        { group: "g", concurrency },
      );
    }
    for (let data = 0; data < 800; data += 1) await broker.publish("t", data);
    await clock.advance(10_000);
    expect(Object.fromEntries(done)).toEqual({ 1: 100, 2: 200, 5: 500 });
  });

  it("members of different speed: in proportion to it, and the slow one delays nobody", async () => {
    const { broker, clock } = manualBroker({ subscription: { maxMessages: 10_000 } });
    const done = new Map<number, number>();
    for (const ms of [10, 100]) {
      broker.subscribe(
        "t",
        async () => {
          await new Promise<void>((resolve) => void clock.schedule(ms, resolve));
          done.set(ms, (done.get(ms) ?? 0) + 1);
        },
        { group: "g" },
      );
    }
    for (let data = 0; data < 110; data += 1) await broker.publish("t", data);
    await clock.advance(1_000);
    expect([done.get(10), done.get(100)]).toEqual([100, 10]);
  });

  it("members of equal capacity that never fill it: by turns", async () => {
    const { broker } = manualBroker();
    const done = [0, 0, 0];
    for (const member of done.keys()) {
      broker.subscribe("t", () => void ((done[member] as number) += 1), { group: "g" });
    }
    for (let data = 0; data < 300; data += 1) broker.publishSync("t", data);
    await settle();
    expect(done).toEqual([100, 100, 100]);
  });

  it("a member that is paused, or at its maxInFlight, or over its rate, takes none of it", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const paused = broker.subscribe("t", { group: "g" });
    paused.pause();
    const full = broker.subscribe("t", { group: "g", maxInFlight: 2 });
    const limited = broker.subscribe("t", { group: "g", rateLimit: { perSecond: 1, burst: 3 } });
    const free = broker.subscribe("t", { group: "g" });
    for (let data = 0; data < 20; data += 1) broker.publishSync("t", data);
    const got = await Promise.all([paused, full, limited, free].map((sub) => fetchNow(sub)));
    expect(got.map(({ length }) => length)).toEqual([0, 2, 3, 15]);
    expect(new Set(got.flat().map((msg) => msg.data)).size).toBe(20);
  });
});
