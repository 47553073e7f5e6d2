import { brokerError } from "../errors.js";

/**
 * The interface that validators share (Standard Schema v1, standardschema.dev): zod, valibot, arktype and others
 * implement it, so none of them is a dependency.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type StandardResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] };

export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** True for a value that has the interface. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard = (value as Partial<StandardSchema>)["~standard"];
  return typeof standard === "object" && typeof standard.validate === "function";
}

/** The validated data: at once, or as a promise where the schema is asynchronous. Throws `ERR_SCHEMA`. */
export function validate(schema: StandardSchema, topic: string, data: unknown): unknown {
  const result = schema["~standard"].validate(data);
  return result instanceof Promise ? result.then((settled) => outcome(settled, topic)) : outcome(result, topic);
}

function outcome(result: StandardResult<unknown>, topic: string): unknown {
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map((issue) => ({
    message: issue.message,
    path: (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
  }));
  const text = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`)).join("; ");
  throw brokerError("ERR_SCHEMA", `the data for ${JSON.stringify(topic)} does not fit its schema: ${text}`, {
    topic,
    issues,
  });
}
