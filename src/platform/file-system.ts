/**
 * Files, as the store sees them: the few operations whose order decides what survives a power cut, and
 * nothing convenient. Tests put an implementation of their own here that cuts power, fills the disk and
 * flips bits.
 *
 * Failures are Node's own (`error.code` is `ENOENT`, `ENOSPC`, `EIO`, …) in every implementation.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { lockHolder, systemErrorCode, takeLock } from "./lock-file.js";
import type { LockHolder, LockResult } from "./lock-file.js";

/** A file that grows at its end. One operation at a time: the caller awaits each before the next. */
export interface AppendFile {
  /** Bytes in the file: what it had when opened, and what was written since. */
  readonly size: number;
  /**
   * Writes at the end, and resolves with how many bytes were taken: at least one, and perhaps not all.
   * Nothing is durable before `datasync` has resolved.
   */
  write(bytes: Uint8Array, start: number, end: number): Promise<number>;
  /**
   * The same, and resolves when the bytes taken, and the file's size, are on the disk: in one call to the system where it has
   * such a call. It says nothing of what was written before. After a rejection, even for want of room, what the file has
   * behind its size until now is not known: cut it off, or stop.
   */
  writeSynced(bytes: Uint8Array, start: number, end: number): Promise<number>;
  /**
   * Resolves when every byte written so far, and the file's size, are on the disk. A rejection is final: the
   * system may have dropped what it could not write, so that a second try would succeed without the data.
   */
  datasync(): Promise<void>;
  /** Cuts the file to `size` bytes; the next write goes there. Durable after `datasync`. */
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

/** A file that is read at any position, by several readers at once. */
export interface ReadFile {
  /** Bytes in the file when it was opened. */
  readonly size: number;
  /** Reads up to `end - start` bytes at `position` into `bytes`; 0 at the end of the file, perhaps fewer before. */
  read(bytes: Uint8Array, start: number, end: number, position: number): Promise<number>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** Creates a file for appending; rejects with `EEXIST` when the name is taken. The name is durable after `syncDirectory`. */
  create(path: string): Promise<AppendFile>;
  /** Opens an existing file for appending; rejects with `ENOENT` when there is none. */
  openForAppend(path: string): Promise<AppendFile>;
  /** Opens an existing file for reading; rejects with `ENOENT` when there is none. */
  openForRead(path: string): Promise<ReadFile>;
  /** The file's size, or undefined when there is no such file. */
  stat(path: string): Promise<{ readonly size: number } | undefined>;
  /** The names (not paths) in a directory, sorted by code unit. */
  list(directory: string): Promise<string[]>;
  /** Makes the directory and those above it, durably; one that exists is fine. */
  makeDirectory(directory: string): Promise<void>;
  /** Renames a file, replacing what has the new name. Durable after `syncDirectory`. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; one that is gone already is fine. Durable after `syncDirectory`. */
  remove(path: string): Promise<void>;
  /** Resolves when creations, renames and removals in the directory are on the disk. */
  syncDirectory(directory: string): Promise<void>;
  /** Bytes this process may still write on the directory's disk, as far as the system knows. */
  freeBytes(directory: string): Promise<number>;
  /**
   * Takes the lock file at `path`, which names its holder. The lock of a process that is gone is taken over.
   * It tells people which process is in the way; it is no barrier between two machines on one network share.
   */
  lock(path: string): Promise<LockResult>;
}

/**
 * Makes a directory and those above it that are missing; returns what it made, the innermost first. Level by level, since Node
 * tries for ever where a parent is there and takes no new name, as in /proc.
 */
async function makeDirectories(directory: string): Promise<string[]> {
  const missing: string[] = [];
  for (let at = directory; !(await isDirectory(at)); at = dirname(at)) missing.push(at);
  const made: string[] = [];
  for (const one of missing.reverse()) {
    try {
      await run((done) => fs.mkdir(one, done));
      made.unshift(one);
    } catch (error) {
      // Somebody else makes it too.
      if (systemErrorCode(error) !== "EEXIST" || !(await isDirectory(one))) throw error;
    }
  }
  return made;
}

/** False where there is nothing; what is no directory is found by whoever makes one there. */
async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await call<fs.Stats>((done) => fs.stat(path, done))).isDirectory() || path === dirname(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT" && path !== dirname(path)) return false;
    throw error;
  }
}

/** Turns a call with a callback into a promise; the callback API costs half of `fs.promises` a call. */
function call<Value>(start: (done: (error: Error | null, value: Value) => void) => void): Promise<Value> {
  return new Promise((settle, reject) => {
    start((error, value) => {
      if (error === null) settle(value);
      else reject(error);
    });
  });
}

const run = (start: (done: (error: Error | null) => void) => void): Promise<void> => call<void>(start);

class NodeAppendFile implements AppendFile {
  readonly #fd: number;
  /** The same file, opened so that each write is synced; where the system can. */
  readonly #syncedFd: number | undefined;
  #size: number;

  constructor(fd: number, syncedFd: number | undefined, size: number) {
    this.#fd = fd;
    this.#syncedFd = syncedFd;
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  write(bytes: Uint8Array, start: number, end: number): Promise<number> {
    return this.#write(this.#fd, bytes, start, end);
  }

  async writeSynced(bytes: Uint8Array, start: number, end: number): Promise<number> {
    if (this.#syncedFd !== undefined) return this.#write(this.#syncedFd, bytes, start, end);
    const written = await this.#write(this.#fd, bytes, start, end);
    await this.datasync();
    return written;
  }

  async #write(fd: number, bytes: Uint8Array, start: number, end: number): Promise<number> {
    const written = await call<number>((done) => fs.write(fd, bytes, start, end - start, this.#size, done));
    this.#size += written;
    return written;
  }

  datasync(): Promise<void> {
    return run((done) => fs.fdatasync(this.#fd, done));
  }

  async truncate(size: number): Promise<void> {
    await run((done) => fs.ftruncate(this.#fd, size, done));
    this.#size = size;
  }

  async close(): Promise<void> {
    const syncedFd = this.#syncedFd;
    try {
      if (syncedFd !== undefined) await run((done) => fs.close(syncedFd, done));
    } finally {
      await run((done) => fs.close(this.#fd, done));
    }
  }
}

class NodeReadFile implements ReadFile {
  readonly #fd: number;
  readonly size: number;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.size = size;
  }

  read(bytes: Uint8Array, start: number, end: number, position: number): Promise<number> {
    return call<number>((done) => fs.read(this.#fd, bytes, start, end - start, position, done));
  }

  close(): Promise<void> {
    return run((done) => fs.close(this.#fd, done));
  }
}

/** Opens and measures; the file is closed again when that fails. */
async function openMeasured(path: string, flags: string): Promise<{ fd: number; size: number }> {
  const fd = await call<number>((done) => fs.open(path, flags, 0o644, done));
  try {
    const { size } = await call<fs.Stats>((done) => fs.fstat(fd, done));
    return { fd, size };
  } catch (error) {
    await run((done) => fs.close(fd, done));
    throw error;
  }
}

/**
 * Opens a file for appending: twice, the second time so that each write is synced. That is for Linux alone: elsewhere such
 * writes do less than a sync (macOS leaves them in the disk's cache).
 */
async function openAppendFile(path: string, flags: string): Promise<AppendFile> {
  const { fd, size } = await openMeasured(path, flags);
  if (process.platform !== "linux") return new NodeAppendFile(fd, undefined, size);
  const { O_WRONLY, O_DSYNC } = fs.constants;
  try {
    const syncedFd = await call<number>((done) => fs.open(path, O_WRONLY | O_DSYNC, done));
    return new NodeAppendFile(fd, syncedFd, size);
  } catch (error) {
    await run((done) => fs.close(fd, done));
    throw error;
  }
}

/** Windows cannot sync a directory, and some network file systems will not; there is nothing better to do then. */
const unsyncable = new Set(["EPERM", "EISDIR", "EINVAL", "ENOTSUP", "EBADF"]);

/** The machine's file system, through `node:fs`. */
export const nodeFileSystem: FileSystem = {
  create: (path) => openAppendFile(path, "wx"),

  openForAppend: (path) => openAppendFile(path, "r+"),

  async openForRead(path) {
    const { fd, size } = await openMeasured(path, "r");
    return new NodeReadFile(fd, size);
  },

  async stat(path) {
    try {
      const { size } = await call<fs.Stats>((done) => fs.stat(path, done));
      return { size };
    } catch (error) {
      // Nothing can be where a part of the path is a file.
      if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return undefined;
      throw error;
    }
  },

  async list(directory) {
    const names = await call<string[]>((done) => fs.readdir(directory, done));
    return names.sort();
  },

  async makeDirectory(directory) {
    // A new name is durable once the directory that holds it is synced.
    for (const made of await makeDirectories(resolve(directory))) await nodeFileSystem.syncDirectory(dirname(made));
  },

  rename: (from, to) => run((done) => fs.rename(from, to, done)),

  async remove(path) {
    try {
      await run((done) => fs.unlink(path, done));
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
    }
  },

  async syncDirectory(directory) {
    let fd: number;
    try {
      fd = await call<number>((done) => fs.open(directory, "r", done));
    } catch (error) {
      if (unsyncable.has(systemErrorCode(error) ?? "")) return;
      throw error;
    }
    try {
      await run((done) => fs.fsync(fd, done));
    } catch (error) {
      if (!unsyncable.has(systemErrorCode(error) ?? "")) throw error;
    } finally {
      await run((done) => fs.close(fd, done));
    }
  },

  async freeBytes(directory) {
    const { bavail, bsize } = await call<fs.StatsFs>((done) => fs.statfs(directory, done));
    return bavail * bsize;
  },

  lock: takeLock,
};

/** Whole folders and files, for what happens seldom: setting a broken database aside, and backups. */
export interface Folders {
  /** True when there is something with that name. */
  exists(path: string): Promise<boolean>;
  /** The path without links and dots; of what is not there, as far as it is, and the rest behind it. */
  realPath(path: string): Promise<string>;
  /** Renames a folder. */
  move(from: string, to: string): Promise<void>;
  /** Copies a file, in no time where the file system shares blocks. Not durable until the copy is synced. */
  copy(from: string, to: string): Promise<void>;
  /** Removes a folder and all in it. */
  removeTree(path: string): Promise<void>;
  /** Who holds the lock file at `path`; undefined when nobody does. Takes nothing. */
  lockHolder(path: string): Promise<LockHolder | undefined>;
  /** An empty folder for passing use. */
  makeTemporary(prefix: string): Promise<string>;
}

/** Folders, through `node:fs`. */
export const nodeFolders: Folders = {
  async exists(path) {
    return (await nodeFileSystem.stat(path)) !== undefined;
  },
  async realPath(path) {
    const whole = resolve(path);
    for (let at = whole; ; at = dirname(at)) {
      const found = await fs.promises.realpath(at).catch(() => undefined);
      if (found !== undefined) return join(found, whole.slice(at.length));
      if (at === dirname(at)) return whole;
    }
  },
  move: (from, to) => run((done) => fs.rename(from, to, done)),
  copy: (from, to) =>
    run((done) => fs.copyFile(from, to, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE, done)),
  removeTree: (path) => fs.promises.rm(path, { recursive: true, force: true }),
  async lockHolder(path) {
    await Promise.resolve();
    return lockHolder(path);
  },
  makeTemporary: (prefix) => fs.promises.mkdtemp(join(tmpdir(), prefix)),
};
