/** Opening the parts of a store, and joining what they know. */
import { brokerError } from "../errors.js";
import type { About } from "./about.js";
import { Checkpointer } from "./checkpoint.js";
import type { PayloadCodec } from "./codec.js";
import { ExpirySweep } from "./expiry-sweep.js";
import { History } from "./history.js";
import { loadStore } from "./load-store.js";
import type { LoadedStore } from "./load-store.js";
import { aboutKeys } from "./open-database.js";
import type { RecoveredState } from "./operations.js";
import type { StoreSettings } from "./options.js";
import { LogReplayer, recoveredState } from "./recover.js";
import type { StoreReport } from "./reports.js";
import { operationsOf, retentionEntry } from "./entry-mapping.js";
import { Retention } from "./retention.js";
import { isSameRetention } from "./retention-settings.js";
import { Slices } from "./slices.js";
import type { StoreState } from "./state.js";
import type { KeyValueStore } from "./store/level-store.js";
import type { MessageFacts, WalEntry } from "./wal/entries.js";
import { openWal } from "./wal/open.js";
import type { DamageInUse, Wal } from "./wal/open.js";

/** A store that is open, in its parts. */
export interface EngineParts {
  readonly settings: StoreSettings;
  readonly state: StoreState;
  readonly payloads: PayloadCodec;
  readonly history: History;
  readonly retention: Retention;
  readonly sweep: ExpirySweep;
  readonly checkpointer: Checkpointer;
  readonly wal: Wal;
  readonly hands: EngineHands;
  readonly recovered: RecoveredState;
  readonly report: StoreReport;
  /** The database was lost, and has to be told of what the log knows. */
  readonly isRebuilt: boolean;
}

/** A record that is in the log's buffer and not in the log. */
interface Unwritten {
  readonly lsn: number;
  /** Null: a message by itself, of which memory needs no more than these. */
  readonly entry: WalEntry | null;
  readonly seq: number;
  readonly topic: string;
  readonly expiresAt: number | undefined;
  /** What the record takes in the log. */
  readonly bytes: number;
  readonly needsSync: boolean;
}

function unwrittenOf(
  lsn: number,
  entry: WalEntry | null,
  seq: number,
  topic: string,
  expiresAt: number | undefined,
  bytes: number,
  needsSync: boolean,
): Unwritten {
  return { lsn, entry, seq, topic, expiresAt, bytes, needsSync };
}

/** What opening LevelDB takes, beyond its journal. */
const reopenBytes = 64 * 1024;

/** What the log calls back into, and what can be exchanged under the engine: made before the engine is. */
export class EngineHands {
  readonly #state: StoreState;
  database: KeyValueStore;
  /** In the log's buffer, in order. */
  readonly #unwritten: Unwritten[] = [];
  /** Kept, and never read: V8 throws away the code for a shape of which there is no object left at a full collection. */
  readonly shape: Unwritten = unwrittenOf(0, null, 0, "", undefined, 0, false);
  onApplied: () => void = () => undefined;
  /** A write failed, and the database was not opened again since. */
  needsReopening = false;

  constructor(state: StoreState, database: KeyValueStore) {
    this.#state = state;
    this.database = database;
  }

  /** An entry is in the log's buffer, as the record `lsn`. */
  willWrite(lsn: number, entry: WalEntry, bytes: number, needsSync: boolean): void {
    this.#unwritten.push(unwrittenOf(lsn, entry, 0, "", undefined, bytes, needsSync));
  }

  /** The same of a message by itself that is neither delayed nor retained, and has no dedup id. */
  willWriteMessage(lsn: number, { seq, topic, expiresAt }: MessageFacts, bytes: number, needsSync: boolean): void {
    this.#unwritten.push(unwrittenOf(lsn, null, seq, topic, expiresAt, bytes, needsSync));
  }

  /** What the log's buffer has about a durable: what it has settled, and from where on it was made anew. */
  unwrittenOf(durable: string): { readonly settled: ReadonlySet<number>; readonly position: number } {
    const settled = new Set<number>();
    let position = 0;
    for (const { entry } of this.#unwritten) {
      for (const operation of entry === null ? [] : operationsOf(entry)) {
        if (operation.type === "settle" && operation.durable === durable && operation.outcome !== "attempt") {
          settled.add(operation.seq);
        } else if (operation.type === "subscription" && operation.name === durable && operation.change === "created") {
          position = operation.position;
        }
      }
    }
    return { settled, position };
  }

  /** Everything through `lsn` is in the log, but for what a full disk refused. */
  onWritten(lsn: number, wasDropped: (lsn: number) => boolean): void {
    const unwritten = this.#unwritten;
    let count = 0;
    for (; count < unwritten.length; count++) {
      const record = unwritten[count] as Unwritten;
      if (record.lsn > lsn) break;
      const { entry, seq, topic, expiresAt, bytes, needsSync } = record;
      if (wasDropped(record.lsn)) continue;
      if (entry === null) this.#state.applyMessage(record.lsn, seq, topic, expiresAt, bytes, needsSync);
      else this.#state.apply(record.lsn, entry, bytes, needsSync);
    }
    unwritten.splice(0, count);
    // Also what changes nothing: a checkpoint's own record, and what a full disk refused.
    this.#state.appliedLsn = lsn;
    this.onApplied();
  }

  /** Whether there is anything that a checkpoint would write. */
  hasNews({ lsn }: About): boolean {
    return this.#state.changedLsn > lsn;
  }

  /**
   * After a failed write LevelDB takes no more until it is opened again; it can still be read. Opening needs room for what
   * its journal has: until that is there, the database stays open as it is, and this is false.
   */
  async reopenDatabase({ path, machine }: StoreSettings): Promise<boolean> {
    if (this.database.isUntouched === true) return true;
    this.needsReopening = true;
    const { fileSystem } = machine;
    const level = `${path}/level`;
    let needed = 0;
    for (const name of await fileSystem.list(level).catch((): string[] => [])) {
      if (name.endsWith(".log")) needed += ((await fileSystem.stat(`${level}/${name}`))?.size ?? 0) + reopenBytes;
    }
    if ((await fileSystem.freeBytes(path)) < needed) return false;
    await this.database.close().catch(() => undefined);
    this.database = await machine.openDatabase(level);
    this.needsReopening = false;
    return true;
  }
}

/** Opens database and log. Rejects as `StoreEngine.open` does; nothing is open then. */
export async function openParts(settings: StoreSettings): Promise<EngineParts> {
  const startedAt = settings.machine.elapsed();
  const loaded = await loadStore(settings, true);
  try {
    return await openLog(settings, loaded, startedAt);
  } catch (error) {
    await loaded.opened.database.close().catch(() => undefined);
    throw error;
  }
}

async function openLog(settings: StoreSettings, loaded: LoadedStore, startedAt: number): Promise<EngineParts> {
  const { clock, machine, path, recovery } = settings;
  const { opened, state, damaged, discrepancies, keys } = loaded;
  const hands = new EngineHands(state, opened.database);
  const hasLostDurables =
    opened.about === undefined || [...damaged, ...discrepancies].some(({ what }) => what === "durable");
  const replayer = new LogReplayer(state, hasLostDurables);
  const wal: Wal = await openWal({
    fileSystem: machine.fileSystem,
    directory: `${path}/wal`,
    clock,
    afterTurn: machine.afterTurn,
    random: settings.random,
    crc32: machine.crc32,
    recovery,
    checkpointLsn: opened.about?.lsn,
    segmentBytes: Math.max(64 * 1024, Math.floor(settings.walBytes / 4)),
    bufferBytes: settings.bufferBytes,
    intervalMs: settings.intervalMs,
    reserveBytes: settings.reserveBytes,
    cipher: keys,
    onRecords: (records) => replayer.take(records),
    onStateChange: settings.onStateChange,
    onWritten: (lsn) => hands.onWritten(lsn, (one) => wal.writer.wasDropped(one)),
    onDamage: (damage) => settings.onProblem({ kind: "log-damaged", message: damageText(damage) }),
  });
  try {
    return await joinParts(settings, loaded, { hands, replayer, wal, startedAt });
  } catch (error) {
    await wal.writer.close().catch(() => undefined);
    throw error;
  }
}

function damageText({ file, offset, fromLsn, toLsn, copy }: DamageInUse): string {
  const kept = copy === undefined ? "" : `; its bytes are kept in ${copy}`;
  return `${file} cannot be read at byte ${offset}: records ${fromLsn} to ${toLsn}${kept}`;
}

async function joinParts(
  settings: StoreSettings,
  loaded: LoadedStore,
  log: {
    readonly hands: EngineHands;
    readonly replayer: LogReplayer;
    readonly wal: Wal;
    readonly startedAt: number;
  },
): Promise<EngineParts> {
  const { opened, about, keys, sealer, payloads, state, values, damaged, discrepancies } = loaded;
  const { hands, replayer, wal, startedAt } = log;
  const { machine, clock } = settings;
  const warnings: string[] = [];
  const { writer, reader } = wal;
  state.appliedLsn = Math.max(state.appliedLsn, wal.report.lastLsn, about.lsn);
  const isOutOfReach = (wal.segments[0]?.firstLsn ?? 1) > 1;
  const isLost = opened.about === undefined && (replayer.checkpointSeq > 0 || isOutOfReach);
  if (isLost && isOutOfReach && settings.recovery === "fail") throw lostDatabase(settings.path, replayer.checkpointSeq);
  const finding = isLost && opened.finding === "new" ? "missing" : opened.finding;
  if (isLost) warnings.push("the database was lost: what it had beyond the log's reach is gone");
  const retention = new Retention(
    state,
    () => clock.now(),
    () => writer.syncedLsn,
    settings.onExpired !== undefined,
  );
  if (settings.retention !== "stored" && !isSameRetention(settings.retention, state.retention)) {
    state.changeRetention(settings.retention);
    writer.append(retentionEntry(settings.retention));
  }
  const history = new History({
    state,
    database: () => hands.database,
    sealer,
    payloads,
    log: {
      readThese: (lsns) => reader.readThese(lsns),
      get syncedLsn() {
        return writer.syncedLsn;
      },
    },
    cacheBytes: settings.cacheBytes,
    onDamage: ({ topic, firstSeq, lastSeq }, cause) =>
      settings.onProblem({
        kind: "block-damaged",
        message: `A block of ${topic.name}, messages ${firstSeq} to ${lastSeq}, cannot be read`,
        cause,
      }),
  });
  const breathe = (): Promise<void> => new Promise((resolve) => machine.afterTurn(resolve));
  const slices = new Slices(machine.elapsed, breathe);
  const sweep = new ExpirySweep({ state, retention, history, slices });
  const checkpointer = new Checkpointer({
    state,
    wal,
    database: () => hands.database,
    sealer,
    history,
    retention,
    crc32: machine.crc32,
    monotonic: machine.elapsed,
    breathe,
    blockBytes: settings.blockBytes,
    bufferBytes: 16 * 2 ** 20,
    about: { ...about, key: aboutKeys(keys) },
  });
  if (opened.about === undefined && !isLost) await checkpointer.writeAbout();
  const recovered = recoveredState(state, values, payloads);
  let messagesInBlocks = 0;
  for (const { facts } of state.blocks()) messagesInBlocks += facts.count;
  const report: StoreReport = {
    database: finding,
    movedTo: opened.movedTo,
    lostThroughSeq: isLost ? Math.max(replayer.checkpointSeq, 0) : undefined,
    damaged,
    discrepancies,
    log: wal.report,
    messagesInBlocks,
    messagesInLog: state.index.size,
    warnings: [...warnings, ...wal.report.warnings],
    durationMs: machine.elapsed() - startedAt,
  };
  return {
    settings,
    state,
    payloads,
    history,
    retention,
    sweep,
    checkpointer,
    wal,
    hands,
    recovered,
    report,
    isRebuilt: isLost,
  };
}

function lostDatabase(path: string, lostThroughSeq: number): Error {
  const text = `The database in ${path}/level is gone, and with it what only it had: messages through ${lostThroughSeq}, as far as they were kept. Open with recovery "quarantine" to begin a new one from what the log holds, or restore a backup`;
  return brokerError("ERR_STORE_CORRUPT", text, { path: `${path}/level`, lostThroughSeq });
}
