/** `Buffer.latin1Write`, which Node has always had and its types do not name: `write` less its looks at the arguments. */
interface Latin1Writer {
  latin1Write?: (text: string, offset: number, length: number) => number;
}

const { latin1Write } = Buffer.prototype as Latin1Writer;

/**
 * Writes text whose characters are all below 256, a byte each, into `bytes` at `at`, where there must be room for it. A call
 * into native code: for some tens of characters a loop is quicker.
 */
export const writeLatin1: (bytes: Buffer, text: string, at: number) => void =
  typeof latin1Write === "function"
    ? (bytes, text, at) => void latin1Write.call(bytes, text, at, text.length)
    : (bytes, text, at) => void bytes.write(text, at, text.length, "latin1");
