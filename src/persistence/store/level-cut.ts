/** Taking a damaged table out of a LevelDB database that nobody has open, so that the others stay. */
import type { FileSystem } from "../../platform/file-system.js";
import { writeAll } from "../wal/segment.js";
import { readManifest } from "./level-check.js";
import { logOf } from "./level-format.js";
import type { LiveTable } from "./level-format.js";

/**
 * Writes a manifest without these tables, and puts it in the place of the one in use. The tables' files stay; LevelDB removes
 * them when it is opened. Durable when it resolves; before, the old manifest is in force.
 */
export async function cutTables(fileSystem: FileSystem, folder: string, tables: readonly LiveTable[]): Promise<void> {
  const names = await fileSystem.list(folder);
  const found = await readManifest(fileSystem, folder, names);
  if (typeof found === "string") throw new Error(found);
  const { live, edits } = found;
  const highest = names.reduce((high, name) => Math.max(high, Number(/\d+/.exec(name)?.[0] ?? 0)), live.nextFile);
  const edit: number[] = [];
  for (const { level, number } of tables) edit.push(...varint(6), ...varint(level), ...varint(number));
  edit.push(...varint(3), ...varint(highest + 2));
  const manifest = `MANIFEST-${String(highest + 1).padStart(6, "0")}`;
  await writeFile(fileSystem, `${folder}/${manifest}`, logOf([...edits, Buffer.from(edit)]));
  const temporary = `${folder}/${String(highest + 1).padStart(6, "0")}.dbtmp`;
  await writeFile(fileSystem, temporary, Buffer.from(`${manifest}\n`));
  await fileSystem.syncDirectory(folder);
  await fileSystem.rename(temporary, `${folder}/CURRENT`);
  await fileSystem.syncDirectory(folder);
}

async function writeFile(fileSystem: FileSystem, path: string, bytes: Buffer): Promise<void> {
  await fileSystem.remove(path);
  const file = await fileSystem.create(path);
  try {
    await writeAll(file, bytes, 0, bytes.length);
    await file.datasync();
  } finally {
    await file.close();
  }
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return bytes;
}
