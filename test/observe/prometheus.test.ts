// The text exposition, read by a strict parser of its format (prometheus.io/docs/instrumenting/exposition_formats), and compared
// with the snapshot it was made of.
import { describe, expect, it } from "vitest";
import type { InProcBroker, MetricsSnapshot } from "inproc-broker";
import { fetchNow, manualBroker, roundAck, takeOne } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

interface Family {
  help: string;
  type: "counter" | "gauge";
  /** By label set, as it stands between the braces in a canonical order. */
  samples: Map<string, number>;
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Reads `name="value",…` to the closing brace; returns the labels and what follows. */
function readLabels(text: string): { labels: [string, string][]; rest: string } {
  const labels: [string, string][] = [];
  let at = 0;
  while (text[at] !== "}") {
    const equals = text.indexOf('="', at);
    const name = text.slice(at, equals);
    if (!labelName.test(name)) throw new Error(`no label name: ${name}`);
    let value = "";
    for (at = equals + 2; text[at] !== '"'; at += 1) {
      if (at >= text.length) throw new Error("a label value without an end");
      if (text[at] !== "\\") value += text.charAt(at);
      else {
        at += 1;
        const escaped = { "\\": "\\", '"': '"', n: "\n" }[text[at] as string];
        if (escaped === undefined) throw new Error(`no escape: \\${text[at]}`);
        value += escaped;
      }
    }
    labels.push([name, value]);
    at += 1;
    if (text[at] === ",") at += 1;
    else if (text[at] !== "}") throw new Error("labels need a comma between them");
  }
  return { labels, rest: text.slice(at + 1) };
}

/** Throws for whatever the format does not allow. */
function parse(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line must end");
  const families = new Map<string, Family>();
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const meta = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (meta !== null) {
      const [, kind, name, rest] = meta as unknown as [string, string, string, string];
      if (!metricName.test(name)) throw new Error(`no metric name: ${name}`);
      if (kind === "HELP") {
        if (families.has(name)) throw new Error(`a second HELP for ${name}`);
        if (/\\(?![\\n])/.test(rest)) throw new Error(`an escape in HELP of ${name}`);
        families.set(name, { help: rest, type: "gauge", samples: new Map() });
        current = `help ${name}`;
      } else {
        if (current !== `help ${name}`) throw new Error(`TYPE of ${name} without its HELP, or a second one`);
        if (rest !== "counter" && rest !== "gauge") throw new Error(`no type: ${rest}`);
        (families.get(name) as Family).type = rest;
        current = name;
      }
      continue;
    }
    const name = /^[^\s{]*/.exec(line)?.[0] ?? "";
    if (name !== current) throw new Error(`a sample outside of its family: ${line}`);
    const after = line.slice(name.length);
    const { labels, rest } = after.startsWith("{") ? readLabels(after.slice(1)) : { labels: [], rest: after };
    if (!/^ (?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/.test(rest)) throw new Error(`no value: ${line}`);
    const series = JSON.stringify(labels.sort());
    const { samples } = families.get(name) as Family;
    if (new Set(labels.map(([label]) => label)).size < labels.length) throw new Error(`a label twice: ${line}`);
    if (samples.has(series)) throw new Error(`a series twice: ${line}`);
    samples.set(series, rest === " +Inf" ? Infinity : Number(rest));
  }
  return families;
}

const unlabelled = "[]";
const reason = (value: string): string => JSON.stringify([["reason", value]]);

/** A broker to which everything has happened that a counter counts. */
async function eventful(): Promise<InProcBroker> {
  const { broker, clock } = manualBroker({
    ack: { ...roundAck, maxDeliveries: 2 },
    deadLetter: {},
    transactions: { timeout: 50 },
  });
  broker.on("error", () => undefined);
  const sub = broker.subscribe("t", {
    name: 'hostile "name"\\ with\nall of it',
    maxMessages: 2,
    overflow: "drop-oldest",
  });
  for (let data = 0; data < 4; data += 1) await broker.publish("t", data, { ttl: 500, dedupId: `d${data}` });
  await broker.publish("t", 1, { dedupId: "d1" });
  await (await takeOne(sub)).nack({ delay: 0 });
  const again = await takeOne(sub);
  await again.ack();
  await again.ack().catch(() => undefined);
  await broker.publish("nobody", 1);
  broker.publish("", 1).catch(() => undefined);
  broker.subscribe("throws", () => {
    throw new Error("no");
  });
  await broker.publish("throws", 1);
  await broker.transaction((tx) => tx.publish("nobody", 1));
  await broker.beginTransaction().rollback();
  broker.beginTransaction();
  const slow = broker.subscribe("slow");
  await broker.publish("slow", 1, { retain: true });
  await takeOne(slow);
  await clock.advance(2_000);
  await fetchNow(slow);
  await broker.publish("later", 1, { delay: 1e6 });
  await broker.publish("later", 1, { delay: 200, ttl: 100 });
  await broker.cancel((await broker.publish("later", 1, { delay: 200 })).id);
  await clock.advance(200);
  const [held, back] = [broker.subscribe("held"), broker.subscribe("back")];
  for (const topic of ["held", "back"]) await broker.publish(topic, 1);
  await takeOne(held);
  await (await takeOne(back)).nack({ delay: 1e6 });
  const full = broker.subscribe("full", { maxMessages: 1 });
  void broker.publish("full", 1);
  broker.publish("full", 2).catch(() => undefined);
  broker.request("slow", 1).catch(() => undefined);
  broker.beginTransaction();
  const gone = broker.subscribe("gone");
  await broker.publish("gone", 1);
  await gone.unsubscribe();
  await settle();
  expect(full.stats().waiting).toBe(1);
  return broker;
}

/** Every figure of the text, and where the snapshot has it. */
const figures: Readonly<Record<string, (figures: MetricsSnapshot) => number>> = {
  published_total: (s) => s.published,
  routed_messages_total: (s) => s.routedMessages,
  unrouted_total: (s) => s.unrouted,
  scheduled_expired_total: (s) => s.scheduledExpired,
  scheduled_cancelled_total: (s) => s.scheduledCancelled,
  refused_total: (s) => s.refused,
  duplicates_total: (s) => s.duplicates,
  routed_total: (s) => s.routed,
  delivered_total: (s) => s.delivered,
  handed_over_total: (s) => s.handedOver,
  redelivered_total: (s) => s.redelivered,
  nacked_total: (s) => s.nacked,
  ack_timeouts_total: (s) => s.timedOut,
  handler_errors_total: (s) => s.handlerErrors,
  expired_total: (s) => s.expired,
  dead_lettered_total: (s) => s.deadLettered,
  refused_settles_total: (s) => s.refusedSettles,
  late_replies_total: (s) => s.lateReplies,
  transactions_committed_total: (s) => s.transactions.committed,
  transactions_rolled_back_total: (s) => s.transactions.rolledBack,
  transactions_timed_out_total: (s) => s.transactions.timedOut,
  uptime_seconds: (s) => s.uptime / 1000,
  queued: (s) => s.queued,
  in_flight: (s) => s.inFlight,
  delayed: (s) => s.delayed,
  scheduled: (s) => s.scheduled,
  waiting_publishers: (s) => s.waitingPublishers,
  topics: (s) => s.topics,
  subscriptions: (s) => s.subscriptions,
  retained: (s) => s.retained,
  memory_bytes: (s) => s.memoryBytes,
  memory_max_bytes: (s) => s.memoryMaxBytes,
  pending_requests: (s) => s.pendingRequests,
  dedup_entries: (s) => s.dedupEntries,
  transactions_open: (s) => s.transactions.open,
  dead_letters: (s) => s.deadLetters?.count ?? 0,
};

describe("prometheus()", () => {
  it("is what the format allows, of a broker to which much has happened, a new one and one without bounds", async () => {
    const brokers = [await eventful(), manualBroker().broker, manualBroker({ memory: { maxBytes: Infinity } }).broker];
    for (const broker of brokers) {
      for (const [name, { help, type, samples }] of parse(broker.metrics.prometheus())) {
        expect(name).toMatch(/^inproc_broker_[a-z_]+$/);
        expect(help.length).toBeGreaterThan(5);
        expect(name.endsWith("_total"), name).toBe(type === "counter");
        for (const value of samples.values()) {
          expect(value, name).toBeGreaterThanOrEqual(0);
          if (name !== "inproc_broker_memory_max_bytes") expect(value, name).toBeLessThan(Infinity);
        }
      }
    }
  });

  it("says what the snapshot says, figure by figure", async () => {
    const broker = await eventful();
    const [families, snapshot] = [parse(broker.metrics.prometheus()), broker.metrics.snapshot()];
    const values = Object.entries(figures).map(([name, read]) => [name, read(snapshot)] as const);
    for (const [name, value] of values) {
      expect(families.get(`inproc_broker_${name}`)?.samples.get(unlabelled), name).toBe(value);
    }
    const dropped = families.get("inproc_broker_dropped_total")?.samples;
    expect(Object.fromEntries(dropped ?? [])).toEqual(
      Object.fromEntries(Object.entries(snapshot.dropped).map(([why, count]) => [reason(why), count])),
    );
    expect(dropped?.size).toBeGreaterThan(1);
    expect([...families.keys()].map((name) => name.slice("inproc_broker_".length)).sort()).toEqual(
      [...Object.keys(figures), "dropped_total"].sort(),
    );
    // Nearly everything has happened, so that a figure in another's place is seen.
    expect(values.filter(([, value]) => value === 0).map(([name]) => name)).toEqual(["late_replies_total"]);
    await broker.close({ drain: false });
  });

  it("has as many lines whatever the topics and subscriptions are called", async () => {
    const { broker } = manualBroker();
    const lines = (): number => broker.metrics.prometheus().split("\n").length;
    const before = lines();
    for (const name of ['"', "\\", "\n", "# HELP x y", "}", "\u2028", "__proto__"]) {
      broker.subscribe("t", { name });
      await broker.publish(name.replace(/\s/gu, "_"), 1);
    }
    expect(lines()).toBe(before);
    parse(broker.metrics.prometheus());
  });
});

describe("the parser", () => {
  it.each([
    ["a sample without its family", "a 1\n"],
    ["TYPE before HELP", "# TYPE a gauge\n# HELP a b\na 1\n"],
    ["a second HELP", "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n"],
    ["a series twice", '# HELP a b\n# TYPE a gauge\na{x="1"} 1\na{x="1"} 2\n'],
    ["a quote in a label", '# HELP a b\n# TYPE a gauge\na{x="1"2"} 1\n'],
    ["an escape that is none", '# HELP a b\n# TYPE a gauge\na{x="\\t"} 1\n'],
    ["undefined for a value", "# HELP a b\n# TYPE a gauge\na undefined\n"],
    ["Infinity for a value", "# HELP a b\n# TYPE a gauge\na Infinity\n"],
    ["a last line without an end", "# HELP a b\n# TYPE a gauge\na 1"],
  ])("refuses %s", (_what, text) => {
    expect(() => parse(text)).toThrow();
  });
});
