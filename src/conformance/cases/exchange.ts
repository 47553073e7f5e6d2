import { boom, cases } from "../case.js";
import { check, equal, later, refused } from "../check.js";

export const transactionCases = cases("transactions", {
  "what is published in a transaction is delivered after commit, all of it, in order": async (c) => {
    const t = await c.open({ transactions: {} });
    const seen = t.collect(">");
    const tx = t.part("beginTransaction")();
    void tx.publish("a", 1);
    void tx.publish("b", 2);
    await t.settle();
    equal(seen.data, [], "before commit");
    await tx.commit();
    await t.until("both come", () => seen.data.length === 2);
    equal(seen.data, [1, 2], "received");
  },
  "rollback, and a throw, deliver nothing": async (c) => {
    const t = await c.open({ transactions: {} });
    const seen = t.collect(">");
    const tx = t.part("beginTransaction")();
    void tx.publish("a", 1);
    await tx.rollback();
    const failing = t.part("transaction")((inner) => {
      void inner.publish("a", 2);
      boom();
    });
    await failing.then(
      () => check(false, "it resolved"),
      (error: unknown) => equal((error as Error).message, "boom", "error"),
    );
    await t.settle();
    equal(seen.data, [], "received");
  },
  "publish and ack are one: after commit the delivery is done": async (c) => {
    const t = await c.open({ ack: {}, transactions: {} });
    const out = t.collect("out", { ack: "none" });
    const sub = t.broker.subscribe("in", { ack: "manual" });
    await t.broker.publish("in", 1);
    const [message] = await sub.fetch(1);
    await t.part("transaction")((tx) => {
      void tx.ack(message!);
      void tx.publish("out", 2);
    });
    await t.until("the result comes", () => out.data.length === 1);
    equal(sub.stats().delivered, 1, "done");
  },
  "a rolled-back ack leaves the delivery with its consumer": async (c) => {
    const t = await c.open({ ack: {}, transactions: {} });
    const sub = t.broker.subscribe("in", { ack: "manual" });
    await t.broker.publish("in", 1);
    const [message] = await sub.fetch(1);
    const tx = t.part("beginTransaction")();
    await tx.ack(message!);
    await refused(() => message?.ack(), "ERR_ALREADY_SETTLED", "ack while it is staged");
    await tx.rollback();
    await message?.ack();
    equal(sub.stats().delivered, 1, "done");
  },
  "one refusal rolls everything back": async (c) => {
    const t = await c.open({ transactions: {} });
    const seen = t.collect("a");
    const full = t.broker.subscribe("full", { maxMessages: 1, overflow: "error" });
    await t.broker.publish("full", 0);
    const tx = t.part("beginTransaction")();
    void tx.publish("a", 1);
    void tx.publish("full", 2);
    await refused(tx.commit(), "ERR_QUEUE_FULL", "commit");
    await t.settle();
    equal([seen.data, full.stats().queued], [[], 1], "received and queued");
  },
  "a transaction that takes too long is rolled back": async (c) => {
    const t = await c.open({ transactions: { timeout: 1_000 } });
    const seen = t.collect("a");
    const tx = t.part("beginTransaction")();
    void tx.publish("a", 1);
    await t.advance(1_000);
    await refused(tx.commit(), "ERR_TRANSACTION_TIMEOUT", "commit");
    equal(seen.data, [], "received");
  },
  "a second commit, and an id that is taken, are refused": async (c) => {
    const t = await c.open({ transactions: {} });
    const begin = t.part("beginTransaction");
    const tx = begin({ id: "mine" });
    await refused(() => begin({ id: "mine" }), "ERR_TRANSACTION_EXISTS", "the same id");
    await tx.commit();
    await refused(tx.commit(), "ERR_TRANSACTION_SETTLED", "a second commit");
  },
  "publish by a transaction's id stages too; an id nobody knows is refused": async (c) => {
    const t = await c.open({ transactions: {} });
    const seen = t.collect("a");
    const tx = t.part("beginTransaction")({ id: "mine" });
    await t.broker.publish("a", 1, { transaction: "mine" });
    await t.settle();
    equal(seen.data, [], "before commit");
    await tx.commit();
    await t.until("it comes", () => seen.data.length === 1);
    await refused(t.broker.publish("a", 1, { transaction: "other" }), "ERR_TRANSACTION_NOT_FOUND", "an unknown id");
  },
  "without the option, transactions are refused with ERR_MODULE_DISABLED": async (c) => {
    const t = await c.open();
    await refused(() => t.part("beginTransaction")(), "ERR_MODULE_DISABLED", "beginTransaction");
  },
});

export const requestCases = cases("request-reply", {
  "request resolves to what the responder returns": async (c) => {
    const t = await c.open();
    t.broker.respond("add", ({ data }) => (data as number[]).reduce((sum, one) => sum + one, 0));
    equal(await t.broker.request("add", [1, 2, 3]), 6, "answer");
  },
  "what a responder throws reaches the requester as ERR_REMOTE": async (c) => {
    const t = await c.open();
    t.broker.respond("fails", boom);
    const error = await refused(t.broker.request("fails", 1), "ERR_REMOTE", "request");
    check(error.message.includes("boom"), `the text says why: ${error.message}`);
  },
  "with nobody to answer, it fails at once with ERR_NO_RESPONDERS": async (c) => {
    const t = await c.open();
    await refused(t.broker.request("nobody", 1), "ERR_NO_RESPONDERS", "request");
  },
  "with no answer in time, it fails with ERR_TIMEOUT": async (c) => {
    const t = await c.open();
    t.broker.subscribe("silent", () => undefined);
    const answer = later(t.broker.request("silent", 1, { timeout: 500 }));
    const outcome = later(refused(answer, "ERR_TIMEOUT", "request"));
    await t.settle();
    await t.advance(500);
    await t.outcome("the request fails in time", outcome);
  },
  "many requests at once each get their own answer": async (c) => {
    const t = await c.open();
    t.broker.respond("double", ({ data }) => 2 * (data as number));
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => t.broker.request("double", n)));
    equal(
      answers,
      Array.from({ length: 50 }, (_, n) => 2 * n),
      "answers",
    );
  },
  "responders of one group share the work: one answers": async (c) => {
    const t = await c.open();
    let answered = 0;
    for (let index = 0; index < 3; index += 1) t.broker.respond("ask", () => (answered += 1), { group: "g" });
    await t.broker.request("ask", 1);
    await t.settle();
    equal(answered, 1, "responders that answered");
  },
  "requestMany yields answers up to max": async (c) => {
    const t = await c.open();
    for (const name of ["a", "b", "c"]) t.broker.respond("who", () => name);
    const answers: unknown[] = [];
    const ask = async (): Promise<void> => {
      for await (const answer of t.broker.requestMany("who", null, { max: 2, timeout: 60_000 })) answers.push(answer);
    };
    await t.outcome("it ends at once", ask());
    equal(answers.length, 2, "answers");
  },
  "requestMany ends with its timeout, without an error": async (c) => {
    const t = await c.open();
    t.broker.respond("who", () => "me");
    const answers: unknown[] = [];
    const timeout = t.window(500);
    const ask = async (): Promise<void> => {
      for await (const answer of t.broker.requestMany("who", null, { timeout: 500 })) answers.push(answer);
    };
    const all = later(ask());
    await t.until("one comes", () => answers.length === 1 || timeout.isOver);
    timeout.seen();
    await timeout.end();
    await t.outcome("it ends", all);
    equal(answers, ["me"], "answers");
  },
  "msg.reply answers by hand; without a request it is refused": async (c) => {
    const t = await c.open();
    const sub = t.broker.subscribe("ask");
    const answer = later(t.broker.request("ask", 1));
    const [request] = await sub.fetch(1);
    await request?.reply("by hand");
    equal(await answer, "by hand", "answer");
    await t.broker.publish("ask", 2);
    const [plain] = await sub.fetch(1);
    await refused(() => plain?.reply("to nobody"), "ERR_INVALID_MESSAGE", "reply");
  },
  "a signal ends a request with its reason": async (c) => {
    const t = await c.open();
    t.broker.subscribe("silent", () => undefined);
    const stop = new AbortController();
    const answer = later(t.broker.request("silent", 1, { signal: stop.signal }));
    stop.abort(Object.assign(new Error("stop"), { code: "MINE" }));
    await refused(answer, "MINE", "request");
  },
});

export const confirmCases = cases("confirms", {
  "confirm: publish resolves once so many subscriptions have acknowledged": async (c) => {
    const t = await c.open({ ack: {} });
    const subs = [t.broker.subscribe("a", { ack: "manual" }), t.broker.subscribe("a", { ack: "manual" })];
    let isConfirmed = false;
    const publish = later(t.broker.publish("a", 1, { confirm: 2 }).then(() => (isConfirmed = true)));
    const [one] = await subs[0]!.fetch(1);
    const [two] = await subs[1]!.fetch(1);
    await one?.ack();
    await t.settle();
    check(!isConfirmed, "it resolved after one acknowledgement");
    await two?.ack();
    await publish;
  },
  "confirm: ERR_TIMEOUT where they do not come in time, and the message stays published": async (c) => {
    const t = await c.open({ ack: {} });
    const sub = t.broker.subscribe("a", { ack: "manual" });
    const publish = t.broker.publish("a", 1, { confirm: 1, confirmTimeout: 500 });
    const outcome = later(refused(publish, "ERR_TIMEOUT", "publish"));
    await t.settle();
    await t.advance(500);
    await t.outcome("the publish fails in time", outcome);
    equal((await sub.fetch(1, { timeout: 0 })).length, 1, "received");
  },
  "confirm: a redelivery that succeeds counts": async (c) => {
    const t = await c.open({ ack: { backoff: () => 0 } });
    t.broker.subscribe("a", ({ deliveryCount }) => {
      if (deliveryCount === 1) boom();
    });
    equal((await t.broker.publish("a", 1, { confirm: 1 })).matched, 1, "matched");
  },
});
