import { cases } from "../case.js";
import { check, equal, refused } from "../check.js";

export const deliveryCases = cases("delivery", {
  "a message reaches every subscription that matches, once": async (c) => {
    const t = await c.open();
    const [one, two, other] = [t.collect("a"), t.collect("a"), t.collect("b")];
    equal((await t.broker.publish("a", 1)).matched, 2, "matched");
    await t.until("both have it", () => one.data.length + two.data.length === 2);
    await t.settle();
    equal([one.data, two.data, other.data], [[1], [1], []], "received");
  },
  "a message that nobody subscribed to is accepted, and matched is 0": async (c) => {
    const t = await c.open();
    const receipt = await t.broker.publish("nobody", 1);
    equal([receipt.matched, receipt.duplicate], [0, false], "receipt");
    check(receipt.id.length > 0, "it has an id");
  },
  "a subscription gets what is published after it, and nothing from before": async (c) => {
    const t = await c.open();
    await t.broker.publish("a", "before");
    const seen = t.collect("a");
    await t.broker.publish("a", "after");
    await t.until("it comes", () => seen.data.length > 0);
    equal(seen.data, ["after"], "received");
  },
  "a message is delivered after publish has returned, never inside it": async (c) => {
    const t = await c.open();
    let isInside = false;
    let wasInside = false;
    let count = 0;
    t.broker.subscribe("a", () => {
      count += 1;
      if (isInside) wasInside = true;
    });
    isInside = true;
    const publish = t.broker.publish("a", 1);
    isInside = false;
    await publish;
    await t.until("it comes", () => count === 1);
    check(!wasInside, "the handler ran inside publish");
  },
  "a message carries its topic, id, data, time and sequence number": async (c) => {
    const t = await c.open();
    const seen = t.collect("a.b");
    const receipt = await t.broker.publish("a.b", { n: [1, "two", null, true] });
    await t.until("it comes", () => seen.messages.length === 1);
    const [message] = seen.messages;
    equal([message?.topic, message?.id, message?.data], ["a.b", receipt.id, { n: [1, "two", null, true] }], "message");
    equal([message?.seq, message?.deliveryCount, message?.redelivered], [receipt.seq, 1, false], "message");
    check((message?.timestamp ?? 0) > 0, "it has a time");
  },
  "an id that is given is kept; ids that are made differ, and sort by time": async (c) => {
    const t = await c.open();
    equal((await t.broker.publish("a", 1, { id: "mine" })).id, "mine", "given id");
    const first = await t.broker.publish("a", 1);
    await t.advance(5);
    const second = await t.broker.publish("a", 1);
    check(first.id < second.id, `${first.id} sorts before ${second.id}`);
  },
  "sequence numbers rise with every publish": async (c) => {
    const t = await c.open();
    const receipts = [];
    for (let index = 0; index < 10; index += 1) receipts.push(await t.broker.publish("a", index));
    const sorted = [...receipts].sort((a, b) => a.seq - b.seq);
    check(new Set(receipts.map(({ seq }) => seq)).size === 10, "they differ");
    equal(sorted, receipts, "order");
  },
  "null, numbers, texts, booleans and lists are payloads": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    const payloads = [null, 0, -1.5, "", "text", false, [], [[1]], {}];
    for (const data of payloads) await t.broker.publish("a", data);
    await t.until("all come", () => seen.data.length === payloads.length);
    equal(seen.data, payloads, "received");
  },
  "unsubscribe ends delivery, and a repeat does nothing": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1);
    await t.until("it comes", () => seen.data.length === 1);
    await seen.subscription.unsubscribe();
    await seen.subscription.unsubscribe();
    equal((await t.broker.publish("a", 2)).matched, 0, "matched");
    await t.settle();
    equal(seen.data, [1], "received");
    equal(seen.subscription.state, "closed", "state");
  },
  "a signal ends the subscription": async (c) => {
    const t = await c.open();
    const stop = new AbortController();
    const seen = t.collect("a", { signal: stop.signal });
    stop.abort();
    await t.until("it ends", () => seen.subscription.state === "closed");
    equal((await t.broker.publish("a", 1)).matched, 0, "matched");
  },
  "a handler that throws, hangs or is slow neither loses nor delays another's messages": async (c) => {
    const t = await c.open();
    t.broker.subscribe("a", () => {
      throw new Error("throws");
    });
    t.broker.subscribe("a", () => new Promise(() => undefined));
    const seen = t.collect("a");
    for (let index = 0; index < 20; index += 1) await t.broker.publish("a", index);
    await t.until("all come", () => seen.data.length === 20);
  },
  "a handler may publish, subscribe and unsubscribe": async (c) => {
    const t = await c.open();
    const seen = t.collect("b");
    const sub = t.broker.subscribe("a", async (message) => {
      t.broker.subscribe("c", () => undefined);
      await t.broker.publish("b", message.data);
      await sub.unsubscribe();
    });
    await t.broker.publish("a", 1);
    await t.until("what it published comes", () => seen.data.length === 1);
    equal((await t.broker.publish("a", 2)).matched, 0, "matched after unsubscribe");
    equal((await t.broker.publish("c", 2)).matched, 1, "matched by what it subscribed");
  },
  "several patterns in one subscription bring a message once": async (c) => {
    const t = await c.open();
    const seen = t.collect(["a.*", "a.b", "c"]);
    equal((await t.broker.publish("a.b", 1)).matched, 1, "matched");
    await t.broker.publish("c", 2);
    await t.until("both come", () => seen.data.length === 2);
    await t.settle();
    equal(seen.data, [1, 2], "received");
  },
  "a subscription by name says so in statistics and deliveries": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { name: "mine", ack: "manual" });
    equal([sub.name, sub.patterns], ["mine", ["a"]], "subscription");
    await t.broker.publish("a", 1);
    const [message] = await sub.fetch(1);
    equal(message?.subscription, "mine", "message.subscription");
    await message?.ack();
  },
});

export const wildcardCases = cases("wildcards", {
  "* is exactly one token": async (c) => {
    const t = await c.open();
    const seen = t.collect("a.*.c");
    for (const topic of ["a.b.c", "a.c", "a.b.b.c", "a.b.d", "x.b.c"]) await t.broker.publish(topic, topic);
    await t.until("it comes", () => seen.data.length > 0);
    await t.settle();
    equal(seen.data, ["a.b.c"], "received");
  },
  "> at the end is one or more tokens": async (c) => {
    const t = await c.open();
    const seen = t.collect("a.>");
    for (const topic of ["a", "a.b", "a.b.c.d", "b.a"]) await t.broker.publish(topic, topic);
    await t.until("both come", () => seen.data.length === 2);
    await t.settle();
    equal(seen.data, ["a.b", "a.b.c.d"], "received");
  },
  "> alone is every topic": async (c) => {
    const t = await c.open();
    const seen = t.collect(">");
    for (const topic of ["a", "b.c", "d.e.f"]) await t.broker.publish(topic, topic);
    await t.until("all come", () => seen.data.length === 3);
    equal(seen.data, ["a", "b.c", "d.e.f"], "received");
  },
  "* as the first and the last token": async (c) => {
    const t = await c.open();
    const [first, last] = [t.collect("*.b"), t.collect("a.*")];
    for (const topic of ["a.b", "x.b", "a.x", "a.b.c"]) await t.broker.publish(topic, topic);
    await t.until("all come", () => first.data.length === 2 && last.data.length === 2);
    await t.settle();
    equal(
      [first.data, last.data],
      [
        ["a.b", "x.b"],
        ["a.b", "a.x"],
      ],
      "received",
    );
  },
  "topics are told apart by case, and by every character": async (c) => {
    const t = await c.open();
    const seen = t.collect("Orders.é-1_2");
    await t.broker.publish("orders.é-1_2", 1);
    await t.broker.publish("Orders.é-1_2", 2);
    await t.until("it comes", () => seen.data.length === 1);
    await t.settle();
    equal(seen.data, [2], "received");
  },
  "a wildcard is refused in a topic, and in a token with other characters": async (c) => {
    const t = await c.open();
    await refused(t.broker.publish("a.*", 1), "ERR_INVALID_TOPIC", "publish to a.*");
    await refused(t.broker.publish("a.>", 1), "ERR_INVALID_TOPIC", "publish to a.>");
    await refused(() => t.broker.subscribe("a.b*"), "ERR_INVALID_PATTERN", "subscribe to a.b*");
    await refused(() => t.broker.subscribe("a.>.b"), "ERR_INVALID_PATTERN", "subscribe to a.>.b");
  },
  "a subscription made after a topic was in use is matched from then on": async (c) => {
    const t = await c.open();
    for (let index = 0; index < 5; index += 1) await t.broker.publish("hot.topic", index);
    const seen = t.collect("hot.*");
    equal((await t.broker.publish("hot.topic", "now")).matched, 1, "matched");
    await t.until("it comes", () => seen.data.length === 1);
  },
});

export const orderingCases = cases("ordering", {
  "one subscription gets a publisher's messages in the order they were published": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    for (let index = 0; index < 500; index += 1) await t.broker.publish("a", index);
    await t.until("all come", () => seen.data.length === 500);
    equal(
      seen.data,
      Array.from({ length: 500 }, (_, index) => index),
      "received",
    );
  },
  "publishes that are not awaited keep their order": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await Promise.all(Array.from({ length: 500 }, (_, index) => t.broker.publish("a", index)));
    await t.until("all come", () => seen.data.length === 500);
    equal(
      seen.data,
      Array.from({ length: 500 }, (_, index) => index),
      "received",
    );
  },
  "order holds across the topics of one pattern": async (c) => {
    const t = await c.open();
    const seen = t.collect("t.*");
    for (let index = 0; index < 100; index += 1) await t.broker.publish(`t.${index % 7}`, index);
    await t.until("all come", () => seen.data.length === 100);
    equal(
      seen.data,
      Array.from({ length: 100 }, (_, index) => index),
      "received",
    );
  },
  "with concurrency 1 a message waits until the handler has come back from the one before": async (c) => {
    const t = await c.open();
    let running = 0;
    let most = 0;
    let done = 0;
    t.broker.subscribe("a", async () => {
      running += 1;
      most = Math.max(most, running);
      for (let step = 0; step < 5; step += 1) await Promise.resolve();
      running -= 1;
      done += 1;
    });
    await Promise.all(Array.from({ length: 20 }, (_, index) => t.broker.publish("a", index)));
    await t.until("all are done", () => done === 20);
    equal(most, 1, "handlers at once");
  },
  "concurrency bounds how many handlers run at once, and is used": async (c) => {
    const t = await c.open();
    const release: (() => void)[] = [];
    let most = 0;
    let running = 0;
    t.broker.subscribe(
      "a",
      async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => release.push(resolve));
        running -= 1;
      },
      { concurrency: 3 },
    );
    for (let index = 0; index < 6; index += 1) await t.broker.publish("a", index);
    await t.until("three run", () => running === 3);
    await t.settle();
    for (const go of release.splice(0)) go();
    await t.until("the others run", () => running === 3);
    equal(most, 3, "handlers at once");
  },
});

export const headerCases = cases("headers", {
  "headers and key arrive as they were given": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1, { headers: { tenant: "x", "content-type": "text/plain" }, key: "k1" });
    await t.until("it comes", () => seen.messages.length === 1);
    const [message] = seen.messages;
    equal({ ...message?.headers }, { tenant: "x", "content-type": "text/plain" }, "headers");
    equal(message?.key, "k1", "key");
  },
  "a message with headers, a key or a priority has the id that publish has answered": async (c) => {
    for (const options of [{ headers: { h: "v" } }, { key: "k" }, { priority: 9 as const }]) {
      const t = await c.open();
      const seen = t.collect("a");
      const { id } = await t.broker.publish("a", 1, options);
      await t.until("it comes", () => seen.messages.length === 1);
      equal(seen.messages[0]?.id, id, "id");
    }
  },
  "several values of one header are joined as in HTTP": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1, { headers: { accept: ["a", "b"] } });
    await t.until("it comes", () => seen.messages.length === 1);
    equal(seen.messages[0]?.headers["accept"], "a, b", "header");
  },
  "a message without headers has none, and no key": async (c) => {
    const t = await c.open();
    const seen = t.collect("a");
    await t.broker.publish("a", 1);
    await t.until("it comes", () => seen.messages.length === 1);
    equal({ ...seen.messages[0]?.headers }, {}, "headers");
    equal(seen.messages[0]?.key, undefined, "key");
  },
  "a header that is no text is refused": async (c) => {
    const t = await c.open();
    const headers = { count: 1 } as unknown as Record<string, string>;
    await refused(t.broker.publish("a", 1, { headers }), "ERR_INVALID_MESSAGE", "a number as header");
  },
  "headers and key stay with a message through redelivery": async (c) => {
    const t = await c.open({ ack: { backoff: () => 0 } });
    const seen: unknown[] = [];
    t.broker.subscribe("a", (message) => {
      seen.push([message.headers["h"], message.key]);
      if (message.deliveryCount === 1) throw new Error("once");
    });
    await t.broker.publish("a", 1, { headers: { h: "v" }, key: "k" });
    await t.until("it comes twice", () => seen.length === 2);
    equal(
      seen,
      [
        ["v", "k"],
        ["v", "k"],
      ],
      "header and key",
    );
  },
});
