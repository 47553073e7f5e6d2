import { describe, expect, it } from "vitest";
import type { Message, RedeliverEvent } from "inproc-broker";
import { exponentialBackoff, fixedBackoff } from "inproc-broker";
import {
  balanced,
  collectGarbage,
  fetchNow,
  manualBroker,
  rejectionCode,
  roundAck,
  takeOne,
} from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

function open(options: Parameters<typeof manualBroker>[0] = {}) {
  const { broker, clock } = manualBroker({ ack: roundAck, ...options });
  const sub = broker.subscribe("t", { name: "s" });
  const take = async (data: unknown = 1): Promise<Message> => {
    await broker.publish("t", data);
    return takeOne(sub);
  };
  return { broker, clock, sub, take };
}

describe("an acknowledgement", () => {
  it("is per delivery, not per message: other subscriptions' nacks and timeouts are their own business", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const subs = [broker.subscribe("t"), broker.subscribe("t"), broker.subscribe(">"), broker.subscribe("t")];
    await broker.publish("t", 1);
    const [acked, nacked, rejected, forgotten] = (await Promise.all(subs.map(takeOne))) as [
      Message,
      Message,
      Message,
      Message,
    ];
    await acked.ack();
    await nacked.nack();
    await rejected.reject();
    expect(subs.map((sub) => sub.stats().inFlight)).toEqual([0, 0, 0, 1]);
    await clock.advance(100);
    expect((await fetchNow(subs[1]!))[0]).toMatchObject({ id: acked.id, deliveryCount: 2, redelivered: true });
    for (const index of [0, 2]) expect(await fetchNow(subs[index]!)).toEqual([]);
    await clock.advance(1_000);
    expect((await fetchNow(subs[3]!))[0]).toMatchObject({ deliveryCount: 2 });
    expect(forgotten.deliveryCount, "what the old consumer holds does not change").toBe(1);
    expect(balanced(broker)).toMatchObject({ delivered: 1, nacked: 1, timedOut: 2, dropped: { rejected: 1 } });
  });

  it("by object and by deliveryId do the same, through the broker", async () => {
    const { broker, clock, sub, take } = open({ deadLetter: {} });
    await broker.ack((await take("ack")).deliveryId);
    await broker.nack((await take("nack")).deliveryId, { delay: 10, reason: "later" });
    await broker.reject((await take("reject")).deliveryId, "never");
    const long = await take("extend");
    await broker.extend(long.deliveryId, 5_000);
    expect(sub.stats()).toMatchObject({ delivered: 1, delayed: 1, deadLettered: 1, inFlight: 1 });
    await clock.advance(4_999);
    await long.ack();
    expect((await broker.deadLetters.list()).items).toMatchObject([{ error: "never" }]);
    balanced(broker);
  });

  it("ids are one for each hand-over, stable, and empty where there is nothing to settle", async () => {
    const { broker, clock, sub, take } = open();
    const first = await take();
    const { deliveryId } = first;
    expect(first.deliveryId).toBe(deliveryId);
    await first.nack({ delay: 1 });
    await clock.advance(1);
    const second = await takeOne(sub);
    expect(second.deliveryId).not.toBe(deliveryId);
    expect(await rejectionCode(broker.ack(deliveryId))).toBe("ERR_ALREADY_SETTLED");
    await broker.ack(second.deliveryId);
    const none = broker.subscribe("n", { ack: "none" });
    await broker.publish("n", 1);
    expect((await takeOne(none)).deliveryId).toBe("");
  });
});

describe("a settle that is refused", () => {
  it("the second time, whatever the first and the second were", async () => {
    const { take } = open();
    const settles = ["ack", "nack", "reject"] as const;
    for (const first of settles) {
      for (const second of settles) {
        const message = await take();
        await message[first]();
        expect(await rejectionCode(message[second]()), `${first}, ${second}`).toBe("ERR_ALREADY_SETTLED");
        expect(await rejectionCode(message.extend(5)), `${first}, extend`).toBe("ERR_ALREADY_SETTLED");
      }
    }
  });

  it("after the ack timeout, by object and by id, whether the id was read before or after", async () => {
    const { broker, clock, take } = open();
    const known = await take();
    const { deliveryId } = known;
    const unknown = await take();
    await clock.advance(1_000);
    for (const message of [known, unknown]) {
      for (const settleIt of [message.ack(), message.nack(), message.reject(), message.extend(5)]) {
        expect(await rejectionCode(settleIt)).toBe("ERR_DELIVERY_EXPIRED");
      }
    }
    for (const id of [deliveryId, unknown.deliveryId]) {
      for (const settleIt of [broker.ack(id), broker.nack(id), broker.reject(id), broker.extend(id, 5)]) {
        expect(await rejectionCode(settleIt)).toBe("ERR_DELIVERY_EXPIRED");
      }
    }
    expect(broker.metrics.snapshot().refusedSettles).toBe(16);
  });

  it("does not disturb the delivery that took over", async () => {
    const { broker, clock, sub, take } = open();
    const late = await take();
    await clock.advance(1_100);
    const current = await takeOne(sub);
    for (const settleIt of [late.ack(), late.nack(), late.reject()]) {
      expect(await rejectionCode(settleIt)).toBe("ERR_DELIVERY_EXPIRED");
    }
    expect(sub.stats()).toMatchObject({ inFlight: 1, delivered: 0, delayed: 0 });
    await current.ack();
    expect(balanced(broker)).toMatchObject({ delivered: 1, inFlight: 0 });
  });

  it("by ids that nobody ever had", async () => {
    const { broker } = open();
    for (const id of ["", "1-1-1", "__proto__", undefined as unknown as string, 7 as unknown as string]) {
      expect(await rejectionCode(broker.ack(id))).toBe("ERR_ALREADY_SETTLED");
    }
  });

  it("with nonsense for a delay or an extension: nothing has changed", async () => {
    const { sub, take } = open();
    const message = await take();
    for (const delay of [-1, NaN, Infinity, "5" as unknown as number]) {
      expect(await rejectionCode(message.nack({ delay }))).toBe("ERR_INVALID_OPTION");
    }
    for (const ms of [0, -1, NaN, "5" as unknown as number]) {
      expect(await rejectionCode(message.extend(ms))).toBe("ERR_INVALID_OPTION");
    }
    expect(sub.stats().inFlight).toBe(1);
    await message.ack();
  });

  it("where the subscription acknowledges nothing", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const message = await takeOne(sub);
    for (const settleIt of [message.ack(), message.nack(), message.reject(), message.extend(1)]) {
      expect(await rejectionCode(settleIt)).toBe("ERR_ALREADY_SETTLED");
    }
  });
});

describe("nack", () => {
  it("delivers again after the delay given, or the subscription's backoff, or the broker's; at once for 0", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, backoff: fixedBackoff(300) } });
    const own = broker.subscribe("t", { backoff: fixedBackoff(20) });
    const brokers = broker.subscribe("t");
    await broker.publish("t", 1);
    await (await takeOne(own)).nack();
    await (await takeOne(brokers)).nack();
    await clock.advance(19);
    expect(await fetchNow(own)).toEqual([]);
    await clock.advance(1);
    const again = await takeOne(own);
    await again.nack({ delay: 0 });
    expect((await takeOne(own)).deliveryCount).toBe(3);
    await clock.advance(279);
    expect(await fetchNow(brokers)).toEqual([]);
    await clock.advance(1);
    const other = await takeOne(brokers);
    await other.nack({ delay: 40 * 24 * 3_600_000 });
    await clock.advance(40 * 24 * 3_600_000 - 1);
    expect(await fetchNow(brokers)).toEqual([]);
    await clock.advance(1);
    expect((await takeOne(brokers)).deliveryCount).toBe(3);
  });

  it("tells: a redeliver event with count, delay and reason", async () => {
    const { broker, clock, take } = open();
    const events: Omit<RedeliverEvent, "message">[] = [];
    broker.on("redeliver", ({ message: _, ...facts }) => events.push(facts));
    await (await take()).nack({ reason: "busy" });
    await take("timeout");
    await clock.advance(1_000);
    expect(events).toEqual([
      { subscription: "s", deliveryCount: 1, delay: 100, reason: "busy" },
      { subscription: "s", deliveryCount: 1, delay: 100, reason: "ack timeout" },
    ]);
  });

  it("puts the message before the others of its priority", async () => {
    const { broker, sub, take } = open();
    const first = await take("first");
    await broker.publish("t", "second");
    await broker.publish("t", "urgent", { priority: "highest" });
    await first.nack({ delay: 0 });
    expect((await fetchNow(sub)).map(({ data }) => data)).toEqual(["urgent", "first", "second"]);
  });

  it("goes to any member of the group", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 20 } });
    const seenBy: string[] = [];
    for (const member of ["one", "two"]) {
      broker.subscribe(
        "t",
        (msg) => {
          seenBy.push(member);
          if (msg.deliveryCount < 10) void msg.nack({ delay: 1 });
        },
        { group: "g" },
      );
    }
    await broker.publish("t", 1);
    await clock.advance(100);
    expect(seenBy).toHaveLength(10);
    expect(new Set(seenBy)).toEqual(new Set(["one", "two"]));
  });
});

describe("backoff", () => {
  it("exponential: initial × factor^(n − 1), at most max, without jitter exactly that", async () => {
    const backoff = exponentialBackoff({ initial: 100, max: 1_000, factor: 3, jitter: 0 });
    expect([1, 2, 3, 4, 50, 5_000].map((count) => backoff(count, () => 0.123))).toEqual([
      100, 300, 900, 1_000, 1_000, 1_000,
    ]);
  });

  it("exponential: by default 100 ms, doubled, at most 30 s, ± 20 %", () => {
    const backoff = exponentialBackoff();
    const waits = (random: number): number[] => [1, 2, 3, 20].map((count) => Math.round(backoff(count, () => random)));
    expect(waits(0.5)).toEqual([100, 200, 400, 30_000]);
    expect(waits(0)).toEqual([80, 160, 320, 24_000]);
    expect(waits(1)).toEqual([120, 240, 480, 30_000]);
  });

  it("exponential: is a number after any number of failures, with no wait at all and with no end to it", () => {
    const waits = (options: object): number[] =>
      [1, 2_000, 1e6].map((count) => exponentialBackoff(options)(count, () => 0.9));
    expect(waits({ initial: 0 })).toEqual([0, 0, 0]);
    expect(waits({ max: Infinity }).every(Number.isFinite)).toBe(true);
  });

  it("refuses settings out of range", () => {
    for (const options of [{ initial: -1 }, { max: NaN }, { factor: 0.5 }, { jitter: 1.1 }, { jitter: -0.1 }]) {
      expect(() => exponentialBackoff(options)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    }
    expect(() => fixedBackoff(-1)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });

  it("is what a message waits, with the broker's random source", async () => {
    const randoms = [0, 1, 0.5];
    const { broker, clock } = manualBroker({
      random: () => randoms.shift() ?? 0.5,
      ack: { timeout: 1_000, backoff: exponentialBackoff({ initial: 100, factor: 10, jitter: 0.5 }) },
    });
    randoms.splice(0, randoms.length, 0, 1, 0.5);
    const at: number[] = [];
    const start = clock.now();
    broker.subscribe("t", async (msg) => {
      at.push(clock.now() - start);
      await msg.nack();
    });
    await broker.publish("t", 1);
    await clock.advance(60_000);
    expect(at).toEqual([0, 50, 50 + 1_500, 50 + 1_500 + 10_000, 50 + 1_500 + 10_000 + 30_000]);
  });

  it("that throws or returns nonsense costs an event and a second, not the message", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 10 } });
    const during: unknown[] = [];
    broker.on("error", (_error, context) => during.push(context.during));
    const nonsense = [NaN, undefined, "soon", Infinity, Promise.resolve(5)];
    const sub = broker.subscribe("t", {
      backoff: (count) => {
        if (count === 1) throw new Error("no idea");
        return nonsense[count - 2] as number;
      },
    });
    await broker.publish("t", 1);
    for (let count = 1; count <= 1 + nonsense.length; count += 1) {
      await (await takeOne(sub)).nack();
      await clock.advance(999);
      expect(await fetchNow(sub)).toEqual([]);
      await clock.advance(1);
    }
    await (await takeOne(sub)).ack();
    expect(during).toEqual(Array.from({ length: 1 + nonsense.length }, () => "backoff"));
    balanced(broker);
  });
});

describe("the ack timeout", () => {
  it("takes a delivery back, to another member of the group where there is one, after the backoff", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const one = broker.subscribe("t", { group: "g", maxInFlight: 1 });
    const two = broker.subscribe("t", { group: "g", maxInFlight: 1 });
    await broker.publish("t", 1);
    const held = await takeOne(one);
    await clock.advance(999);
    expect(held.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(held.signal.aborted).toBe(true);
    expect(held.signal.reason).toMatchObject({ code: "ERR_DELIVERY_EXPIRED" });
    expect(await fetchNow(two)).toEqual([]);
    await clock.advance(100);
    expect((await takeOne(two)).deliveryCount).toBe(2);
    expect(balanced(broker)).toMatchObject({ timedOut: 1, redelivered: 1, inFlight: 1 });
  });

  it("is the subscription's, else the broker's, else 30 s; Infinity is none", async () => {
    const { broker, clock } = manualBroker({ ack: { backoff: fixedBackoff(0) } });
    const own = broker.subscribe("t", { ackTimeout: 50 });
    const brokers = broker.subscribe("t");
    const never = broker.subscribe("t", { ackTimeout: Infinity });
    await broker.publish("t", 1);
    for (const sub of [own, brokers, never]) await takeOne(sub);
    await clock.advance(50);
    expect([own, brokers].map((sub) => sub.stats().timedOut)).toEqual([1, 0]);
    await clock.advance(29_950);
    expect(brokers.stats().timedOut).toBe(1);
    await clock.advance(1e10);
    expect(never.stats()).toMatchObject({ timedOut: 0, inFlight: 1 });
  });

  it("is extended from now on, as often as asked, and shortened too", async () => {
    const { clock, sub, take } = open();
    const message = await take();
    for (let round = 0; round < 5; round += 1) {
      await clock.advance(900);
      await message.extend(1_000);
    }
    await clock.advance(999);
    await message.extend(10);
    await clock.advance(9);
    expect(sub.stats()).toMatchObject({ timedOut: 0, inFlight: 1 });
    await clock.advance(1);
    expect(sub.stats()).toMatchObject({ timedOut: 1, delayed: 1 });
  });

  it("ends with the settle: nothing happens to what was acknowledged", async () => {
    const { broker, clock, take } = open();
    const message = await take();
    const { signal } = message;
    await message.ack();
    await clock.advance(1e6);
    expect(signal.aborted).toBe(false);
    expect(balanced(broker)).toMatchObject({ delivered: 1, timedOut: 0, redelivered: 0 });
  });

  it("spares a delivery once whose timer was late because the loop was blocked: its consumer had no chance", async () => {
    const { broker, clock, sub, take } = open();
    const message = await take();
    clock.block(1_000 + 21);
    await clock.advance(0);
    expect(sub.stats().timedOut, "one more round").toBe(0);
    await message.ack();
    expect(balanced(broker)).toMatchObject({ delivered: 1, timedOut: 0 });

    const idle = await take();
    clock.block(1_000 + 21);
    await clock.advance(0);
    await clock.advance(1);
    expect(sub.stats().timedOut, "and no second one").toBe(1);
    expect(await rejectionCode(idle.ack())).toBe("ERR_DELIVERY_EXPIRED");
  });

  it("does not spare what is a little late, as timers are", async () => {
    const { clock, sub, take } = open();
    await take();
    clock.block(1_000 + 20);
    await clock.advance(0);
    expect(sub.stats().timedOut).toBe(1);
  });

  it("spares an extended delivery again: it has a new deadline", async () => {
    const { clock, sub, take } = open();
    const message = await take();
    clock.block(2_000);
    await clock.advance(0);
    await message.extend(1_000);
    clock.block(2_000);
    await clock.advance(0);
    expect(sub.stats().timedOut).toBe(0);
    await clock.advance(1);
    expect(sub.stats().timedOut).toBe(1);
  });

  it("runs from when a message is handed over, not from when it was published or queued", async () => {
    const { broker, clock, sub } = open();
    await broker.publish("t", 1);
    await clock.advance(5_000);
    const message = await takeOne(sub);
    await clock.advance(999);
    await message.ack();
  });
});

describe("msg.signal", () => {
  it("is aborted when the subscription ends and when the broker closes; also where nobody had looked before", async () => {
    const { broker, sub, take } = open();
    const looked = await take();
    const { signal } = looked;
    const unlooked = await take();
    await sub.unsubscribe();
    expect(signal.aborted).toBe(true);
    expect(unlooked.signal.aborted).toBe(true);
    const other = broker.subscribe("t");
    await broker.publish("t", 1);
    const last = await takeOne(other);
    const closing = last.signal;
    await broker.close({ drain: false });
    expect(closing.aborted).toBe(true);
  });

  it("of a message without acknowledgement is aborted when the broker closes", async () => {
    const { broker } = manualBroker();
    const sub = broker.subscribe("t");
    await broker.publish("t", 1);
    const { signal } = await takeOne(sub);
    expect(signal.aborted).toBe(false);
    await broker.close();
    expect(signal.aborted).toBe(true);
  });
});

describe("maxDeliveries", () => {
  it("counts hand-overs, whatever ended them, and is the subscription's, else the broker's, else 5", async () => {
    const { broker, clock } = manualBroker({ ack: { timeout: 100, backoff: fixedBackoff(0) }, deadLetter: {} });
    const handed = { own: 0, brokers: 0 };
    broker.on("error", () => undefined);
    broker.subscribe(
      "t",
      async () => {
        handed.own += 1;
        if (handed.own === 1) throw new Error("boom");
        await new Promise(() => undefined);
      },
      { maxDeliveries: 2 },
    );
    broker.subscribe("t", (msg) => {
      handed.brokers += 1;
      return msg.nack();
    });
    await broker.publish("t", 1);
    await clock.advance(10_000);
    expect(handed).toEqual({ own: 2, brokers: 5 });
    expect((await broker.deadLetters.list()).items.map(({ reason }) => reason).toSorted()).toEqual([
      "max-deliveries",
      "max-deliveries",
    ]);
    expect(balanced(broker)).toMatchObject({ deadLettered: 2, inFlight: 0, delayed: 0, memoryBytes: 0 });
  });

  it("of 1 gives up at the first failure; Infinity never does", async () => {
    const { broker, clock } = manualBroker({ ack: { timeout: 100, backoff: fixedBackoff(1) }, deadLetter: {} });
    let handed = 0;
    broker.subscribe("once", (msg) => msg.nack(), { maxDeliveries: 1 });
    const stubborn = broker.subscribe(
      "ever",
      (msg) => {
        handed += 1;
        return msg.nack();
      },
      { maxDeliveries: Infinity },
    );
    await broker.publish("once", 1);
    await broker.publish("ever", 1);
    await clock.advance(50);
    expect(broker.deadLetters.stats().byReason).toEqual({ "max-deliveries": 1 });
    expect(handed).toBe(51);
    await stubborn.unsubscribe();
  });

  it("is kept by the message, not by the member: a group counts together", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck, deadLetter: {} });
    const counts: number[] = [];
    for (let member = 0; member < 3; member += 1) {
      broker.subscribe(
        "t",
        (msg) => {
          counts.push(msg.deliveryCount);
          return msg.nack({ delay: 1 });
        },
        { group: "g" },
      );
    }
    await broker.publish("t", 1);
    await clock.advance(1_000);
    expect(counts).toEqual([1, 2, 3]);
  });
});

describe("modes", () => {
  it("auto, handler: resolving acknowledges, throwing or rejecting gives back with the error's text", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const reasons: unknown[] = [];
    const errors: unknown[] = [];
    broker.on("redeliver", ({ reason }) => reasons.push(reason));
    broker.on("error", (error) => errors.push(error));
    const behaviours: ((msg: Message) => unknown)[] = [
      () => undefined,
      async () => undefined,
      () => "anything",
      () => {
        throw new Error("thrown");
      },
      async () => {
        throw new Error("rejected");
      },
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what users' code does
      () => Promise.reject("a text"),
      () => Promise.reject(new Error("")),
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what users' code does
      () => Promise.reject(undefined),
    ];
    const sub = broker.subscribe("t", (msg) => (msg.deliveryCount > 1 ? null : behaviours[msg.data as number]?.(msg)));
    for (const index of behaviours.keys()) await broker.publish("t", index);
    await settle();
    expect(sub.stats()).toMatchObject({ delivered: 3, nacked: 5, delayed: 5, handlerErrors: 5 });
    expect(reasons).toEqual(["thrown", "rejected", "a text", "", "undefined"]);
    expect(errors).toHaveLength(5);
    await clock.advance(100);
    expect(sub.stats()).toMatchObject({ delivered: 8, inFlight: 0 });
    balanced(broker);
  });

  it("auto, handler: settling by hand wins, and what the handler returns or throws afterwards decides nothing", async () => {
    const { broker } = manualBroker({ ack: roundAck, deadLetter: {} });
    broker.on("error", () => undefined);
    const sub = broker.subscribe("t", async (msg) => {
      if (msg.data === "nack") await msg.nack({ delay: 1e6 });
      if (msg.data === "reject") await msg.reject();
      if (msg.data === "ack") {
        await msg.ack();
        throw new Error("too late");
      }
    });
    for (const data of ["nack", "reject", "ack"]) await broker.publish("t", data);
    await settle();
    expect(sub.stats()).toMatchObject({ delayed: 1, deadLettered: 1, delivered: 1, nacked: 1 });
    expect(broker.metrics.snapshot().refusedSettles).toBe(0);
  });

  it("manual, handler: returning decides nothing; throwing gives back; the timeout runs", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    broker.on("error", () => undefined);
    const kept: Message[] = [];
    const sub = broker.subscribe(
      "t",
      (msg) => {
        if (msg.data === "throw") throw new Error("boom");
        kept.push(msg);
        return msg.data === "async" ? Promise.resolve() : undefined;
      },
      { ack: "manual" },
    );
    for (const data of ["sync", "async", "throw"]) await broker.publish("t", data);
    await settle();
    expect(sub.stats()).toMatchObject({ inFlight: 2, delivered: 0, delayed: 1 });
    await kept[0]?.ack();
    await clock.advance(1_000);
    expect(sub.stats()).toMatchObject({ delivered: 1, timedOut: 1 });
  });

  it("none, handler: delivered when handed over; a throw is an event, and nothing comes again", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const errors: unknown[] = [];
    broker.on("error", (error) => errors.push((error as Error).message));
    const sub = broker.subscribe(
      "t",
      async () => {
        throw new Error("boom");
      },
      { ack: "none" },
    );
    await broker.publish("t", 1);
    await clock.advance(1e6);
    expect(errors).toEqual(["boom"]);
    expect(sub.stats()).toMatchObject({ delivered: 1, inFlight: 0, handedOver: 1, handlerErrors: 1 });
  });

  it("auto, iterator: asking for the next acknowledges the one before; leaving does not", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t", { ack: "auto", group: "g" });
    const other = broker.subscribe("t", { group: "g" });
    for (const data of [1, 2, 3]) await broker.publish("t", data);
    for await (const { data } of sub) {
      expect(sub.stats()).toMatchObject({ inFlight: 1, delivered: (data as number) - 1 });
      if (data === 2) break;
    }
    expect((await fetchNow(other)).map(({ data, deliveryCount }) => [data, deliveryCount])).toEqual([
      [2, 2],
      [3, 1],
    ]);
    expect(balanced(broker).delivered).toBe(1);
  });

  it("manual, iterator: asking for the next acknowledges nothing", async () => {
    const { broker } = manualBroker({ ack: roundAck });
    const sub = broker.subscribe("t");
    for (const data of [1, 2]) await broker.publish("t", data);
    await sub.next();
    await sub.next();
    expect(sub.stats()).toMatchObject({ inFlight: 2, delivered: 0 });
  });

  it("the default is none without the option ack; with it auto for handlers and manual for iterators", async () => {
    for (const [ack, pushed, pulled] of [
      [undefined, "delivered", "delivered"],
      [roundAck, "delivered", "inFlight"],
    ] as const) {
      const { broker } = manualBroker(ack === undefined ? {} : { ack });
      const states: string[] = [];
      broker.subscribe("t", async (msg) => {
        states.push(msg.deliveryId === "" ? "none" : "auto");
      });
      const pull = broker.subscribe("t");
      await broker.publish("t", 1);
      await takeOne(pull);
      await settle();
      expect(states).toEqual([ack === undefined ? "none" : "auto"]);
      expect(pull.stats()[pulled]).toBe(1);
      expect(broker.metrics.snapshot()[pushed]).toBe(pulled === "delivered" ? 2 : 1);
    }
  });
});

describe("a handler that hangs", () => {
  it("frees its place at the ack timeout, and the message goes on to others", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    const got: unknown[] = [];
    const signals: boolean[] = [];
    const sub = broker.subscribe("t", async (msg) => {
      got.push(msg.data);
      if (msg.data === "hangs" && msg.deliveryCount === 1) {
        msg.signal.addEventListener("abort", () => signals.push(true));
        await new Promise(() => undefined);
      }
    });
    await broker.publish("t", "hangs");
    await broker.publish("t", "waits");
    await clock.advance(999);
    expect(got).toEqual(["hangs"]);
    await clock.advance(1);
    expect(got).toEqual(["hangs", "waits"]);
    expect(signals).toEqual([true]);
    await clock.advance(100);
    expect(got).toEqual(["hangs", "waits", "hangs"]);
    expect(sub.stats()).toMatchObject({ delivered: 2, inFlight: 0, queued: 0 });
    await broker.idle();
    balanced(broker);
  });

  it("and comes back late takes no second place and settles nothing", async () => {
    const { broker, clock } = manualBroker({ ack: { ...roundAck, maxDeliveries: 5 } });
    const finish: ((outcome: "return" | "throw") => void)[] = [];
    let running = 0;
    let most = 0;
    broker.on("error", () => undefined);
    const sub = broker.subscribe(
      "t",
      async () => {
        running += 1;
        most = Math.max(most, running);
        const outcome = await new Promise((resolve) => finish.push(resolve));
        running -= 1;
        if (outcome === "throw") throw new Error("late");
      },
      { concurrency: 2 },
    );
    for (let index = 0; index < 6; index += 1) await broker.publish("t", index);
    await clock.advance(1_000);
    expect(running, "two that hang and two that took their places").toBe(4);
    finish.shift()?.("return");
    finish.shift()?.("throw");
    await settle();
    expect(running, "late ones free nothing").toBe(2);
    expect(sub.stats()).toMatchObject({ delivered: 0, timedOut: 2, nacked: 0, inFlight: 2 });
    while (finish.length > 0) {
      finish.shift()?.("return");
      await settle();
      await clock.advance(100);
    }
    expect(sub.stats()).toMatchObject({ delivered: 6, inFlight: 0 });
    expect(most).toBeLessThanOrEqual(4);
    balanced(broker);
  });
});

describe("outstanding deliveries", () => {
  it("need one timer of the clock, however many and however different their timeouts", async () => {
    const { broker, clock } = manualBroker({ ack: roundAck });
    let scheduled = 0;
    const { schedule } = clock;
    clock.schedule = (delayMs, run) => {
      scheduled += 1;
      return schedule.call(clock, delayMs, run);
    };
    const subs = [500, 700, 900].map((ackTimeout) =>
      broker.subscribe("t", { ackTimeout, maxInFlight: 10_000, maxMessages: 10_000 }),
    );
    for (let index = 0; index < 3_000; index += 1) await broker.publish("t", index);
    const held = await Promise.all(subs.map((sub) => fetchNow(sub, 3_000)));
    expect(held.flat()).toHaveLength(9_000);
    expect(clock.pending).toBe(1);
    expect(scheduled).toBeLessThan(10);
    await Promise.all(held.flat().map((message) => message.ack()));
    await clock.advance(10_000);
    expect(balanced(broker)).toMatchObject({ delivered: 9_000, timedOut: 0 });
    expect(clock.pending, "nothing is due any more").toBe(0);
  });

  it("leave nothing behind once they are settled, whose ids were read as well", async () => {
    const { broker, sub } = open();
    const refs: WeakRef<object>[] = [];
    const round = async (index: number): Promise<void> => {
      const data = { index };
      refs.push(new WeakRef(data));
      await broker.publish("t", data);
      const message = await takeOne(sub);
      if (index % 2 === 0) await broker.ack(message.deliveryId);
      else await message.ack();
    };
    for (let index = 0; index < 200; index += 1) await round(index);
    await collectGarbage();
    expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(2);
  });
});
