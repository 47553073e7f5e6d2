/**
 * Earlier brokers had a "broadcast" that picked one peer, a "group" that subscribed to the first of its topics alone, and an ack
 * by one subscriber that settled the message for all. Each message goes once to every plain subscription and once to every
 * group, for every pattern they ask for.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { matchesPattern } from "inproc-broker";
import { balanced, manualBroker, roundAck } from "../support/manual-broker.js";

const patterns = ["a.x", "a.y", "b.x", "a.*", "*.x", "b.>", ">"];
const topics = ["a.x", "a.y", "b.x", "b.y.z", "c"];

it("subscribers × groups × topics: exactly once for each group and each plain subscription, none for others", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          patterns: fc.uniqueArray(fc.constantFrom(...patterns), { minLength: 1, maxLength: 3 }),
          group: fc.option(fc.constantFrom("g", "h"), { nil: undefined }),
          isSlow: fc.boolean(),
        }),
        { minLength: 1, maxLength: 8 },
      ),
      fc.array(fc.constantFrom(...topics), { minLength: 1, maxLength: 20 }),
      async (members, published) => {
        const { broker, clock } = manualBroker({ ack: roundAck });
        const got = new Map<string, number[]>();
        for (const [index, member] of members.entries()) {
          const owner = member.group ?? `plain ${index}`;
          got.set(owner, []);
          broker.subscribe(
            member.patterns,
            async ({ data }) => {
              got.get(owner)?.push(data as number);
              // Settled by one; nobody else's business.
              if (member.isSlow) await new Promise<void>((resolve) => clock.schedule(50, resolve));
            },
            member.group === undefined ? {} : { group: member.group },
          );
        }
        for (const [index, topic] of published.entries()) await broker.publish(topic, index);
        await clock.advance(10_000);
        for (const [owner, numbers] of got) {
          const asked = members
            .filter(({ group }, index) => (group ?? `plain ${index}`) === owner)
            .flatMap((member) => member.patterns);
          const wanted = [...published.keys()].filter((index) =>
            asked.some((pattern) => matchesPattern(pattern, published[index] as string)),
          );
          expect(
            numbers.toSorted((a, b) => a - b),
            owner,
          ).toEqual(wanted);
        }
        balanced(broker);
        await broker.close();
      },
    ),
    { numRuns: 60 },
  );
});
