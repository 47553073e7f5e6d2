import { readFile } from "node:fs/promises";
import { errorText } from "../errors.js";
import type { EncryptionKey, KeyProvider } from "../persistence/key-ring.js";
import { UsageError } from "./exit-code.js";

const isHex = /^[0-9a-f]{64}$/i;

/**
 * Keys from the command line, `id=hex` or `id=file` (32 bytes, or 64 hex digits): the first one writes, all of them read.
 * Undefined when there are none.
 */
export async function keyProviderOf(given: readonly string[]): Promise<KeyProvider | undefined> {
  const keys = new Map<number, EncryptionKey>();
  for (const text of given) {
    const cut = text.indexOf("=");
    const id = Number(text.slice(0, cut));
    if (cut < 1 || !Number.isInteger(id) || id < 1 || id >= 2 ** 32) {
      // Not the text: it may be the key.
      throw new UsageError("--key must be ID=HEX or ID=FILE, the id a whole number from 1 to 4294967295");
    }
    keys.set(id, { id, key: await keyBytes(id, text.slice(cut + 1)) });
  }
  const [current] = keys.values();
  return current === undefined ? undefined : (id) => (id === undefined ? current : keys.get(id));
}

async function keyBytes(id: number, text: string): Promise<Uint8Array> {
  if (isHex.test(text)) return Buffer.from(text, "hex");
  const bytes = await readFile(text).catch((error: unknown) => {
    throw new UsageError(`--key ${id}: neither 64 hex digits nor a file that can be read (${codeOf(error)})`);
  });
  if (bytes.length === 32) return bytes;
  const content = bytes.toString("latin1").trim();
  if (isHex.test(content)) return Buffer.from(content, "hex");
  throw new UsageError(`--key ${id}: the file must hold 32 bytes, or 64 hex digits; it holds ${bytes.length} bytes`);
}

/** The system's code alone: its text names what was given, which may be a key with a typing error. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : errorText(error);
}
