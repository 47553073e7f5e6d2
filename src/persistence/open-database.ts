/** Opening a store's database, or beginning a new one in place of one that is broken; and its keys. */
import { brokerError, errorText } from "../errors.js";
import type { FileSystem } from "../platform/file-system.js";
import { decodeAbout } from "./about.js";
import type { About } from "./about.js";
import { KeyRing } from "./key-ring.js";
import type { StoreSettings } from "./options.js";
import { aboutKey } from "./store/keys.js";
import { isOfMessages, LateLevel } from "./store/late-level.js";
import { checkLevel, TableCheck } from "./store/level-check.js";
import type { LevelFinding } from "./store/level-check.js";
import { levelProblem } from "./store/level-store.js";
import type { KeyValueStore } from "./store/level-store.js";
import { DamagedValue } from "./store/damaged-value.js";
import { syncFile } from "./wal/segment.js";

/** The version of the database's format that this code writes, and the newest it reads. */
export const databaseFormat = 1;

/** What became of the database: `missing` and `broken` ones had messages once, and are begun anew. */
export type DatabaseFinding = "new" | "opened" | "missing" | "broken";

export interface OpenedDatabase {
  readonly database: KeyValueStore;
  readonly about: About | undefined;
  readonly finding: DatabaseFinding;
  /** Where a broken database was moved to. */
  readonly movedTo: string | undefined;
  readonly cause: unknown;
}

/**
 * Opens the database. One that is damaged is moved aside, and a new one begun; one that cannot be opened for another
 * reason (a full or read-only disk, a permission) is left alone: `ERR_STORE_FULL`, `ERR_STORE_FAILED`.
 */
export async function openDatabase(settings: StoreSettings, mayWrite: boolean): Promise<OpenedDatabase> {
  const { path, machine, recovery, lateCheckBytes } = settings;
  const levelPath = `${path}/level`;
  if (await hasLostItsStart(settings, levelPath)) {
    return replaceDatabase(settings, new DamagedValue("the file CURRENT is missing"));
  }
  const breathe = (): Promise<void> => new Promise((resolve) => machine.afterTurn(resolve));
  const { fileSystem } = machine;
  const isNoted = (await fileSystem.stat(noteOf(path))) !== undefined;
  // Who asks for a refusal, or for a look at everything, gets it at once.
  const mayBeLate = mayWrite && recovery !== "fail" && !isNoted;
  const found = await checkLevel(fileSystem, levelPath, breathe, (tables) => {
    const waiting = mayBeLate ? tables.filter(isOfMessages) : [];
    return waiting.reduce((sum, { bytes }) => sum + bytes, 0) >= lateCheckBytes ? waiting : [];
  });
  if (found.damage !== undefined) return replaceDatabase(settings, new DamagedValue(found.damage));
  let database: KeyValueStore | undefined;
  try {
    database = found.putOff.length > 0 ? openLate(settings, found, breathe) : await machine.openDatabase(levelPath);
    const about = await readAbout(database, settings);
    if (isNoted && mayWrite) await fileSystem.remove(noteOf(path));
    return { database, about, finding: about === undefined ? "new" : "opened", movedTo: undefined, cause: undefined };
  } catch (cause) {
    await database?.close();
    const problem = cause instanceof DamagedValue ? "damaged" : levelProblem(cause);
    if (problem === "damaged") return replaceDatabase(settings, cause);
    if (problem === undefined) throw cause;
    const texts = {
      locked: ["ERR_STORE_LOCKED", `Another process has the database in ${levelPath} open`],
      full: ["ERR_STORE_FULL", `There is no room to open the database in ${levelPath}`],
      failed: ["ERR_STORE_FAILED", `The database in ${levelPath} cannot be opened (${deepestText(cause)})`],
    } as const;
    const [code, text] = texts[problem];
    throw brokerError(code, text, { path }, cause);
  }
}

/**
 * Written where LevelDB finds a database damaged that was taken for whole, and is being read without it: the next opening has it
 * open the database before anything is read, and so moves it aside.
 */
const noteOf = (path: string): string => `${path}/level-damaged`;

/** When the tables that wait are looked at, where nobody has written before, in milliseconds after opening. */
const lateCheckMs = 1000;

/** Reads the database, and hands it to LevelDB once all of it was looked at. */
function openLate(settings: StoreSettings, found: LevelFinding, breathe: () => Promise<void>): KeyValueStore {
  const { path, machine, clock, onProblem } = settings;
  const { fileSystem, folders } = machine;
  const folder = `${path}/level`;
  return new LateLevel({
    ...found,
    fileSystem,
    folder,
    breathe,
    check: new TableCheck(fileSystem, folder),
    async open() {
      try {
        return await machine.openDatabase(folder);
      } catch (error) {
        if (levelProblem(error) === "damaged") await noteDamage(fileSystem, path);
        throw error;
      }
    },
    later: (run) => clock.schedule(lateCheckMs, run),
    async setAside({ name, problem }) {
      await fileSystem.makeDirectory(`${path}/quarantine`);
      const copy = await freeName(settings, `${path}/quarantine/level-${clock.now()}-${name}`);
      await folders.copy(`${folder}/${name}`, copy);
      await syncFile(fileSystem, copy);
      await fileSystem.syncDirectory(`${path}/quarantine`);
      const message = `${name} is damaged (${problem}), and the messages in it cannot be read any more; ${copy} is a copy of it`;
      onProblem({ kind: "block-damaged", message });
    },
  });
}

async function noteDamage(fileSystem: FileSystem, path: string): Promise<void> {
  await fileSystem.remove(noteOf(path));
  await (await fileSystem.create(noteOf(path))).close();
  await fileSystem.syncDirectory(path);
}

async function freeName({ machine }: StoreSettings, name: string): Promise<string> {
  let free = name;
  for (let n = 1; await machine.folders.exists(free); n++) free = `${name}-${n}`;
  return free;
}

/** LevelDB would begin anew where its first file is gone, and remove what it finds. */
async function hasLostItsStart({ machine }: StoreSettings, levelPath: string): Promise<boolean> {
  const names = await machine.fileSystem.list(levelPath).catch((): string[] => []);
  return !names.includes("CURRENT") && names.some((name) => /^(?:MANIFEST-\d+|\d+\.(?:ldb|sst|log))$/.test(name));
}

/** Moves a database that is damaged aside, and begins a new one. Under the policy `fail`: `ERR_STORE_CORRUPT`. */
export async function replaceDatabase(settings: StoreSettings, cause: unknown): Promise<OpenedDatabase> {
  const { path, machine, recovery } = settings;
  const levelPath = `${path}/level`;
  if (recovery === "fail") {
    const text = `The database in ${levelPath} cannot be opened (${deepestText(cause)}). Nothing was changed. Open with recovery "quarantine" to begin a new one from what the log holds, or restore a backup`;
    throw brokerError("ERR_STORE_CORRUPT", text, { path: levelPath }, cause);
  }
  const movedTo = await moveAside(settings, levelPath);
  await machine.fileSystem.remove(noteOf(path));
  const database = await machine.openDatabase(levelPath);
  return { database, about: undefined, finding: "broken", movedTo, cause };
}

/** What LevelDB itself says, under what was wrapped around it. */
export function deepestText(error: unknown): string {
  return error instanceof Error && error.cause !== undefined ? deepestText(error.cause) : errorText(error);
}

async function readAbout(
  database: KeyValueStore,
  { shownPath: path, machine }: StoreSettings,
): Promise<About | undefined> {
  const value = await database.get(aboutKey);
  if (value === undefined) {
    for await (const entries of database.entries({ gte: Buffer.from([0]), lt: Buffer.from([255]) })) {
      if (entries.length > 0) throw new DamagedValue("the database has lost its first entry");
    }
    return undefined;
  }
  const about = decodeAbout(value, machine.crc32);
  if (about === undefined) throw new DamagedValue("the database's first entry is damaged");
  if (about.format > databaseFormat) {
    throw brokerError(
      "ERR_STORE_FAILED",
      `The store in ${path} has format version ${about.format}; this version of inproc-broker reads up to ${databaseFormat}. Open it with the version that wrote it, or a later one`,
      { path, formatVersion: about.format, supportedVersion: databaseFormat },
    );
  }
  return about;
}

async function moveAside(settings: StoreSettings, levelPath: string): Promise<string> {
  const { path, machine, clock } = settings;
  const { fileSystem, folders } = machine;
  const quarantine = `${path}/quarantine`;
  await fileSystem.makeDirectory(quarantine);
  const movedTo = await freeName(settings, `${quarantine}/level-${clock.now()}`);
  await folders.move(levelPath, movedTo);
  await fileSystem.syncDirectory(quarantine);
  await fileSystem.syncDirectory(path);
  return movedTo;
}

/** The keys of an encrypted store, checked against the database; undefined for a plain one. */
export async function openKeys(settings: StoreSettings, about: About | undefined): Promise<KeyRing | undefined> {
  const { keyProvider, machine, shownPath: path } = settings;
  if (keyProvider === undefined) {
    if (about?.key === undefined) return undefined;
    const text = `The store in ${path} is encrypted with key ${about.key.id}, and no encryption.keyProvider was given`;
    throw brokerError("ERR_WRONG_KEY", text, { path, keyId: about.key.id });
  }
  if (about !== undefined && about.key === undefined) {
    const text = `The store in ${path} is not encrypted, and does not become so: write its messages into a new one`;
    throw brokerError("ERR_INVALID_OPTION", text, { option: "encryption", path });
  }
  const keys = await KeyRing.open(machine.cipher, keyProvider);
  if (about?.key === undefined) {
    keys.useNameSecret(keys.newNameSecret());
    return keys;
  }
  const { id, check, names } = about.key;
  await keys.prepare(id, Buffer.from(check, "hex"), "the database");
  const opened = await keys.openValue(id, aboutKey, Buffer.from(names, "hex"));
  if (opened === undefined) {
    throw brokerError("ERR_STORE_CORRUPT", "The database's secret for names is damaged", { path });
  }
  keys.useNameSecret(opened);
  return keys;
}

/** What the database says about keys from now on: under the current key. */
export function aboutKeys(keys: KeyRing | undefined): About["key"] {
  if (keys === undefined) return undefined;
  const secret = keys.nameSecret;
  const bytes = Buffer.alloc(keys.sealBytes + secret.length);
  bytes.set(secret, keys.sealBytes);
  keys.sealValue(aboutKey, bytes, 0, bytes.length);
  const check = Buffer.from(keys.keyCheck).toString("hex");
  return { id: keys.keyId, check, names: bytes.toString("hex") };
}
