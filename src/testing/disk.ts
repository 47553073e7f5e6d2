import type { Compressor } from "../platform/compressor.js";
import type { AppendFile, FileSystem, Folders } from "../platform/file-system.js";
import type { Random } from "../platform/random.js";
import type { Database } from "./memory-database.js";
import { MemoryDatabases } from "./memory-database.js";
import { MemoryFiles } from "./memory-files.js";
import type { StoreFaults } from "./store-faults.js";

/** What a store needs of the machine, as far as the kit stands between. */
export interface StoreMachine {
  readonly fileSystem: FileSystem;
  readonly folders: Folders;
  readonly openDatabase: (path: string) => Promise<Database>;
  readonly gzip: Compressor;
  readonly afterTurn: (run: () => void) => void;
  readonly elapsed: () => number;
}

/** What a disk is told, and tells. */
export interface DiskHost {
  readonly faults: StoreFaults;
  /** Resolves after so long, by the broker's clock; `what` is what it leads to. */
  wait(ms: number, what: string): Promise<void>;
  /** Something was done to the store that the test asked for. */
  struck(what: string): void;
  /** The power has gone: nothing reaches the disk any more, and what is there stays. */
  powerWent(): void;
}

/** What a power cut leaves of what was written and not synced. */
export type Loss = "unsynced" | "torn-tail" | "nothing";

/** A broker's time with the disk; after it nothing that it still does reaches the disk. */
export interface DiskUser {
  readonly isOver: boolean;
  /** Whether a slow disk is slow: not while a store is opened or closed, when nobody moves time. */
  readonly isSteady: boolean;
}

/** A file that was written to: how much of it is on the disk for sure. */
interface Tail {
  synced: number;
}

/**
 * Stands between a store and its files, the machine's or some in memory: strikes with faults, knows what is on the disk for
 * sure, and cuts the power.
 *
 * A file may lose its end from the last sync on. What a power cut may do besides (sectors in no order, names that come back)
 * is no business of those who test an application.
 */
export class Disk {
  readonly #host: DiskHost;
  readonly #memory: { readonly files: MemoryFiles; readonly databases: MemoryDatabases } | null;
  /** By path. */
  readonly #tails = new Map<string, Tail>();
  /** Files that nobody would find after a power cut, by folder. */
  readonly #unnamed = new Map<string, Set<string>>();
  #machine: StoreMachine | null = null;
  /** Operations begun, ever. */
  #begun = 0;
  #underWay = 0;
  /** Of these: those that a fault holds back until time moves. */
  #held = 0;
  #whenAtRest: (() => void)[] = [];

  constructor(host: DiskHost, isInMemory: boolean) {
    this.#host = host;
    this.#memory = isInMemory ? { files: new MemoryFiles(), databases: new MemoryDatabases() } : null;
  }

  get isInMemory(): boolean {
    return this.#memory !== null;
  }

  /** Grows with everything that the store does. */
  get begun(): number {
    return this.#begun;
  }

  /** Undefined where nothing is under way but what waits for time; else resolves once that is so. */
  atRest(): Promise<void> | undefined {
    if (this.#underWay === this.#held) return undefined;
    return new Promise((resolve) => this.#whenAtRest.push(resolve));
  }

  /** Something of the store that is none of the disk's operations, as its opening: there is no rest before it has ended. */
  during<Result>(work: Promise<Result>): Promise<Result> {
    return this.#count(work);
  }

  /** The machine as a store sees it. */
  machineFor(user: DiskUser, real: StoreMachine): StoreMachine {
    const memory = this.#memory;
    const machine: StoreMachine =
      memory === null
        ? real
        : { ...real, fileSystem: memory.files, folders: memory.files, openDatabase: memory.databases.open };
    this.#machine = machine;
    return {
      ...machine,
      fileSystem: this.#fileSystem(user, machine.fileSystem),
      openDatabase: async (path) => this.#database(user, await this.#count(machine.openDatabase(path))),
      gzip: {
        name: machine.gzip.name,
        compress: (bytes) => this.#count(machine.gzip.compress(bytes)),
        decompress: (bytes, limit) => this.#count(machine.gzip.decompress(bytes, limit)),
      },
      afterTurn: (run) => {
        const done = this.#begin();
        machine.afterTurn(() => {
          done();
          run();
        });
      },
      ...(memory === null ? {} : { elapsed: () => 0 }),
    };
  }

  /** What a power cut leaves: takes away what was not synced, or a part of it. Resolves to how much went, in words. */
  async cut(lose: Loss, random: Random): Promise<string> {
    const fileSystem = this.#machine?.fileSystem;
    let lost = 0;
    let unsynced = 0;
    const keeps = (): boolean => lose === "nothing" || (lose === "torn-tail" && random() < 0.5);
    for (const names of fileSystem === undefined ? [] : this.#unnamed.values()) {
      for (const path of names) if (!keeps()) await fileSystem?.remove(path);
    }
    for (const [path, { synced }] of this.#tails) {
      const size = (await fileSystem?.stat(path))?.size ?? 0;
      if (fileSystem === undefined || size <= synced) continue;
      const kept =
        lose === "nothing" ? size : lose === "unsynced" ? synced : synced + Math.floor(random() * (size - synced + 1));
      unsynced += size - synced;
      lost += size - kept;
      const file = await fileSystem.openForAppend(path);
      await file.truncate(kept);
      await file.datasync();
      await file.close();
    }
    this.#unnamed.clear();
    this.#tails.clear();
    return `${lost} of ${unsynced} unsynced bytes are lost`;
  }

  #fileSystem(user: DiskUser, real: FileSystem): FileSystem {
    const change = <Result>(run: () => Promise<Result>): Promise<Result> => {
      if (user.isOver) return Promise.reject(crashed());
      return this.#count(run());
    };
    const append = (path: string, file: AppendFile, tail: Tail): AppendFile => {
      this.#tails.set(path, tail);
      return this.#appendFile(user, path, file, tail);
    };
    return {
      create: (path) =>
        change(async () => {
          const { faults } = this.#host;
          if (faults.isFull && faults.free(0) === 0) faults.take(1, path);
          const file = await real.create(path);
          const folder = parentOf(path);
          this.#unnamed.set(folder, (this.#unnamed.get(folder) ?? new Set()).add(path));
          return append(path, file, { synced: 0 });
        }),
      openForAppend: (path) =>
        change(async () => {
          const file = await real.openForAppend(path);
          return append(path, file, this.#tails.get(path) ?? { synced: file.size });
        }),
      openForRead: async (path) => {
        const file = await this.#count(real.openForRead(path));
        return {
          size: file.size,
          read: (bytes, start, end, position) => this.#count(file.read(bytes, start, end, position)),
          close: () => this.#count(file.close()),
        };
      },
      stat: (path) => this.#count(real.stat(path)),
      list: (directory) => this.#count(real.list(directory)),
      makeDirectory: (directory) => change(() => real.makeDirectory(directory)),
      rename: (from, to) =>
        change(async () => {
          await real.rename(from, to);
          const tail = this.#tails.get(from);
          this.#tails.delete(from);
          if (tail !== undefined) this.#tails.set(to, tail);
          if (this.#unnamed.get(parentOf(from))?.delete(from) === true) this.#unnamed.get(parentOf(to))?.add(to);
        }),
      remove: (path) =>
        change(async () => {
          this.#host.faults.give((await real.stat(path))?.size ?? 0);
          await real.remove(path);
          this.#tails.delete(path);
          this.#unnamed.get(parentOf(path))?.delete(path);
        }),
      syncDirectory: (directory) =>
        change(async () => {
          await real.syncDirectory(directory);
          this.#unnamed.delete(directory);
        }),
      freeBytes: async (directory) => this.#host.faults.free(await this.#count(real.freeBytes(directory))),
      lock: (path) => this.#count(real.lock(path)),
    };
  }

  #appendFile(user: DiskUser, path: string, file: AppendFile, tail: Tail): AppendFile {
    const { faults } = this.#host;
    const change = <Result>(run: () => Promise<Result>): Promise<Result> => this.#strike(user, path, run);
    const write: AppendFile["write"] = (bytes, start, end) =>
      change(async () => {
        const failure = faults.failure("failWrite", path);
        const room = this.#room(end - start, path);
        if (faults.isTorn()) {
          const part = Math.min(room, 1 + faults.part(end - start - 1));
          await file.write(bytes, start, start + part);
          this.#host.struck(`the power went in the middle of a write: ${part} of ${end - start} bytes are on the disk`);
          this.#host.powerWent();
          throw crashed();
        }
        if (failure === undefined) return file.write(bytes, start, start + room);
        const part = faults.part(room);
        if (part > 0) await file.write(bytes, start, start + part);
        this.#host.struck("a write of the store failed");
        throw failure;
      });
    const datasync: AppendFile["datasync"] = () =>
      change(async () => {
        const { size } = file;
        const failure = faults.failure("failSync", path);
        if (failure !== undefined) {
          this.#host.struck("a sync of the store failed");
          throw failure;
        }
        await file.datasync();
        tail.synced = Math.max(size, tail.synced);
      });
    return {
      get size() {
        return file.size;
      },
      write,
      // In two steps, so that each can fail.
      writeSynced: async (bytes, start, end) => {
        const written = await write(bytes, start, end);
        await datasync();
        return written;
      },
      datasync,
      truncate: (size) =>
        change(async () => {
          faults.give(Math.max(0, file.size - size));
          await file.truncate(size);
          tail.synced = Math.min(size, tail.synced);
        }),
      close: () => this.#count(file.close()),
    };
  }

  #database(user: DiskUser, real: Database): Database {
    return {
      get: (key) => this.#count(real.get(key)),
      getMany: (keys) => this.#count(real.getMany(keys)),
      batch: (changes) => {
        if (user.isOver) return Promise.reject(crashed());
        const failure = user.isSteady ? this.#host.faults.failure("failCheckpoint", "the database") : undefined;
        if (failure === undefined) return this.#count(real.batch(changes));
        this.#host.struck("a checkpoint of the store failed");
        return Promise.reject(failure);
      },
      entries: (range) => this.#entries(real, range),
      compact: () => this.#count(real.compact()),
      close: () => this.#count(real.close()),
    };
  }

  async *#entries(real: Database, range: Parameters<Database["entries"]>[0]): ReturnType<Database["entries"]> {
    const pages = real.entries(range);
    try {
      for (;;) {
        const page = await this.#count(pages.next());
        if (page.done === true) return;
        yield page.value;
      }
    } finally {
      await pages.return();
    }
  }

  /** A write or a sync: takes its time, and reaches the disk while its broker lives. */
  async #strike<Result>(user: DiskUser, path: string, run: () => Promise<Result>): Promise<Result> {
    if (user.isOver) throw crashed();
    const done = this.#begin();
    try {
      const delayMs = user.isSteady ? this.#host.faults.delay() : 0;
      if (delayMs > 0) {
        this.#host.struck(`the disk is slow by ${delayMs} ms`);
        this.#held += 1;
        this.#look();
        await this.#host.wait(delayMs, `a fault lets the store go on with ${path}`);
        this.#held -= 1;
        this.#begun += 1;
        if (user.isOver) throw crashed();
      }
      return await run();
    } finally {
      done();
    }
  }

  /** Room for a write; tells where there is none. */
  #room(bytes: number, path: string): number {
    try {
      return this.#host.faults.take(bytes, path);
    } catch (error) {
      this.#host.struck("the disk is full");
      throw error;
    }
  }

  #count<Result>(operation: Promise<Result>): Promise<Result> {
    const done = this.#begin();
    return operation.finally(done);
  }

  #begin(): () => void {
    this.#begun += 1;
    this.#underWay += 1;
    return () => {
      this.#underWay -= 1;
      this.#look();
    };
  }

  #look(): void {
    if (this.#underWay > this.#held) return;
    for (const resolve of this.#whenAtRest.splice(0)) resolve();
  }
}

function crashed(): Error {
  return Object.assign(new Error("the test broker has crashed: nothing reaches its disk any more"), { code: "EIO" });
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
