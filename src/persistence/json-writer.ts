/** JSON text straight into the log's buffer, for the plain data that most payloads are. */
import { writeLatin1 } from "../platform/text-bytes.js";
import type { ByteWriter } from "./wal/byte-writer.js";

/** Any character that does not stand for itself in JSON, or takes more than a byte. */
const special = /[^ !#-[\]-~]/;

/** Up to this length a loop over the characters beats the calls into native code. */
const shortText = 48;

/** Deeper than this goes the other way: a cycle is found there. */
const deepest = 64;

/** Whole numbers below it are written digit by digit. */
const tenDigits = 1e9;

/**
 * Writes what `JSON.stringify` would, at the writer's end, and returns true; or returns false, and what stands behind the
 * writer's former end means nothing. False is the answer for whatever is not plain data: `JSON.stringify` and a look for
 * what it would lose have to decide there, and that is many times slower than this (docs/design/0020-store.md).
 *
 * Plain data: objects without a class, arrays without holes, texts, finite numbers, booleans and null. Members that are
 * undefined are left out, as JSON does.
 */
export function writeJson(out: ByteWriter, data: unknown): boolean {
  return !isPrototypeExtended() && writeValue(out, data, 0);
}

function writeValue(out: ByteWriter, value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
      writeText(out, value);
      return true;
    case "number":
      return writeNumber(out, value);
    case "boolean":
      writePlain(out, value ? "true" : "false");
      return true;
    case "object":
      if (value === null) writePlain(out, "null");
      else return depth < deepest && writeCompound(out, value, depth + 1);
      return true;
    default:
      return false;
  }
}

function writeCompound(out: ByteWriter, value: object, depth: number): boolean {
  if ((value as { toJSON?: unknown }).toJSON !== undefined) return false;
  if (Array.isArray(value)) return writeArray(out, value, depth);
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && writeObject(out, value, depth);
}

function writeArray(out: ByteWriter, items: readonly unknown[], depth: number): boolean {
  out.uint8(0x5b);
  for (let index = 0; index < items.length; index++) {
    if (index > 0) out.uint8(0x2c);
    if (!writeValue(out, items[index], depth)) return false;
  }
  out.uint8(0x5d);
  return true;
}

function writeObject(out: ByteWriter, value: object, depth: number): boolean {
  let separator = 0x7b;
  // Own members alone: there are no others, see `isPrototypeExtended`.
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    if (member === undefined) continue;
    out.uint8(separator);
    separator = 0x2c;
    writeText(out, name);
    out.uint8(0x3a);
    if (typeof member === "string") writeText(out, member);
    else if (!writeValue(out, member, depth)) return false;
  }
  if (separator === 0x7b) out.uint8(separator);
  out.uint8(0x7d);
  return true;
}

function writeText(out: ByteWriter, text: string): void {
  const count = text.length;
  out.reserve(count + 2);
  const { bytes } = out;
  const start = out.length;
  if (count <= shortText) {
    let at = start;
    bytes[at++] = 0x22;
    for (let index = 0; index < count; index++) {
      const code = text.charCodeAt(index);
      if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) {
        writeEscaped(out, text);
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = 0x22;
    out.length = at;
  } else if (special.test(text)) {
    writeEscaped(out, text);
  } else {
    bytes[start] = 0x22;
    writeLatin1(bytes, text, start + 1);
    bytes[start + count + 1] = 0x22;
    out.length = start + count + 2;
  }
}

function writeEscaped(out: ByteWriter, text: string): void {
  const escaped = JSON.stringify(text);
  out.reserve(escaped.length * 3);
  out.length += out.bytes.write(escaped, out.length, "utf8");
}

function writeNumber(out: ByteWriter, value: number): boolean {
  if (!(value >= 0 && value < tenDigits) || value !== Math.floor(value)) {
    if (!Number.isFinite(value)) return false;
    writePlain(out, String(value));
    return true;
  }
  let count = 1;
  for (let limit = 10; limit <= value; limit *= 10) count++;
  out.reserve(count);
  const { bytes } = out;
  let rest = value;
  for (let at = out.length + count - 1; at >= out.length; at--) {
    const tens = Math.floor(rest / 10);
    bytes[at] = 0x30 + rest - tens * 10;
    rest = tens;
  }
  out.length += count;
  return true;
}

/** Short text of ASCII characters. */
function writePlain(out: ByteWriter, text: string): void {
  out.reserve(text.length);
  const { bytes } = out;
  for (let index = 0; index < text.length; index++) bytes[out.length + index] = text.charCodeAt(index);
  out.length += text.length;
}

/** Somebody has given every object a member, which is none of the data's. */
function isPrototypeExtended(): boolean {
  for (const name in Object.prototype) return name !== "";
  return false;
}
