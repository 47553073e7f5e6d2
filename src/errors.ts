/**
 * Every error of the library: one family, told apart by `code`.
 *
 * The subclasses exist for `instanceof` where a caller handles a whole kind of failure in one way (wait and
 * retry on a `CapacityError`, fix the program on an `InvalidArgumentError`). Facts are fields, so that no one
 * has to parse a message.
 */

/** What went wrong. Codes are part of the contract; messages are for people and may change. */
export type BrokerErrorCode =
  | "ERR_BROKER_CLOSED"
  | "ERR_NOT_READY"
  | "ERR_INVALID_OPTION"
  | "ERR_INVALID_TOPIC"
  | "ERR_INVALID_PATTERN"
  | "ERR_INVALID_MESSAGE"
  | "ERR_MESSAGE_TOO_LARGE"
  | "ERR_MESSAGE_EXPIRED"
  | "ERR_SCHEMA"
  | "ERR_QUEUE_FULL"
  | "ERR_MEMORY_LIMIT"
  | "ERR_LIMIT_EXCEEDED"
  | "ERR_MODULE_DISABLED"
  | "ERR_ALREADY_SETTLED"
  | "ERR_DELIVERY_EXPIRED"
  | "ERR_TRANSACTION_NOT_FOUND"
  | "ERR_TRANSACTION_TIMEOUT"
  | "ERR_TRANSACTION_SETTLED"
  | "ERR_TRANSACTION_EXISTS"
  | "ERR_TIMEOUT"
  | "ERR_NO_RESPONDERS"
  | "ERR_REMOTE"
  | "ERR_STORE_LOCKED"
  | "ERR_STORE_CORRUPT"
  | "ERR_STORE_FULL"
  | "ERR_STORE_FAILED"
  | "ERR_WRONG_KEY";

/** Facts about a failure, by name: the topic, the limit, the value found. Always plain data. */
export type ErrorFacts = Readonly<Record<string, unknown>>;

/** An error as plain data, the form in which it crosses a thread or a process. */
export interface SerializedBrokerError {
  /** What went wrong. */
  readonly code: BrokerErrorCode;
  /** For people. */
  readonly message: string;
  /** The facts behind the message. */
  readonly facts: ErrorFacts;
}

/**
 * The base of every error this library throws.
 *
 * @example
 * ```ts
 * try {
 *   await broker.publish("orders.created", order);
 * } catch (error) {
 *   if (error instanceof BrokerError && error.code === "ERR_QUEUE_FULL") await retryLater(order);
 *   else throw error;
 * }
 * ```
 */
export class BrokerError extends Error {
  /** What went wrong; branch on this. */
  readonly code: BrokerErrorCode;
  /** The facts behind the message, as plain data. */
  readonly facts: ErrorFacts;

  constructor(code: BrokerErrorCode, message: string, options: { cause?: unknown; facts?: ErrorFacts } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.facts = options.facts ?? {};
  }

  /** The class: `CapacityError`, `SettleError`, … */
  override get name(): string {
    return this.constructor.name;
  }

  /** The error as plain data; `cause` stays behind, since nobody knows whether it can be cloned. */
  toJSON(): SerializedBrokerError {
    return { code: this.code, message: this.message, facts: this.facts };
  }
}

/** The caller's mistake: the same call fails again until the program is changed. */
export class InvalidArgumentError extends BrokerError {}

/** One thing that a schema found wrong with a message's data. */
export interface SchemaIssue {
  /** What is wrong, in the validator's words. */
  readonly message: string;
  /** Where: the names on the way down from the data, joined by dots; empty for the data itself. */
  readonly path: string;
}

/** The data does not fit the topic's schema (`ERR_SCHEMA`); `facts.issues` says where and why. */
export class SchemaError extends InvalidArgumentError {
  /** The topic, and everything its schema found wrong. */
  declare readonly facts: ErrorFacts & {
    /** The topic it was to be published to. */
    readonly topic: string;
    /** At least one, unless the validator itself failed; that is the `cause` then. */
    readonly issues: readonly SchemaIssue[];
  };
}

/** A bound was reached (queue, memory, count, disk). Nothing has changed; the call may succeed later. */
export class CapacityError extends BrokerError {}

/** The broker is closed, or not open yet. */
export class LifecycleError extends BrokerError {}

/** The feature needs an option of the broker that was not given; `facts.option` names it. */
export class ModuleDisabledError extends BrokerError {}

/** This delivery is decided already: settled before, or timed out and given back. */
export class SettleError extends BrokerError {}

/** The transaction is unknown, settled, timed out, or its id is taken. */
export class TransactionError extends BrokerError {}

/** Something did not happen within the time that was asked for. */
export class TimeoutError extends BrokerError {}

/** A request nobody answers: no responder, or a responder that failed (`ERR_REMOTE`). */
export class RequestError extends BrokerError {}

/** The store is locked, corrupt, full or failed, or was written with another key. */
export class StoreError extends BrokerError {}

type BrokerErrorClass = new (
  code: BrokerErrorCode,
  message: string,
  options?: { cause?: unknown; facts?: ErrorFacts },
) => BrokerError;

const classByCode: Readonly<Record<BrokerErrorCode, BrokerErrorClass>> = {
  ERR_BROKER_CLOSED: LifecycleError,
  ERR_NOT_READY: LifecycleError,
  ERR_INVALID_OPTION: InvalidArgumentError,
  ERR_INVALID_TOPIC: InvalidArgumentError,
  ERR_INVALID_PATTERN: InvalidArgumentError,
  ERR_INVALID_MESSAGE: InvalidArgumentError,
  ERR_MESSAGE_TOO_LARGE: InvalidArgumentError,
  ERR_MESSAGE_EXPIRED: InvalidArgumentError,
  ERR_SCHEMA: SchemaError,
  ERR_QUEUE_FULL: CapacityError,
  ERR_MEMORY_LIMIT: CapacityError,
  ERR_LIMIT_EXCEEDED: CapacityError,
  ERR_MODULE_DISABLED: ModuleDisabledError,
  ERR_ALREADY_SETTLED: SettleError,
  ERR_DELIVERY_EXPIRED: SettleError,
  ERR_TRANSACTION_NOT_FOUND: TransactionError,
  ERR_TRANSACTION_TIMEOUT: TransactionError,
  ERR_TRANSACTION_SETTLED: TransactionError,
  ERR_TRANSACTION_EXISTS: TransactionError,
  ERR_TIMEOUT: TimeoutError,
  ERR_NO_RESPONDERS: RequestError,
  ERR_REMOTE: RequestError,
  ERR_STORE_LOCKED: StoreError,
  ERR_STORE_CORRUPT: StoreError,
  ERR_STORE_FULL: StoreError,
  ERR_STORE_FAILED: StoreError,
  ERR_WRONG_KEY: StoreError,
};

/** Makes the error that belongs to a code: the one place that decides which class a code has. */
export function brokerError(
  code: BrokerErrorCode,
  message: string,
  facts: ErrorFacts = {},
  cause?: unknown,
): BrokerError {
  const ErrorClass = classByCode[code];
  return new ErrorClass(code, message, cause === undefined ? { facts } : { facts, cause });
}

/** Rebuilds an error that came from another thread or process; unknown codes become `ERR_REMOTE`. */
export function deserializeBrokerError(data: SerializedBrokerError): BrokerError {
  const code: BrokerErrorCode = Object.hasOwn(classByCode, data.code) ? data.code : "ERR_REMOTE";
  return brokerError(code, data.message, data.facts);
}

/** A value for an error message: short, quoted, and safe whatever it is. */
export function quote(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
  }
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `function ${value.name || "(anonymous)"}`;
  if (value === null || typeof value !== "object") return String(value);
  return Array.isArray(value) ? `an array of ${value.length}` : "an object";
}

/** The text of whatever was thrown. */
export function errorText(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return "(an error that cannot be printed)";
  }
}

/** Reports a broken invariant: a bug of ours, never a caller's mistake (those have a code). */
export function broken(claim: string): never {
  throw new Error(`inproc-broker: broken invariant: ${claim}`);
}
