import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exponentialBackoff } from "inproc-broker";
import { DedupWindow } from "../../src/delivery/dedup.js";
import { balanced, fetchNow, manualBroker } from "../support/manual-broker.js";

const isLong = process.env.LONG === "1";
const runs = (quick: number): { numRuns?: number } => (isLong ? {} : { numRuns: quick });

describe("backoff", () => {
  const settings = fc.record({
    initial: fc.double({ min: 0, max: 1e6, noNaN: true }),
    max: fc.double({ min: 0, max: 1e9, noNaN: true }),
    factor: fc.double({ min: 1, max: 50, noNaN: true }),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const chance = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

  it("stays within its jitter of initial × factor^(n − 1), never above max nor below 0, however many failures", () => {
    fc.assert(
      fc.property(settings, fc.integer({ min: 1, max: 100_000 }), chance, (options, count, random) => {
        const wait = exponentialBackoff(options)(count, () => random);
        const growth = Math.min(Number.MAX_VALUE, options.factor ** (count - 1));
        const middle = Math.min(options.max, options.initial * growth);
        expect(Number.isFinite(wait)).toBe(true);
        expect(wait).toBeGreaterThanOrEqual(middle * (1 - options.jitter) * (1 - 1e-12));
        expect(wait).toBeLessThanOrEqual(Math.min(options.max, middle * (1 + options.jitter) * (1 + 1e-12)));
      }),
      runs(500),
    );
  });

  it("never shrinks from one failure to the next with the same luck", () => {
    fc.assert(
      fc.property(settings, fc.integer({ min: 1, max: 500 }), chance, (options, count, random) => {
        const backoff = exponentialBackoff(options);
        expect(backoff(count + 1, () => random)).toBeGreaterThanOrEqual(backoff(count, () => random));
      }),
      runs(300),
    );
  });
});

describe("redelivery", () => {
  it("happens at the times that the settings say, at most maxDeliveries times, whatever ends each attempt", async () => {
    const end = fc.oneof(
      fc.record({ how: fc.constant("nack" as const), delay: fc.option(fc.nat(500), { nil: undefined }) }),
      fc.record({ how: fc.constantFrom("throw" as const, "hang" as const, "ack" as const, "reject" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(end, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.nat(300), { minLength: 8, maxLength: 8 }),
        async (ends, maxDeliveries, waits) => {
          const timeout = 200;
          const { broker, clock } = manualBroker({
            ack: { timeout, maxDeliveries, backoff: (count) => waits[count - 1] ?? 0 },
            deadLetter: {},
          });
          broker.on("error", () => undefined);
          const at: number[] = [];
          const start = clock.now();
          broker.subscribe("t", async (msg) => {
            at.push(clock.now() - start);
            const ended = ends[msg.deliveryCount - 1] ?? { how: "ack" as const };
            if (ended.how === "nack") {
              await msg.nack("delay" in ended && ended.delay !== undefined ? { delay: ended.delay } : {});
            } else if (ended.how === "throw") throw new Error("boom");
            else if (ended.how === "reject") await msg.reject();
            else if (ended.how === "hang") await new Promise(() => undefined);
          });
          await broker.publish("t", 1);
          await clock.advance(100_000);

          const expected: number[] = [];
          let now = 0;
          let outcome = "delivered";
          for (let count = 1; ; count += 1) {
            expected.push(now);
            const ended = ends[count - 1] ?? { how: "ack" as const };
            if (ended.how === "ack") break;
            if (ended.how === "hang") now += timeout;
            if (ended.how === "reject" || count >= maxDeliveries) {
              outcome = "deadLettered";
              break;
            }
            now += "delay" in ended && ended.delay !== undefined ? ended.delay : (waits[count - 1] as number);
          }
          expect(at).toEqual(expected);
          expect(balanced(broker)).toMatchObject({ [outcome]: 1, inFlight: 0, delayed: 0, queued: 0 });
          await broker.close();
        },
      ),
      runs(60),
    );
  });
});

describe("ttl and delay", () => {
  it("against a model: who is handed out, when, in which order, and who expires instead", async () => {
    const message = fc.record({
      at: fc.nat(400),
      delay: fc.option(fc.integer({ min: 1, max: 300 }), { nil: undefined }),
      isDate: fc.boolean(),
      ttl: fc.option(fc.integer({ min: 1, max: 400 }), { nil: undefined }),
      priority: fc.constantFrom(0 as const, 4 as const, 9 as const),
      isCancelled: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 25 }),
        fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (given, looks, isBlocked) => {
          const { broker, clock } = manualBroker();
          const sub = broker.subscribe("t");
          const start = clock.now();
          const messages = given.toSorted((a, b) => a.at - b.at);
          const steps = [
            ...messages.map(({ at }, index) => ({ at, index, isLook: false })),
            ...[...looks, 2_000].map((at) => ({ at, index: 0, isLook: true })),
          ].toSorted((a, b) => a.at - b.at || Number(a.isLook) - Number(b.isLook));

          /** What is in the queue, by the model: when it came into it, and when it leaves it by itself. */
          let waiting: { data: number; priority: number; from: number; until: number; order: number }[] = [];
          let order = 0;
          let expired = 0;
          let scheduledExpired = 0;
          for (const { at, index, isLook } of steps) {
            const ms = at - (clock.now() - start);
            // A blocked loop runs timers late; what is looked at must be the same, but for the order they came in.
            if (isBlocked && isLook) clock.block(ms);
            await clock.advance(isBlocked && isLook ? 0 : ms);
            if (isLook) {
              const here = waiting.filter(({ from, until }) => from <= at && until > at);
              expired += waiting.filter(({ from, until }) => until <= at && from < until).length;
              scheduledExpired += waiting.filter(({ from, until }) => until <= at && from >= until).length;
              waiting = waiting.filter(({ from, until }) => from > at && until > at);
              const got = (await fetchNow(sub)).map(({ data }) => data as number);
              const wanted = here
                .toSorted((a, b) => b.priority - a.priority || a.from - b.from || a.order - b.order)
                .map(({ data }) => data);
              if (isBlocked) expect(got.toSorted((a, b) => a - b)).toEqual(wanted.toSorted((a, b) => a - b));
              else expect(got).toEqual(wanted);
              continue;
            }
            const one = messages[index] as (typeof messages)[number];
            const { id } = await broker.publish("t", index, {
              priority: one.priority,
              ...(one.ttl === undefined ? {} : { ttl: one.ttl }),
              ...(one.delay === undefined
                ? {}
                : one.isDate
                  ? { deliverAt: start + at + one.delay }
                  : { delay: one.delay }),
            });
            if (one.isCancelled && one.delay !== undefined) {
              expect(await broker.cancel(id)).toBe(true);
              continue;
            }
            order += 1;
            waiting.push({
              data: index,
              priority: one.priority,
              from: at + (one.delay ?? 0),
              until: one.ttl === undefined ? Infinity : at + one.ttl,
              order,
            });
          }
          expect(waiting).toEqual([]);
          if (!isBlocked) expect(balanced(broker)).toMatchObject({ expired, scheduledExpired });
          expect(balanced(broker)).toMatchObject({ queued: 0, scheduled: 0, memoryBytes: 0 });
          expect(balanced(broker).expired + balanced(broker).scheduledExpired).toBe(expired + scheduledExpired);
          await broker.close();
        },
      ),
      runs(100),
    );
  });
});

describe("the dedup window", () => {
  it("against a list of what was entered: the same answers, and never more than its bounds", () => {
    const step = fc.oneof(
      fc.record({ id: fc.integer({ min: 0, max: 12 }) }),
      fc.record({ pass: fc.integer({ min: 0, max: 120 }) }),
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 120 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 8 }),
        (steps, windowMs, maxEntries) => {
          let now = 0;
          const window = new DedupWindow<{ number: number }>({ windowMs, maxEntries }, () => now);
          let model: { id: string; number: number; at: number }[] = [];
          for (const [number, one] of steps.entries()) {
            if ("pass" in one) {
              now += one.pass;
              continue;
            }
            const id = String(one.id);
            model = model.filter(({ at }) => now - at <= windowMs);
            const known = model.find((entry) => entry.id === id);
            expect(window.find(id)?.number).toBe(known?.number);
            if (known === undefined) {
              window.remember(id, { number });
              model = [...model, { id, number, at: now }].slice(-maxEntries);
            }
            expect(window.size).toBe(model.length);
          }
        },
      ),
      runs(500),
    );
  });
});

describe("dead letters", () => {
  it("against a list: pages hold exactly what a page-by-page reader has not seen, while letters come and go", async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ bury: fc.constantFrom("a.x", "a.y", "b.x") }) },
      { weight: 2, arbitrary: fc.record({ page: fc.integer({ min: 1, max: 5 }) }) },
      { weight: 1, arbitrary: fc.record({ purge: fc.constantFrom("a.x", "b.*", "*.y") }) },
      { weight: 1, arbitrary: fc.record({ purgeOne: fc.nat(100) }) },
      { weight: 1, arbitrary: fc.record({ redrive: fc.constantFrom("a.*", "b.x") }) },
    );
    const matches = (pattern: string, topic: string): boolean =>
      pattern.split(".").every((token, index) => token === "*" || token === topic.split(".")[index]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 12 }),
        fc.constantFrom(undefined, "a.*", "*.x"),
        async (steps, maxMessages, topic) => {
          const { broker, clock } = manualBroker({ ack: {}, deadLetter: { maxMessages } });
          broker.on("error", () => undefined);
          broker.subscribe(["a.*", "b.*"], (msg) => msg.reject());
          let model: { number: number; topic: string }[] = [];
          let last = 0;
          let cursor: string | undefined;
          let seen = 0;
          const bury = (...topics: string[]): void => {
            for (const one of topics) model.push({ number: (last += 1), topic: one });
            model = model.slice(-maxMessages);
          };
          const drop = (isGone: (one: (typeof model)[number]) => boolean): (typeof model)[number][] => {
            const gone = model.filter(isGone);
            model = model.filter((one) => !isGone(one));
            return gone;
          };
          for (const one of steps) {
            if ("bury" in one) {
              await broker.publish(one.bury, 1);
              await clock.advance(1);
              bury(one.bury);
            } else if ("purge" in one) {
              const gone = drop((letter) => matches(one.purge, letter.topic));
              expect(await broker.deadLetters.purge({ topic: one.purge })).toBe(gone.length);
            } else if ("purgeOne" in one) {
              const letter = model[one.purgeOne % Math.max(1, model.length)];
              if (letter === undefined) continue;
              drop(({ number }) => number === letter.number);
              expect(await broker.deadLetters.purge({ id: `dl-${letter.number}` })).toBe(1);
            } else if ("redrive" in one) {
              const gone = drop((letter) => matches(one.redrive, letter.topic));
              expect(await broker.deadLetters.redrive({ topic: one.redrive })).toBe(gone.length);
              await clock.advance(1);
              bury(...gone.map((letter) => letter.topic));
            } else {
              const unseen = model.filter(
                (letter) => letter.number > seen && (topic === undefined || matches(topic, letter.topic)),
              );
              const page = await broker.deadLetters.list({
                limit: one.page,
                ...(topic === undefined ? {} : { topic }),
                ...(cursor === undefined ? {} : { cursor }),
              });
              const wanted = unseen.slice(0, one.page);
              expect(page.items.map(({ id }) => id)).toEqual(wanted.map(({ number }) => `dl-${number}`));
              expect(page.cursor === undefined).toBe(unseen.length <= one.page);
              // On the last page the reader begins again.
              cursor = page.cursor;
              seen = page.cursor === undefined ? 0 : (wanted.at(-1)?.number ?? seen);
            }
            expect(broker.deadLetters.stats()).toMatchObject({ count: model.length, added: last });
          }
          await broker.close();
        },
      ),
      runs(60),
    );
  });
});
