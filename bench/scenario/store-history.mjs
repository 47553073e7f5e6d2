/**
 * A long history: recovering it from the log, moving it into blocks, opening on it, paging and replaying it, and
 * publishing on top of it.
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { collectGarbage, spread } from "../harness.mjs";
import { benchFolder, fill, keepAll, openStore, publishFromMany } from "../store-workload.mjs";

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "store-history",
  group: "Store: a long history",
  kind: "figures",
  async measure({ quick, rounds }) {
    const messages = quick ? 100_000 : 1_000_000;
    const runs = [];
    for (let round = 0; round < Math.min(rounds, 3); round++) runs.push(await oneRun(messages));
    const named = (name) => spread(runs.map((run) => run[name]));
    const count = messages.toLocaleString("en");
    const lines = [
      [`recovery of ${count} messages in the log, a second`, "recovery", 400_000, "atLeast"],
      ["first page after opening on the log, ms", "firstFromLog"],
      [`checkpoint of ${count} messages, a second`, "checkpoint"],
      ["event-loop delay while checkpointing, p99 ms", "delayP99", 20, "atMost"],
      ["share of a core while checkpointing", "cpuShare"],
      ["opening and first page once checkpointed, ms", "firstFromBlocks", 1000, "atMost"],
      ["replay from blocks, pages, a second", "replay", 250_000, "atLeast"],
      ["paging a durable's backlog, a second", "paging"],
      ["heap and buffers while paging, MiB", "memory", 100, "atMost"],
      ["publish `group` with the history ÷ with none", "withHistory", 0.9, "atLeast"],
      ["bytes on disk a message, gzip", "bytesGzip"],
      ["bytes on disk a message, none", "bytesPlain"],
    ];
    return {
      columns: ["", "median (min–max)", "target"],
      rows: lines.map(([label, name, target, kind]) => {
        const { median, min, max } = named(name);
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

/** Orders that differ, as real ones do: gzip has something to do. */
function orderOf(seq) {
  const customer = `customer-${(seq * 7919) % 10_007}`;
  const items = [{ sku: `sku-${(seq * 31) % 977}`, count: (seq % 5) + 1, price: ((seq * 37) % 9973) / 100 }];
  const address = { street: `${(seq * 13) % 999} Long Street`, city: "Springfield", code: `${(seq * 101) % 99_991}` };
  return { id: seq, customer, items, address, note: "please leave it at the back door, thanks" };
}

async function timed(run) {
  const start = performance.now();
  const result = await run();
  return [performance.now() - start, result];
}

async function oneRun(messages) {
  const folder = benchFolder();
  try {
    return await measureRun(folder, messages);
  } finally {
    folder.remove();
  }
}

async function measureRun(folder, messages) {
  const found = {};
  const path = folder.path("store");
  // Segments of an ordinary size, so that a checkpoint can let them go.
  const options = { ...keepAll, walBytes: 256 * 2 ** 20 };
  const perSecond = (ms) => (messages / ms) * 1000;

  let store = await openStore(path, { ...keepAll, walBytes: 1e12 });
  await publishFromMany(store, 20_000, "group"); // warm-up
  const [withoutMs] = await timed(() => publishFromMany(store, 50_000, "group"));
  await store.append([{ type: "durable", change: "created", name: "d", patterns: [">"], position: store.lastSeq + 1 }]);
  const base = store.lastSeq;
  await fill(store, messages - base, orderOf, (seq) => `orders.${seq % 10}`);
  await store.close();

  collectGarbage();
  let ms;
  [ms, store] = await timed(() => openStore(path, { ...keepAll, walBytes: 1e12 }));
  found.recovery = perSecond(ms);
  [found.firstFromLog] = await timed(() => store.pending("d", 0, 100));

  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  const cpuBefore = process.cpuUsage();
  [ms] = await timed(() => store.checkpoint());
  const cpu = process.cpuUsage(cpuBefore);
  delay.disable();
  found.checkpoint = perSecond(ms);
  found.delayP99 = delay.percentile(99) / 1e6;
  found.cpuShare = (cpu.user + cpu.system) / 1000 / ms;
  const stats = await store.stats();
  found.bytesGzip = (stats.liveBytes - stats.log.bytes) / stats.messagesInBlocks;
  await store.compact();
  await store.close();

  collectGarbage();
  [found.firstFromBlocks] = await timed(async () => {
    store = await openStore(path, options);
    const { messages: page } = await store.pending("d", 0, 100);
    if (page.length !== 100) throw new Error(`the first page has ${page.length} messages`);
  });
  store.forgetRecovered();
  let seen = 0;
  let memory = 0;
  [ms] = await timed(async () => {
    for await (const page of store.replayPages([">"])) seen += page.length;
  });
  if (seen !== messages) throw new Error(`replay gave ${seen} of ${messages}`);
  found.replay = perSecond(ms);
  seen = 0;
  collectGarbage();
  [ms] = await timed(async () => {
    for (let afterSeq = 0; ;) {
      const page = await store.pending("d", afterSeq, 500);
      seen += page.messages.length;
      afterSeq = page.throughSeq;
      const { heapUsed, external } = process.memoryUsage();
      memory = Math.max(memory, heapUsed + external);
      if (!page.hasMore) return;
    }
  });
  if (seen !== messages - base) throw new Error(`the backlog has ${seen} of ${messages - base}`);
  found.paging = ((messages - base) / ms) * 1000;
  found.memory = memory / 2 ** 20;
  await publishFromMany(store, 20_000, "group");
  [ms] = await timed(() => publishFromMany(store, 50_000, "group"));
  found.withHistory = withoutMs / ms;
  await store.close();

  const plain = await openStore(folder.path("plain"), { ...options, compression: "none" });
  await fill(plain, 20_000, orderOf);
  await plain.checkpoint();
  const plainStats = await plain.stats();
  found.bytesPlain = (plainStats.liveBytes - plainStats.log.bytes) / plainStats.messagesInBlocks;
  await plain.close();
  return found;
}
