import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { Message } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { randomFrom } from "../support/faulty-file-system.js";
import { balanced } from "../support/manual-broker.js";
import { ManualClock } from "../support/manual-clock.js";
import { Ledger } from "./broker-ledger.js";
import { runAndKill } from "./killed-child.js";

const child = "test/crash/broker-child.mjs";
const levels = ["group", "os", "always", "interval", "memory"] as const;

/** Kills a process that uses a broker, again and again, and compares what is there with what the process was told. */
export async function brokerKillLoop(rounds: number, seed: number): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "broker kill "));
  const random = randomFrom(seed);
  try {
    const path = join(folder, "store");
    const ledger = new Ledger();
    for (let round = 0; round < rounds; round += 1) {
      const level = levels[round % levels.length] ?? "group";
      // Now and then while it opens, or soon after.
      const lineCount = round % 6 === 5 ? Math.floor(random() * 3) : Math.floor(random() * 1_500);
      const hint = `seed ${seed}, round ${round}, ${level}`;
      const said = await runAndKill([child, path, String(round), level], lineCount);
      ledger.take(said, level === "memory", hint);
      await compare(ledger, path, random, hint);
    }
    ledger.requireUse();
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function compare(ledger: Ledger, path: string, random: () => number, hint: string): Promise<void> {
  // Its time moves past every delay and backoff of the child.
  const clock = new ManualClock(Date.now());
  const broker = await InProcBroker.open({
    persistence: levelPersistence({ path, walBytes: 100_000, reserveBytes: 1000, recovery: "fail" }),
    deadLetter: { reasons: ["rejected"] },
    dedup: { window: 3_600_000 },
    memory: { maxBytes: 2 ** 32 },
    clock,
  });
  try {
    expect(broker.recoveryReport?.warnings, hint).toEqual([]);
    await clock.advance(2_000);
    await broker.idle();
    const first = await allOf(broker, "work.*", "first");
    const second = await allOf(broker, ["work.*", "unused"], "second");
    const results = await allOf(broker, "results", "results");
    const batches = await allOf(broker, "batches", "batches");
    const { items: dead } = await broker.deadLetters.list({ limit: 10_000 });
    balanced(broker);
    const retained = new Map(broker.retained().map(({ topic, seq }) => [topic, seq]));
    ledger.compare({ first, second, results, batches, dead, retained }, hint);
    for (const [id, seq] of ledger.someDedup()) {
      const receipt = await broker.publish("unused", { n: 0 }, { dedupId: id });
      expect(receipt, hint).toMatchObject({ id, seq, duplicate: true });
    }
    // So that the next round does not begin with all that was left; and what is settled here stays so too.
    const isDone = ({ data }: Message): boolean => (data as { n: number }).n % 3 !== 0 || random() < 0.5;
    const settles: Promise<void>[] = [];
    for (const [durable, messages] of [
      ["first", first],
      ["second", second],
    ] as const) {
      for (const message of messages) {
        if (!isDone(message)) continue;
        settles.push(message.ack());
        ledger.settledHere(durable, message.id);
      }
    }
    for (const message of [...results, ...batches]) settles.push(message.ack());
    await Promise.all(settles);
    await broker.deadLetters.purge();
    ledger.purged(dead.map(({ message }) => message.id));
    balanced(broker);
    await broker.flush();
  } finally {
    await broker.close({ drain: false });
  }
}

/** What a durable has still to settle, in the order in which it comes. */
async function allOf(broker: InProcBroker, pattern: string | readonly string[], durable: string): Promise<Message[]> {
  const options = { durable, ack: "manual", maxInFlight: 1_000_000, maxDeliveries: 1_000_000 } as const;
  const sub = broker.subscribe(pattern as string, options);
  const messages: Message[] = [];
  for (;;) {
    const page = await sub.fetch(500, { timeout: 0 });
    if (page.length === 0) return messages;
    messages.push(...page);
  }
}
