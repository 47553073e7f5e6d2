/**
 * How many bytes a payload counts towards the limits.
 *
 * The measure is simple enough to predict: bytes of binary data, one byte a character of text, eight a
 * number, and for objects the names and values of their own enumerable properties. Shared and cyclic parts
 * count once a reference path, and a cycle ends where it closes.
 */
export function payloadBytes(data: unknown): number {
  switch (typeof data) {
    case "string":
      return data.length;
    case "number":
      return 8;
    case "boolean":
      return 1;
    case "object":
      return data === null ? 0 : objectBytes(data, 0, undefined);
    case "bigint":
      return 16;
    default:
      return 0;
  }
}

/** Depth from which ancestors are remembered: cycles are rare, and a set for each message would not be free. */
const cycleWatchDepth = 8;

function objectBytes(value: object, depth: number, ancestors: Set<object> | undefined): number {
  if (depth >= cycleWatchDepth) {
    ancestors ??= new Set();
    if (ancestors.has(value)) return 0;
    ancestors.add(value);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  let bytes = 0;
  if (prototype === Object.prototype || prototype === null) {
    for (const name in value) {
      bytes += name.length + partBytes((value as Record<string, unknown>)[name], depth, ancestors);
    }
  } else if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      bytes += partBytes(value[index], depth, ancestors);
    }
  } else {
    bytes = exoticBytes(value, depth, ancestors);
  }
  if (depth >= cycleWatchDepth) ancestors?.delete(value);
  return bytes;
}

function partBytes(part: unknown, depth: number, ancestors: Set<object> | undefined): number {
  return typeof part === "object" && part !== null ? objectBytes(part, depth + 1, ancestors) : payloadBytes(part);
}

function exoticBytes(value: object, depth: number, ancestors: Set<object> | undefined): number {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return value.byteLength;
  if (value instanceof Date) return 8;
  let bytes = 0;
  if (value instanceof Map) {
    for (const [key, part] of value) {
      bytes += partBytes(key, depth, ancestors) + partBytes(part, depth, ancestors);
    }
  } else if (value instanceof Set) {
    for (const part of value) bytes += partBytes(part, depth, ancestors);
  }
  for (const name of Object.keys(value)) {
    bytes += name.length + partBytes((value as Record<string, unknown>)[name], depth, ancestors);
  }
  return bytes;
}
