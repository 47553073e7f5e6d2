/** A file of lines, read a part at a time. */
import { brokerError, errorText } from "../errors.js";
import type { FileSystem } from "../platform/file-system.js";
import type { Decompress } from "../platform/gunzip.js";

/** A longer line is none of ours: a message has at most 1 GiB, and that as base64. */
const maxLineBytes = 1.5 * 2 ** 30;
const chunkBytes = 256 * 1024;
const lineFeed = 0x0a;

/** The parts of a file. */
export async function* partsOf(fileSystem: FileSystem, path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await fileSystem.openForRead(path).catch((cause: unknown) => {
    throw brokerError("ERR_INVALID_OPTION", `${path} cannot be read: ${errorText(cause)}`, { source: path }, cause);
  });
  try {
    for (let at = 0; ;) {
      const bytes = new Uint8Array(chunkBytes);
      const read = await file.read(bytes, 0, bytes.length, at);
      if (read === 0) return;
      at += read;
      yield bytes.subarray(0, read);
    }
  } finally {
    await file.close();
  }
}

/** Lines with their number, from 1. What begins as gzip does is decompressed first; empty lines are passed over. */
export async function* linesOf(
  source: AsyncIterable<Uint8Array | string>,
  gunzip: Decompress,
): AsyncGenerator<{ readonly number: number; readonly text: string }, void, undefined> {
  let number = 0;
  let begun: Uint8Array[] = [];
  let begunBytes = 0;
  const take = (end: Uint8Array): string => {
    const text = Buffer.concat([...begun, end]).toString("utf8");
    begun = [];
    begunBytes = 0;
    number++;
    return number === 1 && text.startsWith("\ufeff") ? text.slice(1) : text;
  };
  for await (const part of plainParts(source, gunzip)) {
    let at = 0;
    for (let end = part.indexOf(lineFeed, at); end >= 0; end = part.indexOf(lineFeed, at)) {
      const text = take(part.subarray(at, end));
      at = end + 1;
      if (text.trim() !== "") yield { number, text };
    }
    begun.push(part.subarray(at));
    begunBytes += part.length - at;
    if (begunBytes > maxLineBytes) {
      throw brokerError("ERR_INVALID_MESSAGE", `Line ${number + 1} is longer than any message`, { line: number + 1 });
    }
  }
  if (begunBytes === 0) return;
  const text = take(new Uint8Array(0));
  if (text.trim() !== "") yield { number, text };
}

async function* plainParts(
  source: AsyncIterable<Uint8Array | string>,
  gunzip: Decompress,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = bytesOf(source);
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < 2) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  async function* all(): AsyncGenerator<Uint8Array, void, undefined> {
    yield head;
    yield* iterator;
  }
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (!isGzip) {
    yield* all();
    return;
  }
  try {
    yield* gunzip(all());
  } catch (cause) {
    throw brokerError("ERR_INVALID_MESSAGE", `The gzip data is damaged or ends early (${errorText(cause)})`, {}, cause);
  }
}

async function* bytesOf(source: AsyncIterable<Uint8Array | string>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const part of source) yield typeof part === "string" ? Buffer.from(part, "utf8") : part;
}
