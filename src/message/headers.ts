import { brokerError, quote } from "../errors.js";

/** String by name, as in HTTP; several values of one name are joined with ", ". */
export type Headers = Readonly<Record<string, string>>;

/** The headers of a message that has none. */
export const noHeaders: Headers = Object.freeze(Object.create(null) as Record<string, string>);

/**
 * A private, frozen copy of what the caller gave. Arrays of strings are joined as in HTTP.
 * Throws `ERR_INVALID_MESSAGE` for a value that is neither a string nor an array of strings.
 */
export function copyHeaders(headers: unknown): Headers {
  // A Map, or the Headers of fetch, has its entries elsewhere: taken for an object it would have none.
  if (typeof headers !== "object" || headers === null || Symbol.iterator in headers) {
    throw brokerError("ERR_INVALID_MESSAGE", `headers must be an object of strings; got ${quote(headers)}`);
  }
  const copy = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers as Record<string, unknown>)) {
    if (typeof value === "string") copy[name] = value;
    else if (Array.isArray(value) && value.every((one) => typeof one === "string")) {
      copy[name] = value.join(", ");
    } else if (value !== undefined) {
      throw brokerError(
        "ERR_INVALID_MESSAGE",
        `header ${quote(name)} must be a string or an array of strings; got ${quote(value)}`,
        { header: name },
      );
    }
  }
  return Object.freeze(copy);
}

/** Bytes that headers count towards the limits: one per character of names and values. */
export function headerBytes(headers: Headers): number {
  let bytes = 0;
  for (const name in headers) bytes += name.length + (headers[name] as string).length;
  return bytes;
}
