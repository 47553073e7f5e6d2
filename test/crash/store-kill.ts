import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import { randomFrom } from "../support/faulty-file-system.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const child = "test/crash/store-child.ts";

/** Writes the child and what it imports as JavaScript into a folder, and returns where the child is. */
function compileChild(folder: string): string {
  const sources = ["src/errors.ts", child];
  const stored = ["src/persistence", "src/persistence/wal", "src/persistence/store"];
  for (const part of ["src/platform", "src/message", "src/topic", ...stored]) {
    for (const name of fs.readdirSync(join(root, part))) if (name.endsWith(".ts")) sources.push(`${part}/${name}`);
  }
  for (const source of sources) {
    const to = join(folder, source.replace(/\.ts$/, ".js"));
    fs.mkdirSync(dirname(to), { recursive: true });
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true };
    const { outputText } = ts.transpileModule(fs.readFileSync(join(root, source), "utf8"), {
      compilerOptions: options,
    });
    fs.writeFileSync(to, outputText);
  }
  fs.writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  fs.symlinkSync(fs.realpathSync(join(root, "node_modules")), join(folder, "node_modules"));
  return join(folder, child.replace(/\.ts$/, ".js"));
}

/** Runs the child for a while, kills it, and gives the whole lines that it said. */
function runAndKill(path: string, store: string, round: number, lineCount: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [path, store, String(round)], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    let lines = 0;
    running.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      lines += part.split("\n").length - 1;
      if (lines > lineCount) running.kill("SIGKILL");
    });
    running.on("error", reject);
    running.on("close", (code) => {
      if (code !== null) reject(new Error(`the child ended by itself, with ${code}`));
      else resolve(text.slice(0, text.lastIndexOf("\n")).split("\n"));
    });
  });
}

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
    const path = compileChild(join(folder, "build"));
    const directory = join(folder, "store");
    const ledger = new Ledger();
    for (let round = 0; round < rounds; round++) {
      const hint = `seed ${seed}, round ${round}`;
      ledger.take(await runAndKill(path, directory, round, 5 + Math.floor(random() * 1500)));
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
