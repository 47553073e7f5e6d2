import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach } from "vitest";
import type { BrokerOptions, Message } from "inproc-broker";
import { InProcBroker } from "inproc-broker";
import { MemoryDatabase } from "../support/memory-database.js";
import type { FaultyFileSystem } from "../support/faulty-file-system.js";
import { levelPersistence } from "inproc-broker/persistence";
import type { LevelPersistenceOptions } from "inproc-broker/persistence";

const folders: string[] = [];
const brokers: InProcBroker[] = [];

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.close({ drain: false }).catch(() => undefined);
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), "broker store "));
  folders.push(folder);
  return folder;
}

export type StoredBrokerOptions = Omit<BrokerOptions, "persistence"> & {
  readonly store?: Partial<LevelPersistenceOptions>;
};

/** A machine whose disk fails where it is told to. */
export function memoryMachine(
  fileSystem: FaultyFileSystem,
  database = new MemoryDatabase(),
): NonNullable<LevelPersistenceOptions["machine"]> {
  return { fileSystem, openDatabase: database.open };
}

/** A broker on a store that may still be opening; closed after the test. */
export function makeBroker(path: string, { store, ...options }: StoredBrokerOptions = {}): InProcBroker {
  const persistence = levelPersistence({ path, reserveBytes: 0, ...store });
  const broker = new InProcBroker({ ...options, persistence });
  brokers.push(broker);
  return broker;
}

/** An open broker on a store; closed after the test. */
export async function openBroker(path: string, options: StoredBrokerOptions = {}): Promise<InProcBroker> {
  const broker = makeBroker(path, options);
  await broker.ready();
  return broker;
}

/**
 * What a killed process leaves: the folder as it is now, under another name. The broker that has it open goes on there,
 * and knows nothing of the copy.
 */
export function crash(path: string): string {
  const copy = temporaryFolder();
  fs.cpSync(path, copy, {
    recursive: true,
    filter: (source) => !["lock", "LOCK"].includes(basename(source)),
  });
  return copy;
}

/** What a subscription gets, as it comes. */
export function collect(broker: InProcBroker, pattern: string, options: object = {}): Message[] {
  const messages: Message[] = [];
  broker.subscribe(pattern, (message: Message) => void messages.push(message), options);
  return messages;
}

export function dataOf(messages: readonly Message[]): unknown[] {
  return messages.map(({ data }) => data);
}

/** Waits until a condition holds; the store writes in its own time. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** The history of a pattern. */
export async function historyOf(broker: InProcBroker, pattern = ">"): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of broker.replay(pattern)) messages.push(message);
  return messages;
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}
