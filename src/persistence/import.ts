import { BrokerError, brokerError, errorText } from "../errors.js";
import { gunzip } from "../platform/gunzip.js";
import type { Progress } from "../platform/progress.js";
import { idNonce, messageId } from "../message/id.js";
import { matchesPattern } from "../topic/grammar.js";
import { StoreEngine } from "./engine.js";
import { decodeLine } from "./export-format.js";
import type { ExportLine, MessageLine } from "./export-format.js";
import { linesOf, partsOf } from "./import-source.js";
import type { MessageToStore, StoreOperation } from "./operations.js";
import { optionsAsFound, resolveOptions } from "./options.js";
import type { StoreOptions, StoreSettings } from "./options.js";

/** What is imported, and into which store. */
export interface ImportOptions extends StoreOptions {
  /** A file of lines as `exportStore` writes them, plain or gzip; or its content. */
  readonly source: string | AsyncIterable<Uint8Array | string>;
  /** The first line to take: to go on where an import ended. Durables of the lines before are known, not made. @default 1 */
  readonly fromLine?: number | undefined;
  /** Told of lines as they are taken. Must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What an import did. */
export interface ImportResult {
  /** The last line that was read. */
  readonly lines: number;
  /** Messages that were stored. */
  readonly messages: number;
  /** Durables that were made. */
  readonly durables: number;
  /** Dead letters that were stored. */
  readonly deadLetters: number;
  /** Dedup ids that were taken of lines of their own. */
  readonly dedupIds: number;
  /** Messages that got another number, since the store had used theirs. */
  readonly renumbered: number;
  /** Durables that the store had already: they keep their own place, and get what waits for them in the file. */
  readonly existingDurables: readonly string[];
  /** False when the file has no end line: it was cut short, or made by hand. */
  readonly isComplete: boolean;
}

const batchOperations = 500;
const batchBytes = 1024 * 1024;

/**
 * Puts the lines of an export into a store, new or not, in batches that are stored whole or not at all. Into a new store
 * messages come with their numbers, and every durable stands where it stood. In one that has used these numbers they
 * get the next ones, and are new to durables that the file does not know.
 *
 * Rejects as `broker.ready()` does with this store (`ERR_STORE_LOCKED`, `ERR_WRONG_KEY`, `ERR_STORE_FAILED`,
 * `ERR_STORE_FULL`, `ERR_STORE_CORRUPT`) and with `ERR_INVALID_OPTION`; with `ERR_INVALID_MESSAGE` for a line that is none, and with the error that storing
 * met. Both name the line, and in `facts.importedThroughLine` what is stored: go on with `fromLine` one above.
 *
 * @example
 * ```ts
 * import { importStore } from "inproc-broker/persistence";
 *
 * await importStore({ path: "./data", source: "orders.ndjson.gz" });
 * ```
 */
export async function importStore(options: ImportOptions): Promise<ImportResult> {
  const { source, fromLine = 1, onProgress } = options;
  const given = await optionsAsFound(options);
  const settings = resolveOptions(given);
  const parts = typeof source === "string" ? partsOf(settings.machine.fileSystem, source) : source;
  const lines = linesOf(parts, gunzip);
  // A file that cannot be read must not leave an empty store behind.
  const first = await lines.next();
  const store = await StoreEngine.open(given);
  let importer: Importer | undefined;
  try {
    importer = new Importer(store, settings, fromLine);
    if (first.done !== true) await importer.take(first.value);
    for await (const line of lines) {
      await importer.take(line);
      if (line.number % 1000 === 0) onProgress?.({ done: line.number, total: undefined, unit: "lines" });
    }
    await importer.flush();
    onProgress?.({ done: importer.result.lines, total: undefined, unit: "lines" });
    return importer.result;
  } catch (error) {
    throw importer === undefined ? error : importer.failure(error);
  } finally {
    await store.close();
  }
}

class Importer {
  readonly #store: StoreEngine;
  readonly #settings: StoreSettings;
  readonly #fromLine: number;
  readonly #nonce: string;
  /** The store was empty: positions and numbers mean what they meant. */
  readonly #isNew: boolean;
  readonly #durables = new Map<string, { readonly patterns: readonly string[]; readonly start: number }>();
  readonly #existing: ReadonlySet<string>;
  readonly #skipped: string[] = [];
  /** By their ids: which message, and when it was given up. */
  readonly #deadLetters = new Map<string, string>();
  readonly #dedupIds = new Set<string>();
  #batch: StoreOperation[] = [];
  #batchBytes = 0;
  #lastSeq: number;
  /** Where the last of the durables that were made begins, in numbers of the file. */
  #lastStart = 0;
  #line = 0;
  #storedThrough: number;
  #counts = { messages: 0, durables: 0, deadLetters: 0, dedupIds: 0, renumbered: 0 };
  #isComplete = false;

  constructor(store: StoreEngine, settings: StoreSettings, fromLine: number) {
    this.#store = store;
    this.#settings = settings;
    this.#fromLine = fromLine;
    this.#storedThrough = fromLine - 1;
    this.#nonce = idNonce(settings.random);
    this.#lastSeq = store.lastSeq;
    this.#isNew = store.lastSeq === 0 && store.recovered.durables.length === 0;
    this.#existing = new Set(store.recovered.durables.map(({ name }) => name));
    for (const { id, message, facts } of store.recovered.deadLetters) {
      this.#deadLetters.set(id, identityOf(message.id, facts));
    }
    store.forgetRecovered();
  }

  get result(): ImportResult {
    return {
      lines: this.#line,
      ...this.#counts,
      existingDurables: this.#skipped,
      isComplete: this.#isComplete,
    };
  }

  async take({ number, text }: { readonly number: number; readonly text: string }): Promise<void> {
    this.#line = number;
    const line = decodeLine(text);
    if (line.kind === "durable") this.#durable(line, number >= this.#fromLine);
    else if (line.kind === "end") this.#isComplete = true;
    else if (number >= this.#fromLine) this.#operation(line);
    this.#batchBytes += text.length;
    if (this.#batch.length >= batchOperations || this.#batchBytes >= batchBytes) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#batch.length > 0) await this.#store.append(this.#batch);
    this.#batch = [];
    this.#batchBytes = 0;
    this.#storedThrough = Math.max(this.#storedThrough, this.#line);
    await this.#store.ready();
  }

  failure(error: unknown): Error {
    const importedThroughLine = this.#storedThrough;
    const done =
      importedThroughLine === 0
        ? "nothing was imported"
        : `lines 1 to ${importedThroughLine} are in the store; go on from line ${importedThroughLine + 1}`;
    const facts = { line: this.#line, importedThroughLine };
    const isOurs = error instanceof BrokerError;
    const code = isOurs ? error.code : "ERR_INVALID_MESSAGE";
    return brokerError(code, `Line ${this.#line}: ${errorText(error).replace(/\.$/, "")}; ${done}`, facts, error);
  }

  #durable(line: Extract<ExportLine, { kind: "durable" }>, isTaken: boolean): void {
    const { name, patterns, options, start } = line;
    this.#durables.set(name, { patterns, start });
    if (!isTaken) return;
    if (this.#existing.has(name)) {
      this.#skipped.push(name);
      return;
    }
    this.#counts.durables++;
    if (this.#isNew) this.#lastStart = Math.max(this.#lastStart, start);
    const position = (this.#isNew ? start : this.#lastSeq) + 1;
    this.#batch.push({ type: "durable", change: "created", name, patterns, position, options });
  }

  #operation(line: Exclude<ExportLine, { kind: "durable" | "end" }>): void {
    switch (line.kind) {
      case "store":
        break;
      case "message":
        this.#message(line);
        break;
      case "dead-letter": {
        const { facts } = line;
        const message = this.#complete(line.line, line.line.seq ?? 0);
        const id = this.#deadLetterId(line.id, identityOf(message.id, facts));
        this.#counts.deadLetters++;
        this.#batch.push({ type: "dead-letter-added", id, facts, message });
        break;
      }
      case "dedup":
        // A message that was imported remembers its own.
        if (this.#dedupIds.has(line.dedupId)) break;
        this.#counts.dedupIds++;
        this.#batch.push({ ...line, type: "dedup" });
        break;
      case "retained-cleared":
        this.#batch.push({ type: "retained-cleared", topic: line.topic });
        break;
    }
  }

  /** The id it had, unless another dead letter has it: each store counts its own from 1. */
  #deadLetterId(wanted: string, identity: string): string {
    const [, name = wanted, number = "0"] = /^(.*?)(\d*)$/s.exec(wanted) ?? [];
    let id = wanted;
    for (let next = Number(number) + 1; (this.#deadLetters.get(id) ?? identity) !== identity; next++)
      id = `${name}${next}`;
    this.#deadLetters.set(id, identity);
    return id;
  }

  #message(line: MessageLine): void {
    // One without a number is new to every durable: it comes behind where they begin.
    const last = line.seq === undefined ? Math.max(this.#lastSeq, this.#lastStart) : this.#lastSeq;
    const seq = line.seq !== undefined && line.seq > last ? line.seq : last + 1;
    if (line.seq !== undefined && line.seq !== seq) this.#counts.renumbered++;
    this.#lastSeq = seq;
    this.#counts.messages++;
    const message = this.#complete(line, seq);
    if (message.dedupId !== undefined) this.#dedupIds.add(message.dedupId);
    this.#batch.push({ type: "publish", message });
    const { waiting } = line;
    if (waiting === undefined || message.deliverAt !== undefined) return;
    for (const [durable, { patterns, start }] of this.#durables) {
      const isOwn = patterns.some((pattern) => matchesPattern(pattern, message.topic));
      if (!isOwn || (this.#isNew && seq <= start)) continue;
      const attempt = waiting.get(durable);
      if (attempt === undefined) {
        this.#batch.push({ type: "settle", durable, seq, outcome: "ack", deliveryCount: 0 });
      } else if (attempt.deliveryCount > 0 || attempt.redelivered === true) {
        const { deliveryCount, retryAt, reason } = attempt;
        this.#batch.push({ type: "settle", durable, seq, outcome: "attempt", deliveryCount, retryAt, reason });
      }
    }
  }

  /** What a line made by hand leaves out is made up, as a broker does. */
  #complete({ message }: MessageLine, seq: number): MessageToStore {
    const timestamp = message.timestamp ?? Math.max(0, Math.floor(this.#settings.clock.now()));
    return { ...message, seq, timestamp, id: message.id ?? messageId(timestamp, seq, this.#nonce) };
  }
}

/** What tells a dead letter from another that has its id. */
function identityOf(messageId: string, facts: unknown): string {
  const { subscription, deadAt } = (facts ?? {}) as { readonly subscription?: unknown; readonly deadAt?: unknown };
  return JSON.stringify([messageId, subscription, deadAt]);
}
