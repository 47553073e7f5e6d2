import type { FileSystem } from "../../platform/file-system.js";
import type { TableCheck } from "./level-check.js";
import { cutTables } from "./level-cut.js";
import { tableName } from "./level-format.js";
import type { LiveTable } from "./level-format.js";
import { LevelReader } from "./level-reader.js";
import { keyKind } from "./keys.js";
import type { KeyRange } from "./keys.js";
import type { Change, KeyValueStore } from "./level-store.js";

/** A table that is damaged, and what is wrong with it. */
export interface DamagedTable {
  readonly name: string;
  readonly problem: string;
}

export interface LateLevelOptions {
  readonly fileSystem: FileSystem;
  readonly folder: string;
  readonly tables: readonly LiveTable[];
  readonly journals: readonly Buffer[];
  /** Tables that nobody has looked at. They hold nothing but blocks of messages. */
  readonly putOff: readonly LiveTable[];
  readonly check: TableCheck;
  /** Opens the database in the folder. */
  readonly open: () => Promise<KeyValueStore>;
  /** Lets the event loop turn. */
  readonly breathe: () => Promise<void>;
  /** Calls it when the broker has had time to begin. Returns how to call it off. */
  readonly later: (run: () => void) => () => void;
  /** Keeps a copy of a damaged table, before it goes. */
  readonly setAside: (table: DamagedTable) => Promise<void>;
}

/** Whether a table holds nothing but blocks of messages: what is lost with it is missed when it is read. */
export function isOfMessages({ first, last }: LiveTable): boolean {
  return first[0] === keyKind.block && last[0] === keyKind.block;
}

/**
 * A large database that is read before all of it was looked at. LevelDB trusts its files, also when it compacts them, which it
 * does as it likes; so it does not see them until each table was looked at. Until then the files are read without it,
 * and nothing is written.
 *
 * | state   | entered                     | get, getMany, entries | batch, compact | left by                               |
 * |---------|-----------------------------|---------------------|----------------|---------------------------------------|
 * | files   | made                        | from the files      | wait for open  | all tables were looked at → opening   |
 * | opening | from files                  | wait                | wait for open  | → open; where that fails → files      |
 * | open    | LevelDB has it              | LevelDB             | LevelDB        | close → closed                        |
 * | closed  | close                       | fail                | fail           | never                                 |
 *
 * A table that is damaged is set aside and taken out of the database: its blocks are missing from then on.
 */
export class LateLevel implements KeyValueStore {
  readonly #options: Omit<LateLevelOptions, "tables" | "journals">;
  #reader: LevelReader | undefined;
  #level: KeyValueStore | undefined;
  /** Under way, from the first look at a table to LevelDB. */
  #opening: Promise<KeyValueStore> | undefined;
  /** Every table was looked at, and LevelDB has not come back yet: the files may not be read meanwhile. */
  #isHandedOver = false;
  #isClosed = false;
  #checked = 0;
  readonly #damaged: { readonly table: LiveTable; readonly found: DamagedTable }[] = [];
  /** Reads of the files that are under way. */
  readonly #reads = new Set<Promise<unknown>>();
  readonly #callOff: () => void;

  constructor(options: LateLevelOptions) {
    const { tables, journals, ...others } = options;
    this.#options = others;
    this.#reader = new LevelReader(options.fileSystem, options.folder, tables, journals);
    // Who writes is told if it fails, and tries it again.
    this.#callOff = options.later(() => void this.#open().catch(() => undefined));
  }

  /** True until LevelDB has it: nothing was written so far. */
  get isUntouched(): boolean {
    return this.#level === undefined;
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    while (this.#isHandedOver) await this.#handOver();
    return this.#level?.get(key) ?? this.#read((reader) => reader.get(key));
  }

  async getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> {
    while (this.#isHandedOver) await this.#handOver();
    if (this.#level !== undefined) return this.#level.getMany(keys);
    return this.#read((reader) => Promise.all(keys.map((key) => reader.get(key))));
  }

  async *entries(range: KeyRange): AsyncGenerator<readonly (readonly [Buffer, Buffer])[], void, undefined> {
    if (hasMessages(range)) await this.#open();
    while (this.#isHandedOver) await this.#handOver();
    if (this.#level !== undefined) {
      yield* this.#level.entries(range);
      return;
    }
    const found = await this.#read((reader) => reader.entries(range));
    for (let at = 0; at < found.length; at += 1000) yield found.slice(at, at + 1000);
  }

  async batch(changes: readonly Change[]): Promise<void> {
    await (await this.#open()).batch(changes);
  }

  async compact(): Promise<void> {
    await (await this.#open()).compact();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#callOff();
    await this.#opening?.catch(() => undefined);
    await Promise.allSettled(this.#reads);
    await this.#level?.close();
  }

  /** Whoever waits has to ask again whether it is over: between that and reading the files there may be no turn. */
  async #handOver(): Promise<void> {
    await this.#opening?.catch(() => undefined);
  }

  async #read<Value>(read: (reader: LevelReader) => Promise<Value>): Promise<Value> {
    if (this.#isClosed || this.#reader === undefined) throw new Error("store: the database is closed");
    const reading = read(this.#reader);
    this.#reads.add(reading);
    try {
      return await reading;
    } finally {
      this.#reads.delete(reading);
    }
  }

  #open(): Promise<KeyValueStore> {
    if (this.#level !== undefined) return Promise.resolve(this.#level);
    this.#opening ??= this.#lookAndOpen().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #lookAndOpen(): Promise<KeyValueStore> {
    const { putOff, check, breathe, setAside, fileSystem, folder, open } = this.#options;
    this.#callOff();
    for (; this.#checked < putOff.length; this.#checked++) {
      if (this.#isClosed) throw new Error("store: the database is closed");
      const table = putOff[this.#checked] as LiveTable;
      const name = tableName(table.number);
      const problem = await check.damageIn(name);
      if (problem !== undefined) this.#damaged.push({ table, found: { name, problem } });
      await breathe();
    }
    this.#isHandedOver = true;
    try {
      await Promise.allSettled(this.#reads);
      if (this.#damaged.length > 0) {
        for (const { found } of this.#damaged) await setAside(found);
        const tables = this.#damaged.map(({ table }) => table);
        await cutTables(fileSystem, folder, tables);
        this.#damaged.length = 0;
      }
      this.#level = await open();
      this.#reader = undefined;
      return this.#level;
    } finally {
      this.#isHandedOver = false;
    }
  }
}

function hasMessages({ gte, lt }: KeyRange): boolean {
  return (gte[0] ?? 0) <= keyKind.block && (lt[0] ?? 0) > keyKind.block;
}
