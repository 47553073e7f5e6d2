import { Unzip, UnzipInflate, UnzipPassThrough } from "fflate";
import { brokerError, quote } from "../errors.js";
import type { AppendFile } from "../platform/file-system.js";
import type { Progress } from "../platform/progress.js";
import { parentOf } from "./backup.js";
import { partsOf } from "./import-source.js";
import { StoreInspector } from "./inspect.js";
import type { VerifyReport } from "./inspect.js";
import { resolveOptions } from "./options.js";
import type { Machine, StoreOptions } from "./options.js";
import { inOurCodes, isSystemRefusal } from "./system-refusal.js";
import { writeAll } from "./wal/segment.js";

/** Which backup becomes a store, and where. */
export interface RestoreOptions extends StoreOptions {
  /** A folder or a `.zip` that `backup` made, or the folder of a closed store. */
  readonly source: string;
  /** Restore also what `verify` finds damaged. @default false */
  readonly force?: boolean | undefined;
  /** Told of files as they are copied, then of blocks as they are verified. Must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a restore wrote. */
export interface RestoreResult {
  /** How many files of the store were written. */
  readonly files: number;
  /** Of all files of the store, after it was verified. */
  readonly bytes: number;
  /** What the look at every byte of it found. */
  readonly verified: VerifyReport;
}

/** What a store consists of; a name with a path in it is none of ours. */
const partOf = /^(wal|level)\/([\w.-]+)$/;

/**
 * Makes a store at `path` out of a backup, and verifies it before it gets its name. The backup stays as it is.
 *
 * Rejects with `ERR_INVALID_OPTION` (there is something at `path`; the source is no backup), `ERR_STORE_CORRUPT` (it is
 * damaged; `facts.problems` says how), `ERR_WRONG_KEY`, `ERR_STORE_FULL` (there is no room for it), `ERR_STORE_FAILED` (it
 * cannot be read or written). Nothing is left at `path` then.
 *
 * @example
 * ```ts
 * import { restoreStore } from "inproc-broker/persistence";
 *
 * await restoreStore({ source: "./backup.zip", path: "./data" });
 * ```
 */
export async function restoreStore(options: RestoreOptions): Promise<RestoreResult> {
  const { source, path, force = false, onProgress } = options;
  const { machine } = resolveOptions(options);
  if (typeof source !== "string" || source === "") {
    throw brokerError(
      "ERR_INVALID_OPTION",
      `source must be a folder or a .zip that backup made; got ${quote(source)}`,
      {
        option: "source",
      },
    );
  }
  const { folders, fileSystem } = machine;
  if (await folders.exists(path)) {
    throw brokerError("ERR_INVALID_OPTION", `${path} exists already: a restore does not overwrite`, { path });
  }
  if (!(await folders.exists(source))) {
    throw brokerError("ERR_INVALID_OPTION", `There is no backup at ${source}`, { source });
  }
  const folder = `${path}.unfinished`;
  await folders.removeTree(folder);
  try {
    for (const part of ["wal", "level"]) await fileSystem.makeDirectory(`${folder}/${part}`);
    const isZip = source.endsWith(".zip");
    const files = isZip
      ? await unpack(machine, source, folder, onProgress)
      : await copyFiles(machine, source, folder, onProgress);
    if (files === 0) throw brokerError("ERR_INVALID_OPTION", `${source} is no backup of a store`, { source });
    for (const part of ["wal", "level"]) await fileSystem.syncDirectory(`${folder}/${part}`);
    const inspector = await StoreInspector.open({ ...options, path: folder });
    const verified = await inspector.verify(onProgress).finally(() => inspector.close());
    if (!verified.isSound && !force) {
      const { problems } = verified;
      const text = `The backup ${source} is damaged (${problems.length} problem${problems.length === 1 ? "" : "s"}, the first: ${problems[0] ?? ""}). Restore it by force to have what is intact`;
      throw brokerError("ERR_STORE_CORRUPT", text, { source, problems });
    }
    const bytes = await sizeOf(machine, folder);
    await folders.move(folder, path);
    await fileSystem.syncDirectory(parentOf(path));
    return { files, bytes, verified };
  } catch (error) {
    throw inOurCodes(error, `The store ${path} was not restored, and nothing is left of it`, { path, source });
  } finally {
    await folders.removeTree(folder);
  }
}

async function copyFiles(
  { fileSystem }: Machine,
  source: string,
  folder: string,
  onProgress: RestoreOptions["onProgress"],
): Promise<number> {
  const names: string[] = [];
  for (const part of ["wal", "level"]) {
    for (const name of await fileSystem.list(`${source}/${part}`).catch((): string[] => [])) {
      const isOurs = part === "wal" ? name.endsWith(".wal") : name !== "LOCK" && !name.startsWith("LOG");
      if (isOurs && partOf.test(`${part}/${name}`)) names.push(`${part}/${name}`);
    }
  }
  for (const [done, name] of names.entries()) {
    onProgress?.({ done, total: names.length, unit: "files" });
    const file = await fileSystem.create(`${folder}/${name}`);
    try {
      for await (const bytes of partsOf(fileSystem, `${source}/${name}`)) await writeAll(file, bytes, 0, bytes.length);
      await file.datasync();
    } finally {
      await file.close();
    }
  }
  return names.length;
}

/** Unpacks an archive a part at a time. Files that are no part of a store are passed over. */
async function unpack(
  { fileSystem, afterTurn }: Machine,
  source: string,
  folder: string,
  onProgress: RestoreOptions["onProgress"],
): Promise<number> {
  interface Entry {
    readonly name: string;
    readonly parts: Uint8Array[];
    isEnd: boolean;
    file: AppendFile | undefined;
  }
  const entries: Entry[] = [];
  let problem: Error | null = null;
  let files = 0;
  const unzip = new Unzip((found) => {
    if (!partOf.test(found.name)) return;
    const entry: Entry = { name: found.name, parts: [], isEnd: false, file: undefined };
    entries.push(entry);
    found.ondata = (error, bytes, isFinal) => {
      problem ??= error;
      entry.parts.push(bytes);
      entry.isEnd = isFinal;
    };
    found.start();
  });
  unzip.register(UnzipInflate);
  unzip.register(UnzipPassThrough);
  const drain = async (): Promise<void> => {
    if (problem !== null) throw problem;
    for (let entry = entries[0]; entry !== undefined; entry = entries[0]) {
      entry.file ??= await fileSystem.create(`${folder}/${entry.name}`);
      for (const bytes of entry.parts.splice(0)) {
        if (bytes.length > 0) await writeAll(entry.file, bytes, 0, bytes.length);
      }
      if (!entry.isEnd) return;
      await entry.file.datasync();
      await entry.file.close();
      entries.shift();
      files++;
      onProgress?.({ done: files, total: undefined, unit: "files" });
    }
  };
  try {
    for await (const bytes of partsOf(fileSystem, source)) {
      unzip.push(bytes, false);
      await drain();
      await new Promise<void>((resolve) => afterTurn(resolve));
    }
    unzip.push(new Uint8Array(0), true);
    await drain();
  } catch (cause) {
    if (isSystemRefusal(cause)) throw cause;
    throw brokerError("ERR_STORE_CORRUPT", `The archive ${source} cannot be unpacked`, { source, problems: [] }, cause);
  } finally {
    for (const { file } of entries) await file?.close();
  }
  if (entries.length > 0) {
    throw brokerError("ERR_STORE_CORRUPT", `The archive ${source} ends early`, { source, problems: [] });
  }
  return files;
}

async function sizeOf({ fileSystem }: Machine, folder: string): Promise<number> {
  let sum = 0;
  for (const part of ["wal", "level"]) {
    for (const name of await fileSystem.list(`${folder}/${part}`)) {
      sum += (await fileSystem.stat(`${folder}/${part}/${name}`))?.size ?? 0;
    }
  }
  return sum;
}
