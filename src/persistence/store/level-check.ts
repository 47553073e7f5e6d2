/**
 * The checksums in LevelDB's files. LevelDB itself does not look at most of them: a flipped bit in a table makes it lose
 * keys without a word, or ends the process in an assertion. So they are looked at before LevelDB sees the files. What LevelDB
 * can carry is let through: the values have checksums of the store's own, and the ledger tells which keys are missing.
 */
import type { FileSystem } from "../../platform/file-system.js";
import {
  compareKeys,
  entriesOf,
  footerBytes,
  isBlock,
  LiveFiles,
  magic,
  readWhole,
  recordsOf,
  tableName,
  Varints,
} from "./level-format.js";
import type { LiveTable } from "./level-format.js";

/** A database's files, as far as they were looked at. */
export interface LevelFinding {
  /** In words; undefined when there is none. */
  readonly damage: string | undefined;
  /** Tables that were not looked at. */
  readonly putOff: readonly LiveTable[];
  readonly tables: readonly LiveTable[];
  /** What the journals in use hold, oldest first. */
  readonly journals: readonly Buffer[];
}

/** Damage in a database's files, in words; undefined when there is none. Files that are not in use are not looked at. */
export async function levelDamage(
  fileSystem: FileSystem,
  folder: string,
  breathe: () => Promise<void>,
): Promise<string | undefined> {
  return (await checkLevel(fileSystem, folder, breathe, () => [])).damage;
}

/**
 * Looks at a database's files.
 *
 * @param mayWait which tables are not looked at
 */
export async function checkLevel(
  fileSystem: FileSystem,
  folder: string,
  breathe: () => Promise<void>,
  mayWait: (tables: readonly LiveTable[]) => readonly LiveTable[],
): Promise<LevelFinding> {
  const journals: Buffer[] = [];
  const finding = (
    damage?: string,
    tables: readonly LiveTable[] = [],
    putOff: readonly LiveTable[] = [],
  ): LevelFinding => ({
    damage,
    putOff,
    tables,
    journals,
  });
  const names = await fileSystem.list(folder).catch((): string[] => []);
  if (!names.includes("CURRENT")) return finding();
  const found = await readManifest(fileSystem, folder, names);
  if (typeof found === "string") return finding(found);
  const { live } = found;
  const tables = [...live.tables.values()];
  const putOff = new Set(mayWait(tables).filter(({ number }) => names.includes(tableName(number))));
  const check = new TableCheck(fileSystem, folder);
  for (const name of names) {
    const number = Number(/^(\d+)\.(?:ldb|sst|log)$/.exec(name)?.[1] ?? NaN);
    const isLog = name.endsWith(".log");
    const table = live.tables.get(number);
    if (isLog ? number < live.firstLog : table === undefined || putOff.has(table)) continue;
    let problem: string | undefined;
    if (isLog) {
      const bytes = await readWhole(fileSystem, `${folder}/${name}`).catch(() => undefined);
      if (bytes === undefined) return finding(`${name} cannot be read`);
      problem = logDamage(bytes);
      journals.push(bytes);
    } else problem = await check.damageIn(name);
    if (problem !== undefined) return finding(`${name}: ${problem}`);
    await breathe();
  }
  for (const number of live.tables.keys()) {
    const name = tableName(number);
    if (!names.includes(name) && !names.includes(name.replace(".ldb", ".sst"))) return finding(`${name} is not there`);
  }
  return finding(undefined, tables, [...putOff]);
}

/** What the manifest tells, or what is wrong with it. */
export async function readManifest(
  fileSystem: FileSystem,
  folder: string,
  names: readonly string[],
): Promise<{ readonly live: LiveFiles; readonly edits: readonly Buffer[] } | string> {
  const current = (await readWhole(fileSystem, `${folder}/CURRENT`)).toString("latin1");
  if (!current.endsWith("\n")) return "CURRENT does not end with its line";
  const manifest = current.slice(0, -1);
  if (!names.includes(manifest)) return `CURRENT names ${JSON.stringify(manifest)}, which is not there`;
  const live = new LiveFiles();
  const edits = recordsOf(await readWhole(fileSystem, `${folder}/${manifest}`), false);
  if (typeof edits === "string") return `${manifest}: ${edits}`;
  for (const edit of edits) if (!live.apply(edit)) return `${manifest} has an entry that makes no sense`;
  return { live, edits };
}

/** Looks at tables, one after the other. */
export class TableCheck {
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  /** For all of them: fresh memory for each would be garbage by the hundred megabytes. */
  #room = new ArrayBuffer(0);

  constructor(fileSystem: FileSystem, folder: string) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
  }

  /** In words; undefined when there is none. */
  async damageIn(name: string): Promise<string | undefined> {
    const bytes = await readWhole(this.#fileSystem, `${this.#folder}/${name}`, this.#room).catch(() => undefined);
    if (bytes === undefined) return "it cannot be read";
    if (bytes.buffer.byteLength > this.#room.byteLength) this.#room = bytes.buffer as ArrayBuffer;
    return tableDamage(bytes);
  }
}

/** LevelDB passes over a write that was cut short at the end, and so does this. */
function logDamage(bytes: Buffer): string | undefined {
  const records = recordsOf(bytes, true);
  return typeof records === "string" ? records : undefined;
}

function tableDamage(bytes: Buffer): string | undefined {
  const footerAt = bytes.length - footerBytes;
  if (footerAt < 0 || !bytes.subarray(-magic.length).equals(magic)) return "it does not end as a table does";
  const footer = new Varints(bytes, footerAt, bytes.length);
  const handles = [footer.handle(), footer.handle()];
  const [, index] = handles;
  if (index === undefined) return "the footer is damaged";
  for (const handle of handles) if (!isBlock(bytes, handle)) return "the index is damaged";
  const blocks = entriesOf(bytes, index);
  if (blocks === undefined) return "the index is damaged";
  let before: Buffer | undefined;
  for (const { key: through, value } of blocks) {
    const handle = new Varints(value, 0, value.length).handle();
    if (isBlock(bytes, handle)) {
      before = through;
      continue;
    }
    // A value that is damaged is found by the checksum that the store gave it; LevelDB only carries it.
    const entries =
      handle === undefined || handle.offset + handle.size > footerAt ? undefined : entriesOf(bytes, handle);
    if (handle === undefined || entries === undefined) return "a block is damaged";
    for (const { key } of [...entries, { key: through }]) {
      const isInOrder = before === undefined || compareKeys(before, key) < 0 || (key === through && before.equals(key));
      if (!isInOrder) return `the keys in the block at byte ${handle.offset} are damaged`;
      before = key;
    }
  }
  return undefined;
}
