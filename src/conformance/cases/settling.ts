import { boom, cases, dataOf } from "../case.js";
import { check, equal, refused } from "../check.js";

export const acknowledgementCases = cases("acknowledgement", {
  "a handler that returns acknowledges; one that throws gives back": async (c) => {
    const t = await c.open({ ack: { backoff: () => 0, maxDeliveries: 3 } });
    const counts: number[] = [];
    const sub = t.broker.subscribe("a", ({ deliveryCount }) => {
      counts.push(deliveryCount);
      if (deliveryCount < 3) boom();
    });
    await t.broker.publish("a", 1);
    await t.until("it is done", () => sub.stats().delivered === 1);
    equal(counts, [1, 2, 3], "deliveryCount");
  },
  "a handler's promise is waited for: it acknowledges when it resolves": async (c) => {
    const t = await c.open({ ack: {} });
    let finish: () => void = () => undefined;
    const sub = t.broker.subscribe("a", () => new Promise<void>((resolve) => (finish = resolve)));
    await t.broker.publish("a", 1);
    await t.until("it is in flight", () => sub.stats().inFlight === 1);
    await t.settle();
    equal(sub.stats().delivered, 0, "done while the handler works");
    finish();
    await t.until("it is done", () => sub.stats().delivered === 1);
  },
  'with ack "manual" a message stays in flight until it is settled': async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const [message] = await sub.fetch(1);
    equal(sub.stats().inFlight, 1, "in flight");
    await message?.ack();
    equal([sub.stats().inFlight, sub.stats().delivered], [0, 1], "in flight and done");
  },
  "a second settle is refused with ERR_ALREADY_SETTLED, and changes nothing": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const [message] = await sub.fetch(1);
    await message?.ack();
    await refused(() => message?.ack(), "ERR_ALREADY_SETTLED", "ack");
    await refused(() => message?.nack(), "ERR_ALREADY_SETTLED", "nack");
    await refused(() => message?.reject(), "ERR_ALREADY_SETTLED", "reject");
    await t.settle();
    await t.figures(sub, { delivered: 1, queued: 0 }, "done and queued");
  },
  "settling one delivery leaves the others of the same message alone": async (c) => {
    const t = await c.open({ ack: { timeout: 1_000, backoff: () => 0 } });
    const subs = [t.broker.subscribe("a", { ack: "manual" }), t.broker.subscribe("a", { ack: "manual" })];
    await t.broker.publish("a", 1);
    const [[one], [two]] = await Promise.all([subs[0]!.fetch(1), subs[1]!.fetch(1)]);
    await one?.ack();
    equal(
      subs.map((sub) => sub.stats().inFlight),
      [0, 1],
      "in flight",
    );
    await two?.nack({ delay: 0 });
    await t.settle();
    equal((await subs[1]!.fetch(1, { timeout: 0 })).length, 1, "given back to the other");
    equal((await subs[0]!.fetch(1, { timeout: 0 })).length, 0, "given back to the one that acknowledged");
  },
  "settling one message leaves the others of the same subscription in flight": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    for (let index = 0; index < 3; index += 1) await t.broker.publish("a", index);
    const batch = await sub.fetch(3);
    await batch[1]?.ack();
    equal([sub.stats().inFlight, sub.stats().delivered], [2, 1], "in flight and done");
  },
  "without acknowledgement a message is done when it is handed over, and settling it is refused": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1);
    await t.until("it comes", () => seen.messages.length === 1);
    await refused(() => seen.messages[0]?.ack(), "ERR_ALREADY_SETTLED", "ack");
    equal(seen.subscription.stats().delivered, 1, "done");
  },
});

export const redeliveryCases = cases("redelivery", {
  "nack brings the message again, counted and marked": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    const { id } = await t.broker.publish("a", 1);
    const [first] = await sub.fetch(1);
    await first?.nack({ delay: 0 });
    const [second] = await sub.fetch(1);
    equal([second?.id, second?.deliveryCount, second?.redelivered], [id, 2, true], "second delivery");
    await second?.ack();
  },
  "nack with a delay brings it after that, not before": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const [first] = await sub.fetch(1);
    const delay = t.window(500);
    await first?.nack({ delay: 500 });
    await delay.near();
    equal((await sub.fetch(1, { timeout: 0 })).length, 0, "before the delay is over");
    delay.seen();
    await delay.end();
    await t.arrival("it comes after the delay", sub);
  },
  "without a delay the subscription's backoff decides, by the number of deliveries": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 4 } });
    const at: number[] = [];
    const start = t.elapsed();
    t.broker.subscribe(
      "a",
      () => {
        at.push(t.elapsed() - start);
        boom();
      },
      { backoff: (deliveryCount) => deliveryCount * 100 },
    );
    await t.broker.publish("a", 1);
    await t.until("it comes at once", () => at.length === 1);
    for (let step = 0; step < 14; step += 1) await t.advance(50);
    await t.until("it comes four times", () => at.length === 4);
    t.equalTimes(at, [0, 100, 300, 600], "times of delivery");
  },
  "the ack timeout takes a delivery back, and brings it again": async (c) => {
    const t = await c.open({ ack: { timeout: 1_000, backoff: () => 0 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const timeout = t.window(1_000);
    const [first] = await sub.fetch(1);
    await timeout.near();
    check(first?.signal.aborted === false, "its signal is aborted too early");
    timeout.seen();
    await timeout.end();
    await t.until("its signal is aborted", () => first.signal.aborted);
    const second = await t.arrival("it comes again", sub);
    equal(second.deliveryCount, 2, "deliveryCount");
    await refused(() => first.ack(), "ERR_DELIVERY_EXPIRED", "the late ack");
    await second.ack();
  },
  "extend gives more time": async (c) => {
    const t = await c.open({ ack: { timeout: 1_000 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const timeout = t.window(1_000);
    const [message] = await sub.fetch(1);
    await timeout.near(900);
    const extended = t.window(1_000);
    await message?.extend(1_000);
    timeout.seen();
    await extended.near(900);
    await message?.ack();
    extended.seen();
    equal(sub.stats().delivered, 1, "done");
  },
  "a handler that hangs loses its delivery, and its place is free again": async (c) => {
    const t = await c.open({ ack: { timeout: 500, maxDeliveries: 1 } });
    const seen: unknown[] = [];
    t.broker.subscribe("a", ({ data }) => {
      seen.push(data);
      return data === "hangs" ? new Promise(() => undefined) : undefined;
    });
    const timeout = t.window(500);
    await t.broker.publish("a", "hangs");
    await t.broker.publish("a", "next");
    await t.until("the first comes", () => seen.length > 0);
    await t.settle();
    equal(seen, ["hangs"], "before the timeout");
    timeout.seen();
    await timeout.end();
    await t.until("the next comes", () => seen.length === 2);
  },
  "a message that comes again goes before others of its priority": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    const [first] = await sub.fetch(1);
    await first?.nack({ delay: 0 });
    equal(dataOf(await sub.fetch(3)), [1, 2, 3], "order");
  },
  "after maxDeliveries it is given up, and does not come again": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 3, backoff: () => 10 } });
    let count = 0;
    const sub = t.broker.subscribe("a", () => {
      count += 1;
      boom();
    });
    await t.broker.publish("a", 1);
    await t.settle();
    await t.advance(1_000);
    await t.until("it comes three times", () => count >= 3);
    await t.settle();
    equal(count, 3, "deliveries");
    await t.figures(sub, { queued: 0, inFlight: 0, delayed: 0 }, "left");
  },
  "a redelivery is for the subscription that failed, and for no other": async (c) => {
    const t = await c.open({ ack: { backoff: () => 10 } });
    const good = t.collect("a");
    t.broker.subscribe("a", ({ deliveryCount }) => {
      if (deliveryCount < 3) boom();
    });
    await t.broker.publish("a", 1);
    await t.settle();
    await t.advance(100);
    equal(good.data, [1], "received by the one that did not fail");
  },
  "others are delivered while one waits for its backoff": async (c) => {
    const t = await c.open({ ack: { backoff: () => 10_000 } });
    const seen: unknown[] = [];
    t.broker.subscribe("a", ({ data }) => {
      seen.push(data);
      if (data === 1) boom();
    });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    await t.until("all come", () => seen.length === 3);
  },
});

export const settleByIdCases = cases("settle-by-id", {
  "broker.ack, nack and reject settle a delivery by its id": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 2 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    for (const data of [1, 2, 3]) await t.broker.publish("a", data);
    const [one, two, three] = await sub.fetch(3);
    await t.broker.ack(one?.deliveryId ?? "");
    await t.broker.nack(two?.deliveryId ?? "", { delay: 0 });
    await t.broker.reject(three?.deliveryId ?? "", "no");
    const [again] = await sub.fetch(1);
    equal([again?.data, again?.deliveryCount], [2, 2], "what came again");
    equal([sub.stats().delivered, sub.stats().inFlight], [1, 1], "done and in flight");
  },
  "broker.extend gives a delivery more time by its id": async (c) => {
    const t = await c.open({ ack: { timeout: 500 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const timeout = t.window(500);
    const [message] = await sub.fetch(1);
    await t.broker.extend(message?.deliveryId ?? "", 60_000);
    timeout.seen();
    await t.advance(1_000);
    await t.broker.ack(message?.deliveryId ?? "");
    equal(sub.stats().delivered, 1, "done");
  },
  "an id that is settled, late or unknown is refused": async (c) => {
    const t = await c.open({ ack: { timeout: 500, backoff: () => 0 } });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    for (const data of [1, 2]) await t.broker.publish("a", data);
    const timeout = t.window(500);
    const [one, two] = await sub.fetch(2);
    const [settled, late] = [one?.deliveryId ?? "", two?.deliveryId ?? ""];
    await t.broker.ack(settled);
    timeout.seen();
    await refused(t.broker.ack(settled), "ERR_ALREADY_SETTLED", "settled");
    await refused(t.broker.ack("never-was"), "ERR_ALREADY_SETTLED", "unknown");
    await timeout.end();
    await t.until("it is taken back", () => two?.signal.aborted === true);
    await refused(t.broker.ack(late), "ERR_DELIVERY_EXPIRED", "late");
  },
});

export const deadLetterCases = cases("dead-letters", {
  "after maxDeliveries a message is kept with its reason, subscription, error and history": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 2, backoff: () => 10 }, deadLetter: {} });
    t.broker.subscribe("a", boom, { name: "worker" });
    const { id } = await t.broker.publish("a", { n: 1 });
    await t.settle();
    await t.advance(10);
    const letters = t.part("deadLetters");
    await t.until("it is kept", () => letters.stats().count === 1);
    const { items } = await letters.list();
    const [letter] = items;
    equal(
      [letter?.reason, letter?.topic, letter?.subscription, letter?.error],
      ["max-deliveries", "a", "worker", "boom"],
      "letter",
    );
    equal([letter?.message.id, letter?.message.data], [id, { n: 1 }], "message");
    equal(
      letter?.history.map(({ deliveryCount, outcome }) => [deliveryCount, outcome]),
      [
        [1, "nacked"],
        [2, "nacked"],
      ],
      "history",
    );
  },
  "reject gives up at once, with the reason given": async (c) => {
    const t = await c.open({ ack: {}, deadLetter: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    await t.broker.publish("a", 1);
    const [message] = await sub.fetch(1);
    await message?.reject("malformed");
    const letters = t.part("deadLetters");
    await t.until("it is kept", () => letters.stats().count === 1);
    const { items } = await letters.list({ reason: "rejected" });
    equal(
      items.map(({ error }) => error),
      ["malformed"],
      "error",
    );
    equal((await sub.fetch(1, { timeout: 0 })).length, 0, "comes again");
  },
  "a dead letter is published to the dead-letter topic too, and says where it came from": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 1 }, deadLetter: { topic: "graves" } });
    const graves = t.collect("graves");
    t.broker.subscribe("a", boom, { name: "worker" });
    await t.broker.publish("a", 7, { headers: { h: "v" } });
    await t.until("it comes", () => graves.messages.length === 1);
    const [message] = graves.messages;
    equal(message?.data, 7, "data");
    const { h, "dead-letter-topic": topic, "dead-letter-reason": reason } = message?.headers ?? {};
    equal([h, topic, reason], ["v", "a", "max-deliveries"], "headers");
  },
  "redrive delivers it to the subscription that gave it up, and to no other": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 1 }, deadLetter: {} });
    let isFixed = false;
    const seen: unknown[] = [];
    const other = t.collect("a");
    t.broker.subscribe("a", ({ data }) => {
      if (!isFixed) boom();
      seen.push(data);
    });
    await t.broker.publish("a", 1);
    const letters = t.part("deadLetters");
    await t.until("it is kept", () => letters.stats().count === 1);
    isFixed = true;
    equal(await letters.redrive(), 1, "driven");
    await t.until("it comes", () => seen.length === 1);
    await t.settle();
    equal([letters.stats().count, other.data], [0, [1]], "left, and received by the other");
  },
  "purge throws dead letters away; filters choose which": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 1 }, deadLetter: {} });
    t.broker.subscribe("x.>", boom);
    for (const topic of ["x.a", "x.b", "x.b"]) await t.broker.publish(topic, 1);
    const letters = t.part("deadLetters");
    await t.until("all are kept", () => letters.stats().count === 3);
    equal(await letters.purge({ topic: "x.b" }), 2, "purged");
    equal(
      (await letters.list()).items.map(({ topic }) => topic),
      ["x.a"],
      "left",
    );
  },
  "list goes in pages, oldest first": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 1 }, deadLetter: {} });
    t.broker.subscribe("a", boom);
    for (let index = 0; index < 5; index += 1) await t.broker.publish("a", index);
    const letters = t.part("deadLetters");
    await t.until("all are kept", () => letters.stats().count === 5);
    const seen: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = await letters.list({ limit: 2, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.items.map(({ message }) => message.data));
      ({ cursor } = page);
    } while (cursor !== undefined);
    equal(seen, [0, 1, 2, 3, 4], "listed");
  },
  "one message that two subscriptions give up has two dead letters": async (c) => {
    const t = await c.open({ ack: { maxDeliveries: 1 }, deadLetter: {} });
    t.broker.subscribe("a", boom, { name: "one" });
    t.broker.subscribe("a", boom, { name: "two" });
    await t.broker.publish("a", 1);
    const letters = t.part("deadLetters");
    await t.until("both are kept", () => letters.stats().count === 2);
    const { items } = await letters.list();
    equal(items.map(({ subscription }) => subscription).sort(), ["one", "two"], "subscriptions");
  },
  "without the option, dead letters are refused with ERR_MODULE_DISABLED": async (c) => {
    const t = await c.open();
    await refused(() => t.part("deadLetters"), "ERR_MODULE_DISABLED", "deadLetters");
  },
});
