import { brokerError } from "../errors.js";
import type { LockHolder } from "../platform/lock-file.js";
import type { Progress } from "../platform/progress.js";
import { backlogOf } from "./backlog.js";
import { exportLines } from "./export-lines.js";
import type { ExportSelection } from "./export-lines.js";
import { indexFlag } from "./log-index.js";
import type { RecoveredDurable, RecoveredState, StoredMessage } from "./operations.js";
import { optionsAsFound, resolveOptions } from "./options.js";
import type { StoreOptions, StoreSettings } from "./options.js";
import { readStore } from "./read-store.js";
import type { ReadableStore } from "./read-store.js";
import { replay } from "./replay.js";
import type { ReplayOptions } from "./replay.js";
import { retentionToStore } from "./retention-settings.js";
import type { StoredRetention } from "./retention-settings.js";

/**
 * How to look at a store: what it is written with, of which codec, compression and encryption matter; and `retention` and
 * `clock`, which tell what still counts as kept.
 */
export interface InspectOptions extends StoreOptions {
  /** What to do where a process has the store open: refuse (`ERR_STORE_LOCKED`), or read it as it is at this moment. @default "refuse" */
  readonly inUse?: "refuse" | "read" | undefined;
}

/** A topic in a store that is looked at. */
export interface TopicSummary {
  /** Its name. */
  readonly topic: string;
  /** Messages that are kept. One that has expired counts until its whole block has. */
  readonly messages: number;
}

/** A durable in a store that is looked at. */
export interface DurableSummary {
  /** What it was subscribed as. */
  readonly name: string;
  /** The patterns of the topics whose messages it gets. */
  readonly patterns: readonly string[];
  /** Everything through this number is settled, or was never its own. */
  readonly floor: number;
  /** Messages that it has still to settle. */
  readonly pending: number;
  /** Those of them that were tried before. */
  readonly attempted: number;
}

/** Files in a part of a store. */
export interface FileSummary {
  /** How many there are. */
  readonly files: number;
  /** Of all of them. */
  readonly bytes: number;
}

/** A store in numbers. */
export interface StoreSummary {
  /** The store's folder. */
  readonly path: string;
  /** The format's version; undefined where the database is lost. */
  readonly format: number | undefined;
  /** The process that has the store open; undefined: none. */
  readonly holder: LockHolder | undefined;
  /** The number of the key that the database is encrypted with; undefined: it is not encrypted, or lost. */
  readonly keyId: number | undefined;
  /** How long messages are kept: as given to this inspector, else as the store was last opened with. */
  readonly retention: StoredRetention;
  /** The highest message number given out; 0 when there is none. */
  readonly lastSeq: number;
  /** Messages that are kept, over all topics; delayed ones and dead letters are not among them. */
  readonly messages: number;
  /** Topics with messages that are kept. */
  readonly topics: number;
  /** Durables there are. */
  readonly durables: number;
  /** Messages that were given up on, and are kept for whoever looks into it. */
  readonly deadLetters: number;
  /** Messages whose time has not come. */
  readonly delayed: number;
  /** Topics that keep their last message. */
  readonly retained: number;
  /** Dedup ids that are remembered. */
  readonly dedupIds: number;
  /** Files of the write-ahead log. */
  readonly log: FileSummary;
  /** Files of the database. */
  readonly database: FileSummary;
  /** What earlier openings set aside. */
  readonly quarantine: FileSummary;
  /** Damage that opening it found; `verify` looks further. */
  readonly problems: readonly string[];
}

/** What a look at every byte of a store found. */
export interface VerifyReport {
  /** False when anything is damaged, beyond a write that was cut short at the log's end. */
  readonly isSound: boolean;
  /** Messages that could be read, in blocks and in the log. */
  readonly messages: number;
  /** Blocks there are in the database. */
  readonly blocks: number;
  /** Records that could be read in the log. */
  readonly records: number;
  /** Each damage in a line for people. */
  readonly problems: readonly string[];
  /** What is no damage, and worth knowing. */
  readonly notes: readonly string[];
}

/**
 * A store that is looked at and not touched: closed, broken, on a disk that cannot be written, or in use. It reads a copy
 * of the database's files in the system's folder for temporary files (LevelDB writes when it opens), and the log where it
 * is. What it shows is what a program would see that opens the store with the retention it was last opened with.
 *
 * @example
 * ```ts
 * import { StoreInspector } from "inproc-broker/persistence";
 *
 * const inspector = await StoreInspector.open({ path: "./data" });
 * console.log(inspector.topics(), await inspector.verify());
 * await inspector.close();
 * ```
 */
export class StoreInspector {
  readonly #settings: StoreSettings;
  readonly #store: ReadableStore;
  /** The process that has the store open: what is read is the store as it was when it was opened here. */
  readonly holder: LockHolder | undefined;

  private constructor(settings: StoreSettings, store: ReadableStore, holder: LockHolder | undefined) {
    this.#settings = settings;
    this.#store = store;
    this.holder = holder;
  }

  /**
   * Opens a store's folder to look at it.
   *
   * Throws `ERR_STORE_LOCKED` (as far as the lock file tells), `ERR_WRONG_KEY`, `ERR_STORE_FAILED` (a newer version's
   * store, or no store at all), `ERR_INVALID_OPTION`.
   */
  static async open(options: InspectOptions): Promise<StoreInspector> {
    const settings = resolveOptions(await optionsAsFound(options));
    const { machine, path } = settings;
    const { folders } = machine;
    if (!(await folders.exists(`${path}/wal`)) && !(await folders.exists(`${path}/level`))) {
      throw brokerError("ERR_STORE_FAILED", `There is no store in ${path}`, { path });
    }
    const holder = await folders.lockHolder(`${path}/lock`);
    if (holder !== undefined && options.inUse !== "read") {
      const { pid, host } = holder;
      const text = `The store in ${path} is open in process ${pid} on ${host}; close it there, or look at a backup`;
      throw brokerError("ERR_STORE_LOCKED", text, { path, pid, host });
    }
    return new StoreInspector(settings, await readStore(settings, holder), holder);
  }

  /** @internal Durables, delayed messages, dead letters and what else a broker would be told at opening. */
  get recovered(): RecoveredState {
    return this.#store.recovered;
  }

  /** Damage found so far, each in a line for people; reading finds more. */
  get problems(): readonly string[] {
    return [...this.#store.problems];
  }

  /** Topics with messages that are kept, by name. */
  topics(): TopicSummary[] {
    const { loaded, retention } = this.#store;
    const { state } = loaded;
    const counts = new Map<string, number>();
    const floor = retention.floor();
    const count = (topic: string): void => void counts.set(topic, (counts.get(topic) ?? 0) + 1);
    for (const block of state.blocks()) {
      if (retention.isExpired(block.facts.expiresAt)) continue;
      const { topic, facts } = block;
      for (const seq of block.seqs()) {
        if (retention.shows(topic, seq, facts.isUnclaimed, floor)) count(topic.name);
      }
    }
    state.index.scan(0, (seq, _lsn, topic, expiresAt, flags) => {
      const isUnclaimed = (flags & indexFlag.isUnclaimed) !== 0;
      if (!retention.isExpired(expiresAt) && retention.shows(topic, seq, isUnclaimed, floor)) count(topic.name);
      return true;
    });
    return [...counts].map(([topic, messages]) => ({ topic, messages })).sort((a, b) => (a.topic < b.topic ? -1 : 1));
  }

  /** Durables, by name, with what they have still to settle. */
  durables(): DurableSummary[] {
    const { loaded, history, retention } = this.#store;
    const parts = { state: loaded.state, history, retention, requireOpen: () => undefined };
    return this.recovered.durables
      .map(({ name, patterns }: RecoveredDurable) => {
        const { messages, attempted, floor } = backlogOf(parts, name);
        return { name, patterns, floor, pending: messages, attempted };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The store in numbers. */
  async summary(): Promise<StoreSummary> {
    const { loaded, problems } = this.#store;
    const { opened, state } = loaded;
    const { deadLetters, delayed, retained, dedup, durables, lastSeq } = this.recovered;
    const topics = this.topics();
    return {
      path: this.#settings.path,
      format: opened.about?.format,
      holder: this.holder,
      keyId: opened.about?.key?.id,
      retention: retentionToStore(state.retention),
      lastSeq,
      messages: topics.reduce((sum, { messages }) => sum + messages, 0),
      topics: topics.length,
      durables: durables.length,
      deadLetters: deadLetters.length,
      delayed: delayed.length,
      retained: retained.length,
      dedupIds: dedup.length,
      log: await this.#files("wal"),
      database: await this.#files("level"),
      quarantine: await this.#files("wal/quarantine", "quarantine"),
      problems: [...problems],
    };
  }

  async #files(...folders: readonly string[]): Promise<FileSummary> {
    const { path, machine } = this.#settings;
    let files = 0;
    let bytes = 0;
    for (const folder of folders) {
      for (const name of await machine.fileSystem.list(`${path}/${folder}`).catch((): string[] => [])) {
        if (name === "quarantine") continue;
        files++;
        bytes += (await machine.fileSystem.stat(`${path}/${folder}/${name}`))?.size ?? 0;
      }
    }
    return { files, bytes };
  }

  /**
   * History of the topics that match one of the patterns, in the order of numbers over all of them. What has expired or is
   * not kept any more is left out; so is what is damaged, which `problems` then tells.
   */
  async *messages(
    patterns: readonly string[],
    options: ReplayOptions = {},
  ): AsyncGenerator<StoredMessage, void, undefined> {
    const { loaded, history, retention } = this.#store;
    for await (const page of replay({ state: loaded.state, history, retention }, patterns, options)) yield* page;
  }

  /** The first messages of a topic or pattern, at most `limit` of them. */
  async peek(pattern: string, limit: number): Promise<StoredMessage[]> {
    const found: StoredMessage[] = [];
    for await (const message of this.messages([pattern], { limit })) found.push(message);
    return found;
  }

  /** The store as lines of JSON, each with its line break: see docs/format/export.md. `importStore` takes them. */
  exportLines(selection: ExportSelection = {}): AsyncGenerator<string, void, undefined> {
    return exportLines(this.#store, selection);
  }

  /** Reads everything there is, and tells what is damaged. */
  async verify(onProgress?: (progress: Progress) => void): Promise<VerifyReport> {
    const { loaded, history, scan, problems } = this.#store;
    const { state } = loaded;
    const blocks = [...state.blocks()];
    let messages = 0;
    for (const [done, block] of blocks.entries()) {
      onProgress?.({ done, total: blocks.length, unit: "blocks" });
      messages += (await history.entries(block))?.length ?? 0;
    }
    onProgress?.({ done: blocks.length, total: blocks.length, unit: "blocks" });
    messages += state.index.size;
    const notes = [...scan.warnings];
    if (scan.cut?.reason === "torn") {
      notes.push(`${scan.cut.file} ends with a write that was cut short, of ${scan.cut.bytes} bytes`);
    }
    const isSound = problems.length === 0;
    return { isSound, messages, blocks: blocks.length, records: scan.records, problems: [...problems], notes };
  }

  /** Gives back the copy's room. */
  close(): Promise<void> {
    return this.#store.close();
  }
}
