import type { AppendFile, FileSystem, ReadFile } from "../../src/platform/file-system.js";
import type { LockResult } from "../../src/platform/lock-file.js";

/** The kinds of operation that change something; each counts as one IO. */
export type IoKind =
  "create" | "write" | "datasync" | "truncate" | "rename" | "remove" | "syncDirectory" | "makeDirectory" | "close";

export interface FaultyFileSystemOptions {
  /** The n-th IO (from 0) fails with `EIO`, in part done where it has parts. */
  readonly failAt?: number | undefined;
  /** Every IO after the failing one fails too. */
  readonly staysBroken?: boolean | undefined;
  /** Bytes that all files together may have; a write beyond takes what fits, then fails with `ENOSPC`. */
  readonly capacityBytes?: number | undefined;
  /** Writes take only a part of what they are given. */
  readonly shortWrites?: boolean | undefined;
  readonly seed?: number | undefined;
}

export interface CrashOptions {
  /**
   * What of the unsynced is found after the power cut: nothing, everything, or any sectors of files and any of
   * the changes to directories, in no order.
   */
  readonly keep: "none" | "all" | "random";
  readonly seed?: number | undefined;
}

const sectorBytes = 512;

interface Inode {
  /** What reading gives. */
  current: Buffer;
  /** What a power cut leaves for sure. */
  durable: Buffer;
  /**
   * What was written and not synced, in order. A sync that fails forgets these, as Linux does: the bytes can be read, and
   * no later sync writes them, though it succeeds.
   */
  unsynced: { readonly start: number; end: number }[];
}

function inodeOf(bytes: Uint8Array): Inode {
  return { current: Buffer.from(bytes), durable: Buffer.from(bytes), unsynced: [] };
}

type DirectoryChange = { readonly directory: string } & (
  | { readonly kind: "link"; readonly path: string; readonly inode: Inode }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string; readonly inode: Inode }
);

/**
 * A file system in memory that knows what is on the disk and what is only in the page cache, for files and for
 * directories, and that fails where it is told to.
 */
export class FaultyFileSystem implements FileSystem {
  readonly #files = new Map<string, Inode>();
  readonly #durableFiles = new Map<string, Inode>();
  readonly #directories = new Set<string>();
  #changes: DirectoryChange[] = [];
  readonly #locks = new Set<string>();
  readonly #holds: { kind: IoKind; promise: Promise<void> }[] = [];
  readonly #random: () => number;
  failAt: number | undefined;
  staysBroken: boolean;
  /** What the failing IO fails with. */
  failWith: "EIO" | "ENOSPC" = "EIO";
  capacityBytes: number;
  shortWrites: boolean;
  /** How many IOs there were. */
  ioCount = 0;
  /** How many of each kind. */
  readonly counts = new Map<IoKind, number>();
  /** True once `failAt` was reached. */
  hasFailed = false;
  /** The kind of the IO that `failAt` hit. */
  failedKind: IoKind | undefined;
  /** Files open now. */
  openFiles = 0;

  constructor(options: FaultyFileSystemOptions = {}) {
    this.failAt = options.failAt;
    this.staysBroken = options.staysBroken ?? false;
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.shortWrites = options.shortWrites ?? false;
    this.#random = randomFrom(options.seed ?? 1);
  }

  // Looking and meddling, for tests.

  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  get usedBytes(): number {
    let sum = 0;
    for (const inode of this.#files.values()) sum += inode.current.length;
    return sum;
  }

  content(path: string): Buffer {
    return Buffer.from(this.#inode(path).current);
  }

  /** Puts a file there, as if it had always been there. */
  put(path: string, bytes: Uint8Array): void {
    const inode = inodeOf(bytes);
    this.#files.set(path, inode);
    this.#durableFiles.set(path, inode);
    this.#directories.add(directoryOf(path));
  }

  /** Makes a file vanish, as if it had never been there. */
  lose(path: string): void {
    this.#files.delete(path);
    this.#durableFiles.delete(path);
  }

  flipBit(path: string, offset: number, bit: number): void {
    for (const bytes of [this.#inode(path).current, this.#inode(path).durable]) {
      if (offset < bytes.length) bytes[offset] = (bytes[offset] as number) ^ (1 << bit);
    }
  }

  /** The next IO of a kind waits until the returned function is called. */
  hold(kind: IoKind): () => void {
    let release = (): void => undefined;
    const promise = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#holds.push({ kind, promise });
    return release;
  }

  /** A copy of everything, as it is now and without faults. */
  copy(): FaultyFileSystem {
    return this.crash({ keep: "all" });
  }

  /** The file system as it is found after a power cut now. */
  crash({ keep, seed = 1 }: CrashOptions): FaultyFileSystem {
    const after = new FaultyFileSystem();
    const random = randomFrom(seed);
    const files = new Map(keep === "all" ? this.#files : this.#durableFiles);
    if (keep === "random") {
      for (const change of this.#changes) if (random() < 0.5) apply(files, change);
    }
    for (const [path, inode] of files) {
      after.put(path, keep === "none" ? inode.durable : keep === "all" ? inode.current : mix(inode, random));
    }
    for (const directory of this.#directories) after.#directories.add(directory);
    return after;
  }

  // The file system.

  async create(path: string): Promise<AppendFile> {
    await this.#io("create");
    if (this.#files.has(path)) throw failure("EEXIST", path);
    if (!this.#directories.has(directoryOf(path))) throw failure("ENOENT", path);
    if (this.usedBytes >= this.capacityBytes) throw failure("ENOSPC", path);
    const inode = inodeOf(Buffer.alloc(0));
    this.#change({ kind: "link", directory: directoryOf(path), path, inode });
    return this.#append(inode);
  }

  async openForAppend(path: string): Promise<AppendFile> {
    await Promise.resolve();
    return this.#append(this.#inode(path));
  }

  async openForRead(path: string): Promise<ReadFile> {
    await Promise.resolve();
    const inode = this.#inode(path);
    this.openFiles++;
    return {
      size: inode.current.length,
      async read(bytes, start, end, position) {
        await Promise.resolve();
        const source = inode.current.subarray(position, position + end - start);
        bytes.set(source, start);
        return source.length;
      },
      close: async () => {
        await Promise.resolve();
        this.openFiles--;
      },
    };
  }

  async stat(path: string): Promise<{ size: number } | undefined> {
    await Promise.resolve();
    const inode = this.#files.get(path);
    return inode === undefined ? undefined : { size: inode.current.length };
  }

  async list(directory: string): Promise<string[]> {
    await Promise.resolve();
    if (!this.#directories.has(directory)) throw failure("ENOENT", directory);
    const names = [...this.#files.keys(), ...this.#directories]
      .filter((path) => directoryOf(path) === directory && path !== directory)
      .map((path) => path.slice(directory.length + 1));
    return names.sort();
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.#io("makeDirectory");
    for (let path = directory; path !== ""; path = directoryOf(path)) this.#directories.add(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#io("rename");
    this.#change({ kind: "rename", directory: directoryOf(to), from, to, inode: this.#inode(from) });
  }

  async remove(path: string): Promise<void> {
    if (!this.#files.has(path)) return;
    await this.#io("remove");
    this.#change({ kind: "unlink", directory: directoryOf(path), path });
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.#io("syncDirectory");
    for (const change of this.#changes) if (change.directory === directory) apply(this.#durableFiles, change);
    this.#changes = this.#changes.filter((change) => change.directory !== directory);
  }

  async freeBytes(): Promise<number> {
    await Promise.resolve();
    return this.capacityBytes === Infinity ? 2 ** 50 : Math.max(0, this.capacityBytes - this.usedBytes);
  }

  async lock(path: string): Promise<LockResult> {
    await Promise.resolve();
    if (this.#locks.has(path)) return { acquired: false, holder: { pid: 1, host: "memory" } };
    this.#locks.add(path);
    return {
      acquired: true,
      release: async () => {
        await Promise.resolve();
        this.#locks.delete(path);
      },
    };
  }

  #append(inode: Inode): AppendFile {
    this.openFiles++;
    let size = inode.current.length;
    const write = async (bytes: Uint8Array, start: number, end: number): Promise<number> => {
      const isFailing = await this.#io("write", true);
      let count = end - start;
      if (isFailing) count = Math.floor(count * this.#random());
      else if (this.shortWrites) count = Math.max(1, Math.floor(count * this.#random()));
      const room = Math.max(0, this.capacityBytes - this.usedBytes);
      if (room === 0 && !isFailing) throw failure("ENOSPC", "write");
      count = Math.min(count, room);
      const taken = Buffer.from(bytes.subarray(start, start + count));
      // What is behind it stays: a synced write that was refused may have left it there.
      inode.current = Buffer.concat([inode.current.subarray(0, size), taken, inode.current.subarray(size + count)]);
      inode.unsynced.push({ start: size, end: size + count });
      if (isFailing) throw failure(this.failWith, "write");
      size += count;
      return count;
    };
    const datasync = async (ranges: Inode["unsynced"]): Promise<void> => {
      const isFailing = await this.#io("datasync", true);
      if (!isFailing) writeBack(inode, ranges);
      inode.unsynced = inode.unsynced.filter((range) => !ranges.includes(range));
      if (isFailing) throw failure(this.failWith, "datasync");
    };
    return {
      get size() {
        return size;
      },
      write,
      writeSynced: async (bytes, start, end) => {
        const before = size;
        try {
          const written = await write(bytes, start, end);
          await datasync(inode.unsynced.slice(-1));
          return written;
        } catch (error) {
          // One call to the system, which tells nothing of how far it came.
          size = before;
          throw error;
        }
      },
      datasync: () => datasync(inode.unsynced),
      truncate: async (to) => {
        await this.#io("truncate");
        inode.current = inode.current.subarray(0, to);
        for (const range of inode.unsynced) range.end = Math.min(range.end, to);
        size = to;
      },
      close: async () => {
        await this.#io("close");
        this.openFiles--;
      },
    };
  }

  #inode(path: string): Inode {
    const inode = this.#files.get(path);
    if (inode === undefined) throw failure("ENOENT", path);
    return inode;
  }

  #change(change: DirectoryChange): void {
    apply(this.#files, change);
    this.#changes.push(change);
  }

  /** Counts an IO. Throws when it has to fail; `inPart`: returns true instead, and the caller does it in part. */
  async #io(kind: IoKind, inPart = false): Promise<boolean> {
    const index = this.ioCount++;
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    const held = this.#holds.findIndex((hold) => hold.kind === kind);
    if (held >= 0) await this.#holds.splice(held, 1)[0]?.promise;
    else await Promise.resolve();
    const isFailing = index === this.failAt || (this.hasFailed && this.staysBroken);
    if (!isFailing) return false;
    this.hasFailed = true;
    this.failedKind ??= kind;
    if (!inPart) throw failure(this.failWith, kind);
    return true;
  }
}

/** What a sync does: the file's length, and the bytes written since the last sync, whether that succeeded or not, or some of them. */
function writeBack(inode: Inode, ranges: Inode["unsynced"]): void {
  const { current, durable } = inode;
  const bytes = Buffer.alloc(current.length);
  durable.copy(bytes, 0, 0, bytes.length);
  for (const { start, end } of ranges) if (end > start) current.copy(bytes, start, start, end);
  inode.durable = bytes;
}

function apply(files: Map<string, Inode>, change: DirectoryChange): void {
  if (change.kind === "link") files.set(change.path, change.inode);
  else if (change.kind === "unlink") files.delete(change.path);
  else {
    if (files.get(change.from) === change.inode) files.delete(change.from);
    files.set(change.to, change.inode);
  }
}

/** A file after a power cut: each unsynced sector is the new one or the old one, and the length is any between. */
function mix(inode: Inode, random: () => number): Buffer {
  const { current, durable } = inode;
  const shorter = Math.min(current.length, durable.length);
  const longer = Math.max(current.length, durable.length);
  const length = random() < 0.3 ? current.length : shorter + Math.floor(random() * (longer - shorter + 1));
  const bytes = Buffer.alloc(length);
  durable.copy(bytes, 0, 0, length);
  for (let at = 0; at < length; at += sectorBytes) {
    const end = Math.min(at + sectorBytes, length);
    if (random() < 0.6 && at < current.length) current.copy(bytes, at, at, Math.min(end, current.length));
  }
  return bytes;
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
