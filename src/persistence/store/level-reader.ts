import type { FileSystem, ReadFile } from "../../platform/file-system.js";
import { DamagedValue } from "./damaged-value.js";
import type { KeyRange } from "./keys.js";
import { compareKeys, entriesOf, footerBytes, recordsOf, storedSum, tableName, Varints } from "./level-format.js";
import type { Handle, LiveTable } from "./level-format.js";

/** A key with LevelDB's eight bytes behind it (its number, and whether it was removed), and its value. */
interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Where the blocks of a table are: each has no key above `through`, nor one that the block before it may have. */
interface Index {
  readonly through: Buffer;
  readonly handle: Handle;
}

/** Indexes of tables that are kept in memory. */
const keptIndexes = 64;

/**
 * Reads the files of a LevelDB database that nobody has open, without LevelDB: nothing is written, and a damaged block is an
 * error and no end of the process. Each block that is read is looked at first.
 *
 * Reads what there was when it was made; the files must not change.
 */
export class LevelReader {
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  readonly #tables: readonly LiveTable[];
  /** What the journals have, by key: the newest of each. */
  readonly #recent = new Map<string, Entry>();
  readonly #indexes = new Map<number, Promise<readonly Index[]>>();

  /** @param journals those that are in use, oldest first, looked at before */
  constructor(fileSystem: FileSystem, folder: string, tables: readonly LiveTable[], journals: readonly Buffer[]) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
    this.#tables = tables;
    for (const journal of journals) this.#replay(journal);
  }

  /** Rejects with `DamagedValue`. */
  async get(key: Buffer): Promise<Buffer | undefined> {
    let newest = this.#recent.get(key.toString("latin1"));
    if (newest === undefined) {
      const found = await this.#entries({ gte: key, lt: Buffer.concat([key, Buffer.from([0])]) });
      found.sort((a, b) => compareKeys(a.key, b.key));
      newest = found[0];
    }
    return newest === undefined || isRemoval(newest) ? undefined : newest.value;
  }

  /** All of a range in order. Rejects with `DamagedValue`. */
  async entries(range: KeyRange): Promise<(readonly [Buffer, Buffer])[]> {
    const found = await this.#entries(range);
    for (const entry of this.#recent.values()) {
      const own = userKey(entry);
      if (Buffer.compare(own, range.gte) >= 0 && Buffer.compare(own, range.lt) < 0) found.push(entry);
    }
    found.sort((a, b) => compareKeys(a.key, b.key));
    const kept: (readonly [Buffer, Buffer])[] = [];
    let before: Buffer | undefined;
    for (const entry of found) {
      const own = userKey(entry);
      if (before?.equals(own) !== true && !isRemoval(entry)) kept.push([own, entry.value]);
      before = own;
    }
    return kept;
  }

  /** What tables have of a range, older versions and removals too. */
  async #entries({ gte, lt }: KeyRange): Promise<Entry[]> {
    const found: Entry[] = [];
    for (const table of this.#tables) {
      if (Buffer.compare(table.last, gte) < 0 || Buffer.compare(table.first, lt) >= 0) continue;
      const index = await this.#indexOf(table);
      const seek = Buffer.concat([gte, newestOfAll]);
      await this.#reading(table, async (file) => {
        for (let at = firstThrough(index, seek); at < index.length; at++) {
          const { handle, through } = index[at] as Index;
          for (const entry of await readBlock(file, handle, false)) {
            const own = userKey(entry);
            if (Buffer.compare(own, gte) >= 0 && Buffer.compare(own, lt) < 0) found.push(entry);
          }
          if (Buffer.compare(through.subarray(0, -8), lt) >= 0) break;
        }
      });
    }
    return found;
  }

  #indexOf(table: LiveTable): Promise<readonly Index[]> {
    const { number } = table;
    const known = this.#indexes.get(number);
    if (known !== undefined) return known;
    const index = this.#reading(table, readIndex);
    this.#indexes.set(number, index);
    // What keeps a file from being opened or read may pass.
    index.catch(() => this.#indexes.delete(number));
    for (const oldest of this.#indexes.keys()) {
      if (this.#indexes.size <= keptIndexes) break;
      this.#indexes.delete(oldest);
    }
    return index;
  }

  async #reading<Value>({ number }: LiveTable, read: (file: ReadFile) => Promise<Value>): Promise<Value> {
    const file = await this.#fileSystem.openForRead(`${this.#folder}/${tableName(number)}`);
    try {
      return await read(file);
    } finally {
      await file.close();
    }
  }

  /** A journal's records are batches: u64 first number · u32 count · for each u8 kind · key · (value). */
  #replay(journal: Buffer): void {
    const batches = recordsOf(journal, true);
    if (typeof batches === "string") throw new DamagedValue(`the database's journal is ${batches}`);
    for (const batch of batches) {
      if (batch.length < 12) throw new DamagedValue("the database's journal has a batch that makes no sense");
      const input = new Varints(batch, 12, batch.length);
      let number = batch.readBigUInt64LE(0);
      for (let left = batch.readUInt32LE(8); left > 0; left--) {
        const kind = input.next();
        const key = input.block();
        const value = kind === 1 ? input.block() : nothing;
        if (kind > 1 || !(input.at <= batch.length)) {
          throw new DamagedValue("the database's journal has a batch that makes no sense");
        }
        const tag = Buffer.alloc(8);
        tag.writeBigUInt64LE((number << 8n) | BigInt(kind));
        number += 1n;
        this.#recent.set(key.toString("latin1"), { key: Buffer.concat([key, tag]), value });
      }
    }
  }
}

const nothing = Buffer.alloc(0);
/** Behind a key: before every version of it. */
const newestOfAll = Buffer.alloc(8, 255);

function userKey({ key }: Entry): Buffer {
  return key.subarray(0, -8);
}

function isRemoval({ key }: Entry): boolean {
  return key[key.length - 8] === 0;
}

/** The first block that may have a key. */
function firstThrough(index: readonly Index[], key: Buffer): number {
  let low = 0;
  let high = index.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys((index[middle] as Index).through, key) >= 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

async function readIndex(file: ReadFile): Promise<readonly Index[]> {
  const footer = await readPart(file, file.size - footerBytes, footerBytes);
  const input = new Varints(footer, 0, footer.length);
  input.handle();
  const handle = input.handle();
  if (handle === undefined) throw new DamagedValue("a table's footer is damaged");
  return (await readBlock(file, handle, true)).map(({ key, value }) => {
    const found = new Varints(value, 0, value.length).handle();
    if (found === undefined) throw new DamagedValue("a table's index is damaged");
    return { through: key, handle: found };
  });
}

/**
 * @param mustBeWhole of other blocks, values may be damaged: the checksum that the store gave them tells which
 */
async function readBlock(file: ReadFile, { offset, size }: Handle, mustBeWhole: boolean): Promise<Entry[]> {
  const bytes = await readPart(file, offset, size + 5);
  const isWhole = bytes.readUInt32LE(size + 1) === storedSum(bytes, 0, size + 1);
  const entries = isWhole || !mustBeWhole ? entriesOf(bytes, { offset: 0, size }) : undefined;
  if (entries === undefined) throw new DamagedValue("a table of the database is damaged");
  return entries;
}

async function readPart(file: ReadFile, at: number, length: number): Promise<Buffer> {
  if (!(at >= 0 && at + length <= file.size)) throw new DamagedValue("a table of the database ends early");
  const bytes = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const read = await file.read(bytes, filled, length, at + filled);
    if (read === 0) throw new DamagedValue("a table of the database ends early");
    filled += read;
  }
  return bytes;
}
