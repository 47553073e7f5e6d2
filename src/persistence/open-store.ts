/** Taking a store's folder for this process, and opening what is in it, also on a disk that is full. */
import { BrokerError, brokerError } from "../errors.js";
import { openParts } from "./open-engine.js";
import type { EngineParts } from "./open-engine.js";
import type { StoreSettings } from "./options.js";
import { levelProblem } from "./store/level-store.js";
import { Reserve } from "./wal/reserve.js";
import { DiskFull, isDiskFull } from "./wal/segment.js";

/** A store that is open, and this process's alone until `release`. */
export interface OpenedStore {
  readonly parts: EngineParts;
  readonly release: () => Promise<void>;
}

/**
 * Takes the lock, and opens database and log. Where there is no room for that, the reserve is given up for it: what reads
 * and settles is worth more than what could be settled later. Rejects as `StoreEngine.open` does; nothing is open then.
 */
export async function openStore(settings: StoreSettings): Promise<OpenedStore> {
  const { path, machine } = settings;
  await machine.fileSystem.makeDirectory(path);
  const release = await withReserve(settings, () => takeLock(settings));
  try {
    return { parts: await withReserve(settings, () => openParts(settings)), release };
  } catch (error) {
    await release();
    throw error;
  }
}

async function takeLock({ path, machine }: StoreSettings): Promise<() => Promise<void>> {
  const lock = await machine.fileSystem.lock(`${path}/lock`);
  if (lock.acquired) return () => lock.release();
  const { pid, host } = lock.holder;
  throw brokerError(
    "ERR_STORE_LOCKED",
    `The store in ${path} is open in process ${pid} on ${host}; close it there, or give this broker a folder of its own`,
    { path, pid, host },
  );
}

/** Runs it, and once more without the reserve where the disk is too full for it. */
async function withReserve<Value>(
  { path, machine, reserveBytes }: StoreSettings,
  run: () => Promise<Value>,
): Promise<Value> {
  try {
    return await run();
  } catch (error) {
    if (!isForWantOfRoom(error)) throw error;
    await new Reserve(machine.fileSystem, `${path}/wal`, reserveBytes).release().catch(() => undefined);
    return run();
  }
}

function isForWantOfRoom(error: unknown): boolean {
  if (error instanceof BrokerError) return error.code === "ERR_STORE_FULL";
  return error instanceof DiskFull || isDiskFull(error) || levelProblem(error) === "full";
}
