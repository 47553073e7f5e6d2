/** A broker on a store with a long history: opening it, the first delivery, replay, a durable's backlog, and publishing on top. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import { InProcBroker } from "../../dist/index.js";
import { levelPersistence } from "../../dist/persistence/index.js";
import { collectGarbage, spread } from "../harness.mjs";
import { benchFolder, keepAll, payload, PUBLISHERS } from "../store-workload.mjs";

/** `STORE_BENCH_MESSAGES=10000000` is the long form; it takes some ten minutes and 3 GB. */
const MESSAGES = Number(process.env.STORE_BENCH_MESSAGES ?? 1_000_000);

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-broker-history",
  group: "Store: a broker with a long history",
  kind: "figures",
  async measure({ quick, rounds }) {
    const messages = quick ? 100_000 : MESSAGES;
    const runs = [];
    for (let round = 0; round < Math.min(rounds, messages > 1_000_000 ? 1 : 3); round++) {
      const folder = benchFolder();
      try {
        runs.push(await measureRun(folder.path("store"), folder.path("empty"), messages));
      } finally {
        folder.remove();
      }
    }
    const count = messages.toLocaleString("en");
    const lines = [
      [`opening with ${count} messages in blocks and the first delivery, ms`, "first", 1000, "atMost"],
      ["first delivery after resuming, ms", "resumed", 1000, "atMost"],
      ["replay(), messages a second", "replay", 250_000, "atLeast"],
      ["the same, processor time a message, µs", "replayCpu"],
      ["event-loop delay meanwhile, p99 ms", "replayDelay"],
      ["a durable's backlog: deliver and acknowledge, a second", "backlog"],
      ["the same, processor time a message, µs", "backlogCpu"],
      ["event-loop delay meanwhile, p99 ms", "backlogDelay"],
      ["the heap meanwhile, with garbage, MiB", "heap", 100, "atMost"],
      ["buffers beside it, MiB", "buffers"],
      [`publish \`group\` with ${count} stored ÷ with none`, "withHistory", 0.9, "atLeast"],
    ];
    return {
      columns: ["", "median (min–max)", "target"],
      rows: lines.map(([label, name, target, kind]) => {
        const { median, min, max } = spread(runs.map((run) => run[name]));
        const text = `${figure(median)} (${figure(min)}–${figure(max)})`;
        if (target === undefined) return { cells: [label, text, ""] };
        const pass = kind === "atLeast" ? median >= target : median <= target;
        return { cells: [label, text, `${kind === "atLeast" ? "≥" : "≤"} ${target.toLocaleString("en")}`], pass };
      }),
      data: runs,
    };
  },
};

const figure = (value) => (value >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(value < 10 ? 2 : 0));

const openBroker = (path) =>
  InProcBroker.open({ persistence: levelPersistence({ path, ...keepAll, walBytes: 64 * 2 ** 20 }) });

async function publishAll(broker, count, topicOf, options) {
  let left = count;
  const publisher = async () => {
    while (left > 0) {
      left--;
      await broker.publish(topicOf(left), payload, options);
    }
  };
  await Promise.all(Array.from({ length: PUBLISHERS }, publisher));
}

async function elapsed(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** The same in processor time of the whole process, and how long others waited for the event loop meanwhile. */
async function measured(run) {
  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  const before = process.cpuUsage();
  const ms = await elapsed(run);
  const { user, system } = process.cpuUsage(before);
  delay.disable();
  return { ms, cpuUs: user + system, delayMs: delay.percentile(99) / 1e6 };
}

/** The largest so far, in MiB. Not `process.memoryUsage`, which takes half a millisecond for what the system knows. */
function noteMemory(found) {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  found.heap = Math.max(found.heap, heap / 2 ** 20);
  found.buffers = Math.max(found.buffers, external / 2 ** 20);
}

async function measureRun(path, emptyPath, messages) {
  const found = {};
  const durable = { durable: "d", concurrency: 64, maxInFlight: PUBLISHERS };
  let broker = await openBroker(path);
  await broker.subscribe("orders.>", durable).unsubscribe();
  await publishAll(broker, messages, (n) => `orders.${n % 10}`, { durability: "os" });
  await broker.compact();
  await broker.close();

  collectGarbage();
  found.heap = 0;
  found.buffers = 0;
  let seen = 0;
  let resolveFirst;
  const first = new Promise((resolve) => (resolveFirst = resolve));
  let handled = () => resolveFirst();
  const consume = () => {
    seen += 1;
    if (seen % 1_000 === 0) noteMemory(found);
    handled();
  };
  let sub;
  found.first = await elapsed(async () => {
    broker = await openBroker(path);
    sub = broker.subscribe("orders.>", consume, durable);
    await first;
  });
  sub.pause();
  await new Promise((resolve) => setImmediate(resolve));
  found.resumed = await elapsed(
    () =>
      new Promise((resolve) => {
        handled = resolve;
        sub.resume();
      }),
  );
  handled = () => undefined;
  const base = seen;
  const backlog = await measured(() => broker.idle());
  if (seen !== messages) throw new Error(`the backlog had ${seen} of ${messages}`);
  found.backlog = ((messages - base) / backlog.ms) * 1000;
  found.backlogCpu = backlog.cpuUs / (messages - base);
  found.backlogDelay = backlog.delayMs;

  let replayed = 0;
  const replay = await measured(async () => {
    for await (const { topic } of broker.replay(">")) if (topic !== "") replayed += 1;
  });
  if (replayed !== messages) throw new Error(`replay gave ${replayed} of ${messages}`);
  found.replay = (messages / replay.ms) * 1000;
  found.replayCpu = replay.cpuUs / messages;
  found.replayDelay = replay.delayMs;
  await sub.unsubscribe();

  const empty = await openBroker(emptyPath);
  const others = { with: broker, without: empty };
  const times = { with: [], without: [] };
  // In turns, so that what else the machine does meets both.
  for (let round = -1; round < 5; round++) {
    for (const [name, one] of Object.entries(others)) {
      const roundMs = await elapsed(() => publishAll(one, 20_000, () => "later", { durability: "group" }));
      if (round >= 0) times[name].push(roundMs);
    }
  }
  found.withHistory = spread(times.without.map((without, at) => without / times.with[at])).median;
  await broker.close();
  await empty.close();
  return found;
}
