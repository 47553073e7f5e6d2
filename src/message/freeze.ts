/** Freezes plain objects and arrays all the way down. Binary views cannot be frozen and stay as they are. */
export function deepFreeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  if (ArrayBuffer.isView(value)) return;
  Object.freeze(value);
  for (const name of Reflect.ownKeys(value)) {
    const property = Object.getOwnPropertyDescriptor(value, name);
    if (property !== undefined && "value" in property) deepFreeze(property.value);
  }
}
