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
  Varints,
} from "./level-format.js";

/** Damage in a database's files, in words; undefined when there is none. Files that are not in use are not looked at. */
export async function levelDamage(
  fileSystem: FileSystem,
  folder: string,
  breathe: () => Promise<void>,
): Promise<string | undefined> {
  const names = await fileSystem.list(folder).catch((): string[] => []);
  if (!names.includes("CURRENT")) return undefined;
  const current = (await readWhole(fileSystem, `${folder}/CURRENT`)).toString("latin1");
  const manifest = current.trimEnd();
  if (!names.includes(manifest)) return `CURRENT names ${JSON.stringify(manifest)}, which is not there`;
  const live = new LiveFiles();
  const edits = recordsOf(await readWhole(fileSystem, `${folder}/${manifest}`), false);
  if (typeof edits === "string") return `${manifest}: ${edits}`;
  for (const edit of edits) if (!live.apply(edit)) return `${manifest} has an entry that makes no sense`;
  // One piece of memory for all of them, one after the other: fresh ones for each would be garbage by the hundred megabytes.
  let room = new ArrayBuffer(0);
  for (const name of names) {
    const number = Number(/^(\d+)\.(?:ldb|sst|log)$/.exec(name)?.[1] ?? NaN);
    const isLog = name.endsWith(".log");
    if (isLog ? number < live.firstLog : !live.tables.has(number)) continue;
    const bytes = await readWhole(fileSystem, `${folder}/${name}`, room).catch(() => undefined);
    if (bytes === undefined) return `${name} cannot be read`;
    if (bytes.buffer.byteLength > room.byteLength) room = bytes.buffer as ArrayBuffer;
    const problem = isLog ? logDamage(bytes) : tableDamage(bytes);
    if (problem !== undefined) return `${name}: ${problem}`;
    await breathe();
  }
  for (const number of live.tables) {
    const name = String(number).padStart(6, "0");
    if (!names.includes(`${name}.ldb`) && !names.includes(`${name}.sst`)) return `${name}.ldb is not there`;
  }
  return undefined;
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
