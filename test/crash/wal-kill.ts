import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { nodeFileSystem } from "../../src/platform/file-system.js";
import { openTestWal } from "../persistence/wal/fixture.js";
import { randomFrom } from "../support/faulty-file-system.js";
import { compileChild, runAndKill } from "./killed-child.js";

/** The parts of `src/` that the child needs. */
const parts = ["platform", "message", "persistence/wal"];

/** Kills a process that writes the log, again and again, and compares the log with what the process was told. */
export async function killLoop(rounds: number, seed: number): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "wal kill "));
  const random = randomFrom(seed);
  try {
    const path = compileChild("test/crash/wal-child.ts", parts, join(folder, "build"));
    const directory = join(folder, "wal");
    const acknowledged = new Map<number, string>();
    for (let round = 0; round < rounds; round++) {
      const hint = `seed ${seed}, round ${round}`;
      for (const line of await runAndKill([path, directory, String(round)], Math.floor(random() * 600))) {
        const [lsn, text = ""] = line.split(" ");
        acknowledged.set(Number(lsn), text);
      }
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
