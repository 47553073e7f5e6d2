import { brokerError, errorText, quote, SchemaError } from "../errors.js";
import type { SchemaIssue } from "../errors.js";
import { promiseOf } from "../message/thenable.js";

/**
 * The interface that validators share (Standard Schema v1, standardschema.dev): zod, valibot, arktype and others
 * implement it, so none of them is a dependency.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** The interface, under the name that the standard gives it. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** The library that made it. */
    readonly vendor: string;
    /** Checks a value; what it returns as `value` is what is published. */
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    /** For type inference; nothing at run time. */
    readonly types?:
      | {
          /** What it takes. */
          readonly input: Input;
          /** What it makes of that. */
          readonly output: Output;
        }
      | undefined;
  };
}

/** What a validator answers: the value, or what is wrong with it. */
export type StandardResult<Output> =
  | {
      /** What is published. */
      readonly value: Output;
      /** Absent where it is valid. */
      readonly issues?: undefined;
    }
  | {
      /** What is wrong; it becomes the error's `facts.issues`. */
      readonly issues: readonly StandardIssue[];
    };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  /** For people. */
  readonly message: string;
  /** Where: the names on the way down from the payload. */
  readonly path?:
    | readonly (
        | PropertyKey
        | {
            /** The name, where the validator gives it as an object. */
            readonly key: PropertyKey;
          }
      )[]
    | undefined;
}

/** True for a value that has the interface. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard = (value as Partial<StandardSchema>)["~standard"];
  return typeof standard === "object" && typeof standard.validate === "function";
}

/** The validated data: at once, or as a promise where the schema is asynchronous. Throws `ERR_SCHEMA`. */
export function validate(schema: StandardSchema, topic: string, data: unknown): unknown {
  try {
    const result: unknown = schema["~standard"].validate(data);
    const promise = promiseOf(result);
    if (promise === null) return outcome(result, topic);
    return promise.then(
      (settled) => outcome(settled, topic),
      (error: unknown) => validatorFailed(error, topic),
    );
  } catch (error) {
    return validatorFailed(error, topic);
  }
}

function outcome(result: unknown, topic: string): unknown {
  if (typeof result !== "object" || result === null) {
    throw brokerError("ERR_SCHEMA", `the schema of ${quote(topic)} answered ${quote(result)}, which is no result`, {
      topic,
      issues: [],
    });
  }
  const given = result as StandardResult<unknown>;
  if (given.issues === undefined) return given.value;
  const issues: SchemaIssue[] = given.issues.map(({ message, path }) => ({
    message,
    path: (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
  }));
  const text = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`)).join("; ");
  throw brokerError("ERR_SCHEMA", `the data for ${quote(topic)} does not fit its schema: ${text}`, { topic, issues });
}

/** A validator is the user's code: whatever it throws says that the data was not found to be valid. */
function validatorFailed(error: unknown, topic: string): never {
  if (error instanceof SchemaError) throw error;
  throw brokerError(
    "ERR_SCHEMA",
    `the schema of ${quote(topic)} threw: ${errorText(error)}`,
    { topic, issues: [] },
    error,
  );
}
