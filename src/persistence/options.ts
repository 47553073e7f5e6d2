import { brokerError, quote } from "../errors.js";
import { nodeCipher } from "../platform/cipher.js";
import type { Cipher } from "../platform/cipher.js";
import { crc32 } from "../platform/checksum.js";
import type { Checksum } from "../platform/checksum.js";
import { systemClock } from "../platform/clock.js";
import type { Clock } from "../platform/clock.js";
import { zlibCompressor } from "../platform/compressor.js";
import type { Compressor } from "../platform/compressor.js";
import { nodeEventLoop } from "../platform/event-loop.js";
import { nodeFileSystem, nodeFolders } from "../platform/file-system.js";
import type { FileSystem, Folders } from "../platform/file-system.js";
import { systemRandom } from "../platform/random.js";
import type { Random } from "../platform/random.js";
import { v8StructuredData } from "../platform/structured-data.js";
import type { StructuredData } from "../platform/structured-data.js";
import type { CodecOption } from "./codec.js";
import type { KeyProvider } from "./key-ring.js";
import type { RetentionPolicy, RetentionSettings } from "./retention-settings.js";
import { fflateCompressor } from "./store/fflate-compressor.js";
import { openLevelStore } from "./store/level-store.js";
import type { OpenKeyValueStore } from "./store/level-store.js";
import type { RecoveryPolicy } from "./wal/recovery.js";
import { levels } from "./wal/durability.js";
import type { Durability } from "./wal/durability.js";
import type { WalState } from "./wal/writer.js";

/** Something the store lived with, and somebody should know of. */
export interface StoreProblem {
  readonly kind: "checkpoint-failed" | "block-damaged" | "log-damaged";
  readonly message: string;
  readonly cause?: unknown;
}

/** Where a store is, and how it is written. Of what looks at a store or looks after it, only `path` has to be given. */
export interface StoreOptions {
  /** The store's folder; made when it does not exist. One process at a time. */
  readonly path: string;
  /** The level of an append that names none. @default "group" */
  readonly durability?: Durability | undefined;
  /** For the level `interval`: how long, in milliseconds, a record stays unsynced. @default 100 */
  readonly interval?: number | undefined;
  /**
   * How long messages are kept that no durable has to settle. With a limit and no policy: `limits`. With neither, a message
   * is kept until every durable that matched it has settled it, and one that none matched for seven days and within
   * 1 GiB. `"stored"`: what the store was last opened with, for those who look after a store that is not theirs; a new one
   * keeps everything.
   */
  readonly retention?:
    | "stored"
    | {
        /** Milliseconds. */
        readonly maxAge?: number | undefined;
        /** Bytes that messages took in the log, before compression. */
        readonly maxBytes?: number | undefined;
        /** A number of messages. */
        readonly maxMessages?: number | undefined;
        /** What the limits mean. */
        readonly policy?: RetentionPolicy | undefined;
      }
    | undefined;
  /** How payloads become bytes: `"json"`, `"v8"` (Map, Date, BigInt, cycles), or one's own. @default "json" */
  readonly codec?: CodecOption | undefined;
  /** Of blocks in the database. @default "gzip" */
  readonly compression?: "gzip" | "none" | Compressor | undefined;
  /** Encrypts what is stored, and reads what is encrypted. @default a store that is not encrypted */
  readonly encryption?:
    | {
        /** Gives the keys, by number. */
        readonly keyProvider: KeyProvider;
      }
    | undefined;
  /** What to do about damage. @default "quarantine" */
  readonly recovery?: RecoveryPolicy | undefined;
  /**
   * How long dedup ids are remembered, and how many. By default those of the last 120,000 ms, 100,000 of them; the
   * functions for a store that no process has open, and `StoreInspector`, forget none by default.
   */
  readonly dedup?:
    | {
        /** Milliseconds. */
        readonly window?: number | undefined;
        /** A number of ids. */
        readonly maxEntries?: number | undefined;
      }
    | undefined;
  /** A checkpoint comes when the log is this large, … @default 64 MiB */
  readonly walBytes?: number | undefined;
  /** … and this many milliseconds after the first change since the last one. @default 30,000 */
  readonly checkpointInterval?: number | undefined;
  /** A block is full at this many bytes before compression. @default 32 KiB */
  readonly blockBytes?: number | undefined;
  /** Memory for blocks that were read. @default 8 MiB */
  readonly cacheBytes?: number | undefined;
  /** Records that may wait for the write before them. @default 8 MiB */
  readonly bufferBytes?: number | undefined;
  /** Room kept back for acknowledgements on a full disk. @default 4 MiB */
  readonly reserveBytes?: number | undefined;
  /**
   * @internal Bytes of tables with nothing but messages from which on these are looked at after opening: before, it takes no
   * time worth mentioning. @default 32 MiB
   */
  readonly lateCheckBytes?: number | undefined;
  /** @internal Told of each change of the log's state, with the error that appends now get, if any. Must not throw. */
  readonly onStateChange?: ((state: WalState, error: Error | undefined) => void) | undefined;
  /** @internal Told of what the store lived with. Must not throw. */
  readonly onProblem?: ((problem: StoreProblem) => void) | undefined;
  /**
   * @internal Asked before a checkpoint, where something has expired that durables may have to settle. What they
   * still have to settle when it has resolved is kept. Must not wait for a checkpoint. Absent: what has
   * expired is removed, whoever waits for it.
   */
  readonly onExpired?: (() => Promise<void>) | undefined;
  /** Tells what has expired and what is too old. @default the machine's clock */
  readonly clock?: Pick<Clock, "now" | "monotonic" | "schedule"> | undefined;
  /** @internal Where ids come from. */
  readonly random?: Random | undefined;
  /** @internal The machine, part by part, or made of the real one. */
  readonly machine?: Partial<Machine> | ((real: Machine) => Machine) | undefined;
}

/** What the store needs of the machine. */
export interface Machine {
  readonly fileSystem: FileSystem;
  readonly folders: Folders;
  readonly openDatabase: OpenKeyValueStore;
  readonly crc32: Checksum;
  readonly cipher: Cipher;
  readonly structuredData: StructuredData;
  readonly gzip: Compressor;
  readonly afterTurn: (run: () => void) => void;
  /** Real milliseconds, for budgets. */
  readonly elapsed: () => number;
}

/** The options with every default in place. */
export interface StoreSettings {
  readonly path: string;
  /** The folder as errors name it: where a copy is looked at, the original. */
  readonly shownPath: string;
  readonly durability: Durability;
  readonly intervalMs: number;
  readonly retention: RetentionSettings | "stored";
  readonly codec: CodecOption;
  readonly compressor: Compressor | undefined;
  readonly keyProvider: KeyProvider | undefined;
  readonly recovery: RecoveryPolicy;
  readonly dedupWindowMs: number;
  readonly dedupMaxEntries: number;
  readonly walBytes: number;
  readonly checkpointIntervalMs: number;
  readonly blockBytes: number;
  readonly cacheBytes: number;
  readonly bufferBytes: number;
  readonly reserveBytes: number;
  readonly lateCheckBytes: number;
  readonly clock: Pick<Clock, "now" | "monotonic" | "schedule">;
  readonly random: Random;
  readonly machine: Machine;
  readonly onStateChange: (state: WalState, error: Error | undefined) => void;
  readonly onProblem: (problem: StoreProblem) => void;
  readonly onExpired: (() => Promise<void>) | undefined;
}

const mebibyte = 2 ** 20;
const weekMs = 7 * 24 * 3_600_000;

/** Throws `ERR_INVALID_OPTION`, naming the option. */
export function resolveOptions(options: StoreOptions): StoreSettings {
  const { path, codec = "json", retention, dedup, encryption } = options;
  if (typeof path !== "string" || path === "" || path.includes("\0")) throw invalid("path", path, "the store's folder");
  const { durability = "group", recovery = "quarantine", compression = "gzip" } = options;
  oneOf("durability", durability, levels);
  oneOf("recovery", recovery, ["truncate-tail", "quarantine", "fail"] as const);
  const isCustomCodec = typeof codec === "object" && codec !== null;
  if (isCustomCodec) {
    const isWhole = typeof codec.name === "string" && codec.name !== "" && typeof codec.encode === "function";
    if (!isWhole || typeof codec.decode !== "function") throw invalid("codec", codec, "{ name, encode, decode }");
  } else if (codec !== "json" && codec !== "v8") {
    throw invalid("codec", codec, '"json", "v8" or { name, encode, decode }');
  }
  if (encryption !== undefined && typeof (encryption as typeof encryption | null)?.keyProvider !== "function") {
    throw invalid("encryption", encryption, "{ keyProvider: (id) => { id, key } }");
  }
  const real: Machine = {
    fileSystem: nodeFileSystem,
    folders: nodeFolders,
    openDatabase: openLevelStore,
    crc32,
    cipher: nodeCipher,
    structuredData: v8StructuredData,
    gzip: zlibCompressor ?? fflateCompressor,
    afterTurn: (run) => nodeEventLoop.afterTurn(run),
    elapsed: () => nodeEventLoop.elapsed(),
  };
  const machine = typeof options.machine === "function" ? options.machine(real) : { ...real, ...options.machine };
  return {
    path,
    shownPath: path,
    durability,
    intervalMs: finite("interval", options.interval, 100),
    retention: retentionOf(retention),
    codec,
    compressor: compressorOf(compression, machine.gzip),
    keyProvider: encryption?.keyProvider,
    recovery,
    dedupWindowMs: positive("dedup.window", dedup?.window, 120_000),
    dedupMaxEntries: positive("dedup.maxEntries", dedup?.maxEntries, 100_000),
    walBytes: positive("walBytes", options.walBytes, 64 * mebibyte),
    checkpointIntervalMs: positive("checkpointInterval", options.checkpointInterval, 30_000),
    blockBytes: positive("blockBytes", options.blockBytes, 32 * 1024),
    cacheBytes: positive("cacheBytes", options.cacheBytes, 8 * mebibyte),
    bufferBytes: positive("bufferBytes", options.bufferBytes, 8 * mebibyte),
    reserveBytes: options.reserveBytes === 0 ? 0 : positive("reserveBytes", options.reserveBytes, 4 * mebibyte),
    lateCheckBytes: positive("lateCheckBytes", options.lateCheckBytes, 32 * mebibyte),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    machine,
    onStateChange: options.onStateChange ?? (() => undefined),
    onProblem: options.onProblem ?? (() => undefined),
    onExpired: options.onExpired,
  };
}

/**
 * Options for those who look after a store that is not theirs: what was not given is as the store has it, and nothing is
 * thrown away because of a setting that they do not know.
 */
export async function optionsAsFound<Options extends StoreOptions>(options: Options): Promise<Options & StoreOptions> {
  const { path, machine } = resolveOptions(options);
  const { retention, dedup, reserveBytes } = options;
  return {
    ...options,
    retention: retention ?? "stored",
    dedup: dedup ?? { window: Infinity, maxEntries: Infinity },
    // Nobody is told here, so what a durable has to be told of stays for its broker.
    onExpired: options.onExpired ?? (() => Promise.resolve()),
    reserveBytes: reserveBytes ?? (await machine.fileSystem.stat(`${path}/wal/reserve`))?.size ?? 0,
  };
}

const retentionNames = ["maxAge", "maxBytes", "maxMessages", "policy"];

function retentionOf(option: StoreOptions["retention"]): RetentionSettings | "stored" {
  if (option === "stored") return option;
  if (option !== undefined && (typeof option !== "object" || (option as unknown) === null)) {
    throw invalid("retention", option, "{ maxAge, maxBytes, maxMessages, policy }");
  }
  for (const name in option) {
    if (retentionNames.includes(name)) continue;
    throw invalid("retention", name, `made of ${retentionNames.join(", ")}`);
  }
  const { maxAge, maxBytes, maxMessages, policy } = option ?? {};
  if (policy !== undefined) oneOf("retention.policy", policy, ["limits", "interest", "work-queue"] as const);
  const limits = {
    maxAgeMs: positive("retention.maxAge", maxAge, Infinity),
    maxBytes: positive("retention.maxBytes", maxBytes, Infinity),
    maxMessages: whole("retention.maxMessages", maxMessages, Infinity),
  };
  if (policy !== undefined) return { policy, ...limits };
  const hasLimit = maxAge !== undefined || maxBytes !== undefined || maxMessages !== undefined;
  if (hasLimit) return { policy: "limits", ...limits };
  return { policy: "until-settled", maxAgeMs: weekMs, maxBytes: 1024 * mebibyte, maxMessages: Infinity };
}

function compressorOf(option: NonNullable<StoreOptions["compression"]>, gzip: Compressor): Compressor | undefined {
  if (option === "gzip") return gzip;
  if (option === "none") return undefined;
  const isWhole =
    typeof option === "object" &&
    (option as unknown) !== null &&
    typeof option.name === "string" &&
    typeof option.compress === "function" &&
    typeof option.decompress === "function";
  if (!isWhole) throw invalid("compression", option, '"gzip", "none" or { name, compress, decompress }');
  if (option.name === "gzip") throw invalid("compression.name", option.name, "a name of its own");
  return option;
}

function oneOf<Value extends string>(option: string, value: unknown, choices: readonly Value[]): Value {
  if (choices.includes(value as Value)) return value as Value;
  throw invalid(option, value, `one of ${choices.map((choice) => `"${choice}"`).join(", ")}`);
}

function positive(option: string, value: number | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === "number" && value > 0) return value;
  throw invalid(option, value, "a number above 0");
}

function finite(option: string, value: number | undefined, fallback: number): number {
  if (value !== Infinity) return positive(option, value, fallback);
  throw invalid(option, value, "a number above 0, and not without end");
}

/** A number of things: without fractions, or without end. */
function whole(option: string, value: number | undefined, fallback: number): number {
  if (value === undefined || value === Infinity || Number.isInteger(value)) return positive(option, value, fallback);
  throw invalid(option, value, "an integer from 1");
}

function invalid(option: string, value: unknown, wanted: string): Error {
  return brokerError("ERR_INVALID_OPTION", `${option} must be ${wanted}; got ${quote(value)}`, { option });
}
