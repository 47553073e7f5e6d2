import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { randomFrom } from "../support/faulty-file-system.js";
import { compileChild, runAndKill } from "./killed-child.js";

/** The parts of `src/` that the child needs. */
const parts = ["platform", "message", "topic", "persistence", "persistence/wal", "persistence/store"];

/** What the child said it asked for, and what was acknowledged, over all rounds. */
class Ledger {
  readonly published = new Set<number>();
  readonly settled = new Set<number>();
  /** Output by input. */
  readonly transactions = new Map<number, number>();
  readonly askedPublish = new Set<number>();
  readonly askedSettle = new Set<number>();
  readonly askedTransactions = new Map<number, number>();

  take(lines: readonly string[]): void {
    for (const line of lines) {
      const [kind = "", first = "0", second = "0"] = line.split(" ");
      const seq = Number(first);
      if (kind === "P") this.askedPublish.add(seq);
      if (kind === "p") this.published.add(seq);
      if (kind === "S") this.askedSettle.add(seq);
      if (kind === "s") this.settled.add(seq);
      if (kind === "T") this.askedTransactions.set(seq, Number(second));
      if (kind === "t") this.transactions.set(seq, Number(second));
    }
  }
}

/** Kills a process that uses the store, again and again, and compares the store with what the process was told. */
export async function storeKillLoop(rounds: number, seed: number): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "store kill "));
  const random = randomFrom(seed);
  try {
    const path = compileChild("test/crash/store-child.ts", parts, join(folder, "build"));
    const directory = join(folder, "store");
    const ledger = new Ledger();
    for (let round = 0; round < rounds; round++) {
      const hint = `seed ${seed}, round ${round}`;
      ledger.take(await runAndKill([path, directory, String(round)], 5 + Math.floor(random() * 1500)));
      await compare(ledger, directory, hint);
    }
    expect(ledger.published.size).toBeGreaterThan(rounds);
    expect(ledger.transactions.size).toBeGreaterThan(0);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function compare(ledger: Ledger, path: string, hint: string): Promise<void> {
  const store = await StoreEngine.open({ path, walBytes: 100_000, blockBytes: 2_000, reserveBytes: 1000 });
  try {
    const { database, log, damaged } = store.recoveryReport;
    expect(
      { isLost: database === "missing" || database === "broken", damaged, quarantined: log.quarantined },
      hint,
    ).toEqual({
      isLost: false,
      damaged: [],
      quarantined: [],
    });
    if (store.recovered.durables.length === 0) {
      expect(ledger.published.size, hint).toBe(0);
      return;
    }
    const work = await pendingOf(store, "work", hint);
    const results = await pendingOf(store, "results", hint);
    for (const seq of ledger.published) {
      const mayBeSettled = ledger.askedSettle.has(seq) || ledger.askedTransactions.has(seq);
      if (!mayBeSettled) expect(work.has(seq), `${hint}: published and gone: ${seq}`).toBe(true);
    }
    for (const seq of work) {
      expect(ledger.askedPublish.has(seq), `${hint}: nobody published ${seq}`).toBe(true);
      expect(ledger.settled.has(seq) || ledger.transactions.has(seq), `${hint}: settled, and there again: ${seq}`).toBe(
        false,
      );
    }
    for (const output of ledger.transactions.values()) {
      expect(results.has(output), `${hint}: committed and gone: ${output}`).toBe(true);
    }
    // Numbers are given out again when what they were asked for is not there: the last asking counts.
    const outputs = new Set(ledger.askedTransactions.values());
    for (const seq of results) expect(outputs.has(seq), `${hint}: nobody committed ${seq}`).toBe(true);
    for (const [input, output] of ledger.askedTransactions) {
      if (!ledger.published.has(input)) continue;
      // Whole or not at all: the input is settled just when the output is there.
      expect(work.has(input) !== results.has(output), `${hint}: half a transaction: ${input} ${output}`).toBe(true);
    }
    // What was asked for and is not there counts as never asked: its number may come again.
    for (const seq of ledger.askedPublish) if (seq > store.lastSeq) ledger.askedPublish.delete(seq);
    for (const [input, output] of ledger.askedTransactions) {
      if (work.has(input) || output > store.lastSeq) ledger.askedTransactions.delete(input);
    }
    for (const seq of ledger.askedSettle) if (work.has(seq) || seq > store.lastSeq) ledger.askedSettle.delete(seq);
  } finally {
    await store.close();
  }
}

async function pendingOf(store: StoreEngine, name: string, hint: string): Promise<Set<number>> {
  const seqs = new Set<number>();
  let last = 0;
  for (let afterSeq = 0; ;) {
    const page = await store.pending(name, afterSeq, 500);
    for (const { message } of page.messages) {
      expect(message.seq, hint).toBeGreaterThan(last);
      last = message.seq;
      const { seq, text } = message.data as { seq: number; text: string };
      expect([seq, text.replace(/x+$/, "")], hint).toEqual([message.seq, message.id]);
      seqs.add(message.seq);
    }
    if (!page.hasMore) return seqs;
    afterSeq = page.throughSeq;
  }
}
