import { brokerError, quote } from "../errors.js";
import type { Clock } from "../platform/clock.js";
import type { Compressor } from "../platform/compressor.js";
import type { Random } from "../platform/random.js";
import { checkPattern } from "../topic/grammar.js";
import type { CodecOption } from "./codec.js";
import { StoreEngine } from "./engine.js";
import type { KeyProvider } from "./key-ring.js";
import { resolveOptions } from "./options.js";
import type { Machine, StoreProblem } from "./options.js";
import type { RetentionPolicy } from "./retention-settings.js";
import type { RecoveryPolicy } from "./wal/recovery.js";
import type { Durability } from "./wal/durability.js";
import { inOurCodes } from "./system-refusal.js";
import type { WalState } from "./wal/writer.js";

/** Where and how messages are stored. */
export interface LevelPersistenceOptions {
  /** The store's folder; made when it does not exist. One process at a time. */
  readonly path: string;
  /**
   * Patterns of the topics that are stored; default all of them, `[">"]`. What is published to others stays in memory, at
   * the speed of a broker without a store.
   */
  readonly topics?: readonly string[] | undefined;
  /** What a publish or settle that names no level has to reach before its promise resolves; default `"group"`. */
  readonly durability?: Durability | undefined;
  /** For the level `interval`: milliseconds that a record stays unsynced at most; default 100. */
  readonly interval?: number | undefined;
  /**
   * How long messages are kept that no durable has to settle, over all topics of the store. Limits hold at every moment, also
   * before their room is given back. With a limit and no policy: `limits`. With neither, a message
   * is kept until every durable that matched it has settled it, and one that none matched for seven days and within 1 GiB.
   */
  readonly retention?:
    | {
        /** Milliseconds. */
        readonly maxAge?: number | undefined;
        /** Bytes that messages took in the log, before compression. The newest message is kept even if it is larger. */
        readonly maxBytes?: number | undefined;
        /** A number of messages. */
        readonly maxMessages?: number | undefined;
        /** What the limits mean. */
        readonly policy?: RetentionPolicy | undefined;
      }
    | undefined;
  /** How payloads become bytes: `"json"` (default), `"v8"` (Map, Date, BigInt, cycles), or one's own. */
  readonly codec?: CodecOption | undefined;
  /** Of what a checkpoint writes; default `"gzip"`. */
  readonly compression?: "gzip" | "none" | Compressor | undefined;
  /** Encrypts what is stored, with AES-256-GCM. A store is encrypted from its beginning, or never. */
  readonly encryption?:
    | {
        /** Gives the keys, by number. */
        readonly keyProvider: KeyProvider;
      }
    | undefined;
  /** What to do about damage that is not a write cut short; default `"quarantine"`: set it aside, report it, go on. */
  readonly recovery?: RecoveryPolicy | undefined;
  /** Bytes of log at which a checkpoint comes; default 64 MiB. At three times as many publishers wait until it has. */
  readonly walBytes?: number | undefined;
  /** Milliseconds from the first change to the next checkpoint; default 30,000. */
  readonly checkpointInterval?: number | undefined;
  /** Bytes kept back on the disk, so that acknowledgements work while it is full; default 4 MiB. */
  readonly reserveBytes?: number | undefined;
  /** @internal The machine, part by part, or made of the real one. */
  readonly machine?: Partial<Machine> | ((real: Machine) => Machine) | undefined;
}

/** What the broker hands to its store. */
interface OpeningHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly dedup: { readonly window: number; readonly maxEntries: number };
  readonly stateChanged: (state: WalState, error: Error | undefined) => void;
  readonly problem: (problem: StoreProblem) => void;
  readonly expired?: (() => Promise<void>) | undefined;
}

/** A store on the local disk, for the broker option `persistence`. */
export interface LevelPersistence {
  /** Patterns of the topics that are stored. */
  readonly topics: readonly string[];
  /** @internal */
  open(host: OpeningHost): Promise<StoreEngine>;
}

const optionNames = new Set([
  "path",
  "topics",
  "durability",
  "interval",
  "retention",
  "codec",
  "compression",
  "encryption",
  "recovery",
  "walBytes",
  "checkpointInterval",
  "reserveBytes",
  "machine",
]);

/**
 * A store in a folder: a write-ahead log and a LevelDB database. Give it to a broker as `persistence`.
 *
 * Options are checked here; the folder is touched when the broker opens it. Throws `ERR_INVALID_OPTION` and
 * `ERR_INVALID_PATTERN`. `broker.ready()` then rejects with `ERR_STORE_LOCKED`, `ERR_WRONG_KEY`, `ERR_STORE_FAILED`,
 * `ERR_STORE_FULL`, and with `ERR_STORE_CORRUPT` under `recovery: "fail"`.
 *
 * @example
 * ```ts
 * import { InProcBroker } from "inproc-broker";
 * import { levelPersistence } from "inproc-broker/persistence";
 *
 * const broker = await InProcBroker.open({ persistence: levelPersistence({ path: "./data" }) });
 * broker.subscribe("orders.>", async (msg) => bill(msg.data), { durable: "billing" });
 * await broker.publish("orders.created", order); // on the disk when it resolves
 * ```
 */
export function levelPersistence(options: LevelPersistenceOptions): LevelPersistence {
  if (typeof options !== "object" || (options as unknown) === null) {
    throw brokerError("ERR_INVALID_OPTION", `levelPersistence takes { path, … }; got ${quote(options)}`);
  }
  for (const name in options) {
    if (optionNames.has(name)) continue;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `levelPersistence has no option ${quote(name)}; known are ${[...optionNames].slice(0, -1).join(", ")}`,
      { option: name },
    );
  }
  const { topics = [">"], ...rest } = options;
  if (!Array.isArray(topics) || topics.length === 0) {
    throw brokerError("ERR_INVALID_OPTION", `topics must be an array of patterns; got ${quote(topics)}`, {
      option: "topics",
    });
  }
  for (const pattern of topics as unknown[]) checkPattern(pattern);
  resolveOptions(rest);
  return {
    topics: [...(topics as readonly string[])],
    open: ({ clock, random, dedup, stateChanged, problem, expired }) => {
      const tells = { onStateChange: stateChanged, onProblem: problem, onExpired: expired };
      return StoreEngine.open({ ...rest, clock, random, dedup, ...tells }).catch((error: unknown) => {
        const what = `The store in ${quote(rest.path)} cannot be opened; its path must be a folder this process may write to`;
        throw inOurCodes(error, what, { path: rest.path });
      });
    },
  };
}
