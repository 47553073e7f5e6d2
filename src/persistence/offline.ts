/** Work on a store that no process has open. */
import type { BackupResult } from "./backup.js";
import { brokerError } from "../errors.js";
import type { WorkOptions } from "../platform/progress.js";
import { StoreEngine } from "./engine.js";
import { optionsAsFound, resolveOptions } from "./options.js";
import type { StoreOptions } from "./options.js";

/** What a compaction gave back. */
export interface CompactResult {
  /** Bytes of all files, before. */
  readonly bytesBefore: number;
  /** Bytes of all files, after. */
  readonly bytesAfter: number;
  /** Messages that are kept, in blocks and in the log. */
  readonly messages: number;
}

/** Which store is compacted, and who is told how far that has come. */
export interface CompactOptions extends StoreOptions, WorkOptions {}

/**
 * Gives back the room of what is settled, expired or beyond the limits. What has expired and a durable has still to be told of
 * stays: its broker tells, and removes it then. Without `retention` that is judged by what the
 * store was last opened with.
 *
 * Rejects as `broker.ready()` does with this store (`ERR_STORE_LOCKED`, `ERR_WRONG_KEY`, `ERR_STORE_FULL`,
 * `ERR_STORE_CORRUPT`), with `ERR_STORE_FAILED` also where there is no store, with `ERR_INVALID_OPTION`, and with the signal's
 * reason.
 *
 * @example
 * ```ts
 * import { compactStore } from "inproc-broker/persistence";
 *
 * const { bytesBefore, bytesAfter } = await compactStore({ path: "./data" });
 * ```
 */
export async function compactStore(options: CompactOptions): Promise<CompactResult> {
  const { onProgress, signal, ...where } = options;
  const store = await openExisting(where);
  try {
    const { totalBytes: bytesBefore } = await store.stats();
    await store.compact({ onProgress, signal });
    const { totalBytes: bytesAfter, messagesInBlocks, messagesInLog } = await store.stats();
    return { bytesBefore, bytesAfter, messages: messagesInBlocks + messagesInLog };
  } finally {
    await store.close();
  }
}

/** Which store is copied, and where to. */
export interface BackupOptions extends StoreOptions, WorkOptions {
  /** The folder or `.zip` to write. It must not exist. */
  readonly target: string;
}

/**
 * Copies a store that is closed, into a folder or, when the name ends with `.zip`, into an archive. What has the target's
 * name is whole. Of a store that is open, its own process makes the backup: `broker.backup(target)`.
 *
 * Rejects as `compactStore` does, and with `ERR_INVALID_OPTION` also when the target exists.
 *
 * @example
 * ```ts
 * import { backupStore } from "inproc-broker/persistence";
 *
 * await backupStore({ path: "./data", target: "./backup.zip" });
 * ```
 */
export async function backupStore(options: BackupOptions): Promise<BackupResult> {
  const { target, onProgress, signal, ...where } = options;
  const store = await openExisting(where);
  try {
    return await store.backup(target, { onProgress, signal });
  } finally {
    await store.close();
  }
}

/** Opens a store with what it was last opened with; does not make one. */
async function openExisting(options: StoreOptions): Promise<StoreEngine> {
  const given = await optionsAsFound(options);
  const { path, machine } = resolveOptions(given);
  const { folders } = machine;
  if (!(await folders.exists(`${path}/wal`)) && !(await folders.exists(`${path}/level`))) {
    throw brokerError("ERR_STORE_FAILED", `There is no store in ${path}`, { path });
  }
  return StoreEngine.open(given);
}
