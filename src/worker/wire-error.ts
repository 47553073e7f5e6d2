import { BrokerError, deserializeBrokerError } from "../index.js";
import type { BrokerErrorCode, ErrorFacts, SerializedBrokerError } from "../index.js";

/** An error on its way: structured clone would take class, code and fields from it. */
export interface WireError {
  /** Of a BrokerError. */
  readonly broker?: SerializedBrokerError;
  /** Of any other error. */
  readonly error?: WireErrorFacts;
  /** What was thrown where that is no error. */
  readonly thrown?: unknown;
  /** Its cause, where it has one. */
  readonly cause?: WireError;
}

/** What makes an error of somebody else's. */
interface WireErrorFacts {
  /** The class that it is, or is made from: one that every thread has. */
  readonly type: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Its own fields, such as `code`. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Of an AggregateError. */
  readonly errors: readonly WireError[] | undefined;
}

const errorClasses: Readonly<Record<string, new (message: string) => Error>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
  Error,
};

/** Causes of causes that go along; an error may be its own. */
const deepestCause = 8;

/** Makes an error that survives the way. */
export function toWireError(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error)) return { thrown: cloneable(error) };
  const { cause } = error;
  const because = cause === undefined || depth === deepestCause ? {} : { cause: toWireError(cause, depth + 1) };
  if (!(error instanceof BrokerError)) return { error: factsOf(error, depth), ...because };
  const broker = error.toJSON();
  return { broker: { ...broker, facts: cloneable(broker.facts) as ErrorFacts }, ...because };
}

/** Makes it an error again: of its class, with code, facts or fields, and cause. */
export function fromWireError({ broker, error: facts, thrown, cause }: WireError): unknown {
  if (broker === undefined && facts === undefined) return thrown;
  const error = broker === undefined ? errorOf(facts as WireErrorFacts) : deserializeBrokerError(broker);
  if (cause !== undefined) hide(error, "cause", fromWireError(cause));
  return error;
}

/** An error of ours, of the class that belongs to its code. */
export function brokerError(code: BrokerErrorCode, message: string, facts: ErrorFacts = {}): BrokerError {
  return deserializeBrokerError({ code, message, facts });
}

/** The text of whatever was thrown. */
export function textOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return "(an error that cannot be printed)";
  }
}

/** A rejection that may be left unawaited: it never ends the process. */
export function quietly(error: unknown): Promise<never> {
  const rejected = Promise.reject<never>(error);
  rejected.catch(() => undefined);
  return rejected;
}

function factsOf(error: Error, depth: number): WireErrorFacts {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(error)) {
    if (name !== "name" && name !== "message" && name !== "stack" && name !== "cause") fields[name] = cloneable(value);
  }
  const { name, message, stack } = error;
  const errors =
    error instanceof AggregateError && depth < deepestCause
      ? error.errors.map((one) => toWireError(one, depth + 1))
      : undefined;
  return { type: typeOf(error), name, message, stack, fields, errors };
}

function typeOf(error: Error): string {
  if (error instanceof DOMException) return "DOMException";
  for (const [type, ErrorClass] of Object.entries(errorClasses)) if (error instanceof ErrorClass) return type;
  return "Error";
}

function errorOf({ type, name, message, stack, fields, errors }: WireErrorFacts): Error {
  if (type === "DOMException") return new DOMException(message, name);
  const ErrorClass = errorClasses[type] ?? Error;
  const error = errors === undefined ? new ErrorClass(message) : new AggregateError(errors.map(fromWireError), message);
  if (error.name !== name) hide(error, "name", name);
  hide(error, "stack", stack);
  return Object.assign(error, fields);
}

/** Gives an error a field as its constructor would: one that is not listed. */
function hide(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, configurable: true, writable: true });
}

function cloneable(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return new Error(textOf(value));
  }
}
