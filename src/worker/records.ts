import type { FrameWriter } from "./frame-writer.js";
import { maxShapes, tell } from "./protocol.js";

/** The keys that the records of one kind have, in order, and the number that stands for them on the way. */
export interface Shape {
  readonly number: number;
  readonly keys: readonly string[];
}

/** Keys of a record; what has more is cloned as it is. */
const maxKeys = 32;

/**
 * Finds the data that may travel as a record: a plain object of primitive values, such as most small messages are. Its keys are
 * said once for all of its shape, and its values lie among those of the batch: so it costs a third of what the structured clone
 * of an object does, and comes out the same.
 *
 * Everything else is left to structured clone: what is nested (parts may be one and the same, or lead back), what has another
 * prototype, functions and symbols, which it refuses, and a key `__proto__`, which no assignment makes.
 */
export class Shapes {
  readonly #writer: FrameWriter;
  readonly #shapes = new Map<string, Shape>();
  #last: Shape | null = null;
  /** The values of what `read` has found to be a record, as many as its shape has keys. */
  readonly values: unknown[] = [];

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** The shape of a record, whose values are in `values` then; null for what is none. The shape has been said before this returns. */
  read(data: unknown): Shape | null {
    if (typeof data !== "object" || data === null || Object.getPrototypeOf(data) !== Object.prototype) return null;
    const { values } = this;
    const expected = this.#last?.keys;
    let count = 0;
    let isLast = expected !== undefined;
    for (const key in data) {
      const value = (data as Record<string, unknown>)[key];
      if (!isPrimitive(value)) return null;
      if (isLast && expected?.[count] !== key) isLast = false;
      values[count] = value;
      count += 1;
    }
    if (!isLast || expected?.length !== count) {
      const shape = this.#shapeOf(Object.keys(data), count);
      if (shape === null) return null;
      this.#last = shape;
    }
    return this.#last;
  }

  #shapeOf(keys: readonly string[], count: number): Shape | null {
    // Fewer than were found: some are inherited.
    if (keys.length !== count || count === 0 || count > maxKeys || keys.includes("__proto__")) return null;
    const name = JSON.stringify(keys);
    const known = this.#shapes.get(name);
    if (known !== undefined) return known;
    // Too many: the others are cloned, since to say the keys of each would cost more.
    if (this.#shapes.size >= maxShapes) return null;
    const shape: Shape = { number: this.#shapes.size, keys };
    this.#shapes.set(name, shape);
    this.#writer.write([tell.shape, shape.number, keys]);
    return shape;
  }
}

function isPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "object":
      return value === null;
    case "function":
    case "symbol":
      return false;
    default:
      return true;
  }
}
