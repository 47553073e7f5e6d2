import { Zip, ZipDeflate, ZipPassThrough } from "fflate";
import { brokerError } from "../errors.js";
import type { FileSystem } from "../platform/file-system.js";
import { ProgressMeter } from "../platform/progress.js";
import type { WorkOptions } from "../platform/progress.js";
import type { StoreSettings } from "./options.js";
import { keyKind } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import { inOurCodes } from "./system-refusal.js";
import type { Wal } from "./wal/open.js";
import { copyPart, syncFile, writeAll } from "./wal/segment.js";

/** What a backup wrote. */
export interface BackupResult {
  /** Everything through this number of the log's records is in it. */
  readonly lsn: number;
  /** How many files were written; in an archive, how many it holds. */
  readonly files: number;
  /** Of these files; of an archive's, before compression. */
  readonly bytes: number;
}

const batchBytes = 1024 * 1024;
const stepBytes = 64 * 1024;

/**
 * Copies an open store. Checkpoints wait meanwhile, so that the database and the log stay what they are to each other;
 * appends do not.
 *
 * The copy shares nothing with the store. A second name for a sealed segment would do until someone opens the copy: a log
 * goes on in its last segment, and repairs cut. It comes into being under a temporary name: what has the target's
 * name is whole, and of what fails or is broken off nothing is left.
 */
export async function backUp(
  parts: { readonly settings: StoreSettings; readonly wal: Wal; readonly database: KeyValueStore },
  target: string,
  options: WorkOptions = {},
): Promise<BackupResult> {
  options.signal?.throwIfAborted();
  const { settings, wal, database } = parts;
  const { folders, fileSystem } = settings.machine;
  if (await folders.exists(target)) {
    throw brokerError("ERR_INVALID_OPTION", `${target} exists already: a backup does not overwrite`, { target });
  }
  const store = await folders.realPath(settings.path);
  const place = await folders.realPath(target);
  if (place.startsWith(store) && /^[/\\]/.test(place.slice(store.length))) {
    const text = `${target} is inside the store's own folder ${settings.path}: a backup goes somewhere else`;
    throw brokerError("ERR_INVALID_OPTION", text, { target, path: settings.path });
  }
  await wal.writer.rotate();
  const lsn = wal.writer.syncedLsn;
  const isZip = target.endsWith(".zip");
  const folder = `${target}.unfinished`;
  await folders.removeTree(folder);
  try {
    const last = wal.segments.at(-1)?.name;
    const segments = wal.segments
      .filter(({ lastLsn, firstLsn }) => lastLsn >= firstLsn && firstLsn <= lsn)
      .map(({ name, bytes }) => ({ name, bytes }));
    const copied = segments.reduce((sum, { bytes }) => sum + bytes, await folderBytes(settings, ["level"]));
    // An archive is made of a copy.
    const meter = new ProgressMeter(options, "bytes", isZip ? copied * 2 : copied);
    await fileSystem.makeDirectory(`${folder}/wal`);
    for (const { name, bytes } of segments) {
      const [from, to] = [`${settings.path}/wal/${name}`, `${folder}/wal/${name}`];
      // The last is written to meanwhile: on a full disk there is no room for one behind it.
      if (name === last) await copyPart(fileSystem, from, to, 0, bytes);
      else {
        await folders.copy(from, to);
        await syncFile(fileSystem, to);
      }
      meter.passed(bytes);
    }
    await fileSystem.syncDirectory(`${folder}/wal`);
    await copyDatabase(settings, database, `${folder}/level`, meter);
    const files = await filesOf(fileSystem, folder);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    meter.expect(isZip ? bytes : 0);
    if (isZip) await zipFolder(settings, folder, files, target, meter);
    else await folders.move(folder, target);
    await fileSystem.syncDirectory(parentOf(target));
    return { lsn, files: files.length, bytes };
  } catch (error) {
    throw inOurCodes(error, `The backup ${target} was not made, and nothing is left of it`, { target });
  } finally {
    await folders.removeTree(folder);
  }
}

/** Copies the database's content into a new one, a batch at a time. */
async function copyDatabase(
  { machine }: StoreSettings,
  from: KeyValueStore,
  path: string,
  meter: ProgressMeter,
): Promise<void> {
  const to = await machine.openDatabase(path);
  try {
    let changes: Change[] = [];
    let bytes = 0;
    const range = { gte: Buffer.from([0]), lt: Buffer.from([Math.max(...Object.values(keyKind)) + 1]) };
    for await (const entries of from.entries(range)) {
      for (const [key, value] of entries) {
        changes.push({ key, value });
        bytes += key.length + value.length;
        if (bytes < batchBytes) continue;
        await to.batch(changes);
        meter.passed(bytes);
        changes = [];
        bytes = 0;
      }
    }
    await to.batch(changes);
    meter.passed(bytes);
  } finally {
    await to.close();
  }
}

interface FoundFile {
  /** Inside the folder. */
  readonly name: string;
  readonly bytes: number;
}

async function filesOf(fileSystem: FileSystem, folder: string): Promise<FoundFile[]> {
  const files: FoundFile[] = [];
  for (const part of ["wal", "level"]) {
    for (const name of await fileSystem.list(`${folder}/${part}`)) {
      const found = await fileSystem.stat(`${folder}/${part}/${name}`);
      // LevelDB's own journal and lock file are of no use to a copy.
      if (found === undefined || name === "LOCK" || name.startsWith("LOG")) continue;
      files.push({ name: `${part}/${name}`, bytes: found.size });
    }
  }
  return files;
}

/** Writes an archive, a part of a file at a time; the event loop turns between the parts. */
async function zipFolder(
  settings: StoreSettings,
  folder: string,
  files: readonly FoundFile[],
  target: string,
  meter: ProgressMeter,
): Promise<void> {
  const { fileSystem, afterTurn } = settings.machine;
  // Removed with the folder that it is in, unless it has become the target.
  const temporary = `${folder}/archive`;
  const out = await fileSystem.create(temporary);
  try {
    const parts: Uint8Array[] = [];
    let problem: Error | null = null;
    const zip = new Zip((error, part) => {
      problem ??= error;
      parts.push(part);
    });
    const drain = async (): Promise<void> => {
      if (problem !== null) throw problem;
      for (const part of parts.splice(0)) await writeAll(out, part, 0, part.length);
      await new Promise<void>((resolve) => afterTurn(resolve));
    };
    for (const { name, bytes } of files) {
      // Blocks are compressed already; the log is not.
      const entry = name.startsWith("wal/") ? new ZipDeflate(name, { level: 1 }) : new ZipPassThrough(name);
      entry.mtime = Math.max(earliestZipTime, settings.clock.now());
      zip.add(entry);
      const file = await fileSystem.openForRead(`${folder}/${name}`);
      try {
        let at = 0;
        while (at < bytes) {
          const step = new Uint8Array(Math.min(stepBytes, bytes - at));
          const read = await file.read(step, 0, step.length, at);
          if (read === 0) break;
          at += read;
          entry.push(step.subarray(0, read), at >= bytes);
          await drain();
          meter.passed(read);
        }
        if (bytes === 0 || at < bytes) entry.push(new Uint8Array(0), true);
      } finally {
        await file.close();
      }
    }
    zip.end();
    await drain();
    await out.datasync();
  } finally {
    await out.close();
  }
  await fileSystem.rename(temporary, target);
}

/** The earliest time that an archive can name. */
const earliestZipTime = 315_619_200_000;

/** The folder that a file or folder is in. */
export function parentOf(path: string): string {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return cut > 0 ? path.slice(0, cut) : cut === 0 ? "/" : ".";
}

/** Bytes of the files in some of the store's folders. */
export async function folderBytes({ path, machine }: StoreSettings, folders: readonly string[]): Promise<number> {
  const { fileSystem } = machine;
  let sum = 0;
  for (const folder of folders) {
    const names = await fileSystem.list(`${path}/${folder}`).catch(() => []);
    for (const name of names) sum += (await fileSystem.stat(`${path}/${folder}/${name}`))?.size ?? 0;
  }
  return sum;
}
