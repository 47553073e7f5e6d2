// A process that publishes, consumes and commits is killed again and again; what it was told is what there is.
import { expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { runAndKill } from "../crash/killed-child.js";
import { historyOf, openBroker, temporaryFolder } from "./fixture.js";

const script = `
  import { writeSync } from "node:fs";
  import { InProcBroker } from "inproc-broker";
  import { levelPersistence } from "inproc-broker/persistence";
  const say = (line) => void writeSync(1, line + "\\n");
  const [, path, round] = process.argv;
  const persistence = levelPersistence({ path, walBytes: 100_000, checkpointInterval: 40, reserveBytes: 1000 });
  const broker = await InProcBroker.open({ persistence, transactions: {}, ack: { maxDeliveries: 1_000_000 } });
  const levels = ["os", "group", "always"];
  broker.subscribe("results", { durable: "results", ack: "manual" });
  broker.subscribe("work.*", async (msg) => {
    if (msg.seq % 7 === 0) return new Promise(() => undefined);
    if (msg.seq % 2 === 0) {
      await msg.ack();
      say("s " + msg.seq);
    } else {
      await broker.transaction(async (tx) => {
        void tx.publish("results", { of: msg.seq });
        void tx.ack(msg);
      });
      say("t " + msg.seq);
    }
  }, { durable: "work", ack: "manual", concurrency: 64, maxInFlight: 5_000 });
  let n = 0;
  async function publisher(worker) {
    for (;;) {
      n += 1;
      const { seq } = await broker.publish("work." + (n % 3), { worker, n, round }, { durability: levels[n % 3] });
      say("p " + seq);
    }
  }
  for (let worker = 0; worker < 20; worker += 1) void publisher(worker);
`;

const program = ["--input-type=module", "--eval", script];

it("what publish acknowledged is there once and in order, what was settled never comes again, nothing is half", async () => {
  const path = temporaryFolder();
  const published = new Set<number>();
  const settled = new Set<number>();
  const committed = new Set<number>();
  for (let round = 0; round < 5; round += 1) {
    for (const line of await runAndKill([...program, path, String(round)], 200 + round * 150)) {
      const [kind, seq = "0"] = line.split(" ");
      if (kind === "p") published.add(Number(seq));
      else if (kind === "s") settled.add(Number(seq));
      else if (kind === "t") committed.add(Number(seq));
    }
    const broker = await openBroker(path);
    const work = broker.subscribe("work.*", {
      durable: "work",
      ack: "manual",
      maxInFlight: 1_000_000,
      maxDeliveries: 1_000_000,
    });
    const left: Message[] = [];
    for (;;) {
      const page = await work.fetch(500, { timeout: 0 });
      if (page.length === 0) break;
      left.push(...page);
    }
    const leftSeqs = left.map(({ seq }) => seq);
    const results = (await historyOf(broker, "results")).map(({ data }) => (data as { of: number }).of);
    expect(leftSeqs, "in order, once").toEqual([...new Set(leftSeqs)].sort((a, b) => a - b));
    const isLeft = new Set(leftSeqs);
    const isDone = new Set(results);
    expect(
      [...settled, ...committed].filter((seq) => isLeft.has(seq)),
      "settled, and there again",
    ).toEqual([]);
    expect(
      [...committed].filter((seq) => !isDone.has(seq)),
      "committed without its message",
    ).toEqual([]);
    expect(
      results.filter((seq) => isLeft.has(seq)),
      "half a transaction",
    ).toEqual([]);
    expect(new Set(results).size, "results, once").toBe(results.length);
    const lost = [...published].filter((seq) => !isLeft.has(seq) && !isDone.has(seq) && seq % 7 === 0);
    expect(lost, "acknowledged, unsettled, and gone").toEqual([]);
    const unknown = [...published].filter(
      (seq) => !isLeft.has(seq) && seq % 2 === 1 && seq % 7 !== 0 && !isDone.has(seq),
    );
    expect(unknown, "acknowledged, and neither there nor done").toEqual([]);
    await broker.close({ drain: false });
  }
  expect(published.size).toBeGreaterThan(100);
  expect(settled.size + committed.size).toBeGreaterThan(50);
}, 120_000);
