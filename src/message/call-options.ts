import { brokerError, quote } from "../errors.js";

/**
 * Checks the options of a call: an object of names that it knows, or nothing. Throws `ERR_INVALID_OPTION` that says which
 * there are: a misspelt limit would be no limit.
 */
export function checkCallOptions(call: string, options: unknown, known: readonly string[]): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw brokerError(
      "ERR_INVALID_OPTION",
      `the options of ${call} are an object with ${known.join(", ")}; got ${quote(options)}`,
      { option: "options" },
    );
  }
  for (const name in options) {
    if (known.includes(name)) continue;
    throw brokerError("ERR_INVALID_OPTION", `${call} has no option ${quote(name)}; known are ${known.join(", ")}`, {
      option: name,
    });
  }
}
