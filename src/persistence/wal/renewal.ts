/**
 * Making sure that what recovery reads is on the disk.
 *
 * After a sync that failed, the system shows bytes that it no longer means to write: they are lost when the power goes,
 * however often the file is synced. A process that was killed leaves bytes of which nobody knows that. Only the last
 * segment can have such bytes, since each one before it was synced before the next was made. So, unless the log was closed in
 * order, the last segment is copied, the copy is synced, and takes the segment's name, before anything is read from it.
 */
import type { FileSystem } from "../../platform/file-system.js";
import { copyPart, DiskFull, idOfSegment, isDiskFull, segmentHeaderBytes, syncFile, writeAll } from "./segment.js";
import type { Segment } from "./segment.js";

/** A file that is there while nobody has the log open and all of it is on the disk. It names the segment that it speaks of. */
const closedName = "closed";

/** What tells one state of a log from another: a segment that grew, or another log's, has another text. */
type Closed = Pick<Segment, "name" | "bytes" | "salt">;

function textOf({ name, bytes, salt }: Closed): Buffer {
  return Buffer.from(`${name} ${bytes} ${salt}\n`, "latin1");
}

/**
 * Notes that all of the log, which ends with this segment, is on the disk. Losing the note costs time and nothing else, so
 * it is not synced, and its failure is nobody's problem.
 */
export async function noteClosed(fileSystem: FileSystem, directory: string, last: Closed): Promise<void> {
  const path = `${directory}/${closedName}`;
  try {
    await fileSystem.remove(path);
    const file = await fileSystem.create(path);
    try {
      const text = textOf(last);
      await writeAll(file, text, 0, text.length);
    } finally {
      await file.close();
    }
  } catch {
    await fileSystem.remove(path).catch(() => undefined);
  }
}

/** Whether the log was closed in order, and is as it was then. */
export async function wasClosed(fileSystem: FileSystem, directory: string, last: Closed): Promise<boolean> {
  const expected = textOf(last);
  try {
    const file = await fileSystem.openForRead(`${directory}/${closedName}`);
    try {
      const found = Buffer.alloc(expected.length);
      const read = await file.read(found, 0, found.length, 0);
      return file.size === expected.length && read === expected.length && found.equals(expected);
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/**
 * What a log has lost since it was closed in order, in words: a segment that is gone, or shorter than it was, looks like one
 * whose last write was cut short otherwise. A note that is older than the log says nothing.
 */
export async function lossSinceClosed(
  fileSystem: FileSystem,
  directory: string,
  segments: readonly { readonly name: string; readonly bytes: number }[],
): Promise<string | undefined> {
  const note = await readNote(fileSystem, `${directory}/${closedName}`);
  const [, name = "", bytes = ""] = /^(\S+) (\d+) \d+\n$/.exec(note) ?? [];
  const id = idOfSegment(name);
  if (id === undefined) return undefined;
  const last = segments.at(-1);
  if (last === undefined || (idOfSegment(last.name) ?? 0) < id) {
    return `${name} was there when the log was closed, and is gone: what no checkpoint has of it is lost`;
  }
  if (last.name !== name || last.bytes >= Number(bytes)) return undefined;
  return `${name} had ${bytes} bytes when the log was closed, and has ${last.bytes}: what no checkpoint has of the rest is lost`;
}

/** Nothing where there is none. */
async function readNote(fileSystem: FileSystem, path: string): Promise<string> {
  try {
    const file = await fileSystem.openForRead(path);
    try {
      const bytes = Buffer.alloc(Math.min(file.size, 256));
      return bytes.toString("latin1", 0, await file.read(bytes, 0, bytes.length, 0));
    } finally {
      await file.close();
    }
  } catch {
    return "";
  }
}

/** Takes the note back, before the first byte of the log changes. */
export function forgetClosed(fileSystem: FileSystem, directory: string): Promise<void> {
  return fileSystem.remove(`${directory}/${closedName}`);
}

/** The disk would not give a part of the segment. */
class Unreadable extends Error {}

/**
 * Writes a segment anew, byte for byte, and syncs it; a crash leaves the old one or the new one. A segment without
 * records is left as it is: its header was on the disk before it had its name.
 *
 * @returns a warning, when the disk could not read all of the segment: it stays, and is damaged
 *
 * Rejects with `DiskFull`, and with what else kept it from being written; then the old one is there.
 */
export async function renewSegment(
  fileSystem: FileSystem,
  directory: string,
  { name, bytes }: Pick<Segment, "name" | "bytes">,
): Promise<string | undefined> {
  if (bytes <= segmentHeaderBytes) return undefined;
  const path = `${directory}/${name}`;
  const temporary = `${path}.tmp`;
  try {
    await fileSystem.remove(temporary);
    await copyPart(fileSystem, path, temporary, 0, Infinity, (cause) => new Unreadable("", { cause }));
    await fileSystem.rename(temporary, path);
  } catch (error) {
    await fileSystem.remove(temporary).catch(() => undefined);
    if (error instanceof Unreadable) {
      await syncFile(fileSystem, path);
      return `${name} could not be written anew, since the disk cannot read all of it: ${String(error.cause)}`;
    }
    throw isDiskFull(error) ? new DiskFull(`there is no room for a copy of ${name}`, { cause: error }) : error;
  }
  await fileSystem.syncDirectory(directory);
  return undefined;
}
