// The log by itself. Needs the build: npm run build && node bench/micro/wal.mjs [directory]
// ROUNDS: how often (3), after one round of warm-up. The directory's disk is what is measured.
//
//   encode, decode    records in memory, 256-byte payloads
//   sync-one-by-one   baseline: write + fdatasync of a record, one at a time, on the callback API
//   append-no-sync    baseline: the same bytes in batches of 100, no sync
//   group-1000        1,000 publishers, each awaiting its own commit of level "group"
//   group-one         one publisher awaiting each
//   os-1000           1,000 publishers, each awaiting its own commit of level "os"
//   recovery          opening the log that group-1000 left
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const dist = new URL(process.env.DIST ?? "../../dist/", import.meta.url);
const load = (path) => import(new URL(path, dist).href);
const work = fs.mkdtempSync(join(process.argv[2] ?? tmpdir(), "wal bench "));
const { openWal } = await load("persistence/wal/open.js");
const { ByteWriter } = await load("persistence/wal/byte-writer.js");
const { encodeEntry, EntryDecoder } = await load("persistence/wal/entry-codec.js");
const { beginRecord, endRecord, RecordFrame } = await load("persistence/wal/record.js");
const { crc32 } = await load("platform/checksum.js");
const { systemClock } = await load("platform/clock.js");
const { nodeFileSystem } = await load("platform/file-system.js");

const rounds = Number(process.env.ROUNDS ?? 3);
const payload = Buffer.from(JSON.stringify({ order: "x".repeat(246) }));
const entry = (seq) => ({
  type: "publish",
  seq,
  timestamp: 1_700_000_000_000 + seq,
  topic: "orders.eu.created",
  id: "01HZX4ZK7M8Q9W2E3R4T5Y6U7I",
  priority: 4,
  retain: false,
  codec: 0,
  data: payload,
});

async function timed(count, run) {
  const startedAt = performance.now();
  await run();
  return (count / (performance.now() - startedAt)) * 1000;
}

let directoryCount = 0;
async function open(onRecords = () => {}, directory = join(work, `log ${directoryCount++}`)) {
  const options = { fileSystem: nodeFileSystem, clock: systemClock, afterTurn: setImmediate, random: Math.random };
  return { ...(await openWal({ ...options, directory, onRecords })), directory };
}

async function publishers(howMany, each, level) {
  const { writer, directory } = await open();
  let seq = 0;
  const publisher = async () => {
    for (let n = 0; n < each; n++) await writer.commit(writer.append(entry(seq++)), level);
  };
  const rate = await timed(howMany * each, () => Promise.all(Array.from({ length: howMany }, publisher)));
  if (writer.lastLsn !== howMany * each) throw new Error("records are missing");
  const stats = writer.stats();
  await writer.close();
  return { rate, directory, stats };
}

function encode(count) {
  const log = new ByteWriter(64 * 1024);
  const startedAt = performance.now();
  for (let seq = 0; seq < count; seq++) {
    if (log.length > 1_000_000) log.length = 0;
    const start = beginRecord(log);
    const type = encodeEntry(log, entry(seq));
    endRecord(log, start, type, 0, seq + 1, 12345, crc32);
  }
  return (count / (performance.now() - startedAt)) * 1000;
}

function decode(count) {
  const log = new ByteWriter(64 * 1024);
  const perBuffer = 1000;
  for (let seq = 0; seq < perBuffer; seq++) {
    const start = beginRecord(log);
    endRecord(log, start, encodeEntry(log, entry(seq)), 0, seq + 1, 12345, crc32);
  }
  const frame = new RecordFrame(12345, crc32);
  const decoder = new EntryDecoder();
  const startedAt = performance.now();
  let sum = 0;
  for (let round = 0; round < count / perBuffer; round++) {
    for (let at = 0; at < log.length; at = frame.end) {
      if (frame.read(log.bytes, at, log.length, log.length - at) !== "record") throw new Error("damaged");
      sum += decoder.decode(frame.type, frame.flags, log.bytes, frame.bodyStart, frame.end).seq;
    }
  }
  if (sum === 0) throw new Error("nothing decoded");
  return (count / (performance.now() - startedAt)) * 1000;
}

const call = (start) =>
  new Promise((resolve, reject) => start((error, value) => (error ? reject(error) : resolve(value))));

async function plain(count, batch, sync) {
  const path = join(work, `plain ${directoryCount++}`);
  const fd = fs.openSync(path, "w");
  const bytes = Buffer.alloc(334 * batch, 7);
  let at = 0;
  const rate = await timed(count, async () => {
    for (let n = 0; n < count; n += batch) {
      at += await call((done) => fs.write(fd, bytes, 0, bytes.length, at, done));
      if (sync) await call((done) => fs.fdatasync(fd, done));
    }
  });
  fs.closeSync(fd);
  fs.rmSync(path);
  return rate;
}

async function recovery(directory, expected) {
  let count = 0;
  const before = process.memoryUsage().rss;
  const rate = await timed(expected, async () => {
    const wal = await open((records) => void (count += records.length), directory);
    await wal.writer.close();
  });
  if (count !== expected) throw new Error(`${count} records instead of ${expected}`);
  return { rate, rssMiB: (process.memoryUsage().rss - before) / 2 ** 20 };
}

const results = new Map();
const note = (name, rate) => results.set(name, [...(results.get(name) ?? []), rate]);
try {
  for (let round = 0; round <= rounds; round++) {
    const warmUp = round === 0;
    const put = (name, rate) => warmUp || note(name, rate);
    put("encode", encode(300_000));
    put("decode", decode(300_000));
    put("sync-one-by-one", await plain(400, 1, true));
    put("group-one", (await publishers(1, 400, "group")).rate);
    const { rate, directory, stats } = await publishers(1000, 200, "group");
    put("group-1000", rate);
    put("append-no-sync", await plain(200_000, 100, false));
    put("os-1000", (await publishers(1000, 200, "os")).rate);
    const { rate: recovered, rssMiB } = await recovery(directory, 200_000);
    put("recovery", recovered);
    if (round === rounds)
      console.log(
        `group-1000: ${stats.groups} groups, ${stats.syncs} syncs, ${(stats.syncMs.total / stats.syncs).toFixed(2)} ms a sync; recovery: ${rssMiB.toFixed(0)} MiB more`,
      );
    for (let n = 0; n < directoryCount; n++) fs.rmSync(join(work, `log ${n}`), { recursive: true, force: true });
  }
  for (const [name, rates] of results) {
    const sorted = rates.sort((a, b) => a - b);
    const text = (rate) => Math.round(rate).toLocaleString("en").padStart(12);
    console.log(
      name.padEnd(18),
      text(sorted[Math.floor(sorted.length / 2)]),
      "/s   min",
      text(sorted[0]),
      "max",
      text(sorted.at(-1)),
    );
  }
} finally {
  fs.rmSync(work, { recursive: true, force: true });
}
