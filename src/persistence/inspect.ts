import { brokerError, errorText } from "../errors.js";
import { PayloadCodec } from "./codec.js";
import { databaseFormat, loadDatabase, LogReplayer, openDatabase, openKeys, recoveredState } from "./recover.js";
import type { DamagedEntry } from "./recover.js";
import { History } from "./history.js";
import type { RecoveredState, StoredMessage } from "./operations.js";
import { resolveOptions } from "./options.js";
import type { StoreOptions, StoreSettings } from "./options.js";
import { replay } from "./replay.js";
import type { ReplayOptions } from "./replay.js";
import { Retention } from "./retention.js";
import { StoreState } from "./state.js";
import type { KeyValueStore } from "./store/level-store.js";
import { Sealer } from "./store/sealer.js";
import { WalReader } from "./wal/reader.js";
import { scanLog } from "./wal/recovery.js";
import type { LogScan } from "./wal/recovery.js";

/** A topic in a store that is looked at. */
export interface TopicSummary {
  readonly topic: string;
  readonly messages: number;
}

/** What a look at every byte of a store found. */
export interface VerifyReport {
  /** False when anything is damaged, beyond a write that was cut short at the log's end. */
  readonly isSound: boolean;
  readonly messages: number;
  readonly blocks: number;
  readonly records: number;
  /** Each damage in a line for people. */
  readonly problems: readonly string[];
}

/**
 * A store that is looked at and not touched: closed, broken, or on a disk that cannot be written. It reads a copy of
 * the database's files (LevelDB writes when it opens), and the log where it is.
 *
 * Open until `close`; a store that a process has open is refused with `ERR_STORE_LOCKED`, as far as the lock tells.
 */
export class StoreInspector {
  readonly #settings: StoreSettings;
  readonly #store: StoreState;
  readonly #history: History;
  readonly #retention: Retention;
  readonly #database: KeyValueStore;
  readonly #copy: string;
  readonly #scan: LogScan;
  readonly #damaged: readonly DamagedEntry[];
  readonly #problems: string[];
  /** Durables, delayed messages, dead letters and what else a broker would be told at opening. */
  readonly recovered: RecoveredState;

  private constructor(parts: {
    settings: StoreSettings;
    state: StoreState;
    history: History;
    retention: Retention;
    database: KeyValueStore;
    copy: string;
    scan: LogScan;
    damaged: readonly DamagedEntry[];
    problems: string[];
    recovered: RecoveredState;
  }) {
    this.#settings = parts.settings;
    this.#store = parts.state;
    this.#history = parts.history;
    this.#retention = parts.retention;
    this.#database = parts.database;
    this.#copy = parts.copy;
    this.#scan = parts.scan;
    this.#damaged = parts.damaged;
    this.#problems = parts.problems;
    this.recovered = parts.recovered;
  }

  /**
   * Opens a store's folder to look at it. Takes the options the store is written with, of which only codec, compression,
   * encryption and retention matter.
   *
   * Throws `ERR_STORE_LOCKED`, `ERR_WRONG_KEY`, `ERR_STORE_FAILED` (a newer version's store, or no store at all).
   */
  static async open(options: StoreOptions): Promise<StoreInspector> {
    const given = resolveOptions(options);
    const { machine, path, clock } = given;
    const { fileSystem, folders } = machine;
    if (!(await folders.exists(`${path}/wal`)) && !(await folders.exists(`${path}/level`))) {
      throw brokerError("ERR_STORE_FAILED", `There is no store in ${path}`, { path });
    }
    const holder = await folders.lockHolder(`${path}/lock`);
    if (holder !== undefined) {
      const { pid, host } = holder;
      const text = `The store in ${path} is open in process ${pid} on ${host}; close it there, or look at a backup`;
      throw brokerError("ERR_STORE_LOCKED", text, { path, pid, host });
    }
    const copy = await folders.makeTemporary("inproc-broker-inspect-");
    let database: KeyValueStore | undefined;
    try {
      await fileSystem.makeDirectory(`${copy}/level`);
      for (const name of await fileSystem.list(`${path}/level`).catch(() => [])) {
        // Not a second name: LevelDB may write to what it finds.
        if (name !== "LOCK") await folders.copy(`${path}/level/${name}`, `${copy}/level/${name}`);
      }
      const settings: StoreSettings = { ...given, path: copy, recovery: "quarantine" };
      const opened = await openDatabase(settings);
      database = opened.database;
      const problems: string[] = [];
      if (opened.finding === "broken") problems.push(`the database cannot be opened: ${errorText(opened.cause)}`);
      const keys = await openKeys(settings, opened.about);
      const sealer = new Sealer(settings.compressor, { crc32: machine.crc32, keys, gzip: machine.gzip });
      const payloads = new PayloadCodec(settings.codec, machine.structuredData);
      const now = (): number => clock.now();
      const { dedupWindowMs, dedupMaxEntries } = settings;
      const isWorkQueue = settings.retention.policy === "work-queue";
      const nameInKeys = (name: string): Uint8Array => sealer.nameInKeys(name);
      const state = new StoreState({ dedupWindowMs, dedupMaxEntries, isWorkQueue, now, nameInKeys });
      const about = opened.about ?? { format: databaseFormat, lsn: 0, seq: 0, generation: 0 };
      const { values, damaged } = await loadDatabase(database, sealer, state, about, false);
      const replayer = new LogReplayer(state, opened.about === undefined);
      const directory = `${path}/wal`;
      const chunkBytes = 256 * 1024;
      const scan = await scanLog({
        fileSystem,
        directory,
        crc32: machine.crc32,
        policy: "quarantine",
        checkpointLsn: opened.about?.lsn,
        chunkBytes,
        onRecords: (records) => replayer.take(records),
        cipher: keys,
      });
      const readerOptions = {
        fileSystem,
        directory,
        crc32: machine.crc32,
        chunkBytes,
        cipher: keys,
        onDamage: () => undefined,
      };
      const reader = new WalReader(readerOptions, scan.segments, () => scan.lastLsn);
      const openedDatabase = database;
      const history = new History({
        state,
        database: () => openedDatabase,
        sealer,
        payloads,
        log: { readThese: (lsns) => reader.readThese(lsns), syncedLsn: scan.lastLsn },
        cacheBytes: settings.cacheBytes,
        onDamage: ({ topic, firstSeq, lastSeq }) =>
          problems.push(`a block of ${topic.name}, messages ${firstSeq} to ${lastSeq}, cannot be read`),
      });
      const recovered = recoveredState(state, values, payloads);
      const retention = new Retention(settings.retention, now, state);
      return new StoreInspector({
        settings,
        state,
        history,
        retention,
        database,
        copy,
        scan,
        damaged,
        problems,
        recovered,
      });
    } catch (error) {
      await database?.close().catch(() => undefined);
      await folders.removeTree(copy);
      throw error;
    }
  }

  /** Topics with messages, by name. */
  topics(): TopicSummary[] {
    const counts = new Map<string, number>();
    const count = (topic: string, messages: number): void =>
      void counts.set(topic, (counts.get(topic) ?? 0) + messages);
    for (const { topic, facts } of this.#store.blocks()) count(topic.name, facts.count);
    this.#store.index.scan(0, (_seq, _lsn, topic) => {
      count(topic.name, 1);
      return true;
    });
    return [...counts].map(([topic, messages]) => ({ topic, messages })).sort((a, b) => (a.topic < b.topic ? -1 : 1));
  }

  /** History, as `StoreEngine.replay`. */
  async *messages(
    patterns: readonly string[],
    options: ReplayOptions = {},
  ): AsyncGenerator<StoredMessage, void, undefined> {
    const parts = { state: this.#store, history: this.#history, retention: this.#retention };
    for await (const page of replay(parts, patterns, options)) yield* page;
  }

  /** The first messages of a topic or pattern. */
  async peek(pattern: string, limit: number): Promise<StoredMessage[]> {
    const found: StoredMessage[] = [];
    for await (const message of this.messages([pattern], { limit })) found.push(message);
    return found;
  }

  /** Every message of the patterns as a line of JSON; payloads that are no JSON are in base64, under `bytes`. */
  async *exportLines(
    patterns: readonly string[],
    options: ReplayOptions = {},
  ): AsyncGenerator<string, void, undefined> {
    for await (const message of this.messages(patterns, options)) {
      const { seq, timestamp, topic, id, key, headers, priority, expiresAt, replyTo, correlationId } = message;
      const fields = { seq, timestamp, topic, id, key, headers, priority, expiresAt, replyTo, correlationId };
      const isJson = message.codec === 1;
      const payload = isJson ? { data: message.data } : { codec: message.codec, bytes: base64(message.payload) };
      yield `${JSON.stringify({ ...fields, ...payload })}\n`;
    }
  }

  /** Reads everything there is, and tells what is damaged. */
  async verify(): Promise<VerifyReport> {
    let messages = 0;
    let blocks = 0;
    for (const block of [...this.#store.blocks()]) {
      blocks++;
      messages += (await this.#history.entries(block))?.length ?? 0;
    }
    const problems = [
      ...this.#problems,
      ...this.#damaged.map(({ what, key }) => `a value of the database (${what}, key ${key}) is damaged`),
      ...this.#scan.damage.map(
        ({ file, offset, reason, fromLsn, toLsn }) =>
          `${file} is damaged at byte ${offset} (${reason}): records ${fromLsn} to ${toLsn} cannot be read`,
      ),
    ];
    const { records } = this.#scan;
    return { isSound: problems.length === 0, messages: messages + this.#store.index.size, blocks, records, problems };
  }

  async close(): Promise<void> {
    await this.#database.close();
    await this.#settings.machine.folders.removeTree(this.#copy);
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
