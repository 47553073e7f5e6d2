/** Opening the two halves of a store, and putting what they know together. */
import { brokerError, errorText } from "../errors.js";
import type { About } from "./checkpoint.js";
import { decodeAbout } from "./checkpoint.js";
import type { PayloadCodec } from "./codec.js";
import { decodeDurable } from "./durable-state.js";
import { decodeDeadLetter, decodeDedup, decodeMessage, HandedOutMessage } from "./entry-mapping.js";
import { KeyRing } from "./key-ring.js";
import type { RecoveredState } from "./operations.js";
import type { StoreSettings } from "./options.js";
import type { SideTable } from "./side-table.js";
import type { StoreState } from "./state.js";
import { Block, decodeFacts } from "./store/block.js";
import { aboutKey, blockKey, decodeFactsKey, keyKind, rangeOf } from "./store/keys.js";
import { isLevelLocked } from "./store/level-store.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import { DamagedValue } from "./store/sealer.js";
import type { Sealer } from "./store/sealer.js";
import { MalformedBytes } from "./wal/byte-reader.js";
import type { WalRecord } from "./wal/scanner.js";

/** The version of the database's format that this code writes, and the newest it reads. */
export const databaseFormat = 1;

/** What became of the database: `missing` and `broken` ones had messages once, and are begun anew. */
export type DatabaseFinding = "new" | "opened" | "missing" | "broken";

/** A value of the database that could not be read. It stays where it is, and counts as not there. */
export interface DamagedEntry {
  readonly what: "block" | "durable" | "delayed" | "dead-letter" | "dedup" | "retained";
  /** The key in hex. */
  readonly key: string;
}

export interface OpenedDatabase {
  readonly database: KeyValueStore;
  readonly about: About | undefined;
  readonly finding: DatabaseFinding;
  /** Where a broken database was moved to. */
  readonly movedTo: string | undefined;
  readonly cause: unknown;
}

/** Opens the database, or moves it aside and begins a new one. */
export async function openDatabase(settings: StoreSettings): Promise<OpenedDatabase> {
  const { path, machine, recovery } = settings;
  const levelPath = `${path}/level`;
  try {
    const database = await machine.openDatabase(levelPath);
    try {
      const about = await readAbout(database, settings);
      return { database, about, finding: about === undefined ? "new" : "opened", movedTo: undefined, cause: undefined };
    } catch (error) {
      await database.close();
      throw error;
    }
  } catch (cause) {
    if (isLevelLocked(cause)) {
      throw brokerError("ERR_STORE_LOCKED", `Another process has the database in ${levelPath} open`, { path }, cause);
    }
    if (cause instanceof Error && "code" in cause && cause.code === "ERR_STORE_FAILED") throw cause;
    if (recovery === "fail") {
      const text = `The database in ${levelPath} cannot be opened (${errorText(cause)}). Nothing was changed. Open with recovery "quarantine" to begin a new one from what the log holds, or restore a backup`;
      throw brokerError("ERR_STORE_CORRUPT", text, { path: levelPath }, cause);
    }
    const movedTo = await moveAside(settings, levelPath);
    const database = await machine.openDatabase(levelPath);
    return { database, about: undefined, finding: "broken", movedTo, cause };
  }
}

async function readAbout(database: KeyValueStore, { path, machine }: StoreSettings): Promise<About | undefined> {
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

async function moveAside({ path, machine, clock }: StoreSettings, levelPath: string): Promise<string> {
  const { fileSystem, folders } = machine;
  const quarantine = `${path}/quarantine`;
  await fileSystem.makeDirectory(quarantine);
  let movedTo = `${quarantine}/level-${clock.now()}`;
  for (let n = 1; await folders.exists(movedTo); n++) movedTo = `${quarantine}/level-${clock.now()}-${n}`;
  await folders.move(levelPath, movedTo);
  await fileSystem.syncDirectory(quarantine);
  await fileSystem.syncDirectory(path);
  return movedTo;
}

/** The keys of an encrypted store, checked against the database; undefined for a plain one. */
export async function openKeys(settings: StoreSettings, about: About | undefined): Promise<KeyRing | undefined> {
  const { keyProvider, machine, path } = settings;
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

/** Values of side tables that stand in the database, until recovery has handed them out. */
export interface LoadedValues {
  readonly delayed: Map<number, Uint8Array>;
  readonly deadLetters: Map<string, Uint8Array>;
  readonly dedup: Map<string, Uint8Array>;
  readonly retained: Map<string, Uint8Array>;
}

export interface LoadResult {
  readonly values: LoadedValues;
  readonly damaged: readonly DamagedEntry[];
}

/** Fills a new state with what the database has: all but the messages in blocks. */
export async function loadDatabase(
  database: KeyValueStore,
  sealer: Sealer,
  state: StoreState,
  about: About,
  mayWrite: boolean,
): Promise<LoadResult> {
  const values: LoadedValues = { delayed: new Map(), deadLetters: new Map(), dedup: new Map(), retained: new Map() };
  const damaged: DamagedEntry[] = [];
  const each = async (
    kind: number,
    what: DamagedEntry["what"],
    take: (key: Buffer, value: Buffer) => void,
  ): Promise<void> => {
    for await (const entries of database.entries(rangeOf(kind))) {
      for (const [key, sealed] of entries) {
        try {
          take(key, await sealer.open(key, sealed));
        } catch (error) {
          if (!(error instanceof DamagedValue || error instanceof MalformedBytes || error instanceof SyntaxError))
            throw error;
          damaged.push({ what, key: key.toString("hex") });
        }
      }
    }
  };
  state.raiseLastSeq(about.seq);
  await each(keyKind.durable, "durable", (_key, value) => {
    state.loadDurable(decodeDurable(value));
  });
  const leftovers: Change[] = [];
  const blocks = new Map<number, Block[]>();
  await each(keyKind.facts, "block", (key, value) => {
    const { generation, ordinal } = decodeFactsKey(key);
    const { topic, facts } = decodeFacts(value);
    if (generation > about.generation) {
      leftovers.push(
        { key, value: undefined },
        { key: blockKey(sealer.nameInKeys(topic), facts.firstSeq), value: undefined },
      );
      return;
    }
    const list = blocks.get(generation);
    const block = new Block(generation, ordinal, state.topics.of(topic), facts);
    if (list === undefined) blocks.set(generation, [block]);
    else list.push(block);
  });
  for (const [generation, list] of blocks) state.addBlocks(generation, list);
  if (mayWrite && leftovers.length > 0) await database.batch(leftovers);
  await each(keyKind.delayed, "delayed", (key, value) => {
    const { seq } = decodeMessage(value);
    state.delayed.load(seq, key);
    values.delayed.set(seq, value);
  });
  await each(keyKind.deadLetter, "dead-letter", (key, value) => {
    const { id } = decodeDeadLetter(value);
    state.deadLetters.load(id, key);
    values.deadLetters.set(id, value);
  });
  await each(keyKind.dedup, "dedup", (key, value) => {
    const { dedupId, at } = decodeDedup(value);
    state.dedup.load(dedupId, key, at);
    values.dedup.set(dedupId, value);
  });
  await each(keyKind.retained, "retained", (key, value) => {
    const { topic } = decodeMessage(value);
    state.retained.load(topic, key);
    values.retained.set(topic, value);
  });
  return { values, damaged };
}

/** Applies what the log has beyond the checkpoint. Tells what a lost database must have had. */
export class LogReplayer {
  readonly #state: StoreState;
  readonly #takesDurables: boolean;
  /** The highest message number of a checkpoint that the log tells of. */
  checkpointSeq = 0;
  firstLsn = Infinity;

  /** @param takesDurables whether durables are taken from checkpoint records, the database having lost them */
  constructor(state: StoreState, takesDurables: boolean) {
    this.#state = state;
    this.#takesDurables = takesDurables;
  }

  take(records: readonly WalRecord[]): void {
    for (const { lsn, entry } of records) {
      this.firstLsn = Math.min(this.firstLsn, lsn);
      this.#state.apply(lsn, entry, false);
      if (entry.type !== "checkpoint") continue;
      this.checkpointSeq = Math.max(this.checkpointSeq, entry.seq);
      this.#state.raiseLastSeq(entry.seq);
      if (this.#takesDurables) this.#state.mergeDurables(entry.data);
    }
  }
}

/** What the caller is told, made from the state and what the database had. */
export function recoveredState(state: StoreState, values: LoadedValues, payloads: PayloadCodec): RecoveredState {
  state.pruneDedup();
  const merged = <Key>(table: SideTable<Key>, loaded: ReadonlyMap<Key, Uint8Array>): Uint8Array[] => {
    const found: Uint8Array[] = [];
    for (const [key, value] of table) {
      const bytes = value ?? loaded.get(key);
      if (bytes !== undefined) found.push(bytes);
    }
    return found;
  };
  const message = (bytes: Uint8Array): HandedOutMessage => new HandedOutMessage(decodeMessage(bytes), payloads);
  return {
    lastSeq: state.lastSeq,
    durables: [...state.durables].map((durable) => durable.recovered()),
    delayed: merged(state.delayed, values.delayed)
      .map(message)
      .sort((a, b) => a.seq - b.seq),
    dedup: merged(state.dedup, values.dedup).map(decodeDedup),
    deadLetters: merged(state.deadLetters, values.deadLetters).map((bytes) => {
      const { id, facts, entry } = decodeDeadLetter(bytes);
      return { id, facts, message: new HandedOutMessage(entry, payloads) };
    }),
    retained: merged(state.retained, values.retained).map(message),
  };
}
