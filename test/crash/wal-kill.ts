import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect } from "vitest";
import { nodeFileSystem } from "../../src/platform/file-system.js";
import { openTestWal } from "../persistence/wal/fixture.js";
import { randomFrom } from "../support/faulty-file-system.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const child = "test/crash/wal-child.ts";

/** Writes the child and what it imports as JavaScript into a folder, and returns where the child is. */
function compileChild(folder: string): string {
  const sources = ["src/errors.ts", child];
  for (const part of ["src/platform", "src/message", "src/persistence/wal"]) {
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
  return join(folder, child.replace(/\.ts$/, ".js"));
}

/** Runs the child until it has acknowledged about `count` records, kills it, and gives what it acknowledged. */
function runAndKill(path: string, directory: string, seed: number, count: number): Promise<Map<number, string>> {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [path, directory, String(seed)], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    process_.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (text.split("\n").length > count) process_.kill("SIGKILL");
    });
    process_.on("error", reject);
    process_.on("close", (code) => {
      if (code !== null) {
        reject(new Error(`the child ended by itself, with ${code}`));
        return;
      }
      const lines = text.slice(0, text.lastIndexOf("\n")).split("\n");
      resolve(new Map(lines.map((line) => [Number(line.split(" ")[0]), line.split(" ")[1] ?? ""])));
    });
  });
}

/** Kills a process that writes the log, again and again, and compares the log with what the process was told. */
export async function killLoop(rounds: number, seed: number): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "wal kill "));
  const random = randomFrom(seed);
  try {
    const path = compileChild(join(folder, "build"));
    const directory = join(folder, "wal");
    const acknowledged = new Map<number, string>();
    for (let round = 0; round < rounds; round++) {
      const hint = `seed ${seed}, round ${round}`;
      const found = await runAndKill(path, directory, round, 1 + Math.floor(random() * 600));
      for (const [lsn, text] of found) acknowledged.set(lsn, text);
      const wal = await openTestWal(nodeFileSystem, { directory, segmentBytes: 20_000 });
      const stored = new Map<number, string>();
      for (const { lsn, entry } of wal.records) {
        expect(stored.has(lsn), hint).toBe(false);
        if (entry.type === "publish") {
          expect(Buffer.from(entry.data).toString().trimEnd(), hint).toBe(entry.id);
          stored.set(lsn, entry.id);
        }
        if (entry.type === "settle") stored.set(lsn, entry.durable);
      }
      for (const [lsn, text] of acknowledged) expect(stored.get(lsn), `${hint}, record ${lsn}`).toBe(text);
      expect(wal.report.quarantined, hint).toEqual([]);
      await wal.writer.close();
    }
    expect(acknowledged.size).toBeGreaterThan(rounds);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
