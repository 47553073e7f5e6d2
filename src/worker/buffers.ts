/** How deep in a message's data buffers are looked for. */
const maxDepth = 4;

/**
 * The ArrayBuffers in a message's data that can move to another thread: those it holds as a whole. A view of a part (a small
 * Buffer lives in a pool) would take its neighbours' bytes along, so it is copied.
 */
export function toBuffers(data: unknown): ArrayBuffer[] {
  const found = new Set<ArrayBuffer>();
  collect(data, found, 0);
  return [...found];
}

function collect(value: unknown, found: Set<ArrayBuffer>, depth: number): void {
  if (typeof value !== "object" || value === null || depth > maxDepth) return;
  if (value instanceof ArrayBuffer) found.add(value);
  else if (ArrayBuffer.isView(value)) {
    const { buffer } = value;
    if (buffer instanceof ArrayBuffer && value.byteLength === buffer.byteLength) found.add(buffer);
  } else if (Array.isArray(value)) {
    for (const one of value) collect(one, found, depth + 1);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const one of Object.values(value)) collect(one, found, depth + 1);
  }
}
