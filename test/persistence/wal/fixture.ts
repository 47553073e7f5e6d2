import type { FileSystem } from "../../../src/platform/file-system.js";
import type { PublishEntry, SettleEntry, WalEntry } from "../../../src/persistence/wal/entries.js";
import { openWal } from "../../../src/persistence/wal/open.js";
import type { Wal, WalOptions } from "../../../src/persistence/wal/open.js";
import type { WalRecord } from "../../../src/persistence/wal/scanner.js";
import { randomFrom } from "../../support/faulty-file-system.js";

/** A clock that a test moves. */
class TestClock {
  #now = 1_700_000_000_000;
  #timers: { at: number; run: () => void }[] = [];

  now = (): number => this.#now;
  monotonic = (): number => this.#now;
  schedule = (delayMs: number, run: () => void): (() => void) => {
    const timer = { at: this.#now + delayMs, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  get pending(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { run } of due) run();
  }
}

export const directory = "/store/wal";

/** What a log gave when it was opened: copies, so that they outlive the memory they were read into. */
export interface OpenedWal extends Wal {
  readonly records: Pick<WalRecord, "lsn" | "entry">[];
  readonly clock: TestClock;
}

export async function openTestWal(fileSystem: FileSystem, options: Partial<WalOptions> = {}): Promise<OpenedWal> {
  const records: Pick<WalRecord, "lsn" | "entry">[] = [];
  const clock = new TestClock();
  const wal = await openWal({
    fileSystem,
    directory,
    clock,
    afterTurn: (run) => setImmediate(run),
    random: randomFrom(42),
    onRecords: (batch) => {
      for (const { lsn, entry } of batch) records.push(structuredClone({ lsn, entry }));
    },
    reserveBytes: 0,
    ...options,
  });
  return { ...wal, records, clock };
}

export function publishEntry(seq: number, fields: Partial<PublishEntry> = {}): PublishEntry {
  return {
    type: "publish",
    seq,
    timestamp: 1_700_000_000_000 + seq,
    topic: "orders.created",
    id: `message-${seq}`,
    priority: 4,
    retain: false,
    codec: 0,
    data: Buffer.from(JSON.stringify({ seq })),
    ...fields,
  };
}

export function settleEntry(seq: number, fields: Partial<SettleEntry> = {}): SettleEntry {
  return { type: "settle", durable: "billing", seq, outcome: "ack", deliveryCount: 1, ...fields };
}

/** One of each kind, with everything that is optional in it. */
export function fullEntries(): WalEntry[] {
  const publish = publishEntry(7, {
    key: "customer-1",
    headers: { "": "", __proto__x: "ü", "content-type": "application/json" },
    expiresAt: 1_800_000_000_000,
    deliverAt: 1_750_000_000_000,
    dedupId: "dedup-1",
    replyTo: "inbox.7",
    correlationId: "c-7",
    retain: true,
    priority: 9,
    codec: 255,
    data: new Uint8Array([0, 1, 2, 253, 254, 255]),
  });
  const settle = settleEntry(6, { outcome: "attempt", deliveryCount: 3, retryAt: 1_700_000_100_000, reason: "späht" });
  return [
    publish,
    settle,
    {
      type: "transaction",
      id: "tx-1",
      timestamp: 1_700_000_000_001,
      operations: [publishEntry(8), settleEntry(5), { type: "extension", name: "dead-letter", data: Buffer.from("x") }],
    },
    {
      type: "subscription",
      change: "created",
      name: "billing",
      patterns: ["orders.*", "refunds.>"],
      options: Buffer.from('{"ack":"auto"}'),
      position: 3,
    },
    { type: "checkpoint", lsn: 12, seq: 9, data: Buffer.from("state") },
    { type: "extension", name: "purge", data: Buffer.alloc(0) },
  ];
}

/** An entry in a form that compares by content: bytes as hex, absent members left out, members by name. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, member]) => [name, plain(member)]));
}

/** Lets every microtask and the turn of the event loop that is scheduled run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a promise and gives the code it rejects with, or "ok". */
export async function outcomeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}
