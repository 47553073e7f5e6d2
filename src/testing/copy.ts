/** A copy of a payload, so that nobody's later change reaches the history; what cannot be copied stays what it is. */
export function copyOf(data: unknown): unknown {
  if (typeof data !== "object" || data === null) return data;
  try {
    return structuredClone(data);
  } catch {
    return data;
  }
}
