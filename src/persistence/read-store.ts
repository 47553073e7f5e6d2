/** Opening a store to look at it, without changing anything in its folder. */
import { brokerError } from "../errors.js";
import type { LockHolder } from "../platform/lock-file.js";
import { History } from "./history.js";
import { loadStore } from "./load-store.js";
import type { LoadedStore } from "./load-store.js";
import { deepestText } from "./open-database.js";
import type { RecoveredState } from "./operations.js";
import type { StoreSettings } from "./options.js";
import { LogReplayer, recoveredState } from "./recover.js";
import { Retention } from "./retention.js";
import { WalReader } from "./wal/reader.js";
import { findLog, missingOf, scanLog } from "./wal/recovery.js";
import type { LogScan, ScanLogOptions } from "./wal/recovery.js";

/** A store as it was found, readable until `close`. */
export interface ReadableStore {
  readonly loaded: LoadedStore;
  readonly scan: LogScan;
  readonly history: History;
  readonly retention: Retention;
  readonly recovered: RecoveredState;
  /** Each damage that was found so far, in a line for people; more come while blocks are read. */
  readonly problems: string[];
  close(): Promise<void>;
}

const attempts = 5;
const chunkBytes = 256 * 1024;

/**
 * Reads a store that nobody has open; or, given its holder, one that is being written: then what is read is the store as
 * it was at one moment, between two checkpoints.
 *
 * Rejects with `ERR_WRONG_KEY`, `ERR_STORE_FAILED` (a newer version's store; one whose files change faster than they
 * can be read).
 */
export async function readStore(settings: StoreSettings, holder: LockHolder | undefined): Promise<ReadableStore> {
  for (let attempt = 1; ; attempt++) {
    const before = await fingerprint(settings);
    const isLast = attempt === attempts;
    let store: ReadableStore | undefined;
    let problem: unknown;
    try {
      store = await readOnce(settings);
    } catch (error) {
      problem = error;
    }
    const isStill = holder === undefined || (await fingerprint(settings)) === before;
    if (isStill && store !== undefined) return store;
    await store?.close();
    if (isStill) throw problem;
    if (!isLast) continue;
    const text = `The files of the store in ${settings.path} change while they are read; try again, or look at a backup`;
    throw brokerError("ERR_STORE_FAILED", text, { path: settings.path }, problem);
  }
}

/** What a checkpoint changes: the database's files, and which segments there are. */
async function fingerprint({ path, machine }: StoreSettings): Promise<string> {
  const { fileSystem } = machine;
  const names = (folder: string): Promise<string[]> => fileSystem.list(`${path}/${folder}`).catch((): string[] => []);
  const found: string[] = (await names("wal")).filter((name) => name.endsWith(".wal"));
  for (const name of await names("level")) {
    if (isOwnNotes(name)) continue;
    found.push(`${name} ${(await fileSystem.stat(`${path}/level/${name}`))?.size ?? "gone"}`);
  }
  return found.join("\n");
}

/** LevelDB's lock and its journal for people. */
function isOwnNotes(name: string): boolean {
  return name === "LOCK" || name === "LOG" || name === "LOG.old";
}

async function readOnce(given: StoreSettings): Promise<ReadableStore> {
  const { machine, path } = given;
  const { fileSystem, folders } = machine;
  const copy = await folders.makeTemporary("inproc-broker-inspect-");
  let loaded: LoadedStore | undefined;
  try {
    await fileSystem.makeDirectory(`${copy}/level`);
    for (const name of await fileSystem.list(`${path}/level`).catch((): string[] => [])) {
      // Not a second name: LevelDB writes when it opens, and removes what it finds.
      if (!isOwnNotes(name)) await folders.copy(`${path}/level/${name}`, `${copy}/level/${name}`);
    }
    const store = await loadStore({ ...given, path: copy, shownPath: path, recovery: "quarantine" }, false);
    loaded = store;
    return await readLog(given, store, async () => {
      await store.opened.database.close();
      await folders.removeTree(copy);
    });
  } catch (error) {
    await loaded?.opened.database.close().catch(() => undefined);
    await folders.removeTree(copy);
    throw error;
  }
}

async function readLog(
  settings: StoreSettings,
  loaded: LoadedStore,
  close: () => Promise<void>,
): Promise<ReadableStore> {
  const { machine, path, clock, cacheBytes } = settings;
  const { opened, state, sealer, payloads, keys, values, damaged, discrepancies } = loaded;
  const { fileSystem, crc32 } = machine;
  const problems: string[] = [];
  const hasLostDurables =
    opened.about === undefined || [...damaged, ...discrepancies].some(({ what }) => what === "durable");
  const replayer = new LogReplayer(state, hasLostDurables);
  const directory = `${path}/wal`;
  const scanOptions: ScanLogOptions = {
    fileSystem,
    directory,
    crc32,
    policy: "quarantine",
    checkpointLsn: opened.about?.lsn,
    chunkBytes,
    onRecords: (records) => replayer.take(records),
    cipher: keys,
  };
  const found = await findLog(scanOptions);
  const missing = await missingOf(scanOptions, found);
  if (missing !== undefined) problems.push(missing);
  const scan = await scanLog(scanOptions, found);
  const isLost = opened.about === undefined && (replayer.checkpointSeq > 0 || (scan.segments[0]?.firstLsn ?? 1) > 1);
  if (opened.finding === "broken") problems.push(`the database cannot be read: ${deepestText(opened.cause)}`);
  else if (isLost) problems.push("the database is missing");
  if (isLost) problems.push(`messages that were in the database are lost, up to number ${replayer.checkpointSeq}`);
  for (const { what, key } of damaged) problems.push(`a value of the database (${what}, key ${key}) is damaged`);
  for (const { what, expected, found } of discrepancies) {
    problems.push(
      expected === found
        ? `the database holds an old or a foreign value among its ${found} of the kind "${what}"`
        : `the database holds ${found} values of the kind "${what}", and should hold ${expected}`,
    );
  }
  for (const { file, offset, reason, fromLsn, toLsn } of scan.damage) {
    const lost = toLsn < fromLsn ? "no record is missing" : `records ${fromLsn} to ${toLsn} cannot be read`;
    problems.push(`${file} is damaged at byte ${offset} (${reason}): ${lost}`);
  }
  if (scan.cut !== undefined && scan.cut.reason !== "torn") {
    const { file, offset, bytes } = scan.cut;
    problems.push(`${file} ends with ${bytes} bytes that are no record, from byte ${offset}: a lost write, or damage`);
  }
  if (settings.retention !== "stored") state.changeRetention(settings.retention);
  const reader = new WalReader(
    {
      fileSystem,
      directory,
      crc32,
      chunkBytes,
      cipher: keys,
      known: scan.damage,
      onDamage: ({ file, offset }) => void problems.push(`${file} cannot be read at byte ${offset}`),
    },
    scan.segments,
    () => scan.lastLsn,
  );
  const history = new History({
    state,
    database: () => opened.database,
    sealer,
    payloads,
    log: { readThese: (lsns) => reader.readThese(lsns), syncedLsn: scan.lastLsn },
    cacheBytes,
    onDamage: ({ topic, firstSeq, lastSeq }) =>
      problems.push(`a block of ${topic.name}, messages ${firstSeq} to ${lastSeq}, cannot be read`),
  });
  return {
    loaded,
    scan,
    history,
    retention: new Retention(
      state,
      () => clock.now(),
      () => Infinity,
      settings.onExpired !== undefined,
    ),
    recovered: recoveredState(state, values, payloads),
    problems,
    close,
  };
}
