import { deserialize, serialize } from "node:v8";

/** Values as bytes and back, beyond what JSON can carry. */
export interface StructuredData {
  /** Throws for what cannot be carried: functions, symbols, promises. */
  serialize(value: unknown): Uint8Array;
  /** Throws when the bytes are not what `serialize` made. */
  deserialize(bytes: Uint8Array): unknown;
}

/** The structured clone format of V8: Map, Set, Date, BigInt, typed arrays, cycles. */
export const v8StructuredData: StructuredData = {
  serialize: (value) => serialize(value),
  deserialize: (bytes) => deserialize(bytes) as unknown,
};
