import type { BrokerOptions } from "../index.js";
import { InvalidArgumentError } from "../index.js";
import type { KitStoreOptions } from "./kit-store.js";

/** Which leftovers fail a test. */
export interface StrictOptions {
  /** A message that nobody subscribed to; default true. */
  readonly unhandled?: boolean | undefined;
  /** A message that is queued, or handed out and not settled; default true. */
  readonly unfinished?: boolean | undefined;
  /**
   * What waits for time: a scheduled message, one in backoff, an open transaction or request, a timer of the application on
   * `t.clock`; default true.
   */
  readonly timers?: boolean | undefined;
  /** A subscription that nobody ended; default true. */
  readonly subscriptions?: boolean | undefined;
  /**
   * An `error` event that the application does not listen for, of a message that will not come again, or of no message;
   * default true.
   */
  readonly errors?: boolean | undefined;
}

/** Settings of a test broker: those of an `InProcBroker`, with the kit's in place of clock, chance and payloads. */
export interface TestBrokerOptions extends Omit<BrokerOptions, "clock" | "random" | "payloads" | "persistence"> {
  /**
   * A store, for durable subscriptions, replay, and what survives `t.crash()`. `"memory"`: all in memory. An object: settings of
   * `levelPersistence`, with a `path` for LevelDB in a folder, without one in memory. Or what `levelPersistence` returns, which
   * the kit cannot crash. Absent: no store.
   */
  readonly persistence?: "memory" | KitStoreOptions | BrokerOptions["persistence"] | undefined;
  /**
   * manual: time stands still until `t.clock` moves it; the default. real: the machine's.
   * timers: the test runner's fake timers, which must be in place before the broker is made.
   */
  readonly clock?: "manual" | "real" | "timers" | undefined;
  /** Where a manual clock starts, in milliseconds since 1970 or as a Date; default 2030-01-01T00:00:00Z. */
  readonly now?: number | Date | undefined;
  /** What chance comes from: jitter, ids, faults. The same seed, the same history; default 1. */
  readonly seed?: number | undefined;
  /**
   * auto: messages are delivered as the broker does it; the default. manual: a handler gets nothing until `t.deliver()`.
   * inline: `publish` resolves once every handler that gets the message has come back from it.
   */
  readonly mode?: "auto" | "manual" | "inline" | undefined;
  /**
   * clone: everyone gets a copy; the default. wire: the same, as JSON would bring it, and what would not survive that is
   * refused. reference: everyone shares the publisher's object, as a broker does unless told otherwise.
   */
  readonly payloads?: "clone" | "wire" | "reference" | undefined;
  /** Fails the test at dispose, and in `assertClean()`, for what it leaves behind; default false. */
  readonly strict?: boolean | StrictOptions | undefined;
  /** Real milliseconds that a wait may take (`idle`, `waitFor`, `send`, `track`); default 2,000. */
  readonly timeoutMs?: number | undefined;
  /** Entries of history that are kept; beyond it the oldest half goes; default 100,000. */
  readonly historyLimit?: number | undefined;
}

/** The kit's own settings, complete and checked. */
export interface KitSettings {
  readonly clock: "manual" | "real" | "timers";
  readonly seed: number;
  readonly mode: "auto" | "manual" | "inline";
  readonly payloads: "clone" | "wire" | "reference";
  /** Whether dispose throws for what is left behind. */
  readonly isStrict: boolean;
  readonly strict: Readonly<Record<keyof StrictOptions, boolean>>;
  readonly timeoutMs: number;
  readonly historyLimit: number;
}

const strictKeys = ["unhandled", "unfinished", "timers", "subscriptions", "errors"] as const;

/** Splits the options into the kit's and the broker's. Throws `ERR_INVALID_OPTION`. */
export function kitSettings(options: TestBrokerOptions): {
  settings: KitSettings;
  now: TestBrokerOptions["now"];
  persistence: TestBrokerOptions["persistence"];
  broker: BrokerOptions;
} {
  const { clock = "manual", now, seed = 1, mode = "auto", payloads = "clone", strict = false, ...rest } = options;
  const { timeoutMs = 2_000, historyLimit = 100_000, persistence, ...broker } = rest;
  oneOf("clock", clock, ["manual", "real", "timers"]);
  oneOf("mode", mode, ["auto", "manual", "inline"]);
  oneOf("payloads", payloads, ["clone", "wire", "reference"]);
  if (!Number.isSafeInteger(seed)) throw invalid("seed", "an integer", seed);
  if (now !== undefined && clock !== "manual") throw invalid("now", 'given with clock: "manual"', now);
  if (now !== undefined && !Number.isFinite(typeof now === "number" ? now : now.getTime())) {
    throw invalid("now", "a date: milliseconds since 1970, or a Date", now);
  }
  if (!(typeof timeoutMs === "number" && timeoutMs > 0))
    throw invalid("timeoutMs", "more than 0 milliseconds", timeoutMs);
  if (!Number.isInteger(historyLimit) || historyLimit < 2)
    throw invalid("historyLimit", "an integer from 2", historyLimit);
  if ("random" in broker) throw invalid("random", "left out: give a seed", broker.random);
  const settings: KitSettings = {
    clock,
    seed,
    mode,
    payloads,
    isStrict: strict !== false,
    strict: strictOptions(strict),
    timeoutMs,
    historyLimit,
  };
  return { settings, now, persistence, broker };
}

function strictOptions(strict: boolean | StrictOptions): Readonly<Record<keyof StrictOptions, boolean>> {
  const given = typeof strict === "object" ? strict : {};
  for (const name of Object.keys(given)) oneOf("strict", name, strictKeys);
  const isOn = (name: keyof StrictOptions): boolean => given[name] ?? true;
  return {
    unhandled: isOn("unhandled"),
    unfinished: isOn("unfinished"),
    timers: isOn("timers"),
    subscriptions: isOn("subscriptions"),
    errors: isOn("errors"),
  };
}

function oneOf(name: string, value: unknown, known: readonly string[]): void {
  if (!known.includes(value as string))
    throw invalid(name, `one of ${known.map((one) => `"${one}"`).join(", ")}`, value);
}

function invalid(name: string, wanted: string, value: unknown): Error {
  const got = typeof value === "object" ? "an object" : JSON.stringify(value);
  return new InvalidArgumentError(
    "ERR_INVALID_OPTION",
    `option ${name} must be ${wanted}; got ${got ?? typeof value}`,
    {
      facts: { option: name },
    },
  );
}
