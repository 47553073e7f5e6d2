/**
 * How many bytes a payload counts towards the limits.
 *
 * The measure is simple enough to predict: bytes of binary data, one byte a character of text, eight a number, and for
 * objects the names and values of their own enumerable properties. What is referred to twice counts twice; a cycle ends
 * where it closes.
 *
 * It runs for every publish, so the flat object of texts and numbers, which most payloads are, is measured in one loop
 * without a call (bench/micro/payload-size.mjs compares it with the obvious recursion).
 */
export function payloadBytes(data: unknown): number {
  if (typeof data === "object" && data !== null) {
    const { constructor } = data;
    return constructor === Object ? plainBytes(data, 0, null) : otherBytes(data, 0, null);
  }
  return primitiveBytes(data);
}

/** Depth from which ancestors are remembered: cycles are rare, and a set for each message would not be free. */
const cycleWatchDepth = 8;

type Ancestors = Set<object> | null;

function primitiveBytes(data: unknown): number {
  switch (typeof data) {
    case "string":
      return data.length;
    case "number":
      return 8;
    case "boolean":
      return 1;
    case "bigint":
      return 16;
    default:
      return 0;
  }
}

/** An object literal, most likely: own properties are enumerated with those it inherits, which are none. */
function plainBytes(data: object, depth: number, ancestors: Ancestors): number {
  let bytes = 0;
  for (const name in data) {
    const value = (data as Record<string, unknown>)[name];
    if (typeof value === "string") bytes += name.length + value.length;
    else if (typeof value === "number") bytes += name.length + 8;
    else if (typeof value === "object" && value !== null) {
      bytes += name.length + nestedBytes(value, depth + 1, ancestors);
    } else bytes += name.length + primitiveBytes(value);
  }
  return bytes;
}

function nestedBytes(data: object, depth: number, ancestors: Ancestors): number {
  if (depth < cycleWatchDepth) {
    const { constructor } = data;
    return constructor === Object ? plainBytes(data, depth, null) : otherBytes(data, depth, null);
  }
  ancestors ??= new Set();
  if (ancestors.has(data)) return 0;
  ancestors.add(data);
  const { constructor } = data;
  const bytes = constructor === Object ? plainBytes(data, depth, ancestors) : otherBytes(data, depth, ancestors);
  ancestors.delete(data);
  return bytes;
}

function partBytes(part: unknown, depth: number, ancestors: Ancestors): number {
  return typeof part === "object" && part !== null ? nestedBytes(part, depth + 1, ancestors) : primitiveBytes(part);
}

function otherBytes(data: object, depth: number, ancestors: Ancestors): number {
  if (ArrayBuffer.isView(data)) return data.byteLength;
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return data.byteLength;
  if (data instanceof Date) return 8;
  let bytes = 0;
  if (Array.isArray(data)) {
    for (let index = 0; index < data.length; index += 1) bytes += partBytes(data[index], depth, ancestors);
    return bytes;
  }
  if (data instanceof Map) {
    for (const [key, part] of data) {
      bytes += partBytes(key, depth, ancestors) + partBytes(part, depth, ancestors);
    }
  } else if (data instanceof Set) {
    for (const part of data) bytes += partBytes(part, depth, ancestors);
  }
  for (const name of Object.keys(data)) {
    bytes += name.length + partBytes((data as Record<string, unknown>)[name], depth, ancestors);
  }
  return bytes;
}
