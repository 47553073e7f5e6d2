import { BrokerError, deserializeBrokerError } from "../index.js";
import type { BrokerErrorCode, ErrorFacts, SerializedBrokerError } from "../index.js";

/** An error on its way: structured clone would take class, code and facts from it. */
export interface WireError {
  /** Of a BrokerError. */
  readonly broker?: SerializedBrokerError;
  /** Its cause, or what was thrown where that is no BrokerError. */
  readonly thrown?: unknown;
}

/** Makes an error that survives the way. */
export function toWireError(error: unknown): WireError {
  if (!(error instanceof BrokerError)) return { thrown: cloneable(error) };
  const broker = error.toJSON();
  const facts = cloneable(broker.facts) as ErrorFacts;
  const plain = { ...broker, facts };
  return error.cause === undefined ? { broker: plain } : { broker: plain, thrown: cloneable(error.cause) };
}

/** Makes it an error again: of its class, with code, facts and cause. */
export function fromWireError(wire: WireError): unknown {
  if (wire.broker === undefined) return wire.thrown;
  const error = deserializeBrokerError(wire.broker);
  if ("thrown" in wire)
    Object.defineProperty(error, "cause", { value: wire.thrown, configurable: true, writable: true });
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

function cloneable(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return new Error(textOf(value));
  }
}
