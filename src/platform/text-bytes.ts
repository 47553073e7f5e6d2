/**
 * Between text and bytes by the shortest way into Node's native code: functions that it has always had and its types do not
 * name. `write` and `toString` are these after a look at their arguments, which for a text of a few hundred bytes takes as long
 * as the work. Where they are missing, what is documented does the same.
 */
interface NativeText {
  latin1Write?: (text: string, offset: number, length: number) => number;
  utf8Slice?: (start: number, end: number) => string;
}

const { latin1Write, utf8Slice } = Buffer.prototype as NativeText;

/**
 * Writes text whose characters are all below 256, a byte each, into `bytes` at `at`, where there must be room for it. For
 * some tens of characters a loop is quicker.
 */
export const writeLatin1: (bytes: Buffer, text: string, at: number) => void =
  typeof latin1Write === "function"
    ? (bytes, text, at) => void latin1Write.call(bytes, text, at, text.length)
    : (bytes, text, at) => void bytes.write(text, at, text.length, "latin1");

/** The text of `bytes[start … end)`, which must be within; what is no UTF-8 becomes U+FFFD. */
export const readUtf8: (bytes: Buffer, start: number, end: number) => string =
  typeof utf8Slice === "function"
    ? (bytes, start, end) => utf8Slice.call(bytes, start, end)
    : (bytes, start, end) => bytes.toString("utf8", start, end);
