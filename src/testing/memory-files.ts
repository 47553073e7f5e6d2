import type { AppendFile, FileSystem, Folders } from "../platform/file-system.js";

interface MemoryFile {
  bytes: Uint8Array;
  size: number;
}

/** More than any test writes. */
const diskBytes = 2 ** 40;
const firstBytes = 1024;

/** Files and folders in memory, for a store that leaves nothing on the machine. What it holds stays for as long as it does. */
export class MemoryFiles implements FileSystem, Folders {
  readonly #files = new Map<string, MemoryFile>();
  readonly #directories = new Set<string>();
  readonly #locks = new Set<string>();
  #lastTemporary = 0;

  async create(path: string): Promise<AppendFile> {
    if (this.#files.has(path)) throw failure("EEXIST", path);
    if (!this.#directories.has(parentOf(path))) throw failure("ENOENT", path);
    const file: MemoryFile = { bytes: new Uint8Array(0), size: 0 };
    this.#files.set(path, file);
    return appendTo(file);
  }

  async openForAppend(path: string): Promise<AppendFile> {
    return appendTo(this.#file(path));
  }

  async openForRead(path: string): ReturnType<FileSystem["openForRead"]> {
    const file = this.#file(path);
    return {
      size: file.size,
      read: async (into, start, end, position) => {
        const part = file.bytes.subarray(position, Math.min(file.size, position + end - start));
        into.set(part, start);
        return part.length;
      },
      close: async () => undefined,
    };
  }

  async stat(path: string): Promise<{ readonly size: number } | undefined> {
    const file = this.#files.get(path);
    return file === undefined ? undefined : { size: file.size };
  }

  async list(directory: string): Promise<string[]> {
    if (!this.#directories.has(directory)) throw failure("ENOENT", directory);
    return [...this.#files.keys(), ...this.#directories]
      .filter((path) => path !== directory && parentOf(path) === directory)
      .map((path) => path.slice(directory.length + 1))
      .sort();
  }

  async makeDirectory(directory: string): Promise<void> {
    for (let path = directory; path !== ""; path = parentOf(path)) this.#directories.add(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#files.set(to, this.#file(from));
    this.#files.delete(from);
  }

  async remove(path: string): Promise<void> {
    this.#files.delete(path);
  }

  async syncDirectory(): Promise<void> {
    // What is in memory is where it is.
  }

  async freeBytes(): Promise<number> {
    return diskBytes;
  }

  async lock(path: string): ReturnType<FileSystem["lock"]> {
    if (this.#locks.has(path)) return { acquired: false, holder: { pid: 0, host: "memory" } };
    this.#locks.add(path);
    return { acquired: true, release: async () => void this.#locks.delete(path) };
  }

  // Folders

  async exists(path: string): Promise<boolean> {
    return this.#files.has(path) || this.#directories.has(path);
  }

  async realPath(path: string): Promise<string> {
    return path;
  }

  async move(from: string, to: string): Promise<void> {
    for (const [path, file] of [...this.#files]) {
      if (!isIn(path, from)) continue;
      this.#files.delete(path);
      this.#files.set(to + path.slice(from.length), file);
    }
    for (const path of [...this.#directories]) {
      if (!isIn(path, from)) continue;
      this.#directories.delete(path);
      this.#directories.add(to + path.slice(from.length));
    }
  }

  async link(from: string, to: string): Promise<void> {
    await this.copy(from, to);
  }

  async copy(from: string, to: string): Promise<void> {
    const { bytes, size } = this.#file(from);
    this.#files.set(to, { bytes: bytes.slice(0, size), size });
  }

  async removeTree(folder: string): Promise<void> {
    for (const path of [...this.#files.keys()]) if (isIn(path, folder)) this.#files.delete(path);
    for (const path of [...this.#directories]) if (isIn(path, folder)) this.#directories.delete(path);
  }

  async lockHolder(path: string): ReturnType<Folders["lockHolder"]> {
    return this.#locks.has(path) ? { pid: 0, host: "memory" } : undefined;
  }

  async makeTemporary(prefix: string): Promise<string> {
    this.#lastTemporary += 1;
    const path = `/temporary/${prefix}${this.#lastTemporary}`;
    await this.makeDirectory(path);
    return path;
  }

  #file(path: string): MemoryFile {
    const file = this.#files.get(path);
    if (file === undefined) throw failure("ENOENT", path);
    return file;
  }
}

function appendTo(file: MemoryFile): AppendFile {
  const write: AppendFile["write"] = async (bytes, start, end) => {
    const size = file.size + end - start;
    if (size > file.bytes.length) {
      const larger = new Uint8Array(Math.max(firstBytes, size, 2 * file.bytes.length));
      larger.set(file.bytes.subarray(0, file.size));
      file.bytes = larger;
    }
    file.bytes.set(bytes.subarray(start, end), file.size);
    file.size = size;
    return end - start;
  };
  return {
    get size() {
      return file.size;
    },
    write,
    writeSynced: write,
    datasync: async () => undefined,
    truncate: async (size) => {
      file.size = Math.min(file.size, size);
    },
    close: async () => undefined,
  };
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
