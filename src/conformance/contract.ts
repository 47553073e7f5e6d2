import type { Broker, BrokerOptions, InProcBroker } from "../index.js";

/** What an implementation may support, and the cases are grouped by. */
export const features = [
  "delivery",
  "wildcards",
  "ordering",
  "headers",
  "groups",
  "keys",
  "acknowledgement",
  "redelivery",
  "settle-by-id",
  "dead-letters",
  "priority",
  "ttl",
  "delay",
  "cancel",
  "dedup",
  "transactions",
  "request-reply",
  "confirms",
  "back-pressure",
  "overflow",
  "flow-control",
  "rate-limit",
  "filters",
  "iterators",
  "fetch",
  "retained",
  "batch",
  "sync",
  "reports",
  "idle",
  "events",
  "counters",
  "close",
  "timers",
  "errors",
  "durables",
  "replay",
  "crash",
] as const;

/** One of the things an implementation may support. */
export type Feature = (typeof features)[number];

/** The broker under test: the common interface, and of `InProcBroker` what the features name that it says it supports. */
export type ConformantBroker = Broker &
  Partial<
    Pick<
      InProcBroker,
      "publishSync" | "cancel" | "beginTransaction" | "transaction" | "deadLetters" | "retained" | "idle" | "metrics"
    >
  >;

/** The options that cases open a broker with: the broker's own, but for what the factory brings. */
export type ConformanceOptions = Omit<BrokerOptions, "clock" | "random" | "plugins" | "schemas">;

/** An open broker, and the little that a case needs besides. */
export interface Implementation {
  /** The broker under test. */
  readonly broker: ConformantBroker;
  /**
   * Moves the broker's time on by so many milliseconds, and has happen what comes due; 0: has happen what is ready.
   * Absent: its time is the machine's. Cases wait, and one that was too slow to look before a deadline is run again.
   */
  readonly advance?: (ms: number) => Promise<void>;
  /** Timers that the broker has armed; for the feature `timers`. */
  readonly pendingTimers?: () => number;
  /** Closes the broker and opens it again over the same store; for the features `durables` and `replay`. */
  readonly reopen?: () => Promise<Implementation>;
  /** Ends the broker as a crash would, and opens it again over what the store has kept; for the feature `crash`. */
  readonly crash?: () => Promise<Implementation>;
  /** Called after the case, whatever came of it; the broker is closed by then. */
  readonly dispose?: () => Promise<void> | void;
}

/** What became of a case. */
export interface CaseResult {
  /** `feature: promise`. */
  readonly name: string;
  /** What it belongs to. */
  readonly feature: Feature;
  /** What it checks. */
  readonly promise: string;
  /** Skipped: it was not run, since the implementation does not support what it needs. */
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it was skipped, or how it failed. */
  readonly reason?: string;
}
