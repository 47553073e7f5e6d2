import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import { StoreEngine } from "../../../src/persistence/engine.js";
import type { MessageToStore, StoreOperation } from "../../../src/persistence/operations.js";
import type { StoreOptions } from "../../../src/persistence/options.js";

const folders: string[] = [];
const engines: StoreEngine[] = [];

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close().catch(() => undefined);
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

/** A folder that is gone after the test. Its name has a space and a letter beyond ASCII. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), "store tést "));
  folders.push(folder);
  return folder;
}

/** Opens a store that is closed after the test. */
export async function openStore(path: string, options: Partial<StoreOptions> = {}): Promise<StoreEngine> {
  const engine = await StoreEngine.open({ path, reserveBytes: 0, ...options });
  engines.push(engine);
  return engine;
}

export function message(seq: number, fields: Partial<MessageToStore> = {}): MessageToStore {
  return {
    seq,
    timestamp: 1_700_000_000_000 + seq,
    topic: "orders.created",
    id: `message-${seq}`,
    priority: 4,
    data: { seq },
    ...fields,
  };
}

export function publish(seq: number, fields: Partial<MessageToStore> = {}): StoreOperation {
  return { type: "publish", message: message(seq, fields) };
}

export function ack(durable: string, seq: number): StoreOperation {
  return { type: "settle", durable, seq, outcome: "ack", deliveryCount: 1 };
}

export function durable(name: string, patterns: readonly string[], position = 1): StoreOperation {
  return { type: "durable", change: "created", name, patterns, position, options: { ack: "manual" } };
}

/** The numbers of everything that a durable has still to settle, in pages. */
export async function pendingSeqs(engine: StoreEngine, name: string, pageSize = 7): Promise<number[]> {
  const seqs: number[] = [];
  for (let afterSeq = 0; ;) {
    const page = await engine.pending(name, afterSeq, pageSize);
    seqs.push(...page.messages.map(({ message: { seq } }) => seq));
    afterSeq = page.throughSeq;
    if (!page.hasMore) return seqs;
  }
}

export async function replayed(engine: StoreEngine, patterns: readonly string[] = [">"]): Promise<number[]> {
  const seqs: number[] = [];
  for await (const { seq } of engine.replay(patterns)) seqs.push(seq);
  return seqs;
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}
